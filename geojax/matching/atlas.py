"""The verb `atlas`: a template and its deformations to all shapes of a population, together."""

from collections.abc import Sequence
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from geojax._core import checks
from geojax._core.errors import InputError
from geojax._core.results import RESULTS, first_failure, throw_if_failed
from geojax.kernels import AbstractRadialKernel, kernel_sum
from geojax.matching.coordinates import LARGEST_FACTOR, Coordinates
from geojax.matching.implicit import optimum
from geojax.matching.layout import Layout
from geojax.matching.match import Fidelity
from geojax.matching.population import prepare, worst
from geojax.matching.problem import Problem, moved_source
from geojax.matching.result import Match
from geojax.matching.search import Number, Progress, minimise
from geojax.matching.solvers import LBFGS
from geojax.matching.subjects import Subjects
from geojax.matching.unknowns import JointCoordinates, Unknowns, moved_template, stopped
from geojax.metrics import RKHS


class AtlasProblem(eqx.Module):
    """Minimise `sum_s energy(p_s) + weight * fidelity(template carried by p_s, subject s)`.

    Attributes:
        metric, weight, solver, num_steps: as of `Problem`.
        fidelity: the subjects, with the fidelity of each.
        source: where the template starts, `[n, d]`.
        control_points: where momenta start, `[c, d]`; None if they sit on the template.
        moves_template, moves_control_points: what is estimated beside the momenta.
    """

    twice_differentiable = False

    metric: RKHS
    fidelity: Subjects
    weight: Float[Array, ""]
    source: Float[Array, "n d"]
    control_points: Float[Array, "c d"] | None
    solver: diffrax.AbstractSolver
    num_steps: int = eqx.field(static=True)
    moves_template: bool = eqx.field(static=True)
    moves_control_points: bool = eqx.field(static=True)

    @property
    def base(self) -> Float[Array, "c d"]:
        """The points that hold the momenta at the start."""
        return self.source if self.control_points is None else self.control_points

    def at_rest(self) -> Unknowns:
        """No momenta, the template and control points where they start."""
        momenta = jnp.zeros((len(self.fidelity), *self.base.shape), self.base.dtype)
        return Unknowns(
            momenta,
            jnp.zeros_like(self.source) if self.moves_template else None,
            self.control_points if self.moves_control_points else None,
        )

    def template(self, unknowns: Unknowns) -> Float[Array, "n d"]:
        """Where the template is."""
        return moved_template(self.metric, self.source, unknowns)

    def controls(self, unknowns: Unknowns) -> Float[Array, "c d"] | None:
        """Where the control points are."""
        return self.control_points if unknowns.control_points is None else unknowns.control_points

    def subject(self, fidelity, target, template, controls) -> Problem:
        """The problem of one subject."""
        return Problem(
            metric=self.metric,
            fidelity=fidelity,
            weight=self.weight,
            source=template,
            target=target,
            control_points=controls,
            solver=self.solver,
            num_steps=self.num_steps,
        )

    def objective(self, unknowns: Unknowns) -> Float[Array, ""]:
        """The sum over the subjects, without what only they decide."""
        template, controls = self.template(unknowns), self.controls(unknowns)

        def one(fidelity, target, momentum):
            return self.subject(fidelity, target, template, controls).objective(momentum)

        return jnp.sum(self.fidelity.map(one, unknowns.momenta))

    def constant(self) -> Float[Array, ""]:
        """What only the subjects decide."""
        return self.weight * self.fidelity.constant()

    def gradient_at_rest(self) -> Unknowns:
        """Derivative of the objective where nothing moves: there it is that of the fidelity."""
        kernel, rest = self.metric.kernel, self.at_rest()
        pulls = self.weight * self.fidelity.pulls(self.source)
        # all subjects side by side in one sum
        rows = jnp.moveaxis(pulls, 0, 1)
        smooth = kernel_sum(kernel, self.base, self.source, rows.reshape(rows.shape[0], -1))
        momenta = jnp.moveaxis(smooth.reshape(-1, *rows.shape[1:]), 1, 0)
        template = None
        if self.moves_template:
            template = kernel_sum(kernel, self.source, self.source, jnp.sum(pulls, axis=0))
        points = rest.control_points
        return Unknowns(momenta, template, None if points is None else jnp.zeros_like(points))

    def coordinates(self) -> JointCoordinates:
        """Coordinates in which the objective is nearly round."""
        problem = stopped(self)
        metric, fidelity, weight = problem.metric, problem.fidelity, problem.weight
        # they precondition the search only, and one subject is about as good as another
        first, _ = fidelity.one(0)
        momenta = Coordinates.of(metric, first, weight, problem.base)
        template = length = yielding = None
        if self.moves_template:
            template, yielding = problem._template_coordinates(first)
        if self.moves_control_points:
            # moved by a scale, they change about all that there is to the objective
            value = jnp.sum(fidelity.map(lambda f, target: f(problem.source, target)))
            scale = jnp.asarray(metric.kernel.finest_scale, problem.source.dtype)
            length = scale / jnp.sqrt(jnp.maximum(weight * value, 1.0))
        return JointCoordinates.of(self.at_rest(), momenta, template, length, yielding)

    def _template_coordinates(self, fidelity):
        """Coordinates of the template's weights, and the momentum that undoes them."""
        source, count = self.source, len(self.fidelity)
        if self.control_points is not None or source.shape[0] > LARGEST_FACTOR:
            # few momenta undo little of the template: measured, giving way was no faster there
            return Coordinates.of(self.metric, fidelity, count * self.weight, source), None
        near = self.metric.kernel(source, source)
        return Coordinates.round(count * near), jnp.eye(len(source), dtype=source.dtype)


