"""What things beside the images add to the objective of a match at one resolution.

All are compared in the world of the source, to which the pull displacement leads: points of the
target are carried there, labels of the source are seen from the target's grid as the image is.
So a term costs one interpolation, and asks of a model no more than its pull.
"""

import abc
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.ndimage import map_coordinates

from geojax.flows.interpolation import sample
from geojax.matching.images.levels import Level, blocks, padded_frame, pooled_frame
from geojax.shapes import AbstractFidelity, Image, SoftDice


class Resolution(NamedTuple):
    """Where a term is posed: both images, at how many points per block, and their affine map."""

    source: Image
    target: Image
    factor: int
    level: Level
    world: np.ndarray

    @property
    def zoom(self) -> float:
        """Length in the source's world of a unit of length in the target's."""
        d = self.target.dimension
        return float(abs(np.linalg.det(self.world)) ** (1 / d))


class AbstractTerm(eqx.Module):
    """What a pair of things adds to the objective at one resolution."""

    @abc.abstractmethod
    def cost(self, level: Level, displacement: Float[Array, "d *grid"] | None) -> Float[Array, ""]:
        """Weighted distance under a pull displacement; None is that of the affine map alone."""

    @abc.abstractmethod
    def distance(
        self, level: Level, displacement: Float[Array, "d *grid"] | None
    ) -> Float[Array, ""]:
        """The distance as it is reported."""


class PointTerm(AbstractTerm):
    """Points of the target, carried to the source's world, beside those of the source.

    Attributes:
        source: points of the source, from their centre, `[n, d]`.
        start: points of the target by the affine map, from the same centre, `[m, d]`.
        places: where these lie on the grid of the deformation, as indices, `[d, m]`.
        matrix: from displacements along the axes of the grid to the source's world, `[d, d]`.
        fidelity: how far both are apart.
        weight: its price.
    """

    source: Float[Array, "n d"]
    start: Float[Array, "m d"]
    places: Float[Array, "d m"]
    matrix: Float[Array, "d d"]
    fidelity: AbstractFidelity
    weight: Float[Array, ""]

    def moved(self, displacement: Float[Array, "d *grid"] | None) -> Float[Array, "m d"]:
        """Points of the target in the source's world."""
        if displacement is None:
            return self.start
        shift = sample(displacement, self.places, ends="zero")
        # coordinates need all digits, which products on a GPU do not keep by themselves
        exact = jax.lax.Precision.HIGHEST
        return self.start + jnp.matmul(self.matrix, shift, precision=exact).T

    def cost(self, level, displacement):
        return self.weight * self.fidelity(self.source, self.moved(displacement))

    def distance(self, level, displacement):
        return self.fidelity.distance(self.source, self.moved(displacement))


class LabelTerm(AbstractTerm):
    """Labels of the source, seen from the grid of the target.

    Attributes:
        source: how much of each point of the source's grid belongs to each label, `[k, *s]`.
        target: the same on the grid of the deformation, `[k, *grid]`.
        weights: how much each point counts there: nothing in the margin, `[*grid]`.
        weight: price of one minus the mean overlap.
    """

    source: Float[Array, "k *s"]
    target: Float[Array, "k *grid"]
    weights: Float[Array, "*grid"]
    weight: Float[Array, ""]

    def cost(self, level, displacement):
        return self.weight * self.distance(level, displacement)

    def distance(self, level, displacement):
        places = level.places(level.matrix, level.offset, displacement)
        moved = sample(self.source, places, ends="zero")
        overlap = SoftDice(self.source.shape[0])
        return overlap(moved, self.target, self.weights, level.spacing)


def points_at(
    resolution: Resolution,
    source: np.ndarray,
    target: np.ndarray,
    fidelity: AbstractFidelity,
    weight: float,
) -> PointTerm:
    """Points of both worlds at one resolution, from the centre of those of the source."""
    dtype, world = resolution.level.target.dtype, resolution.world
    frame = pooled_frame(padded_frame(resolution.target)[0], resolution.factor)
    to_indices = np.linalg.inv(frame.affine)
    # coordinates of the world keep their digits as differences
    centre = source.mean(axis=0)
    start = target @ world[:-1, :-1].T + world[:-1, -1] - centre
    places = to_indices[:-1, :-1] @ target.T + to_indices[:-1, -1:]

    def cast(x):
        return x.astype(dtype) if eqx.is_inexact_array(x) else x

    return PointTerm(
        source=jnp.asarray(source - centre, dtype),
        start=jnp.asarray(start, dtype),
        places=jnp.asarray(places, dtype),
        matrix=jnp.asarray(world[:-1, :-1] @ frame.axes, dtype),
        fidelity=jax.tree.map(cast, fidelity),
        weight=jnp.asarray(weight, dtype),
    )


def channels(labels: Image, known: tuple[int, ...], image: Image, factor: int) -> np.ndarray:
    """How much of each block of the padded grid of an image belongs to each label, `[k, *grid]`."""
    frame, pads = padded_frame(image)
    values = np.asarray(labels.values)
    close = 1e-6 * float(np.min(image.spacing))
    same = labels.grid == image.grid and np.allclose(labels.affine, image.affine, 1e-6, close)
    indices = None
    if not same:
        affine = np.linalg.inv(labels.affine) @ frame.affine
        points = np.indices(frame.grid, float).reshape(len(frame.grid), -1)
        indices = affine[:-1, :-1] @ points + affine[:-1, -1:]
    shares = []
    for label in known:
        share = (values == label).astype(np.float32)
        if indices is None:
            share = np.pad(share, pads)
        else:
            seen = map_coordinates(share, indices, order=1, mode="grid-constant")
            share = seen.reshape(frame.grid)
        shares.append(blocks(share, factor) / factor ** len(frame.grid))
    return np.stack(shares)
