"""A classifier of continuous depth: a velocity moves the input until a linear read-out can tell."""

import itertools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.tree_util import Partial
from jaxtyping import Array, Float, Real

from geojax._core import checks
from geojax._core.errors import InputError
from geojax.fields import Neural
from geojax.flows import Path, integrate
from geojax.networks.base import ACTIVATIONS, AbstractNetwork, Layer, check_activation

# Parts of time that are looked at as the layers of a flow, and steps of the solver in each.
NUM_LAYERS, NUM_STEPS = 10, 2


class VelocityNetwork(nnx.Module):
    """A velocity `v(t, x)`: a fully connected network of place and time.

    The activations are smooth, so that an adaptive solver keeps its order.

    Args:
        num_features: dimension d of the place and of the velocity.
        widths: neurons of each hidden layer.
        activation: name of an entry of `ACTIVATIONS`.
        dtype: of the parameters.
        rngs: where the initial parameters are drawn from.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from flax import nnx
        >>> velocity = VelocityNetwork(3, (8,), rngs=nnx.Rngs(0))
        >>> velocity(jnp.array(0.5), jnp.ones((4, 3))).shape
        (4, 3)
    """

    def __init__(
        self,
        num_features: int,
        widths: Sequence[int] = (128, 128),
        *,
        activation: str = "silu",
        dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ):
        checks.count(num_features, "num_features")
        self.activation = check_activation(activation)
        # the time is one more input
        sizes = [num_features + 1, *(checks.count(w, "widths") for w in widths), num_features]
        self.layers = nnx.List(
            nnx.Linear(n, m, param_dtype=dtype, rngs=rngs) for n, m in itertools.pairwise(sizes)
        )

    def __call__(self, t: Real[Array, ""], x: Float[Array, "*batch d"]) -> Float[Array, "*batch d"]:
        time = jnp.broadcast_to(jnp.asarray(t, x.dtype), (*x.shape[:-1], 1))
        hidden = jnp.concatenate([x, time], axis=-1)
        for layer in self.layers[:-1]:
            hidden = ACTIVATIONS[self.activation](layer(hidden))
        return self.layers[-1](hidden)


class ContinuousClassifier(AbstractNetwork):
    """Moves its input along a velocity for one unit of time, then reads the class off linearly.

    It is the limit of a residual network of infinitely many layers with small steps; the energy
    of the path prices how much the layers do.

    Args:
        num_features: dimension d of the inputs.
        num_classes: number of classes.
        widths, activation, dtype: of the velocity, as for `VelocityNetwork`.
        velocity: a module `velocity(t, x)` in its place, such as `ConvolutionalVelocity`.
        lift: a module that makes the start of the path of an input, `[..., d] -> [..., d0]`, such
            as `ConvolutionalLift`; the input itself if None. The path begins after it.
        head: a module that reads the logits off the end of the path, such as `MeanReadout`; a
            linear map of the whole end if None.
        rngs: where the initial parameters are drawn from.

    Raises:
        InputError: sizes that cannot be, or a lift, a velocity or a head that fails on states
            or has another dimension.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> model = ContinuousClassifier(3, 2, widths=(8,), rngs=nnx.Rngs(0))
        >>> model(jnp.ones((4, 3))).shape
        (4, 2)
        >>> path = model.path(jnp.ones((4, 3)), num_steps=5)
        >>> path.states.shape, path.energy.shape
        ((6, 4, 3), (4,))

    Reference: [chen2018neural]
    """

    def __init__(
        self,
        num_features: int,
        num_classes: int,
        *,
        widths: Sequence[int] = (128, 128),
        activation: str = "silu",
        dtype: Any = jnp.float32,
        velocity: nnx.Module | None = None,
        lift: nnx.Module | None = None,
        head: nnx.Module | None = None,
        rngs: nnx.Rngs,
    ):
        self.num_features = checks.count(num_features, "num_features")
        self.num_classes = checks.count(num_classes, "num_classes", least=2)
        self.lift = lift
        like = jax.ShapeDtypeStruct((num_features,), dtype)
        dimension = _answer("lift", self.start, like)[-1]
        if velocity is None:
            velocity = VelocityNetwork(
                dimension, widths, activation=activation, dtype=dtype, rngs=rngs
            )
        time, states = (jax.ShapeDtypeStruct(x, dtype) for x in ((), (1, dimension)))
        _check_answer("velocity", dimension, velocity, time, states)
        self.velocity = velocity
        if head is None:
            head = nnx.Linear(dimension, num_classes, param_dtype=dtype, rngs=rngs)
        _check_answer("head", num_classes, head, states)
        self.head = head

    def start(self, inputs: Float[Array, "*batch d"]) -> Float[Array, "*batch d0"]:
        """The state before the path begins."""
        return inputs if self.lift is None else self.lift(inputs)

    @property
    def field(self) -> Neural:
        """The velocity as a field."""
        return Neural(self.velocity)

    def path(self, inputs: Float[Array, "*batch d"], **options: Any) -> Path:
        """The path of each input from time 0 to time 1.

        Args:
            inputs: `[..., d]`.
            options: keyword arguments of `geojax.integrate`, such as `num_steps`, `solver`,
                `stepsize_controller`, `save`, `throw`.
        """
        return integrate(self.field, self.start(inputs), **options)

    def layers(self, inputs: Float[Array, "*batch d"]) -> Sequence[Layer]:
        """The flow over each of ten equal parts of its time: what is measured as layers."""
        edges = jnp.linspace(0.0, 1.0, NUM_LAYERS + 1, dtype=inputs.dtype)
        return [Partial(_flow, self.field, *edges[k : k + 2]) for k in range(NUM_LAYERS)]

    def read(self, states: Float[Array, "*batch d"]) -> Float[Array, "*batch classes"]:
        """Logits of states at the end of their path."""
        return self.head(states)


def _answer(name: str, function: Any, *arguments: Any) -> tuple[int, ...]:
    """Shape of what a function answers to its last argument; raise if that has none."""
    shape = list(arguments[-1].shape)
    try:
        answer = jax.eval_shape(function, *arguments)
    except Exception as error:  # a module of the user's may raise anything
        raise InputError(
            f"Argument {name} must take arrays of shape {shape}, but fails on them "
            f"({type(error).__name__}: {error})."
        ) from error
    if not hasattr(answer, "shape"):
        raise InputError(
            f"Argument {name} must give an array for one of shape {shape}, but gives a "
            f"{type(answer).__name__}."
        )
    return answer.shape


def _check_answer(name: str, dimension: int, function: Any, *arguments: Any) -> None:
    """Raise unless a function of states, the last argument, has answers of a dimension."""
    found = _answer(name, function, *arguments)
    if found != (1, dimension):
        raise InputError(
            f"Argument {name} must give [1, {dimension}] at states {list(arguments[-1].shape)}, "
            f"where the paths lead, but gives {list(found)}."
        )


def _flow(field: Neural, t0: Array, t1: Array, x: Float[Array, "*batch d"]) -> Array:
    return integrate(field, x, t0=t0, t1=t1, num_steps=NUM_STEPS, save="end", throw=False).end
