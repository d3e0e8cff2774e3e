"""Fractal networks: curves of different length that join the same two ends, averaged."""

from collections.abc import Iterator, Sequence
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from geojax._core import checks
from geojax._core.errors import InputError
from geojax.networks.base import ACTIVATIONS, AbstractNetwork, Layer, check_activation


class FractalNetwork(AbstractNetwork):
    """Blocks of the self-similar rule `T_{c+1} = 1/2 (T_c o T_c + T_1)`.

    `T_1` is a step `x -> x + h s(W x + b)`; the two halves of a composition take half of its time
    each, so that all curves through a block, its columns, run for the same time: column j takes
    `2^j` steps. Where the generators are shared, the columns are Euler's method at different step
    sizes: they agree exactly if the velocity is constant, and to the order of the step otherwise.

    Args:
        num_features: dimension d of the inputs.
        num_classes: number of classes.
        depth: number of blocks, which are the layers.
        columns: c, at least 1; with 1 it is a residual network.
        width: dimension of the states; None keeps that of the inputs, without a lift.
        shared: whether a block has one generator; otherwise each of its `2^c - 1` steps has its
            own.
        activation: s, name of an entry of `ACTIVATIONS`.
        dtype: of the parameters.
        rngs: where the initial parameters are drawn from.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> model = FractalNetwork(3, 2, depth=2, columns=3, rngs=nnx.Rngs(0))
        >>> [len(block) for block in model.generators], model(jnp.ones((4, 3))).shape
        ([7, 7], (4, 2))

    Reference: `[larsson2017fractalnet]`.
    """

    def __init__(
        self,
        num_features: int,
        num_classes: int,
        *,
        depth: int = 2,
        columns: int = 3,
        width: int | None = None,
        shared: bool = False,
        activation: str = "tanh",
        dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ):
        self.num_features = checks.count(num_features, "num_features")
        self.num_classes = checks.count(num_classes, "num_classes", least=2)
        self.depth, self.columns = checks.count(depth, "depth"), checks.count(columns, "columns")
        self.activation = check_activation(activation)
        size = num_features if width is None else checks.count(width, "width")
        options: dict[str, Any] = {"param_dtype": dtype, "rngs": rngs}
        self.lift = None if width is None else nnx.Linear(num_features, size, **options)
        self.shared = bool(shared)
        count = 1 if shared else 2**columns - 1
        self.generators = nnx.List(
            nnx.List(nnx.Linear(size, size, **options) for _ in range(count)) for _ in range(depth)
        )
        self.head = nnx.Linear(size, num_classes, **options)

    def start(self, inputs: Float[Array, "*batch d"]) -> Float[Array, "*batch d0"]:
        return inputs if self.lift is None else self.lift(inputs)

    def layers(self, inputs: Float[Array, "*batch d"]) -> Sequence[Layer]:
        return [self._layer(block, None) for block in self.generators]

    def read(self, states: Float[Array, "*batch dL"]) -> Float[Array, "*batch classes"]:
        return self.head(states)

    def column(self, inputs: Float[Array, "*batch d"], number: int) -> Float[Array, "*batch dL"]:
        """Last states when all blocks take one column alone: `2^number` steps each.

        Args:
            inputs: `[..., d]`.
            number: from 0 to `columns - 1`.
        """
        if checks.count(number, "number", least=0) >= self.columns:
            raise InputError(
                f"Argument number must be less than the {self.columns} columns, but is {number}."
            )
        state = self.start(inputs)
        for block in self.generators:
            state = self._layer(block, number)(state)
        return state

    def _layer(self, block: Sequence[nnx.Linear], number: int | None) -> Layer:
        def unfold(x):
            own = iter([block[0]] * (2**self.columns - 1) if self.shared else block)
            return self._fractal(x, self.columns, 1.0 / self.depth, own, number)

        return unfold

    def _fractal(
        self, x: Array, level: int, time: float, own: Iterator[nnx.Linear], number: int | None
    ) -> Array:
        """`T_level` over a time; of a column alone, the other branches are dropped.

        Each branch takes its generators whether it is dropped or not, so that a step has the same
        one in every column.
        """
        step = x + time * ACTIVATIONS[self.activation](next(own)(x))
        if level == 1:
            return step
        deeper = None if number is None else max(number - 1, 0)
        half = self._fractal(x, level - 1, time / 2, own, deeper)
        long = self._fractal(half, level - 1, time / 2, own, deeper)
        if number is None:
            return 0.5 * (step + long)
        return step if number == 0 else long
