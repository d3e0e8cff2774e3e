"""The verb `atlas_images`: a template in the middle of many images, and their deformations."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from geojax._core import checks
from geojax._core.errors import InputError
from geojax._core.results import RESULTS, first_failure, throw_if_failed
from geojax.flows.grids import compose, inverse, pull_back
from geojax.matching.images.levels import Padded, in_sight, padded, pooled
from geojax.matching.images.many import as_lanes, largest_grid, stacked
from geojax.matching.images.match import (
    as_world,
    check_overlap,
    default_weight,
    floating,
    pose,
    range_of,
    scaled,
)
from geojax.matching.images.models import Stationary
from geojax.matching.images.problem import ImageProblem
from geojax.matching.images.result import ImageMatch, inside_of
from geojax.matching.images.search import (
    Found,
    Pair,
    Price,
    Settings,
    problem_at,
    resolutions_of_many,
)
from geojax.shapes import SSD, Image


class ImageAtlas(eqx.Module):
    """A template in the middle of many images, and the deformations between it and each of them.

    Attributes:
        template: the estimated image, on the grid of the given template or the first subject.
        matches: one `ImageMatch` for each subject, from it (source) to the template (target).
        history: sum over the subjects of energy plus weighted fidelity, after the first matching
            and after that of each round, `[rounds + 1]`.
        result: result code: the first failure among the last matches.
    """

    template: Image
    matches: tuple[ImageMatch, ...]
    history: Float[Array, " k"]
    result: RESULTS

    @property
    def moved(self) -> list[Image]:
        """The subjects, carried to the template."""
        return [match.moved for match in self.matches]

    @property
    def energies(self) -> Float[Array, " s"]:
        """Energy of each deformation beyond its affine map."""
        return jnp.stack([match.energy for match in self.matches])

    @property
    def residuals(self) -> Float[Array, " s"]:
        """Fidelity that each leaves."""
        return jnp.stack([match.residual for match in self.matches])

    @property
    def num_iterations(self) -> Int[Array, ""]:
        """Iterations of all matches, all rounds."""
        return jnp.sum(jnp.stack([match.num_iterations for match in self.matches]))

    @property
    def mean_displacement(self) -> Float[Array, "d *grid"]:
        """Mean of the displacements from template to subjects, beyond their affine maps.

        Along the axes of the template, in the unit of the world. That it nearly vanishes says that
        the template is in the middle.
        """
        first = self.matches[0]
        total = sum((match.pull for match in self.matches), start=jnp.zeros_like(first.pull))
        return (total / len(self.matches))[(slice(None), *inside_of(first._frame, self.template))]

    def save(self, folder: str | Path) -> None:
        """Save each match in a folder of its own, `folder/0`, `folder/1`, for `load_image_match`.

        The template is the target of each.

        Raises:
            StorageError: the folder cannot be written.
        """
        for k, match in enumerate(self.matches):
            match.save(Path(folder) / str(k))


def atlas_images(
    subjects: Any,
    *,
    template: Any = None,
    rounds: int = 4,
    metric: Any = None,
    fidelity: Any = None,
    weight: Any = None,
    model: Any = None,
    affine: Any = "affine",
    factors: Any = None,
    tolerance: Any = 1e-2,
    max_iterations: int = 100,
    minimiser: Any = None,
    batch_size: int | None = None,
    progress: Any = None,
    throw: bool = True,
) -> ImageAtlas:
    """Find a template in the middle of many images, and the deformations between it and them.

    Lowers `sum_s energy_s + weight * fidelity(subject s, pulled back to the template; template)`.
    Each round carries the deformations on so that their mean vanishes (with `Stationary`, the mean
    of the velocities), takes the mean of the subjects, pulled back by them, for the template, and
    matches all subjects to it, in one compiled program. With `SSD` all of this lowers the
    objective (taking the mean out, to first order); with other fidelities the mean is a heuristic.
    Brightness is cut and scaled as by `match_images`.

    Args:
        subjects: images of one dimension, at least two, on any grids.
        template: where the template starts, and its grid and place in the world. By default the
            grid of the first subject, and the mean of the subjects after their affine maps, whose
            mean linear part is taken away: the template has their mean size, shape and tilt.
        rounds: how often the template is estimated anew.
        metric, fidelity, weight, model: as for `match_images`, of the template.
        affine: kind of the first maps, found once, against the template it starts from or the
            first subject; a list of maps, `[d + 1, d + 1]` each, from the template's world to that
            of each subject; or None where the worlds agree.
        factors, tolerance, max_iterations, minimiser: as for `match_images`. Rounds after the
            first matching start from where the last one ended, at the finest resolution.
        batch_size: as for `match_many_images`.
        progress: called after each round with its number, the objective, and the largest mean
            displacement that was taken away.
        throw: raise if a match of the last round failed; otherwise `result` says so.

    Raises:
        InputError: naming the subject.
        NumericalError: a match did not converge or is not finite (only if `throw`).

    Gradient: none.

    Example: in `docs/images.md`, under populations.

    Reference: `[joshi2004unbiased]`.
    """
    subjects = _as_subjects(subjects, template)
    checks.count(rounds, "rounds")
    reference = subjects[0] if template is None else template
    given: dict[str, Any] = dict(metric=metric, fidelity=fidelity, weight=weight, model=model)
    search = dict(factors=factors, tolerance=tolerance, max_iterations=max_iterations)
    lanes = as_lanes(batch_size, len(subjects))
    pairs, ranges, price, settings = _posed(
        subjects, reference, template is not None, given, search, minimiser, progress, lanes
    )
    worlds = _worlds(affine, pairs, settings)
    if template is None and isinstance(affine, str):
        worlds = _centred(worlds, reference)
    team = _Team(pairs, worlds, price, settings, lanes, reference)
    noise, target = team.at_rest(), pairs[0].target
    if template is None:
        noise, target, _ = team.averaged(noise, target)
    found = team.matched(target, noise, settings.factors)
    history = [jnp.sum(found.value)]
    for k in range(rounds):
        noise, target, drift = team.averaged(found.noise, target)
        last = found.num_iterations
        found = team.matched(target, noise, settings.factors[-1:])
        found = found._replace(num_iterations=found.num_iterations + last)
        history.append(jnp.sum(found.value))
        if progress is not None:
            progress(k + 1, float(history[-1]), float(drift))
    low, high = np.mean(ranges, axis=0)
    values = np.asarray(target.values)[inside_of(target.frame, reference)]
    image = Image((low + (high - low) * values).astype(values.dtype), reference.affine)
    matches = []
    for k, (pair, world) in enumerate(zip(pairs, worlds, strict=True)):
        pair = pair._replace(target=target)
        lane = Found(*(jnp.asarray(np.asarray(x)[k]) for x in found))
        problem = problem_at(1, pair, world, price)
        matches.append(ImageMatch.of(subjects[k], image, problem, lane, world, pair))
    code = first_failure(*(match.result for match in matches))
    atlas = ImageAtlas(image, tuple(matches), jnp.stack(history), code)
    return throw_if_failed(atlas, code, what="atlas_images") if throw else atlas


class _Team:
    """All subjects side by side, at all resolutions."""

    def __init__(self, pairs, worlds, price: Price, settings: Settings, batch_size: int, like):
        self.settings, self.batch_size, self.like = settings, batch_size, like
        self.grid, self.model = pairs[0].target.frame.grid, price.model
        self.problems = {
            factor: stacked(
                [problem_at(factor, *one, price) for one in zip(pairs, worlds, strict=True)]
            )
            for factor in {*settings.factors, 1}
        }

    def at_rest(self) -> Float[Array, "s ..."]:
        """Unknowns of all subjects that a search starts from."""
        level = self.problems[1].level
        rest = self.model.at_rest(self.grid, level.target.dtype)
        return jnp.broadcast_to(rest, (level.target.shape[0], *rest.shape))

    def matched(self, target: Padded, start: Float[Array, "s ..."], factors) -> Found:
        """The matches of all to a template, from unknowns on its grid, at some resolutions."""
        posed = []
        for factor in factors:
            problems = self.problems[factor]
            values = jnp.asarray(pooled(target, factor).values)
            values = jnp.broadcast_to(values, problems.level.target.shape)
            posed.append(eqx.tree_at(lambda p: p.level.target, problems, values))
        # factors and progress do not belong to the program of one resolution
        settings = self.settings._replace(factors=(), progress=None)
        return resolutions_of_many(posed, self.grid, settings, self.batch_size, start)

    def averaged(self, noise, target: Padded) -> tuple[Float[Array, "s ..."], Padded, Any]:
        """Unknowns whose mean is taken away, the template that they make, and how far that was."""
        values = jnp.asarray(target.values)
        noise, values, drift = _averaged(self.problems[1], noise, values, self.batch_size)
        # the margin goes on with the values at the ends
        values = np.asarray(values)[inside_of(target.frame, self.like)]
        return noise, padded(Image(values, self.like.affine)), drift


@eqx.filter_jit
def _averaged(problems: ImageProblem, noise, before, batch_size: int):
    """Unknowns less their mean, the weighted mean of the subjects, and the mean's length."""
    arrays, rest = eqx.partition(problems, eqx.is_array)
    metric = eqx.combine(jax.tree.map(lambda x: x[0], arrays), rest).metric
    linear = isinstance(problems.model, Stationary)

    def motion(lane):
        moved = eqx.combine(lane[0], rest).move(lane[1])
        return moved.displacement, moved.change

    def lanes(function, *values):
        return jax.lax.map(function, (arrays, *values), batch_size=batch_size)

    if linear:
        # the exponential of minus the mean velocity moves the template, to first order
        mean = jnp.mean(noise, axis=0)
        noise = noise - mean[None]
        drift, back = metric.root(mean), None
    else:
        drift = jnp.mean(lanes(motion, noise)[0], axis=0)
        back = inverse(drift, metric.spacing)

    def pulled(lane):
        problem = eqx.combine(lane[0], rest)
        moved = problem.move(lane[1])
        displacement, change = moved.displacement, moved.change
        if back is not None:
            displacement = compose(displacement, back, metric.spacing)
            change = None if change is None else pull_back(change, back, metric.spacing)
        values, weights = problem.level.moved(displacement)
        values = values if change is None else values + change
        # as much as it counts in the objective, whose least squares this is
        total = jnp.sum(weights)
        share = in_sight(problem.level, weights) / jnp.where(total > 0, total, 1) * weights
        return share * values, share

    values, shares = (jnp.sum(x, axis=0) for x in lanes(pulled, noise))
    mean = jnp.where(shares > 0, values / jnp.where(shares > 0, shares, 1), before)
    return noise, mean, jnp.max(jnp.linalg.norm(drift, axis=0))


