"""Currents and varifolds: closed forms on the sphere, laws and derivatives."""

from contextlib import nullcontext

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from systems.meshes import icosphere, outline
from systems.numerics import central_difference, observed_order, relative_error

from geojax._core.errors import InputError
from geojax.kernels import Gaussian, Matern52, Sum, sums
from geojax.shapes import Currents, Curve, Surface, Varifold
from geojax.shapes.meshes import elements

# scale of the kernel exp(-|x - y|^2 / 0.8^2)
SCALE = 0.8 / 2**0.5
SPHERE = Surface(*icosphere(1))
STRETCH = np.array([[1.2, 0.9, 0.7]])
EGG = Surface(icosphere(2)[0] * STRETCH + 0.1, icosphere(2)[1])
ROUND, OVAL = Curve(*outline(20, 1.0, 1.0)), Curve(*outline(27, 1.3, 0.8, 0.1))
PAIRS = {"surfaces": (SPHERE, EGG), "curves": (ROUND, OVAL)}
FIDELITIES = {
    "currents": Currents(0.6),
    "binet": Varifold(0.6),
    "unoriented": Varifold(Sum([Gaussian(0.4), Matern52(1.0)]), "unoriented", 0.7),
    "oriented": Varifold(0.6, "oriented"),
}


@pytest.fixture(params=FIDELITIES)
def fidelity(request):
    return FIDELITIES[request.param]


@pytest.fixture(params=PAIRS)
def pair(request):
    return PAIRS[request.param]


def distance(fidelity, source, target):
    return fidelity.between(source, target).distance(source.vertices, target.vertices)


def turned_over(shape):
    return type(shape)(shape.vertices, shape.cells[:, ::-1])


def norm(fidelity, shape):
    """The squared norm of a shape."""
    return float(2 * fidelity.between(shape, shape).target_term(shape.vertices))


class TestSphere:
    def check(self, value, expected):
        """Second order in the refinement, and near at the end."""
        levels = [1, 2, 3, 4]
        errors = [abs(value(Surface(*icosphere(level))) - expected) for level in levels]
        assert 1.9 < observed_order([2**level for level in levels], errors, floor=1e-9) < 2.2
        assert errors[-1] < 4e-3 * expected

    def test_mass(self):
        expected = (4 * np.pi) ** 2 * 0.16 * (1 - np.exp(-4 / 0.64))
        np.testing.assert_allclose(expected, 25.21741205, rtol=1e-9)
        self.check(lambda s: float(Currents(SCALE).between(s, s).mass), expected)
        # negative control: a slip in the scale of the kernel
        with pytest.raises(AssertionError):
            self.check(lambda s: float(Currents(1.01 * SCALE).between(s, s).mass), expected)

    def test_currents(self):
        c = 2 / 0.64
        expected = (4 * np.pi) ** 2 / 2 * ((1 / c - 1 / c**2) + np.exp(-2 * c) * (1 / c + 1 / c**2))
        np.testing.assert_allclose(expected, 17.24539063, rtol=1e-9)
        self.check(lambda s: norm(Currents(SCALE), s), expected)

    def test_varifold_that_does_not_see_places(self):
        self.check(lambda s: norm(Varifold(1e7), s), (4 * np.pi) ** 2 / 3)

    def test_currents_that_do_not_see_places(self):
        """Normals of a closed surface cancel; those of an open one do not."""
        assert abs(norm(Currents(1e8), EGG)) < 1e-12
        cap = EGG.vertices, EGG.faces[:-1]
        np.testing.assert_allclose(
            norm(Currents(1e8), Surface(*cap)), EGG.measure[-1] ** 2, rtol=1e-6
        )


