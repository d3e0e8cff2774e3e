"""Nielsen's metric on the velocities (Hamiltonians) of n qubits."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float, Inexact

from geojax._core import pauli
from geojax._core.checks import nearest_name, positive
from geojax._core.errors import InputError
from geojax._core.linalg import safe_sqrt
from geojax.metrics.base import AbstractMetric


class PauliPenalty(AbstractMetric):
    """`<H, K> = tr(H G(K)) / 2^n`, where `G` multiplies each Pauli string by its price.

    Args:
        num_qubits: n.
        penalties: positive prices, the squares of lengths; one of
            a number `q`: strings of weight 1 and 2 cost 1, heavier ones `q` (Nielsen);
            a callable `weight -> price`;
            n numbers: the price of weight 1, ..., n;
            a mapping `label -> price` such as `{"XX": 4.0}`: the other strings cost 1;
            `4^n - 1` numbers: one for each string but the identity, in the order of `labels`.
            Infinity forbids a string: the sub-Riemannian limit.
        coupling: pairs of qubits that interact; then "weight" means the number of qubits of the
            smallest connected set that holds the string. All pairs by default.

    Raises:
        InputError: prices that are not positive, or of the wrong number; unknown labels; a
            coupling that is no connected graph of the qubits.

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

    def __init__(
        self,
        num_qubits: int,
        penalties: "Penalties" = 1.0,
        *,
        coupling: Any = None,
    ):
        self.num_qubits = pauli.check_num_qubits(num_qubits)
        self.penalties = _penalties(self.num_qubits, penalties, coupling)

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the Pauli strings in the order of `penalties`, the identity first."""
        return pauli.labels(self.num_qubits)

    def sharp(self, momentum: Complex[Array, "N N"]) -> Complex[Array, "N N"]:
        # the pairing tr(J H) is not normalised, the metric is: H = N F(J)
        coefficients = pauli.to_coefficients(momentum)
        prices = self.penalties.astype(coefficients.dtype)
        return pauli.from_coefficients(2**self.num_qubits * coefficients / prices)

    def flat(self, velocity: Inexact[Array, "N N"]) -> Complex[Array, "N N"]:
        coefficients = pauli.to_coefficients(velocity)
        priced = self._priced(coefficients, self.penalties)
        return pauli.from_coefficients(priced / 2**self.num_qubits)

    def norm(
        self, velocity: Inexact[Array, "N N"], *, order: int = 2, priced: bool = True
    ) -> Float[Array, ""]:
        """What a unit of time with a velocity costs in one of Nielsen's Finsler metrics.

        With the coefficients h of the velocity and p the square roots of the penalties: order 1 is
        `sum |h|` (F1) or, priced, `sum p |h|` (Fp); order 2 is `sqrt(sum h^2)` (F2) or, priced,
        `sqrt(sum p^2 h^2)` (Fq), the norm of this metric.

        Args:
            velocity: Hermitian, `[2^n, 2^n]`.
            order: 1 or 2.
            priced: whether the penalties count.

        Raises:
            InputError: another order.

        Gradient: forward and reverse where no coefficient (order 1) or not all (order 2) are zero.

        Reference: `[nielsen2006geometric]`.
        """
        if order not in (1, 2):
            raise InputError(f"Argument order must be 1 or 2, but is {order!r}.")
        coefficients = pauli.to_coefficients(velocity).at[0].set(0.0)
        if priced:
            coefficients = self._priced(coefficients, jnp.sqrt(self.penalties))
        if order == 1:
            return jnp.sum(jnp.abs(coefficients))
        return safe_sqrt(jnp.sum(jnp.square(coefficients)))

    def energy(self, velocity: Inexact[Array, "N N"]) -> Float[Array, ""]:
        coefficients = pauli.to_coefficients(velocity)
        return 0.5 * jnp.sum(jnp.square(self._priced(coefficients, jnp.sqrt(self.penalties))))

    @staticmethod
    def _priced(coefficients, prices):
        """Products with prices; an infinite price forbids, but not what rounding leaves of zero."""
        prices = prices.astype(coefficients.dtype)
        sizes = jnp.abs(coefficients)
        rounding = 64 * jnp.finfo(coefficients.dtype).eps * jnp.max(sizes)
        unused = jnp.isinf(prices) & (sizes <= rounding)
        return coefficients * jnp.where(unused, 0.0, prices)


Penalties = (
    float | Sequence[float] | np.ndarray | Array | Callable[[int], float] | Mapping[str, float]
)


def _penalties(n: int, penalties: Penalties, coupling) -> Float[Array, " P"]:
    """Prices of all 4^n strings; the identity, which never appears in su(2^n), gets 1."""
    weight = pauli.weights(n) if coupling is None else pauli.localities(n, coupling)
    if isinstance(penalties, Mapping):
        known = pauli.labels(n)[1:]
        for label in penalties:
            if label not in known:
                raise InputError(
                    f"Argument penalties has the label {label!r}, which is no Pauli string of {n} "
                    f"qubit{'s' if n > 1 else ''}{nearest_name(str(label), known)}."
                )
        penalties = [penalties.get(label, 1.0) for label in known]
    if callable(penalties):
        penalties = [penalties(k) for k in range(1, n + 1)]
    positive(penalties, "penalties", infinite=True)
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
