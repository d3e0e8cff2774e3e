"""Networks whose generators are local and commute with translations of the image."""

import math
from collections.abc import Sequence
from typing import Any, Literal

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Real

from geojax._core import checks
from geojax._core.errors import InputError
from geojax.networks.base import ACTIVATIONS, AbstractNetwork, Layer, check_activation
from geojax.networks.convolve import convolve


def check_image_shape(shape: Sequence[int]) -> tuple[int, int, int]:
    """Raise unless a shape is `(height, width, channels)`."""
    if not isinstance(shape, list | tuple) or len(shape) != 3:
        raise InputError(
            f"Argument image_shape must be (height, width, channels), but is {shape!r}; write "
            "(8, 8, 1) for grey images of 8 x 8 pixels."
        )
    height, width, channels = (checks.count(size, "image_shape") for size in shape)
    return height, width, channels


def _kernel_sides(size: int | Sequence[int]) -> tuple[int, int]:
    """Raise unless a size is that of both sides of a kernel, or `(height, width)`."""
    sides = size if isinstance(size, list | tuple) else (size, size)
    if len(sides) != 2:
        raise InputError(
            f"Argument kernel_size must be one number or (height, width), but is {size!r}; write "
            "(1, 5) for signals."
        )
    height, width = (checks.count(side, "kernel_size") for side in sides)
    return height, width


def _halved(shape: tuple[int, int, int], times: int) -> tuple[int, int] | None:
    """Height and width after so many halvings, None if there are none; one pixel stays one."""
    sides = shape[:2]
    if times < 0 or (times and max(sides) == 1):
        return None
    if any(side > 1 and side % 2**times for side in sides):
        return None
    height, width = (max(side >> times, 1) for side in sides)
    return height, width


def _convolution(
    inputs: int, outputs: int, kernel_size: int | Sequence[int], periodic: bool, **options: Any
):
    padding = "CIRCULAR" if periodic else "SAME"
    options |= {"padding": padding, "conv_general_dilated": convolve}
    return nnx.Conv(inputs, outputs, _kernel_sides(kernel_size), **options)


def _on_images(layer: Layer, shape: tuple[int, int, int]) -> Layer:
    """A map of images as one of flat states."""

    def flat(states):
        moved = layer(states.reshape(*states.shape[:-1], *shape))
        return moved.reshape(*states.shape[:-1], -1)

    return flat


