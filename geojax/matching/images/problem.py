"""The problem that a match of images solves at one resolution."""

import math

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from geojax.matching.images.levels import Level, distance_of
from geojax.matching.images.models import AbstractModel, Motion
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
        model: how unknowns drive a deformation.
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
        """Unknowns that a search starts from."""
        return self.model.at_rest(self.level.grid, self.level.target.dtype)

    def move(self, unknowns: Float[Array, "..."], *, push: bool = False) -> Motion:
        """The motion that unknowns drive."""
        return self.model.move(self.metric, unknowns, self.level.moved()[0], push=push)

    def distance(self, motion: Motion | None) -> Float[Array, ""]:
        """Fidelity of the moved source; None for that by the affine part alone."""
        if motion is None:
            return distance_of(self.fidelity, self.level, self.level.moved())
        image, weights = self.level.moved(motion.displacement)
        if motion.change is not None:
            image = image + motion.change
        return distance_of(self.fidelity, self.level, (image, weights))

    def objective(self, unknowns: Float[Array, "..."]) -> Float[Array, ""]:
        """Energy plus weighted fidelity, and the cost of what lies beside."""
        motion = self.move(unknowns)
        cost = motion.energy + self.weight * self.distance(motion)
        return cost + self.aside(motion.displacement)

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
        """The unknowns of models are nearly round by themselves."""
        return White()
