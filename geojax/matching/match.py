"""The verb `match`: the deformation of least energy from a source to a target."""

from collections.abc import Callable
from typing import Literal

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Real

from geojax._core import checks
from geojax._core.errors import InputError
from geojax._core.results import RESULTS, code_if, first_failure, is_traced, throw_if_failed
from geojax.flows.stepping import check_options
from geojax.kernels import AbstractRadialKernel
from geojax.matching import arguments
from geojax.matching.arguments import diagonal as diagonal, spread as spread
from geojax.matching.implicit import optimum, refine, solution
from geojax.matching.problem import Problem, moved_source
from geojax.matching.result import Match
from geojax.matching.solvers import LBFGS, State, run
from geojax.metrics import RKHS
from geojax.shapes import AbstractFidelity

# Relative gradient at which a coarse round has come near enough for the next.
_COARSE = 3e-2
# Relative gradient from which Newton steps take over, where a smaller one is asked for: from there
# on the values of the objective no longer tell which step is good.
_NEWTON = 1e-5

FidelityName = Literal["landmarks", "mmd", "sinkhorn", "currents", "varifold"]
Progress = Callable[[int, float, float], None]
Number = float | int | Real[Array, ""]


def match(
    source,
    target,
    *,
    metric: RKHS | AbstractRadialKernel | None = None,
    fidelity: AbstractFidelity | FidelityName = "landmarks",
    weight: Number | None = None,
    control_points=None,
    minimiser: LBFGS | None = None,
    multiscale: int | None = None,
    initial=None,
    tolerance: Number = 1e-3,
    max_iterations: int = 200,
    num_steps: int = 5,
    solver: diffrax.AbstractSolver | None = None,
    stepsize_controller: diffrax.AbstractStepSizeController | None = None,
    adjoint: diffrax.AbstractAdjoint | None = None,
    max_steps: int | None = 4096,
    quality: bool = True,
    progress: Progress | None = None,
    throw: bool = True,
) -> Match:
    """Find the geodesic flow that carries a source to a target at least cost.

    Minimises `energy + weight * fidelity(carried source, target)` over the initial momentum
    (geodesic shooting, LDDMM). The result is a diffeomorphism of the whole space: it moves any
    other points, forward or back.

    Args:
        source: points to carry, `[n, d]`, or a `Curve` or `Surface`, whose vertices are carried.
        target: where to, `[m, d]`; n = m and in corresponding order for landmarks; or another
            `Curve` or `Surface`.
        metric: an `RKHS` metric or its kernel; a Gaussian of a fifth of the source's diagonal by
            default. Its scale is the length over which points move together.
        fidelity: `"landmarks"` for corresponding points; `"mmd"` or `"sinkhorn"` for clouds
            without labels, `"currents"` or `"varifold"` for curves and surfaces, at a scale read
            off the data; or an `AbstractFidelity`.
        weight: price of a unit of fidelity (both are half a squared length); 1000 times the
            fidelity's unit by default. Larger fits closer.
        control_points: where momenta sit, `[c, d]`, or their number (spread over the source);
            None puts one on each source point.
        minimiser: `LBFGS()` with its options.
        multiscale: for all but landmarks, rounds at a coarser fidelity first, each twice coarser
            than the next.
        initial: momentum to start from, `[n, d]` (or `[c, d]`); zero by default.
        tolerance: norm of the gradient, relative to that at zero momentum, at which to stop.
        max_iterations: bound on the iterations of each round.
        num_steps, solver: of the shooting: equal steps, Tsit5 by default.
        stepsize_controller, adjoint, max_steps: of the shooting, passed to diffrax; with a
            controller `num_steps` is the number of equal intervals that are saved.
        quality: also count folds and measure the inverse consistency (not under `jit`).
        progress: called with (iteration, objective, gradient norm) every few iterations.
        throw: raise if the solve failed; otherwise `result` says so.

    Returns:
        A `Match`.

    Raises:
        InputError: points or options that do not fit; raised before anything is compiled.
        NumericalError: not converged, not finite, or energy drift (only outside `jit`, and only
            if `throw`).

    Gradient: reverse. At a converged optimum derivatives of `objective` (by the envelope theorem),
    and of the momentum and all that follows from it (by the implicit function theorem; a linear
    solve by conjugate gradients), are exact in source, target, kernel, fidelity and weight.
    Sinkhorn gives those of the objective only, and so do a controller and an adjoint, but for
    `diffrax.DirectAdjoint()`.

    Example:
        >>> import jax.numpy as jnp
        >>> source = jnp.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
        >>> found = match(source, source + 0.1)
        >>> bool(found.residual < 1e-2), found.folds
        (True, 0)

    Reference: `[joshi2000landmark]`, `[beg2005computing]`, `[younes2010shapes]`.
    """
    shapes = source, target
    source, target = arguments.as_clouds(source, target)
    checks.count(max_iterations, "max_iterations")
    arguments.scalar(tolerance, "tolerance")
    minimiser = LBFGS() if minimiser is None else minimiser
    if not isinstance(minimiser, LBFGS):
        raise InputError(f"Argument minimiser must be an `LBFGS()`, but is {minimiser!r}.")
    solver = diffrax.Tsit5() if solver is None else solver
    check_options(
        t0=0.0,
        t1=1.0,
        num_steps=num_steps,
        max_steps=max_steps,
        solver=solver,
        stepsize_controller=stepsize_controller,
        adjoint=adjoint,
        save="end",
    )
    metric = arguments.as_metric(metric, source)
    fidelity = arguments.as_fidelity(fidelity, source, target, shapes)
    controls = arguments.as_control_points(control_points, source)
    base = source if controls is None else controls
    known = arguments.seen((metric, source, target, base))
    checks.collisions(metric.kernel)
    arguments.check_scales(*known)
    arguments.check_points(known[0], fidelity, known[3], own=controls is None)
    rounds = arguments.as_rounds(multiscale, fidelity, source, target)
    start = arguments.as_initial(initial, base)
    if weight is None:
        weight = 1e3 * fidelity.unit()
    else:
        arguments.scalar(weight, "weight")
    problem = Problem(
        metric=metric,
        fidelity=fidelity,
        weight=jnp.asarray(weight).astype(source.dtype),
        source=source,
        target=target,
        control_points=controls,
        solver=solver,
        num_steps=num_steps,
        stepsize_controller=stepsize_controller,
        adjoint=adjoint,
        max_steps=max_steps,
    )
    states = minimise(minimiser, problem, start, rounds, tolerance, max_iterations, progress)
    if not checks.is_tracer(tolerance) and tolerance < _NEWTON and problem.twice_differentiable:
        states[-1] = _newton(problem, states[-1], tolerance)
    found = _finish(problem, states)
    if quality and not is_traced((problem, states)):
        found = found.with_quality()
    return throw_if_failed(found, found.result, what="match") if throw else found


