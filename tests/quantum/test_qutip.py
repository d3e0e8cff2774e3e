"""QuTiP's propagators and gates, with its own operators, against ours: an independent oracle.

Both put qubit 0 leftmost and solve `dU/dt = -i H U`; nothing of a Hamiltonian but its numbers and
the names of its strings comes from here.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from geojax.metrics import PauliPenalty
from geojax.quantum import Circuit, Controls, fourier_pulses, gate, lax, synthesise

qutip = pytest.importorskip("qutip")

EXACT = {"atol": 1e-13, "rtol": 1e-11, "nsteps": 100_000}
LETTERS = {"I": qutip.qeye(2), "X": qutip.sigmax(), "Y": qutip.sigmay(), "Z": qutip.sigmaz()}
LABELS = {
    1: ("X", "Z", "Y"),
    2: ("XI", "IY", "ZX"),
    3: ("XII", "IYZ", "ZIX", "XYZ"),
}
DRIFTS = {1: {"Z": 0.4}, 2: {"ZZ": 0.7, "YI": -0.3}, 3: {"ZZI": 0.5, "IXY": 0.2}}


def operator(values):
    """The sum of strings, by string, in QuTiP's operators."""
    return sum(
        value * qutip.tensor([LETTERS[letter] for letter in label])
        for label, value in values.items()
    )


def unlike(left, right) -> float:
    """How far two unitaries are from being one up to a phase."""
    return 1 - abs(np.vdot(left, right)) / len(left)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_slices_and_the_curve_between_them(n):
    rng = np.random.default_rng(n)
    values, durations = rng.normal(size=(3, len(LABELS[n]))), np.array([0.5, 1.25, 0.8])
    controls = Controls(values, LABELS[n], durations, drift=DRIFTS[n])
    found = np.asarray(controls.unitaries())
    state = qutip.tensor([qutip.qeye(2)] * n)
    for k, (row, duration) in enumerate(zip(values, durations)):
        slices = operator(DRIFTS[n]) + operator(dict(zip(LABELS[n], row)))
        state = qutip.propagator(slices, duration, options=EXACT) * state
        np.testing.assert_allclose(found[k + 1], state.full(), atol=1e-9)
    np.testing.assert_allclose(controls.unitary(), state.full(), atol=1e-9)
    # negative control: the qubits in the other order, the other sign of time
    if n > 1:
        assert unlike(found[-1], state.permute([*range(n)][::-1]).full()) > 1e-2
    assert unlike(found[-1], state.dag().full()) > 1e-2


def test_smooth_pulses_tend_to_time_dependent_hamiltonians():
    """The middle of each slice stands for it, so the error falls as the second power."""
    weights = np.random.default_rng(0).normal(size=(3, 3))
    labels, drift = LABELS[2], DRIFTS[2]
    terms = [operator(drift)]
    for label, column in zip(labels, weights.T):

        def pulse(t, column=column):
            return float(np.sin(np.pi * t * np.arange(1, 4)) @ column)

        terms.append([operator({label: 1.0}), pulse])
    truth = qutip.propagator(terms, 1.0, options=EXACT)
    errors = []
    for slices in (32, 64):
        controls = Controls(fourier_pulses(slices, 3) @ weights, labels, drift=drift)
        errors.append(np.linalg.norm(np.asarray(controls.unitary()) - truth.full(), 2))
    assert errors[1] < 2e-3
    assert 1.9 < np.log2(errors[0] / errors[1]) < 2.1
    # one state on its way, by QuTiP's solver of Schroedinger's equation
    start = qutip.basis([2, 2], [0, 1])
    states = qutip.sesolve(terms, start, [0.0, 0.5, 1.0], options=EXACT).states
    moved = np.asarray(controls.unitaries())[[32, 64]] @ start.full()
    for ours, theirs in zip(moved, states[1:]):
        assert np.linalg.norm(ours - theirs.full()) < 2e-3
    np.testing.assert_allclose(states[-1].full(), truth.full() @ start.full(), atol=1e-9)


def test_a_geodesic_is_driven_by_its_hamiltonian():
    metric, num_steps = PauliPenalty(2, [1.0, 6.0]), 64
    momentum = np.random.default_rng(3).normal(size=15)
    prices = np.asarray(metric.penalties[1:])
    unitaries = np.asarray(
        lax.geodesic(jnp.asarray(momentum), jnp.asarray(1 / prices), num_steps=num_steps)
    )
    strings = [operator({label: 1.0}) for label in metric.labels[1:]]
    body = operator(dict(zip(metric.labels[1:], momentum))).full()
    carried = unitaries @ body @ unitaries.conj().transpose(0, 2, 1)
    matrices = np.stack([string.full() for string in strings])
    pulses = np.einsum("sab,kba->ks", matrices, carried).real / 4 / prices
    times = np.linspace(0.0, 1.0, num_steps + 1)
    terms = [[string, pulse] for string, pulse in zip(strings, pulses.T)]
    truth = qutip.propagator(qutip.QobjEvo(terms, tlist=times), 1.0, options=EXACT)
    np.testing.assert_allclose(unitaries[-1], truth.full(), atol=1e-5)
    straight = (-1j * operator(dict(zip(metric.labels[1:], pulses[0])))).expm()
    assert unlike(unitaries[-1], straight.full()) > 1e-2  # negative control


