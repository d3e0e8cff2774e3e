"""Geodesic regression: closed forms, data that geodesics made, derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from systems.meshes import outline
from systems.numerics import central_difference, relative_error

from geojax._core.errors import InputError
from geojax._core.results import RESULTS
from geojax.actions import Points
from geojax.geodesics import shoot
from geojax.kernels import Gaussian
from geojax.matching import regress
from geojax.metrics import RKHS
from geojax.shapes import Curve, Varifold

# optax promotes inside
pytestmark = pytest.mark.lenient

KERNEL = Gaussian(0.7)
CIRCLE, EDGES = outline(12, 1.0, 0.8)
CONTROLS = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 0.9], [0.0, -0.9]])
MOMENTUM = 0.3 * np.random.default_rng(3).normal(size=(4, 2))
PARTS = np.array([0.3, 1.0, 0.0, 0.55, 0.3])
TIMES = 60.0 + 10 * PARTS


def along(part):
    """The circle, carried to a part of the geodesic of the momentum."""
    options = dict(carried=jnp.asarray(CIRCLE), num_steps=20)
    start = jnp.asarray(CONTROLS)
    return np.asarray(shoot(RKHS(KERNEL), Points(), start, part * MOMENTUM, **options).carried[-1])


@pytest.fixture(scope="module")
def fitted():
    """A geodesic through shapes that lie on one."""
    options = dict(control_points=CONTROLS, weight=1e7, tolerance=1e-5, max_iterations=500)
    return regress([along(t) for t in PARTS], TIMES, baseline=CIRCLE, metric=KERNEL, **options)


def test_data_of_a_geodesic(fitted):
    assert fitted.result == RESULTS.successful
    assert relative_error(fitted.momentum, MOMENTUM) < 1e-2
    assert 0.9999 < float(fitted.explained) <= 1.0
    for k, t in enumerate(TIMES):
        np.testing.assert_allclose(fitted.at(t), fitted.fitted[k], atol=1e-5)
    # exactly, since float32 does not tell one day of this century from the next
    assert (fitted.t0, fitted.t1) == (60.0, 70.0)
    assert isinstance(fitted.t0, float)
    # before and after all that was seen
    for part in (-0.4, 1.5):
        np.testing.assert_allclose(fitted.at(60 + 10 * part), along(part), atol=1e-2)
        assert relative_error(fitted.at(60 - 10 * part), along(part)) > 0.1


def test_determinants_of_the_geodesic(fitted):
    """Against differences of the map itself, and their derivative in time."""
    np.testing.assert_allclose(fitted.determinants(CIRCLE, 60.0), 1, atol=1e-12)
    places = np.array([[0.2, -0.1], [0.7, 0.6]])

    def moved(points, part):
        start, momentum = jnp.asarray(CONTROLS), part * fitted.momentum
        options = dict(carried=jnp.asarray(points), num_steps=20)
        return shoot(RKHS(KERNEL), Points(), start, momentum, **options).carried[-1]

    step = 1e-5
    columns = [
        (moved(places + e, 1.3) - moved(places - e, 1.3)) / (2 * step) for e in step * np.eye(2)
    ]
    truth = np.linalg.det(np.stack(columns, axis=-1))
    np.testing.assert_allclose(fitted.determinants(places, 73.0), truth, rtol=1e-6)
    slope = jax.grad(lambda t: jnp.sum(fitted.determinants(places, t)))(73.0)
    ends = [np.sum(fitted.determinants(places, 73.0 + e)) for e in (1e-4, -1e-4)]
    assert relative_error(slope, (ends[0] - ends[1]) / 2e-4) < 1e-6
    with pytest.raises(InputError, match="baseline"):
        fitted.determinants(np.ones((2, 3)), 60.0)


def test_times_matter(fitted):
    problem = fitted.problem
    options = dict(metric=KERNEL, control_points=CONTROLS, weight=1e7, max_iterations=500)
    wrong = regress([along(t) for t in PARTS], TIMES[::-1], baseline=CIRCLE, throw=False, **options)
    assert float(wrong.explained) < 0.9
    np.testing.assert_allclose(problem.times, PARTS, atol=1e-12)


@pytest.mark.parametrize("estimated", [False, True])
def test_one_landmark_is_least_squares(estimated):
    """Straight lines: a ridge regression in the slope, with or without an intercept."""
    rng = np.random.default_rng(0)
    times, weight = np.array([0.0, 0.5, 1.5, 2.0]), 7.0
    start, seen = np.array([[0.3, -0.2]]), rng.normal(size=(4, 1, 2))
    found = regress(
        seen,
        times,
        baseline=start,
        estimate_baseline=estimated,
        metric=Gaussian(1.0),
        weight=weight,
        tolerance=1e-9,
    )
    parts = times / 2
    rows = np.stack([np.ones(4), parts], axis=1)
    # half squared slope plus weight / 2 times the squared residuals
    hessian = weight * rows.T @ rows + np.diag([0.0, 1.0])
    if estimated:
        intercept, slope = np.linalg.solve(hessian, weight * rows.T @ seen[:, 0])
    else:
        intercept = start[0]
        slope = weight * parts @ (seen[:, 0] - intercept) / hessian[1, 1]
    np.testing.assert_allclose(found.momentum[0], slope, atol=1e-7)
    np.testing.assert_allclose(found.baseline[0], intercept, atol=1e-7)
    np.testing.assert_allclose(found.at(3.0)[0], intercept + 1.5 * slope, atol=1e-7)
    left = seen[:, 0] - intercept - parts[:, None] * slope
    about = seen[:, 0] - seen[:, 0].mean(axis=0)
    np.testing.assert_allclose(
        found.explained, 1 - np.sum(left**2) / np.sum(about**2), rtol=1e-6, atol=1e-9
    )


@pytest.mark.slow
def test_curves_and_gradient():
    shapes = [Curve(*outline(n, 1 + 0.3 * t, 0.8, t)) for n, t in ((14, 0.0), (20, 0.4), (11, 1.0))]
    found = regress(
        shapes,
        [0.0, 0.4, 1.0],
        estimate_baseline=True,
        metric=KERNEL,
        fidelity=Varifold(0.6),
        control_points=CONTROLS,
        multiscale=0,
    )
    assert isinstance(found.at(0.7), Curve)
    # of other samplings: where the distance is no more than that of two samplings of one curve
    assert float(found.explained) > 0.95
    problem = found.problem
    rest, rng = problem.at_rest(), np.random.default_rng(0)
    at = jax.tree.map(lambda x: x + 0.1 * jnp.asarray(rng.normal(size=x.shape)), rest)
    direction = jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape)), rest)

    @jax.jit
    def value(t):
        return problem.objective(jax.tree.map(lambda x, v: x + t * v, at, direction))

    slope = jax.jit(jax.grad(value))(0.0)
    np.testing.assert_allclose(slope, central_difference(value, 0.0, 1.0, 1e-5), rtol=1e-7)
    exact = jax.jit(jax.grad(lambda x: problem.objective(x)))(rest)
    stated = problem.gradient_at_rest()
    for left, right in zip(jax.tree.leaves(stated), jax.tree.leaves(exact), strict=True):
        np.testing.assert_allclose(left, right, atol=1e-9)


def test_refusals():
    shapes = [CIRCLE, CIRCLE + 1]
    with pytest.raises(InputError, match="times must hold one number for each of the 2 shapes"):
        regress(shapes, [0.0])
    with pytest.raises(InputError, match="not all be at t0"):
        regress(shapes, [1.0, 1.0])
    with pytest.raises(InputError, match="must not be before t0 = 5"):
        regress(shapes, [1.0, 6.0], t0=5.0)
    with pytest.raises(InputError, match=r"shapes\[1\]"):
        regress([CIRCLE, CIRCLE[:4]], [0.0, 1.0], metric=KERNEL)
