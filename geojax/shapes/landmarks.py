"""Corresponding points."""

import jax.numpy as jnp

from geojax._core.checks import same_count
from geojax.shapes.base import AbstractFidelity


class Landmarks(AbstractFidelity):
    """`1/(2n) sum |x_i - y_i|^2`: points that correspond one by one.

    Its distance is the root mean square distance of the landmarks.

    Example:
        >>> import jax.numpy as jnp
        >>> float(Landmarks().distance(jnp.zeros((2, 2)), jnp.ones((2, 2)) * jnp.array([3.0, 4.0])))
        5.0

    Reference: `[joshi2000landmark]`.
    """

    def cross(self, points, target):
        return 0.5 * jnp.mean(jnp.sum(jnp.square(points - target), axis=-1))

    def target_term(self, target):
        return jnp.zeros((), target.dtype)

    def unit(self):
        return jnp.ones(())

    def coarser(self, factor):
        return self

    def check(self, source, target):
        same_count(source, target, "source", "target")
