"""Rigid and affine maps between images: where a match of images starts."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from geojax._core.linalg import expm
from geojax.matching.images.levels import Level, Padded, distance_of, level_of, pooled
from geojax.matching.images.problem import White, unit
from geojax.matching.images.search import descend
from geojax.matching.solvers import LBFGS
from geojax.shapes import AbstractImageFidelity

KINDS = ("translation", "rigid", "similarity", "affine")
# Iterations at each resolution, and the change of gradient at which one is good enough.
_ITERATIONS, _TOLERANCE = 40, 1e-3
# A start must show this part of what the best shows.
_FAIR = 0.7
# Turns that are tried about each axis, in degrees: a search finds its way over half of such a step.
_TURNS = 0.0, -30.0, 30.0
# So many of the best starts are searched from.
_TRIED = 3


class AffineProblem(eqx.Module):
    """Minimise the fidelity over maps `x -> c + exp(A) (x - c) + t` of the target's grid.

    The unknowns are t and A, all as lengths in units of the spacing: those of A by how far they
    move the border of the grid. Kinds share their programs: each is a projection of A.

    Attributes:
        fidelity: distance of images.
        level: both images, and the map to start from.
        allowed: projection of matrices `[d * d]` to those of the kind, `[d * d, d * d]`.
    """

    fidelity: AbstractImageFidelity
    level: Level
    allowed: Float[Array, "k k"]

    def at_rest(self) -> Float[Array, " n"]:
        return jnp.zeros(len(self.level.grid) + len(self.allowed), self.level.target.dtype)

    def map(self, unknowns: Float[Array, " n"]) -> tuple[Float[Array, "d d"], Float[Array, " d"]]:
        """Matrix and offset of the map, in the units of the spacing, from the grid's origin."""
        d = len(self.level.grid)
        spacing = self.level.spacing
        size = spacing * jnp.asarray(self.level.grid, spacing.dtype)
        centre, radius = 0.5 * (size - spacing), 0.5 * jnp.max(size)
        # without a unit: the first step of a search has the size of a gradient
        step = jnp.exp(jnp.mean(jnp.log(spacing)))
        shift, rest = step * unknowns[:d], step / radius * unknowns[d:]
        rest = jnp.matmul(self.allowed, rest, precision=jax.lax.Precision.HIGHEST)
        matrix = expm(rest.reshape(d, d))
        return matrix, centre + shift - matrix @ centre

    def objective(self, unknowns: Float[Array, " n"]) -> Float[Array, ""]:
        matrix, offset = self.map(unknowns)
        level, spacing = self.level, self.level.spacing
        # from indices to indices
        matrix, offset = matrix * spacing[None] / spacing[:, None], offset / spacing
        inner = jnp.matmul(level.matrix, matrix, precision=jax.lax.Precision.HIGHEST)
        start = jnp.matmul(level.matrix, offset, precision=jax.lax.Precision.HIGHEST)
        moved = level.moved_by(inner, start + level.offset)
        return distance_of(self.fidelity, level, moved)

    def constant(self) -> Float[Array, ""]:
        return jnp.zeros((), self.level.target.dtype)

    def gradient_at_rest(self) -> Float[Array, " n"]:
        return unit(self.at_rest())

    def coordinates(self) -> White:
        return White()


def fit_affine(
    source: Padded,
    target: Padded,
    fidelity: AbstractImageFidelity,
    kind: str,
    factors: tuple[int, ...],
) -> np.ndarray:
    """The map `[d + 1, d + 1]` from the target's world to the source's under which they agree best.

    At the coarsest resolution it starts from worlds that agree as they are, from the middles of
    the images on each other, and from the centres of their brightness, each turned both ways
    about every axis (not for translations). From the best of these rigid maps are searched, and
    from the best of what they reach a map of the kind, there and at the finer resolutions.
    """
    pair = [pooled(image, factors[0]) for image in (source, target)]
    worlds = _best(fidelity, pair, _starts(source, target, kind != "translation"), _TRIED)
    for factor in factors:
        pair = [pooled(image, factor) for image in (source, target)]
        if factor == factors[0]:
            first = kind if kind == "translation" else "rigid"
            worlds = _best(fidelity, pair, _searched(fidelity, pair, worlds, first), 1)
        worlds = _searched(fidelity, pair, worlds, kind)
    return worlds[0]


def _searched(fidelity, pair: list[Padded], worlds, kind: str) -> list[np.ndarray]:
    """Where searches from some maps end."""
    allowed = _allowed(kind, worlds[0].shape[0] - 1)
    found = []
    for world in worlds:
        level = level_of(pair[0], pair[1], world)
        matrix, offset = _search(
            AffineProblem(fidelity, level, jnp.asarray(allowed, level.target.dtype))
        )
        found.append(world @ _in_world(pair[1].frame, np.asarray(matrix), np.asarray(offset)))
    return found


