"""Velocity fields that carry images and densities on a grid."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from geojax._core import checks, trees
from geojax._core.errors import InputError
from geojax._core.grids import Boundary, as_boundary, as_spacing, differences
from geojax.actions.base import AbstractAction


class _Gridded(AbstractAction):
    """Shared parts: states are real arrays `[*grid]`, velocities fields `[d, *grid]`."""

    spacing: eqx.AbstractVar[Float[Array, " d"]]
    boundary: eqx.AbstractVar[Boundary]

    def covector(self, state, coordinates):
        return coordinates.reshape(state.shape)

    def residual(self, state, target):
        return (state - target).reshape(-1)

    def chord(self, source, target):
        return target - source

    def check(self, state, name):
        values = checks.as_float_array(state, name)
        d = self.spacing.shape[0]
        if values.ndim != d or min(values.shape) < 3:
            raise InputError(
                f"Argument {name} must be an image with {d} axes of at least 3 entries, one for "
                f"each spacing, but has shape {list(values.shape)}."
            )
        return jnp.asarray(values if checks.is_tracer(values) else checks.finite(values, name))

    def _differences(self, values):
        return differences(values, self.spacing, self.boundary)


class Images(_Gridded):
    """A velocity field carries the values of an image along: `dI/dt = -v . grad I`.

    With central differences; their transpose is the momentum map `p -> -p grad I`, so the
    geodesics of the grid conserve their energy. With a metric of fields on grids they solve
    EPDiff, with the scalar momentum p.

    Args:
        spacing: distance of neighbours along each axis, `[d]`.
        boundary: as that of the metric.

    Example:
        >>> import jax.numpy as jnp
        >>> ramp = jnp.broadcast_to(jnp.arange(5.0), (4, 5))
        >>> velocity = jnp.stack([jnp.zeros((4, 5)), jnp.ones((4, 5))])
        >>> float(Images([1.0, 1.0])(velocity, ramp)[1, 2])
        -1.0

    Reference: `[beg2005computing]`, `[younes2010shapes]`.
    """

    spacing: Float[Array, " d"] = eqx.field(converter=as_spacing)
    boundary: Boundary = eqx.field(static=True, converter=as_boundary, default="zero")

    def __call__(
        self, velocity: Float[Array, "d *grid"], state: Float[Array, "*grid"]
    ) -> Float[Array, "*grid"]:
        return -jnp.sum(velocity * self._differences(state), axis=0)

    def momentum(
        self, state: Float[Array, "*grid"], costate: Float[Array, "*grid"]
    ) -> Float[Array, "d *grid"]:
        return -costate[None] * self._differences(state)


class Densities(_Gridded):
    """A velocity field carries mass along: `drho/dt = -div(rho v)`.

    The divergence is the negative transpose of the differences of `Images`, so mass is conserved
    exactly; geodesics lead to densities of the same mass only.

    Args:
        spacing: distance of neighbours along each axis, `[d]`.
        boundary: as that of the metric.

    Example:
        >>> import jax.numpy as jnp
        >>> rate = Densities([1.0])(jnp.ones((1, 6)), jnp.arange(6.0))
        >>> float(jnp.sum(rate))
        0.0

    Reference: `[younes2010shapes]`.
    """

    spacing: Float[Array, " d"] = eqx.field(converter=as_spacing)
    boundary: Boundary = eqx.field(static=True, converter=as_boundary, default="zero")

    # a constant costate moves nothing, as the mass stays: the last coordinate of a state of known
    # mass follows from the others

    def covector(self, state, coordinates):
        return jnp.append(coordinates, 0.0).astype(coordinates.dtype).reshape(state.shape)

    def residual(self, state, target):
        return (state - target).reshape(-1)[:-1]

    def __call__(
        self, velocity: Float[Array, "d *grid"], state: Float[Array, "*grid"]
    ) -> Float[Array, "*grid"]:
        return trees.adjoint(self._differences, state)(velocity * state[None])

    def momentum(
        self, state: Float[Array, "*grid"], costate: Float[Array, "*grid"]
    ) -> Float[Array, "d *grid"]:
        return state[None] * self._differences(costate)
