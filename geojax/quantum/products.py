"""From a curve to gates: product formulas, with their error."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from geojax._core import checks, pauli
from geojax._core.errors import InputError
from geojax.flows import Path
from geojax.quantum.circuits import Circuit, Operation
from geojax.quantum.controls import Controls, without_noise
from geojax.quantum.strings import indices


class ProductFormula(NamedTuple):
    """A circuit of Pauli rotations that stands for a curve.

    Attributes:
        circuit: the rotations.
        error: largest singular value of the difference between the circuit's unitary and that of
            the curve, so that no state comes out further off than this.
        step: duration of the longest step that was split.
    """

    circuit: Circuit
    error: float
    step: float


def trotterise(curve: Controls | Path, order: int = 2, num_steps: int = 1) -> ProductFormula:
    """Turn a curve into rotations about single Pauli strings, one string after another.

    A slice is cut into `num_steps` steps, and the exponential of the sum of strings in each step
    is replaced by the product of their exponentials: in the order of the labels (order 1), or
    there and back in half angles (order 2). The error falls as the first or second power of the
    step, and vanishes where the strings of a slice commute. What rounding leaves of zero makes no
    gates (see `Controls.pruned`).

    Args:
        curve: controls, or a path of unitaries (see `Controls.from_path`).
        order: 1 or 2.
        num_steps: steps for each slice.

    Returns:
        The circuit with its error, which is measured, not estimated.

    Raises:
        InputError: another order, no steps, a path of something else, or what is no curve.

    Example:
        >>> import jax.numpy as jnp
        >>> controls = Controls(jnp.array([[0.3, 0.4]]), ["XI", "ZZ"], 1.0)
        >>> formula = trotterise(controls, order=1)
        >>> [(op.name, op.qubits, op.angle) for op in formula.circuit.operations]
        [('X', (0,), 0.6), ('ZZ', (0, 1), 0.8)]

    Reference: `[childs2021theory]`.
    """
    if order not in (1, 2) or isinstance(order, bool):
        raise InputError(f"Argument order must be 1 or 2, but is {order!r}.")
    steps = checks.count(num_steps, "num_steps")
    controls = curve if isinstance(curve, Controls) else Controls.from_path(curve)
    rows, labels = _all_terms(controls)
    operations: list[Operation] = []
    for row, duration in zip(rows, np.asarray(controls.durations, float)):
        angles = [(k, 2 * row[k] * duration / steps) for k in np.flatnonzero(row)]
        if order == 2:
            angles = [(k, angle / 2) for k, angle in angles]
            angles = angles + angles[::-1]
        for k, angle in angles * steps:
            _append(operations, labels[k], float(angle))
    circuit = Circuit(controls.num_qubits, operations)
    difference = circuit.unitary() - np.asarray(controls.unitary())
    longest = float(jnp.max(controls.durations)) / steps
    return ProductFormula(circuit, float(np.linalg.norm(difference, 2)), longest)


def _all_terms(controls: Controls) -> tuple[np.ndarray, list[str]]:
    """Coefficients of all strings that occur, those of the drift included: `[K, T]`."""
    rows, labels = np.asarray(controls.coefficients), list(controls.labels)
    if controls.drift is None:
        return without_noise(rows).astype(float), labels
    drift = without_noise(np.asarray(pauli.to_coefficients(controls.drift)))
    rows = rows + drift[indices(labels)]
    drift[indices(labels)] = 0.0
    others = np.flatnonzero(drift)
    names = pauli.labels(controls.num_qubits)
    constant = np.broadcast_to(drift[others], (len(rows), len(others)))
    rows = without_noise(np.concatenate([rows, constant], axis=1))
    return rows.astype(float), labels + [names[k] for k in others]


def _append(operations: list[Operation], label: str, angle: float) -> None:
    """Add a rotation, or add it to the last one if that is about the same string."""
    qubits = tuple(k for k, letter in enumerate(label) if letter != "I")
    word = label.replace("I", "")
    if operations and operations[-1].qubits == qubits and operations[-1].name == word:
        angle += operations.pop().angle or 0.0
    operations.append(Operation(word, qubits, angle))
