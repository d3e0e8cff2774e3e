"""How matches of images are searched: from coarse to fine, until progress ends."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from geojax.matching.images.beside import Beside
from geojax.matching.images.levels import Padded, level_of, pooled
from geojax.matching.images.models import AbstractModel
from geojax.matching.images.problem import ImageProblem
from geojax.matching.solvers import LBFGS, Minimisable, State
from geojax.metrics import AbstractGridMetric
from geojax.shapes import AbstractImageFidelity

Progress = Callable[[int, float, float], Any]

# Iterations over which progress is judged.
_WINDOW = 5


class Pair(NamedTuple):
    """Both images of a match, on their padded grids.

    Attributes:
        contrast: how much of the source's intensities is one unit of the values compared.
    """

    source: Padded
    target: Padded
    contrast: float


class Settings(NamedTuple):
    """How a match is searched; see `match_images`."""

    factors: tuple[int, ...]
    tolerance: float
    max_iterations: int
    minimiser: LBFGS
    progress: Progress | None


class Price(NamedTuple):
    """What a deformation costs; see `match_images`."""

    metric: AbstractGridMetric
    fidelity: AbstractImageFidelity
    weight: float | Float[Array, ""]
    model: AbstractModel
    beside: Beside | None = None


class Found(NamedTuple):
    """Where a search ended.

    Attributes:
        noise: the unknowns, on the grid of the target; refined where the search was coarser.
        value, history, settled: of the finest resolution.
        num_iterations: of all.
    """

    noise: Float[Array, "..."]
    value: Float[Array, ""]
    history: Float[Array, " k"]
    settled: Bool[Array, ""]
    num_iterations: Int[Array, ""]


def problem_at(factor: int, pair: Pair, world: np.ndarray, price: Price) -> ImageProblem:
    """The problem of a pair at one resolution."""
    level = level_of(pooled(pair.source, factor), pooled(pair.target, factor), world)
    weight = jnp.asarray(price.weight, level.target.dtype)
    metric = metric_at(price.metric, level.spacing)
    beside = () if price.beside is None else price.beside.at(factor, level, world)
    return ImageProblem(price.model, metric, price.fidelity, weight, level, beside)


def resolutions(pair: Pair, world: np.ndarray, price: Price, settings: Settings) -> Found:
    """Search at all resolutions, one after the other."""
    states: list[State] = []
    grids: list[tuple[int, ...]] = []
    for factor in settings.factors:
        problem = problem_at(factor, pair, world, price)
        grid, start = problem.level.grid, problem.at_rest()
        if states:
            start = refined(price.model, states[-1].position, grids[-1], grid)
        state = init(settings.minimiser, problem, start, settings.max_iterations)
        states.append(search(settings, problem, state))
        grids.append(grid)
    last, tolerance = states[-1], settings.tolerance
    return Found(
        refined(price.model, last.position, grids[-1], pair.target.frame.grid),
        last.value,
        last.history,
        settled(last, jnp.asarray(tolerance, last.value.dtype)),
        jnp.asarray(sum(int(state.iteration) for state in states)),
    )


def resolutions_of_many(
    problems: list[ImageProblem],
    grid: tuple[int, ...],
    settings: Settings,
    batch_size: int,
    start: Float[Array, "..."] | None = None,
) -> Found:
    """The same for many pairs side by side; a problem, with a leading axis, per resolution.

    The first starts at rest, or from unknowns on the grid of the target.
    """
    model, coarse, iterations = problems[0].model, grid, jnp.zeros((), int)
    found = None
    for problem in problems:
        here = problem.level.target.shape[1:]
        start = start if found is None else found.noise
        # refined outside, so that a search from there is the program that another start needs
        start = None if start is None else _all_refined(model, start, coarse, here)
        found = _lanes(settings, problem, start, batch_size)
        iterations, coarse = iterations + found.num_iterations, here
    assert found is not None, "there is at least one resolution"
    fine = _all_refined(model, found.noise, coarse, grid)
    return found._replace(noise=fine, num_iterations=iterations)


@eqx.filter_jit
def _lanes(settings: Settings, problems: ImageProblem, start, batch_size: int) -> Found:
    arrays, rest = eqx.partition(problems, eqx.is_array)

    def one(lane):
        problem, noise = eqx.combine(lane[0], rest), lane[1]
        noise = problem.at_rest() if noise is None else noise
        state = settings.minimiser.init(problem, noise, settings.max_iterations)
        tolerance = jnp.asarray(settings.tolerance, state.value.dtype)
        state = descend(settings.minimiser, problem, state, tolerance, settings.max_iterations)
        done = settled(state, tolerance)
        return Found(state.position, state.value, state.history, done, state.iteration)

    return jax.lax.map(one, (arrays, start), batch_size=batch_size)


@eqx.filter_jit
def _all_refined(model: AbstractModel, unknowns, coarse: tuple[int, ...], fine: tuple[int, ...]):
    return jax.vmap(lambda one: model.refined(one, coarse, fine))(unknowns)


def metric_at(metric: AbstractGridMetric, spacing: Float[Array, " d"]) -> AbstractGridMetric:
    """A metric on another grid, in its precision."""
    here = eqx.tree_at(lambda m: m.spacing, metric, spacing)

    def cast(x):
        return x.astype(spacing.dtype) if eqx.is_inexact_array(x) else x

    return jax.tree.map(cast, here)


def search(settings: Settings, problem: Minimisable, state: State) -> State:
    """Iterate until settled, or until the last iteration, and say how far it came."""
    most, progress = settings.max_iterations, settings.progress
    tolerance = np.asarray(settings.tolerance, state.value.dtype)
    chunk = most if progress is None else _WINDOW
    for until in range(chunk, most + chunk, chunk):
        last = np.asarray(min(until, most))
        state = descend(settings.minimiser, problem, state, tolerance, last)
        if progress is not None:
            progress(int(state.iteration), float(state.value), float(state.gradient_norm))
        if bool(settled(state, tolerance)):
            break
    return state


def settled(state: State, tolerance: Float[Array, ""] | np.ndarray) -> Bool[Array, ""]:
    """Whether nothing more is to be gained, or the last iterations brought next to nothing."""
    now = state.history[jnp.maximum(state.iteration, 0)]
    before = state.history[jnp.maximum(state.iteration - _WINDOW, 0)]
    gained = state.history[0] - now
    return state.done | ((state.iteration >= _WINDOW) & (before - now <= tolerance * gained))


@eqx.filter_jit
def init(minimiser: LBFGS, problem: Minimisable, start, length: int) -> State:
    """A search before its first iteration."""
    return minimiser.init(problem, start, length)


@eqx.filter_jit
def refined(model: AbstractModel, unknowns, coarse: tuple[int, ...], fine: tuple[int, ...]):
    """Unknowns on another grid."""
    return model.refined(unknowns, coarse, fine)


@eqx.filter_jit
def descend(minimiser: LBFGS, problem: Minimisable, state: State, tolerance, until) -> State:
    """Iterate until settled, or until iteration `until`."""
    # the gradient need not vanish where images have noise
    never = jnp.zeros((), state.value.dtype)
    return jax.lax.while_loop(
        lambda state: ~settled(state, tolerance) & (state.iteration < until),
        lambda state: minimiser.step(problem, state, never),
        state,
    )
