"""Metrics of velocity fields on regular grids: diagonal in Fourier or in sine waves."""

import abc
import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from geojax._core import checks
from geojax._core.errors import InputError
from geojax._core.grids import (
    Boundary,
    along,
    as_boundary,
    as_spacing,
    filter_waves,
    sine_matrix,
    squared_wavenumbers,
)
from geojax.metrics.base import AbstractMetric


def _as_scales(value: Any) -> Float[Array, " k"]:
    value = checks.as_real(checks.positive(value, "scale"))
    if value.ndim > 1:
        raise InputError(
            f"Argument scale must be a number or a list of them, but has shape {list(value.shape)}."
        )
    return value.reshape(-1)


class AbstractGridMetric(AbstractMetric):
    """Norm of velocity fields `[d, *grid]`, whose kernel K depends on distances only.

    A momentum `[d, *grid]` pairs with a velocity by the sum over the grid, as one of points does:
    with the same kernel, momenta on the nodes of a large grid drive the velocity that they drive
    as points. Kernels are one at distance zero, and the mean of those of all scales.

    Args:
        spacing: distance of neighbours along each axis, `[d]`.
        scale: length over which points move together, or several.
        boundary: `"zero"`: velocities vanish one spacing beyond the ends of the grid;
            `"periodic"`: it closes on itself.

    Gradient: forward and reverse, in fields, spacing and scale.
    """

    spacing: eqx.AbstractVar[Float[Array, " d"]]
    scale: eqx.AbstractVar[Float[Array, " k"]]
    boundary: eqx.AbstractVar[Boundary]

    @abc.abstractmethod
    def spectrum(
        self, squared_wavenumber: Float[Array, "*waves"], scale: Float[Array, ""]
    ) -> Float[Array, "*waves"]:
        """Fourier transform of the kernel of one scale, elementwise."""

    def sharp(self, momentum: Float[Array, "d *grid"]) -> Float[Array, "d *grid"]:
        return self._filter(momentum, 1.0)

    def flat(self, velocity: Float[Array, "d *grid"]) -> Float[Array, "d *grid"]:
        return self._filter(velocity, -1.0)

    def root(self, noise: Float[Array, "d *grid"]) -> Float[Array, "d *grid"]:
        """The velocity of white coordinates: its energy is half their sum of squares."""
        return self._filter(noise, 0.5)

    def unroot(self, velocity: Float[Array, "d *grid"]) -> Float[Array, "d *grid"]:
        """White coordinates of a velocity: the inverse of `root`."""
        return self._filter(velocity, -0.5)

    def on(self, grid: tuple[int, ...], dtype: Any) -> Callable[[Array], Array]:
        """`sharp` on one grid, with what does not depend on the momentum computed once."""
        return self._power(grid, dtype, 1.0)

    def _filter(self, values, power: float):
        """Apply a power of the kernel."""
        self._check(values)
        return self._power(values.shape[1:], values.dtype, power)(values)

    def _power(self, grid: tuple[int, ...], dtype: Any, power: float) -> Callable[[Array], Array]:
        """What applies a power of the kernel to fields on a grid."""
        multiplier = self._multiplier(grid)
        # waves too short for floating point are not moved, and have no derivative
        multiplier = jnp.maximum(multiplier, jnp.finfo(multiplier.dtype).tiny) ** power
        return lambda values: filter_waves(values, multiplier, self.boundary)

    def _check(self, values) -> None:
        d = self.spacing.shape[0]
        if values.ndim != d + 1 or values.shape[0] != d:
            raise InputError(
                f"Fields of this metric must have shape [{d}, *grid] with {d} axes of a grid, but "
                f"one has {list(values.shape)}."
            )

    def _multiplier(self, grid: tuple[int, ...]) -> Float[Array, "*waves"]:
        squares = squared_wavenumbers(grid, self.spacing, self.boundary)
        total = squares[0]
        for part in squares[1:]:
            total = total[..., None] + part.reshape((1,) * total.ndim + part.shape)
        kernels = jax.vmap(lambda s: self.spectrum(total, s))(self.scale)
        return jnp.mean(kernels, axis=0) / jnp.prod(self.spacing)


