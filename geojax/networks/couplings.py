"""What the layers of an equilibrium network are made of: responses of units, and couplings."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Inexact

from geojax._core import checks
from geojax._core.errors import InputError
from geojax.networks.convolve import convolve


class Response(NamedTuple):
    """How a unit answers its drive, and the energy that makes this answer the minimum.

    Attributes:
        value: `rho(drive)`, increasing.
        energy: `Phi(s)`, the integral of the inverse of rho: `Phi(s) - s drive` is least at
            `s = rho(drive)`.
        analytic: whether rho has a complex derivative, as holomorphic estimators need.
    """

    value: Callable[[Array], Array]
    energy: Callable[[Array], Array]
    analytic: bool


def _entropy(s):
    return 0.25 * (jax.scipy.special.xlogy(s, s) + jax.scipy.special.xlog1py(1 - s, -s)) + 0.5 * s


def _logistic(x):
    # by tanh, which exists for complex numbers and does not overflow
    return 0.5 + 0.5 * jnp.tanh(2 * x - 1)


RESPONSES: dict[str, Response] = {
    # with this one the energy is Hopfield's, whose units stay between 0 and 1 by themselves
    "clip": Response(lambda x: jnp.clip(x, 0, 1), lambda s: 0.5 * jnp.square(s), False),
    # the clip with round corners: slope 1 in the middle
    "logistic": Response(_logistic, _entropy, True),
    "tanh": Response(
        jnp.tanh, lambda s: s * jnp.arctanh(s) + 0.5 * jnp.log1p(-jnp.square(s)), True
    ),
}


@dataclass(frozen=True)
class Convolution:
    """A layer of an `EquilibriumNetwork` that is coupled to the one below by a convolution.

    Args:
        channels: of the layer.
        kernel_size: pixels along each side of the kernel.
        stride: pixels from one place of the kernel to the next; there is no padding.
    """

    channels: int
    kernel_size: int = 3
    stride: int = 1


class Coupling(nnx.Module):
    """The affine map from one layer to the drive of the next; its transpose leads back.

    Args:
        shape: of the layer below: `(n,)`, or `(height, width, channels)`.
        layer: units of the layer above, or a convolution.
        dtype: of the parameters.
        rngs: where the kernel is drawn from (Glorot, uniform); biases begin at zero.
    """

    def __init__(
        self, shape: tuple[int, ...], layer: int | Convolution, *, dtype: Any, rngs: nnx.Rngs
    ):
        self.below = shape
        if isinstance(layer, Convolution):
            size, stride = layer.kernel_size, layer.stride
            for name in ("channels", "kernel_size", "stride"):
                checks.count(getattr(layer, name), f"layers: {name}")
            if len(shape) != 3 or min(shape[:2]) < size:
                raise InputError(
                    f"Argument layers has a convolution of {size} x {size} pixels over a layer of "
                    f"shape {list(shape)}; it needs (height, width, channels), at least as large "
                    "as the kernel. Give the shape of the inputs as num_features."
                )
            self.stride: int | None = stride
            kernel = (size, size, shape[2], layer.channels)
            self.above = (*((n - size) // stride + 1 for n in shape[:2]), layer.channels)
        else:
            self.stride = None
            kernel = (math.prod(shape), checks.count(layer, "layers"))
            self.above = (kernel[1],)
        draw = jax.nn.initializers.glorot_uniform()
        self.kernel = nnx.Param(draw(rngs.params(), kernel, dtype))
        self.bias = nnx.Param(jnp.zeros(kernel[-1:], dtype))

    def _linear(self, x: Float[Array, "n ..."]) -> Float[Array, "n ..."]:
        kernel = self.kernel[...]
        if self.stride is None:
            return x.reshape(x.shape[0], -1) @ kernel
        numbers = ("NHWC", "HWIO", "NHWC")
        strides = (self.stride, self.stride)
        return convolve(x, kernel, strides, "VALID", dimension_numbers=numbers)

    def _spread(self, function: Callable, x: Array, shape: tuple[int, ...]) -> Array:
        """A real linear map of `[n, ...]` on real or complex arrays with any leading axes."""
        lead = x.shape[: x.ndim - len(shape)]
        flat = x.reshape(-1, *shape)
        if jnp.iscomplexobj(x):
            out = function(jnp.concatenate([flat.real, flat.imag]))
            out = jax.lax.complex(out[: len(flat)], out[len(flat) :])
        else:
            out = function(flat)
        return out.reshape(*lead, *out.shape[1:])

    def up(self, below: Inexact[Array, "..."]) -> Inexact[Array, "..."]:
        """What the layer below does to the drive of the one above, without the bias."""
        return self._spread(self._linear, below, self.below)

    def down(self, above: Inexact[Array, "..."]) -> Inexact[Array, "..."]:
        """What the layer above does to the drive of the one below: the transpose of `up`."""

        def back(flat):
            like = jax.ShapeDtypeStruct((flat.shape[0], *self.below), flat.dtype)
            return jax.linear_transpose(self._linear, like)(flat)[0]

        return self._spread(back, above, self.above)

    def drive(self, below: Inexact[Array, "..."]) -> Inexact[Array, "..."]:
        """`up` with the bias."""
        drive = self.up(below)
        bias = self.bias[...].astype(drive.dtype)
        return drive + jnp.expand_dims(bias, tuple(range(drive.ndim - 1)))
