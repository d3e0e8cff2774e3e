"""Coordinates of a search: inverse of each other, and round where the problem is linear."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from geojax.kernels import Gaussian
from geojax.matching import coordinates, match
from geojax.matching.coordinates import Coordinates, LowRank
from geojax.metrics import RKHS
from geojax.shapes import MMD, Landmarks

METRIC = RKHS(Gaussian(0.5))
BASE = jnp.asarray(np.random.default_rng(0).uniform(-1, 1, size=(150, 2)))


def hessian(fidelity, weight, shares, seen):
    """Of the objective of momenta that move points by `K p`, with its ridge."""
    kernel = METRIC.kernel(BASE, BASE) * seen[:, None] * seen[None]
    full = kernel + weight * kernel @ fidelity.curvature(BASE, shares) @ kernel
    return full + 1e-3 * jnp.trace(full) * jnp.eye(len(BASE))


@pytest.mark.parametrize("fidelity", [Landmarks(), MMD(0.4)])
@pytest.mark.slow
def test_some_columns_stand_for_all(fidelity):
    """Half of the points see all that the kernel sees; a few do not."""
    weight, count = jnp.asarray(50.0), len(BASE)
    full = hessian(fidelity, weight, jnp.full(count, 1 / count), jnp.ones(count))
    momenta = jnp.asarray(np.random.default_rng(1).normal(size=(count, 2)))
    errors = []
    for chosen in (5, 75):
        found = LowRank.of(METRIC, fidelity, weight, BASE, chosen=chosen)
        # twice the inverse root is the inverse
        solved = found.momentum(found.momentum(full @ momenta))
        errors.append(float(jnp.linalg.norm(solved - momenta) / jnp.linalg.norm(momenta)))
        np.testing.assert_allclose(found.momentum(found.coordinates(momenta)), momenta, atol=1e-9)
    # what G is of the chosen points is that of all but for the sampling
    assert errors[1] < 0.5 < 1.0 < errors[0]

    everything = LowRank.of(METRIC, fidelity, weight, BASE, chosen=count)
    solved = everything.momentum(everything.momentum(full @ momenta))
    np.testing.assert_allclose(solved, momenta, atol=1e-4)
    dense = Coordinates.of(METRIC, fidelity, weight, BASE)
    again = dense.momentum(dense.gradient(full @ momenta))
    np.testing.assert_allclose(again, momenta, atol=1e-9)


def test_gradient_is_that_in_the_coordinates():
    found = LowRank.of(METRIC, Landmarks(), jnp.asarray(50.0), BASE, chosen=30)
    momenta = jnp.asarray(np.random.default_rng(1).normal(size=BASE.shape))

    def value(p):
        return jnp.sum(jnp.sin(p))

    stated = found.gradient(jax.grad(value)(found.momentum(momenta)))
    exact = jax.grad(lambda a: value(found.momentum(a)))(momenta)
    np.testing.assert_allclose(stated, exact, atol=1e-12)


def test_padding_is_left_where_it_is():
    active = jnp.arange(len(BASE)) < 120
    padded = LowRank.of(METRIC, Landmarks(), jnp.asarray(50.0), BASE, active, chosen=150)
    alone = LowRank.of(METRIC, Landmarks(), jnp.asarray(50.0), BASE[:120], chosen=120)
    momenta = jnp.asarray(np.random.default_rng(1).normal(size=BASE.shape))
    momenta = jnp.where(active[:, None], momenta, 0.0)
    found = padded.momentum(momenta)
    np.testing.assert_allclose(found[:120], alone.momentum(momenta[:120]), rtol=1e-6)
    np.testing.assert_array_equal(found[120:], 0.0)


@pytest.mark.lenient
@pytest.mark.slow
def test_a_match_of_many_points_converges(monkeypatch):
    """Where no matrix is factored, at a weight that needs preconditioning."""
    monkeypatch.setattr(coordinates, "LARGEST_FACTOR", 100)
    monkeypatch.setattr(coordinates, "_CHOSEN", 60)
    target = BASE + 0.2 * jnp.sin(3 * BASE[:, ::-1])
    options = dict(metric=Gaussian(0.5), fidelity=MMD(0.3), weight=1e4, multiscale=0, num_steps=3)
    found = match(BASE, target, quality=False, **options)
    assert int(found.num_iterations) < 80
    assert float(found.residual) < 0.1 * float(MMD(0.3).distance(BASE, target))
