"""Curves and surfaces: what they measure, and what is refused before anything is compiled."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from systems.meshes import icosphere, outline
from systems.numerics import observed_order

from geojax._core.errors import InputError
from geojax.shapes import Curve, Surface
from geojax.shapes.meshes import elements, lengths, orientation

SQUARE = np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [1.0, 1.0, 0.0], [0.0, 1.0, 0.0]])
FACES = np.array([[0, 1, 2], [0, 2, 3]])


def test_a_square():
    square = Surface(SQUARE, FACES)
    np.testing.assert_allclose(square.measure, [0.5, 0.5])
    np.testing.assert_allclose(square.normals, [[0.0, 0.0, 0.5]] * 2)
    np.testing.assert_allclose(square.centres[0], [2 / 3, 1 / 3, 0.0])
    np.testing.assert_allclose(Surface(SQUARE, FACES[:, ::-1]).normals, -square.normals)


def test_a_curve():
    open_curve = Curve(SQUARE[:, :2])
    assert open_curve.edges.tolist() == [[0, 1], [1, 2], [2, 3]]
    np.testing.assert_allclose(open_curve.normals, [[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    np.testing.assert_allclose(open_curve.centres[1], [1.0, 0.5])


def test_area_and_length_converge_at_second_order():
    levels = [1, 2, 3, 4]
    spheres = [Surface(*icosphere(level)) for level in levels]
    errors = [abs(float(jnp.sum(s.measure)) - 4 * np.pi) for s in spheres]
    assert observed_order([2**level for level in levels], errors, floor=1e-9) > 1.9
    for sphere in spheres:  # closed, so that normals add up to nothing
        np.testing.assert_allclose(jnp.sum(sphere.normals, axis=0), np.zeros(3), atol=1e-14)
    errors = [
        abs(float(jnp.sum(Curve(*outline(n, 1.0, 1.0)).measure)) - 2 * np.pi) for n in (9, 18, 36)
    ]
    assert observed_order([9, 18, 36], errors, floor=1e-9) > 1.9


def test_no_length_has_no_derivative():
    value, gradient = jax.value_and_grad(lambda v: jnp.sum(lengths(v)[0]))(jnp.zeros((1, 3)))
    assert value == 0
    assert np.all(np.asarray(gradient) == 0)


def test_under_transformations():
    cells = jnp.asarray(FACES)
    area = jax.jit(lambda v, f: jnp.sum(Surface(v, f).measure))
    np.testing.assert_allclose(area(SQUARE, cells), 1.0)
    np.testing.assert_allclose(jax.grad(area)(jnp.asarray(SQUARE), cells)[2], [0.5, 0.5, 0.0])
    centres, _ = jax.vmap(lambda v: elements(v, cells))(jnp.stack([SQUARE, SQUARE]))
    assert centres.shape == (2, 2, 3)


def changed(row, column, value):
    faces = FACES.copy()
    faces[row, column] = value
    return faces


BAD = {
    "range": ((SQUARE, changed(1, 2, 9)), "face 1 refers to vertex 9 of 4"),
    "negative": ((SQUARE, changed(1, 0, -1)), "face 1 refers to vertex -1 of 4"),
    "from one": ((SQUARE, FACES + 1), "count from 1, so subtract 1"),
    "repeated": (
        (SQUARE, changed(1, 2, 2)),
        r"face 1 has the vertices \[0, 2, 2\].* \(such faces: \[1\]\); remove them",
    ),
    "no area": (
        (SQUARE * np.array([[1.0, 0.0, 0.0]]), FACES),
        r"face 0 .* has no area \(such faces: \[0, 1\]\); remove them or merge",
    ),
    "thin": ((SQUARE * np.array([[1.0, 1e-17, 0.0]]) + 1.0, FACES), "has no area"),
    "floats": ((SQUARE, FACES.astype(float)), "must hold integers"),
    "quads": ((SQUARE, [[0, 1, 2, 3]]), "split each face into triangles"),
    "ragged": ((SQUARE, [[0, 1, 2], [0, 1, 2, 3]]), "rows have different lengths"),
    "none": ((SQUARE, np.zeros((0, 3), int)), r"shape \[n, 3\]"),
    "plane": ((SQUARE[:, :2], FACES), "for outlines in the plane use `Curve`"),
    "nan": ((SQUARE * np.nan, FACES), r"entry \[0, 0\] is nan"),
}


@pytest.mark.parametrize("case", BAD)
def test_surfaces_refused(case):
    arguments, message = BAD[case]
    with pytest.raises(InputError, match=message):
        Surface(*arguments)


def test_curves_refused():
    with pytest.raises(InputError, match="edge 1 refers to vertex 4 of 4"):
        Curve(SQUARE, [[0, 1], [2, 4], [2, 3]])
    with pytest.raises(InputError, match=r"edge 0 .* has no length"):
        Curve(np.zeros((2, 2)))
    with pytest.raises(InputError, match="at least 2 points"):
        Curve(SQUARE[:1])


def test_unreferenced_vertices_are_counted():
    with pytest.warns(UserWarning, match="1 of 4 vertices belong to no face"):
        Surface(SQUARE, FACES[:1])


class TestBoundary:
    SPHERE = Surface(*icosphere(2))

    def without(self, *faces):
        return Surface(self.SPHERE.vertices, np.delete(self.SPHERE.faces, faces, axis=0))

    def test_loops(self):
        assert self.SPHERE.closed
        assert self.SPHERE.boundary == []
        square = Surface(SQUARE, FACES)
        assert not square.closed
        assert square.boundary == [[0, 1, 2, 3]]
        assert Surface(SQUARE, FACES[:, ::-1]).boundary[0] in ([2, 1, 0, 3], [1, 0, 3, 2])
        # two holes, each one face, run through as the faces around them do
        loops = self.without(5, 200).boundary
        holes = [np.asarray(self.SPHERE.faces)[k].tolist() for k in (5, 200)]
        assert sorted(map(sorted, loops)) == sorted(map(sorted, holes))

    def test_loops_that_touch(self):
        points = np.random.default_rng(0).normal(size=(5, 3))
        bow = Surface(points, [[0, 1, 2], [0, 3, 4]])
        assert sorted(map(sorted, bow.boundary)) == [[0, 1, 2], [0, 3, 4]]

    def test_volume(self):
        side = np.array([[0.0, 0.0, 0.0], [2.0, 0.0, 0.0], [0.0, 3.0, 0.0], [0.0, 0.0, 4.0]])
        faces = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])
        np.testing.assert_allclose(Surface(side + 7.0, faces).volume, 4.0, rtol=1e-14)
        np.testing.assert_allclose(Surface(side, faces[:, ::-1]).volume, -4.0, rtol=1e-14)
        levels = [1, 2, 3]
        errors = [abs(float(Surface(*icosphere(k)).volume) - 4 * np.pi / 3) for k in levels]
        assert observed_order([2**k for k in levels], errors, floor=1e-9) > 1.9
        # its derivative is the area, along the normals
        volume = jax.jit(lambda v, f: Surface(v, f).volume)
        gradient = jax.grad(volume)(jnp.asarray(side), jnp.asarray(faces))
        np.testing.assert_allclose(gradient[1], [2.0, 0.0, 0.0], atol=1e-14)

    def test_open_where_closed_is_needed(self):
        square = Surface(SQUARE, FACES)
        with pytest.raises(InputError, match=r"at 1 loop of vertices: \[0, 1, 2, 3\]; close"):
            _ = square.volume
        with pytest.raises(InputError, match=r"5 loops .*; and 2 more; close them"):
            _ = self.without(0, 50, 100, 150, 200).volume
        faces = np.asarray(self.SPHERE.faces).copy()
        faces[[3, 90]] = faces[[3, 90]][:, ::-1]
        mixed = Surface(self.SPHERE.vertices, faces)
        assert mixed.closed
        with pytest.raises(InputError, match=r"needs an oriented .* flip its cells \[3, 90\]"):
            _ = mixed.volume


class TestOrientation:
    def test_a_sphere_agrees(self):
        _, faces = icosphere(2)
        assert orientation(faces) == ([], [], True)
        assert orientation(faces[:, ::-1]) == ([], [], True)

    def test_the_fewest_faces_are_named(self):
        _, faces = icosphere(2)
        for some in ([7, 11, 200], [k for k in range(320) if k not in (7, 11, 200)]):
            turned = faces.copy()
            turned[some] = turned[some][:, ::-1]
            assert orientation(turned) == ([], [7, 11, 200], True)

    def test_a_strip_of_one_side(self):
        n = 6
        faces = [[2 * k, 2 * k + 1, 2 * k + 2] for k in range(n)]
        faces += [[2 * k + 1, 2 * k + 3, 2 * k + 2] for k in range(n)]
        faces = np.array(faces)
        plain = faces % (2 * n)
        twisted = np.where(faces == 2 * n, 1, np.where(faces == 2 * n + 1, 0, faces))
        assert orientation(plain).orientable
        assert not orientation(twisted).orientable

    def test_edges_of_three_faces(self):
        assert orientation(np.array([[0, 1, 2], [1, 0, 3], [0, 1, 4]])).crowded == [[0, 1]]

    def test_curves(self):
        _, edges = outline(8, 1.0, 1.0)
        assert orientation(edges) == ([], [], True)
        edges[3] = edges[3, ::-1]
        assert orientation(edges) == ([], [3], True)
        assert orientation(np.array([[0, 1], [0, 2], [0, 3]])).crowded == [0]