def minimise(
    minimiser, problem, momentum, rounds, tolerance, max_iterations, progress
) -> list[State]:
    """All rounds, coarse to fine, and the state at the end of each."""
    # the search itself is not differentiated: `solution` puts its derivative back
    problem, momentum = arguments.seen((problem, momentum))
    states = []
    for level in reversed(range(rounds + 1)):
        factor = np.asarray(2.0**level, problem.source.dtype)
        coarse, stop, state = _begin(
            minimiser, problem, momentum, factor, tolerance, max_iterations=max_iterations
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


@eqx.filter_jit
def _finish(problem: Problem, states: list[State]) -> Match:
    """The match at the momentum that was found, with derivatives by implicit differentiation."""
    last = jax.lax.stop_gradient(states[-1])
    fixed = last.momentum
    momentum = solution(problem, fixed)
    path = problem.shoot(momentum)
    end = moved_source(path)[-1]
    residual = problem.fidelity.distance(end, problem.target)
    # round-off keeps the gradient from falling to less than about this
    reachable = 32 * float(jnp.finfo(fixed.dtype).eps) ** 0.5
    near = last.stalled & (last.gradient_norm <= reachable) & jnp.isfinite(last.value)
    missed = code_if(~(last.converged | near), RESULTS.not_converged)
    return Match(
        problem=problem,
        momentum=momentum,
        path=path,
        objective=optimum(problem, fixed, last.value + last.offset),
        energy=path.energy,
        residual=residual,
        gradient_norm=last.gradient_norm,
        history=jnp.concatenate([state.history for state in states]),
        num_iterations=jnp.sum(jnp.stack([state.iteration for state in states])),
        result=first_failure(path.result, missed),
    )
