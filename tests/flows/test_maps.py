"""Maps of a grid: interpolation and its derivative, exponentials, Jacobians."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import map_coordinates
from systems.numerics import central_difference, largest, relative_error

from geojax._core.errors import InputError
from geojax.flows.grids import compose, determinants, exponential, jacobian_matrices, pull_back
from geojax.flows.interpolation import indices_of, sample, shifted
from geojax.metrics import GaussianGrid

GRIDS = {1: (9,), 2: (7, 6), 3: (5, 6, 4)}


def noise(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("ends", ["edge", "zero", "wrap"])
def test_linear_is_that_of_scipy(d, ends):
    grid = GRIDS[d]
    values, places = noise(0, 2, *grid), 4 * noise(1, d, 30) + 3
    mode = {"edge": "nearest", "zero": "grid-constant", "wrap": "grid-wrap"}[ends]
    truth = [map_coordinates(np.asarray(v), places, order=1, mode=mode) for v in values]
    np.testing.assert_allclose(sample(values, places, ends=ends), truth, atol=1e-12)
    nearest = [map_coordinates(np.asarray(v), places, order=0, mode=mode) for v in values]
    found = sample(values, places, order=0, ends=ends)
    np.testing.assert_allclose(found, nearest, atol=1e-12)


def test_cubic_is_exact_for_quadratic_functions():
    x = indices_of((8, 9), float)
    places = jnp.asarray(np.random.default_rng(0).uniform(1.5, 5.5, (2, 20)))

    def quadratic(x):
        return 1 + x[0] - 0.3 * x[1] ** 2 + 0.2 * x[0] * x[1] + 0.7 * x[0] ** 2

    np.testing.assert_allclose(sample(quadratic(x), places, order=3), quadratic(places), atol=1e-10)
    assert relative_error(sample(quadratic(x), places), quadratic(places)) > 1e-4
    with pytest.raises(InputError, match="order must be 0, 1 or 3"):
        sample(x, places, order=2)


@pytest.mark.parametrize("ends", ["edge", "zero", "wrap"])
@pytest.mark.parametrize(
    ("d", "size"),
    [
        (1, 0.9),
        (2, 0.9),
        (2, 2.7),
        *(pytest.param(3, s, marks=pytest.mark.slow) for s in (0.9, 2.7)),
    ],
)
def test_derivative_of_its_own(d, size, ends):
    """The two forms, for small and large shifts, against the plain one."""
    grid = GRIDS[d]
    values, weights = noise(0, 2, *grid), noise(2, 2, *grid)
    shift = jnp.asarray(np.random.default_rng(1).uniform(-size, size, (d, *grid)))

    def plain(values, shift):
        places = indices_of(grid, shift.dtype) + shift
        return jnp.sum(weights * sample(values, places, ends=ends))

    def fast(values, shift):
        return jnp.sum(weights * shifted(values, shift, ends))

    truth, slopes = jax.jit(jax.value_and_grad(plain, (0, 1)))(values, shift)
    value, found = jax.jit(jax.value_and_grad(fast, (0, 1)))(values, shift)
    assert relative_error(value, truth) < 1e-12
    for a, b in zip(found, slopes, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)
    lanes = jax.vmap(jax.grad(fast, 1))(values[None], shift[None])
    np.testing.assert_allclose(lanes[0], found[1], atol=1e-12)


@pytest.mark.slow
def test_lanes_share_one_form():
    """Small shifts take the fast form under `vmap` too, and one large lane moves all to the other.

    With a condition for each lane both forms would be computed, and one of them chosen.
    """
    values = noise(0, 3, 2, *GRIDS[2])
    shift = jnp.asarray(np.random.default_rng(1).uniform(-0.9, 0.9, (3, 2, *GRIDS[2])))

    def slope(values, shift):
        return jax.grad(lambda s: jnp.sum(jnp.sin(shifted(values, s))))(shift)

    program = str(jax.make_jaxpr(jax.vmap(jax.vmap(slope)))(values[None], shift[None]))
    # a condition of each lane would have become a selection
    assert "cond[" in program
    for large in (shift, shift.at[1].multiply(3.0)):
        lanes = jax.jit(jax.vmap(slope))(values, large)
        for k in range(3):
            np.testing.assert_allclose(lanes[k], slope(values[k], large[k]), atol=1e-12)


def test_maps_of_a_plane():
    """Affine maps compose as their matrices do, and have their determinants."""
    spacing = jnp.array([0.5, 2.0])
    column = spacing.reshape(2, 1, 1)
    x = indices_of((16, 16), float) * column
    middle = 7.5 * column

    def displacement(matrix):
        return jnp.tensordot(matrix - np.eye(2), x - middle, axes=1)

    first = np.array([[1.1, 0.05], [-0.1, 0.95]])
    second = np.array([[0.9, 0.1], [0.02, 1.05]])
    inside = (slice(None), slice(4, 12), slice(4, 12))
    found = compose(displacement(second), displacement(first), spacing)
    truth = displacement(second @ first)
    np.testing.assert_allclose(found[inside], truth[inside], atol=1e-10)
    matrices = jacobian_matrices(displacement(first), spacing)
    np.testing.assert_allclose(matrices[:, :, 0, 5], first, atol=1e-10)
    np.testing.assert_allclose(determinants(matrices), np.linalg.det(first), atol=1e-10)
    other = compose(displacement(first), displacement(second), spacing)
    assert np.max(np.abs(other - truth)[inside]) > 1e-2


@pytest.mark.parametrize("d", [1, 2, 3])
def test_determinants_are_those_of_numpy(d):
    matrices = np.random.default_rng(0).normal(size=(20, d, d))
    found = determinants(jnp.asarray(matrices.transpose(1, 2, 0)))
    np.testing.assert_allclose(found, np.linalg.det(matrices), atol=1e-12)


def smooth_velocity(n, boundary):
    """The same velocity on the unit square, at any resolution."""
    edge = np.arange(n) / n if boundary == "periodic" else np.arange(1, n + 1) / (n + 1)
    x, y = np.meshgrid(edge, edge, indexing="ij")
    k = 2 * np.pi if boundary == "periodic" else np.pi
    one = 0.06 * np.sin(k * x) * np.sin(2 * k * y)
    return jnp.asarray(np.stack([one, 0.09 * np.sin(2 * k * x) * np.sin(k * y)])), edge


@pytest.mark.parametrize("boundary", ["zero", "periodic"])
def test_exponential_is_the_flow(boundary):
    """Against the ODE through the velocity in closed form; order two in the spacing."""
    errors = {1: [], 3: []}
    for n in (24, 48):
        velocity, edge = smooth_velocity(n, boundary)
        spacing = jnp.full(2, edge[1] - edge[0])
        truth = flow(edge, boundary)
        options = dict(num_squarings=12, boundary=boundary)
        for order, found in errors.items():
            error = exponential(velocity, spacing, order=order, **options) - truth
            # at the ends cubic interpolation sees a corner: there velocities end
            inner = error if boundary == "periodic" else error[:, 2:-2, 2:-2]
            found.append(float(jnp.max(jnp.abs(inner))))
    assert errors[1][1] < 2e-3
    assert errors[3][1] < 2e-4
    assert np.log2(errors[3][0] / errors[3][1]) > 1.6
    # one and a half for linear interpolation, which blurs a little at each composition
    assert 1.2 < np.log2(errors[1][0] / errors[1][1]) < 2.2


def flow(edge, boundary):
    k = 2 * np.pi if boundary == "periodic" else np.pi
    start = np.stack(np.meshgrid(edge, edge, indexing="ij"))

    def rate(p):
        one = 0.06 * np.sin(k * p[0]) * np.sin(2 * k * p[1])
        return np.stack([one, 0.09 * np.sin(2 * k * p[0]) * np.sin(k * p[1])])

    p, dt = start, 1 / 64
    for _ in range(64):
        a = rate(p)
        b = rate(p + dt / 2 * a)
        c = rate(p + dt / 2 * b)
        p = p + dt / 6 * (a + 2 * b + 2 * c + rate(p + dt * c))
    return p - start


def test_laws_of_the_exponential():
    """It is a one-parameter group, and its inverse that of the opposite velocity."""
    spacing = jnp.array([1.0, 0.8])
    metric = GaussianGrid(spacing, 4.0)
    velocity = metric.root(0.5 * noise(3, 2, 24, 30))
    whole = exponential(velocity, spacing)
    half = exponential(velocity / 2, spacing, num_squarings=5)
    np.testing.assert_allclose(whole, compose(half, half, spacing), atol=1e-12)
    # parts of other lengths, which are not the squarings of the whole
    few, many = (exponential(t * velocity, spacing, order=3) for t in (0.3, 0.7))
    sum_of_both = compose(many, few, spacing, order=3)
    smooth = exponential(velocity, spacing, order=3)
    assert np.max(np.abs(sum_of_both - smooth)) < 0.02 * np.max(np.abs(smooth))
    assert np.max(np.abs(many - smooth)) > 0.1 * np.max(np.abs(smooth))
    for order, part in ((1, 0.06), (3, 0.02)):
        there, back = (exponential(sign * velocity, spacing, order=order) for sign in (1, -1))
        gap = compose(back, there, spacing, order=order)
        assert np.max(np.abs(gap)) < part * np.max(np.abs(whole))
    # O(2^-n) in the number of squarings
    best = exponential(velocity, spacing, num_squarings=9)
    errors = [
        float(jnp.max(jnp.abs(exponential(velocity, spacing, num_squarings=k) - best)))
        for k in (3, 4, 5)
    ]
    for coarse, fine in itertools.pairwise(errors):
        assert 1.6 < coarse / fine < 2.4
    with pytest.raises(InputError, match="num_squarings"):
        exponential(velocity, spacing, num_squarings=-1)


def whirl(n, divergence):
    """A periodic velocity of many whirls, its divergence as asked, on the unit square."""
    x, y = 2 * np.pi * np.indices((n, n)) / n
    # the derivatives of a stream function, turned; and a gradient
    velocity = np.stack([np.sin(x) * np.cos(2 * y) * 2, -np.cos(x) * np.sin(2 * y)])
    velocity = velocity + divergence * np.stack([np.sin(x), np.sin(y)])
    return jnp.asarray(0.04 * velocity), jnp.full(2, 1.0 / n)


@pytest.mark.parametrize("divergence", [0.0, 0.7])
def test_volumes_follow_the_divergence(divergence):
    """L7 and L24: log det is the divergence, summed on the way; without any, volumes stay."""

    @jax.jit
    def gap(velocity, spacing, rate):
        def flow(t):
            v = t * velocity
            return exponential(v, spacing, num_squarings=9, order=3, boundary="periodic")

        matrices = jacobian_matrices(flow(1.0), spacing, "periodic")
        times = (jnp.arange(8.0) + 0.5) / 8
        rates = jax.lax.map(lambda t: pull_back(rate, flow(t), spacing, ends="wrap"), times)
        return jnp.max(jnp.abs(jnp.log(determinants(matrices)) - jnp.mean(rates, axis=0)))

    gaps = []
    for n in (32, 64):
        velocity, spacing = whirl(n, divergence)
        wave = jnp.cos(2 * jnp.pi * jnp.arange(float(n)) / n)
        rate = 0.04 * divergence * 2 * np.pi * (wave[:, None] + wave[None, :])
        gaps.append(float(gap(velocity, spacing, rate)))
        assert largest(velocity / spacing[0]) > 2
    assert gaps[1] < 0.02
    assert np.log2(gaps[0] / gaps[1]) > 1.6
    if divergence:
        # the rate of another flow
        assert gap(velocity, spacing, -rate) > 0.2


@pytest.mark.slow
def test_mass_is_kept_to_second_order():
    """L24: the integral of a density that is pulled back with its determinant."""
    gaps, lost = [], 0.0
    for n in (24, 48):
        velocity, spacing = whirl(n, 0.7)
        x, y = 2 * np.pi * np.indices((n, n)) / n
        density = jnp.asarray(np.exp(np.cos(x - 1) + np.cos(y)))
        pull = exponential(velocity, spacing, boundary="periodic", order=3)
        det = determinants(jacobian_matrices(pull, spacing, "periodic"))
        moved = pull_back(density, pull, spacing, order=3, ends="wrap")
        gaps.append(abs(float(jnp.sum(moved * det) / jnp.sum(density)) - 1))
        lost = abs(float(jnp.sum(moved) / jnp.sum(density)) - 1)
        flat = pull_back(jnp.ones((n, n)), pull, spacing, order=3, ends="wrap")
        np.testing.assert_allclose(flat, 1, atol=1e-12)
    assert gaps[1] < 1e-3 < 1e-2 < lost
    assert np.log2(gaps[0] / gaps[1]) > 1.6


def test_derivative_of_the_exponential():
    spacing = jnp.array([1.0, 0.8])
    metric = GaussianGrid(spacing, 3.0)
    start, direction = (metric.root(0.6 * noise(k, 2, 8, 9)) for k in (4, 5))
    weights = noise(6, 2, 8, 9)

    @jax.jit
    def function(velocity):
        return jnp.sum(weights * exponential(velocity, spacing, num_squarings=4))

    slope = jnp.sum(jax.jit(jax.grad(function))(start) * direction)
    # a step that crosses no kink of the interpolation
    assert relative_error(slope, central_difference(function, start, direction, 1e-7)) < 1e-5


def test_pull_back_moves_the_other_way():
    """Values at x come from x + u(x): a bump moves against the displacement."""
    bump = jnp.zeros((1, 9)).at[0, 4].set(1.0)
    moved = pull_back(bump, jnp.full((1, 9), 0.5), jnp.array([0.25]))
    assert int(jnp.argmax(moved)) == 2
    cubic = pull_back(bump, jnp.full((1, 9), 0.5), jnp.array([0.25]), order=3)
    np.testing.assert_allclose(cubic, moved, atol=1e-12)
