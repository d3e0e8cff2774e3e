"""The verb `match`: the deformation of least energy from a source to a target."""

from collections.abc import Mapping
from typing import Any, Literal

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp

from geojax._core import checks
from geojax._core.errors import InputError
from geojax._core.results import first_failure, is_traced, throw_if_failed
from geojax.kernels import AbstractRadialKernel
from geojax.matching import arguments
from geojax.matching.arguments import diagonal as diagonal, spread as spread
from geojax.matching.implicit import optimum, solution
from geojax.matching.objects import gather
from geojax.matching.padding import common_sizes, pad, trim
from geojax.matching.problem import Problem, moved_source
from geojax.matching.result import Match
from geojax.matching.search import Number, Progress, Search, minimise, settings
from geojax.matching.solvers import LBFGS, State
from geojax.metrics import RKHS
from geojax.shapes import AbstractFidelity, Combined

Fidelity = AbstractFidelity | Literal["landmarks", "mmd", "sinkhorn", "currents", "varifold"]


def match(
    source,
    target,
    *,
    metric: RKHS | AbstractRadialKernel | None = None,
    fidelity: Fidelity | Mapping[str, Fidelity] = "landmarks",
    weight: Number | Mapping[str, Number] | None = None,
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
    buckets: bool = False,
    quality: bool = True,
    progress: Progress | None = None,
    throw: bool = True,
) -> Match:
    """Find the geodesic flow that carries a source to a target at least cost.

    Minimises `energy + weight * fidelity(carried source, target)` over the initial momentum
    (geodesic shooting, LDDMM). The result is a diffeomorphism of the whole space: it moves any
    other points, forward or back.

    Args:
        source: points to carry, `[n, d]`; a `Curve` or `Surface`, whose vertices are carried; or a
            dictionary of several such objects, which one deformation carries together.
        target: where to, `[m, d]`; n = m and in corresponding order for landmarks; another
            `Curve` or `Surface`; or a dictionary with the same keys.
        metric: an `RKHS` metric or its kernel; a Gaussian of a fifth of the source's diagonal by
            default. Its scale is the length over which points move together.
        fidelity: `"landmarks"` for corresponding points; `"mmd"` or `"sinkhorn"` for clouds
            without labels, `"currents"` or `"varifold"` for curves and surfaces, at a scale read
            off the data; or an `AbstractFidelity`. For several objects one for all, or a
            dictionary.
        weight: price of a unit of fidelity (both are half a squared length); 1000 times the
            fidelity's unit by default. Larger fits closer. For several objects one for all, or a
            dictionary.
        control_points: where momenta sit, `[c, d]`, or their number (spread over the source);
            None puts one on each source point (of several objects: on those that differ).
        minimiser: `LBFGS()` with its options.
        multiscale: for all but landmarks, rounds at a coarser fidelity first, each twice coarser
            than the next.
        initial: momentum to start from, `[n, d]` (or `[c, d]`); zero by default.
        tolerance: norm of the gradient, relative to that at zero momentum, at which to stop.
        max_iterations: bound on the iterations of each round.
        num_steps, solver: of the shooting: equal steps, Tsit5 by default.
        stepsize_controller, adjoint, max_steps: of the shooting, passed to diffrax; with a
            controller `num_steps` is the number of equal intervals that are saved.
        buckets: pad points and cells to one of four sizes per octave, so that shapes of about the
            same size share one compiled program. The result is that without padding; with a
            controller to its tolerance only, since its steps depend on all points.
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
    problem, start, search = pose(
        source,
        target,
        metric=metric,
        fidelity=fidelity,
        weight=weight,
        control_points=control_points,
        minimiser=minimiser,
        multiscale=multiscale,
        initial=initial,
        tolerance=tolerance,
        max_iterations=max_iterations,
        num_steps=num_steps,
        solver=solver,
        stepsize_controller=stepsize_controller,
        adjoint=adjoint,
        max_steps=max_steps,
    )
    whole, sizes = problem, None
    if buckets:
        if is_traced((problem, start)):
            raise InputError(
                "Argument buckets must be False under `jit`, `vmap` and `grad`: padding is done "
                "in NumPy. There a program is compiled once anyway."
            )
        sizes = common_sizes([problem])
        problem, start = pad(problem, start, sizes)
    states = minimise(search, problem, start, progress)
    found = finish(problem, states)
    if quality and not is_traced((problem, states)):
        found = found.with_quality()
    if sizes is not None:
        found = trim(found, whole, sizes)
    return throw_if_failed(found, found.result, what="match") if throw else found


def pose(
    source,
    target,
    *,
    metric=None,
    fidelity: Any = "landmarks",
    weight: Any = None,
    control_points=None,
    minimiser=None,
    multiscale=None,
    initial=None,
    tolerance: Number = 1e-3,
    max_iterations: int = 200,
    num_steps: int = 5,
    solver=None,
    stepsize_controller=None,
    adjoint=None,
    max_steps: int | None = 4096,
) -> tuple[Problem, Any, Search]:
    """The problem of the arguments of `match`, checked; where to start, and how to search."""
    minimiser, solver = settings(
        minimiser,
        solver,
        tolerance,
        max_iterations,
        num_steps=num_steps,
        max_steps=max_steps,
        stepsize_controller=stepsize_controller,
        adjoint=adjoint,
    )
    source, target, fidelity, weight, layout = gather(source, target, fidelity, weight)
    metric = arguments.as_metric(metric, source)
    if control_points is None and isinstance(fidelity, Combined):
        # a landmark on a surface is a point of both
        control_points = arguments.distinct_points(source)
    controls = arguments.as_control_points(control_points, source)
    base = source if controls is None else controls
    known = arguments.seen((metric, source, target, base))
    checks.collisions(metric.kernel)
    arguments.check_scales(*known)
    own = controls is None
    name = "source" if own else "control_points"
    arguments.check_points(known[0], fidelity, known[3], own, name)
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
        layout=layout,
    )
    start = arguments.as_initial(initial, base)
    rounds = arguments.as_rounds(multiscale, fidelity, source, target)
    return problem, start, Search(minimiser, rounds, tolerance, max_iterations)


@eqx.filter_jit
def finish(problem: Problem, states: list[State]) -> Match:
    """The match at the momentum that was found, with derivatives by implicit differentiation."""
    last = jax.lax.stop_gradient(states[-1])
    fixed = last.momentum
    momentum = solution(problem, fixed)
    path = problem.shoot(momentum)
    end = moved_source(path)[-1]
    residual = problem.fidelity.distance(end, problem.target)
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
        result=first_failure(path.result, last.result),
    )