class Atlas(eqx.Module):
    """A template, and the deformations that carry it to each shape of a population.

    Attributes:
        problem: what was solved.
        shape: the template as it was given.
        vertices: of the estimated template, `[n, d]`.
        momenta: initial momentum of each subject, `[s, c, d]`.
        control_points: where they sit, `[c, d]`; None if on the template.
        moved: the template carried to each subject, `[s, n, d]`.
        objective: energies plus weighted fidelities.
        energies: half the squared length of each deformation, `[s]`.
        residuals: distance that each leaves, `[s]`, in the fidelity's own terms.
        gradient_norm: norm of the gradient, relative to that where nothing moves.
        history: objective before and after each iteration of all rounds, coarse to fine (NaN where
            unused; that of a coarse round is measured by its coarser fidelity).
        num_iterations: iterations of all rounds.
        result: result code.
    """

    problem: AtlasProblem
    shape: Any
    vertices: Float[Array, "n d"]
    momenta: Float[Array, "s c d"]
    control_points: Float[Array, "c d"] | None
    moved: Float[Array, "s n d"]
    objective: Float[Array, ""]
    energies: Float[Array, " s"]
    residuals: Float[Array, " s"]
    gradient_norm: Float[Array, ""]
    history: Float[Array, " k"]
    num_iterations: Int[Array, ""]
    result: RESULTS

    @property
    def template(self):
        """The estimated template: a shape like the one that was given."""
        return Layout.of(self.shape).shapes(self.vertices)

    @property
    def reconstructions(self) -> list:
        """The template carried to each subject, as shapes."""
        return [Layout.of(self.shape).shapes(x) for x in self.moved]

    def match(self, subject: int) -> Match:
        """The deformation from the template to one subject.

        Its `history`, `gradient_norm`, `num_iterations` and `result` are those of the atlas.

        Raises:
            InputError: no such subject.
        """
        count = self.momenta.shape[0]
        if checks.count(subject, "subject", least=0) >= count:
            raise InputError(f"Argument subject must be less than {count}, but is {subject}.")
        fidelity, target = self.problem.fidelity.one(subject)
        problem = self.problem.subject(fidelity, target, self.vertices, self.control_points)
        energy, residual = self.energies[subject], self.residuals[subject]
        return Match(
            problem=problem,
            momentum=self.momenta[subject],
            path=problem.shoot(self.momenta[subject]),
            objective=energy + 0.5 * problem.weight * jnp.square(residual),
            energy=energy,
            residual=residual,
            gradient_norm=self.gradient_norm,
            history=self.history,
            num_iterations=self.num_iterations,
            result=self.result,
        )


