"""Conjugate points are counted: closed forms where they crowd, coarse steps, refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from geojax._core.errors import InputError
from geojax.metrics import PauliPenalty
from geojax.quantum import conjugate_points, lax

# one program for most of these tests
FINE = {"num_steps": 128, "most": 50}
PRICED = PauliPenalty(2, [1.0, 4.0])


def crowd(scale):
    """A momentum of two qubits at prices of one, and its conjugate points up to t = 1.

    Two fields vanish whenever the phases of two eigenvalues have parted by whole turns.
    """
    levels = scale * np.array([1.3, 0.41, -0.62, -1.09])
    gaps = [abs(a - b) for k, a in enumerate(levels) for b in levels[:k]]
    times = [2 * np.pi * turn / gap for gap in gaps for turn in range(1, 40)]
    return lax.coefficients(jnp.diag(levels.astype(complex))), np.sort([t for t in times if t <= 1])


def test_every_point_of_a_long_geodesic_however_near_to_another():
    momentum, truth = crowd(40.0)
    assert len(truth) == 49
    assert np.min(np.diff(truth)) < 1 / 500
    found = conjugate_points(PauliPenalty(2), momentum, **FINE)
    np.testing.assert_allclose(found.times[:49], truth, atol=1e-10)
    np.testing.assert_array_equal(found.multiplicities[:49], 2)
    assert not np.isfinite(found.times[49])
    assert found.multiplicities[49] == 0


def test_steps_follow_the_momentum():
    """By default as many as it takes; too few are refused, or NaN where they are seen too late."""
    momentum, truth = crowd(9.0)
    found = conjugate_points(PauliPenalty(2), momentum, most=10)
    np.testing.assert_allclose(found.times[:9], truth, atol=1e-10)
    with pytest.raises(InputError, match=r"num_steps must be at least 24 .* 23\.6 radians, but is"):
        conjugate_points(PauliPenalty(2), momentum, num_steps=21)

    @jax.jit
    def traced(momentum):
        return conjugate_points(PauliPenalty(2), momentum, num_steps=21, most=1)

    coarse = traced(momentum)
    assert np.isnan(coarse.times[0])
    assert np.isnan(coarse.lengths[0])
    assert np.isfinite(traced(momentum / 2).times[0])


def test_the_least_singular_value_vanishes_there_and_only_there():
    """At unequal prices, against the derivative of the geodesic itself."""
    draw = np.random.default_rng(0).normal(size=15)
    momentum = jnp.asarray(8 * draw / np.linalg.norm(draw))
    found = conjugate_points(PRICED, momentum, **FINE)
    np.testing.assert_array_equal(found.multiplicities[:3], [1, 1, 0])
    prices = 1.0 / PRICED.penalties[1:]

    @jax.jit
    def determinant(time):
        def end(m):
            return lax.geodesic(m, prices, num_steps=256, time=time)[-1]

        unitary, tangents = end(momentum), jax.jacfwd(end)(momentum)
        moved = jnp.einsum("ba,bcp->pac", jnp.conj(unitary), tangents)
        return jnp.linalg.det(jax.vmap(lambda t: lax.coefficients(1j * t))(moved) / time)

    for time in np.asarray(found.times[:2]):
        before, after = (float(determinant(time + s)) for s in (-1e-5, 1e-5))
        assert before * after < 0
        assert abs(float(determinant(time))) < 0.1 * abs(before)
    # between them and up to the end there is no other change of sign
    signs = np.sign([float(determinant(t)) for t in np.linspace(0.05, 1, 40)])
    assert np.count_nonzero(np.diff(signs)) == 2


def test_single_precision():
    momentum, truth = crowd(9.0)
    found = conjugate_points(PauliPenalty(2), momentum.astype(jnp.float32), num_steps=128, most=9)
    assert found.times.dtype == jnp.float32
    np.testing.assert_allclose(found.times, truth, atol=1e-4)
    np.testing.assert_array_equal(found.multiplicities, 2)
