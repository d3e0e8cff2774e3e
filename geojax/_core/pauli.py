"""Hermitian matrices in Pauli coordinates, by a fast transform over the qubits.

The 4^n Pauli strings are never built: each qubit's 2 x 2 block is turned into its four
coefficients in place, so the transform costs n 4^(n+1) operations instead of 16^n.
"""

import functools
from collections.abc import Iterable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float, Inexact

from geojax._core import checks
from geojax._core.errors import InputError

# 2^n x 2^n matrices that one step of a path holds at a time: the state, its costate, the velocity
# and the stages of the solver.
_MATRICES_PER_STEP = 20

_PAULI = np.array(
    [[[1, 0], [0, 1]], [[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]]], np.complex128
)


def check_num_qubits(num_qubits) -> int:
    """Raise unless n is an integer of at least 1 whose matrices fit the memory."""
    n = checks.count(num_qubits, "num_qubits")
    checks.memory(
        _MATRICES_PER_STEP * 16 * 4**n,
        f"Argument num_qubits = {n}: a path of {_size(n)} x {_size(n)} matrices",
        "use fewer qubits",
    )
    return n


def _size(n):
    return f"{2**n}" if n <= 20 else f"2^{n}"


@functools.lru_cache(maxsize=32)
def weights(num_qubits: int) -> np.ndarray:
    """Number of non-identity factors of each Pauli string, `[4^n]`, in lexicographic IXYZ order."""
    total = np.zeros(1, np.int8)
    for _ in range(num_qubits):
        total = np.add.outer(total, np.array([0, 1, 1, 1], np.int8)).reshape(-1)
    return total


def check_coupling(coupling, num_qubits: int) -> list[tuple[int, int]]:
    """Different pairs of different qubits, each in increasing order.

    Raises:
        InputError: anything else.
    """
    if isinstance(coupling, np.ndarray | jax.Array):
        coupling = np.asarray(coupling).tolist()
    if isinstance(coupling, str) or not isinstance(coupling, Iterable):
        raise InputError(
            f"Argument coupling must be pairs of qubits such as [(0, 1), (1, 2)], but is "
            f"{coupling!r}."
        )
    pairs = set()
    for position, pair in enumerate(coupling):
        whole = isinstance(pair, tuple | list | np.ndarray) and len(pair) == 2
        if not (whole and all(is_qubit(q, num_qubits) for q in pair) and pair[0] != pair[1]):
            raise InputError(
                f"Argument coupling must be pairs of different qubits from 0 to {num_qubits - 1}, "
                f"but entry {position} is {pair!r}."
            )
        first, second = sorted(int(qubit) for qubit in pair)
        pairs.add((first, second))
    return sorted(pairs)


def is_qubit(value, num_qubits: int) -> bool:
    """Whether a value is the number of one of the qubits."""
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    return whole and 0 <= int(value) < num_qubits


def localities(num_qubits: int, coupling) -> np.ndarray:
    """Qubits of the smallest connected set of a coupling graph that holds each string, `[4^n]`.

    Raises:
        InputError: pairs that are not of two different qubits, or a graph that is not connected.
    """
    pairs = check_coupling(coupling, num_qubits)
    qubits = [1 << k for k in range(num_qubits)]
    joined = dict.fromkeys(qubits, 0)
    for a, b in pairs:
        joined[qubits[a]] |= qubits[b]
        joined[qubits[b]] |= qubits[a]
    # connected sets, grown by a neighbour at a time; small ones come first
    grown, layer = [], set(qubits)
    while layer:
        grown += sorted(layer)
        layer = {
            members | q
            for members in layer
            for q in qubits
            if not members & q and members & joined[q]
        }
    if (1 << num_qubits) - 1 not in grown:
        raise InputError(f"Argument coupling must connect all qubits, but is {pairs}.")
    smallest = [
        next(members.bit_count() for members in grown if members & support == support)
        if support
        else 0
        for support in range(1 << num_qubits)
    ]
    support = np.zeros(1, np.int64)
    for qubit in qubits:
        support = np.add.outer(support, qubit * np.array([0, 1, 1, 1])).reshape(-1)
    return np.asarray(smallest)[support]


@functools.lru_cache(maxsize=32)
def labels(num_qubits: int) -> tuple[str, ...]:
    """Names such as `XIZ` in the order of the coefficients."""
    digits = np.indices((4,) * num_qubits).reshape(num_qubits, -1)
    return tuple("".join("IXYZ"[k] for k in column) for column in digits.T)


def num_qubits_of(matrix) -> int:
    """n for a 2^n x 2^n matrix."""
    return int(matrix.shape[-1]).bit_length() - 1


def to_coefficients(matrix: Inexact[Array, "N N"]) -> Float[Array, " P"]:
    """Real coefficients `Re tr(sigma M) / N` of the Hermitian part of a matrix, `[4^n]`."""
    n = num_qubits_of(matrix)
    if not jnp.iscomplexobj(matrix):
        matrix = jax.lax.complex(matrix, jnp.zeros_like(matrix))
    tensor = _pair_axes(matrix, n)
    # tr(sigma M) = sum_ab sigma_ab M_ba for each qubit
    change = jnp.asarray(_PAULI.transpose(0, 2, 1).reshape(4, 4) / 2, matrix.dtype)
    for qubit in range(n):
        tensor = jnp.moveaxis(jnp.tensordot(change, tensor, axes=(1, qubit)), 0, qubit)
    return jnp.real(tensor).reshape(-1)


def from_coefficients(coefficients: Float[Array, " P"]) -> Complex[Array, "N N"]:
    """The Hermitian matrix `sum_sigma c_sigma sigma` of `[4^n]` real coefficients."""
    n = (coefficients.shape[0].bit_length() - 1) // 2
    tensor = jax.lax.complex(coefficients, jnp.zeros_like(coefficients)).reshape((4,) * n)
    change = jnp.asarray(_PAULI.reshape(4, 4).T, tensor.dtype)
    for qubit in range(n):
        tensor = jnp.moveaxis(jnp.tensordot(change, tensor, axes=(1, qubit)), 0, qubit)
    pairs = tensor.reshape((2, 2) * n)
    order = [*range(0, 2 * n, 2), *range(1, 2 * n, 2)]
    return pairs.transpose(order).reshape(2**n, 2**n)


def _pair_axes(matrix, n):
    """Bring the row and column bit of each qubit together: `[4, ..., 4]`."""
    order = [axis for qubit in range(n) for axis in (qubit, n + qubit)]
    return matrix.reshape((2,) * (2 * n)).transpose(order).reshape((4,) * n)
