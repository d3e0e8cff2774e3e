"""The problem that `match` solves: energy plus weighted fidelity, over initial momenta."""

from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from geojax.actions import Points
from geojax.flows import Path
from geojax.geodesics import hamiltonian, shoot
from geojax.kernels import kernel_sum
from geojax.matching.coordinates import Coordinates, Searched
from geojax.matching.layout import Layout
from geojax.metrics import RKHS
from geojax.shapes import AbstractFidelity


class Problem(eqx.Module):
    """Minimise `energy(p) + weight * fidelity(source carried by p, target)` over p.

    Attributes:
        metric: price of velocity fields.
        fidelity: distance between the carried source and the target.
        weight: price of a unit of fidelity.
        source: points that are to be carried, `[n, d]`.
        target: where to, `[m, d]`.
        control_points: where momenta sit, `[c, d]`; None if they sit on the source itself.
        solver: diffrax solver of the shooting.
        num_steps: its number of equal steps.
        stepsize_controller, adjoint, max_steps: of the shooting, passed to diffrax.
        active: which control points may hold a momentum, `[c]`; None for all. The others are
            padding.
        layout: the objects that the source consists of.
    """

    metric: RKHS
    fidelity: AbstractFidelity
    weight: Float[Array, ""]
    source: Float[Array, "n d"]
    target: Float[Array, "m d"]
    control_points: Float[Array, "c d"] | None
    solver: diffrax.AbstractSolver
    num_steps: int = eqx.field(static=True)
    stepsize_controller: diffrax.AbstractStepSizeController | None = None
    adjoint: diffrax.AbstractAdjoint | None = None
    max_steps: int | None = eqx.field(static=True, default=4096)
    active: Bool[Array, " c"] | None = None
    layout: Layout | None = None

    @property
    def stepping(self) -> dict[str, Any]:
        """The options of the shooting."""
        names = ("solver", "num_steps", "stepsize_controller", "adjoint", "max_steps")
        return {name: getattr(self, name) for name in names}

    @property
    def twice_differentiable(self) -> bool:
        """Whether the objective has second derivatives: of diffrax's adjoints one has them."""
        equal = self.stepsize_controller is None and self.adjoint is None
        stepping = equal or isinstance(self.adjoint, diffrax.DirectAdjoint)
        return stepping and self.fidelity.twice_differentiable

    @property
    def base(self) -> Float[Array, "c d"]:
        """The points that hold the momenta."""
        return self.source if self.control_points is None else self.control_points

    def shoot(self, momentum: Float[Array, "c d"], **options) -> Path:
        """The geodesic of a momentum; carries the source if it is not what is shot."""
        momentum, _ = self._parts(momentum)
        carried = None if self.control_points is None else self.source
        options = {**self.stepping, "throw": False, **options}
        return shoot(self.metric, Points(), self.base, momentum, carried=carried, **options)

    def moved(self, momentum: Float[Array, "c d"]) -> Float[Array, "n d"]:
        """The source at the end of the geodesic of a momentum."""
        return moved_source(self.shoot(momentum, save="end"))[-1]

    def energy(self, momentum: Float[Array, "c d"]) -> Float[Array, ""]:
        """Energy of the geodesic: half the squared norm of the momentum."""
        momentum, idle = self._parts(momentum)
        energy = hamiltonian(self.metric, Points(), self.base, momentum)
        # padding holds none at the minimum, and does not make that degenerate
        return energy if idle is None else energy + 0.5 * jnp.sum(jnp.square(idle))

    def objective(self, momentum: Float[Array, "c d"]) -> Float[Array, ""]:
        """Energy plus weighted fidelity, without the part that only the target decides."""
        data = self.fidelity.cross(self.moved(momentum), self.target)
        return self.energy(momentum) + self.weight * data

    def constant(self) -> Float[Array, ""]:
        """The part of the objective that only the target decides."""
        return self.weight * self.fidelity.target_term(self.target)

    def gradient(self, momentum: Float[Array, "c d"]) -> Float[Array, "c d"]:
        """Derivative of the objective in the momentum; zero at the solution."""
        return jax.grad(self.objective)(momentum)

    def gradient_at_rest(self) -> Float[Array, "c d"]:
        """Derivative of the objective at zero momentum: there points move by `K p` exactly."""
        pull = jax.grad(self.fidelity.cross)(self.source, self.target)
        pulled = kernel_sum(self.metric.kernel, self.base, self.source, pull)
        return self.weight * self._parts(pulled)[0]

    def _parts(self, momentum):
        """The momentum of control points, and that of padding."""
        if self.active is None:
            return momentum, None
        active = self.active[:, None]
        return jnp.where(active, momentum, 0.0), jnp.where(active, 0.0, momentum)

    def coordinates(self) -> Searched:
        """Coordinates of momenta in which the objective is nearly round."""
        return Coordinates.of(self.metric, self.fidelity, self.weight, self.base, self.active)


def moved_source(path: Path) -> Float[Array, "k n d"]:
    """The carried source along a path of `Problem.shoot`."""
    return path.states if path.carried is None else path.carried
