"""Shapes for pyvista, where it is installed; it is not among the requirements."""

import sys

import numpy as np
import pytest

from geojax._core.errors import InputError
from geojax.shapes import Curve, Surface
from geojax.viz import to_pyvista

CORNERS = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
TETRAHEDRON = Surface(CORNERS, [[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])


def test_surface_with_data():
    pytest.importorskip("pyvista")
    mesh = to_pyvista(TETRAHEDRON, {"height": CORNERS[:, 2]})
    np.testing.assert_allclose(mesh.points, CORNERS)
    np.testing.assert_allclose(mesh.area, 1.5 + 0.75**0.5)
    np.testing.assert_allclose(mesh.point_data["height"], [0, 0, 0, 1])
    with pytest.raises(InputError, match=r"each of the 4 vertices, but 'a' has shape \[3\]"):
        to_pyvista(TETRAHEDRON, {"a": np.zeros(3)})


def test_curve_of_the_plane():
    pytest.importorskip("pyvista")
    mesh = to_pyvista(Curve(np.array([[0.0, 0.0], [3.0, 0.0], [3.0, 4.0]])))
    assert mesh.n_lines == 2
    np.testing.assert_allclose(mesh.length, 5.0)


def test_without_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyvista", None)
    with pytest.raises(InputError, match=r"not installed; .*geojax-engine\[pyvista\]"):
        to_pyvista(TETRAHEDRON)
    with pytest.raises(InputError, match="must be a `Curve` or a `Surface`, but is a ndarray"):
        to_pyvista(CORNERS)
