"""Random circuits, and what a fault in one of their layers costs at the end."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
from jaxtyping import Array, Float, Key

from geojax._core import checks, pauli
from geojax._core.errors import InputError
from geojax._core.linalg import dagger
from geojax.metrics import PauliPenalty
from geojax.quantum.arguments import as_key, check_metric, positive_number
from geojax.quantum.controls import Controls, as_drift
from geojax.quantum.strings import check_labels, local_strings


def random_controls(
    num_qubits: int,
    num_layers: int,
    key: Key[Array, ""],
    *,
    scale: float = 0.1,
    generators: Sequence[str] | None = None,
) -> Controls:
    """Layers whose Hamiltonians are drawn at random: a random walk on SU(2^n).

    Each coefficient of each layer is normal with standard deviation `scale`, and a layer lasts one
    unit of time. So a layer is a step of time `scale^2` of the Brownian motion
    `dU = -i sum_sigma sigma U dW_sigma` along the generators, and finer and smaller layers tend to
    it.

    Args:
        num_qubits: n.
        num_layers: K.
        key: draws them.
        scale: standard deviation.
        generators: Pauli strings; all of weight 1 and 2 by default.

    Returns:
        `Controls` with K slices.

    Raises:
        InputError: counts or a scale that are not positive, unknown strings, or no random key.

    Example:
        >>> import jax
        >>> random_controls(2, 5, jax.random.key(0)).coefficients.shape
        (5, 15)

    Reference: `[brown2018second]`.
    """
    n = pauli.check_num_qubits(num_qubits)
    checks.count(num_layers, "num_layers")
    positive_number(scale, "scale")
    labels = local_strings(n) if generators is None else check_labels(generators, "generators", n)
    draws = scale * jax.random.normal(as_key(key), (num_layers, len(labels)))
    return Controls(draws, labels, 1.0)


def layer_sensitivity(
    controls: Controls, metric: PauliPenalty, perturbation: Any
) -> Float[Array, " K"]:
    """What a fault at the end of each layer costs at the end of the circuit.

    A Hamiltonian K that acts for a moment after layer l moves the end by
    `V = U(1, l) K U(1, l)^H`; this is the squared norm of V. What follows a layer scrambles its
    fault over strings of all weights, so that early faults cost the mean price of all strings and
    late ones that of the fault itself.

    Args:
        controls: K layers.
        metric: the penalties.
        perturbation: a Pauli string such as `"XII"`, or a traceless Hermitian matrix.

    Returns:
        Squared norms, `[K]`, of the first layer first.

    Raises:
        InputError: a metric of other qubits, an unknown string, or a matrix of another shape.

    Gradient: forward and reverse.

    Example:
        >>> import jax
        >>> circuit = random_controls(2, 4, jax.random.key(0))
        >>> costs = layer_sensitivity(circuit, PauliPenalty(2, [1.0, 4.0]), "XI")
        >>> round(float(costs[-1]), 6)  # nothing follows the last layer
        1.0

    Reference: `[dong2019understanding]`.
    """
    if not isinstance(controls, Controls):
        raise InputError(f"Argument controls must be Controls, but is {controls!r}.")
    n = controls.num_qubits
    check_metric(metric, n)
    drift = {perturbation: 1.0} if isinstance(perturbation, str) else perturbation
    fault = as_drift(drift, n, controls.coefficients.dtype, name="perturbation")
    return _layer_sensitivity(controls, metric, fault)


@eqx.filter_jit
def _layer_sensitivity(controls, metric, fault):
    unitaries = controls.unitaries()[1:]
    after = unitaries[-1][None] @ dagger(unitaries)
    moved = after @ fault.astype(after.dtype)[None] @ dagger(after)
    return 2 * jax.vmap(metric.energy)(moved)
