"""Principal components of momenta, against those of plain vectors and by their laws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from geojax._core.errors import InputError
from geojax.actions import Points, Unitaries
from geojax.geodesics import cometric, tangent_pca
from geojax.kernels import Gaussian
from geojax.metrics import RKHS, PauliPenalty

METRIC = RKHS(Gaussian(0.8))
STATE = jnp.asarray(np.random.default_rng(0).normal(size=(6, 2)))
MOMENTA = jnp.asarray(np.random.default_rng(1).normal(size=(5, 6, 2)) * np.arange(1, 7)[:, None])


def test_far_apart_landmarks_are_plain_vectors():
    apart = 100.0 * STATE
    found = tangent_pca(METRIC, Points(), apart, MOMENTA)
    rows = np.asarray(MOMENTA).reshape(5, -1)
    _, singular, right = np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)
    np.testing.assert_allclose(found.variances, singular[:4] ** 2 / 4, rtol=1e-10)
    np.testing.assert_allclose(found.explained, (singular**2 / np.sum(singular**2))[:4])
    overlap = np.sum(np.asarray(found.modes).reshape(4, -1) * right[:4], axis=1)
    np.testing.assert_allclose(np.abs(overlap), 1.0)
    # near each other they are not
    near = tangent_pca(METRIC, Points(), STATE, MOMENTA)
    assert not np.allclose(near.variances, found.variances, rtol=0.05)


def check_laws(metric, action, state, momenta):
    found = tangent_pca(metric, action, state, momenta)
    tangents = jax.vmap(lambda p: cometric(metric, action, state, p))(found.modes)
    count = found.modes.shape[0]
    flat, other = found.modes.reshape(count, -1), tangents.reshape(count, -1)
    gram = jnp.real(jnp.conj(flat) @ other.T)
    kept = int(jnp.sum(found.variances > 0))
    expected = np.diag([1.0] * kept + [0.0] * (count - kept))
    np.testing.assert_allclose(gram, expected, atol=1e-8)
    np.testing.assert_allclose(np.var(found.scores, axis=0, ddof=1), found.variances, atol=1e-9)
    assert np.all(np.diff(found.variances) <= 0)
    np.testing.assert_allclose(jnp.sum(found.explained), 1.0)
    largest = np.argmax(np.abs(found.scores), axis=0)
    assert np.all(np.asarray(found.scores)[largest, np.arange(count)] >= 0)
    return found


def test_laws_and_reconstruction():
    found = check_laws(METRIC, Points(), STATE, MOMENTA)
    for scores, momentum in zip(found.scores, MOMENTA, strict=True):
        np.testing.assert_allclose(found.momentum(scores), momentum, atol=1e-8)
    # of fewer modes, less
    assert not np.allclose(found.momentum(found.scores[0, :1]), MOMENTA[0], atol=0.1)
    few = tangent_pca(METRIC, Points(), STATE, MOMENTA, num_modes=2)
    np.testing.assert_allclose(few.modes, found.modes[:2])
    # a mode may be turned over, but not by the order of the momenta
    again = tangent_pca(METRIC, Points(), STATE, MOMENTA[::-1])
    np.testing.assert_allclose(again.modes, found.modes, atol=1e-8)


def test_about_the_state_itself():
    found = tangent_pca(METRIC, Points(), STATE, MOMENTA[:1], centre=False)
    tangent = cometric(METRIC, Points(), STATE, MOMENTA[0])
    np.testing.assert_allclose(found.variances[0], jnp.sum(MOMENTA[0] * tangent))
    np.testing.assert_array_equal(found.mean, jnp.zeros_like(STATE))


def test_equal_momenta_have_no_modes():
    found = tangent_pca(METRIC, Points(), STATE, jnp.stack([MOMENTA[0]] * 3))
    for x in (found.modes, found.scores, found.explained):
        np.testing.assert_array_equal(x, jnp.zeros_like(x))


def test_unitaries():
    action = Unitaries(2)
    rng = np.random.default_rng(2)
    state = jnp.eye(4, dtype=complex)
    draws = jnp.asarray(rng.normal(size=(4, 15)))
    momenta = jax.vmap(lambda c: action.covector(state, c))(draws)
    check_laws(PauliPenalty(2, 3.0), action, state, momenta)


def test_refusals():
    with pytest.raises(InputError, match="at least 2 momenta"):
        tangent_pca(METRIC, Points(), STATE, MOMENTA[:1])
    with pytest.raises(InputError, match=r"momenta\[0\] must have the shape of the state"):
        tangent_pca(METRIC, Points(), STATE, MOMENTA[:, :3])
    with pytest.raises(InputError, match="num_modes must be at most 4"):
        tangent_pca(METRIC, Points(), STATE, MOMENTA, num_modes=5)
    found = tangent_pca(METRIC, Points(), STATE, MOMENTA)
    with pytest.raises(InputError, match="at most 4 numbers"):
        found.momentum(np.ones(5))