class TestLaws:
    def test_a_shape_is_no_distance_from_itself(self, fidelity, pair):
        for shape in pair:
            assert float(distance(fidelity, shape, shape)) < 1e-6
        assert float(distance(fidelity, *pair)) > 0.1

    def test_renumbered(self, fidelity, pair):
        source, target = pair
        rng = np.random.default_rng(0)
        order = rng.permutation(source.vertices.shape[0])
        cells = np.argsort(order)[np.asarray(source.cells)]
        cells = rng.permutation(cells)
        if cells.shape[1] == 3:
            cells = np.roll(cells, 1, axis=1)
        again = type(source)(source.vertices[order], cells)
        expected = distance(fidelity, source, target)
        np.testing.assert_allclose(distance(fidelity, again, target), expected, rtol=1e-12)
        # negative control: the vertices alone
        broken = source.vertices[order]
        value = fidelity.between(source, target).distance(broken, target.vertices)
        assert abs(float(value / expected) - 1) > 1e-2

    def test_moved_rigidly(self, fidelity, pair):
        source, target = pair
        d = source.vertices.shape[1]
        turn, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(d, d)))
        turn[0] *= np.linalg.det(turn)  # a rotation, no reflection
        moved = [type(s)(s.vertices @ turn.T + 2.0, s.cells) for s in pair]
        expected = distance(fidelity, source, target)
        np.testing.assert_allclose(distance(fidelity, *moved), expected, rtol=1e-10)
        assert abs(float(distance(fidelity, moved[0], target) / expected) - 1) > 1e-2

    def test_scaled(self, pair):
        """L15: with the kernel, squared norms go as lengths or areas squared."""
        source, target = pair
        larger = [type(shape)(3.0 * shape.vertices, shape.cells) for shape in pair]
        dimension = source.cells.shape[1] - 1
        for family in (Currents, Varifold):
            expected = 3.0**dimension * distance(family(0.6), source, target)
            np.testing.assert_allclose(distance(family(1.8), *larger), expected, rtol=1e-12)
            # negative control: the scale of the kernel is one of the lengths
            assert abs(float(distance(family(0.6), *larger) / expected) - 1) > 1e-2

    def test_turned_over(self, fidelity, pair):
        source, _ = pair
        if not fidelity.oriented:
            assert float(distance(fidelity, source, turned_over(source))) < 1e-6
            return
        warned = pytest.warns(UserWarning, match="normals of one shape point inwards")
        with warned if isinstance(source, Surface) else nullcontext():
            value = float(distance(fidelity, source, turned_over(source)))
        if isinstance(fidelity, Currents):  # |S - (-S)| = 2 |S|
            np.testing.assert_allclose(value**2, 4 * norm(fidelity, source), rtol=1e-12)
        assert value > 0.5

    def test_inner_products(self, fidelity):
        """Cauchy-Schwarz, and a Gram matrix without negative eigenvalues."""
        rng = np.random.default_rng(2)
        shapes = [SPHERE.vertices @ jnp.asarray(rng.normal(size=(3, 3))) for _ in range(8)]
        measures = [elements(v, SPHERE.cells) for v in shapes]
        gram = np.array([[float(fidelity.inner(a, b)) for a in measures] for b in measures])
        np.testing.assert_allclose(gram, gram.T, rtol=1e-12, atol=1e-12)
        size = np.sqrt(np.diag(gram))
        assert np.all(np.abs(gram) <= np.outer(size, size) * (1 + 1e-12))
        assert np.linalg.eigvalsh(gram)[0] >= -1e-12 * np.trace(gram)
        # negative control: without the diagonal it has some
        assert np.linalg.eigvalsh(gram - np.diag(np.diag(gram)))[0] < -1e-6

    def test_split_cells_are_the_same_shape_to_second_order(self):
        """Not the vertices are compared: a flat face may be cut in four."""
        square = np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
        middle = (square + np.roll(square, -1, axis=0)) / 2
        coarse = Surface(square, [[0, 1, 2]])
        faces = [[0, 3, 5], [3, 1, 4], [5, 4, 2], [3, 4, 5]]
        fine = Surface(np.concatenate([square, middle]), faces)
        values = [float(distance(Varifold(scale), coarse, fine)) for scale in (4.0, 8.0)]
        np.testing.assert_allclose(values[0] / values[1], 4.0, rtol=0.1)


