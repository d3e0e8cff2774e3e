"""The verb `regress`: one geodesic through shapes that were seen at different times."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Real

from geojax._core import checks
from geojax._core.errors import InputError
from geojax._core.results import RESULTS, first_failure, throw_if_failed
from geojax.actions import Points
from geojax.flows import Path
from geojax.geodesics import hamiltonian, shoot
from geojax.kernels import AbstractRadialKernel, kernel_sum
from geojax.matching.arguments import as_times
from geojax.matching.coordinates import Coordinates
from geojax.matching.implicit import optimum
from geojax.matching.layout import Layout
from geojax.matching.match import Fidelity
from geojax.matching.population import prepare
from geojax.matching.problem import moved_source
from geojax.matching.result import determinants_of
from geojax.matching.search import Number, Progress, minimise
from geojax.matching.solvers import LBFGS
from geojax.matching.subjects import Subjects
from geojax.matching.unknowns import JointCoordinates, Unknowns, moved_template, stopped
from geojax.metrics import RKHS


class RegressionProblem(eqx.Module):
    """Minimise `energy(p) + weight * sum_k fidelity(baseline at time t_k, shape k)`.

    Times are parts of the whole: the first is 0 and the last 1.

    Attributes:
        metric, weight, solver: as of `Problem`.
        fidelity: the shapes, with the fidelity of each.
        source: where the baseline starts, `[n, d]`.
        control_points: where momenta sit, `[c, d]`; None if they sit on the baseline.
        gaps: times between those at which something was seen, `[g]`.
        seen: for each shape after how many gaps, `[s]`.
        num_steps: steps in each gap.
        moves_template: whether the baseline is estimated.
    """

    twice_differentiable = False

    metric: RKHS
    fidelity: Subjects
    weight: Float[Array, ""]
    source: Float[Array, "n d"]
    control_points: Float[Array, "c d"] | None
    gaps: Float[Array, " g"]
    seen: Int[Array, " s"]
    solver: diffrax.AbstractSolver
    num_steps: int = eqx.field(static=True)
    moves_template: bool = eqx.field(static=True)

    @property
    def base(self) -> Float[Array, "c d"]:
        """The points that hold the momentum at the start of the search."""
        return self.base_of(self.source)

    def base_of(self, baseline) -> Float[Array, "c d"]:
        """The points that hold the momentum of a baseline."""
        return baseline if self.control_points is None else self.control_points

    @property
    def stepping(self) -> dict[str, Any]:
        """How the whole geodesic is stepped."""
        return {"solver": self.solver, "num_steps": self.num_steps * self.gaps.shape[0]}

    def at_rest(self) -> Unknowns:
        """No momentum, the baseline where it starts."""
        weights = jnp.zeros_like(self.source) if self.moves_template else None
        return Unknowns(jnp.zeros_like(self.base), weights)

    def baseline(self, unknowns: Unknowns) -> Float[Array, "n d"]:
        """Where the baseline is."""
        return moved_template(self.metric, self.source, unknowns)

    def points(self, unknowns: Unknowns) -> Float[Array, "s n d"]:
        """The baseline, carried to the time of each shape."""
        baseline = self.baseline(unknowns)

        def advance(carry, gap):
            state, momentum, carried = carry
            path = shoot(
                self.metric,
                Points(),
                state,
                momentum,
                carried=carried,
                t1=gap,
                num_steps=self.num_steps,
                solver=self.solver,
                save="end",
                throw=False,
            )
            end = None if carried is None else path.carried[-1]
            return (path.end, path.costates[-1], end), moved_source(path)[-1]

        carried = None if self.control_points is None else baseline
        start = (self.base_of(baseline), unknowns.momenta, carried)
        _, moved = jax.lax.scan(advance, start, self.gaps)
        return jnp.concatenate([baseline[None], moved])[self.seen]

    def objective(self, unknowns: Unknowns) -> Float[Array, ""]:
        """Energy plus weighted fidelities, without what only the shapes decide."""
        base = self.base_of(self.baseline(unknowns))
        energy = hamiltonian(self.metric, Points(), base, unknowns.momenta)
        data = self.fidelity.map(lambda f, target, x: f.cross(x, target), self.points(unknowns))
        return energy + self.weight * jnp.sum(data)

    def constant(self) -> Float[Array, ""]:
        """What only the shapes decide."""
        return self.weight * self.fidelity.constant()

    @property
    def times(self) -> Float[Array, " s"]:
        """When each shape was seen, in parts of the whole."""
        return jnp.concatenate([jnp.zeros(1, self.gaps.dtype), jnp.cumsum(self.gaps)])[self.seen]

    def gradient_at_rest(self) -> Unknowns:
        """Derivative of the objective at zero momentum: there points move by `t K p`."""
        kernel, pulls = self.metric.kernel, self.weight * self.fidelity.pulls(self.source)
        timed = jnp.sum(self.times[:, None, None] * pulls, axis=0)
        template = None
        if self.moves_template:
            template = kernel_sum(kernel, self.source, self.source, jnp.sum(pulls, axis=0))
        return Unknowns(kernel_sum(kernel, self.base, self.source, timed), template)

    def coordinates(self) -> JointCoordinates:
        """Coordinates in which the objective is nearly round."""
        problem = stopped(self)
        metric, weight, (first, _) = problem.metric, problem.weight, problem.fidelity.one(0)
        pull = weight * jnp.sum(jnp.square(problem.times))
        momenta = Coordinates.of(metric, first, pull, problem.base)
        template = None
        if self.moves_template:
            template = Coordinates.of(metric, first, weight * len(self.seen), problem.source)
        return JointCoordinates.of(self.at_rest(), momenta, template)


class Regression(eqx.Module):
    """A geodesic through shapes that were seen at different times.

    Attributes:
        problem: what was solved.
        shape: the baseline as it was given.
        vertices: of the estimated baseline, at `t0`, `[n, d]`.
        momentum: initial momentum, for a unit of time from `t0` to `t1`, `[c, d]`.
        path: the geodesic from `t0` to `t1`, its times in parts of the whole.
        t0, t1: first and last time.
        fitted: the baseline carried to the time of each shape, `[s, n, d]`.
        objective: energy plus weighted fidelities.
        energy: half the squared length from `t0` to `t1`.
        residuals: distance left to each shape, `[s]`, in the fidelity's own terms.
        explained: 1 less the part of the variance of the shapes about their mean that is left;
            below zero where no motion at all would fit better.
        gradient_norm, history, num_iterations, result: as of a `Match`.
    """

    problem: RegressionProblem
    shape: Any
    vertices: Float[Array, "n d"]
    momentum: Float[Array, "c d"]
    path: Path
    t0: float | Float[Array, ""]
    t1: float | Float[Array, ""]
    fitted: Float[Array, "s n d"]
    objective: Float[Array, ""]
    energy: Float[Array, ""]
    residuals: Float[Array, " s"]
    explained: Float[Array, ""]
    gradient_norm: Float[Array, ""]
    history: Float[Array, " k"]
    num_iterations: Int[Array, ""]
    result: RESULTS

    @property
    def baseline(self):
        """The estimated baseline: a shape like the one that was given."""
        return Layout.of(self.shape).shapes(self.vertices)

    def at(self, t: Number):
        """The shape at a time, which may lie before `t0` or after `t1`.

        Raises:
            InputError: a time that is no finite number.

        Gradient: forward and reverse, in the time and the regression.
        """
        points = _at(self.problem, self.vertices, self._momentum(t))
        return Layout.of(self.shape).shapes(points)

    def determinants(self, points, t: Number) -> Float[Array, " m"]:
        """Jacobian determinant at points `[m, d]` of the deformation from `t0` to a time.

        Raises:
            InputError: points of another dimension, or a time that is no finite number.

        Gradient: forward and reverse, in the points, the time and the regression.
        """
        points = checks.as_points(points, "points")
        checks.same_dimension(points, self.vertices, "points", "baseline")
        problem, momentum = self.problem, self._momentum(t)
        base = problem.base_of(self.vertices)
        return determinants_of(problem.metric, base, momentum, points, problem.stepping)

    def _momentum(self, t: Number):
        """The momentum that arrives in a unit of time where the geodesic is at a time."""
        if not checks.is_tracer(t):
            checks.finite(np.asarray(t, float), "t")
            if np.ndim(t):
                raise InputError(
                    f"Argument t must be one number, but has shape {list(np.shape(t))}."
                )
        # in Python's precision, as float32 does not tell one day of this century from the next
        part = jnp.asarray((t - self.t0) / (self.t1 - self.t0), self.vertices.dtype)
        return part * self.momentum


@eqx.filter_jit
def _at(problem: RegressionProblem, vertices, momentum):
    # the geodesic of a scaled momentum is at time one where that of the momentum is at its scale
    return moved_source(_path(problem, vertices, momentum))[-1]


def _path(problem: RegressionProblem, baseline, momentum) -> Path:
    return shoot(
        problem.metric,
        Points(),
        problem.base_of(baseline),
        momentum,
        carried=None if problem.control_points is None else baseline,
        throw=False,
        **problem.stepping,
    )


def regress(
    shapes: Sequence | Float[Array, "s n d"] | Float[np.ndarray, "s n d"],
    times: Sequence | Real[Array, " s"] | Real[np.ndarray, " s"],
    *,
    baseline=None,
    estimate_baseline: bool = False,
    t0: float | int | None = None,
    metric: RKHS | AbstractRadialKernel | None = None,
    fidelity: Fidelity = "landmarks",
    weight: Number | None = None,
    control_points=None,
    minimiser: LBFGS | None = None,
    multiscale: int | None = None,
    batch_size: int | None = None,
    tolerance: Number = 1e-3,
    max_iterations: int = 200,
    num_steps: int = 10,
    solver: diffrax.AbstractSolver | None = None,
    progress: Progress | None = None,
    throw: bool = True,
) -> Regression:
    """Find the geodesic that passes closest to shapes seen at given times.

    Minimises `energy(p) + weight * sum_k fidelity(baseline carried to t_k, shape k)` over the
    initial momentum, and over the baseline if it is asked for. The geodesic is shot from each time
    to the next, so that it is exactly there when a shape was seen.

    Args:
        shapes: points `[n, d]`, `Curve` or `Surface`, a list of one kind; of any sizes.
        times: when each was seen, `[s]`, in any order; may repeat.
        baseline: the shape at `t0`; by default the earliest of the shapes.
        estimate_baseline: also move it, by a smooth field.
        t0: time of the baseline; by default the earliest of the times.
        metric, fidelity, weight, control_points, minimiser, multiscale: as for `match`; the
            weight is by default 1000 times the mean of the fidelities' units.
        batch_size: shapes that are worked on at a time; read off their sizes by default.
        tolerance, max_iterations, progress, throw: as for `match`.
        num_steps: least number of steps from `t0` to the last time, at least one between times.
        solver: of the shooting, Tsit5 by default.

    Returns:
        A `Regression`.

    Raises:
        InputError: shapes, times or options that do not fit; raised before anything is compiled.
        NumericalError: not converged, not finite, or energy drift (only outside `jit`, and only
            if `throw`).

    Gradient: reverse, of `objective` only (by the envelope theorem), in the shapes, the weight
    and the kernels.

    Example:
        >>> import numpy as np
        >>> start = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
        >>> found = regress([start, start + 0.2, start + 0.4], [60.0, 62.0, 64.0])
        >>> bool(np.allclose(found.at(66.0), start + 0.6, atol=0.02)), bool(found.explained > 0.99)
        (True, True)

    Reference: `[fletcher2013geodesic]`.
    """
    when, begin, end = as_times(times, len(shapes), t0, "shapes")
    start = shapes[int(np.argmin(when))] if baseline is None else baseline
    fields, search = prepare(
        start,
        shapes,
        ("baseline", "shapes"),
        metric=metric,
        fidelity=fidelity,
        weight=weight,
        control_points=control_points,
        multiscale=multiscale,
        batch_size=batch_size,
        minimiser=minimiser,
        tolerance=tolerance,
        max_iterations=max_iterations,
        num_steps=num_steps,
        solver=solver,
    )
    stops = np.unique(np.concatenate([[0.0], (when - begin) / (end - begin)]))
    gaps = np.diff(stops)
    dtype = fields["source"].dtype
    fields["num_steps"] = int(np.ceil(num_steps * np.max(gaps) - 1e-9))
    problem = RegressionProblem(
        **fields,
        gaps=jnp.asarray(gaps, dtype),
        seen=jnp.asarray(np.searchsorted(stops, (when - begin) / (end - begin))),
        moves_template=bool(estimate_baseline),
    )
    states = minimise(search, problem, problem.at_rest(), progress)
    found = dataclasses.replace(_finish(problem, start, states), t0=begin, t1=end)
    return throw_if_failed(found, found.result, what="regress") if throw else found


@eqx.filter_jit
def _finish(problem: RegressionProblem, shape, states) -> Regression:
    last = jax.lax.stop_gradient(states[-1])
    unknowns = last.momentum
    baseline, fitted = problem.baseline(unknowns), problem.points(unknowns)
    path = _path(problem, baseline, unknowns.momenta)
    residuals = problem.fidelity.map(lambda f, target, x: f.distance(x, target), fitted)
    variance = problem.fidelity.variance()
    some = variance > 0
    left = jnp.sum(jnp.square(residuals)) / jnp.where(some, variance, 1.0)
    return Regression(
        problem=problem,
        shape=shape,
        vertices=baseline,
        momentum=unknowns.momenta,
        path=path,
        t0=0.0,
        t1=1.0,
        fitted=fitted,
        objective=optimum(problem, unknowns, last.value + last.offset),
        energy=path.energy,
        residuals=residuals,
        explained=jnp.where(some, 1.0 - left, jnp.nan),
        gradient_norm=last.gradient_norm,
        history=jnp.concatenate([state.history for state in states]),
        num_iterations=jnp.sum(jnp.stack([state.iteration for state in states])),
        result=first_failure(path.result, last.result),
    )
