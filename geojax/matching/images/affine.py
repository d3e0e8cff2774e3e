"""Rigid and affine maps between images: where a match of images starts."""

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


class AffineProblem(eqx.Module):
    """Minimise the fidelity over maps `x -> c + exp(A) (x - c) + t` of the target's grid.

    The unknowns are t and the parts of A that the kind allows, all as lengths in units of the
    spacing: those of A by how far they move the border of the grid.
    """

    fidelity: AbstractImageFidelity
    level: Level
    kind: str = eqx.field(static=True)

    def at_rest(self) -> Float[Array, " k"]:
        d = len(self.level.grid)
        sizes = {
            "translation": d,
            "rigid": d + d * (d - 1) // 2,
            "similarity": d + d * (d - 1) // 2 + 1,
            "affine": d + d * d,
        }
        return jnp.zeros(sizes[self.kind], self.level.target.dtype)

    def map(self, unknowns: Float[Array, " k"]) -> tuple[Float[Array, "d d"], Float[Array, " d"]]:
        """Matrix and offset of the map, in the units of the spacing, from the grid's origin."""
        d = len(self.level.grid)
        spacing = self.level.spacing
        size = spacing * jnp.asarray(self.level.grid, spacing.dtype)
        centre, radius = 0.5 * (size - spacing), 0.5 * jnp.max(size)
        # without a unit: the first step of a search has the size of a gradient
        step = jnp.exp(jnp.mean(jnp.log(spacing)))
        shift, rest = step * unknowns[:d], step / radius * unknowns[d:]
        generator = jnp.zeros((d, d), unknowns.dtype)
        if self.kind == "affine":
            generator = rest.reshape(d, d)
        elif self.kind != "translation":
            rows, columns = np.triu_indices(d, 1)
            turn = rest[: len(rows)]
            generator = generator.at[rows, columns].set(turn).at[columns, rows].set(-turn)
            if self.kind == "similarity":
                generator = generator + rest[-1] * jnp.eye(d, dtype=unknowns.dtype)
        matrix = expm(generator)
        return matrix, centre + shift - matrix @ centre

    def objective(self, unknowns: Float[Array, " k"]) -> Float[Array, ""]:
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

    def gradient_at_rest(self) -> Float[Array, " k"]:
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

    Starts from the best of: worlds that agree as they are, the middles of the images, and the
    centres of their brightness.
    """
    coarse = [pooled(image, factors[0]) for image in (source, target)]
    starts = _starts(source, target)
    levels = [level_of(coarse[0], coarse[1], world) for world in starts]
    values = np.asarray([_value(fidelity, level) for level in levels], float)
    overlaps = np.asarray([level.overlap for level in levels], float)
    # where little is in sight little can disagree
    fair = np.isfinite(values) & (overlaps >= _FAIR * np.max(overlaps))
    world = starts[int(np.argmin(np.where(fair, values, np.inf)))]
    for factor in factors:
        pair = [pooled(image, factor) for image in (source, target)]
        level = level_of(pair[0], pair[1], world)
        matrix, offset = _search(AffineProblem(fidelity, level, kind))
        world = world @ _in_world(pair[1].frame, np.asarray(matrix), np.asarray(offset))
    return world


@eqx.filter_jit
def _value(fidelity, level: Level):
    return distance_of(fidelity, level, level.moved())


@eqx.filter_jit
def _search(problem: AffineProblem):
    minimiser = LBFGS(memory=10)
    state = minimiser.init(problem, problem.at_rest(), _ITERATIONS)
    tolerance = jnp.asarray(_TOLERANCE, problem.level.target.dtype)
    state = descend(minimiser, problem, state, tolerance, _ITERATIONS)
    return problem.map(state.position)


def _in_world(frame, matrix: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """A map of lengths along the axes of a grid, from its origin, as one of the world."""
    d = len(offset)
    inner = np.eye(d + 1)
    inner[:-1, :-1], inner[:-1, -1] = matrix, offset
    to_world = np.eye(d + 1)
    to_world[:-1, :-1], to_world[:-1, -1] = frame.axes, frame.affine[:-1, -1]
    return to_world @ inner @ np.linalg.inv(to_world)


def _starts(source: Padded, target: Padded) -> list[np.ndarray]:
    """Maps to start from: the identity, and shifts of middles and of centres of brightness."""
    d = len(target.frame.grid)
    maps = [np.eye(d + 1)]
    for centre in (_middle, _centre_of_brightness):
        shift = np.eye(d + 1)
        shift[:-1, -1] = centre(source) - centre(target)
        maps.append(shift)
    return maps


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
