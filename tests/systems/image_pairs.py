"""Pairs of images that differ by known maps, and a saved match of one of them."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np

from geojax import io
from geojax._core.results import RESULTS
from geojax.matching import ImageMatch
from geojax.matching.images.levels import padded_frame

# A picture of three blobs, which the target has wider along its columns, about its middle.
ROWS, COLUMNS, WIDER = 12, 30, 1.3
MIDDLE = np.array([5.5, 14.5])
# In space: a target on another grid that is turned, where all lies elsewhere.
SHIFT = np.array([2.0, -1.25, 2.0])  # whole voxels, so labels move without rounding
OF_SOURCE = np.array([[1.0, 0, 0, -7], [0, 1.25, 0, 2.5], [0, 0, 2, -11], [0, 0, 0, 1]])
OF_TARGET = np.array([[-1.0, 0, 0, 10], [0, 1.25, 0, 0], [0, 0, 2, -11], [0, 0, 0, 1]])
SOURCE_GRID, TARGET_GRID = (18, 16, 12), (20, 17, 13)
CENTRE = np.array([1.5, 12.0, 0.0])


def from_middle(wider: float) -> np.ndarray:
    grid = np.stack(np.meshgrid(np.arange(ROWS), np.arange(COLUMNS), indexing="ij"), -1) - MIDDLE
    return grid / [1.0, wider]


def picture(wider: float) -> np.ndarray:
    """A blob with two others in it, far from the same everywhere."""
    total = np.zeros((ROWS, COLUMNS))
    for place, size, height in (((0, 0), 4.0, 1.0), ((2, 4), 1.5, 0.5), ((-2, -4), 1.5, -0.5)):
        squares = np.sum((from_middle(wider) - place) ** 2, -1)
        total = total + height * np.exp(-squares / (2 * size**2))
    return np.rint(200 * np.clip(total, 0, 1.2)).astype(np.uint8)


def disc(wider: float) -> np.ndarray:
    """The label 3 in an ellipse."""
    return np.where(np.sum((from_middle(wider) / [4, 7]) ** 2, -1) < 1, 3, 0).astype(np.uint8)


def places(grid: tuple[int, ...], affine: np.ndarray) -> np.ndarray:
    indices = np.stack(np.meshgrid(*map(np.arange, grid), indexing="ij"), -1)
    return indices @ affine[:-1, :-1].T + affine[:-1, -1]


def volume(grid: tuple[int, ...], affine: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """A blob with a core, seen on a grid."""
    x = places(grid, affine) - CENTRE - shift
    squares = np.sum((x / [4.0, 5.0, 6.0]) ** 2, -1)
    return (100 * np.exp(-0.5 * squares) + 60 * np.exp(-2 * squares)).astype(np.float32)


def box(grid: tuple[int, ...], affine: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Two labels, one beside the other, the second beyond what single precision counts."""
    x = places(grid, affine) - CENTRE - shift
    inside = np.all(np.abs(x) < [4.2, 4.2, 5.2], axis=-1)
    return np.where(inside, np.where(x[..., 1] > 0, 20_000_003, 1), 0).astype(np.int32)


def write_space(folder: Path) -> None:
    for name, grid, affine, shift in (
        ("source", SOURCE_GRID, OF_SOURCE, np.zeros(3)),
        ("target", TARGET_GRID, OF_TARGET, SHIFT),
    ):
        io.write_image(folder / f"{name}.nii.gz", volume(grid, affine, shift), affine=affine)
        io.write_image(folder / f"{name}-labels.nii.gz", box(grid, affine, shift), affine=affine)
    mask = np.ones(TARGET_GRID, np.uint8)
    io.write_image(folder / "mask.nii", mask, affine=OF_TARGET)


def shifted(folder: Path, result: RESULTS = RESULTS.successful) -> ImageMatch:
    """The match of `space`, without a search."""
    source, target = (
        io.as_image(io.read_image(folder / f"{name}.nii.gz")) for name in ("source", "target")
    )
    frame, _ = padded_frame(target)
    affine = np.eye(4)
    affine[:-1, -1] = -0.5 * SHIFT
    along = (-0.5 * SHIFT @ frame.axes).astype(np.float32)
    pull = jnp.broadcast_to(jnp.asarray(along).reshape(3, 1, 1, 1), (3, *frame.grid))
    one = jnp.float32(1)
    history, iterations = jnp.arange(3.0, 0.0, -1.0), jnp.asarray(7)
    return ImageMatch(
        source, target, affine, pull, -pull, frame.affine, one, one, one, 4 * one,
        history, iterations, result, 0, 1.0, 0.0,
    )  # fmt: skip
