"""The minimiser of matching problems: `init` and `step`.

Preconditioned L-BFGS. Matrix-free Gauss-Newton was measured beside it on landmarks (weights 1e2 to
1e5): it needed more iterations but at the largest weight, and 20 to 100 times the time everywhere.
Where the fidelity is to be met exactly, `geojax.log` solves the boundary-value problem by
Levenberg-Marquardt.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, ArrayLike, Bool, Float, Int, PyTree

from geojax._core import checks, compat
from geojax._core.results import RESULTS, code_if
from geojax.matching.coordinates import Searched

# Sufficient decrease and curvature of a line search, as parts of the slope [nocedal2006numerical].
_DECREASE, _CURVATURE = 1e-4, 0.9
# Iterations in a row that may lower neither the objective nor the gradient by more than round-off
# before the search is given up.
_PATIENCE = 10


@runtime_checkable
class Minimisable(Protocol):
    """What a search minimises: a function of an initial momentum, or of several unknowns."""

    def objective(self, momentum: PyTree, /) -> Float[Array, ""]:
        """What is to be small, without what only the targets decide."""
        ...

    def constant(self) -> Float[Array, ""]:
        """What only the targets decide."""
        ...

    def gradient_at_rest(self) -> PyTree:
        """Derivative of the objective where nothing moves: it sets the scale of tolerances."""
        ...

    def coordinates(self) -> Searched:
        """Coordinates in which the objective is nearly round."""
        ...


class State(eqx.Module):
    """What an iteration carries.

    Attributes:
        position: current momentum (or what else is searched), in `coordinates`.
        coordinates: of the search.
        value: objective there, without what only the target decides.
        offset: what only the target decides.
        gradient: its derivative.
        history: objective at the start and after each iteration (NaN beyond the last).
        first_norm: norm of the gradient at zero momentum.
        iteration: iterations done; -1 before the objective is known.
        evaluations: evaluations of the objective and its gradient.
        least_norm: the smallest norm of the gradient so far.
        idle: iterations in a row that lowered neither the objective nor the gradient.
        fresh: whether the next direction is the gradient, without memory.
        converged, stalled: met the tolerance; cannot decrease any further.
        inner: the memory of optax's L-BFGS.
    """

    position: Float[Array, "..."]
    coordinates: Searched
    value: Float[Array, ""]
    offset: Float[Array, ""]
    gradient: Float[Array, "..."]
    history: Float[Array, " k"]
    first_norm: Float[Array, ""]
    iteration: Int[Array, ""]
    evaluations: Int[Array, ""]
    least_norm: Float[Array, ""]
    idle: Int[Array, ""]
    fresh: Bool[Array, ""]
    converged: Bool[Array, ""]
    stalled: Bool[Array, ""]
    inner: Any

    @property
    def momentum(self) -> PyTree:
        """Current momentum."""
        return self.coordinates.momentum(self.position)

    @property
    def gradient_norm(self) -> Float[Array, ""]:
        """Norm of the gradient, relative to that at zero momentum; NaN before it is known."""
        norm = jnp.linalg.norm(self.gradient) / self.first_norm
        return jnp.where(jnp.isfinite(self.value), norm, jnp.nan)

    @property
    def result(self) -> RESULTS:
        """Result code: converged, or stalled as near as round-off allows."""
        reachable = 32 * float(jnp.finfo(self.position.dtype).eps) ** 0.5
        near = self.stalled & (self.gradient_norm <= reachable) & jnp.isfinite(self.value)
        return code_if(~(self.converged | near), RESULTS.not_converged)

    @property
    def done(self) -> Bool[Array, ""]:
        """Nothing more to do."""
        return self.converged | self.stalled


class LBFGS(eqx.Module):
    """Limited-memory BFGS (optax) with a bisecting line search for the weak Wolfe conditions.

    Args:
        memory: pairs of steps that are remembered.
        max_linesearch_steps: bound on the evaluations of one line search.

    Reference: `[liu1989limited]`, `[nocedal2006numerical]`.
    """

    memory: int = eqx.field(static=True, default=20)
    max_linesearch_steps: int = eqx.field(static=True, default=30)

    def __check_init__(self):
        checks.count(self.memory, "memory")
        checks.count(self.max_linesearch_steps, "max_linesearch_steps")

    def init(self, problem: Minimisable, momentum: PyTree, length: int) -> State:
        """State before anything is evaluated, with room for `length` iterations in the history.

        The first step only evaluates the objective at the start, so that a search compiles its
        gradient once.
        """
        coordinates = problem.coordinates()
        position = coordinates.coordinates(momentum)
        # relative to rest, not to a warm start, which may be near the minimum already
        first = jnp.linalg.norm(coordinates.gradient(problem.gradient_at_rest()))
        infinite = jnp.full((), jnp.inf, position.dtype)
        return State(
            position=position,
            coordinates=coordinates,
            value=infinite,
            offset=problem.constant(),
            gradient=jnp.zeros_like(position),
            history=jnp.full(length + 1, jnp.nan, position.dtype),
            first_norm=jnp.where(first > 0, first, 1.0),
            iteration=jnp.array(-1),
            evaluations=jnp.array(0),
            least_norm=infinite,
            idle=jnp.array(0),
            fresh=jnp.array(True),
            converged=jnp.array(False),
            stalled=jnp.array(False),
            inner=self._memory.init(position),
        )

    @property
    def _memory(self):
        return optax.scale_by_lbfgs(memory_size=self.memory)

    def step(self, problem: Minimisable, state: State, tolerance: Float[ArrayLike, ""]) -> State:
        """One iteration."""
        with compat.standard_promotion():
            scaled, inner = self._memory.update(state.gradient, state.inner, state.position)
        # optax weighs its memory in the default dtype
        scaled = jnp.asarray(scaled, state.gradient.dtype)
        steepest = state.fresh | (jnp.sum(scaled * state.gradient) <= 0)
        direction = -jnp.where(steepest, state.gradient, scaled)
        started = state.iteration >= 0
        # below this a difference of values is round-off
        size = jnp.maximum(jnp.abs(state.value), jnp.abs(state.history[0] - state.offset))
        noise = jnp.where(started, 4 * jnp.finfo(state.value.dtype).eps * size, 0.0)
        found = _line_search(
            _objective(problem, state.coordinates),
            state.position,
            state.value,
            state.gradient,
            direction,
            noise,
            self.max_linesearch_steps,
        )

        def choose(new, old):
            return jnp.where(found.accepted, new, old)

        position = state.position + choose(found.length, 0.0) * direction
        value, gradient = choose(found.value, state.value), choose(found.gradient, state.gradient)
        # where the memory led nowhere it is dropped; where the gradient does, that is the end
        failed = ~found.accepted
        fresh = failed | ~started
        start = self._memory.init(position)
        inner = jax.tree.map(lambda new, old: jnp.where(fresh, new, old), start, inner)
        norm = jnp.linalg.norm(gradient)
        better = (state.value - value > noise) | (norm < 0.9 * state.least_norm)
        idle = jnp.where(better, 0, state.idle + 1)
        return State(
            position=position,
            coordinates=state.coordinates,
            value=value,
            offset=state.offset,
            gradient=gradient,
            history=state.history.at[state.iteration + 1].set(value + state.offset),
            first_norm=state.first_norm,
            iteration=state.iteration + 1,
            evaluations=state.evaluations + found.evaluations,
            least_norm=jnp.minimum(norm, state.least_norm),
            idle=idle,
            fresh=fresh,
            converged=norm <= tolerance * state.first_norm,
            stalled=(failed & steepest) | (idle >= _PATIENCE),
            inner=inner,
        )


class _Trial(NamedTuple):
    """State of a line search: the last step length that was tried, and its bracket."""

    length: Float[Array, ""]
    low: Float[Array, ""]
    high: Float[Array, ""]
    value: Float[Array, ""]
    gradient: Float[Array, "..."]
    accepted: Bool[Array, ""]
    evaluations: Int[Array, ""]


def _line_search(objective, position, value, gradient, direction, noise, max_steps) -> _Trial:
    """Double until too long, then bisect; one evaluation per turn, compiled once.

    Where values differ by round-off only, slopes decide (Hager and Zhang's approximate Wolfe
    conditions), so that gradients may become smaller than values can tell.
    """
    slope = jnp.sum(gradient * direction)

    def unfinished(trial):
        return ~trial.accepted & (trial.evaluations < max_steps)

    def turn(trial):
        bracketed = jnp.isfinite(trial.high)
        length = jnp.where(bracketed, 0.5 * (trial.low + trial.high), 2 * trial.low)
        length = jnp.where(trial.evaluations == 0, jnp.ones_like(length), length)
        reached, derivative = jax.value_and_grad(objective)(position + length * direction)
        ahead = jnp.sum(derivative * direction)
        decreased = reached <= value + _DECREASE * length * slope
        level = (reached <= value + noise) & (ahead <= (2 * _DECREASE - 1) * slope)
        finite = jnp.isfinite(reached) & jnp.isfinite(ahead)
        too_long = ~(finite & (decreased | level))
        too_short = ~too_long & (ahead < _CURVATURE * slope)
        return _Trial(
            length=length,
            low=jnp.where(too_short, length, trial.low),
            high=jnp.where(too_long, length, trial.high),
            value=reached,
            gradient=derivative,
            accepted=~too_long & ~too_short,
            evaluations=trial.evaluations + 1,
        )

    zero = jnp.zeros_like(value)
    start = _Trial(
        zero, zero, jnp.full_like(value, jnp.inf), value, gradient, jnp.array(False), jnp.array(0)
    )
    return jax.lax.while_loop(unfinished, turn, start)


def _objective(problem: Minimisable, coordinates: Searched) -> Callable[[Array], Array]:
    return lambda position: problem.objective(coordinates.momentum(position))


@eqx.filter_jit
def run(
    minimiser: LBFGS,
    problem: Minimisable,
    state: State,
    tolerance: Float[ArrayLike, ""],
    until: Int[ArrayLike, ""],
) -> tuple[State, PyTree]:
    """Iterate until done or until iteration `until`; the state and its momentum.

    Compiled once for all rounds and chunks.
    """

    def unfinished(state):
        return ~state.done & (state.iteration < until)

    state = jax.lax.while_loop(
        unfinished, lambda state: minimiser.step(problem, state, tolerance), state
    )
    return state, state.momentum
