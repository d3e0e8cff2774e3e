"""The problem that a match of images solves at one resolution."""

import math

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from geojax.matching.images.levels import Level, distance_of
from geojax.matching.images.models import AbstractModel
from geojax.matching.images.terms import AbstractTerm
from geojax.metrics import AbstractGridMetric
from geojax.shapes import AbstractImageFidelity


class White(eqx.Module):
    """Coordinates of a search that are the unknowns themselves."""

    def momentum(self, a: Float[Array, "..."]) -> Float[Array, "..."]:
        """The unknowns."""
        return a

    def coordinates(self, momentum: Float[Array, "..."]) -> Float[Array, "..."]:
        """Their coordinates."""
        return momentum

    def gradient(self, gradient: Float[Array, "..."]) -> Float[Array, "..."]:
        """A derivative in the unknowns as one in the coordinates."""
        return gradient


def unit(like: Float[Array, "..."]) -> Float[Array, "..."]:
    """An array of norm one."""
    return jnp.full_like(like, 1 / math.sqrt(like.size))


class ImageProblem(eqx.Module):
    """Minimise `energy + weight * fidelity(source pulled back, target)`.

    Attributes:
        model: how white coordinates drive a deformation.
        metric: price of velocities on the grid.
        fidelity: distance of images on one grid.
        weight: price of a unit of fidelity.
        level: both images.
        beside: what else is carried, and adds its cost.
    """

    model: AbstractModel
    metric: AbstractGridMetric
    fidelity: AbstractImageFidelity
    weight: Float[Array, ""]
    level: Level
    beside: tuple[AbstractTerm, ...] = ()

    def at_rest(self) -> Float[Array, "..."]:
        """Coordinates where nothing moves."""
        return jnp.zeros(self.model.unknowns(self.level.grid), self.level.target.dtype)

    def distance(self, displacement: Float[Array, "d *grid"] | None) -> Float[Array, ""]:
        """Fidelity of the source pulled back by a displacement."""
        return distance_of(self.fidelity, self.level, self.level.moved(displacement))

    def objective(self, noise: Float[Array, "..."]) -> Float[Array, ""]:
        """Energy plus weighted fidelity, and the cost of what lies beside."""
        pull = self.model.pull(self.metric, noise)
        return (
            0.5 * jnp.sum(jnp.square(noise)) + self.weight * self.distance(pull) + self.aside(pull)
        )

    def aside(self, displacement: Float[Array, "d *grid"] | None) -> Float[Array, ""]:
        """Cost of all that lies beside the images."""
        costs = [term.cost(self.level, displacement) for term in self.beside]
        return sum(costs, start=jnp.zeros((), self.level.target.dtype))

    def constant(self) -> Float[Array, ""]:
        """All of the objective depends on the deformation."""
        return jnp.zeros((), self.level.target.dtype)

    def gradient_at_rest(self) -> Float[Array, "..."]:
        """A gradient of norm one: progress, not the gradient, ends a search over noisy images."""
        return unit(self.at_rest())

    def coordinates(self) -> White:
        """White coordinates are nearly round by themselves."""
        return White()