def _as_subjects(subjects, template) -> list[Image]:
    """The subjects, all images of the template's dimension."""
    if not isinstance(subjects, Sequence) or len(subjects) < 2:
        raise InputError(
            "Argument subjects must be a list of at least two images; match a pair by "
            "`match_images`."
        )
    named = {f"subjects[{k}]": image for k, image in enumerate(subjects)}
    if template is not None:
        named = {"template": template, **named}
    for name, image in named.items():
        if not isinstance(image, Image):
            raise InputError(f"Argument {name} must be an `Image`, but is {type(image).__name__}.")
    first, dimension = next((name, image.dimension) for name, image in named.items())
    for name, image in named.items():
        if image.dimension != dimension:
            raise InputError(
                f"Argument {name} must have {dimension} dimensions as {first} has, but has "
                f"{image.dimension}."
            )
    return list(subjects)


def _posed(
    subjects: list[Image],
    reference: Image,
    alone: bool,
    price: dict[str, Any],
    search: dict[str, Any],
    minimiser,
    progress,
    lanes: int = 1,
) -> tuple[list[Pair], np.ndarray, Price, Settings]:
    """Each subject with the reference, on padded grids, brightness scaled; and its ranges."""
    ranges = [range_of(image, None, f"subjects[{k}]") for k, image in enumerate(subjects)]
    given = [*ranges, range_of(reference, None, "template")] if alone else ranges
    _, cost, settings = pose(
        subjects[0], reference, None, None, price, search, minimiser, progress, lanes=lanes
    )
    if isinstance(cost.fidelity, SSD):
        # one scale of grey for all
        lows, highs = zip(*given, strict=True)
        given = [(min(lows), max(highs))] * len(given)
    dtype = np.result_type(*(floating(image.values.dtype) for image in (*subjects, reference)))
    target = padded(scaled(reference, *given[-1 if alone else 0], dtype))
    if price["weight"] is None:
        # in the brightness that all are compared in
        cost = cost._replace(weight=default_weight(cost.metric, cost.fidelity, target))
    grid = largest_grid(subjects, "subjects")
    pairs = [
        Pair(padded(scaled(image, *limits, dtype), None, grid), target, limits[1] - limits[0])
        for image, limits in zip(subjects, given, strict=False)
    ]
    return pairs, np.asarray(given[: len(subjects)]), cost, settings


