"""Gates by name, and unitaries of any origin made fit to be targets.

Qubit 0 is the leftmost factor of the tensor product, so that `cx` is controlled by qubit 0 and
its matrix is `[[1, 0], [0, X]]` in blocks.
"""

import math
import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex

from geojax._core import checks, pauli
from geojax._core.errors import InputError
from geojax._core.linalg import hermitian_log

_X = np.array([[0, 1], [1, 0]], complex)
_Y = np.array([[0, -1j], [1j, 0]])
_Z = np.diag([1.0 + 0j, -1.0])
_S = np.diag([1.0, 1j])
_T = np.diag([1.0, np.exp(0.25j * np.pi)])
_SX = np.array([[1 + 1j, 1 - 1j], [1 - 1j, 1 + 1j]]) / 2
_SWAP = np.eye(4, dtype=complex)[[0, 2, 1, 3]]


def _controlled(matrix: np.ndarray) -> np.ndarray:
    size = len(matrix)
    out = np.eye(2 * size, dtype=complex)
    out[size:, size:] = matrix
    return out


def _fourier(num_qubits: int) -> np.ndarray:
    size = 2**num_qubits
    powers = np.outer(np.arange(size), np.arange(size)) % size
    return np.exp(2j * np.pi * powers / size) / math.sqrt(size)


def _rotation(letter: np.ndarray) -> Callable[[float], np.ndarray]:
    return lambda angle: math.cos(angle / 2) * np.eye(2) - 1j * math.sin(angle / 2) * letter


def _middle(block: np.ndarray) -> np.ndarray:
    """A gate that mixes only the states 01 and 10."""
    out = np.eye(4, dtype=complex)
    out[1:3, 1:3] = block
    return out


# Gates without an angle.
GATES: dict[str, np.ndarray] = {
    "id": np.eye(2, dtype=complex),
    "x": _X,
    "y": _Y,
    "z": _Z,
    "h": (_X + _Z) / math.sqrt(2),
    "s": _S,
    "sdg": _S.conj(),
    "t": _T,
    "tdg": _T.conj(),
    "sx": _SX,
    "cx": _controlled(_X),
    "cy": _controlled(_Y),
    "cz": _controlled(_Z),
    "cs": _controlled(_S),
    "swap": _SWAP,
    "iswap": _middle(1j * _X),
    "sqrtswap": _middle(_SX),
    "ccx": _controlled(_controlled(_X)),
    "ccz": _controlled(_controlled(_Z)),
    "cswap": _controlled(_SWAP),
    **{f"qft{n}": _fourier(n) for n in range(2, 6)},
}

# Gates with one angle in radians. `rx` is exp(-i angle X / 2); `p` turns the phase of state 1.
ROTATIONS: dict[str, Callable[[float], np.ndarray]] = {
    "rx": _rotation(_X),
    "ry": _rotation(_Y),
    "rz": _rotation(_Z),
    "p": lambda angle: np.diag([1.0, np.exp(1j * angle)]),
    "cp": lambda angle: np.diag([1.0, 1.0, 1.0, np.exp(1j * angle)]),
}

# Angles of determinants lie between -pi and pi, both raised by this.
_CUT = 1e-3

ALIASES = {"cnot": "cx", "toffoli": "ccx", "fredkin": "cswap", "identity": "id"}


def gate_name(name: Any) -> str:
    """The one name of a gate that may have several.

    Raises:
        InputError: no such gate; the nearest name is told.
    """
    known = ALIASES.get(name, name) if isinstance(name, str) else None
    if known not in GATES and known not in ROTATIONS:
        names = [*GATES, *ROTATIONS, *ALIASES]
        raise InputError(
            f"Gate {name!r} is not known{checks.nearest_name(str(name), names)}; it is one of "
            f"{', '.join(names)}."
        )
    return str(known)


def gate(name: str, angle: float | None = None) -> np.ndarray:
    """The unitary matrix of a named gate.

    Args:
        name: `x y z h s sdg t tdg sx id`, `cx cy cz cs swap iswap sqrtswap`, `ccx ccz cswap`
            (also `cnot toffoli fredkin identity`), `qft2` to `qft5`, and with an angle `rx ry rz
            p cp`. The angle may stand in the name, as in `"rz(0.5)"`.
        angle: in radians, for the gates that take one: `rz` is `exp(-i angle Z / 2)`.

    Returns:
        `[2^k, 2^k]` complex, with the phase that is usual for the gate. The first of its k qubits
        is the leftmost factor of the tensor product.

    Raises:
        InputError: no such gate (the nearest name is told), an angle that is missing, too many,
            or not a finite number.

    Example:
        >>> gate("cx").real.astype(int).tolist()
        [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0]]
        >>> gate("toffol")
        Traceback (most recent call last):
        geojax._core.errors.InputError: Gate 'toffol' is not known (did you mean 'toffoli'?); ...
    """
    inside = re.fullmatch(r"(\w+)\((.*)\)", name) if isinstance(name, str) else None
    if inside and angle is None:
        name, text = inside.groups()
        try:
            angle = float(text)
        except ValueError as error:
            raise InputError(f"Gate {name!r}: {text!r} is no angle; give radians.") from error
    known = gate_name(name)
    if known in GATES:
        if angle is not None:
            raise InputError(f"Gate {name!r} takes no angle, but was given {angle!r}.")
        return GATES[known].copy()
    if angle is None:
        raise InputError(f"Gate {name!r} needs an angle in radians, as in gate({name!r}, 0.5).")
    if np.ndim(angle):
        raise InputError(f"Gate {name!r} needs one angle, but was given {angle!r}.")
    return ROTATIONS[known](float(checks.as_numbers(angle, "angle")))


