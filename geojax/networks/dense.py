"""Fully connected networks of layers: plain ones, which jump, and residual ones, which step."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from geojax._core import checks
from geojax.networks.base import ACTIVATIONS, AbstractNetwork, Layer, check_activation


class PlainNetwork(AbstractNetwork):
    """Layers `x -> s(W_k x + b_k)` of one width: a curve of jumps, which has no limit in depth.

    Args:
        num_features: dimension d of the inputs.
        num_classes: number of classes.
        depth: number of layers.
        width: dimension of the states, to which a linear map lifts the inputs; None keeps that of
            the inputs, without a lift.
        activation: s, name of an entry of `ACTIVATIONS`.
        dtype: of the parameters.
        rngs: where the initial parameters are drawn from.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> model = PlainNetwork(3, 2, depth=4, width=8, rngs=nnx.Rngs(0))
        >>> model.path(jnp.ones((5, 3))).states.shape, model(jnp.ones((5, 3))).shape
        ((5, 5, 8), (5, 2))
    """

    def __init__(
        self,
        num_features: int,
        num_classes: int,
        *,
        depth: int = 8,
        width: int | None = None,
        activation: str = "tanh",
        dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ):
        self.num_features = checks.count(num_features, "num_features")
        self.num_classes = checks.count(num_classes, "num_classes", least=2)
        self.activation = check_activation(activation)
        size = num_features if width is None else checks.count(width, "width")
        options: dict[str, Any] = {"param_dtype": dtype, "rngs": rngs}
        self.lift = None if width is None else nnx.Linear(num_features, size, **options)
        self.generators = nnx.List(
            nnx.Linear(size, size, **options) for _ in range(checks.count(depth, "depth"))
        )
        self.head = nnx.Linear(size, num_classes, **options)

    def start(self, inputs: Float[Array, "*batch d"]) -> Float[Array, "*batch d0"]:
        return inputs if self.lift is None else self.lift(inputs)

    def layers(self, inputs: Float[Array, "*batch d"]) -> Sequence[Layer]:
        return [self._layer(generator) for generator in self.generators]

    def read(self, states: Float[Array, "*batch dL"]) -> Float[Array, "*batch classes"]:
        return self.head(states)

    def _layer(self, generator: nnx.Linear) -> Layer:
        return lambda x: ACTIVATIONS[self.activation](generator(x))


class ResidualNetwork(PlainNetwork):
    """Layers `x -> x + h s(W_k x + b_k)` near the identity: Euler's method for a flow.

    The parameters are those of `PlainNetwork`, drawn alike.

    Args:
        num_features, num_classes, depth, width, activation, dtype, rngs: as for `PlainNetwork`.
        step: h; one over the depth if None.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> model = ResidualNetwork(3, 2, depth=4, rngs=nnx.Rngs(0))
        >>> finer = model.refined(16)
        >>> x = jnp.ones((1, 3))
        >>> len(finer.generators), bool(jnp.max(jnp.abs(finer(x) - model(x))) < 0.1)
        (64, True)

    Reference: `[he2016deep]`, `[weinan2017proposal]`.
    """

    def __init__(
        self,
        num_features: int,
        num_classes: int,
        *,
        depth: int = 8,
        step: float | None = None,
        **options: Any,
    ):
        super().__init__(num_features, num_classes, depth=depth, **options)
        checks.positive(1.0 if step is None else step, "step")
        self.step = 1.0 / depth if step is None else float(step)

    def refined(self, factor: int) -> "ResidualNetwork":
        """The network of each layer in `factor` equal steps; its limit is a flow.

        The error against that flow is of the order of the steps. Plain layers have no such limit.
        """
        finer = nnx.clone(self)
        repeats = range(checks.count(factor, "factor"))
        finer.generators = nnx.List(nnx.clone(g) for g in self.generators for _ in repeats)
        finer.step = self.step / factor
        return finer

    def _layer(self, generator: nnx.Linear) -> Layer:
        return lambda x: x + self.step * ACTIVATIONS[self.activation](generator(x))
