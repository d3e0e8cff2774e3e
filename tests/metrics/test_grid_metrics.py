"""Metrics of fields on grids: kernels in closed form, the two boundaries, bad input."""

import jax.numpy as jnp
import numpy as np
import pytest

from geojax._core.errors import InputError
from geojax.actions import Images
from geojax.geodesics import shoot
from geojax.kernels import Gaussian, kernel_sum
from geojax.metrics import RKHS, GaussianGrid, Sobolev

SPACING = np.array([0.5, 0.4])


def response(metric, grid):
    """The velocity of a unit momentum in the middle of a grid, along the first axis."""
    middle = tuple(n // 2 for n in grid)
    momentum = jnp.zeros((len(grid), *grid)).at[(0, *middle)].set(1.0)
    return np.asarray(metric.sharp(momentum))


def distances(grid, spacing):
    axes = [(np.arange(n) - n // 2) * h for n, h in zip(grid, spacing, strict=True)]
    return np.sqrt(sum(x**2 for x in np.meshgrid(*axes, indexing="ij")))


@pytest.mark.parametrize("boundary", ["zero", "periodic"])
def test_gaussian_is_that_of_points(boundary):
    """Momenta on the nodes of a grid drive what they drive as points, far from its ends."""
    grid = (41, 53)
    rng = np.random.default_rng(0)
    momentum = np.zeros((2, *grid))
    momentum[:, 17:24, 22:31] = rng.normal(size=(2, 7, 9))
    metric = GaussianGrid(SPACING, 1.1, boundary=boundary)
    found = np.asarray(metric.sharp(jnp.asarray(momentum)))
    points = np.stack(np.meshgrid(*map(np.arange, grid), indexing="ij"), -1) * SPACING
    points, weights = jnp.asarray(points.reshape(-1, 2)), momentum.reshape(2, -1).T
    truth = np.asarray(kernel_sum(Gaussian(1.1), points, points, jnp.asarray(weights)))
    middle = np.abs(found - truth.T.reshape(2, *grid))[:, 8:33, 10:43]
    assert np.max(middle) < 1e-9
    assert np.max(np.abs(found)) > 1
    # several scales are their mean; these take the way of all spectra
    both = GaussianGrid(SPACING, [1.1, 1.1], boundary=boundary).sharp(jnp.asarray(momentum))
    np.testing.assert_allclose(both, found, atol=1e-12)


@pytest.mark.parametrize("boundary", ["zero", "periodic"])
def test_sobolev_is_a_matern_kernel(boundary):
    """In one dimension order 2 is Matern 3/2, in three it is the exponential."""
    line = Sobolev([0.05], 0.5, order=2, boundary=boundary)
    r = distances((400,), [0.05])
    truth = (1 + r / 0.5) * np.exp(-r / 0.5)
    np.testing.assert_allclose(response(line, (400,))[0], truth, atol=1e-4)
    grid = (41, 44, 42)
    found = response(Sobolev([0.3, 0.25, 0.3], 1.0, order=2, boundary=boundary), grid)[0]
    r = distances(grid, [0.3, 0.25, 0.3])
    # away from the kink, which no grid resolves, and from the ends
    there = (r > 0.9) & (r < 2.5)
    np.testing.assert_allclose(found[there], np.exp(-r[there]), atol=6e-3)


@pytest.mark.parametrize("boundary", ["zero", "periodic"])
@pytest.mark.parametrize("family", [GaussianGrid, Sobolev])
def test_algebra(family, boundary):
    metric = family(SPACING, 0.45, boundary=boundary)
    noise = jnp.asarray(np.random.default_rng(1).normal(size=(2, 6, 9)))
    velocity = metric.root(noise)
    np.testing.assert_allclose(metric.unroot(velocity), noise, atol=1e-9)
    np.testing.assert_allclose(metric.root(metric.root(noise)), metric.sharp(noise), atol=1e-11)
    np.testing.assert_allclose(metric.flat(metric.sharp(noise)), noise, atol=1e-7)
    np.testing.assert_allclose(metric.energy(velocity), 0.5 * jnp.sum(noise**2), rtol=1e-9)
    assert metric.sharp(noise.astype(jnp.float32)).dtype == jnp.float32


def test_boundaries():
    momentum = jnp.ones((2, 6, 9))
    still = np.asarray(GaussianGrid(SPACING, 2.0).sharp(momentum))
    assert np.max(np.abs(still[:, 0])) < 0.6 * np.max(np.abs(still))
    around = GaussianGrid(SPACING, 2.0, boundary="periodic")
    np.testing.assert_allclose(
        np.ptp(np.asarray(around.sharp(momentum)), axis=(1, 2)), 0, atol=1e-9
    )
    shifted = jnp.roll(response(around, (6, 9)), (2, 3), (1, 2))
    there = jnp.zeros((2, 6, 9)).at[0, 5, 7].set(1.0)
    np.testing.assert_allclose(around.sharp(there), shifted, atol=1e-12)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Sobolev([1.0, 0.0], 1.0), "spacing must be positive"),
        (lambda: Sobolev(1.0, 1.0), "one number per axis"),
        (lambda: Sobolev([1.0] * 4, 1.0), "one number per axis"),
        (lambda: Sobolev([1.0, 1.0], -1.0), "scale must be positive"),
        (lambda: Sobolev([1.0, 1.0], [[1.0]]), "scale must be a number or a list"),
        (lambda: Sobolev([1.0] * 3, 1.0, order=1), "order must be more than half the dimension 3"),
        (lambda: GaussianGrid([1.0], 1.0, boundary="open"), "'zero' or 'periodic'"),
        (lambda: GaussianGrid([1.0], 1.0).sharp(jnp.ones((2, 4, 4))), r"shape \[1, \*grid\]"),
        (lambda: Images([1.0, 1.0]).check(jnp.ones((2, 4)), "state"), "at least 3 entries"),
        (lambda: Images([1.0]).check(jnp.array([1.0, np.nan, 0]), "state"), "state"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(InputError, match=message):
        make()


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        (Sobolev([1.0, 1.0], 1.0, boundary="periodic"), "boundary of the action, 'zero'"),
        (Sobolev([1.0, 2.0], 1.0), "must have the spacing of the action"),
        (Sobolev([1.0], 1.0), "must have the spacing of the action"),
        (RKHS(Gaussian(1.0)), "images by those on grids"),
    ],
)
def test_metrics_that_do_not_fit(metric, message):
    image = jnp.ones((5, 5))
    with pytest.raises(InputError, match=message):
        shoot(metric, Images([1.0, 1.0]), image, image)
