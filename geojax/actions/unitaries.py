"""SU(2^n): Hamiltonians that drive the unitaries of n qubits."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from geojax._core import checks, pauli
from geojax._core.errors import InputError
from geojax._core.linalg import dagger, hermitian_log
from geojax.actions.base import AbstractGroup


class Unitaries(AbstractGroup):
    """A traceless Hermitian matrix H moves a unitary by `dU/dt = -i H U` (hbar = 1).

    Args:
        num_qubits: n; states are complex `[2^n, 2^n]` with determinant one.

    Example:
        >>> import jax.numpy as jnp
        >>> su2 = Unitaries(1)
        >>> su2.dimension(jnp.eye(2, dtype=complex))
        3

    Reference: `[dowling2008geometry]`.
    """

    num_qubits: int = eqx.field(static=True, converter=pauli.check_num_qubits)

    def generator(self, velocity: Complex[Array, "N N"]) -> Complex[Array, "N N"]:
        return -1j * velocity

    def project(self, matrix):
        hermitian = 0.5 * (matrix + dagger(matrix))
        size = matrix.shape[-1]
        return hermitian - jnp.trace(hermitian) / size * jnp.eye(size, dtype=matrix.dtype)

    def bracket(self, left, right):
        return -1j * (left @ right - right @ left)

    def lift(self, state, momentum):
        return -1j * momentum @ state

    def covector(self, state, coordinates: Float[Array, " m"]):
        size = 2**self.num_qubits
        with_identity = jnp.concatenate([jnp.zeros(1, coordinates.dtype), coordinates])
        return self.lift(state, pauli.from_coefficients(with_identity).astype(state.dtype) / size)

    def residual(self, state, target):
        return pauli.to_coefficients(1j * state @ dagger(target))[1:]

    def chord(self, source, target):
        return self(hermitian_log(target @ dagger(source), traceless=True), source)

    def check(self, state, name):
        if isinstance(state, jax.Array):
            array = state
        else:
            host: Any = np.asarray(state) if checks.is_regular(state) else state
            if np.iscomplexobj(host):
                # tells of truncation
                checks.as_float_array(np.stack([host.real, host.imag]), name)
                array = jnp.asarray(host)
            else:
                array = checks.as_float_array(host, name)
        size = 2**self.num_qubits
        if array.shape != (size, size):
            raise InputError(
                f"Argument {name} must have shape [{size}, {size}] for {self.num_qubits} "
                f"qubit{'s' if self.num_qubits > 1 else ''}, but has shape {list(array.shape)}."
            )
        if not jnp.issubdtype(array.dtype, jnp.complexfloating):
            real = array if jnp.issubdtype(array.dtype, jnp.floating) else array.astype(float)
            array = jax.lax.complex(real, jnp.zeros_like(real))
        checks.finite(array, name)
        if not checks.is_tracer(array):
            matrix = np.asarray(array)
            defect = float(np.linalg.norm(matrix.conj().T @ matrix - np.eye(size)))
            determinant = complex(np.linalg.det(matrix))
            if defect > 1e-4 or abs(determinant - 1) > 1e-4:
                raise InputError(
                    f"Argument {name} must be special unitary, but |U'U - 1| = {defect:.1e} and "
                    f"det U = {determinant:.4g}; divide a unitary by the {size}-th root of its "
                    "determinant."
                )
        return array
