"""Gates in terms of those that OpenQASM's standard library has, and as its text.

Entries are `(name, qubits, angle)`. Everything is exact but for the global phase.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

Entry = tuple[str, tuple[int, ...], float | None]

STANDARD = frozenset(
    {"id", "x", "y", "z", "h", "s", "sdg", "t", "tdg", "sx", "rx", "ry", "rz", "p"}
    | {"cx", "cy", "cz", "cp", "swap", "ccx", "cswap"}
)

# What turns each letter into Z and back: V' Z V is the letter.
_INTO_Z = {"X": ("h",), "Y": ("sdg", "h"), "Z": ()}
_OUT_OF_Z = {"X": ("h",), "Y": ("h", "s"), "Z": ()}

_PARTS: dict[str, tuple[Entry, ...]] = {
    "cs": (("cp", (0, 1), math.pi / 2),),
    "ccz": (("h", (2,), None), ("ccx", (0, 1, 2), None), ("h", (2,), None)),
    "iswap": (
        ("s", (0,), None),
        ("s", (1,), None),
        ("h", (0,), None),
        ("cx", (0, 1), None),
        ("cx", (1, 0), None),
        ("h", (1,), None),
    ),
    "sqrtswap": (
        ("cx", (0, 1), None),
        ("h", (0,), None),
        ("cp", (1, 0), math.pi / 2),
        ("h", (0,), None),
        ("cx", (0, 1), None),
    ),
}


def decompose(name: str, qubits: Sequence[int], angle: float | None) -> list[Entry]:
    """One operation in standard gates."""
    if name in STANDARD:
        return [(name, tuple(qubits), angle)]
    if not set(name) - set("XYZ"):
        return _pauli_rotation(name, tuple(qubits), angle)
    parts = _fourier(len(qubits)) if name.startswith("qft") else _PARTS[name]
    return [(part, tuple(qubits[k] for k in on), turn) for part, on, turn in parts]


def _pauli_rotation(word: str, qubits: tuple[int, ...], angle: float | None) -> list[Entry]:
    """`exp(-i angle/2 word)`: turn every letter into Z, add up the parities, rotate, undo."""
    if len(word) == 1:
        return [(f"r{word.lower()}", qubits, angle)]
    pairs = list(zip(word, qubits))
    into: list[Entry] = [(g, (q,), None) for letter, q in pairs for g in _INTO_Z[letter]]
    out: list[Entry] = [(g, (q,), None) for letter, q in pairs for g in _OUT_OF_Z[letter]]
    ladder: list[Entry] = [("cx", pair, None) for pair in pairwise(qubits)]
    return [*into, *ladder, ("rz", qubits[-1:], angle), *ladder[::-1], *out]


def _fourier(num_qubits: int) -> list[Entry]:
    """The quantum Fourier transform, the leftmost qubit the most significant."""
    parts: list[Entry] = []
    for first in range(num_qubits):
        parts.append(("h", (first,), None))
        for second in range(first + 1, num_qubits):
            parts.append(("cp", (second, first), math.pi / 2 ** (second - first)))
    swaps = range(num_qubits // 2)
    return parts + [("swap", (k, num_qubits - 1 - k), None) for k in swaps]


def qasm(num_qubits: int, entries: Sequence[Entry]) -> str:
    """An OpenQASM 3 program; angles have all digits that a double has."""
    lines = [
        "OPENQASM 3.0;",
        'include "stdgates.inc";',
        "// q[0] is the leftmost factor of the tensor product",
        f"qubit[{num_qubits}] q;",
    ]
    for name, qubits, angle in entries:
        turn = "" if angle is None else f"({angle!r})"
        lines.append(f"{name}{turn} {', '.join(f'q[{qubit}]' for qubit in qubits)};")
    return "\n".join(lines) + "\n"
