"""The noun path: what curve came out of an integration."""

import abc
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from geojax._core.linalg import safe_sqrt
from geojax._core.results import RESULTS


def kinetic_energy(
    t: Float[Array, ""], x: Float[Array, "*batch d"], velocity: Float[Array, "*batch d"]
) -> Float[Array, "*batch"]:
    """Running cost `1/2 |v|^2` of each point."""
    return 0.5 * jnp.sum(jnp.square(velocity), axis=-1)


def speed(
    t: Float[Array, ""], x: Float[Array, "*batch d"], velocity: Float[Array, "*batch d"]
) -> Float[Array, "*batch"]:
    """Running cost `|v|` of each point, with derivative zero where it rests."""
    return safe_sqrt(jnp.sum(jnp.square(velocity), axis=-1))


class AbstractFieldCost(eqx.Module):
    """A running cost that looks at the field itself, to differentiate it for instance."""

    @abc.abstractmethod
    def __call__(
        self,
        field: Callable[[Array, Array], Array],
        t: Float[Array, ""],
        x: Float[Array, "*batch d"],
        velocity: Float[Array, "*batch d"],
        probe: Float[Array, "*batch d"] | None,
    ) -> Float[Array, "*batch"]:
        """Rate of the cost at each point.

        Args:
            field: the velocity as a function of time and points.
            t, x: where.
            velocity: `field(t, x)`.
            probe: the random direction of each point, the same along its whole path, for
                estimates of traces and norms; None if `integrate` was given no key.
        """


class Path(eqx.Module):
    """A curve of states with what was measured along it.

    Every integration returns one; every measurement reads one. Arrays of states carry a leading
    axis of saved times.

    Attributes:
        times: `[k]`, in the order of integration (decreasing for a reversed flow).
        states: states at those times.
        costates: momenta at those times, for geodesics; None otherwise.
        carried: points that were carried along by the velocity; None if there were none.
        energy: half the squared speed, integrated: in the metric for geodesics (a scalar); for
            `integrate` in the ambient norm, per point, or of the state as a whole if an action
            moves it. Integrated along with the states, whichever of them are saved. NaN where
            the end was not reached; a path that merely failed for `energy_drift` did come there,
            and keeps its numbers.
        length: the speed, integrated; likewise.
        energy_drift: relative change of the conserved energy of a geodesic; None otherwise.
        costs: integrals of the running costs that were asked for.
        log_det: log-determinant of the Jacobian of each point, `[...]`; None unless asked for.
        result: result code of the solve (one per lane under `vmap`).
        num_steps: steps taken.
        num_evaluations: evaluations of the vector field; -1 for implicit and wrapped solvers, where
            the count is not known.
        time_reached: the last saved time up to which the solver came; the end, if it succeeded.
            States after a failure are withheld (NaN).
    """

    times: Float[Array, " k"]
    states: PyTree
    energy: Float[Array, "..."]
    length: Float[Array, "..."]
    result: RESULTS
    num_steps: Int[Array, "..."]
    num_evaluations: Int[Array, "..."]
    time_reached: Float[Array, "..."] | None = None
    costates: PyTree = None
    carried: PyTree = None
    energy_drift: Float[Array, "..."] | None = None
    costs: dict[str, Array] = eqx.field(default_factory=dict)
    log_det: Float[Array, "..."] | None = None

    @property
    def start(self) -> PyTree:
        """The first state, of each lane if the path was computed under `vmap`."""
        return self._at(0)

    @property
    def end(self) -> PyTree:
        """The last state, of each lane if the path was computed under `vmap`."""
        return self._at(-1)

    def _at(self, index):
        axis = self.times.ndim - 1  # lanes come before times
        return jax.tree.map(lambda x: x[(slice(None),) * axis + (index,)], self.states)

    @property
    def chord(self) -> Float[Array, "..."]:
        """Ambient distance from start to end: of each point for `[..., d]` states."""
        return jnp.linalg.norm(self.end - self.start, axis=-1)

    @property
    def length_over_chord(self) -> Float[Array, "..."]:
        """Length over chord of each point: 1 for a straight line."""
        return self.length / self.chord
