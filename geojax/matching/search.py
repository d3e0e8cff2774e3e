"""The search for a minimum: rounds from coarse to fine, and Newton steps at the end."""

from collections.abc import Callable
from typing import Any, NamedTuple

import diffrax
import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Real

from geojax._core import checks
from geojax._core.errors import InputError
from geojax._core.results import is_traced
from geojax.flows.stepping import check_options
from geojax.matching import arguments
from geojax.matching.implicit import refine
from geojax.matching.solvers import LBFGS, State, run

# Relative gradient at which a coarse round has come near enough for the next.
_COARSE = 3e-2
# Relative gradient from which Newton steps take over, where a smaller one is asked for: from there
# on the values of the objective no longer tell which step is good.
_NEWTON = 1e-5

Progress = Callable[[int, float, float], None]
Number = float | int | Real[Array, ""]


class Search(NamedTuple):
    """How a problem is solved.

    Attributes:
        rounds: how many rounds at a coarser fidelity come first.
        minimiser, tolerance, max_iterations: as for `match`.
    """

    minimiser: LBFGS
    rounds: int
    tolerance: Number
    max_iterations: int


def settings(
    minimiser: LBFGS | None,
    solver: diffrax.AbstractSolver | None,
    tolerance: Number,
    max_iterations: int,
    **stepping: Any,
) -> tuple[LBFGS, diffrax.AbstractSolver]:
    """The minimiser and the solver, by default L-BFGS and Tsit5, with all options checked.

    Raises:
        InputError: no such minimiser, or options of the shooting that do not fit together.
    """
    checks.count(max_iterations, "max_iterations")
    arguments.scalar(tolerance, "tolerance")
    minimiser = LBFGS() if minimiser is None else minimiser
    if not isinstance(minimiser, LBFGS):
        raise InputError(f"Argument minimiser must be an `LBFGS()`, but is {minimiser!r}.")
    solver = diffrax.Tsit5() if solver is None else solver
    check_options(t0=0.0, t1=1.0, solver=solver, save="end", **stepping)
    return minimiser, solver


def minimise(
    search: Search, problem: Any, momentum, progress: Progress | None = None
) -> list[State]:
    """All rounds, coarse to fine, and the state at the end of each."""
    minimiser, max_iterations = search.minimiser, search.max_iterations
    # the search itself is not differentiated: `solution` puts its derivative back
    problem, momentum = arguments.seen((problem, momentum))
    states = []
    for level in reversed(range(search.rounds + 1)):
        factor = np.asarray(2.0**level, problem.source.dtype)
        coarse, stop, state = _begin(
            minimiser, problem, momentum, factor, search.tolerance, max_iterations=max_iterations
        )
        watched = progress is not None and not is_traced(state)
        chunk = 10 if watched else max_iterations
        for until in range(chunk, max_iterations + chunk, chunk):
            last = np.asarray(min(until, max_iterations))
            state, momentum = run(minimiser, coarse, state, stop, last)
            if progress is None or not watched:
                break
            objective = float(state.value) + float(state.offset)
            progress(int(state.iteration), objective, float(state.gradient_norm))
            if bool(state.done):
                break
        states.append(state)
    precise = not checks.is_tracer(search.tolerance) and search.tolerance < _NEWTON
    if precise and problem.twice_differentiable:
        states[-1] = _newton(problem, states[-1], search.tolerance)
    return states


def _newton(problem, state, tolerance) -> State:
    """The last state, refined to a tolerance that the search itself cannot reach."""
    problem = arguments.seen(problem)
    tolerance = np.asarray(tolerance, problem.source.dtype)
    return refine(problem, state, tolerance)


@eqx.filter_jit
def _begin(minimiser, problem, momentum, factor, tolerance, *, max_iterations):
    """The problem of a round, the tolerance to end it at, and the state to start it from."""
    fidelity = problem.fidelity.coarser(factor)
    # the weight keeps its meaning: the price of a unit of length
    weight = problem.weight * (fidelity.unit() / problem.fidelity.unit()).astype(factor.dtype)
    coarse = eqx.tree_at(lambda p: (p.fidelity, p.weight), problem, (fidelity, weight))
    tolerance = jnp.asarray(tolerance).astype(factor.dtype)
    if problem.twice_differentiable:
        tolerance = jnp.maximum(tolerance, _NEWTON)
    # coarse rounds only have to get near
    stop = jnp.where(factor > 1, jnp.maximum(tolerance, _COARSE), tolerance)
    return coarse, stop, minimiser.init(coarse, momentum, max_iterations)