def _pool(images: Float[Array, "*batch h w c"]) -> Float[Array, "*batch _ _ c"]:
    """Means of 2 x 2 pixels, or of 2 where the other side has one only."""
    *batch, h, w, c = images.shape
    rows, columns = min(h, 2), min(w, 2)
    return jnp.mean(
        images.reshape(*batch, h // rows, rows, w // columns, columns, c), axis=(-4, -2)
    )


class MeanReadout(nnx.Linear):
    """Logits of flat images, linear in the mean over their pixels: the place does not matter.

    Give it to `ContinuousClassifier(..., head=...)` beside a `ConvolutionalVelocity`.

    Args:
        in_features: channels of the images.
        out_features: number of classes.
        options: of `nnx.Linear`, such as `param_dtype` and `rngs`.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> head, x = MeanReadout(2, 3, rngs=nnx.Rngs(0)), jnp.arange(16.0).reshape(1, 16)
        >>> head(x).shape, bool(jnp.allclose(head(x), head(jnp.roll(x, 4, axis=1))))
        ((1, 3), True)
    """

    def __call__(self, inputs: Array, out_sharding: Any = None) -> Array:
        pixels = inputs.reshape(*inputs.shape[:-1], -1, self.in_features)
        return super().__call__(jnp.mean(pixels, axis=-2), out_sharding)


class ConvolutionalNetwork(AbstractNetwork):
    """Classifies images by local generators that commute with translations.

    A convolution lifts the image to `channels`; each layer is `x -> x + h s(w_k * x + b_k)`, or
    `x -> s(w_k * x + b_k)` if not `residual`; the answer is read off the mean over the pixels, so
    on a periodic grid it does not change when the image is shifted, or off all pixels.

    Args:
        image_shape: (height, width, channels) of the images, which come flat: `[..., h w c]`;
            signals are images of height 1.
        num_classes: number of classes.
        channels: of the states.
        stages: layers of each stage; between stages pixels are averaged two by two, which halves
            height and width; a side of one pixel stays.
        kernel_size: width of the kernels, in pixels, or (height, width).
        residual: whether layers are steps near the identity.
        periodic: whether the grid is a torus; zeros around it otherwise, and then a shift changes
            what is near the border.
        head: "mean" to read the mean over the pixels; "flat" to read every pixel by weights of its
            own, where the place tells the class.
        activation: s, name of an entry of `ACTIVATIONS`.
        dtype: of the parameters.
        rngs: where the initial parameters are drawn from.

    Raises:
        InputError: images that cannot be halved as often, or other arguments that cannot be.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> model = ConvolutionalNetwork((8, 8, 1), 10, channels=4, stages=(2, 1), rngs=nnx.Rngs(0))
        >>> [state.shape[-1] for state in model.states(jnp.ones((5, 64)))]
        [256, 256, 256, 64, 64]

        For signals, wherever in them the class shows:

        >>> options = {"kernel_size": (1, 5), "head": "flat", "rngs": nnx.Rngs(0)}
        >>> ConvolutionalNetwork((1, 40, 1), 3, **options)(jnp.ones((5, 40))).shape
        (5, 3)

    Reference: `[he2016deep]`.
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        num_classes: int,
        *,
        channels: int = 8,
        stages: Sequence[int] = (4,),
        kernel_size: int | Sequence[int] = 3,
        residual: bool = True,
        periodic: bool = True,
        head: Literal["mean", "flat"] = "mean",
        activation: str = "tanh",
        dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ):
        height, width, inputs = self.image_shape = check_image_shape(image_shape)
        self.num_features = math.prod(self.image_shape)
        self.num_classes = checks.count(num_classes, "num_classes", least=2)
        self.channels = checks.count(channels, "channels")
        self.stages = tuple(checks.count(count, "stages") for count in stages)
        last = _halved(self.image_shape, len(self.stages) - 1)
        if last is None:
            raise InputError(
                f"Argument stages must have one entry more than the {height} x {width} pixels can "
                f"be halved, but has {len(self.stages)}."
            )
        if head not in ("mean", "flat"):
            raise InputError(f"Argument head must be 'mean' or 'flat', but is {head!r}.")
        self.residual, self.activation = bool(residual), check_activation(activation)
        options: dict[str, Any] = {"param_dtype": dtype, "rngs": rngs}
        self.lift = _convolution(inputs, channels, kernel_size, periodic, **options)
        self.generators = nnx.List(
            _convolution(channels, channels, kernel_size, periodic, **options)
            for _ in range(sum(self.stages))
        )
        if head == "mean":
            self.head = MeanReadout(channels, num_classes, **options)
        else:
            self.head = nnx.Linear(channels * math.prod(last), num_classes, **options)

    def start(self, inputs: Float[Array, "*batch d"]) -> Float[Array, "*batch d0"]:
        return _on_images(self.lift, self.image_shape)(inputs)

    def layers(self, inputs: Float[Array, "*batch d"]) -> Sequence[Layer]:
        maps, generators = [], iter(self.generators)
        shape = *self.image_shape[:2], self.channels
        for stage, count in enumerate(self.stages):
            if stage:
                maps.append(_on_images(_pool, shape))
                shape = max(shape[0] // 2, 1), max(shape[1] // 2, 1), self.channels
            maps += [_on_images(self._layer(next(generators)), shape) for _ in range(count)]
        return maps

    def read(self, states: Float[Array, "*batch dL"]) -> Float[Array, "*batch classes"]:
        return self.head(states)

    def _layer(self, generator: nnx.Conv) -> Layer:
        activation = ACTIVATIONS[self.activation]
        if not self.residual:
            return lambda x: activation(generator(x))
        step = 1.0 / len(self.generators)
        return lambda x: x + step * activation(generator(x))


class ConvolutionalVelocity(nnx.Module):
    """A velocity `v(t, x)` of flat images, local and commuting with translations.

    Give it to `ContinuousClassifier(..., velocity=...)` for a convolutional network of continuous
    depth.

    Args:
        image_shape: (height, width, channels).
        hidden: channels between its two convolutions.
        kernel_size, periodic, activation, dtype, rngs: as for `ConvolutionalNetwork`.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> velocity = ConvolutionalVelocity((4, 4, 1), rngs=nnx.Rngs(0))
        >>> velocity(jnp.array(0.5), jnp.ones((3, 16))).shape
        (3, 16)
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        hidden: int = 16,
        *,
        kernel_size: int | Sequence[int] = 3,
        periodic: bool = True,
        activation: str = "silu",
        dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ):
        self.image_shape = check_image_shape(image_shape)
        self.activation = check_activation(activation)
        channels, hidden = self.image_shape[2], checks.count(hidden, "hidden")
        options: dict[str, Any] = {"param_dtype": dtype, "rngs": rngs}
        # the time is one more channel
        self.spread = _convolution(channels + 1, hidden, kernel_size, periodic, **options)
        self.gather = _convolution(hidden, channels, kernel_size, periodic, **options)

    def __call__(self, t: Real[Array, ""], x: Float[Array, "*batch d"]) -> Float[Array, "*batch d"]:
        images = x.reshape(*x.shape[:-1], *self.image_shape)
        time = jnp.broadcast_to(jnp.asarray(t, x.dtype), (*images.shape[:-1], 1))
        hidden = self.spread(jnp.concatenate([images, time], axis=-1))
        return self.gather(ACTIVATIONS[self.activation](hidden)).reshape(x.shape)