def _worlds(affine, pairs: list[Pair], settings: Settings) -> list[np.ndarray]:
    """The affine map of each subject."""
    each = [affine] * len(pairs)
    if affine is not None and not isinstance(affine, str):
        if np.ndim(affine) != 3 or len(affine) != len(pairs):
            raise InputError(
                f"Argument affine must be the name of a kind, None, or a list of {len(pairs)} "
                f"matrices, one for each subject, but is {affine!r}."
            )
        each = list(affine)
    worlds = []
    for k, (pair, one) in enumerate(zip(pairs, each, strict=True)):
        try:
            worlds.append(as_world(one, pair, settings.factors))
            check_overlap(pair, worlds[-1])
        except InputError as error:
            raise InputError(f"subjects[{k}]: {error}") from error
    return worlds


def _centred(worlds: list[np.ndarray], reference: Image) -> list[np.ndarray]:
    """The same maps without their mean linear part; the middle of the grid stays in its place."""
    from scipy.linalg import expm, logm

    d = reference.dimension
    mean = expm(np.mean([np.real(logm(world[:-1, :-1])) for world in worlds], axis=0))
    middle = reference.to_world(0.5 * (np.asarray(reference.grid, float) - 1)[None])[0]
    back = np.eye(d + 1)
    back[:-1, :-1] = np.linalg.inv(mean)
    back[:-1, -1] = middle - back[:-1, :-1] @ middle
    return [world @ back for world in worlds]
