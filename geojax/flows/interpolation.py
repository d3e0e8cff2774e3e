"""Interpolation on regular grids: anywhere, and the fast linear form for maps of a grid.

On a CPU the transpose of an interpolation, a scatter-add, costs ten times the interpolation if
left to automatic differentiation. `shifted` therefore has a derivative of its own. Where no point
moves by more than one spacing, interpolation and transpose are sums over the nearest 3^d points:
shifts of whole arrays, neither gather nor scatter. Channels are unrolled, because XLA fuses
elementwise operations into one loop but not sums over a short axis.
"""

import functools
import itertools
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from geojax._core.errors import InputError

# How fields go on beyond the ends of a grid: with their last value, with zero, or periodically.
Ends = Literal["edge", "zero", "wrap"]
_PADDING = {"edge": "edge", "zero": "constant", "wrap": "wrap"}


def sample(
    values: Float[Array, "*lead_and_grid"],
    indices: Float[Array, "d *places"],
    *,
    order: int = 1,
    ends: Ends = "edge",
) -> Float[Array, "*lead_and_places"]:
    """Values of fields at places between the points of their grid.

    Args:
        values: one field `[*grid]`, or several with leading axes.
        indices: fractional indices of the places, `[d, *places]`.
        order: 0 for the nearest value, 1 for linear interpolation, 3 for cubic convolution.
        ends: how fields go on beyond the ends: with their last value (`"edge"`), with zero
            (`"zero"`), or periodically (`"wrap"`).

    Raises:
        InputError: another order.

    Gradient: forward and reverse, any order, in the values, and for orders 1 and 3 in the places;
    linear interpolation has kinks at the points of the grid.

    Example:
        >>> import jax.numpy as jnp
        >>> sample(jnp.arange(4.0), jnp.array([[0.5, 2.25, 9.0]])).tolist()
        [0.5, 2.25, 3.0]

    Reference: `[keys1981cubic]`.
    """
    if order not in (0, 1, 3):
        raise InputError(f"Argument order must be 0, 1 or 3, but is {order!r}.")
    d, places = indices.shape[0], indices.shape[1:]
    lead, grid = values.shape[: values.ndim - d], values.shape[values.ndim - d :]
    whole = [jnp.round(i) if order == 0 else jnp.floor(i) for i in indices]
    weights = [_weights(i - w, order) for i, w in zip(indices, whole, strict=True)]
    fields = values.reshape(-1, *grid)
    totals: list[Any] = [0.0] * fields.shape[0]
    for corner in itertools.product(weights[0], repeat=d):
        place = _flat_index([w.astype(jnp.int32) for w in whole], corner, grid, ends)
        weight = _product([weights[a][offset] for a, offset in enumerate(corner)])
        weight = (weight * _seen(whole, corner, grid, ends, weight.dtype)).astype(values.dtype)
        for k in range(fields.shape[0]):
            totals[k] = totals[k] + weight * _take(fields[k], place)
    return jnp.stack(totals).reshape(*lead, *places)


def _weights(fraction, order: int) -> dict[int, Array]:
    """Weight of each neighbour, by its distance along the axis from the whole part."""
    f = fraction
    if order == 0:
        return {0: jnp.ones_like(f)}
    if order == 1:
        return {0: 1 - f, 1: f}
    # exact for quadratic functions, and continuously differentiable
    return {
        -1: f * (-0.5 + f * (1 - 0.5 * f)),
        0: 1 + f * f * (-2.5 + 1.5 * f),
        1: f * (0.5 + f * (2 - 1.5 * f)),
        2: f * f * (-0.5 + 0.5 * f),
    }


def indices_of(grid: tuple[int, ...], dtype: Any) -> Float[Array, "d *grid"]:
    """The indices of all points of a grid."""
    return jnp.stack(jnp.meshgrid(*[jnp.arange(n, dtype=dtype) for n in grid], indexing="ij"))


