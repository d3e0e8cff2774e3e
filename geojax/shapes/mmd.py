"""Point clouds without labels, compared by kernel means."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from geojax._core.errors import InputError
from geojax.kernels import AbstractRadialKernel, kernel_sum
from geojax.kernels.radial import squared_distances
from geojax.shapes.base import AbstractFidelity, as_kernel, coarser_kernel
from geojax.shapes.weights import as_weights, check_count, padded_weights, shares


class MMD(AbstractFidelity):
    """Half the squared maximum mean discrepancy of two clouds of points.

    `1/2 |sum_i a_i k(x_i, .) - sum_j b_j k(y_j, .)|^2`, by matrix-free sums: memory is linear in
    the number of points.

    Args:
        kernel: over which distance points see each other; a `Gaussian` of the given scale if a
            number is passed. A sum of scales sees far and resolves near.
        source_weights, target_weights: how much each point counts, `[n]` and `[m]`, each summing to
            one; all the same by default.

    Example:
        >>> import jax.numpy as jnp
        >>> cloud = jnp.array([[0.0, 0.0], [1.0, 0.0]])
        >>> abs(float(MMD(1.0)(cloud, cloud[::-1]))) < 1e-6
        True

    Reference: `[gretton2012kernel]`, `[glaunes2004diffeomorphic]`.
    """

    kernel: AbstractRadialKernel = eqx.field(converter=as_kernel)

    source_weights: Float[Array, " n"] | None = eqx.field(default=None, converter=as_weights)
    target_weights: Float[Array, " m"] | None = eqx.field(default=None, converter=as_weights)

    def cross(self, points, target):
        source = points, shares(self.source_weights, points)
        other = target, shares(self.target_weights, target)
        return 0.5 * self._inner(source, source) - self._inner(source, other)

    def target_term(self, target):
        cloud = target, shares(self.target_weights, target)
        return 0.5 * self._inner(cloud, cloud)

    def unit(self):
        return jnp.square(self.kernel.finest_scale)

    def curvature(self, points, shares):
        # the Gauss-Newton part, without the terms that mix coordinates
        slope = self.kernel.derivative(squared_distances(points, points))
        return -2.0 * slope * shares[:, None] * shares[None]

    def coarser(self, factor):
        return eqx.tree_at(lambda f: f.kernel, self, coarser_kernel(self.kernel, factor))

    def check(self, source, target):
        if source.shape[0] < 1 or target.shape[0] < 1:
            raise InputError("Arguments source and target must hold at least one point.")
        check_count(self.source_weights, source.shape[0], "points of the source")
        check_count(self.target_weights, target.shape[0], "points of the target")

    def padded(self, before, after):
        ((n, m, *_),), ((size, other, *_),) = before, after
        weights = padded_weights(self.source_weights, n, size)
        return MMD(self.kernel, weights, padded_weights(self.target_weights, m, other))

    def _inner(self, first, second):
        if first[0].shape[0] < second[0].shape[0]:
            first, second = second, first
        (x, a), (y, b) = first, second
        return a @ kernel_sum(self.kernel, x, y, b[:, None])[:, 0]
