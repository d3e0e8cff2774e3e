"""The real matrix groups GL(n) and SO(n), acting on themselves from the left."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from geojax._core import checks
from geojax._core.errors import InputError
from geojax._core.linalg import hermitian_log
from geojax.actions.base import AbstractGroup


class Matrices(AbstractGroup):
    """GL(n): any matrix A moves an invertible matrix by `dX/dt = A X`.

    The states of a deep linear network: a curve of matrices from the identity to the network.
    """

    def generator(self, velocity: Float[Array, "n n"]) -> Float[Array, "n n"]:
        return velocity

    def project(self, matrix):
        return matrix

    def bracket(self, left, right):
        return left @ right - right @ left

    def lift(self, state, momentum):
        return jnp.linalg.solve(state, momentum.T).T

    def inverse(self, element):
        return jnp.linalg.inv(element)

    def covector(self, state, coordinates):
        return coordinates.reshape(state.shape)

    def residual(self, state, target):
        return (state - target).reshape(-1)

    def chord(self, source, target):
        return target - source

    def check(self, state, name):
        array = _as_square(state, name)
        if not checks.is_tracer(array):
            smallest = float(np.linalg.svd(np.asarray(array), compute_uv=False).min(initial=np.inf))
            if not smallest > 0:
                raise InputError(f"Argument {name} must be invertible, but is singular.")
        return array


class Rotations(AbstractGroup):
    """SO(n): a skew matrix W moves a rotation by `dX/dt = W X`.

    Args:
        n: size of the rotations.

    Example:
        >>> import jax.numpy as jnp
        >>> so3 = Rotations(3)
        >>> so3.dimension(jnp.eye(3))
        3
    """

    n: int = eqx.field(static=True, converter=lambda n: checks.count(n, "n", least=2))

    def generator(self, velocity: Float[Array, "n n"]) -> Float[Array, "n n"]:
        return velocity

    def project(self, matrix):
        return 0.5 * (matrix - matrix.T)

    def bracket(self, left, right):
        return left @ right - right @ left

    def lift(self, state, momentum):
        return momentum @ state

    def covector(self, state, coordinates):
        return self._skew(coordinates) @ state

    def residual(self, state, target):
        turn = self.project(state @ target.T)
        return turn[np.triu_indices(self.n, 1)]

    def chord(self, source, target):
        turn = target @ source.T
        log = hermitian_log(jax.lax.complex(turn, jnp.zeros_like(turn)), traceless=False)
        return self.project(jnp.imag(log)) @ source

    def check(self, state, name):
        array = _as_square(state, name, size=self.n)
        if not checks.is_tracer(array):
            matrix = np.asarray(array, float)
            defect = float(np.abs(matrix.T @ matrix - np.eye(self.n)).max())
            determinant = float(np.linalg.det(matrix))
            if defect > 1e-4 or determinant < 0:
                raise InputError(
                    f"Argument {name} must be a rotation, but |X'X - 1| = {defect:.1e} and det = "
                    f"{determinant:.3g}; orthonormalise it first."
                )
        return array

    def _skew(self, coordinates):
        upper = jnp.zeros((self.n, self.n), coordinates.dtype)
        upper = upper.at[np.triu_indices(self.n, 1)].set(coordinates, unique_indices=True)
        return upper - upper.T


def _as_square(state, name, size=None):
    array = checks.as_float_array(state, name)
    square = array.ndim == 2 and array.shape[0] == array.shape[1]
    if not square or (size is not None and array.shape[0] != size):
        expected = f"[{size}, {size}]" if size is not None else "[n, n]"
        raise InputError(
            f"Argument {name} must have shape {expected}, but has shape {list(array.shape)}."
        )
    return checks.finite(array, name)