def shifted(
    values: Float[Array, "c *grid"], shift: Float[Array, "d *grid"], ends: Ends = "edge"
) -> Float[Array, "c *grid"]:
    """Fields at `x + shift(x)` by linear interpolation, for shifts in units of the spacing.

    The value of `sample`, with a faster derivative. Where all shifts are at most one (under `vmap`
    those of all lanes), it takes the form without gathers.

    Gradient: reverse, first order.
    """
    small = _all_small(jax.lax.stop_gradient(shift))
    return jax.lax.cond(small, _near(ends), _far(ends), values, shift)


@jax.custom_batching.custom_vmap
def _all_small(shift):
    return jnp.max(jnp.abs(shift)) <= 1


@_all_small.def_vmap
def _all_small_of_all(axis_size, batched, shift):
    # one answer for all lanes: a condition for each would compute both forms everywhere
    return _all_small(shift), False


def _near(ends: Ends) -> Callable[[Array, Array], Array]:
    """Interpolation by the nearest points, for shifts of at most one."""

    @jax.custom_vjp
    def near(values, shift):
        padded, weights = _widened(values, shift.shape[0], ends), _tents(shift)
        return jnp.stack([_nested(field, weights, (), shift.shape[1:]) for field in padded])

    def backward(saved, cotangent):
        values, shift = saved
        return (
            _near_transposed(shift, cotangent, ends),
            _near_slope(values, shift, cotangent, ends),
        )

    near.defvjp(lambda values, shift: (near(values, shift), (values, shift)), backward)
    return near


def _far(ends: Ends) -> Callable[[Array, Array], Array]:
    """Interpolation by gathers, for any shift."""

    @jax.custom_vjp
    def far(values, shift):
        places = indices_of(shift.shape[1:], shift.dtype) + shift
        return sample(values, places, ends=ends)

    def backward(saved, cotangent):
        values, shift = saved
        return (
            _far_transposed(shift, cotangent, ends),
            _far_slope(values, shift, cotangent, ends),
        )

    far.defvjp(lambda values, shift: (far(values, shift), (values, shift)), backward)
    return far


# -- near -------------------------------------------------------------------------------------


def _widened(values, d: int, ends: Ends):
    """Fields with one more point at each end."""
    return jnp.pad(values, [(0, 0)] + [(1, 1)] * d, mode=_PADDING[ends])


def _tents(shift) -> list[dict[int, Array]]:
    """Along each axis the weights of the point before, the point itself, and the one after."""
    return [{-1: jnp.maximum(-f, 0), 0: 1 - jnp.abs(f), 1: jnp.maximum(f, 0)} for f in shift]


def _tent_slopes(shift) -> list[dict[int, Array]]:
    slopes = []
    for f in shift:
        # at rest the mean of both sides, so that a search that starts there leans to neither
        up = 0.5 * (1 + jnp.sign(f))
        slopes.append({-1: up - 1, 0: 1 - 2 * up, 1: up})
    return slopes


def _nested(padded, weights, offsets: tuple[int, ...], grid: tuple[int, ...]):
    """Sum over the neighbours, one axis inside the other."""
    axis = len(offsets)
    if axis == len(grid):
        return padded[tuple(slice(1 + k, 1 + k + n) for k, n in zip(offsets, grid, strict=True))]
    return sum(weights[axis][k] * _nested(padded, weights, (*offsets, k), grid) for k in (-1, 0, 1))


def _near_slope(values, shift, cotangent, ends: Ends):
    d, grid = shift.shape[0], shift.shape[1:]
    padded, weights, slopes = _widened(values, d, ends), _tents(shift), _tent_slopes(shift)

    def seen(offsets):
        there = tuple(slice(1 + k, 1 + k + n) for k, n in zip(offsets, grid, strict=True))
        return sum(p[there] * c for p, c in zip(padded, cotangent, strict=True))

    def along(axis: int, offsets: tuple[int, ...]):
        """The derivative along an axis: its slopes in place of its weights."""
        if len(offsets) == d:
            return seen(offsets)
        here = (slopes if len(offsets) == axis else weights)[len(offsets)]
        return sum(here[k] * along(axis, (*offsets, k)) for k in (-1, 0, 1))

    return jnp.stack([along(axis, ()) for axis in range(d)])


