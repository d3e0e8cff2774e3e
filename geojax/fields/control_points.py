"""A velocity field carried by momenta on control points."""

from jaxtyping import Array, Float

from geojax.fields.base import AbstractField
from geojax.kernels import AbstractRadialKernel, KernelExpansion


class ControlPoints(AbstractField):
    """`v(x) = sum_j k(x, c_j) p_j`, constant in time.

    Args:
        kernel: radial kernel.
        points: control points c, `[m, d]`.
        momenta: one vector p for each, `[m, d]`.

    Example:
        >>> import jax.numpy as jnp
        >>> from geojax.kernels import Gaussian
        >>> field = ControlPoints(Gaussian(1.0), jnp.zeros((1, 2)), jnp.ones((1, 2)))
        >>> field(jnp.array(0.0), jnp.zeros((1, 2))).tolist()
        [[1.0, 1.0]]
    """

    kernel: AbstractRadialKernel
    points: Float[Array, "m d"]
    momenta: Float[Array, "m d"]

    def __call__(self, t, x: Float[Array, "*batch d"]) -> Float[Array, "*batch d"]:
        return KernelExpansion(self.kernel, self.points, self.momenta)(x)
