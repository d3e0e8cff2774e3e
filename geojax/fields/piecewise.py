"""Fields that are constant in time, or constant between given times."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from geojax._core import checks
from geojax._core.errors import InputError
from geojax.fields.base import AbstractField


class Stationary(AbstractField):
    """The same velocity at all times.

    Args:
        velocity: a function of the state (a velocity field over points), or a constant such as
            the Hamiltonian of a quantum gate.

    Example:
        >>> import jax.numpy as jnp
        >>> Stationary(lambda x: 2 * x)(jnp.array(0.3), jnp.ones(2)).tolist()
        [2.0, 2.0]
    """

    velocity: Callable | PyTree

    def __call__(self, t, x):
        return _velocity_at(self.velocity, x)


class PiecewiseConstant(AbstractField):
    """One stationary velocity between each two neighbouring times: a layered network, a pulse.

    Args:
        pieces: k velocities stacked along the leading axis of every leaf: an array `[k, ...]` of
            constant velocities, or a stacked module that is called on the state.
        edges: k + 1 increasing times; equal pieces of [0, 1] by default. The piece that holds at
            an edge is the later one; before the first and after the last edge the end pieces
            hold.

    Raises:
        InputError: edges that do not increase, or of the wrong number.

    Example:
        >>> import jax.numpy as jnp
        >>> field = PiecewiseConstant(jnp.array([[1.0], [2.0]]))
        >>> [field(jnp.array(t), None).tolist() for t in (0.25, 0.75)]
        [[1.0], [2.0]]
    """

    pieces: Any
    edges: Float[Array, " k"]

    def __init__(self, pieces: Any, edges=None):
        count = jax.tree.leaves(pieces)[0].shape[0]
        if edges is None:
            edges = np.linspace(0.0, 1.0, count + 1)
        edges = checks.finite(checks.as_float_array(edges, "edges"), "edges")
        if edges.shape != (count + 1,):
            raise InputError(
                f"Argument edges must hold {count + 1} times for {count} pieces, but has shape "
                f"{list(edges.shape)}."
            )
        if not checks.is_tracer(edges) and not np.all(np.diff(np.asarray(edges, float)) > 0):
            raise InputError(f"Argument edges must increase, but is {np.asarray(edges).tolist()}.")
        self.pieces = pieces
        self.edges = edges

    def __call__(self, t, x):
        index = jnp.searchsorted(self.edges[1:-1], jnp.asarray(t, self.edges.dtype), side="right")
        return _velocity_at(jax.tree.map(lambda leaf: leaf[index], self.pieces), x)

    @property
    def jumps(self):
        return self.edges[1:-1]


def _velocity_at(velocity, x):
    return velocity(x) if callable(velocity) else velocity
