"""Random circuits, and what faults in their layers cost."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from systems.groups import pauli_string

from geojax._core.errors import InputError
from geojax.metrics import PauliPenalty
from geojax.quantum import layer_sensitivity, random_controls


def test_early_faults_cost_the_mean_price():
    """Theory: 7.43 for three qubits at q = 16, and 1 for the last layer."""
    metric = PauliPenalty(3, 16.0)
    keys = jax.random.split(jax.random.key(0), 20)

    def profile(key):
        return layer_sensitivity(random_controls(3, 40, key, scale=0.12), metric, "XII")

    found = jnp.mean(jax.vmap(profile)(keys), axis=0)
    mean = float(jnp.mean(metric.penalties[1:]))
    assert abs(mean - 7.43) < 0.01
    assert abs(float(jnp.mean(found[:30])) - mean) < 0.2
    assert abs(float(found[-1]) - 1) < 1e-12
    assert np.all(np.diff(found[-4:]) < 0)
    # negative control: with one price for all, no layer stands out
    flat = layer_sensitivity(random_controls(3, 40, keys[0]), PauliPenalty(3), "XII")
    assert np.max(np.abs(flat - 1)) < 1e-12


def test_draws():
    found = random_controls(2, 400, jax.random.key(1), scale=0.3)
    assert found.labels[:3] == ("XI", "YI", "ZI")
    assert abs(float(jnp.std(found.coefficients)) - 0.3) < 0.01
    again = random_controls(2, 400, jax.random.key(1), scale=0.3)
    assert np.array_equal(found.coefficients, again.coefficients)
    assert random_controls(1, 2, jax.random.key(0), generators=["X"]).labels == ("X",)


def test_bad_input():
    controls, metric = random_controls(2, 3, jax.random.key(0)), PauliPenalty(2)
    matrix = pauli_string("XI")
    assert np.allclose(
        layer_sensitivity(controls, metric, matrix), layer_sensitivity(controls, metric, "XI")
    )
    with pytest.raises(InputError, match="qubits"):
        layer_sensitivity(controls, PauliPenalty(3), "XI")
    for bad in (np.eye(2, dtype=complex), np.eye(4), np.triu(np.ones((4, 4)), 1)):
        with pytest.raises(InputError, match="perturbation"):
            layer_sensitivity(controls, metric, bad)
    forbidding = PauliPenalty(2, {"XX": np.inf})
    assert np.isinf(controls.length(forbidding))
    local = random_controls(2, 3, jax.random.key(0), generators=["XI", "IZ"])
    assert abs(float(local.length(forbidding) - local.length(metric))) < 1e-12
    with pytest.raises(InputError, match="perturbation"):
        layer_sensitivity(controls, metric, "XQ")
    with pytest.raises(InputError, match="scale"):
        random_controls(2, 3, jax.random.key(0), scale=-1.0)
