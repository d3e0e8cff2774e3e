"""Pauli strings by name: which there are, which act on few qubits, where they stand.

The leftmost letter acts on qubit 0, which is the leftmost factor of the tensor product.
"""

from collections.abc import Iterable, Sequence
from itertools import combinations, product
from typing import Any

import numpy as np

from geojax._core import checks, pauli
from geojax._core.errors import InputError


def local_strings(
    num_qubits: int,
    max_weight: int = 2,
    coupling: Any = None,
) -> tuple[str, ...]:
    """Names of the Pauli strings that act on few qubits, lighter ones first.

    Args:
        num_qubits: n.
        max_weight: most qubits that a string acts on.
        coupling: pairs of qubits that interact; strings of weight 2 act on these only. All pairs
            by default. Needs `max_weight=2`.

    Raises:
        InputError: more qubits in a string than there are, or a coupling that is no pairs
            of qubits.

    Example:
        >>> local_strings(2, 1)
        ('XI', 'YI', 'ZI', 'IX', 'IY', 'IZ')
        >>> len(local_strings(3)), len(local_strings(3, coupling=[(0, 1), (1, 2)]))
        (36, 27)
    """
    n = pauli.check_num_qubits(num_qubits)
    if checks.count(max_weight, "max_weight") > n and coupling is None and max_weight > 2:
        raise InputError(
            f"Argument max_weight must be at most the number of qubits, {n}, but is {max_weight}."
        )
    if coupling is not None and max_weight != 2:
        raise InputError(
            f"Argument coupling holds pairs of qubits and needs max_weight = 2, but max_weight is "
            f"{max_weight}."
        )
    coupled = None if coupling is None else pauli.check_coupling(coupling, n)
    found = []
    for weight in range(1, min(max_weight, n) + 1):
        for support in combinations(range(n), weight):
            if weight == 2 and coupled is not None and support not in coupled:
                continue
            found += [spread(word, support, n) for word in product("XYZ", repeat=weight)]
    return tuple(found)


def spread(word: Sequence[str], qubits: Sequence[int], num_qubits: int) -> str:
    """The string of all qubits whose letters at `qubits` are those of `word`."""
    letters = ["I"] * num_qubits
    for letter, qubit in zip(word, qubits):
        letters[qubit] = letter
    return "".join(letters)


def check_labels(
    labels: Any, name: str = "labels", num_qubits: int | None = None
) -> tuple[str, ...]:
    """Different Pauli strings of one length, none of them the identity.

    Raises:
        InputError: anything else, or strings of another length than `num_qubits`.
    """
    if isinstance(labels, str) or not isinstance(labels, Iterable):
        raise InputError(
            f"Argument {name} must be a list of Pauli strings such as ['XI', 'ZZ'], but is "
            f"{labels!r}."
        )
    found = tuple(labels)
    if not found:
        raise InputError(f"Argument {name} must hold at least one Pauli string, but is empty.")
    length = num_qubits
    for position, label in enumerate(found):
        where = f"Argument {name}: entry {position} is {label!r}"
        if not isinstance(label, str) or not label or set(label) - set("IXYZ"):
            raise InputError(f"{where}, which is no string of the letters I, X, Y and Z.")
        length = length or len(label)
        if len(label) != length:
            raise InputError(
                f"{where}, which acts on {len(label)} qubits and not on {length}; give one letter "
                "for each qubit, I where the string does nothing."
            )
        if set(label) == {"I"}:
            raise InputError(f"{where}, the identity, which only turns the phase; remove it.")
    pauli.check_num_qubits(length)
    if len(set(found)) < len(found):
        twice = next(label for label in found if found.count(label) > 1)
        raise InputError(f"Argument {name} must hold different strings, but {twice!r} is repeated.")
    return tuple(str(label) for label in found)


def indices(labels: Sequence[str]) -> np.ndarray:
    """Where the strings stand among all 4^n in lexicographic IXYZ order, `[G]`."""
    digits = np.array([["IXYZ".index(letter) for letter in label] for label in labels])
    return digits @ 4 ** np.arange(digits.shape[1])[::-1]
