"""Velocity fields that carry points."""

import warnings
from collections.abc import Callable

from jaxtyping import Array, Float

from geojax._core.checks import as_points, is_tracer
from geojax.actions.base import AbstractAction
from geojax.kernels import Diracs


class Points(AbstractAction):
    """A velocity field moves points by its values: `dx_i/dt = v(x_i)`.

    States are `[n, d]` arrays, costates (momenta) likewise. Evaluation at points transposes to
    a sum of Diracs, which is this action's momentum map.

    Example:
        >>> import jax.numpy as jnp
        >>> Points()(lambda x: 2 * x, jnp.ones((1, 2))).tolist()
        [[2.0, 2.0]]
    """

    def __call__(
        self, velocity: Callable[[Array], Array], state: Float[Array, "n d"]
    ) -> Float[Array, "n d"]:
        return velocity(state)

    def momentum(self, state: Float[Array, "n d"], costate: Float[Array, "n d"]) -> Diracs:
        return Diracs(state, costate)

    def covector(self, state, coordinates):
        return coordinates.reshape(state.shape)

    def residual(self, state, target):
        return (state - target).reshape(-1)

    def chord(self, source, target):
        return target - source

    def check(self, state, name):
        points = as_points(state, name, any_dimension=True)
        n, d = points.shape
        if d > 3 and n <= 3 and not is_tracer(points):
            warnings.warn(
                f"Argument {name} of shape [{n}, {d}] is taken as {n} point{'s' if n > 1 else ''} "
                f"in {d} dimensions; transpose it to [{d}, {n}]?",
                stacklevel=3,
            )
        return points