def as_target(unitary: Any, name: str = "target") -> Complex[Array, "N N"]:
    """A unitary as an element of SU(2^n): checked, and freed of its global phase.

    The matrix is divided by the 2^n-th root of its determinant (the root of the least angle).
    No measurement sees a global phase, so the 2^n multiples of a target by roots of unity, which
    are the centre of the group, are all the same gate; this returns one of them. What rounding
    left of a unitary is made unitary to machine precision.

    Args:
        unitary: `[2^n, 2^n]` numbers, or the name of a gate.
        name: what to call it in messages.

    Returns:
        `[2^n, 2^n]` complex of determinant one.

    Raises:
        InputError: not numbers, not finite, not square with a power of two of rows, too large for
            the memory, or further than 1e-6 from unitary (1e-5 in single precision).

    Gradient: in the unitary, along the unitaries.

    Example:
        >>> [complex(v.round(3)) for v in as_target("z").diagonal()]
        [-1j, (-0+1j)]

    Reference: `[dowling2008geometry]`.
    """
    if isinstance(unitary, str):
        unitary = gate(unitary)
    array = _as_matrix(unitary, name)
    size = array.shape[0]
    n = size.bit_length() - 1
    if size != 2**n or n < 1:
        raise InputError(
            f"Argument {name} must have 2^n rows for n qubits (2, 4, 8, ...), but has {size}."
        )
    pauli.check_num_qubits(n)
    xp = jnp if checks.is_tracer(array) else np
    if not checks.is_tracer(array):
        checks.finite(array, name)
        defect = float(np.linalg.norm(array.conj().T @ array - np.eye(size)))
        if not defect <= (1e-6 if array.dtype == np.complex128 else 1e-5):
            raise InputError(
                f"Argument {name} must be unitary, but |U'U - 1| = {defect:.1e} and det U = "
                f"{complex(np.linalg.det(array)):.4g}; give a matrix with orthonormal columns."
            )
    for _ in range(2):  # Newton's iteration for the nearest unitary, quadratic
        array = array @ (1.5 * xp.eye(size, dtype=array.dtype) - 0.5 * array.conj().T @ array)
    # the cut lies beside -1, a usual determinant, which rounding may put on either side of it
    determinant = xp.linalg.det(array)
    angle = xp.angle(determinant * complex(np.exp(-1j * _CUT))) + _CUT
    return jnp.asarray(array * xp.exp(-1j * (angle / size).astype(array.dtype)))


def roots_of_unity(unitary: Complex[Array, "N N"]) -> Complex[Array, " N"]:
    """What the centre of SU(N) multiplies a unitary by, one first."""
    size = unitary.shape[-1]
    return jnp.asarray(np.exp(2j * np.pi * np.arange(size) / size), unitary.dtype)


def shortest_log(
    unitary: Complex[Array, "N N"], *, phase_free: bool = True
) -> Complex[Array, "N N"]:
    """The traceless Hermitian Z of least norm with `exp(-i Z) = U`, up to a root of unity.

    Each eigenvalue takes its nearest angle, and the whole turns by which their sum misses zero are
    taken from those that change least, which is optimal since squares are convex.

    Args:
        unitary: special unitary.
        phase_free: whether U times any root of unity will do; otherwise U itself.
    """
    roots = roots_of_unity(unitary)[: unitary.shape[-1] if phase_free else 1]
    multiples = roots[:, None, None] * unitary[None]
    logs = jax.vmap(lambda u: hermitian_log(u, traceless=True))(multiples)
    return logs[jnp.argmin(jnp.linalg.norm(logs, axis=(1, 2)))]


def _as_matrix(matrix: Any, name: str) -> Any:
    """A square complex array, in NumPy unless it is traced."""
    if not checks.is_tracer(matrix):
        regular = checks.is_regular(matrix)
        matrix = np.asarray(matrix) if regular else matrix
        if not regular or matrix.dtype.kind not in "biufc":
            raise InputError(
                f"Argument {name} must be a square matrix of numbers or the name of a gate, but "
                f"is {matrix!r}."
            )
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise InputError(
            f"Argument {name} must be a square matrix, but has shape {list(matrix.shape)}."
        )
    single = matrix.dtype in (np.float32, np.complex64)
    if checks.is_tracer(matrix):
        wide = jnp.complex64 if single or not jax.config.read("jax_enable_x64") else jnp.complex128
        return matrix.astype(wide)
    return matrix.astype(np.complex64 if single else np.complex128)
