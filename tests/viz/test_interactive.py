"""Shapes for pyvista, which is not among the requirements: what is handed to it."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from geojax._core.errors import InputError
from geojax.shapes import Curve, Surface
from geojax.viz import to_pyvista

CORNERS = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
TETRAHEDRON = Surface(CORNERS, [[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])


class PolyData:
    """What is handed to pyvista."""

    def __init__(self, points, **cells):
        self.points, self.cells, self.point_data = points, cells, {}


@pytest.fixture
def pyvista(monkeypatch):
    """In place of pyvista, which is large."""
    monkeypatch.setitem(sys.modules, "pyvista", SimpleNamespace(PolyData=PolyData))


@pytest.mark.usefixtures("pyvista")
def test_surface_with_data():
    mesh = to_pyvista(TETRAHEDRON, {"height": CORNERS[:, 2]})
    np.testing.assert_allclose(mesh.points, CORNERS)
    assert mesh.cells["faces"].reshape(-1, 4).tolist()[1] == [3, 0, 1, 3]
    np.testing.assert_allclose(mesh.point_data["height"], [0, 0, 0, 1])
    with pytest.raises(InputError, match=r"each of the 4 vertices, but 'a' has shape \[3\]"):
        to_pyvista(TETRAHEDRON, {"a": np.zeros(3)})


@pytest.mark.usefixtures("pyvista")
def test_curve_of_the_plane():
    mesh = to_pyvista(Curve(np.array([[0.0, 0.0], [3.0, 0.0], [3.0, 4.0]])))
    assert mesh.points.tolist() == [[0, 0, 0], [3, 0, 0], [3, 4, 0]]
    assert mesh.cells["lines"].tolist() == [2, 0, 1, 2, 1, 2]


def test_as_pyvista_itself_measures_it():
    pytest.importorskip("pyvista")
    np.testing.assert_allclose(to_pyvista(TETRAHEDRON).area, 1.5 + 0.75**0.5)


def test_without_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyvista", None)
    with pytest.raises(InputError, match=r"not installed; .*geojax-engine\[pyvista\]"):
        to_pyvista(TETRAHEDRON)
    with pytest.raises(InputError, match="must be a `Curve` or a `Surface`, but is a ndarray"):
        to_pyvista(CORNERS)
