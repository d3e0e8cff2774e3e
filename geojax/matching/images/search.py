"""How matches of images are searched: from coarse to fine, until progress ends."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from geojax.matching.images.levels import Padded, level_of, pooled
from geojax.matching.images.models import AbstractModel
from geojax.matching.images.problem import ImageProblem
from geojax.matching.solvers import LBFGS, Minimisable, State
from geojax.metrics import AbstractGridMetric
from geojax.shapes import AbstractImageFidelity

Progress = Callable[[int, float, float], Any]

# Iterations over which progress is judged.
_WINDOW = 5


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


def resolutions(
    source: Padded, target: Padded, world: np.ndarray, price: Price, settings: Settings
) -> tuple[ImageProblem, Float[Array, "..."], list[State]]:
    """Search at all resolutions.

    Returns:
        The problem on the grid of the target, the unknowns there, and the state at the end of
        each resolution. Where the finest of these was coarser, the unknowns are refined.
    """
    states: list[State] = []

    def problem_at(factor: int) -> ImageProblem:
        level = level_of(pooled(source, factor), pooled(target, factor), world)
        weight = jnp.asarray(price.weight, level.target.dtype)
        metric = _at(price.metric, level.spacing)
        return ImageProblem(price.model, metric, price.fidelity, weight, level)

    for factor in settings.factors:
        problem = problem_at(factor)
        start = _refined(states[-1].position, problem.level.grid) if states else problem.at_rest()
        state = _init(settings.minimiser, problem, start, settings.max_iterations)
        states.append(_search(settings, problem, state))
    finest = problem_at(1)
    return finest, _refined(states[-1].position, finest.level.grid), states


def _at(metric: AbstractGridMetric, spacing: Float[Array, " d"]) -> AbstractGridMetric:
    """A metric on another grid, in its precision."""
    here = eqx.tree_at(lambda m: m.spacing, metric, spacing)

    def cast(x):
        return x.astype(spacing.dtype) if eqx.is_inexact_array(x) else x

    return jax.tree.map(cast, here)


def _search(settings: Settings, problem: ImageProblem, state: State) -> State:
    most, progress = settings.max_iterations, settings.progress
    tolerance = np.asarray(settings.tolerance, problem.level.target.dtype)
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
def _init(minimiser: LBFGS, problem: Minimisable, start, length: int) -> State:
    return minimiser.init(problem, start, length)


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


@eqx.filter_jit
def _refined(noise, grid: tuple[int, ...]):
    """White coordinates on a finer grid, which drive about the same velocities."""
    d = len(grid)
    lead, coarse = noise.shape[:-d], noise.shape[-d:]
    if coarse == grid:
        return noise
    fine = jax.image.resize(noise, (*lead, *grid), "linear")
    # they are like densities, of which each point holds the root of its volume
    ratio = np.prod(coarse) / np.prod(grid)
    return fine * jnp.sqrt(jnp.asarray(ratio, noise.dtype))
