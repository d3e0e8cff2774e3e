"""Circuits: lists of gates, what they do, what they cost, and the curves that they are."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from typing import Any

import jax
import numpy as np

from geojax._core import checks, pauli
from geojax._core.errors import InputError
from geojax.quantum.controls import Controls
from geojax.quantum.gates import ROTATIONS, as_target, gate, gate_name, shortest_log
from geojax.quantum.standard import decompose, qasm
from geojax.quantum.strings import spread


@dataclass(frozen=True)
class Operation:
    """A gate on some of the qubits.

    Attributes:
        name: name of a gate, or a word of Pauli letters such as `"XZ"`: the rotation
            `exp(-i angle/2 XZ)` with one letter for each of its qubits.
        qubits: which ones, in the order of the gate's factors.
        angle: in radians, for rotations.
    """

    name: str
    qubits: tuple[int, ...]
    angle: float | None = None

    @property
    def is_pauli(self) -> bool:
        """Whether this is a rotation about a Pauli string."""
        return not set(self.name) - set("XYZ")

    def matrix(self) -> np.ndarray:
        """The unitary on its own k qubits, `[2^k, 2^k]`."""
        if not self.is_pauli:
            return gate(self.name, self.angle)
        string = reduce(np.kron, [gate(letter.lower()) for letter in self.name])
        half = (self.angle or 0.0) / 2
        return np.cos(half) * np.eye(len(string)) - 1j * np.sin(half) * string


@dataclass(frozen=True)
class Circuit:
    """Gates one after another on n qubits; qubit 0 is the leftmost factor of the tensor product.

    Args:
        num_qubits: n.
        operations: `Operation`s, or their parts: `("h", 0)`, `("cx", (0, 1))`,
            `("rz", 2, 0.5)`, `("XZ", (0, 2), 0.5)`; the first one acts first.

    Raises:
        InputError: an unknown gate (the nearest name is told), qubits that there are not, that
            repeat or that are not as many as the gate has, or an angle too many or too few.

    Example:
        >>> bell = Circuit(2, [("h", 0), ("cx", (0, 1))])
        >>> bell.unitary()[:, 0].round(3).tolist()
        [(0.707+0j), 0j, 0j, (0.707+0j)]
        >>> bell.counts(), bell.depth()
        ({'h': 1, 'cx': 1}, 2)
    """

    num_qubits: int
    operations: tuple[Operation, ...] = ()

    def __init__(self, num_qubits: int, operations: Iterable[Any] = ()):
        n = pauli.check_num_qubits(num_qubits)
        if isinstance(operations, str) or not isinstance(operations, Iterable):
            raise InputError(
                f"Argument operations must be a list such as [('h', 0), ('cx', (0, 1))], but is "
                f"{operations!r}."
            )
        found = tuple(_operation(entry, k, n) for k, entry in enumerate(operations))
        object.__setattr__(self, "num_qubits", n)
        object.__setattr__(self, "operations", found)

    def unitary(self) -> np.ndarray:
        """The product of all gates, `[2^n, 2^n]`, with their phases."""
        n = self.num_qubits
        state = np.eye(2**n, dtype=complex).reshape((2,) * n + (2**n,))
        for operation in self.operations:
            k = len(operation.qubits)
            matrix = operation.matrix().reshape((2,) * (2 * k))
            state = np.tensordot(matrix, state, axes=(range(k, 2 * k), operation.qubits))
            state = np.moveaxis(state, range(k), operation.qubits)
        return state.reshape(2**n, 2**n)

    def counts(self) -> dict[str, int]:
        """How many gates of each name."""
        return dict(Counter(operation.name for operation in self.operations))

    def counts_by_size(self) -> dict[int, int]:
        """How many gates act on 1, 2, ... qubits."""
        sizes = Counter(len(operation.qubits) for operation in self.operations)
        return dict(sorted(sizes.items()))

    def depth(self) -> int:
        """Layers of gates, where gates on different qubits share a layer."""
        level = [0] * self.num_qubits
        for operation in self.operations:
            top = 1 + max(level[qubit] for qubit in operation.qubits)
            for qubit in operation.qubits:
                level[qubit] = top
        return max(level)

    def decomposed(self) -> "Circuit":
        """The same unitary, up to its phase, in gates of OpenQASM's standard library."""
        parts = [decompose(op.name, op.qubits, op.angle) for op in self.operations]
        return Circuit(self.num_qubits, [entry for part in parts for entry in part])

    def to_qasm(self) -> str:
        """The circuit as an OpenQASM 3 program in gates of its standard library.

        Reference: `[cross2022openqasm]`.
        """
        gates = self.decomposed().operations
        return qasm(self.num_qubits, [(op.name, op.qubits, op.angle) for op in gates])

    def curve(self) -> Controls:
        """The circuit as a curve in SU(2^n): each gate the shortest way, in equal times of 1 / K.

        A gate becomes the constant traceless Hamiltonian of least norm on its own qubits that
        makes it up to a phase. The length of the curve in a metric is a bound from above on the
        complexity of the circuit's unitary.

        Raises:
            InputError: a circuit without gates.

        Example:
            >>> from geojax.metrics import PauliPenalty
            >>> curve = Circuit(2, [("cx", (0, 1))]).curve()
            >>> curve.labels, round(float(curve.length(PauliPenalty(2))), 4)
            (('IX', 'ZI', 'ZX'), 1.3603)

        Reference: `[dowling2008geometry]`.
        """
        if not self.operations:
            raise InputError("The circuit holds no gates, so that its curve is a point; add some.")
        rows = [_hamiltonian(operation, self.num_qubits) for operation in self.operations]
        used = {label for row in rows for label in row}
        # a circuit of identities rests, but has to rest along some string
        labels = sorted(used) or [spread("Z", (0,), self.num_qubits)]
        count = len(rows)
        table = np.array([[count * row.get(label, 0.0) for label in labels] for row in rows])
        return Controls(table, labels)


