"""Normal cycles of curves: closed forms, the bundle of normals itself, laws, and a match."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import ive
from systems.meshes import icosphere, outline
from systems.numerics import central_difference, observed_order, relative_error

from geojax._core.errors import InputError
from geojax.kernels import Gaussian, Matern52, Sum, sums
from geojax.matching import match
from geojax.shapes import Curve, NormalCycles, Surface, Varifold

KINDS = ("constant", "linear")
BENT = Curve(np.array([[0.0, 0.0], [1.0, 0.2], [1.4, 1.0], [0.8, 1.5]]))
SPACE = Curve(np.array([[0.0, 0.0, 0.0], [1.0, 0.2, 0.3], [1.4, 1.0, -0.2], [0.8, 1.5, 0.4]]))
# four edges at vertex 1, one of them towards it
ARMS = [[0.0, 0.1, 0.3], [1.0, 0.0, 0.2], [1.7, 0.6, -0.1], [1.2, -0.8, 0.5], [0.7, 0.2, 1.1]]
STAR = Curve(np.array(ARMS), [[0, 1], [1, 2], [1, 3], [1, 4]])
OVAL = Curve(*outline(27, 1.3, 0.8, 0.1))


@eqx.filter_jit
def product(fidelity, source, target):
    first = fidelity.atoms(source.vertices, source.cells, None)
    return fidelity.inner(first, fidelity.atoms(target.vertices, target.cells, None))


def inner(normals, source, target, scale=0.7):
    return float(product(NormalCycles(scale, normals), source, target))


@eqx.filter_jit
def between(fidelity, source, target):
    return fidelity.between(source, target).distance(source.vertices, target.vertices)


def distance(fidelity, source, target):
    return float(between(fidelity, source, target))


def sphere(d):
    """Unit normals and their weights."""
    if d == 2:
        t = 2 * np.pi * (np.arange(20000) + 0.3) / 20000
        return np.stack([np.cos(t), np.sin(t)], -1), np.full(len(t), 2 * np.pi / len(t))
    z, weights = np.polynomial.legendre.leggauss(200)
    t = 2 * np.pi * (np.arange(200) + 0.3) / 200
    r = np.sqrt(1 - z**2)[:, None]
    n = np.stack([r * np.cos(t), r * np.sin(t), np.broadcast_to(z[:, None], (200, 200))], -1)
    return n.reshape(-1, 3), np.repeat(weights, 200) * 2 * np.pi / 200


def bundle(curve, normals):
    """The normals over vertices and over edges, as places and integrals over the normals.

    A bundle is spanned over a vertex by directions of the sphere only, which the normal n itself
    stands for, and over an edge by its tangent t and, in space, by `t x n`. Spans of both sorts
    are orthogonal. The integrals are of span times feature, where the kernel on the normals is
    the product of features: 1, or n.
    """
    points, edges = np.asarray(curve.vertices), np.asarray(curve.edges)
    d = points.shape[1]

    def integral(n, weight, span):
        features = n if normals == "linear" else np.ones((len(n), 1))
        return np.einsum("k,ka,kb->ab", weight, span, features)

    n, weight = sphere(d)
    over_vertices = []
    for k, point in enumerate(points):
        ends = [points[b if a == k else a] - point for a, b in edges if k in (a, b)]
        over_vertices.append(sum((n @ u <= 0).astype(float) for u in ends) - (len(ends) - 1))
    over_vertices = [integral(n, weight * cover, n) for cover in over_vertices]
    over_edges = []
    for side in points[edges[:, 1]] - points[edges[:, 0]]:
        t = side / np.linalg.norm(side)
        if d == 2:  # there on the one side, back on the other
            n, weight, span = np.array([[-t[1], t[0]], [t[1], -t[0]]]), np.ones(2), [t, -t]
        else:
            angle = 2 * np.pi * np.arange(64) / 64
            e = np.linalg.svd(t[None])[2][1:]
            n = np.cos(angle)[:, None] * e[0] + np.sin(angle)[:, None] * e[1]
            weight = np.full(64, 2 * np.pi / 64)
            span = np.einsum("a,kb->kab", t, np.cross(t, n)).reshape(64, -1)
        over_edges.append(np.linalg.norm(side) * integral(n, weight, np.array(span)))
    centres = points[edges].mean(axis=1)
    return (points, np.array(over_vertices)), (centres, np.array(over_edges))


@pytest.mark.parametrize("normals", KINDS)
@pytest.mark.parametrize(("source", "target"), [(BENT, BENT), (SPACE, STAR)])
def test_bundles(normals, source, target):
    """The closed forms are those of the bundles of normals."""
    kernel = Gaussian(0.7)
    parts = [
        np.einsum("ij,iab,jab->", np.asarray(kernel(jnp.asarray(x), jnp.asarray(y))), u, v)
        for (x, u), (y, v) in zip(bundle(source, normals), bundle(target, normals), strict=True)
    ]
    ball = {2: 2.0, 3: np.pi}[source.vertices.shape[1]]
    value = inner(normals, source, target)
    np.testing.assert_allclose(value, sum(parts) / ball**2, rtol=1e-2)
    if normals == "constant":
        assert abs(parts[1]) < 1e-12
    else:
        assert abs(parts[0]) > 0.02 * abs(parts[1])


class TestClosedForms:
    def test_a_segment_shows_its_ends(self):
        segment = Curve(np.array([[0.0, 0.0], [0.0, 1.5]]))
        expected = 2 * (1 - np.exp(-(1.5**2) / (2 * 0.7**2)))
        np.testing.assert_allclose(inner("constant", segment, segment), expected, rtol=1e-12)

    @pytest.mark.parametrize("angle", [0.3, np.pi / 2, 2.5])
    def test_a_corner(self, angle):
        far = 100.0
        end = far * np.array([np.cos(angle), np.sin(angle)])
        corner = Curve(np.array([[far, 0.0], [0.0, 0.0], end]))
        kernel = 0.1  # sees no end from another
        expected = 2 + 2 * np.cos(angle) + 2
        np.testing.assert_allclose(inner("constant", corner, corner, kernel), expected, rtol=1e-12)

    def test_a_branching(self):
        """Even branchings are seen by linear normals only."""
        t = 2 * np.pi * np.arange(3) / 3
        tips = 50 * np.stack([np.cos(t), np.sin(t)], -1)
        points = np.concatenate([np.zeros((1, 2)), tips])
        branching = Curve(points, [[0, 1], [2, 0], [0, 3]])
        np.testing.assert_allclose(inner("constant", branching, branching, 1.0), 3.0, rtol=1e-12)
        # the Binet varifold, and four vertices with one edge too many or too few
        along = float(product(Varifold(1.0), branching, branching))
        value = inner("linear", branching, branching, 1.0)
        np.testing.assert_allclose(value - along, 4 * np.pi**2 / 8, rtol=1e-10)

    @pytest.mark.parametrize("normals", KINDS)
    def test_a_circle(self, normals):
        """Second order in the refinement, to the integral over the circle."""
        radius, scale = 1.2, 0.7
        z = (radius / scale) ** 2
        expected = {
            "constant": 4 * np.pi**2 * ive(1, z),
            "linear": 4 * np.pi**2 * radius**2 * (ive(0, z) + ive(2, z)) / 2,
        }[normals]
        counts = [20, 40, 80]
        circles = [Curve(*outline(n, radius, radius)) for n in counts]
        errors = [abs(inner(normals, c, c, scale) - expected) for c in circles]
        assert 1.9 < observed_order(counts, errors, floor=1e-12) < 2.1
        assert errors[-1] < 5e-3 * expected


class TestLaws:
    @pytest.mark.parametrize("normals", KINDS)
    def test_invariances(self, normals):
        fidelity = NormalCycles(0.7, normals)
        turned = Curve(STAR.vertices, np.asarray(STAR.edges)[[2, 0, 3, 1], ::-1])
        assert distance(fidelity, STAR, turned) < 1e-6
        turn, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))
        moved = [Curve(c.vertices @ turn.T + 2.0, c.edges) for c in (STAR, SPACE)]
        expected = distance(fidelity, STAR, SPACE)
        assert expected > 0.5
        np.testing.assert_allclose(distance(fidelity, *moved), expected, rtol=1e-12)
        assert abs(distance(fidelity, moved[0], SPACE) / expected - 1) > 1e-2

    def test_scaled(self):
        """Corners have no length: with the kernel scaled along, nothing changes."""
        larger = [Curve(3.0 * c.vertices, c.edges) for c in (STAR, SPACE)]
        expected = distance(NormalCycles(0.7), STAR, SPACE)
        np.testing.assert_allclose(distance(NormalCycles(2.1), *larger), expected, rtol=1e-12)
        assert abs(distance(NormalCycles(0.7), *larger) / expected - 1) > 1e-2

    def test_divided_edges(self):
        """Where a straight edge is divided is of no account, to round-off; a bend is."""

        def divided(bend):
            points = np.asarray(BENT.vertices)
            between = points[1] + 0.3 * (points[2] - points[1]) + np.array([0.0, bend])
            return Curve(np.insert(points, 2, between, axis=0))

        fidelity = NormalCycles(0.7)
        assert distance(fidelity, BENT, divided(0.0)) < 1e-7
        assert distance(fidelity, BENT, divided(0.1)) > 0.05
        # negative control: a varifold is an approximation, which changes
        assert distance(Varifold(0.7), BENT, divided(0.0)) > 1e-3

    def test_a_vertex_twice(self):
        """Constant normals do not mind that vertices at one place are two; linear ones do."""
        split = Curve(np.concatenate([BENT.vertices, BENT.vertices[2:3]]), [[0, 1], [1, 2], [4, 3]])
        assert distance(NormalCycles(0.7), BENT, split) < 1e-7
        assert distance(NormalCycles(0.7, "linear"), BENT, split) > 1.0

    @pytest.mark.parametrize("normals", KINDS)
    def test_gram_matrix(self, normals):
        rng = np.random.default_rng(2)
        fidelity = NormalCycles(Sum([Gaussian(0.4), Matern52(1.0)]), normals)
        atoms = [
            fidelity.atoms(STAR.vertices @ jnp.asarray(rng.normal(size=(3, 3))), STAR.cells, None)
            for _ in range(8)
        ]
        gram = np.array([[float(fidelity.inner(a, b)) for a in atoms] for b in atoms])
        size = np.sqrt(np.diag(gram))
        assert np.all(np.abs(gram) <= np.outer(size, size) * (1 + 1e-12))
        assert np.linalg.eigvalsh(gram)[0] >= -1e-12 * np.trace(gram)
        assert np.linalg.eigvalsh(gram - np.diag(np.diag(gram)))[0] < -1e-6


class TestDerivatives:
    @pytest.mark.parametrize("normals", KINDS)
    def test_gradient(self, normals):
        bound = NormalCycles(0.7, normals).between(STAR, SPACE)
        direction = jnp.asarray(np.random.default_rng(3).normal(size=STAR.vertices.shape))
        value = jax.jit(lambda x: bound(x, SPACE.vertices))
        gradient = jax.jit(jax.grad(value))
        numeric = central_difference(value, STAR.vertices, direction, 1e-5)
        slope = jnp.sum(gradient(STAR.vertices) * direction)
        np.testing.assert_allclose(slope, numeric, rtol=1e-7)
        assert abs(float(-slope / numeric) - 1) > 1
        numeric = central_difference(gradient, STAR.vertices, direction, 1e-5)
        _, second = jax.jvp(gradient, (STAR.vertices,), (direction,))
        assert relative_error(second, numeric) < 1e-6

    def test_edges_without_length(self):
        """Vertices that a deformation brings together spoil nothing."""
        bound = NormalCycles(0.7).between(BENT, BENT)
        points = BENT.vertices.at[1].set(BENT.vertices[0])
        value, gradient = jax.value_and_grad(lambda x: bound(x, BENT.vertices))(points)
        assert np.isfinite(value)
        assert np.all(np.isfinite(gradient))

    def test_tile_by_tile_in_single_precision(self, monkeypatch):
        bound = NormalCycles(0.7, "linear").between(STAR, SPACE)
        dense = bound(STAR.vertices, SPACE.vertices)
        jax.clear_caches()
        monkeypatch.setattr(sums, "DENSE_PAIRS", 0)
        assert relative_error(bound(STAR.vertices, SPACE.vertices), dense) < 1e-12
        single = bound(*(c.vertices.astype(jnp.float32) for c in (STAR, SPACE)))
        assert single.dtype == jnp.float32
        assert relative_error(single, dense) < 1e-5


# optax promotes inside
@pytest.mark.lenient
@pytest.mark.slow
def test_match():
    source = Curve(*outline(30, 1.0, 1.0))
    options = dict(num_steps=5, quality=False)
    found = match(source, OVAL, metric=Gaussian(0.7), fidelity=NormalCycles(0.5), **options)
    before = found.problem.fidelity.distance(source.vertices, OVAL.vertices)
    assert float(found.residual) < 0.1 * float(before)
    radii = np.linalg.norm(np.asarray(found.moved) / [1.3, 0.8], axis=1)
    np.testing.assert_allclose(radii, 1.0, atol=0.03)


class TestRefused:
    def test_surfaces(self):
        sphere = Surface(*icosphere(0))
        with pytest.raises(InputError, match=r"source must be a `Curve` .* is a Surface"):
            NormalCycles(1.0).between(sphere, sphere)

    def test_options(self):
        with pytest.raises(InputError, match="did you mean 'linear'"):
            NormalCycles(1.0, "linears")
        with pytest.raises(InputError, match="compares curves or surfaces: pass a `Curve`"):
            NormalCycles(1.0)(BENT.vertices, OVAL.vertices)
