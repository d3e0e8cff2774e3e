"""Circuits: their unitaries, counts and curves, product formulas, and OpenQASM read back."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from geojax._core.errors import InputError
from geojax.metrics import PauliPenalty
from geojax.quantum import Circuit, Controls, Operation, gate, trotterise
from geojax.quantum.gates import GATES, ROTATIONS


def qubits_of(matrix) -> tuple[int, ...]:
    return tuple(range(len(matrix).bit_length() - 1))


def unlike(left, right) -> float:
    """How far two unitaries are from being one up to a phase."""
    return 1 - abs(np.vdot(left, right)) / len(left)


@pytest.fixture
def crowd() -> Circuit:
    """Every gate and some rotations on three qubits, in odd orders."""
    names = [name for name in GATES if name not in ("qft4", "qft5")]
    operations = [
        (n, np.roll((2, 0, 1), k)[: len(qubits_of(gate(n)))]) for k, n in enumerate(names)
    ]
    turned = [("rx", 2, 0.3), ("ry", 0, -1.1), ("rz", 1, 2.0), ("p", 1, 0.4), ("cp", (2, 0), 0.9)]
    words = [("XYZ", (1, 2, 0), 0.7), ("YY", (2, 0), -0.2), ("ZX", (0, 1), 5.0), ("Y", 1, 0.6)]
    return Circuit(3, [*operations, *turned, *words])


class TestUnitary:
    def test_gates_on_the_right_qubits(self):
        swapped = Circuit(2, [("cx", (1, 0))]).unitary()
        np.testing.assert_allclose(swapped, np.eye(4)[[0, 3, 2, 1]])
        np.testing.assert_allclose(
            Circuit(3, [("h", 1)]).unitary(), np.kron(np.kron(np.eye(2), gate("h")), np.eye(2))
        )
        np.testing.assert_allclose(Circuit(3, [("ccx", (0, 1, 2))]).unitary(), gate("toffoli"))

    def test_order_of_the_gates(self):
        np.testing.assert_allclose(
            Circuit(1, [("h", 0), ("s", 0)]).unitary(), gate("s") @ gate("h")
        )
        three = Circuit(2, [("cx", (0, 1)), ("cx", (1, 0)), ("cx", (0, 1))])
        np.testing.assert_allclose(three.unitary(), gate("swap"), atol=1e-15)

    def test_the_textbook_toffoli(self):
        operations = [
            ("h", 2),
            ("cx", (1, 2)),
            ("tdg", 2),
            ("cx", (0, 2)),
            ("t", 2),
            ("cx", (1, 2)),
        ]
        operations += [("tdg", 2), ("cx", (0, 2)), ("t", 1), ("t", 2), ("h", 2), ("cx", (0, 1))]
        operations += [("t", 0), ("tdg", 1), ("cx", (0, 1))]
        circuit = Circuit(3, operations)
        np.testing.assert_allclose(circuit.unitary(), gate("toffoli"), atol=1e-14)
        assert circuit.counts() == {"h": 2, "cx": 6, "tdg": 3, "t": 4}
        assert circuit.counts_by_size() == {1: 9, 2: 6}
        assert circuit.depth() == 11

    def test_a_word_is_a_rotation(self):
        np.testing.assert_allclose(
            Circuit(2, [("Z", 1, 0.7)]).unitary(), np.kron(np.eye(2), gate("rz", 0.7))
        )
        exchange = Circuit(2, [("XX", (0, 1), -np.pi / 2), ("YY", (0, 1), -np.pi / 2)])
        np.testing.assert_allclose(exchange.unitary(), gate("iswap"), atol=1e-15)


@pytest.mark.parametrize("name", sorted({*GATES, *ROTATIONS} - {"qft5"}))
def test_decomposition_of_every_gate(name):
    matrix = gate(name) if name in GATES else gate(name, 0.7)
    qubits = qubits_of(matrix)
    circuit = Circuit(len(qubits), [(name, qubits) if name in GATES else (name, qubits, 0.7)])
    assert unlike(circuit.decomposed().unitary(), matrix) < 1e-14
    assert not set(circuit.decomposed().counts()) & {"cs", "ccz", "iswap", "sqrtswap", "qft3"}


class TestQasm:
    """A reader of the subset that is written, over the matrices of the OpenQASM specification."""

    @staticmethod
    def general(theta, phi, lam):
        c, s = np.cos(theta / 2), np.sin(theta / 2)
        return np.array(
            [[c, -np.exp(1j * lam) * s], [np.exp(1j * phi) * s, np.exp(1j * (phi + lam)) * c]]
        )

    def standard(self, name, angle):
        """Number of controls and the matrix on the last qubits, up to a phase without controls."""
        pi, u = np.pi, self.general
        single = {
            "id": (0, 0, 0),
            "x": (pi, 0, pi),
            "y": (pi, pi / 2, pi / 2),
            "z": (0, 0, pi),
            "h": (pi / 2, 0, pi),
            "s": (0, 0, pi / 2),
            "sdg": (0, 0, -pi / 2),
            "t": (0, 0, pi / 4),
            "tdg": (0, 0, -pi / 4),
            "sx": (pi / 2, -pi / 2, pi / 2),
            "p": (0, 0, angle),
            "rx": (angle, -pi / 2, pi / 2),
            "ry": (angle, 0, 0),
            "rz": (0, 0, angle),
        }
        if name in single:
            return 0, u(*single[name])
        if name.endswith("swap"):
            return len(name) - 4, np.eye(4)[[0, 2, 1, 3]]
        controls = len(name) - len(name.lstrip("c"))
        return controls, u(*single[name.lstrip("c")])

    def run(self, text):
        lines = [line for line in text.splitlines() if not line.startswith("//")]
        assert lines[:2] == ["OPENQASM 3.0;", 'include "stdgates.inc";']
        (n,) = (int(v) for v in re.fullmatch(r"qubit\[(\d+)\] q;", lines[2]).groups())
        state = np.eye(2**n, dtype=complex)
        for line in lines[3:]:
            name, _, angle, where = re.fullmatch(r"(\w+)(\((.*)\))? (.*);", line).groups()
            qubits = [int(re.fullmatch(r"q\[(\d+)\]", word).group(1)) for word in where.split(", ")]
            controls, matrix = self.standard(name, float(angle or 0))
            full = np.zeros((2**n, 2**n), complex)
            for column in range(2**n):
                bits = [column >> (n - 1 - q) & 1 for q in range(n)]
                acted = qubits[controls:]
                if not all(bits[q] for q in qubits[:controls]):
                    full[column, column] = 1
                    continue
                inside = int("".join(str(bits[q]) for q in acted), 2)
                for row in range(len(matrix)):
                    for q, bit in zip(acted, f"{row:0{len(acted)}b}"):
                        bits[q] = int(bit)
                    full[int("".join(map(str, bits)), 2), column] += matrix[row, inside]
            state = full @ state
        return state

    def test_every_gate_is_read_back(self, crowd):
        text = crowd.to_qasm()
        assert unlike(self.run(text), crowd.unitary()) < 1e-13

    def test_the_reader_sees_a_wrong_angle_and_a_wrong_qubit(self, crowd):
        text = crowd.to_qasm()
        assert unlike(self.run(text.replace("(0.9)", "(0.8)")), crowd.unitary()) > 1e-4
        assert (
            unlike(self.run(text.replace("ry(0.6) q[1]", "ry(0.6) q[2]")), crowd.unitary()) > 1e-2
        )

    def test_the_text(self):
        text = Circuit(2, [("h", 0), ("cx", (0, 1)), ("rz", 1, 0.25)]).to_qasm()
        assert text.splitlines()[3:] == [
            "qubit[2] q;",
            "h q[0];",
            "cx q[0], q[1];",
            "rz(0.25) q[1];",
        ]


@pytest.fixture(scope="module")
def controls() -> Controls:
    coefficients = jax.random.normal(jax.random.key(3), (3, 4))
    return Controls(coefficients, ["XII", "ZZI", "IYX", "IIZ"], 0.4, drift={"IZZ": 0.5})


class TestProductFormulas:
    @pytest.mark.parametrize("order", [1, 2])
    def test_slope_of_the_error(self, controls, order):
        formulas = [trotterise(controls, order, steps) for steps in (4, 8, 16)]
        errors = np.array([formula.error for formula in formulas])
        slopes = -np.diff(np.log2(errors))
        np.testing.assert_allclose(slopes, order, atol=0.06)
        assert [round(formula.step, 12) for formula in formulas] == [0.1, 0.05, 0.025]

    def test_the_error_is_that_of_the_unitary(self, controls):
        formula = trotterise(controls, 2, 2)
        difference = formula.circuit.unitary() - np.asarray(controls.unitary())
        assert abs(formula.error - np.linalg.svd(difference)[1][0]) < 1e-14
        assert formula.error > 1e-3

    def test_commuting_strings_are_exact_in_one_step(self):
        commuting = Controls([[0.3, -1.2, 0.8]], ["XXI", "ZZI", "IIY"], 1.0)
        formula = trotterise(commuting, 1)
        assert formula.error < 1e-14
        assert len(formula.circuit.operations) == 3
        assert trotterise(Controls([[0.3]], ["Z"], 1.0)).error < 1e-14

    def test_rounding_makes_no_gates(self):
        """A path that turns about one string has noise along the others."""
        noise = 1e-9 * np.random.default_rng(0).normal(size=(2, 15))
        noise[:, 3] += 0.4
        labels = PauliPenalty(2).labels[1:]
        formula = trotterise(Controls(noise, labels, 1.0, drift={"ZZ": 1e-10, "XX": 0.2}))
        assert set(formula.circuit.counts()) == {"X", "XX"}
        assert 1e-10 < formula.error < 1e-7  # measured with what was left out

    def test_halves_that_meet_are_one_rotation(self):
        # a b b a a b b a
        controls = Controls([[0.3, 0.4]], ["XI", "ZZ"], 1.0)
        angles = [op.angle for op in trotterise(controls, 2, 2).circuit.operations]
        np.testing.assert_allclose(angles, [0.15, 0.4, 0.3, 0.4, 0.15])

    @pytest.mark.parametrize(
        ("order", "steps", "message"),
        [(3, 1, "order must be 1 or 2"), (True, 1, "order must be 1 or 2"), (2, 0, "num_steps")],
    )
    def test_refusals(self, controls, order, steps, message):
        with pytest.raises(InputError, match=message):
            trotterise(controls, order, steps)


class TestCurve:
    def test_the_curve_ends_at_the_circuit(self, crowd):
        curve = crowd.curve()
        assert curve.num_slices == len(crowd.operations)
        assert unlike(np.asarray(curve.unitary()), crowd.unitary()) < 1e-12
        np.testing.assert_allclose(curve.times[-1], 1.0)

    @pytest.mark.parametrize(
        ("name", "length"),
        [
            ("z", np.pi / 2),
            ("t", np.pi / 8),
            ("h", np.pi / 2),
            # half the spread of the angles about their mean: pi times sqrt(p (1 - p))
            ("cx", np.pi * np.sqrt(3) / 4),
            ("swap", np.pi * np.sqrt(3) / 4),
            ("toffoli", np.pi * np.sqrt(7) / 8),
            ("fredkin", np.pi * np.sqrt(7) / 8),
            ("iswap", np.pi / np.sqrt(8)),
        ],
    )
    def test_each_gate_goes_the_shortest_way(self, name, length):
        n = len(qubits_of(gate(name)))
        curve = Circuit(n, [(name, (*range(n),))])
        found = curve.curve().length(PauliPenalty(n))
        assert abs(float(found) - length) < 1e-7

    def test_a_rotation_wraps_around(self):
        metric = PauliPenalty(2)
        for angle in (0.4, 0.4 + 2 * np.pi, 0.4 - 4 * np.pi):
            curve = Circuit(2, [("XX", (0, 1), angle)]).curve()
            assert curve.labels == ("XX",)
            assert abs(float(curve.length(metric)) - 0.2) < 1e-12

    def test_a_circuit_of_identities_rests(self):
        curve = Circuit(2, [("id", 0), ("XX", (0, 1), 0.0)]).curve()
        assert float(jnp.max(jnp.abs(curve.coefficients))) == 0.0
        with pytest.raises(InputError, match="holds no gates"):
            Circuit(2).curve()

    def test_the_lengths_of_the_gates_add_up(self):
        circuit = Circuit(3, [("cx", (0, 1)), ("z", 2), Operation("ccx", (2, 0, 1))])
        lengths = np.pi * (np.sqrt(3) / 4 + 1 / 2 + np.sqrt(7) / 8)
        assert abs(float(circuit.curve().length(PauliPenalty(3))) - lengths) < 1e-6


@pytest.mark.parametrize(
    ("operation", "message"),
    [
        ("h", "must be like"),
        (("hh", 0), "did you mean 'h'"),
        (("h", 3), "acts on 3, but the qubits are 0 to 2"),
        (("cx", (0, 1.0)), "the qubits are 0 to 2"),
        (("cx", (1, 1)), "twice on one qubit"),
        (("cx", (0, 1, 2)), "acts on 2 qubits, but is given 3"),
        (("XY", 0, 0.5), "acts on 2 qubits, but is given 1"),
        (("rz", 0), "needs an angle"),
        (("XX", (0, 1)), "needs an angle"),
        (("h", 0, 0.5), "takes no angle"),
        (("rz", 0, [0.5]), "needs one angle"),
        (("rz", 0, np.nan), "must be finite"),
        ((3, 0), "Gate 3 is not known"),
    ],
)
def test_refusals_of_circuits(operation, message):
    with pytest.raises(InputError, match=message):
        Circuit(3, [operation])
