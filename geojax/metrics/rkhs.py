"""The metric of a reproducing-kernel Hilbert space of velocity fields."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from geojax.kernels import AbstractRadialKernel, Diracs, KernelExpansion, kernel_sum
from geojax.metrics.base import AbstractMetric


class RKHS(AbstractMetric):
    """Norm of the Hilbert space whose reproducing kernel is `kernel` (times the identity).

    A momentum is a sum of Diracs, its velocity the kernel expansion with the same points and
    weights: `sharp` is convolution with the kernel.

    Args:
        kernel: scalar radial kernel; its scale is the length over which points move together.

    Example:
        >>> import jax.numpy as jnp
        >>> from geojax.kernels import Diracs, Gaussian
        >>> metric = RKHS(Gaussian(1.0))
        >>> velocity = metric.sharp(Diracs(jnp.zeros((1, 2)), jnp.ones((1, 2))))
        >>> float(metric.energy(velocity))
        1.0

    Reference: `[younes2010shapes]`.
    """

    kernel: AbstractRadialKernel

    def sharp(self, momentum: Diracs) -> KernelExpansion:
        return KernelExpansion(self.kernel, momentum.points, momentum.weights)

    def flat(self, velocity: KernelExpansion) -> Diracs:
        return Diracs(velocity.points, velocity.weights)

    def energy(self, velocity: KernelExpansion) -> Float[Array, ""]:
        points, weights = velocity.points, velocity.weights
        return 0.5 * jnp.sum(weights * kernel_sum(self.kernel, points, points, weights))