class TestDerivatives:
    def test_gradient(self, fidelity, pair):
        source, target = pair
        bound = fidelity.between(source, target)
        points = (source.vertices, target.vertices)
        gradients = jax.jit(jax.grad(lambda x, y: bound(x, y), argnums=(0, 1)))(*points)
        rng = np.random.default_rng(3)
        for k, gradient in enumerate(gradients):
            direction = jnp.asarray(rng.normal(size=gradient.shape))

            def along(z, k=k):
                return bound(z, points[1]) if k == 0 else bound(points[0], z)

            numeric = central_difference(along, points[k], direction, 1e-5)
            np.testing.assert_allclose(jnp.sum(gradient * direction), numeric, rtol=1e-7)
            assert abs(float(jnp.sum(-gradient * direction) / numeric) - 1) > 1

    @pytest.mark.slow
    def test_second_derivative_and_options(self):
        source, target = PAIRS["surfaces"]
        direction = jnp.asarray(np.random.default_rng(4).normal(size=source.vertices.shape))

        def along(t, scale=0.6, width=0.5):
            bound = Varifold(scale, "oriented", width).between(source, target)
            return bound(source.vertices + t * direction, target.vertices)

        zero = jnp.zeros(())
        expected = central_difference(jax.jit(jax.grad(along)), zero, 1.0, 1e-5)
        np.testing.assert_allclose(jax.jit(jax.grad(jax.grad(along)))(zero), expected, rtol=1e-6)
        slopes = jax.jit(jax.grad(along, argnums=(1, 2)))(zero, 0.6, 0.5)
        numeric = (
            central_difference(lambda scale: along(zero, scale), 0.6, 1.0, 1e-6),
            central_difference(lambda width: along(zero, 0.6, width), 0.5, 1.0, 1e-6),
        )
        np.testing.assert_allclose(slopes, numeric, rtol=1e-6)

    @pytest.mark.slow
    def test_tile_by_tile(self, fidelity, monkeypatch):
        """Values, gradients and products with the Hessian are those of the dense sums."""
        pair = PAIRS["surfaces"]
        bound = fidelity.between(*pair)
        source, target = (shape.vertices for shape in pair)
        push = jnp.asarray(np.random.default_rng(5).normal(size=source.shape))

        def all_of_it():
            jax.clear_caches()
            gradient = jax.grad(lambda x: bound(x, target))
            value = bound(source, target)
            return value, jax.jit(lambda: jax.jvp(gradient, (source,), (push,)))()

        dense = all_of_it()
        monkeypatch.setattr(sums, "DENSE_PAIRS", 0)
        tiled = all_of_it()
        for left, right in zip(jax.tree.leaves(tiled), jax.tree.leaves(dense), strict=True):
            assert relative_error(left, right) < 1e-11

    @pytest.mark.parametrize("kind", ["currents", "binet"])
    def test_memory_is_linear(self, kind):
        def temporary(level):
            vertices, faces = icosphere(level)
            cells = jnp.asarray(faces, jnp.int32)
            bound = type(FIDELITIES[kind])(0.3, cells=(cells, cells), mass=jnp.ones(()))
            points = jax.ShapeDtypeStruct(vertices.shape, jnp.float32)
            gradient = jax.jit(jax.grad(lambda x, y: bound(x, y)))
            return gradient.lower(points, points).compile().memory_analysis().temp_size_in_bytes

        small, large = temporary(4), temporary(5)
        assert large < 5 * small
        assert large < 4 * 20480**2 / 20

    def test_single_precision(self, fidelity, pair):
        bound = fidelity.between(*pair)
        points = [shape.vertices for shape in pair]
        value = bound(*(x.astype(jnp.float32) for x in points))
        assert value.dtype == jnp.float32
        assert relative_error(value, bound(*points)) < 1e-5