def atlas(
    template,
    subjects: Sequence | Float[Array, "s n d"] | Float[np.ndarray, "s n d"],
    *,
    metric: RKHS | AbstractRadialKernel | None = None,
    fidelity: Fidelity = "landmarks",
    weight: Number | None = None,
    control_points=None,
    estimate_template: bool = True,
    estimate_control_points: bool = False,
    minimiser: LBFGS | None = None,
    multiscale: int | None = None,
    batch_size: int | None = None,
    tolerance: Number = 1e-3,
    max_iterations: int = 200,
    num_steps: int = 5,
    solver: diffrax.AbstractSolver | None = None,
    progress: Progress | None = None,
    throw: bool = True,
) -> Atlas:
    """Find a template and the geodesic flows that carry it to all shapes of a population.

    Minimises `sum_s energy(p_s) + weight * fidelity(carried template, subject s)` over the initial
    momenta p_s and the template together. The template is its start, moved by a smooth field, so
    that it keeps its cells and their quality.

    Args:
        template: where the template starts: points `[n, d]`, a `Curve` or a `Surface`.
        subjects: the shapes, a list of what the template is; they may have other sizes.
        metric, fidelity, weight, control_points, minimiser, multiscale: as for `match`; one weight
            for all, by default 1000 times the mean of the fidelities' units.
        estimate_template: False keeps it where it starts.
        estimate_control_points: also search where the control points should be.
        batch_size: subjects that are worked on at a time, which bounds the memory; read off their
            sizes by default.
        tolerance: norm of the gradient, relative to that where nothing moves, at which to stop.
        max_iterations: bound on the iterations of each round.
        num_steps, solver: of the shooting: equal steps, Tsit5 by default.
        progress: called with (iteration, objective, gradient norm) every few iterations.
        throw: raise if the solve failed; otherwise `result` says so.

    Returns:
        An `Atlas`.

    Raises:
        InputError: shapes or options that do not fit; raised before anything is compiled.
        NumericalError: not converged, not finite, or energy drift (only outside `jit`, and only
            if `throw`).

    Gradient: reverse, of `objective` only (by the envelope theorem), in the subjects, the weight
    and the kernels.

    Example:
        >>> import numpy as np
        >>> start = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
        >>> found = atlas(start, [start + 0.2, start + 0.4])
        >>> np.allclose(found.template, start + 0.3, atol=0.01), found.momenta.shape
        (True, (2, 3, 2))

    Reference: `[durrleman2014morphometry]`.
    """
    fields, search = prepare(
        template,
        subjects,
        ("template", "subjects"),
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
    if estimate_control_points and fields["control_points"] is None:
        raise InputError(
            "Argument estimate_control_points needs control_points to start from: pass points "
            "`[c, d]` or their number."
        )
    problem = AtlasProblem(
        **fields,
        moves_template=bool(estimate_template),
        moves_control_points=bool(estimate_control_points),
    )
    states = minimise(search, problem, problem.at_rest(), progress)
    found = _finish(problem, template, states)
    return throw_if_failed(found, found.result, what="atlas") if throw else found


@eqx.filter_jit
def _finish(problem: AtlasProblem, shape, states) -> Atlas:
    last = jax.lax.stop_gradient(states[-1])
    unknowns = last.momentum
    template, controls = problem.template(unknowns), problem.controls(unknowns)

    def one(fidelity, target, momentum):
        subject = problem.subject(fidelity, target, template, controls)
        path = subject.shoot(momentum, save="end")
        moved = moved_source(path)[-1]
        return moved, path.energy, fidelity.distance(moved, target), path.result

    moved, energies, residuals, results = problem.fidelity.map(one, unknowns.momenta)
    return Atlas(
        problem=problem,
        shape=shape,
        vertices=template,
        momenta=unknowns.momenta,
        control_points=controls,
        moved=moved,
        objective=optimum(problem, unknowns, last.value + last.offset),
        energies=energies,
        residuals=residuals,
        gradient_norm=last.gradient_norm,
        history=jnp.concatenate([state.history for state in states]),
        num_iterations=jnp.sum(jnp.stack([state.iteration for state in states])),
        result=first_failure(worst(results), last.result),
    )