def _best(fidelity, pair: list[Padded], worlds: list[np.ndarray], most: int) -> list[np.ndarray]:
    """The maps under which images agree best, best first, of those that leave enough in sight."""
    source, target = (image.frame.affine for image in pair)
    level = level_of(pair[0], pair[1], worlds[0])
    indices = np.linalg.inv(source) @ np.stack(worlds) @ target
    indices = indices.astype(level.target.dtype)
    places = indices[:, :-1, :-1], indices[:, :-1, -1]
    values, overlaps = map(np.asarray, _values(fidelity, level, *places))
    # where little is in sight little can disagree
    fair = np.isfinite(values) & (overlaps >= _FAIR * np.max(overlaps))
    order = np.argsort(np.where(fair, values, np.inf), kind="stable")
    return [worlds[k] for k in order[:most] if fair[k] or k == order[0]]


@eqx.filter_jit
def _values(fidelity, level: Level, matrices, offsets):
    """Fidelity and overlap by several affine parts."""

    def one(place):
        image, weights = level.moved_by(*place)
        value = fidelity(image, level.target, weights, level.spacing)
        return value, jnp.sum(weights)

    return jax.lax.map(one, (matrices, offsets))


@eqx.filter_jit
def _search(problem: AffineProblem):
    minimiser = LBFGS(memory=10)
    state = minimiser.init(problem, problem.at_rest(), _ITERATIONS)
    tolerance = jnp.asarray(_TOLERANCE, problem.level.target.dtype)
    state = descend(minimiser, problem, state, tolerance, _ITERATIONS)
    return problem.map(state.position)


def _allowed(kind: str, d: int) -> np.ndarray:
    """Orthogonal projection of matrices to the generators of a kind of map."""
    whole = np.eye(d * d)
    if kind == "affine":
        return whole
    if kind == "translation":
        return 0 * whole
    swapped = whole.reshape(d, d, d * d).swapaxes(0, 1).reshape(d * d, d * d)
    turns = 0.5 * (whole - swapped)
    scale = np.eye(d).ravel() / np.sqrt(d)
    return turns + np.outer(scale, scale) if kind == "similarity" else turns


def _in_world(frame, matrix: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """A map of lengths along the axes of a grid, from its origin, as one of the world."""
    d = len(offset)
    inner = np.eye(d + 1)
    inner[:-1, :-1], inner[:-1, -1] = matrix, offset
    to_world = np.eye(d + 1)
    to_world[:-1, :-1], to_world[:-1, -1] = frame.axes, frame.affine[:-1, -1]
    return to_world @ inner @ np.linalg.inv(to_world)


def _starts(source: Padded, target: Padded, turned: bool) -> list[np.ndarray]:
    """Maps to start from: the identity and shifts of centres, as they are and turned."""
    d = len(target.frame.grid)
    middle = _middle(target)
    centres = (
        (middle, middle),
        (_middle(source), middle),
        (_centre_of_brightness(source), _centre_of_brightness(target)),
    )
    maps = []
    for turn in _turns(d) if turned else [np.eye(d)]:
        for there, here in centres:
            world = np.eye(d + 1)
            world[:-1, :-1], world[:-1, -1] = turn, there - turn @ here
            maps.append(world)
    return maps


def _turns(d: int) -> list[np.ndarray]:
    """Turns about all axes together; none comes first."""
    rows, columns = np.triu_indices(d, 1)
    turns = []
    for angles in itertools.product(np.deg2rad(_TURNS), repeat=len(rows)):
        turn = np.eye(d)
        for i, j, angle in zip(rows, columns, angles, strict=True):
            one = np.eye(d)
            one[[i, j], [i, j]] = np.cos(angle)
            one[i, j], one[j, i] = -np.sin(angle), np.sin(angle)
            turn = turn @ one
        turns.append(turn)
    return turns


def _middle(image: Padded) -> np.ndarray:
    return _mean_place(image, image.weights)


def _centre_of_brightness(image: Padded) -> np.ndarray:
    bright = (image.values - image.values.min()) * image.weights
    return _mean_place(image, bright if bright.sum() > 0 else image.weights)


def _mean_place(image: Padded, weights: np.ndarray) -> np.ndarray:
    total = float(weights.sum(dtype=np.float64)) or 1.0
    centre = [
        np.sum(
            weights.sum(axis=tuple(set(range(weights.ndim)) - {a}), dtype=np.float64) * np.arange(n)
        )
        / total
        for a, n in enumerate(weights.shape)
    ]
    affine = image.frame.affine
    return affine[:-1, :-1] @ np.asarray(centre) + affine[:-1, -1]
