"""Gates by name against their defining equations, and what is refused as a target."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import expm, sqrtm

from geojax._core import checks
from geojax._core.errors import InputError
from geojax.quantum import as_target, gate, local_strings
from geojax.quantum.gates import GATES, ROTATIONS

X, Y, Z = (gate(name) for name in "xyz")
ONE = np.eye(2)


def close(left, right, tolerance=1e-14):
    np.testing.assert_allclose(np.asarray(left), np.asarray(right), rtol=0, atol=tolerance)


@pytest.mark.parametrize("name", [*GATES, *ROTATIONS])
def test_every_gate_is_unitary(name):
    matrix = gate(name) if name in GATES else gate(name, 0.7)
    close(matrix.conj().T @ matrix, np.eye(len(matrix)))


def test_the_paulis_and_their_roots():
    close(X @ Y, 1j * Z)
    for root, power in (("s", "z"), ("t", "s"), ("sdg", "z"), ("sx", "x"), ("sqrtswap", "swap")):
        close(gate(root) @ gate(root), gate(power))
    close(gate("tdg") @ gate("t"), ONE)
    close(gate("h") @ X @ gate("h"), Z)


@pytest.mark.parametrize(("name", "generator"), [("rx", X), ("ry", Y), ("rz", Z)])
def test_rotations_are_exponentials(name, generator):
    close(gate(name, 0.7), expm(-0.35j * generator))
    close(gate(f"{name}(0.7)"), gate(name, 0.7), 0)


def test_the_leftmost_qubit_controls():
    close(gate("cx"), np.kron((ONE + Z) / 2, ONE) + np.kron((ONE - Z) / 2, X))
    close(gate("cs") @ gate("cs"), gate("cz"))
    close(gate("ccx"), np.kron((ONE + Z) / 2, np.eye(4)) + np.kron((ONE - Z) / 2, gate("cx")))
    close(gate("cswap"), np.kron((ONE + Z) / 2, np.eye(4)) + np.kron((ONE - Z) / 2, gate("swap")))
    close(gate("cp", np.pi / 2), gate("cs"))


def test_two_qubit_exchange():
    exchange = np.kron(X, X) + np.kron(Y, Y)
    close(gate("iswap"), expm(0.25j * np.pi * exchange))
    close(gate("sqrtswap"), np.round(sqrtm(gate("swap")), 12))


def test_the_fourier_transform_moves_shifts_to_phases():
    size = 8
    shift = np.roll(np.eye(size), 1, axis=0)
    phases = np.diag(np.exp(2j * np.pi * np.arange(size) / size))
    close(gate("qft3") @ shift, phases @ gate("qft3"))
    close(gate("qft2") @ gate("qft2"), np.eye(4)[[0, 3, 2, 1]])


def test_a_gate_is_the_callers_own():
    gate("x")[0, 0] = 7
    assert gate("x")[0, 0] == 0
    close(gate("toffoli"), gate("ccx"), 0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: gate("toffol"), "did you mean 'toffoli'"),
        (lambda: gate("rz"), "needs an angle"),
        (lambda: gate("rz(half)"), "'half' is no angle"),
        (lambda: gate("x", 0.5), "takes no angle"),
        (lambda: gate("rz", np.inf), "angle must be finite"),
        (lambda: as_target(np.ones((2, 2))), r"\|U'U - 1\| = .*det U"),
        (lambda: as_target(np.eye(3)), "2, 4, 8"),
        (lambda: as_target(np.eye(1)), "2, 4, 8"),
        (lambda: as_target(np.ones((2, 4))), "must be a square matrix"),
        (lambda: as_target([[1.0], [1.0, 2.0]]), "square matrix of numbers"),
        (lambda: as_target([["a", "b"], ["c", "d"]]), "square matrix of numbers"),
        (lambda: as_target(np.diag([1.0, np.nan])), "entry \\[1, 1\\] is"),
        (lambda: as_target("cnott", name="gate"), "did you mean 'cnot'"),
        (lambda: local_strings(2, 3), "at most the number of qubits"),
        (lambda: local_strings(3, coupling=[(0, 3)]), "entry 0 is \\(0, 3\\)"),
        (lambda: local_strings(3, coupling=[(0, 1), (1, 1)]), "different qubits .* entry 1 is"),
        (lambda: local_strings(3, coupling="01"), "pairs of qubits such as"),
        (lambda: local_strings(3, coupling=np.array([0, 1])), "entry 0 is 0"),
        (lambda: local_strings(3, 3, coupling=[(0, 1)]), "needs max_weight = 2"),
        (lambda: local_strings(40), "num_qubits = 40"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_the_memory_of_a_target_is_predicted(monkeypatch):
    monkeypatch.setattr(checks, "installed_memory", lambda: 10_000)
    with pytest.raises(InputError, match=r"num_qubits = 5.*327680 bytes"):
        as_target(np.eye(32))


def test_targets_are_special_unitary_and_the_same_gate(getkey):
    for matrix in (
        gate("toffoli"),
        gate("swap"),
        np.exp(0.4j) * gate("qft3"),
        np.eye(4, dtype=int),
    ):
        target = np.asarray(as_target(matrix))
        close(np.linalg.det(target), 1.0)
        overlap = np.trace(target.conj().T @ matrix) / len(matrix)
        close(abs(overlap), 1.0)
    # a determinant of -1 lies on the usual cut of the angle
    turned = np.exp(1e-9j) * gate("swap"), np.exp(-1e-9j) * gate("swap")
    close(as_target(turned[0]), as_target(turned[1]), 1e-8)


def test_rounding_of_a_target_is_mended(getkey):
    noise = 3e-8 * np.asarray(jax.random.normal(getkey(), (8, 8)))
    target = np.asarray(as_target(gate("toffoli") + noise))
    close(target.conj().T @ target, np.eye(8))
    assert as_target(gate("toffoli").astype(np.complex64)).dtype == jnp.complex64


def test_a_traced_target_is_the_same_and_differentiable():
    traced = jax.jit(as_target)(jnp.asarray(gate("swap")))
    close(traced, as_target("swap"))

    def phase(angle):
        return jnp.real(as_target(jnp.exp(1j * angle) * jnp.asarray(gate("cx")))[0, 0])

    close(jax.grad(phase)(0.3), 0.0)  # the phase is dropped


def test_local_strings_on_a_graph():
    assert len(local_strings(5)) == 15 + 90
    line = local_strings(3, coupling=[[1, 0], (1, 2), (0, 1)])
    assert line[:3] == ("XII", "YII", "ZII")
    assert "ZZI" in line
    assert "IXY" in line
    assert not [label for label in line if label[0] != "I" and label[2] != "I"]
    assert set(local_strings(3, 3)) == set(local_strings(3)) | {
        a + b + c for a in "XYZ" for b in "XYZ" for c in "XYZ"
    }