class TestGates:
    @pytest.mark.parametrize(
        ("name", "theirs"),
        [
            ("h", qutip.gates.snot()),
            ("s", qutip.gates.s_gate()),
            ("t", qutip.gates.t_gate()),
            ("cx", qutip.gates.cnot()),
            ("cy", qutip.gates.cy_gate()),
            ("cz", qutip.gates.cz_gate()),
            ("cs", qutip.gates.cs_gate()),
            ("swap", qutip.gates.swap()),
            ("iswap", qutip.gates.iswap()),
            ("sqrtswap", qutip.gates.sqrtswap()),
            ("toffoli", qutip.gates.toffoli()),
            ("fredkin", qutip.gates.fredkin()),
            ("qft3", qutip.qft(8)),
            ("rx(0.7)", qutip.gates.rx(0.7)),
            ("ry(0.7)", qutip.gates.ry(0.7)),
            ("rz(0.7)", qutip.gates.rz(0.7)),
            ("p(0.7)", qutip.gates.phasegate(0.7)),
            ("cp(0.7)", qutip.gates.cphase(0.7)),
        ],
    )
    def test_by_name(self, name, theirs):
        np.testing.assert_allclose(gate(name), theirs.full(), atol=1e-14)

    def test_a_circuit_on_qubits_in_any_order(self):
        first = [("ccx", (2, 0, 1)), ("h", 1), ("cx", (2, 0)), ("cswap", (1, 2, 0))]
        last = [("rz", 2, 0.3), ("cp", (0, 2), 0.9), ("XYZ", (1, 2, 0), 0.7), ("ry", 0, -1.1)]
        circuit = Circuit(3, [*first, *last])
        one = qutip.qeye(2)
        # factor k of what is permuted is the qubit that a gate acts on: put it where it belongs
        steps = [
            qutip.gates.toffoli().permute([1, 2, 0]),
            qutip.tensor(one, qutip.gates.snot(), one),
            qutip.tensor(qutip.gates.cnot(), one).permute([1, 2, 0]),
            qutip.gates.fredkin().permute([2, 0, 1]),
            qutip.tensor(one, one, qutip.gates.rz(0.3)),
            qutip.tensor(qutip.gates.cphase(0.9), one).permute([0, 2, 1]),
            (-0.35j * operator({"ZXY": 1.0})).expm(),
            qutip.tensor(qutip.gates.ry(-1.1), one, one),
        ]
        truth = qutip.tensor(one, one, one)
        for step in steps:
            truth = step * truth
        np.testing.assert_allclose(circuit.unitary(), truth.full(), atol=1e-13)
        # and as a curve, and in standard gates, up to a phase
        assert unlike(np.asarray(circuit.curve().unitary()), truth.full()) < 1e-12
        assert unlike(circuit.decomposed().unitary(), truth.full()) < 1e-12


def test_a_synthesised_pulse_makes_the_gate():
    """From a coupling that is always on and bounded drives of single qubits."""
    found = synthesise(
        "iswap",
        ["XI", "YI", "IX", "IY"],
        drift={"ZZ": 1.0, "XX": 0.3},
        bound=8.0,
        duration=2.5,
        num_slices=10,
        num_starts=4,
        batch_size=4,
        key=jax.random.key(0),
    )
    controls = found.controls()
    assert float(jnp.max(jnp.abs(controls.coefficients))) < 8.0
    state = qutip.tensor(LETTERS["I"], LETTERS["I"])
    for row, duration in zip(np.asarray(controls.coefficients), np.asarray(controls.durations)):
        drive = operator({"ZZ": 1.0, "XX": 0.3} | dict(zip(controls.labels, row)))
        state = qutip.propagator(drive, float(duration), options=EXACT) * state
    fidelity = abs(np.vdot(qutip.gates.iswap().full(), state.full())) ** 2 / 16
    assert fidelity > 1 - 1.1e-6
    assert abs(fidelity - float(found.fidelity[0])) < 1e-9
    average = qutip.average_gate_fidelity(state, qutip.gates.iswap())
    assert abs(average - (4 * fidelity + 1) / 5) < 1e-9
