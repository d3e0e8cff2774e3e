"""Arguments of the wrong kind are named, where annotations are not enforced as in these tests."""

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

from geojax._core.errors import InputError
from geojax.metrics import PauliPenalty
from geojax.quantum import (
    Circuit,
    Controls,
    as_target,
    conjugate_points,
    cut_time,
    fourier_pulses,
    gate,
    isotropic_distance,
    layer_sensitivity,
    load_controls,
    local_strings,
    nielsen_complexity,
    random_controls,
    shortest_controls,
    synthesise,
    trotterise,
)

METRIC = PauliPenalty(1)
CONTROLS = Controls([[0.3]], ["X"])
KEYS = {
    "number": 0,
    "old": np.zeros(2, np.uint32),
    "several": jax.random.split(jax.random.key(0), 2),
    "word": "0",
}


@pytest.fixture(autouse=True)
def as_users_run_it():
    """Without the checks of annotations."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
@pytest.mark.parametrize(
    "call",
    [
        lambda key: nielsen_complexity("x", METRIC, key=key),
        lambda key: shortest_controls("x", METRIC, key=key),
        lambda key: synthesise("x", key=key),
        lambda key: random_controls(1, 2, key),
    ],
    ids=["nielsen_complexity", "shortest_controls", "synthesise", "random_controls"],
)
def test_keys(call, key):
    with pytest.raises(InputError, match=r"key must be one random key, as jax.random.key\(0\)"):
        call(key)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nielsen_complexity(None, METRIC), "target must be a square matrix"),
        (lambda: nielsen_complexity("x", None), "metric must be a PauliPenalty"),
        (lambda: nielsen_complexity("x", METRIC, num_starts=None), "num_starts"),
        (
            lambda: nielsen_complexity("x", METRIC, tolerance=[1e-3, 1e-3]),
            "must be one number",
        ),
        (lambda: shortest_controls("x", None), "metric must be a PauliPenalty"),
        (lambda: shortest_controls("x", METRIC, tolerance="a"), "tolerance"),
        (lambda: shortest_controls("cx", METRIC), "metric's 1 qubits"),
        (lambda: conjugate_points(None, jnp.ones(3)), "metric must be a PauliPenalty"),
        (lambda: conjugate_points(METRIC, None), "momentum"),
        (lambda: conjugate_points(METRIC, jnp.ones(3), t1=None), "t1"),
        (lambda: cut_time("x", jnp.ones(3)), "metric must be a PauliPenalty"),
        (lambda: cut_time(METRIC, jnp.ones(3), t1=[1.0]), "t1 must be one number"),
        (lambda: synthesise("x", coupling=5), "coupling must be pairs"),
        (lambda: synthesise("x", ["X"], drift=5), "drift must be a Hermitian matrix"),
        (lambda: synthesise("x", ["X"], duration=[1.0, 2.0]), "duration must be one number"),
        (lambda: synthesise("x", ["X"], scale=None), "scale"),
        (lambda: jax.jit(lambda k: synthesise("x", max_iterations=k).fidelity)(3), "an integer"),
        (lambda: synthesise(None), "target must be a square matrix"),
        (lambda: Controls(None, ["X"]), "coefficients must hold numbers"),
        (lambda: Controls([[1.0]], None), "list of Pauli strings"),
        (lambda: Controls([[1.0]], ["X"], drift={"Z": [1.0, 2.0]}), "one number for each string"),
        (lambda: Controls.from_path(CONTROLS), "path must be a Path"),
        (lambda: CONTROLS.length(None), "metric must be a PauliPenalty"),
        (lambda: CONTROLS.energy(PauliPenalty(2)), "must price 1 qubits"),
        (lambda: CONTROLS.save(None), "controls: must be a path, but is"),
        (lambda: load_controls(5), "controls: must be a path, but is"),
        (lambda: trotterise(None), "path must be a Path"),
        (lambda: layer_sensitivity(None, METRIC, "X"), "controls must be Controls"),
        (lambda: layer_sensitivity(CONTROLS, 1.0, "X"), "metric must be a PauliPenalty"),
        (lambda: layer_sensitivity(CONTROLS, METRIC, None), "perturbation"),
        (lambda: random_controls(1, 2, jax.random.key(0), scale=[1.0, 2.0]), "scale .* one number"),
        (lambda: random_controls(None, 2, jax.random.key(0)), "num_qubits"),
        (lambda: Circuit(1, 5), "operations must be a list"),
        (lambda: Circuit(1, "h"), "operations must be a list"),
        (lambda: Circuit(None), "num_qubits"),
        (lambda: gate(None), "Gate None is not known"),
        (lambda: gate("rz", [0.5, 0.6]), "needs one angle"),
        (lambda: as_target(None), "target must be a square matrix"),
        (lambda: isotropic_distance(5), "target must be a square matrix"),
        (lambda: local_strings(2, None), "max_weight"),
        (lambda: fourier_pulses(None, 2), "num_slices"),
        (lambda: PauliPenalty(2, None), "penalties"),
        (lambda: PauliPenalty(2, coupling=5), "coupling must be pairs"),
    ],
)
def test_other_arguments(call, message):
    with pytest.raises(InputError, match=message):
        call()
