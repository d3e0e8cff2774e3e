"""What a match of images is computed on: one padded grid, at several resolutions.

The deformation lives on the grid of the target with a margin around it, so that anatomy may move
over the edge of a tight crop; the margin counts nothing. Sizes are filled up to multiples, so
that images of about the same size share their compiled programs.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from geojax.flows.interpolation import indices_of, sample
from geojax.shapes import AbstractImageFidelity, Image

# Sizes of padded grids are multiples of this.
_MULTIPLE = 8
# Least points of the margin on each side.
_MARGIN = 2
# Part of the first overlap that has to stay in sight.
_SIGHT = 0.5


class Level(eqx.Module):
    """Both images at one resolution.

    Attributes:
        source: its values, padded, `[*s]`.
        source_weights: how much each of them counts, zero in the padding, `[*s]`.
        target: values on the grid of the deformation, `[*grid]`.
        weights: how much each of them counts, `[*grid]`.
        spacing: of the grid, `[d]`.
        matrix: from indices of the grid to those of the source, `[d, d]`, by the affine part.
        offset: the same at index zero, `[d]`.
        overlap: sum of the weights of the source where it lies on the grid by the affine part.
    """

    source: Float[Array, "*s"]
    source_weights: Float[Array, "*s"]
    target: Float[Array, "*grid"]
    weights: Float[Array, "*grid"]
    spacing: Float[Array, " d"]
    matrix: Float[Array, "d d"]
    offset: Float[Array, " d"]
    overlap: Float[Array, ""]

    @property
    def grid(self) -> tuple[int, ...]:
        """Size of the grid of the deformation."""
        return self.target.shape

    def moved(
        self, displacement: Float[Array, "d *grid"] | None = None
    ) -> tuple[Float[Array, "*grid"], Float[Array, "*grid"]]:
        """The source pulled back by `x -> x + u(x)` and the affine part, and its weights."""
        return self.moved_by(self.matrix, self.offset, displacement)

    def moved_by(
        self,
        matrix: Float[Array, "d d"],
        offset: Float[Array, " d"],
        displacement: Float[Array, "d *grid"] | None = None,
    ) -> tuple[Float[Array, "*grid"], Float[Array, "*grid"]]:
        """The same by another affine part."""
        places = self.places(matrix, offset, displacement)
        values, weights = sample(jnp.stack([self.source, self.source_weights]), places)
        return values, weights * self.weights

    def places(
        self,
        matrix: Float[Array, "d d"],
        offset: Float[Array, " d"],
        displacement: Float[Array, "d *grid"] | None = None,
    ) -> Float[Array, "d *grid"]:
        """Where the points of the grid lead to, as indices of the source."""
        d = len(self.grid)
        indices = indices_of(self.grid, self.target.dtype)
        column = (d,) + (1,) * d
        if displacement is not None:
            indices = indices + displacement / self.spacing.reshape(column)
        # coordinates need all digits, which products on a GPU do not keep by themselves
        places = jnp.tensordot(matrix, indices, axes=1, precision=jax.lax.Precision.HIGHEST)
        return places + offset.reshape(column)


def distance_of(
    fidelity: AbstractImageFidelity,
    level: Level,
    moved: tuple[Float[Array, "*grid"], Float[Array, "*grid"]],
) -> Float[Array, ""]:
    """Fidelity of the moved source, in a mean that does not reward leaving the target.

    Anatomy may leave a tight crop; but where less is in sight than half of what was at the start,
    what is missing of that half counts as fully different, as 1.

    Args:
        fidelity: distance of images.
        level: the target.
        moved: values and weights of the source on its grid.
    """
    image, weights = moved
    return 1 + in_sight(level, weights) * (
        fidelity(image, level.target, weights, level.spacing) - 1
    )


def in_sight(level: Level, weights: Float[Array, "*grid"]) -> Float[Array, ""]:
    """How much of the distance of a moved source counts: less than 1 where little is in sight."""
    least = jnp.maximum(_SIGHT * level.overlap, 1e-6)
    return jnp.minimum(jnp.sum(weights) / least, 1.0)


class Frame(NamedTuple):
    """Where a padded grid lies: its size, and from its indices to the world."""

    grid: tuple[int, ...]
    affine: np.ndarray

    @property
    def spacing(self) -> np.ndarray:
        return np.linalg.norm(self.affine[:-1, :-1], axis=0)

    @property
    def axes(self) -> np.ndarray:
        """Directions of the axes in the world, as columns."""
        return self.affine[:-1, :-1] / self.spacing


def padded_frame(image: Image) -> tuple[Frame, tuple[tuple[int, int], ...]]:
    """The grid of an image with its margin, and what is added before and after on each axis."""
    pads = []
    for n in image.grid:
        size = -(-(n + 2 * _MARGIN) // _MULTIPLE) * _MULTIPLE
        before = (size - n) // 2
        pads.append((before, size - n - before))
    affine = image.affine.copy()
    affine[:-1, -1] -= affine[:-1, :-1] @ np.asarray([before for before, _ in pads], float)
    grid = tuple(n + a + b for n, (a, b) in zip(image.grid, pads, strict=True))
    return Frame(grid, affine), tuple(pads)


class Padded(NamedTuple):
    """An image on its padded grid, with weights that are zero outside of it."""

    frame: Frame
    values: np.ndarray
    weights: np.ndarray


def padded(image: Image, mask: Image | None = None, grid: tuple[int, ...] | None = None) -> Padded:
    """An image with its margin; its last values go on there, but count nothing.

    With a grid, which must not be smaller, it is filled up to that at the ends.
    """
    frame, pads = padded_frame(image)
    if grid is not None:
        more = [n - m for n, m in zip(grid, frame.grid, strict=True)]
        pads = tuple((a, b + k) for (a, b), k in zip(pads, more, strict=True))
        frame = Frame(grid, frame.affine)
    values = np.pad(np.asarray(image.values), pads, mode="edge")
    weights = np.ones(image.grid) if mask is None else np.asarray(mask.values, float)
    return Padded(frame, values, np.pad(weights, pads).astype(values.dtype))


def pooled(image: Padded, factor: int) -> Padded:
    """The same at a lower resolution: weighted means over blocks of points."""
    if factor == 1:
        return image
    frame = pooled_frame(image.frame, factor)
    total = blocks(image.weights, factor)
    values = blocks(image.values * image.weights, factor)
    plain = blocks(image.values, factor) / factor ** len(frame.grid)
    values = np.where(total > 0, values / np.where(total > 0, total, 1), plain)
    weights = total / factor ** len(frame.grid)
    dtype = image.values.dtype
    return Padded(frame, values.astype(dtype), weights.astype(dtype))


def pooled_frame(frame: Frame, factor: int) -> Frame:
    """The grid of the middles of blocks of points."""
    affine = frame.affine.copy()
    affine[:-1, -1] += affine[:-1, :-1] @ np.full(len(frame.grid), (factor - 1) / 2)
    affine[:-1, :-1] *= factor
    return Frame(tuple(n // factor for n in frame.grid), affine)


def blocks(values: np.ndarray, factor: int) -> np.ndarray:
    """Sums over blocks of a grid whose sizes are multiples of the factor."""
    for axis in range(values.ndim):
        before, after = values.shape[:axis], values.shape[axis + 1 :]
        values = values.reshape(*before, -1, factor, *after).sum(axis=axis + 1)
    return values


def level_of(source: Padded, target: Padded, world: np.ndarray) -> Level:
    """Both images and an affine map `[d + 1, d + 1]` from the target's world to the source's."""
    indices = np.linalg.inv(source.frame.affine) @ world @ target.frame.affine
    dtype = target.values.dtype
    level = Level(
        source=jnp.asarray(source.values),
        source_weights=jnp.asarray(source.weights),
        target=jnp.asarray(target.values),
        weights=jnp.asarray(target.weights),
        spacing=jnp.asarray(target.frame.spacing, dtype),
        matrix=jnp.asarray(indices[:-1, :-1], dtype),
        offset=jnp.asarray(indices[:-1, -1], dtype),
        overlap=jnp.zeros((), dtype),
    )
    return eqx.tree_at(lambda x: x.overlap, level, _overlap(level))


@eqx.filter_jit
def _overlap(level: Level) -> Float[Array, ""]:
    return jnp.sum(level.moved()[1])
