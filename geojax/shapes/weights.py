"""Weights of points: how much each counts in a fidelity."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from geojax._core import checks
from geojax._core.errors import InputError

# Weights may miss a sum of one by this much: what is written down has a few digits.
_SLACK = 1e-4


def as_weights(weights):
    """Weights `[n]` that are not negative and sum to one, or None for equal ones."""
    if weights is None:
        return None
    weights = as_factors(weights)
    if weights is not None and not checks.is_tracer(weights):
        total = float(np.sum(np.asarray(weights, np.float64)))
        if abs(total - 1.0) > _SLACK:
            raise InputError(
                f"Argument weights must sum to one, but the {np.size(weights)} weights sum to "
                f"{total:.6g}; divide them by their sum."
            )
    return weights


def as_factors(factors):
    """Numbers `[n]` that are not negative, or None for ones."""
    if factors is None:
        return None
    factors = checks.as_float_array(factors, "weights")
    if factors.ndim != 1:
        raise InputError(
            f"Argument weights must hold one number each, [n], but has shape {list(factors.shape)}."
        )
    checks.finite(factors, "weights")
    checks.non_negative(factors, "weights")
    return factors


def check_count(weights, count: int, name: str) -> None:
    """Raise unless there is a weight for each."""
    if weights is not None and weights.shape[0] != count:
        raise InputError(
            f"Argument weights must hold one number for each of the {count} {name}, but holds "
            f"{weights.shape[0]}."
        )


def shares(weights: Float[Array, " n"] | None, points: Float[Array, "n d"]) -> Float[Array, " n"]:
    """The weight of each point, equal ones if none were given."""
    if weights is None:
        return jnp.full(points.shape[0], 1.0 / points.shape[0], points.dtype)
    return weights.astype(points.dtype)


def padded_weights(weights: Float[Array, " n"] | None, count: int, size: int) -> np.ndarray:
    """Weights of `count` points whose last is repeated up to a size; the copies share its weight.

    No weight becomes zero, which the logarithms of a transport problem could not bear.
    """
    given = np.full(count, 1.0 / count) if weights is None else np.asarray(weights)
    known = given.astype(jnp.result_type(float) if weights is None else given.dtype)
    padded = np.pad(known, (0, size - count), mode="edge")
    padded[count - 1 :] /= size - count + 1
    return padded
