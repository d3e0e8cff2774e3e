"""Nielsen's metric on the velocities (Hamiltonians) of n qubits."""

from collections.abc import Callable, Sequence

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from geojax._core import pauli
from geojax._core.checks import positive
from geojax._core.errors import InputError
from geojax.metrics.base import AbstractMetric


class PauliPenalty(AbstractMetric):
    """`<H, K> = tr(H G(K)) / 2^n`, where `G` multiplies each Pauli string by its price.

    Args:
        num_qubits: n.
        penalties: one of
            a number `q`: strings of weight 1 and 2 cost 1, heavier ones `q` (Nielsen);
            a callable `weight -> price`;
            n numbers: the price of weight 1, ..., n;
            `4^n - 1` numbers: one for each string but the identity, in the order of `labels`.

    Raises:
        InputError: prices that are not positive, or of the wrong number.

    Gradient: in the penalties, forward and reverse.

    Example:
        >>> metric = PauliPenalty(1, [1.0, 1.0, 4.0])
        >>> metric.labels
        ('I', 'X', 'Y', 'Z')
        >>> import jax.numpy as jnp
        >>> float(metric.energy(jnp.array([[1.0, 0], [0, -1.0]], complex)))
        2.0

    Reference: `[dowling2008geometry]`.
    """

    num_qubits: int = eqx.field(static=True)
    penalties: Float[Array, " P"]

    def __init__(self, num_qubits: int, penalties=1.0):
        self.num_qubits = pauli.check_num_qubits(num_qubits)
        self.penalties = _penalties(self.num_qubits, penalties)

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the Pauli strings in the order of `penalties`, the identity first."""
        return pauli.labels(self.num_qubits)

    def sharp(self, momentum: Complex[Array, "N N"]) -> Complex[Array, "N N"]:
        # the pairing tr(J H) is not normalised, the metric is: H = N F(J)
        coefficients = pauli.to_coefficients(momentum)
        prices = self.penalties.astype(coefficients.dtype)
        return pauli.from_coefficients(2**self.num_qubits * coefficients / prices)

    def flat(self, velocity: Complex[Array, "N N"]) -> Complex[Array, "N N"]:
        coefficients = pauli.to_coefficients(velocity)
        prices = self.penalties.astype(coefficients.dtype)
        return pauli.from_coefficients(coefficients * prices / 2**self.num_qubits)


Penalties = float | Sequence[float] | np.ndarray | Array | Callable[[int], float]


def _penalties(n: int, penalties: Penalties) -> Float[Array, " P"]:
    """Prices of all 4^n strings; the identity, which never appears in su(2^n), gets 1."""
    weight = pauli.weights(n)
    if callable(penalties):
        penalties = [penalties(k) for k in range(1, n + 1)]
    positive(penalties, "penalties")
    values = jnp.asarray(penalties, float)
    if values.ndim == 0:
        return jnp.where(np.asarray(weight <= 2), 1.0, values)
    # for one qubit "per weight" is a single number; three numbers mean X, Y, Z
    if values.shape == (4**n - 1,):
        return jnp.concatenate([jnp.ones(1, values.dtype), values])
    if values.shape == (n,):
        return jnp.concatenate([jnp.ones(1, values.dtype), values])[np.asarray(weight)]
    raise InputError(
        f"Argument penalties must be a number, {n} numbers (one per weight) or {4**n - 1} numbers "
        f"(one per Pauli string), but has shape {list(values.shape)}."
    )
