"""Elements of a kernel's Hilbert space and of its dual, given by finitely many points."""

import equinox as eqx
from jaxtyping import Array, Float

from geojax.kernels.radial import AbstractRadialKernel
from geojax.kernels.sums import kernel_sum


class Diracs(eqx.Module):
    """The covector `sum_j b_j delta_(y_j)`: it pairs with a field by evaluating it at points.

    It is what the evaluation of a velocity field at points transposes to, so it is the momentum
    of moving points.
    """

    points: Float[Array, "m d"]
    weights: Float[Array, "m c"]


class KernelExpansion(eqx.Module):
    """The function `x -> sum_j k(x, y_j) b_j`: the Riesz dual of a sum of Diracs.

    For vector-valued weights it is the velocity field of finitely many momenta.

    Example:
        >>> import jax.numpy as jnp
        >>> from geojax.kernels import Gaussian, KernelExpansion
        >>> field = KernelExpansion(Gaussian(1.0), jnp.zeros((1, 2)), jnp.ones((1, 2)))
        >>> field(jnp.zeros(2)).tolist()
        [1.0, 1.0]
    """

    kernel: AbstractRadialKernel
    points: Float[Array, "m d"]
    weights: Float[Array, "m c"]

    def __call__(self, x: Float[Array, "*batch d"]) -> Float[Array, "*batch c"]:
        """Evaluate at points, any leading shape."""
        flat = x.reshape(-1, x.shape[-1])
        values = kernel_sum(self.kernel, flat, self.points, self.weights)
        return values.reshape(*x.shape[:-1], values.shape[-1])