class TestScales:
    def test_a_unit_is_a_squared_length(self, fidelity):
        """Moved by a small step, a large flat shape is that far away, whatever its size is."""
        grid = np.stack(np.meshgrid(np.arange(30.0), np.arange(30.0), indexing="ij"), -1)
        flat = np.concatenate([grid.reshape(-1, 2), np.zeros((900, 1))], axis=1) / 5
        k = np.arange(900).reshape(30, 30)
        corners = [k[:-1, :-1], k[1:, :-1], k[1:, 1:], k[:-1, 1:]]
        faces = np.concatenate(
            [np.stack([corners[i].ravel() for i in t], -1) for t in ((0, 1, 2), (0, 2, 3))]
        )
        bound = fidelity.between(Surface(flat, faces), Surface(flat, faces))
        scale = float(bound.kernel.finest_scale)
        step = 0.05 * scale
        value = bound(flat + np.array([[0.0, 0.0, step]]), jnp.asarray(flat))
        ratio = float(value * bound.unit()) / (0.5 * step**2)
        np.testing.assert_allclose(
            ratio, 1.0, rtol=0.05 if isinstance(bound.kernel, Gaussian) else 0.7
        )

    def test_coarser(self, fidelity, pair):
        bound = fidelity.between(*pair)
        coarse = bound.coarser(jnp.asarray(2.0))
        np.testing.assert_allclose(coarse.kernel.finest_scale, 2 * bound.kernel.finest_scale)
        fresh = type(fidelity)(coarse.kernel).between(*pair)
        # the kernel reaches round the shape, and then the mass grows more slowly
        assert 0.8 < float(coarse.mass / fresh.mass) < 2

    def test_curvature_is_positive(self, fidelity, pair):
        bound = fidelity.between(*pair)
        count = len(pair[0].vertices)
        values = np.linalg.eigvalsh(bound.curvature(pair[0].vertices, jnp.full(count, 1.0 / count)))
        assert values[0] > -1e-12 * values[-1]


class TestRefused:
    def test_not_bound(self):
        with pytest.raises(InputError, match="compares curves or surfaces: pass a `Curve`"):
            Varifold(1.0)(SPHERE.vertices, EGG.vertices)

    def test_other_shapes(self):
        with pytest.raises(InputError, match="source is a Surface and target a Curve"):
            Varifold(1.0).between(SPHERE, ROUND)
        with pytest.raises(InputError, match="source must be a `Surface` or a `Curve`"):
            Currents(1.0).between(np.zeros((3, 3)), EGG)
        space = Curve(np.eye(3))
        with pytest.raises(InputError, match="source is 2-D and target is 3-D"):
            Currents(1.0).between(ROUND, space)
        with pytest.raises(InputError, match=r"target must hold the 162 vertices .* holds 42"):
            Currents(1.0).between(SPHERE, EGG).check(SPHERE.vertices, SPHERE.vertices)

    def test_options(self):
        with pytest.raises(InputError, match="did you mean 'oriented'"):
            Varifold(1.0, "orientated")
        with pytest.raises(InputError, match="width must be positive"):
            Varifold(1.0, "oriented", 0.0)
        with pytest.raises(InputError, match="width must be one number"):
            Varifold(1.0, "oriented", jnp.ones(2))

    def test_orientation(self):
        faces = np.asarray(EGG.faces).copy()
        faces[[3, 90]] = faces[[3, 90]][:, ::-1]
        mixed = Surface(EGG.vertices, faces)
        for oriented in (Currents(1.0), Varifold(1.0, "oriented")):
            with pytest.raises(InputError, match=r"target .* flip its cells \[3, 90\], or take"):
                oriented.between(SPHERE, mixed)
        with pytest.warns(UserWarning, match=r"flip its cells \[3, 90\]; a Varifold does not mind"):
            value = distance(Varifold(1.0), SPHERE, mixed)
        np.testing.assert_allclose(value, distance(Varifold(1.0), SPHERE, EGG), rtol=1e-12)

    def test_reflection(self):
        mirrored = Surface(EGG.vertices * np.array([[-1.0, 1.0, 1.0]]), EGG.faces)
        turned = Surface(mirrored.vertices, mirrored.faces[:, ::-1])
        for oriented in (Currents(1.0), Varifold(1.0, "oriented")):
            with pytest.warns(UserWarning, match=r"point inwards .* `faces\[:, ::-1\]`"):
                oriented.between(SPHERE, mirrored)
            oriented.between(SPHERE, turned)
        Varifold(1.0).between(SPHERE, mirrored)

    def test_manifolds(self):
        book = Surface(
            np.random.default_rng(0).normal(size=(5, 3)), [[0, 1, 2], [1, 0, 3], [0, 1, 4]]
        )
        with pytest.raises(InputError, match=r"no manifold: \[\[0, 1\]\] \(edges\)"):
            Currents(1.0).between(book, book)
        with pytest.warns(UserWarning, match="no manifold"):
            Varifold(1.0).between(book, book)
