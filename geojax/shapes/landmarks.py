"""Corresponding points."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from geojax._core.checks import same_count
from geojax.shapes.base import AbstractFidelity
from geojax.shapes.weights import as_weights, check_count, padded_weights, shares


class Landmarks(AbstractFidelity):
    """`1/2 sum w_i |x_i - y_i|^2`: points that correspond one by one.

    Its distance is the root mean square distance of the landmarks.

    Args:
        weights: how much each landmark counts, `[n]`, summing to one; all the same by default.

    Example:
        >>> import jax.numpy as jnp
        >>> float(Landmarks().distance(jnp.zeros((2, 2)), jnp.ones((2, 2)) * jnp.array([3.0, 4.0])))
        5.0

    Reference: `[joshi2000landmark]`.
    """

    weights: Float[Array, " n"] | None = eqx.field(default=None, converter=as_weights)

    def cross(self, points, target):
        squares = jnp.sum(jnp.square(points - target), axis=-1)
        return 0.5 * jnp.sum(shares(self.weights, points) * squares)

    def target_term(self, target):
        return jnp.zeros((), target.dtype)

    def unit(self):
        return jnp.ones(())

    def coarser(self, factor):
        return self

    def check(self, source, target):
        same_count(source, target, "source", "target")
        check_count(self.weights, source.shape[0], "landmarks")

    def padded(self, before, after):
        ((count, *_),), ((size, *_),) = before, after
        return Landmarks(padded_weights(self.weights, count, size))
