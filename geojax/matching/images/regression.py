"""The verb `regress_images`: one geodesic through images that were seen at different times."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from geojax._core import checks
from geojax._core.errors import InputError
from geojax._core.results import RESULTS, code_if, first_failure, throw_if_failed
from geojax.flows.grids import determinants, jacobian_matrices
from geojax.flows.interpolation import sample
from geojax.geodesics import shoot_image
from geojax.matching.arguments import as_times
from geojax.matching.images.levels import (
    Frame,
    Padded,
    level_of,
    padded,
    pooled,
)
from geojax.matching.images.many import stacked
from geojax.matching.images.match import default_weight, floating, pose, range_of, scaled
from geojax.matching.images.models import Shooting
from geojax.matching.images.regression_problem import ImageRegressionProblem, scalar_momentum
from geojax.matching.images.result import inside_of, places_of
from geojax.matching.images.search import init, metric_at, refined, search, settled
from geojax.metrics import AbstractGridMetric
from geojax.shapes import SSD, Image


class ImageRegression(eqx.Module):
    """A geodesic of an image through images that were seen at different times.

    Attributes:
        baseline: the image at `t0`.
        momentum: scalar momentum, for a unit of time from `t0` to `t1`, on the padded grid, for
            `padded_baseline`.
        padded_baseline: its intensities, scaled as they were compared, on the padded grid.
        metric: price of velocities there.
        grid_affine: from indices of the padded grid to the world.
        t0, t1: first and last time.
        stops: times after `t0` at which something was seen, in parts of the whole.
        num_steps: of the geodesic in each interval between them.
        objective: energy plus weighted fidelities, at the finest resolution that was searched.
        energy: of the geodesic from `t0` to `t1`.
        residuals: fidelity left to each image, `[s]`.
        explained: 1 less the part of the fidelities that the baseline at rest leaves.
        history: objective at the finest resolution (NaN beyond the last).
        num_iterations: of all resolutions.
        result: result code.
    """

    baseline: Image
    momentum: Float[Array, "*grid"]
    padded_baseline: Float[Array, "*grid"]
    metric: AbstractGridMetric
    grid_affine: np.ndarray
    t0: float
    t1: float
    stops: tuple[float, ...] = eqx.field(static=True)
    num_steps: int = eqx.field(static=True)
    objective: Float[Array, ""]
    energy: Float[Array, ""]
    residuals: Float[Array, " s"]
    explained: Float[Array, ""]
    history: Float[Array, " k"]
    num_iterations: Int[Array, ""]
    result: RESULTS

    def at(self, t: Any, *, order: int = 1) -> Image:
        """The image at a time, which may lie before `t0` or after `t1`.

        Args:
            t: the time.
            order: of the interpolation of the baseline, as of `ImageMatch.warp`; beyond its ends
                its last values go on.

        Raises:
            InputError: a time that is no finite number.
        """
        frame = Frame(self.momentum.shape, self.grid_affine)
        pull = self._pull(t)[(slice(None), *inside_of(frame, self.baseline))]
        shift = np.asarray(pull, float).reshape(len(pull), -1).T / frame.spacing
        indices = np.stack(np.meshgrid(*map(np.arange, self.baseline.grid), indexing="ij"))
        places = indices.reshape(len(pull), -1) + shift.T
        values = self.baseline.values
        values = values if values.dtype.kind == "f" else values.astype(self.momentum.dtype)
        moved = sample(values, jnp.asarray(places, values.dtype), order=order)
        return Image(moved.reshape(self.baseline.grid), self.baseline.affine)

    def displacement(self, t: Any) -> Float[np.ndarray, "d *grid"]:
        """From each place at a time to where it was at `t0`, in the world of the baseline.

        Raises:
            InputError: a time that is no finite number.
        """
        frame = Frame(self.momentum.shape, self.grid_affine)
        pull = np.asarray(self._pull(t), float)[(slice(None), *inside_of(frame, self.baseline))]
        return np.tensordot(frame.axes, pull, axes=1)

    def determinants(self, t: Any) -> Image:
        """Jacobian determinant of the map from a time to `t0`: below 1 where things have grown.

        Raises:
            InputError: a time that is no finite number.
        """
        frame = Frame(self.momentum.shape, self.grid_affine)
        spacing = jnp.asarray(frame.spacing, self.momentum.dtype)
        values = determinants(jacobian_matrices(self._pull(t), spacing))
        return Image(values[inside_of(frame, self.baseline)], self.baseline.affine)

    def _pull(self, t: Any) -> Float[Array, "d *grid"]:
        if np.ndim(checks.as_numbers(t, "t")):
            raise InputError(f"Argument t must be one number, but has shape {list(np.shape(t))}.")
        part = (float(t) - self.t0) / (self.t1 - self.t0)
        if part == 0:
            return jnp.zeros(
                (self.metric.spacing.shape[0], *self.momentum.shape), self.momentum.dtype
            )
        # by the steps that it was found by, so that it is there what was compared; before t0 by
        # the opposite momentum
        before = [stop for stop in self.stops if stop < part]
        times = jnp.asarray([*before, abs(part)], self.momentum.dtype)
        momentum = float(np.sign(part)) * self.momentum
        return _shot(self.metric, self.padded_baseline, momentum, times, self.num_steps)


@eqx.filter_jit
def _shot(metric: AbstractGridMetric, image, momentum, times, num_steps: int):
    path = shoot_image(metric, image, momentum, times=times, num_steps=num_steps)
    assert path.displacements is not None, "they were asked for"
    return path.displacements[-1]


def regress_images(
    images: Any,
    times: Any,
    *,
    baseline: Any = None,
    t0: Any = None,
    metric: Any = None,
    fidelity: Any = None,
    weight: Any = None,
    num_steps: int = 10,
    factors: Any = None,
    tolerance: Any = 1e-2,
    max_iterations: int = 100,
    minimiser: Any = None,
    progress: Any = None,
    throw: bool = True,
) -> ImageRegression:
    """Find the geodesic of an image that passes closest to images seen at given times.

    Minimises `energy + weight * sum_k fidelity(baseline, pulled along to t_k; image k)` over the
    scalar momentum of the baseline. The worlds of the images must agree; those on another grid are
    seen on that of the baseline. Brightness is cut and scaled as by `match_images`.

    Args:
        images: of one dimension, at least two.
        times: when each was seen, `[s]`, in any order; may repeat.
        baseline: the image at `t0`; by default the earliest.
        t0: time of the baseline; by default the earliest of the times.
        metric, fidelity, weight: as for `match_images`, of the baseline.
        num_steps: least number of steps from `t0` to the last time, at least one between times.
        factors, tolerance, max_iterations, minimiser, progress: as for `match_images`.
        throw: raise if the finest resolution did not meet the tolerance; otherwise `result` says
            so.

    Returns:
        The geodesic, which has an image for any time.

    Raises:
        InputError: naming the image, or times that do not fit.
        NumericalError: not converged or not finite (only if `throw`).

    Gradient: none through the search; `ImageRegressionProblem.objective` is differentiable.

    Example: in `docs/images.md`, under populations.

    Reference: `[niethammer2011geodesic]`, `[fletcher2013geodesic]`.
    """
    images, reference, parts, begin, end = _checked(images, times, baseline, t0)
    checks.count(num_steps, "num_steps")
    given = dict(metric=metric, fidelity=fidelity, weight=weight, model=Shooting(num_steps))
    search_ = dict(factors=factors, tolerance=tolerance, max_iterations=max_iterations)
    ranges = [range_of(image, None, f"images[{k}]") for k, image in enumerate(images)]
    own = range_of(reference, None, "baseline")
    _, price, settings = pose(reference, reference, None, None, given, search_, minimiser, progress)
    if isinstance(price.fidelity, SSD):
        # one scale of grey for all
        lows, highs = zip(*ranges, own, strict=True)
        own = min(lows), max(highs)
        ranges = [own] * len(ranges)
    dtype = np.result_type(*(floating(image.values.dtype) for image in (*images, reference)))
    source = padded(scaled(reference, *own, dtype))
    if weight is None:
        # in the brightness that all are compared in
        price = price._replace(weight=default_weight(price.metric, price.fidelity, source))
    targets = [
        _seen(scaled(image, *limits, dtype), reference, f"images[{k}]")
        for k, (image, limits) in enumerate(zip(images, ranges, strict=True))
    ]
    stops = np.unique(np.append(parts, 0.0))
    gaps = np.diff(stops)

    def problem_of(factor: int, source: Padded) -> ImageRegressionProblem:
        base, world = pooled(source, factor), np.eye(reference.dimension + 1)
        levels = [level_of(base, pooled(target, factor), world) for target in targets]
        return ImageRegressionProblem(
            metric_at(price.metric, levels[0].spacing),
            price.fidelity,
            jnp.asarray(price.weight, dtype),
            stacked(levels),
            jnp.asarray(stops[1:], dtype),
            jnp.asarray(np.searchsorted(stops, parts)),
            int(np.ceil(num_steps * np.max(gaps) - 1e-9)),
        )

    unknowns, iterations, state = None, 0, None
    for factor in settings.factors:
        problem = problem_of(factor, source)
        start = problem.at_rest()
        if unknowns is not None:
            start = refined(price.model, unknowns, unknowns.shape, start.shape)
        state = search(settings, problem, init(settings.minimiser, problem, start, max_iterations))
        iterations, unknowns = iterations + int(state.iteration), state.position
    assert state is not None, "there is at least one resolution"
    assert unknowns is not None, "likewise"
    unknowns = refined(price.model, unknowns, unknowns.shape, source.frame.grid)
    problem = problem_of(1, source)
    momentum, energy, residuals, before = _measured(problem, unknowns)
    finite = jnp.isfinite(state.value) & jnp.all(jnp.isfinite(momentum))
    done = settled(state, jnp.asarray(tolerance, state.value.dtype))
    total = jnp.sum(before)
    found = ImageRegression(
        baseline=reference,
        momentum=momentum,
        padded_baseline=problem.baseline,
        metric=problem.metric,
        grid_affine=source.frame.affine,
        t0=begin,
        t1=end,
        stops=tuple(stops[1:].tolist()),
        num_steps=problem.num_steps,
        objective=state.value,
        energy=energy,
        residuals=residuals,
        explained=jnp.where(total > 0, 1 - jnp.sum(residuals) / total, jnp.nan),
        history=state.history,
        num_iterations=jnp.asarray(iterations),
        result=first_failure(
            code_if(~finite, RESULTS.not_finite), code_if(~done, RESULTS.not_converged)
        ),
    )
    return throw_if_failed(found, found.result, what="regress_images") if throw else found


@eqx.filter_jit
def _measured(problem: ImageRegressionProblem, unknowns):
    path = problem.path(unknowns)
    displacements = problem.displacements(path)
    momentum = scalar_momentum(problem.metric, unknowns, problem.baseline)
    residuals, rest = problem.distances(displacements), problem.distances(0 * displacements)
    return momentum, path.energies[-1], residuals, rest


def _checked(images, times, baseline, t0) -> tuple[list[Image], Image, np.ndarray, float, float]:
    """The images, the baseline, and their times in parts of the whole, which begins and ends."""
    if not isinstance(images, Sequence) or len(images) < 2:
        raise InputError("Argument images must be a list of at least two images.")
    when, begin, end = as_times(times, len(images), t0, "images")
    named = {f"images[{k}]": image for k, image in enumerate(images)}
    if baseline is not None:
        named["baseline"] = baseline
    for name, image in named.items():
        if not isinstance(image, Image):
            raise InputError(f"Argument {name} must be an `Image`, but is {type(image).__name__}.")
        if image.dimension != images[0].dimension:
            raise InputError(
                f"Argument {name} must have {images[0].dimension} dimensions as images[0] has, "
                f"but has {image.dimension}."
            )
    reference = images[int(np.argmin(when))] if baseline is None else baseline
    return list(images), reference, (when - begin) / (end - begin), begin, end


def _seen(image: Image, like: Image, name: str) -> Padded:
    """An image on the padded grid of another one, with weights where it is in sight."""
    if image.grid == like.grid and np.allclose(
        image.affine, like.affine, 1e-6, 1e-3 * np.min(like.spacing)
    ):
        return padded(Image(image.values, like.affine))
    indices = image.to_indices(places_of(like)).T
    values = sample(image.values, jnp.asarray(indices, image.values.dtype))
    limits = np.asarray(image.grid)[:, None] - 0.5
    inside = np.all((indices > -0.5) & (indices < limits), axis=0).reshape(like.grid)
    if not np.mean(inside) > 0.01:
        raise InputError(
            f"Argument {name} does not lie over the baseline in the world; check their affines."
        )
    mask = Image(inside.astype(image.values.dtype), like.affine)
    return padded(Image(values.reshape(like.grid), like.affine), mask)
