"""What a geodesic regression of images minimises, at one resolution."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from geojax.geodesics import shoot_image
from geojax.matching.images.levels import Level, distance_of
from geojax.matching.images.models import scalar_momentum
from geojax.matching.images.problem import White, unit
from geojax.metrics import AbstractGridMetric
from geojax.shapes import AbstractImageFidelity


class ImageRegressionProblem(eqx.Module):
    """Minimise `energy + weight * sum_k fidelity(baseline, pulled along to t_k; image k)`.

    Attributes:
        metric, fidelity, weight: as of `ImageProblem`.
        levels: the baseline (source) and each image (target), side by side.
        stops: times at which something was seen, positive, in parts of the whole.
        seen: for each image which of the stops, 0 for the time of the baseline.
        num_steps: in each interval.
    """

    metric: AbstractGridMetric
    fidelity: AbstractImageFidelity
    weight: Float[Array, ""]
    levels: Level
    stops: Float[Array, " g"]
    seen: Int[Array, " s"]
    num_steps: int = eqx.field(static=True)

    @property
    def baseline(self) -> Float[Array, "*grid"]:
        """The image that is carried."""
        return self.levels.source[0]

    def at_rest(self) -> Float[Array, "*grid"]:
        """Unknowns that drive no motion."""
        return jnp.zeros_like(self.baseline)

    def path(self, unknowns: Float[Array, "*grid"]):
        """The geodesic, at the stops."""
        momentum = scalar_momentum(self.metric, unknowns, self.baseline)
        return shoot_image(
            self.metric, self.baseline, momentum, times=self.stops, num_steps=self.num_steps
        )

    def displacements(self, path) -> Float[Array, "s d *grid"]:
        """Where the baseline is pulled from at the time of each image."""
        start = jnp.zeros_like(path.displacements[:1])
        return jnp.concatenate([start, path.displacements])[self.seen]

    def distances(self, displacements: Float[Array, "s d *grid"]) -> Float[Array, " s"]:
        """Fidelity to each image."""

        def one(lane):
            level, displacement = lane
            return distance_of(self.fidelity, level, level.moved(displacement))

        return jax.lax.map(one, (self.levels, displacements))

    def objective(self, unknowns: Float[Array, "*grid"]) -> Float[Array, ""]:
        """Energy plus weighted fidelities."""
        path = self.path(unknowns)
        total = jnp.sum(self.distances(self.displacements(path)))
        return path.energies[-1] + self.weight * total

    def constant(self) -> Float[Array, ""]:
        """All of the objective depends on the motion."""
        return jnp.zeros((), self.baseline.dtype)

    def gradient_at_rest(self) -> Float[Array, "*grid"]:
        """A gradient of norm one, as of `ImageProblem`."""
        return unit(self.at_rest())

    def coordinates(self) -> White:
        """The unknowns are nearly round by themselves."""
        return White()
