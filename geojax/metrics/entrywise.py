"""Metrics on matrix velocities that price each entry: isotropic, inertia, locality."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from geojax._core.checks import as_real, count, positive
from geojax._core.errors import InputError
from geojax._core.trees import scale
from geojax.metrics.base import AbstractMetric


class Isotropic(AbstractMetric):
    """All velocities cost the same: `|v|^2 = weight * sum |v_i|^2`.

    Args:
        weight: positive price of a unit velocity.

    Example:
        >>> import jax.numpy as jnp
        >>> float(Isotropic().energy(jnp.array([3.0, 4.0])))
        12.5
    """

    weight: Float[Array, ""] = eqx.field(
        default=1.0, converter=lambda w: as_real(positive(w, "weight"))
    )

    def sharp(self, momentum: PyTree) -> PyTree:
        return scale(momentum, 1.0 / self.weight)

    def flat(self, velocity: PyTree) -> PyTree:
        return scale(velocity, self.weight)


class Entrywise(AbstractMetric):
    """`|A|^2 = sum_ij g_ij |A_ij|^2` on matrices.

    On gl(n) a price that grows off the diagonal is a locality prior; on so(3) symmetric weights
    are the moments of inertia of a rigid body (weight `g_23` for rotation about axis 1, and so
    on, each counted for both of its entries).

    Args:
        weights: positive prices, `[n, n]`; symmetric where velocities are skew or Hermitian.

    Raises:
        InputError: not a square matrix of positive numbers.
    """

    weights: Float[Array, "n n"]

    def __init__(self, weights):
        self.weights = as_real(positive(weights, "weights"))
        if self.weights.ndim != 2 or self.weights.shape[0] != self.weights.shape[1]:
            raise InputError(
                f"Argument weights must be a square matrix, but has shape "
                f"{list(self.weights.shape)}."
            )

    def sharp(self, momentum: Array) -> Array:
        return momentum / self._weights_for(momentum)

    def flat(self, velocity: Array) -> Array:
        return velocity * self._weights_for(velocity)

    def _weights_for(self, matrix):
        # the promotion is written out because a complex matrix times real weights is meant
        return jax.lax.convert_element_type(self.weights, matrix.dtype)


def locality(n: int, radius: int, penalty) -> Entrywise:
    """The locality price on gl(n): 1 within `radius` of the diagonal, `penalty` beyond.

    The matrix analogue of a convolutional layer: local generators are cheap, far ones are not.

    Args:
        n: size of the matrices.
        radius: entries with `|i - j| <= radius` cost 1.
        penalty: positive price of the others.

    Example:
        >>> locality(3, 1, 10.0).weights[0].tolist()
        [1.0, 1.0, 10.0]
    """
    n, radius = count(n, "n"), count(radius, "radius", least=0)
    offset = np.abs(np.subtract.outer(np.arange(n), np.arange(n)))
    return Entrywise(jnp.where(offset <= radius, 1.0, positive(penalty, "penalty")))
