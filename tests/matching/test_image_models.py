"""Models of a match of images: that geodesics, metamorphoses and networks are what they say."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from systems.numerics import central_difference, largest, relative_error

from geojax._core.errors import InputError
from geojax.flows.grids import compose
from geojax.matching import (
    Metamorphosis,
    NeuralVelocity,
    Shooting,
    TimeDependent,
    load_image_match,
    match_images,
)
from geojax.matching.images.levels import level_of, padded
from geojax.matching.images.problem import ImageProblem
from geojax.metrics import GaussianGrid
from geojax.networks import VelocityNetwork
from geojax.shapes import SSD, Image

# optax promotes inside
pytestmark = pytest.mark.lenient

X = np.stack(np.meshgrid(np.arange(20.0), np.arange(28.0), indexing="ij"), -1)


def bump(centre, width, stretch=1.0):
    x = (X - centre) * np.array([stretch, 1.0])
    return np.exp(-np.sum(x**2, -1) / (2 * width**2))


SOURCE = Image(bump((9.0, 13.0), 3.5))
TARGET = Image(bump((10.5, 14.0), 3.5, 0.8))
OPTIONS: dict = dict(affine=None, fidelity=SSD(), weight=1e5, metric=GaussianGrid([1.0, 1.0], 5.0))


def network():
    return VelocityNetwork(2, (12, 12), dtype=jnp.float64, rngs=nnx.Rngs(1))


@pytest.fixture(scope="module")
def geodesic():
    return match_images(SOURCE, TARGET, model=Shooting(), **OPTIONS)


def problem_of(model) -> ImageProblem:
    level = level_of(padded(SOURCE), padded(TARGET), np.eye(3))
    metric = GaussianGrid(np.asarray(level.spacing), [3.0, 6.0])
    return ImageProblem(model, metric, SSD(), jnp.asarray(300.0), level)


@pytest.mark.parametrize(
    "model",
    [
        Shooting(4),
        pytest.param(Metamorphosis(2.0, 4, 2), marks=pytest.mark.slow),
        NeuralVelocity(network(), num_steps=3),
    ],
)
def test_derivative_of_the_objective(model):
    problem = problem_of(model)
    start = problem.at_rest()
    keys = jax.random.split(jax.random.key(0), 2)
    at, way = (jax.random.normal(key, start.shape) for key in keys)
    at = start + 0.1 * at
    both = jax.jit(jax.value_and_grad(problem.objective))
    expected = central_difference(lambda x: both(x)[0], at, way, 1e-7)
    assert float(jnp.vdot(both(at)[1], way)) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.slow
def test_a_geodesic_is_found(geodesic):
    assert geodesic.folds == 0
    assert geodesic.residual < 0.1 * geodesic.residual_before
    assert geodesic.inverse_error < 0.1
    there = geodesic.apply(np.array([[9.0, 13.0]]))
    assert np.linalg.norm(there - [10.5, 14.0]) < 0.3
    assert geodesic.change is None


@pytest.mark.slow
def test_it_costs_what_a_path_free_at_each_time_costs(geodesic):
    """Up to the steps: the geodesic is the cheapest of all."""
    free = match_images(SOURCE, TARGET, model=TimeDependent(), **OPTIONS)
    assert float(geodesic.objective) == pytest.approx(float(free.objective), rel=0.12)


@pytest.mark.slow
def test_dear_metamorphosis_is_a_geodesic(geodesic):
    found = match_images(SOURCE, TARGET, model=Metamorphosis(1e6), **OPTIONS)
    assert largest(found.change) < 1e-3
    gap = np.linalg.norm(np.asarray(found.pull - geodesic.pull), axis=0)[6:-6, 6:-6]
    size = np.linalg.norm(np.asarray(geodesic.pull), axis=0)[6:-6, 6:-6]
    assert np.max(gap) < 0.1 * np.max(size)


@pytest.mark.slow
def test_what_is_new_changes_intensities(tmp_path):
    """A spot that the source has not is added where that is cheap, not carried there."""
    more = Image(3 * (np.asarray(TARGET.values) + 0.5 * bump((4.0, 21.0), 1.5)) + 100)
    source = Image(3 * np.asarray(SOURCE.values) + 100)
    found = match_images(source, more, model=Metamorphosis(20.0), **OPTIONS)
    change = np.asarray(found.moved.values) - np.asarray(found.warp(source).values)
    assert change[4, 21] > 0.7 * np.max(change) > 0.5
    assert largest(change[12:, :8]) < 0.2
    gap = np.mean((np.asarray(found.moved.values) - np.asarray(more.values)) ** 2)
    before = np.mean((np.asarray(source.values) - np.asarray(more.values)) ** 2)
    assert gap < 0.1 * before
    found.save(tmp_path)
    again = load_image_match(tmp_path)
    np.testing.assert_array_equal(again.moved.values, found.moved.values)


@pytest.mark.slow
def test_a_network_is_found():
    model = NeuralVelocity(network())
    found = match_images(SOURCE, TARGET, model=model, throw=False, max_iterations=60, **OPTIONS)
    assert found.folds == 0
    assert found.residual < 0.3 * found.residual_before
    # trajectories are followed without a grid, so the way back is nearly exact
    inside = compose(found.pull, found.push, jnp.ones(2))[:, 6:-6, 6:-6]
    assert largest(inside) < 0.05


def test_a_network_prices_its_trajectories():
    """A velocity that is the same everywhere costs its square over the image."""

    class Steady(nnx.Module):
        def __init__(self):
            self.velocity = nnx.Param(jnp.array([0.1, 0.0]))

        def __call__(self, t, x):
            return jnp.broadcast_to(self.velocity[...], x.shape)

    problem = problem_of(NeuralVelocity(Steady()))
    motion = problem.move(problem.at_rest())
    grid = problem.level.grid
    shift = 0.1 * grid[0] / 2
    np.testing.assert_allclose(motion.displacement[0], -shift, rtol=1e-12)
    np.testing.assert_allclose(motion.displacement[1], 0, atol=1e-12)
    np.testing.assert_allclose(motion.energy, 0.5 * shift**2 * np.prod(grid) / 36, rtol=1e-12)
    push = problem.move(problem.at_rest(), push=True)
    assert relative_error(push.displacement[0], -motion.displacement[0]) < 1e-12


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_a_network_lies_in_the_same_place_at_all_resolutions(factor):
    """The middle of the grid stays where a velocity grows from there."""

    class Growth(nnx.Module):
        def __init__(self):
            self.rate = nnx.Param(jnp.asarray(0.2))

        def __call__(self, t, x):
            return self.rate[...] * x

    model, n = NeuralVelocity(Growth()), 16 // factor
    metric = GaussianGrid([float(factor)] * 2, 8.0)
    pull = model.move(metric, model.at_rest((n, n), float), jnp.zeros((n, n))).displacement[0]
    x = factor * jnp.arange(n) + (factor - 1) / 2
    expected = (np.exp(-0.2) - 1) * (x - 7.5)
    np.testing.assert_allclose(pull[:, 0], expected, atol=2e-3)


class Tall(nnx.Module):
    """A network whose answer has more coordinates than its place."""

    def __call__(self, t, x):
        return jnp.concatenate([x, x], axis=-1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Shooting(0), "num_steps"),
        (lambda: Shooting(10, 3), "num_checkpoints must divide num_steps"),
        (lambda: Metamorphosis(-1.0), "price must be positive"),
        (lambda: Metamorphosis([1.0, 2.0]), "price must be one number"),
        (lambda: NeuralVelocity(3), "must be a flax nnx module"),
        (lambda: match_images(SOURCE, TARGET, model="shooting", throw=False), "model must be"),
        (lambda: NeuralVelocity(VelocityNetwork(3, rngs=nnx.Rngs(0))).check(2), "cannot be called"),
        (lambda: NeuralVelocity(Tall()).check(2), r"must give a velocity of shape \[1, 2\]"),
    ],
)
def test_bad_models(make, message):
    with pytest.raises(InputError, match=message):
        make()
