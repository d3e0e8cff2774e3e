"""Fused geodesics of images: against the generic equation, closed forms, laws, derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from systems.numerics import largest, observed_order, relative_error

from geojax._core.errors import InputError
from geojax.actions import Images
from geojax.flows.grids import compose, determinants, jacobian_matrices, pull_back
from geojax.geodesics import shoot, shoot_image
from geojax.kernels import Gaussian
from geojax.metrics import GaussianGrid, Isotropic, Sobolev

SIZE = 24.0


def blob(n, centre, width, aspect=1.0):
    """A bump on a square of fixed size, seen with n points a side."""
    x = (np.arange(n) - (n - 1) / 2) * SIZE / n
    x, y = x[:, None] - centre[0], (x[None] - centre[1]) / aspect
    return jnp.asarray(np.exp(-(x**2 + y**2) / (2 * width**2)))


def pose(n, kind=GaussianGrid):
    """Metric, image and momentum at a resolution; the momentum is a density."""
    h = SIZE / n
    metric = kind([h, h], 3.0)
    return metric, blob(n, (0.0, 0.0), 4.0), 0.8 * h * h * blob(n, (2.0, 1.0), 3.0)


@pytest.mark.parametrize("kind", [pytest.param(GaussianGrid, marks=pytest.mark.slow), Sobolev])
def test_it_is_the_generic_geodesic(kind):
    """To the first order of the steps; the other way round it is another one."""
    metric, image, momentum = pose(32, kind)
    generic = shoot(metric, Images(metric.spacing), image, momentum, num_steps=12)
    steps = (10, 20, 40)
    paths = [shoot_image(metric, image, momentum, num_steps=k, order=3) for k in steps]
    errors = [relative_error(path.images[-1], generic.end) for path in paths]
    # what the spacing leaves flattens the slope a little
    assert observed_order(steps, errors, floor=1e-4) > 0.65
    assert errors[-1] < 0.01
    energies = [abs(float(p.energies[-1] / generic.energy) - 1) for p in paths]
    assert energies[-1] < 0.02
    assert energies[0] > 0.01
    assert relative_error(paths[-1].momenta[-1], generic.costates[-1]) < 0.05
    other = shoot_image(metric, image, -momentum, num_steps=40, order=3)
    assert relative_error(other.images[-1], generic.end) > 0.1


@pytest.mark.parametrize("order", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_second_order_in_space(order):
    """With the same steps, against a fine grid, where the grids have points in common."""

    def at(n):
        metric, image, momentum = pose(n)
        path = shoot_image(metric, image, momentum, num_steps=2, order=order)
        fine = path.images[-1]
        # means over blocks of the same place
        return np.asarray(fine).reshape(12, n // 12, 12, n // 12).mean((1, 3))

    sizes = (24, 48, 96)
    truth = at(192)
    errors = [largest(at(n) - truth) for n in sizes]
    # the error of the truth itself lifts the slope a little
    assert 1.7 < observed_order(sizes, errors, floor=1e-9) < 2.6


def test_flat_images_change_in_closed_form():
    """Without edges nothing moves, and intensities change evenly."""
    metric = GaussianGrid([0.5, 2.0], 3.0)
    flat, momentum = jnp.full((10, 12), 3.0), jnp.full((10, 12), 0.1)
    path = shoot_image(metric, flat, momentum, intensity_price=5.0, times=(0.5, 1.0))
    rate = momentum / 5.0
    np.testing.assert_allclose(path.images, jnp.stack([flat + 0.5 * rate, flat + rate]))
    np.testing.assert_allclose(path.energies[-1], 0.5 * 5.0 * jnp.sum(rate**2), rtol=1e-12)
    assert largest(path.displacements) == 0
    carried = shoot_image(metric, flat, momentum)
    np.testing.assert_array_equal(carried.images[0], flat)
    assert carried.changes is None


def test_dear_intensities_do_not_change():
    """Metamorphosis becomes the geodesic of carried images, with the inverse of its price."""
    metric, image, momentum = pose(24)
    carried = shoot_image(metric, image, momentum)
    gaps = [
        largest(shoot_image(metric, image, momentum, intensity_price=c).images - carried.images)
        for c in (1e1, 1e3, 1e5)
    ]
    assert gaps[0] > 1e-3
    np.testing.assert_allclose(gaps[1] / gaps[2], 100, rtol=0.02)


def test_the_first_velocity_is_that_of_points():
    """The velocity at the start is that of points with the momentum of the grid's nodes."""
    metric, image, momentum = pose(24)
    path = shoot_image(metric, image, momentum, num_steps=1)
    nodes = (np.indices(image.shape).reshape(2, -1).T) * (SIZE / 24)
    covector = Images(metric.spacing).momentum(image, momentum).reshape(2, -1).T
    kernel = Gaussian(3.0)(jnp.asarray(nodes), jnp.asarray(nodes))
    velocity = (kernel @ covector).T.reshape(2, 24, 24)
    inside = (slice(None), slice(6, -6), slice(6, -6))
    assert relative_error(-path.displacements[0][inside], velocity[inside]) < 2e-3