def _operation(entry: Any, position: int, num_qubits: int) -> Operation:
    """A checked operation."""
    where = f"Operation {position} of the circuit"
    if isinstance(entry, Operation):
        name, qubits, angle = entry.name, entry.qubits, entry.angle
    elif isinstance(entry, tuple | list) and len(entry) in (2, 3):
        name, qubits, angle = (*entry, None)[:3]
    else:
        raise InputError(f"{where} must be like ('cx', (0, 1)), but is {entry!r}.")
    several = isinstance(qubits, tuple | list | np.ndarray)
    acted: tuple[Any, ...] = tuple(qubits) if several else (qubits,)
    if not acted or not all(pauli.is_qubit(qubit, num_qubits) for qubit in acted):
        raise InputError(
            f"{where}, {name!r}, acts on {qubits!r}, but the qubits are 0 to {num_qubits - 1}."
        )
    if len(set(acted)) < len(acted):
        raise InputError(f"{where}, {name!r}, acts twice on one qubit: {qubits!r}.")
    known = name if isinstance(name, str) and name and not set(name) - set("XYZ") else None
    turned = known is not None
    known = known or gate_name(name)
    if (turned or known in ROTATIONS) != (angle is not None):
        raise InputError(
            f"{where}, {name!r}, {'needs an' if angle is None else 'takes no'} angle in radians."
        )
    if angle is not None and np.ndim(angle):
        raise InputError(f"{where}, {name!r}, needs one angle, but was given {angle!r}.")
    angle = None if angle is None else float(checks.as_numbers(angle, f"angle of {name!r}"))
    size = len(known) if turned else len(gate(known, angle)).bit_length() - 1
    if size != len(acted):
        raise InputError(f"{where}, {name!r}, acts on {size} qubits, but is given {len(acted)}.")
    return Operation(known, tuple(int(qubit) for qubit in acted), angle)


def _hamiltonian(operation: Operation, num_qubits: int) -> dict[str, float]:
    """Coefficients by string of the shortest Hamiltonian that makes a gate in unit time."""
    if operation.is_pauli:
        # half the angle, up to a phase of -1
        turn = float(np.remainder((operation.angle or 0.0) / 2 + np.pi / 2, np.pi) - np.pi / 2)
        words, values = [operation.name], np.array([turn])
    else:
        words = pauli.labels(len(operation.qubits))
        values = np.asarray(_coefficients_of_log(as_target(operation.matrix())))
    # what rounding leaves of zero in a logarithm
    kept = np.abs(values) > 1e-6 * float(np.max(np.abs(values)))
    return {
        spread(word, operation.qubits, num_qubits): float(value)
        for word, value, keep in zip(words, values, kept)
        if keep
    }


@jax.jit
def _coefficients_of_log(unitary):
    return pauli.to_coefficients(shortest_log(unitary))
