"""What other tools make of our files: ITK, by antspyx (extra `ants`), moves as we do."""

import jax.numpy as jnp
import numpy as np
import pytest

from geojax import io
from geojax._core.results import RESULTS
from geojax.matching import ImageMatch
from geojax.matching.images.levels import padded_frame
from geojax.shapes import Image

ants = pytest.importorskip("ants", reason="antspyx, of the extra ants, is not installed")


def turned(degrees, spacing, origin):
    """An affine whose axes are at right angles, turned about two axes, the first one flipped."""
    a, b = np.deg2rad(degrees)
    about_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    affine = np.eye(4)
    affine[:3, :3] = about_z @ about_x @ np.diag([-1.0, 1.0, 1.0]) @ np.diag(spacing)
    affine[:3, 3] = origin
    return affine


SOURCE_AFFINE = turned((20, -15), [1.0, 1.5, 2.0], [12.0, -20.0, -9.0])
TARGET_AFFINE = turned((-10, 25), [1.2, 0.9, 1.6], [10.0, -14.0, -12.0])
# from the target's world to the source's
BETWEEN = turned((12, 5), [-1.05, 0.95, 1.0], [1.5, -2.0, 1.0])


def places(grid, affine):
    indices = np.stack(np.meshgrid(*map(np.arange, grid), indexing="ij"), -1)
    return indices @ affine[:3, :3].T + affine[:3, 3]


@pytest.fixture(scope="module")
def found() -> ImageMatch:
    """A deformation that was not searched: smooth, between grids that have nothing in common."""
    grid = (26, 22, 20)
    x = places(grid, SOURCE_AFFINE)
    values = 3 * np.sin(x[..., 0] / 3) + 2 * np.cos(x[..., 1] / 4) + np.sin(x[..., 2] / 5) + 7
    source = Image(values.astype(np.float32), SOURCE_AFFINE)
    target = Image(np.zeros((24, 26, 18), np.float32), TARGET_AFFINE)
    frame, _ = padded_frame(target)
    y = np.stack(np.meshgrid(*map(np.arange, frame.grid), indexing="ij"))
    pull = 1.5 * np.stack([np.sin(y[1] / 4), np.cos(y[2] / 5), np.sin(y[0] / 6)])
    one, iterations = jnp.float32(1), jnp.asarray(1)
    return ImageMatch(
        source, target, BETWEEN, jnp.asarray(pull, jnp.float32), -jnp.asarray(pull, jnp.float32),
        frame.affine, one, one, one, one, jnp.ones(1), iterations, RESULTS.successful, 0, 1.0, 0.0,
    )  # fmt: skip


@pytest.fixture
def files(found, tmp_path):
    for name in ("source", "target"):
        image = getattr(found, name)
        io.write_image(tmp_path / f"{name}.nii.gz", np.asarray(image.values), affine=image.affine)
    io.write_displacement(tmp_path / "warp.nii.gz", found.displacement(), found.target.affine)
    return tmp_path


def test_images_are_warped_alike(found, files):
    fixed, moving = (ants.image_read(str(files / f"{k}.nii.gz")) for k in ("target", "source"))
    theirs = ants.apply_transforms(
        fixed, moving, [str(files / "warp.nii.gz")], interpolator="linear"
    ).numpy()
    ours = np.asarray(found.warp(found.source, fill=0.0).values)
    seen = (theirs != 0) & (ours != 0)
    assert np.mean(seen) > 0.3
    np.testing.assert_allclose(ours[seen], theirs[seen], atol=2e-3)
    # and not because nothing moves, or all is the same
    assert np.max(np.abs(found.displacement())) > 2
    assert np.ptp(ours[seen]) > 5


def test_points_are_moved_alike(found, files):
    import pandas

    rng = np.random.default_rng(0)
    inside = rng.uniform(4, 14, (20, 3))
    points = inside @ TARGET_AFFINE[:3, :3].T + TARGET_AFFINE[:3, 3]
    # ITK counts to the left and back
    flipped = points * [-1, -1, 1]
    moved = ants.apply_transforms_to_points(
        3, pandas.DataFrame(flipped, columns=["x", "y", "z"]), [str(files / "warp.nii.gz")]
    )
    theirs = moved[["x", "y", "z"]].to_numpy() * [-1, -1, 1]
    np.testing.assert_allclose(theirs, found.apply(points, inverse=True), atol=0.02)


def test_places_of_voxels_agree(files, found):
    image = ants.image_read(str(files / "source.nii.gz"))
    at = (5, 9, 13)
    theirs = np.asarray(ants.transform_index_to_physical_point(image, at)) * [-1, -1, 1]
    ours = found.source.to_world(np.array([at], float))[0]
    # antspyx counts indices from one in some versions, so differences decide
    beside = np.asarray(ants.transform_index_to_physical_point(image, (6, 9, 13))) * [-1, -1, 1]
    np.testing.assert_allclose(
        beside - theirs, found.source.to_world(np.array([[6.0, 9, 13]]))[0] - ours, atol=1e-5
    )
    np.testing.assert_allclose(image.spacing, found.source.spacing, atol=1e-5)
