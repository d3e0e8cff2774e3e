"""Fields on regular grids: differences, waves, and the transforms to them.

Two boundaries are known. `periodic`: the grid closes on itself. `zero`: velocities vanish one
spacing beyond the ends, so they are sums of sine waves; images go on with their last value.
"""

import math
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from geojax._core import checks
from geojax._core.errors import InputError

# Products on a GPU keep ten bits of a float32 by themselves.
_PRECISION = jax.lax.Precision.HIGHEST

# So many products of matrices are faster one by one than as a batch.
_FEW = 3

Boundary = Literal["zero", "periodic"]


def as_boundary(value: Any) -> Boundary:
    """A boundary.

    Raises:
        InputError: another word.
    """
    if value not in get_args(Boundary):
        raise InputError(f"Argument boundary must be 'zero' or 'periodic', but is {value!r}.")
    return value


def as_spacing(value: Any) -> Float[Array, " d"]:
    """Distances of neighbours along each axis.

    Raises:
        InputError: not one to three positive numbers.
    """
    value = checks.as_real(checks.positive(value, "spacing"))
    if value.ndim != 1 or not 1 <= value.shape[0] <= 3:
        raise InputError(
            "Argument spacing must hold one number per axis, such as [1.0, 1.0], but has shape "
            f"{list(value.shape)}."
        )
    return value


def differences(
    values: Float[Array, "*grid"], spacing: Float[Array, " d"], boundary: Boundary
) -> Float[Array, "d *grid"]:
    """Central differences along the last d axes, of a field on a grid or of each of several."""
    d = spacing.shape[0]
    return jnp.stack([_difference(values, a - d, spacing[a], boundary) for a in range(d)])


def divergence(
    field: Float[Array, "d *grid"], spacing: Float[Array, " d"], boundary: Boundary
) -> Float[Array, "*grid"]:
    """Divergence of a field, by the same differences."""
    total: Any = 0.0
    for a, component in enumerate(field):
        total = total + _difference(component, a, spacing[a], boundary)
    return total


def _difference(values, axis, spacing, boundary):
    n = values.shape[axis]
    first, second, before, last = (_slice(values, axis, k, k + 1) for k in (0, 1, n - 2, n - 1))
    if boundary == "periodic":
        first, last = last, first
    else:
        # the line goes straight on, so that the ends have one-sided differences
        first, last = 2 * first - second, 2 * last - before
    inner = jnp.concatenate([first, values, last], axis=axis)
    ahead, behind = (_slice(inner, axis, k, k + n) for k in (2, 0))
    return (ahead - behind) / (2 * spacing.astype(values.dtype))


def _slice(values, axis, start, stop):
    index: list[Any] = [slice(None)] * values.ndim
    index[axis] = slice(start, stop)
    return values[tuple(index)]


def squared_wavenumbers(
    grid: tuple[int, ...], spacing: Float[Array, " d"], boundary: Boundary
) -> list[Float[Array, " n"]]:
    """Squared angular wave numbers along each axis, in the order of the transform."""
    numbers = []
    for a, n in enumerate(grid):
        if boundary == "zero":
            waves = np.pi * np.arange(1, n + 1) / (n + 1)
        else:
            last = a == len(grid) - 1
            waves = 2 * np.pi * (np.fft.rfftfreq(n) if last else np.fft.fftfreq(n))
        numbers.append(jnp.square(jnp.asarray(waves, spacing.dtype) / spacing[a]))
    return numbers


def filter_waves(
    values: Float[Array, "*lead_and_grid"], multiplier: Float[Array, "*waves"], boundary: Boundary
) -> Float[Array, "*lead_and_grid"]:
    """Multiply each wave of the last axes of fields by a number."""
    d = multiplier.ndim
    axes = tuple(range(-d, 0))
    multiplier = multiplier.reshape((1,) * (values.ndim - d) + multiplier.shape)
    if boundary == "zero":
        return sines(multiplier.astype(values.dtype) * sines(values, d), d)
    waves = jnp.fft.rfftn(values, axes=axes)
    return jnp.fft.irfftn(multiplier.astype(waves.dtype) * waves, s=values.shape[-d:], axes=axes)


def sines(values: Float[Array, "..."], d: int) -> Float[Array, "..."]:
    """Orthogonal sine transform (DST-I) along the last d axes; its own inverse.

    By a product with a matrix along each axis: for the few hundred points that an axis has, that
    is faster than an FFT of the odd continuation.
    """
    for axis in range(-d, 0):
        values = along(sine_matrix(values.shape[axis], values.dtype), values, axis)
    return values


def sine_matrix(n: int, dtype: Any) -> Float[Array, "n n"]:
    """The matrix of the orthogonal sine transform."""
    k = np.arange(1, n + 1)
    return jnp.asarray(np.sqrt(2 / (n + 1)) * np.sin(np.pi * np.outer(k, k) / (n + 1)), dtype)


def along(
    matrix: Float[Array, "m n"], values: Float[Array, "..."], axis: int
) -> Float[Array, "..."]:
    """Product of a matrix with each line of values along an axis."""
    axis %= values.ndim
    before, after = values.shape[:axis], values.shape[axis + 1 :]
    if not after:
        return jnp.matmul(values, matrix.T, precision=_PRECISION)
    blocks = values.reshape(math.prod(before), values.shape[axis], math.prod(after))
    if len(blocks) <= _FEW:
        product = jnp.stack([jnp.matmul(matrix, b, precision=_PRECISION) for b in blocks])
    else:
        product = jnp.einsum("mn,bna->bma", matrix, blocks, precision=_PRECISION)
    return product.reshape(*before, matrix.shape[0], *after)
