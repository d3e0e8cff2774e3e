"""A convolution whose derivatives are as fast inside a loop as outside.

The derivatives that JAX makes of a convolution swap its axes. XLA puts them back in order in the
body of a program but not in the bodies of its loops, and there a processor falls back to a form
that takes ten to twenty times as long. Steps of a solver and of a training are such loops, so
here the axes of each derivative are put in order when it is taken.
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array, Float

_NUMBERS = ("NHWC", "HWIO", "NHWC")


def convolve(
    lhs: Float[Array, "n ..."],
    rhs: Float[Array, "..."],
    window_strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = None,
    feature_group_count: int = 1,
    **options: Any,
) -> Float[Array, "n ..."]:
    """`jax.lax.conv_general_dilated` of images, with derivatives that are fast in loops too.

    Hand it to a layer of your own, `nnx.Conv(..., conv_general_dilated=convolve)`, when a velocity
    that is to be integrated contains it. What is no plain convolution of images (other axes,
    groups, a precision, shares of `jax.shard_map`) goes to JAX's own.

    Args:
        lhs: images, `[n, height, width, channels]`.
        rhs: kernel, `[k_height, k_width, channels, channels of the answer]`.
        window_strides, padding, lhs_dilation, rhs_dilation, dimension_numbers,
            feature_group_count, options: as for `jax.lax.conv_general_dilated`.

    Raises:
        TypeError, ValueError: shapes that do not fit, as JAX raises them.

    Gradient: forward and reverse, any order.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> options = {"conv_general_dilated": convolve, "rngs": nnx.Rngs(0)}
        >>> nnx.Conv(2, 5, (3, 3), strides=2, **options)(jnp.ones((4, 8, 8, 2))).shape
        (4, 4, 4, 5)
    """
    ones = (1,) * (lhs.ndim - 2)
    strides, lhs_dilation = tuple(window_strides), tuple(lhs_dilation or ones)
    rhs_dilation = tuple(rhs_dilation or ones)
    numbers = jax.lax.conv_dimension_numbers(lhs.shape, rhs.shape, dimension_numbers)
    plain = (
        lhs.ndim == 4
        and numbers == jax.lax.conv_dimension_numbers(lhs.shape, rhs.shape, _NUMBERS)
        and feature_group_count == 1
        and all(value is None for value in options.values())
        and jax.config.jax_default_matmul_precision is None  # pyright: ignore
        and lhs.dtype == rhs.dtype
        and jnp.issubdtype(lhs.dtype, jnp.floating)
        and not (isinstance(padding, str) and max(lhs_dilation) > 1)
        # the shares of `jax.shard_map` have types of their own
        and not any(getattr(jax.typeof(x), "vma", None) for x in (lhs, rhs))
    )
    if plain and isinstance(padding, str):
        window = _dilated(rhs.shape[:2], rhs_dilation)
        padding = jax.lax.padtype_to_pads(lhs.shape[1:3], window, strides, padding)
    if plain:
        padding = tuple((int(low), int(high)) for low, high in padding)
        settings = {"strides": strides, "padding": padding}
        settings |= {"lhs_dilation": lhs_dilation, "rhs_dilation": rhs_dilation}
        if 0 not in (*lhs.shape, *rhs.shape, *_shape(lhs, rhs, **settings)):
            return _convolve.bind(lhs, rhs, **settings)
    return jax.lax.conv_general_dilated(
        lhs,
        rhs,
        strides,
        padding,
        lhs_dilation,
        rhs_dilation,
        numbers,
        feature_group_count,
        **options,
    )


def _native(lhs, rhs, *, strides, padding, lhs_dilation, rhs_dilation):
    return jax.lax.conv_general_dilated(
        lhs, rhs, strides, padding, lhs_dilation, rhs_dilation, _NUMBERS
    )


def _dilated(sizes: Sequence[int], dilation: Sequence[int]) -> tuple[int, ...]:
    return tuple((n - 1) * d + 1 for n, d in zip(sizes, dilation, strict=True))


def _shape(lhs, rhs, **settings):
    kinds = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in (lhs, rhs)]
    return jax.eval_shape(functools.partial(_native, **settings), *kinds).shape


def _abstract(lhs, rhs, **settings):
    return lhs.update(shape=_shape(lhs, rhs, **settings))


def _extents(lhs, rhs, out, strides, lhs_dilation, rhs_dilation):
    """Sizes of images, kernel and answer with their gaps, on each axis."""
    return zip(
        _dilated(lhs[1:3], lhs_dilation),
        _dilated(rhs[:2], rhs_dilation),
        _dilated(out[1:3], strides),
        strict=True,
    )


def _transpose_lhs(out, lhs, rhs, *, strides, padding, lhs_dilation, rhs_dilation):
    """Of the images: the answer's derivative, under the kernel turned around."""
    extents = _extents(lhs.aval.shape, rhs.shape, out.shape, strides, lhs_dilation, rhs_dilation)
    lows = [k - 1 - low for (low, _), k in zip(padding, _dilated(rhs.shape[:2], rhs_dilation))]
    highs = [n + k - 1 - m - low for low, (n, k, m) in zip(lows, extents, strict=True)]
    return _convolve.bind(
        out,
        jnp.swapaxes(rhs[::-1, ::-1], 2, 3),
        strides=lhs_dilation,
        padding=tuple(zip(lows, highs, strict=True)),
        lhs_dilation=strides,
        rhs_dilation=rhs_dilation,
    )


