"""Checks of arguments that several functions of this package share."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from geojax._core import checks
from geojax._core.errors import InputError
from geojax.metrics import PauliPenalty


def check_metric(metric: Any, num_qubits: int | None = None) -> PauliPenalty:
    """Nielsen's metric, of so many qubits.

    Raises:
        InputError: anything else.
    """
    if not isinstance(metric, PauliPenalty):
        raise InputError(
            f"Argument metric must be a PauliPenalty, such as PauliPenalty(2, 4.0), but is "
            f"{metric!r}."
        )
    if num_qubits not in (None, metric.num_qubits):
        raise InputError(
            f"Argument metric must price {num_qubits} qubits like the controls, but prices "
            f"{metric.num_qubits}."
        )
    return metric


def as_key(key: Any = None) -> Key[Array, ""]:
    """A typed random key; that of zero by default.

    Raises:
        InputError: a number, a key of the old kind, or several keys.
    """
    if key is None:
        return jax.random.key(0)
    typed = isinstance(key, jax.Array) and jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
    if not typed or key.ndim:
        raise InputError(
            f"Argument key must be one random key, as jax.random.key(0) makes it, but is {key!r}."
        )
    return key


def positive_number(value: Any, name: str) -> Any:
    """A positive finite number.

    Raises:
        InputError: anything else, arrays of numbers included.
    """
    if not checks.is_tracer(value):
        checks.positive(value, name)
    if np.shape(value):
        raise InputError(
            f"Argument {name} must be one number, but has shape {list(np.shape(value))}."
        )
    return value
