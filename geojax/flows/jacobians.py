"""Jacobians of a flow map, exact for the discrete flow that was computed."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def jacobians(
    flow: Callable[[Float[Array, "n d"]], Float[Array, "n e"]], points: Float[Array, "n d"]
) -> Float[Array, "n e d"]:
    """Jacobian matrix of a map at each point.

    The map must move each point by itself, as a flow does. The derivative is that of the steps
    that were taken, so a fold of the *numerical* map shows as a determinant at or below zero,
    which the integrated divergence (always positive) would hide.

    Args:
        flow: map of `[n, d]` points, for example `lambda x: integrate(field, x).end`; it may lead
            to another dimension e.
        points: where, `[n, d]`.

    Example:
        >>> import jax.numpy as jnp
        >>> jacobians(lambda x: 2 * x, jnp.ones((1, 2))).tolist()
        [[[2.0, 0.0], [0.0, 2.0]]]
    """
    directions = jnp.eye(points.shape[-1], dtype=points.dtype)

    def column(direction):
        return jax.jvp(flow, (points,), (jnp.broadcast_to(direction, points.shape),))[1]

    return jnp.moveaxis(jax.vmap(column)(directions), 0, -1)


def jacobian_determinants(
    flow: Callable[[Float[Array, "n d"]], Float[Array, "n d"]], points: Float[Array, "n d"]
) -> Float[Array, " n"]:
    """Determinant of the Jacobian of a map at each point, `[n]`; at most zero where it folds."""
    return jnp.linalg.det(jacobians(flow, points))