def _near_transposed(shift, cotangent, ends: Ends):
    d, grid = shift.shape[0], shift.shape[1:]
    # every point collects from those whose neighbour it is; the ends of the wider grid fold back
    wide = tuple(n + 2 for n in grid)
    # padded once, apart from the sum, which would ask at each point whether it is in the padding
    border = [(0, 0)] + [(2, 2)] * d
    shift, sources = jax.lax.optimization_barrier(
        (jnp.pad(shift, border), jnp.pad(cotangent, border))
    )
    weights = _tents(shift)
    totals: list[Any] = [0.0] * cotangent.shape[0]
    for offsets in itertools.product((-1, 0, 1), repeat=d):
        there = tuple(slice(1 - k, 1 - k + n) for k, n in zip(offsets, wide, strict=True))
        weight = _product([weights[a][k][there] for a, k in enumerate(offsets)])
        for j in range(cotangent.shape[0]):
            totals[j] = totals[j] + weight * sources[j][there]
    like = jax.ShapeDtypeStruct(cotangent.shape, cotangent.dtype)
    fold = jax.linear_transpose(lambda x: _widened(x, d, ends), like)
    return fold(jnp.stack(totals))[0]


# -- far --------------------------------------------------------------------------------------


def _far_slope(values, shift, cotangent, ends: Ends):
    d, grid = shift.shape[0], shift.shape[1:]
    whole, fraction = _split(shift)
    totals: list[Any] = [0.0] * d
    for corner in itertools.product((0, 1), repeat=d):
        place = _flat_index(whole, corner, grid, ends)
        seen: Any = sum(_take(v, place) * c for v, c in zip(values, cotangent, strict=True))
        seen = seen * _seen(whole, corner, grid, ends, shift.dtype)
        for a in range(d):
            parts = [_side(fraction[b], k) for b, k in enumerate(corner) if b != a]
            totals[a] = totals[a] + (seen if corner[a] else -seen) * _product(parts)
    return jnp.stack(totals)


def _far_transposed(shift, cotangent, ends: Ends):
    channels, grid = cotangent.shape[0], shift.shape[1:]
    whole, fraction = _split(shift)
    # one scatter of all corners, with channels side by side: three times faster than one of each
    rows = cotangent.reshape(channels, -1).T
    places, updates = [], []
    for corner in itertools.product((0, 1), repeat=len(grid)):
        places.append(_flat_index(whole, corner, grid, ends).reshape(-1))
        weight = _product([_side(f, k) for f, k in zip(fraction, corner, strict=True)])
        weight = weight * _seen(whole, corner, grid, ends, shift.dtype)
        updates.append(rows * weight.reshape(-1, 1))
    total = (
        jnp.zeros_like(rows)
        .at[jnp.concatenate(places)]
        .add(jnp.concatenate(updates), mode="promise_in_bounds")
    )
    return total.T.reshape(cotangent.shape)


def _split(shift):
    """Whole parts of the places, and the fractions."""
    places = indices_of(shift.shape[1:], shift.dtype) + shift
    whole = jnp.floor(places)
    return list(whole.astype(jnp.int32)), list(places - whole)


def _side(fraction, corner: int):
    return fraction if corner else 1 - fraction


def _flat_index(whole, corner, grid, ends: Ends):
    place: Any = 0
    for axis, n in enumerate(grid):
        index = whole[axis] + corner[axis]
        index = jnp.mod(index, n) if ends == "wrap" else jnp.clip(index, 0, n - 1)
        place = place * n + index
    return place


def _seen(whole, corner, grid, ends: Ends, dtype) -> Any:
    """One where there is a value, zero where fields go on with zero."""
    if ends != "zero":
        return 1.0
    index = [w.astype(jnp.int32) + k for w, k in zip(whole, corner, strict=True)]
    inside = [(i >= 0) & (i < n) for i, n in zip(index, grid, strict=True)]
    return functools.reduce(jnp.logical_and, inside).astype(dtype)


def _take(field, place):
    return field.reshape(-1).at[place].get(mode="promise_in_bounds")


def _product(parts: list[Any]) -> Any:
    total = parts[0] if parts else 1.0
    for part in parts[1:]:
        total = total * part
    return total
