"""Point clouds without labels, compared by kernel means."""

import equinox as eqx
import jax.numpy as jnp

from geojax._core.errors import InputError
from geojax.kernels import AbstractRadialKernel, kernel_sum
from geojax.kernels.radial import squared_distances
from geojax.shapes.base import AbstractFidelity, as_kernel, coarser_kernel


class MMD(AbstractFidelity):
    """Half the squared maximum mean discrepancy of two clouds of equally weighted points.

    `1/2 |mean_i k(x_i, .) - mean_j k(y_j, .)|^2`, by matrix-free sums: memory is linear in the
    number of points.

    Args:
        kernel: over which distance points see each other; a `Gaussian` of the given scale if a
            number is passed. A sum of scales sees far and resolves near.

    Example:
        >>> import jax.numpy as jnp
        >>> cloud = jnp.array([[0.0, 0.0], [1.0, 0.0]])
        >>> abs(float(MMD(1.0)(cloud, cloud[::-1]))) < 1e-6
        True

    Reference: `[gretton2012kernel]`, `[glaunes2004diffeomorphic]`.
    """

    kernel: AbstractRadialKernel = eqx.field(converter=as_kernel)

    def cross(self, points, target):
        return 0.5 * self._inner(points, points) - self._inner(points, target)

    def target_term(self, target):
        return 0.5 * self._inner(target, target)

    def unit(self):
        return jnp.square(self.kernel.finest_scale)

    def curvature(self, points):
        # the Gauss-Newton part, without the terms that mix coordinates
        slope = self.kernel.derivative(squared_distances(points, points))
        return -2.0 * slope / points.shape[0] ** 2

    def coarser(self, factor):
        return eqx.tree_at(lambda f: f.kernel, self, coarser_kernel(self.kernel, factor))

    def check(self, source, target):
        if source.shape[0] < 1 or target.shape[0] < 1:
            raise InputError("Arguments source and target must hold at least one point.")

    def _inner(self, x, y):
        if x.shape[0] < y.shape[0]:
            x, y = y, x
        weights = jnp.full((y.shape[0], 1), 1.0 / y.shape[0], x.dtype)
        return jnp.mean(kernel_sum(self.kernel, x, y, weights))
