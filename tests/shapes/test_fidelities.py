"""Fidelities: distances that vanish on equal shapes only, with exact gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from systems.numerics import central_difference

from geojax._core.errors import InputError
from geojax.kernels import Gaussian, Sum
from geojax.shapes import MMD, Landmarks, Sinkhorn

pytestmark = pytest.mark.lenient

RNG = np.random.default_rng(0)
X, Y = jnp.asarray(RNG.normal(size=(12, 2))), jnp.asarray(0.7 * RNG.normal(size=(15, 2)) + 0.5)
CLOUDS = {
    "mmd": MMD(1.0),
    "mmd of scales": MMD(Sum([Gaussian(0.5), Gaussian(2.0)])),
    "sinkhorn": Sinkhorn(0.5, threshold=1e-9),
}


@pytest.mark.parametrize("name", CLOUDS)
def test_clouds(name):
    fidelity = CLOUDS[name]
    value = jax.jit(lambda x, y: fidelity(x, y))
    assert float(value(X, Y)) > 0
    assert abs(float(value(X, X[::-1]))) < 1e-8
    turn = jnp.array([[0.6, -0.8], [0.8, 0.6]])
    moved = value((X @ turn)[::-1] + 3.0, Y @ turn + 3.0)
    np.testing.assert_allclose(moved, value(X, Y), rtol=1e-6)
    gradients = jax.jit(jax.grad(value, argnums=(0, 1)))(X, Y)
    for k, gradient in enumerate(gradients):
        direction = jnp.asarray(RNG.normal(size=gradient.shape))

        def along(z, k=k):
            return value(z, Y) if k == 0 else value(X, z)

        numeric = central_difference(along, (X, Y)[k], direction, 1e-5)
        np.testing.assert_allclose(jnp.sum(gradient * direction), numeric, rtol=1e-4)
        assert abs(float(jnp.sum(-gradient * direction) - numeric)) > 1e-3  # the sign counts


def test_landmarks_measure_the_root_mean_square():
    np.testing.assert_allclose(Landmarks().distance(X, X + jnp.array([[3.0, 4.0]])), 5.0)
    gradient = jax.grad(lambda x: Landmarks().distance(x, X))(X)
    assert np.all(np.asarray(gradient) == 0)
    with pytest.raises(InputError, match="12 and 15"):
        Landmarks().check(X, Y)


def test_mmd_is_the_kernel_formula():
    kernel = Gaussian(1.0)
    dense = kernel(X, X).mean() + kernel(Y, Y).mean() - 2 * kernel(X, Y).mean()
    np.testing.assert_allclose(MMD(kernel)(X, Y), 0.5 * dense, rtol=1e-12)


def test_a_translation_costs_its_length():
    """W2 of a shifted cloud is the shift; the divergence of equal shapes has no entropic bias."""
    shift = jnp.array([[3.0, -4.0]])
    np.testing.assert_allclose(Sinkhorn(0.5, threshold=1e-9).distance(X, X + shift), 5.0, rtol=1e-6)