class Sobolev(AbstractGridMetric):
    """`L = (1 - scale^2 Laplacian)^order`: fields with that many square-integrable derivatives.

    Args:
        order: more than half the dimension, so that the kernel is finite; geodesics of images
            exist for all times from half the dimension plus one on.

    The other arguments are those of every `AbstractGridMetric`.

    Example:
        >>> import jax.numpy as jnp
        >>> metric = Sobolev([1.0, 1.0], 2.0, order=3)
        >>> velocity = metric.sharp(jnp.zeros((2, 33, 33)).at[0, 16, 16].set(1.0))
        >>> float(velocity[0, 16, 16].round(2))
        1.0

    Reference: `[beg2005computing]`, `[younes2010shapes]`.
    """

    spacing: Float[Array, " d"]
    scale: Float[Array, " k"]
    order: float | int = eqx.field(static=True)
    boundary: Boundary = eqx.field(static=True)

    def __init__(self, spacing, scale, *, order: float | int = 3, boundary: str = "zero"):
        self.spacing, self.scale = as_spacing(spacing), _as_scales(scale)
        self.boundary = as_boundary(boundary)
        if isinstance(order, bool) or not isinstance(order, int | float):
            raise InputError(f"Argument order must be a number, but is {order!r}.")
        checks.positive(order, "order")
        if 2 * order <= self.spacing.shape[0]:
            raise InputError(
                f"Argument order must be more than half the dimension {self.spacing.shape[0]}, "
                f"but is {order}."
            )
        self.order = order

    def spectrum(self, squared_wavenumber, scale):
        d, order = self.spacing.shape[0], self.order
        ratio = math.exp(math.lgamma(order) - math.lgamma(order - d / 2))
        volume = (4 * np.pi) ** (d / 2) * scale**d * ratio
        return volume * (1 + jnp.square(scale) * squared_wavenumber) ** (-order)


class GaussianGrid(AbstractGridMetric):
    """The kernel `exp(-r^2 / (2 scale^2))`, as `RKHS(Gaussian(scale))` has for points.

    Its inverse, `flat`, is badly conditioned: waves much shorter than the scale cost more than
    floating point can tell. Arguments are those of every `AbstractGridMetric`.

    Reference: `[younes2010shapes]`.
    """

    spacing: Float[Array, " d"]
    scale: Float[Array, " k"]
    boundary: Boundary = eqx.field(static=True)

    def __init__(self, spacing, scale, *, boundary: str = "zero"):
        self.spacing, self.scale = as_spacing(spacing), _as_scales(scale)
        self.boundary = as_boundary(boundary)

    def spectrum(self, squared_wavenumber, scale):
        variance = jnp.square(scale)
        height = (2 * np.pi * variance) ** (self.spacing.shape[0] / 2)
        return height * jnp.exp(-0.5 * variance * squared_wavenumber)

    def _power(self, grid, dtype, power):
        if self.scale.shape[0] > 1:
            return super()._power(grid, dtype, power)
        # a Gaussian is a product over the axes: matrices for each, instead of transforms
        ways = [self._along(n, axis, power, dtype) for axis, n in enumerate(grid)]

        def apply(values):
            # first all that make fields smaller
            for matrix_of in (0, 1):
                for axis, way in enumerate(ways):
                    if len(way) > matrix_of:
                        values = along(way[matrix_of], values, axis + 1)
            return values

        return apply

    def _along(self, n: int, axis: int, power: float, dtype: Any) -> list[Float[Array, "m n"]]:
        """A power of the kernel along one axis: a matrix, or two, to the waves told and back."""
        spacing = self.spacing[axis : axis + 1]
        (squares,) = squared_wavenumbers((n,), spacing, self.boundary)
        variance = jnp.square(self.scale[0])
        # the power of an exponential, which does not vanish before its root does
        height = (2 * np.pi * variance) ** 0.5 / spacing[0]
        kernel = height**power * jnp.exp(-0.5 * power * variance * squares)
        count = self._waves_told(n, axis, power, dtype)
        if 2 * count <= n:
            waves = sine_matrix(n, dtype)[:count]
            return [waves, waves.T * kernel[None, :count].astype(dtype)]
        return [filter_waves(jnp.eye(n, dtype=kernel.dtype), kernel, self.boundary).astype(dtype)]

    def _waves_told(self, n: int, axis: int, power: float, dtype: Any) -> int:
        """How many waves the kernel passes that floating point can tell, as far as is known."""
        known = not (checks.is_tracer(self.scale) or checks.is_tracer(self.spacing))
        if self.boundary != "zero" or power <= 0 or not known:
            return n
        length = float(np.asarray(self.scale)[0]) / float(np.asarray(self.spacing)[axis])
        waves = np.pi * np.arange(1, n + 1) / (n + 1)
        decay = np.exp(-0.5 * power * (length * waves) ** 2)
        return int(np.sum(decay > 0.01 * float(jnp.finfo(dtype).eps) * decay[0]))