def _transpose_rhs(out, lhs, rhs, *, strides, padding, lhs_dilation, rhs_dilation):
    """Of the kernel: channels as images, and the answer's derivative as their kernel."""
    extents = _extents(lhs.shape, rhs.aval.shape, out.shape, strides, lhs_dilation, rhs_dilation)
    highs = [m - n + k - 1 - low for (low, _), (n, k, m) in zip(padding, extents, strict=True)]
    found = _convolve.bind(
        jnp.transpose(lhs, (3, 1, 2, 0)),
        jnp.transpose(out, (1, 2, 0, 3)),
        strides=rhs_dilation,
        padding=tuple((low, high) for (low, _), high in zip(padding, highs, strict=True)),
        lhs_dilation=lhs_dilation,
        rhs_dilation=strides,
    )
    return jnp.transpose(found, (1, 2, 0, 3))


def _batch(arguments, axes, **options):
    """Lanes of images are more images, lanes of kernels more channels of the answer."""
    (lhs, rhs), (at_lhs, at_rhs) = arguments, axes
    if at_lhs is None:
        rhs = jnp.moveaxis(rhs, at_rhs, 3)
        lanes, count = rhs.shape[3:]
        out = _convolve.bind(lhs, rhs.reshape(*rhs.shape[:3], lanes * count), **options)
        return out.reshape(*out.shape[:3], lanes, count), 3
    if at_rhs is None:
        lhs = jnp.moveaxis(lhs, at_lhs, 0)
        lanes, count = lhs.shape[:2]
        out = _convolve.bind(lhs.reshape(lanes * count, *lhs.shape[2:]), rhs, **options)
        return out.reshape(lanes, count, *out.shape[1:]), 0
    native = functools.partial(_native, **options)
    return jax.vmap(native, in_axes=(at_lhs, at_rhs))(lhs, rhs), 0


_convolve = Primitive("geojax_convolve")
_convolve.def_impl(
    jax.jit(_native, static_argnames=("strides", "padding", "lhs_dilation", "rhs_dilation"))
)
_convolve.def_abstract_eval(_abstract)
ad.defbilinear(_convolve, _transpose_lhs, _transpose_rhs)
batching.primitive_batchers[_convolve] = _batch
mlir.register_lowering(_convolve, mlir.lower_fun(_native, multiple_results=False))