def test_laws_of_the_flow():
    metric, image, momentum = pose(48)
    path = shoot_image(metric, image, momentum, num_steps=20, push=True, order=3, times=(0.5, 1.0))
    pull, push, h = path.displacements[-1], path.pushed, metric.spacing
    # the way there and back
    assert largest(pull) > 1.5
    assert largest(compose(push, pull, h, order=3)[:, 6:-6, 6:-6]) < 0.01
    assert largest(compose(pull, push, h, order=3)[:, 6:-6, 6:-6]) < 0.01
    # no folds, and the image is the one pulled back
    det = determinants(jacobian_matrices(pull, h))
    assert float(jnp.min(det)) > 0.3
    moved = pull_back(image, pull, h, order=3)
    assert largest(path.images[-1] - moved) < 0.01
    # mass of the momentum is carried along; the integral of a pushed density too
    total = jnp.sum(path.momenta, (1, 2))
    np.testing.assert_allclose(total, jnp.sum(momentum), rtol=0.01)
    np.testing.assert_allclose(jnp.sum(moved * det), jnp.sum(image), rtol=2e-3)
    assert abs(float(jnp.sum(moved) / jnp.sum(image)) - 1) > 0.01
    # what is steady costs the same in each half
    np.testing.assert_allclose(path.energies[1], 2 * path.energies[0], rtol=0.02)


@pytest.mark.slow
def test_backwards_it_comes_home():
    """From the end with the opposite momentum, to the first order of the steps."""
    metric, image, momentum = pose(32)

    def gap(steps):
        there = shoot_image(metric, image, momentum, num_steps=steps, order=3)
        back = shoot_image(metric, there.images[-1], -there.momenta[-1], num_steps=steps, order=3)
        return largest(back.images[-1] - image)

    gaps = [gap(k) for k in (5, 10, 20)]
    assert gaps[0] > 1.5 * gaps[1] > 2 * gaps[2]
    assert gaps[-1] < 0.03


def test_symmetries_of_the_grid():
    metric, image, momentum = pose(24)
    plain = shoot_image(metric, image, momentum)
    turned = shoot_image(metric, image.T[::-1], momentum.T[::-1])
    np.testing.assert_allclose(turned.images[0], plain.images[0].T[::-1], atol=1e-12)
    np.testing.assert_allclose(turned.energies, plain.energies, rtol=1e-12)


def test_shifts_around_a_periodic_grid():
    rng = np.random.default_rng(0)
    metric = GaussianGrid([1.0, 1.0], 2.0, boundary="periodic")
    image, momentum = jnp.asarray(rng.normal(size=(2, 16, 16)))
    path = shoot_image(metric, image, 0.1 * momentum)
    other = shoot_image(metric, jnp.roll(image, 5, 1), 0.1 * jnp.roll(momentum, 5, 1))
    np.testing.assert_allclose(other.images, jnp.roll(path.images, 5, 2), atol=1e-12)


@pytest.mark.parametrize(
    "options",
    [
        {"intensity_price": 2.0},
        pytest.param({}, marks=pytest.mark.slow),
        pytest.param({"order": 3}, marks=pytest.mark.slow),
    ],
)
@pytest.mark.slow
def test_derivatives(options):
    _, image, momentum = pose(12)
    momentum = momentum * 0.5

    def value(leaves, checkpoints=None):
        image, momentum, scale = leaves
        metric = GaussianGrid(jnp.full(2, 2.0), scale)
        path = shoot_image(
            metric, image, momentum, num_steps=4, num_checkpoints=checkpoints, push=True, **options
        )
        weights = jnp.cos(jnp.arange(144.0).reshape(12, 12))
        ends = jnp.sum(weights * path.images[-1]) + jnp.sum(weights * path.displacements[-1][0])
        return ends + 3 * path.energies[-1] + jnp.sum(weights * path.pushed[1])

    rng = np.random.default_rng(1)
    start = image, momentum, jnp.asarray(3.0)
    way = tuple(jnp.asarray(rng.normal(size=np.shape(x))) * 0.1 for x in start)
    gradient = jax.jit(jax.grad(value))(start)
    again = jax.jit(jax.grad(lambda x: value(x, 2)))(start)
    for one, other in zip(gradient, again, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)
    # linear interpolation has kinks, some of them near
    step = 1e-7
    compiled = jax.jit(value)
    ahead, behind = (
        compiled(tuple(x + s * step * w for x, w in zip(start, way, strict=True))) for s in (1, -1)
    )
    expected = float(ahead - behind) / (2 * step)
    found = sum(float(jnp.vdot(g, w)) for g, w in zip(gradient, way, strict=True))
    assert found == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow
def test_memory_grows_with_checkpoints():
    """And not with the steps, as it does without them."""
    metric, image, momentum = pose(64)

    def memory(steps, checkpoints):
        def value(p):
            path = shoot_image(metric, image, p, num_steps=steps, num_checkpoints=checkpoints)
            return jnp.sum(path.images[-1] ** 2)

        compiled = jax.jit(jax.grad(value)).lower(momentum).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    few, many = memory(64, 8), memory(256, 16)
    assert memory(64, None) > 2 * few
    assert many < 2.5 * few
    assert memory(256, None) > 3.5 * memory(64, None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(num_checkpoints=3), "num_checkpoints must divide num_steps"),
        (dict(order=2), "order must be 1 or 3"),
        (dict(times=()), "times must be a list"),
        (dict(times=(0.5, 0.5)), "times must be positive and rise"),
        (dict(times=(-1.0, 1.0)), "times must be positive and rise"),
        (dict(intensity_price=-1.0), "intensity_price must be positive"),
        (dict(times=["a"]), "times must"),
        (dict(intensity_price=[1.0, 2.0]), "intensity_price must be one number"),
        (dict(num_steps=0), "num_steps"),
        (dict(momentum=jnp.zeros((3, 3))), "momentum must have the shape of the state"),
        (dict(image=jnp.full((24, 24), jnp.nan)), "image"),
        (dict(metric=Isotropic()), "metric must be `GaussianGrid` or `Sobolev`"),
        (dict(image=jnp.zeros((24, 24, 24))), "image must be an image with 2 axes"),
    ],
)
def test_bad_input(change, message):
    metric, image, momentum = pose(24)
    given = dict(metric=metric, image=image, momentum=momentum) | change
    with pytest.raises(InputError, match=message):
        shoot_image(**given)
