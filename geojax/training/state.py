"""The state that a training carries from step to step, and the model it starts from."""

import functools
from typing import Any

import equinox as eqx
import jax
from flax import nnx
from jaxtyping import Array, Int, PRNGKeyArray, PyTree

from geojax.networks import ContinuousClassifier
from geojax.training.config import TrainConfig


class TrainState(eqx.Module):
    """Everything a training needs to go on: parameters, optimiser, count of steps, key.

    Attributes:
        graph: structure of the model (static).
        variables: its parameters.
        optimiser: state of the optimiser.
        step: steps taken so far.
        key: root key; the randomness of a step is a function of this and of `step` alone.
        average: moving average of the parameters; None if there is none.
    """

    graph: Any = eqx.field(static=True)
    variables: PyTree
    optimiser: PyTree
    step: Int[Array, ""]
    key: PRNGKeyArray
    average: PyTree = None

    @property
    def model(self) -> Any:
        """The model with the current parameters, or with their average if there is one."""
        chosen = self.variables if self.average is None else self.average
        return nnx.merge(self.graph, chosen)


def create_model(
    config: TrainConfig, num_features: int, num_classes: int, *, key: PRNGKeyArray, dtype: Any
) -> ContinuousClassifier:
    """A model with freshly drawn parameters.

    Args:
        config: what its velocity is like.
        num_features, num_classes: sizes of input and output.
        key: typed key, as `jax.random.key` makes them.
        dtype: of the parameters: that of the inputs.
    """
    return _create(key, num_features, num_classes, config.widths, config.activation, dtype)


# one compiled program instead of dozens of small ones
@functools.partial(jax.jit, static_argnums=(1, 2, 3, 4, 5))
def _create(key, num_features, num_classes, widths, activation, dtype):
    return ContinuousClassifier(
        num_features,
        num_classes,
        widths=widths,
        activation=activation,
        dtype=dtype,
        rngs=nnx.Rngs(key),
    )
