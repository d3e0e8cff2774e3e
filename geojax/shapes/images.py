"""Images: values on a regular grid that lies somewhere in the world."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Real, Shaped

from geojax._core import checks
from geojax._core.errors import InputError

# Axes further from right angles than this (cosine of the angle) are sheared.
_SHEAR = 1e-3


class Image(eqx.Module):
    """Numbers on a grid in the plane or in space.

    Args:
        values: `[*grid]` in two or three dimensions: intensities, or the integers of labels.
        affine: `[d + 1, d + 1]`, from indices to coordinates of the world (for NIfTI, millimetres
            to the right, front and top); pixels of unit size at the indices by default.

    Raises:
        InputError: values of another dimension, too few along an axis or not finite; an affine
            that cannot be inverted, or whose axes are not at right angles.

    Example:
        >>> import numpy as np
        >>> Image(np.zeros((4, 5)), np.diag([0.5, 2.0, 1.0])).spacing.tolist()
        [0.5, 2.0]
    """

    values: Shaped[Array, "..."]
    affine: Float[np.ndarray, "k k"]

    def __init__(self, values, affine=None):
        if not hasattr(values, "ndim") and not checks.is_regular(values):
            raise InputError("Argument values must be an array, but its rows differ in length.")
        array = values if hasattr(values, "ndim") else np.asarray(values)
        if array.ndim not in (2, 3):
            raise InputError(
                f"Argument values must have 2 or 3 axes, but has shape {list(array.shape)}; give "
                "one image without channels or frames."
            )
        if min(array.shape) < 2:
            raise InputError(
                f"Argument values must have at least 2 entries along each axis, but has shape "
                f"{list(array.shape)}."
            )
        if array.dtype.kind not in "fiub":
            raise InputError(f"Argument values must hold real numbers, but has {array.dtype}.")
        if array.dtype.kind == "f":
            array = checks.as_float_array(array, "values")
        if not checks.is_tracer(array):
            checks.finite(array, "values")
        self.values = jnp.asarray(array)
        # integers of 64 bits become 32, without a word
        whole = array.dtype.kind in "iu" and not checks.is_tracer(array)
        if whole and np.any(np.asarray(self.values) != np.asarray(array)):
            raise InputError(
                f"Argument values holds integers up to {np.max(array)}, beyond the 32 bits that "
                "JAX keeps; number the labels anew, or set jax_enable_x64."
            )
        self.affine = _as_affine(affine, array.ndim)

    @property
    def grid(self) -> tuple[int, ...]:
        """Entries along each axis."""
        return self.values.shape

    @property
    def dimension(self) -> int:
        """Two or three."""
        return self.values.ndim

    @property
    def spacing(self) -> Float[np.ndarray, " d"]:
        """Distance of neighbours along each axis, in units of the world."""
        return np.linalg.norm(self.affine[:-1, :-1], axis=0)

    def to_world(self, indices: Real[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
        """Coordinates of places given by (fractional) indices."""
        return np.asarray(indices) @ self.affine[:-1, :-1].T + self.affine[:-1, -1]

    def to_indices(self, points: Real[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
        """Fractional indices of points of the world."""
        inverse = np.linalg.inv(self.affine)
        return np.asarray(points) @ inverse[:-1, :-1].T + inverse[:-1, -1]


def _as_affine(affine, dimension: int) -> np.ndarray:
    if affine is None:
        return np.eye(dimension + 1)
    affine = np.asarray(affine, np.float64)
    size = dimension + 1
    if affine.shape != (size, size):
        raise InputError(
            f"Argument affine must have shape [{size}, {size}] for an image in {dimension} "
            f"dimensions, but has {list(affine.shape)}."
        )
    checks.finite(affine, "affine")
    if np.any(affine[-1] != np.eye(size)[-1]):
        raise InputError(
            f"Argument affine must end with the row {np.eye(size)[-1].tolist()}, but ends with "
            f"{affine[-1].tolist()}."
        )
    lengths = np.linalg.norm(affine[:-1, :-1], axis=0)
    if np.any(lengths == 0):
        axis = int(np.argmin(lengths))
        raise InputError(
            f"Argument affine gives axis {axis} the spacing 0; give the distance of its pixels."
        )
    axes = affine[:-1, :-1] / lengths
    cosines = np.abs(axes.T @ axes - np.eye(dimension))
    if np.max(cosines) > _SHEAR:
        raise InputError(
            "Argument affine must have axes at right angles, but the cosine of an angle is "
            f"{np.max(cosines):.2g}; resample the image on a grid without shear."
        )
    return affine
