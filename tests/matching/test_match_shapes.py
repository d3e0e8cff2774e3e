"""Matches of curves and surfaces: samplings that differ, derivatives, and what is saved."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from systems.meshes import icosphere, outline
from systems.numerics import central_difference

from geojax._core.errors import InputError
from geojax.kernels import Gaussian
from geojax.matching import load_match, match
from geojax.shapes import MMD, Currents, Curve, Surface, Varifold

# optax promotes inside
pytestmark = pytest.mark.lenient

CIRCLE, ELLIPSE = Curve(*outline(30, 1.0, 1.0)), Curve(*outline(45, 1.3, 0.8, 0.1))
METRIC = Gaussian(0.7)


@pytest.mark.parametrize("fidelity", ["varifold", Varifold(0.4, "oriented", 0.4), Currents(0.4)])
@pytest.mark.slow
def test_a_circle_becomes_an_ellipse(fidelity, tmp_path):
    found = match(CIRCLE, ELLIPSE, metric=METRIC, fidelity=fidelity)
    between = found.problem.fidelity
    assert found.folds == 0
    before = between.distance(CIRCLE.vertices, ELLIPSE.vertices)
    assert float(found.residual) < 0.02 * float(before)
    # vertices come to lie on the ellipse, not on vertices
    radii = np.linalg.norm(np.asarray(found.moved) / [1.3, 0.8], axis=1)
    np.testing.assert_allclose(radii, 1.0, atol=0.01)

    found.save(tmp_path)
    again = load_match(tmp_path)
    assert jax.tree.structure(again) == jax.tree.structure(found)
    for left, right in zip(jax.tree.leaves(again), jax.tree.leaves(found), strict=True):
        np.testing.assert_array_equal(left, right)
    np.testing.assert_array_equal(again.apply(CIRCLE.vertices), found.apply(CIRCLE.vertices))
    points = again.problem.source, again.problem.target
    assert again.problem.fidelity.distance(*points) == before


@pytest.mark.slow
def test_turned_and_renumbered():
    """L14: the energy stays, momenta turn along, whatever the numbers of vertices and edges are."""
    options = dict(
        metric=METRIC,
        fidelity=Varifold(0.5),
        weight=20.0,
        multiscale=0,
        tolerance=1e-9,
        max_iterations=500,
        quality=False,
    )
    shapes = Curve(*outline(12, 1.0, 1.0)), Curve(*outline(17, 1.2, 0.9, 0.1))
    turn, rng = np.array([[0.6, 0.8], [-0.8, 0.6]]), np.random.default_rng(0)

    def moved(shape, order):
        edges = np.argsort(order)[rng.permutation(np.asarray(shape.edges))]
        return Curve(np.asarray(shape.vertices)[order] @ turn + [5.0, -2.0], edges[:, ::-1])

    found = match(*shapes, **options)
    orders = [rng.permutation(shape.vertices.shape[0]) for shape in shapes]
    again = match(*map(moved, shapes, orders), **options)
    np.testing.assert_allclose(again.energy, found.energy, rtol=1e-9)
    np.testing.assert_allclose(again.momentum, found.momentum[orders[0]] @ turn, atol=1e-8)
    # negative control: a stretch is no rigid motion
    stretched = [Curve(shape.vertices * jnp.array([[1.1, 1.0]]), shape.edges) for shape in shapes]
    assert abs(match(*stretched, **options).energy / found.energy - 1) > 1e-2


@pytest.mark.slow
def test_surfaces_of_other_samplings_on_control_points():
    sphere, fine = Surface(*icosphere(2)), icosphere(1)
    target = Surface(fine[0] * np.array([[1.2, 1.0, 0.8]]), fine[1])
    options = dict(metric=Gaussian(0.8), fidelity=Varifold(0.5), control_points=20)
    found = match(sphere, target, **options)
    before = found.problem.fidelity.distance(sphere.vertices, target.vertices)
    assert float(found.residual) < 0.15 * float(before)
    assert found.folds == 0
    assert Surface(found.moved, sphere.faces).measure.shape == (320,)


@pytest.mark.slow
def test_derivative_of_the_optimum():
    """By the implicit function theorem, through the vertices of the source, under `jit`."""
    vertices, edges = outline(12, 1.0, 1.0)
    target = Curve(*outline(17, 1.2, 0.9, 0.1))
    direction = np.random.default_rng(0).normal(size=vertices.shape)

    def energy(t):
        source = Curve(vertices + t * direction, edges)
        return match(
            source,
            target,
            metric=Gaussian(0.5),
            fidelity=Varifold(0.5),
            tolerance=1e-9,
            quality=False,
        ).energy

    zero = jnp.zeros(())
    expected = central_difference(energy, zero, 1.0, 1e-5)
    np.testing.assert_allclose(jax.jit(jax.grad(energy))(zero), expected, rtol=1e-6)


@pytest.mark.slow
def test_shapes_are_clouds_to_other_fidelities():
    options = dict(metric=METRIC, fidelity=MMD(0.5), quality=False)
    shapes = match(CIRCLE, ELLIPSE, **options)
    clouds = match(CIRCLE.vertices, ELLIPSE.vertices, **options)
    np.testing.assert_array_equal(shapes.moved, clouds.moved)


def test_refused():
    with pytest.raises(InputError, match="compares curves or surfaces: pass a `Curve`"):
        match(CIRCLE.vertices, ELLIPSE.vertices, fidelity="varifold")
    with pytest.raises(InputError, match="target must be a `Surface` or a `Curve`"):
        match(CIRCLE, ELLIPSE.vertices, fidelity="currents")
    mixed = np.asarray(CIRCLE.edges).copy()
    mixed[2] = mixed[2, ::-1]
    with pytest.raises(InputError, match=r"source is not oriented .* flip its cells \[2\]"):
        match(Curve(CIRCLE.vertices, mixed), ELLIPSE, fidelity="currents")
