"""Networks of one generator used again and again: along a sequence, and up a binary tree."""

import math
from collections.abc import Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jax.tree_util import Partial
from jaxtyping import Array, Float

from geojax._core import checks
from geojax._core.errors import InputError
from geojax.networks.base import ACTIVATIONS, AbstractNetwork, Layer, check_activation


class RecurrentNetwork(AbstractNetwork):
    """A stationary generator driven by its input: the layers are the times of a sequence.

    With `z` between 0 and 1, of the state and the input like the candidate c,

        plain:  h -> c(h, u_t),    c = tanh(W h + U u_t + b)
        gated:  h -> h + z(h, u_t) (c(h, u_t) - h)

    so the gated cell is near the identity where its gate is small: in the beginning, where
    `z = 1 / length`.

    Args:
        length: number of times T.
        num_inputs: numbers u that come in at each; the input is the sequence, flat: `[..., T u]`.
        num_classes: number of classes.
        width: dimension of the hidden state, which starts at zero.
        cell: "plain" or "gated".
        dtype: of the parameters.
        rngs: where the initial parameters are drawn from.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> model = RecurrentNetwork(6, 2, 3, width=5, rngs=nnx.Rngs(0))
        >>> model.path(jnp.ones((4, 12))).states.shape, model(jnp.ones((4, 12))).shape
        ((7, 4, 5), (4, 3))

    Reference: `[cho2014learning]`, `[tallec2018can]`.
    """

    def __init__(
        self,
        length: int,
        num_inputs: int,
        num_classes: int,
        *,
        width: int = 32,
        cell: Literal["plain", "gated"] = "gated",
        dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ):
        self.length = checks.count(length, "length")
        self.num_inputs = checks.count(num_inputs, "num_inputs")
        self.num_features = length * num_inputs
        self.num_classes = checks.count(num_classes, "num_classes", least=2)
        self.width = checks.count(width, "width")
        if cell not in ("plain", "gated"):
            raise InputError(f"Argument cell must be 'plain' or 'gated', but is {cell!r}.")
        options: dict[str, Any] = {"param_dtype": dtype, "rngs": rngs}
        self.candidate = nnx.Linear(width + num_inputs, width, **options)
        # odds of 1 / T: what is in the state stays for about the length of a sequence
        odds = nnx.initializers.constant(-math.log(max(length - 1, 1)))
        self.gate = (
            nnx.Linear(width + num_inputs, width, bias_init=odds, **options)
            if cell == "gated"
            else None
        )
        self.head = nnx.Linear(width, num_classes, **options)

    def start(self, inputs: Float[Array, "*batch d"]) -> Float[Array, "*batch width"]:
        return jnp.zeros((*inputs.shape[:-1], self.width), inputs.dtype)

    def layers(self, inputs: Float[Array, "*batch d"]) -> Sequence[Layer]:
        sequence = inputs.reshape(*inputs.shape[:-1], self.length, self.num_inputs)
        cell = self.candidate, self.gate
        return [Partial(_cell, *cell, sequence[..., t, :]) for t in range(self.length)]

    def read(self, states: Float[Array, "*batch width"]) -> Float[Array, "*batch classes"]:
        return self.head(states)


def _cell(candidate, gate, arriving, hidden):
    both = jnp.concatenate([hidden, arriving], axis=-1)
    proposed = jnp.tanh(candidate(both))
    if gate is None:
        return proposed
    return hidden + jax.nn.sigmoid(gate(both)) * (proposed - hidden)


class RecursiveNetwork(AbstractNetwork):
    """One generator on a binary tree: every node merges its two children by the same map.

    The leaves are lifted linearly; a node is `m + h s(W (a, b) + c)` with the mean m of its
    children a and b, and h one over the depth. Twins merge to their own step, so that a tree of
    equal leaves is the orbit of a stationary generator. The states are the nodes of a level, whose
    number halves: such a path has no displacements.

    Args:
        depth: levels above the leaves.
        num_inputs: numbers u of each leaf; the input is all leaves, flat: `[..., 2^depth u]`.
        num_classes: number of classes.
        width: dimension of a node.
        symmetric: whether a node is the same when its children change places; then so is the
            answer for every such change in the tree.
        activation: s, name of an entry of `ACTIVATIONS`.
        dtype: of the parameters.
        rngs: where the initial parameters are drawn from.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> model = RecursiveNetwork(3, 2, 4, width=5, rngs=nnx.Rngs(0))
        >>> [state.shape for state in model.states(jnp.ones((7, 16)))]
        [(7, 40), (7, 20), (7, 10), (7, 5)]

    Reference: `[socher2011parsing]`.
    """

    def __init__(
        self,
        depth: int,
        num_inputs: int,
        num_classes: int,
        *,
        width: int = 32,
        symmetric: bool = False,
        activation: str = "tanh",
        dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ):
        self.depth = checks.count(depth, "depth")
        self.num_inputs = checks.count(num_inputs, "num_inputs")
        self.num_features = 2**depth * num_inputs
        self.num_classes = checks.count(num_classes, "num_classes", least=2)
        self.width = checks.count(width, "width")
        self.symmetric, self.activation = bool(symmetric), check_activation(activation)
        options: dict[str, Any] = {"param_dtype": dtype, "rngs": rngs}
        self.lift = nnx.Linear(num_inputs, width, **options)
        self.generator = nnx.Linear(width if symmetric else 2 * width, width, **options)
        self.head = nnx.Linear(width, num_classes, **options)

    def start(self, inputs: Float[Array, "*batch d"]) -> Float[Array, "*batch d0"]:
        batch = inputs.shape[:-1]
        return self.lift(inputs.reshape(*batch, -1, self.num_inputs)).reshape(*batch, -1)

    def layers(self, inputs: Float[Array, "*batch d"]) -> Sequence[Layer]:
        return [self._merge] * self.depth

    def read(self, states: Float[Array, "*batch width"]) -> Float[Array, "*batch classes"]:
        return self.head(states)

    def _merge(self, nodes: Float[Array, "*batch d"]) -> Float[Array, "*batch d/2"]:
        batch = nodes.shape[:-1]
        pairs = nodes.reshape(*batch, -1, 2, self.width)
        mean = jnp.mean(pairs, axis=-2)
        both = mean if self.symmetric else pairs.reshape(*mean.shape[:-1], 2 * self.width)
        step = ACTIVATIONS[self.activation](self.generator(both)) / self.depth
        return (mean + step).reshape(*batch, -1)
