"""The Sinkhorn divergence: against ott's own, against a closed form, blocked and honest."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ott.geometry import pointcloud
from ott.tools import sinkhorn_divergence
from systems.numerics import central_difference, relative_error

from geojax._core.errors import InputError
from geojax.shapes import Sinkhorn, sinkhorn

TIGHT = Sinkhorn(0.5, threshold=1e-12)


@pytest.fixture(scope="module")
def clouds():
    rng = np.random.default_rng(5)
    return jnp.asarray(rng.normal(size=(40, 2))), jnp.asarray(rng.normal(size=(30, 2)) + 0.7)


@pytest.mark.lenient
@pytest.mark.slow
def test_it_is_otts_divergence(clouds):
    theirs, _ = sinkhorn_divergence.sinkhorn_divergence(
        pointcloud.PointCloud,
        *clouds,
        # their cost is the full square of the distance
        epsilon=2 * 0.5**2,
        solve_kwargs={"threshold": 1e-12, "max_iterations": 5000},
    )
    np.testing.assert_allclose(2 * TIGHT(*clouds), theirs, rtol=1e-9)


def test_translated_gaussians_on_a_grid():
    """The closed form for Gaussians: equal ones that are shifted are half the squared shift apart.

    With the grid of quantiles standing for the Gaussian, and of another width for the divergence
    of two widths [janati2020entropic].
    """
    levels = (np.arange(400) + 0.5) / 400
    quantiles = jax.scipy.special.ndtri(jnp.asarray(levels))[:, None]
    np.testing.assert_allclose(
        TIGHT(quantiles, quantiles + 0.7), 0.5 * 0.7**2, rtol=1e-9, atol=1e-12
    )
    narrow = 0.5 * quantiles
    value = Sinkhorn(0.6, threshold=1e-10)(quantiles, narrow + 0.7)
    expected = _gaussians(1.0, 0.5, 0.7, 0.6)
    np.testing.assert_allclose(value, expected, rtol=2e-3)
    # negative control: another width is told apart by far more than the grid is wrong
    assert abs(_gaussians(1.0, 0.55, 0.7, 0.6) / expected - 1) > 1e-2


def _gaussians(s1, s2, shift, blur):
    """Sinkhorn divergence of two Gaussians on the line for the cost `|x - y|^2 / 2`."""

    def entropic(a, b):
        # for the cost |x - y|^2 and penalty 2 sigma^2, halved: invariants of optimal transport
        d = np.sqrt(4 * a * b + blur**4)
        transport = a + b - d + blur**2 * (1 - np.log(2 * blur**2))
        return transport + blur**2 * np.log(d + blur**2)

    a, b = s1**2, s2**2
    return 0.5 * (shift**2 + entropic(a, b) - 0.5 * entropic(a, a) - 0.5 * entropic(b, b))


@pytest.mark.slow
def test_blocked_is_dense(clouds, monkeypatch):
    def value_and_gradient():
        jax.clear_caches()
        return jax.value_and_grad(lambda x: TIGHT(x, clouds[1]))(clouds[0])

    dense = value_and_gradient()
    # blocks of a few rows, and the last one not full
    monkeypatch.setattr(sinkhorn, "_DENSE_ENTRIES", 200)
    blocked = value_and_gradient()
    np.testing.assert_allclose(blocked[0], dense[0], rtol=1e-12)
    np.testing.assert_allclose(blocked[1], dense[1], rtol=1e-9, atol=1e-14)


def test_the_gradient_is_the_barycentric_residual(clouds):
    """`n dS/dx_i` is how far the plan to the target carries x_i beyond the plan to itself."""
    x, y = clouds

    def displacement(to):
        cost = 0.5 * jnp.sum(jnp.square(x[:, None] - to[None]), axis=-1)
        f, g = _potentials(cost, 0.5**2)
        plan = jnp.exp((f[:, None] + g[None] - cost) / 0.5**2) / cost.size
        return x - x.shape[0] * plan @ to

    expected = (displacement(y) - displacement(x)) / x.shape[0]
    found = jax.grad(lambda x: TIGHT(x, y))(x)
    np.testing.assert_allclose(found, expected, atol=1e-10)


def _potentials(cost, epsilon):
    """Plain Sinkhorn iterations."""
    cost = np.asarray(cost)
    f, g = np.zeros(cost.shape[0]), np.zeros(cost.shape[1])
    for _ in range(3000):
        f = -epsilon * np.log(np.mean(np.exp((g[None] - cost) / epsilon), axis=1))
        g = -epsilon * np.log(np.mean(np.exp((f[:, None] - cost) / epsilon), axis=0))
    return jnp.asarray(f), jnp.asarray(g)


def test_gradient_at_the_default_threshold(clouds):
    x, y = clouds
    direction = jax.random.normal(jax.random.key(0), x.shape)

    def along(t):
        return Sinkhorn(0.5)(x + t * direction, y)

    zero = jnp.zeros(())
    expected = central_difference(along, zero, 1.0, 1e-4)
    np.testing.assert_allclose(jax.grad(along)(zero), expected, rtol=1e-6)


def test_small_blur_is_the_wasserstein_distance():
    """On the line, transport is sorted."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(20, 1)), rng.normal(size=(20, 1)) * 2 + 1
    sorted_cost = 0.5 * np.mean((np.sort(x[:, 0]) - np.sort(y[:, 0])) ** 2)
    value = Sinkhorn(0.02, max_iterations=50_000)(jnp.asarray(x), jnp.asarray(y))
    np.testing.assert_allclose(value, sorted_cost, rtol=1e-3)


def test_a_value_that_was_not_reached_is_withheld(clouds):
    assert np.isnan(Sinkhorn(0.05, max_iterations=10)(*clouds))
    assert np.isfinite(Sinkhorn(0.5, max_iterations=500)(*clouds))


@pytest.mark.slow
def test_memory_is_linear():
    def temporary(n):
        points = jax.ShapeDtypeStruct((n, 2), jnp.float32)
        gradient = jax.jit(jax.grad(lambda x, y: Sinkhorn(0.3)(x, y)))
        return gradient.lower(points, points).compile().memory_analysis().temp_size_in_bytes

    small, large = temporary(4000), temporary(8000)
    assert large < 2.2 * small
    assert large < 4 * 8000**2 / 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(blur=0.0), "blur must be positive"),
        (dict(blur=-1.0), "blur must be positive"),
        (dict(blur=np.nan), "blur must be"),
        (dict(blur=jnp.ones(2)), "blur must be one number"),
        (dict(blur=0.1, threshold=0.0), "threshold must be positive"),
        (dict(blur=0.1, max_iterations=0), "max_iterations must be an integer"),
    ],
)
def test_options_that_make_no_sense(options, message):
    with pytest.raises(InputError, match=message):
        Sinkhorn(**options)


def test_a_blur_below_the_resolution_is_refused_with_the_smallest():
    x = jnp.asarray([[0.0, 0.0], [100.0, 0.0]], jnp.float32)
    with pytest.raises(InputError, match=r"at least 0\.035 .* in float32, but is 0\.01"):
        Sinkhorn(0.01).check(x, x)
    Sinkhorn(0.01).check(jnp.asarray(x, jnp.float64), jnp.asarray(x, jnp.float64))


def test_relative_error_of_float32(clouds):
    x, y = (jnp.asarray(cloud, jnp.float32) for cloud in clouds)
    assert relative_error(Sinkhorn(0.5)(x, y), TIGHT(*clouds)) < 1e-5