class ConvolutionalLift(nnx.Module):
    """Flat images as fewer pixels of more channels: what `ContinuousClassifier` may start from.

    Each of its convolutions takes every other pixel of each axis; a side of one pixel stays.

    Args:
        image_shape: (height, width, channels) of the images.
        channels: after each convolution.
        kernel_size, periodic, activation, dtype, rngs: as for `ConvolutionalNetwork`.

    Attributes:
        lifted_shape: (height, width, channels) of its answer.

    Raises:
        InputError: sides that cannot be halved as often.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> lift = ConvolutionalLift((8, 8, 1), (4, 6), rngs=nnx.Rngs(0))
        >>> lift.lifted_shape, lift(jnp.ones((3, 64))).shape
        ((2, 2, 6), (3, 24))
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        channels: Sequence[int] = (16, 32),
        *,
        kernel_size: int | Sequence[int] = 3,
        periodic: bool = False,
        activation: str = "silu",
        dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ):
        height, width, last = self.image_shape = check_image_shape(image_shape)
        self.activation = check_activation(activation)
        counts = [checks.count(count, "channels") for count in channels]
        halved = _halved(self.image_shape, len(counts))
        if not counts or halved is None:
            raise InputError(
                f"Argument channels must have one entry for each time that the {height} x {width} "
                f"pixels are halved, but is {channels!r}."
            )
        self.convolutions = nnx.List()
        for count in counts:
            options: dict[str, Any] = {"param_dtype": dtype, "rngs": rngs, "strides": 2}
            self.convolutions.append(_convolution(last, count, kernel_size, periodic, **options))
            last = count
        self.lifted_shape = *halved, last

    def __call__(self, x: Float[Array, "*batch d"]) -> Float[Array, "*batch d0"]:
        images = x.reshape(*x.shape[:-1], *self.image_shape)
        for convolution in self.convolutions:
            images = ACTIVATIONS[self.activation](convolution(images))
        return images.reshape(*x.shape[:-1], -1)
