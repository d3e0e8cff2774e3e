"""How numbers drive a deformation of a grid: the models of a match of images.

All are searched in white coordinates: numbers whose half sum of squares is the energy, made into
velocities by the root of the metric's kernel.
"""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from geojax._core import checks
from geojax.flows.grids import compose, exponential, pull_back
from geojax.flows.interpolation import Ends
from geojax.metrics import AbstractGridMetric


class AbstractModel(eqx.Module):
    """A family of deformations.

    A deformation is its displacement `[d, *grid]` on the grid of the target: *pull* leads from
    there to the source, so that images are pulled back by it; *push* is its inverse.
    """

    @abc.abstractmethod
    def unknowns(self, grid: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of the white coordinates."""

    @abc.abstractmethod
    def pull(self, metric: AbstractGridMetric, noise: Float[Array, "..."]) -> Float[Array, "..."]:
        """Displacement from target to source."""

    @abc.abstractmethod
    def push(self, metric: AbstractGridMetric, noise: Float[Array, "..."]) -> Float[Array, "..."]:
        """Displacement from source to target."""


class Stationary(AbstractModel):
    """One velocity for all times: the deformation is its exponential.

    Its energy is that of the velocity. Inverse and roots of a deformation come for free.

    Args:
        num_squarings: of the scaling and squaring.

    Reference: `[arsigny2006logeuclidean]`, `[ashburner2007fast]`.
    """

    num_squarings: int = eqx.field(static=True, default=6)

    def __check_init__(self):
        checks.count(self.num_squarings, "num_squarings")

    def unknowns(self, grid):
        return (len(grid), *grid)

    def pull(self, metric, noise):
        return self._exponential(metric, -metric.root(noise))

    def push(self, metric, noise):
        return self._exponential(metric, metric.root(noise))

    def _exponential(self, metric, velocity):
        return exponential(
            velocity,
            metric.spacing,
            num_squarings=self.num_squarings,
            boundary=metric.boundary,
        )


class TimeDependent(AbstractModel):
    """A velocity for each of several times: large deformation diffeomorphic metric mapping.

    Args:
        num_steps: times; each velocity moves for an equal part of the whole.

    Reference: `[beg2005computing]`.
    """

    num_steps: int = eqx.field(static=True, default=8)

    def __check_init__(self):
        checks.count(self.num_steps, "num_steps")

    def unknowns(self, grid):
        return (self.num_steps, len(grid), *grid)

    def pull(self, metric, noise):
        # the map back from later times goes first
        return self._steps(metric, noise, -1.0)

    def push(self, metric, noise):
        return self._steps(metric, noise[::-1], 1.0)

    def _steps(self, metric, noise, sign: float):
        spacing, boundary = metric.spacing, metric.boundary

        def step(displacement, white):
            # the energy of a constant speed over all times is half the sum of squares
            way = sign * metric.root(white) / jnp.sqrt(jnp.asarray(self.num_steps, white.dtype))
            # the midpoint rule: of second order in the length of the step
            ends: Ends = "wrap" if boundary == "periodic" else "zero"
            middle = pull_back(way, 0.5 * way, spacing, ends=ends)
            return compose(displacement, middle, spacing, boundary=boundary), None

        start = jnp.zeros_like(noise[0])
        return jax.lax.scan(jax.checkpoint(step), start, noise)[0]
