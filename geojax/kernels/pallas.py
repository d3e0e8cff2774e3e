"""Sums over pairs in registers: the form for GPUs, by Pallas and Triton.

Every program holds a block of rows, one to a lane, walks over a share of the columns a few at a
time, evaluates the weights of those pairs in registers and adds to accumulators that stay there:
of the matrix over pairs nothing is written. Few rows give few programs, so the columns are cut
into shares as well, whose totals are added at the end.

Elsewhere the same kernel runs interpreted, which is slow and serves to test it.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton
from jax.extend.core import ClosedJaxpr

from geojax._core.errors import InputError
from geojax.kernels import assembly

# Rows of one program: one for each lane of four warps.
_ROWS = 128
_WARPS = 4
# Columns of one step: powers of two, as many as leave the accumulators of a lane in registers.
_LEAST_COLUMNS = 4
_MOST_COLUMNS = 16
_ACCUMULATORS = 64
# Programs that keep a large GPU busy (132 multiprocessors, 16 blocks of 128 lanes on each).
_PROGRAMS = 2048
# Channels of a sum, and coordinates of a pair, beyond which they leave the registers.
_MOST_CHANNELS = 32
_MOST_COORDINATES = 64

# Indices of blocks are of one dtype, also where Python's integers are 64 bits wide.
_ZERO = np.int32(0)

# What Triton evaluates on numbers of a pair, by the names of JAX's primitives.
# fmt: off
ELEMENTWISE = frozenset({
    "abs", "acos", "acosh", "add", "add_any", "and", "asin", "asinh", "atan", "atan2", "atanh",
    "cbrt", "ceil", "clamp", "convert_element_type", "cos", "cosh", "div", "eq", "erf_inv",
    "exp", "exp2", "expm1", "floor", "ge", "gt", "integer_pow", "is_finite", "le", "log",
    "log1p", "logistic", "lt", "max", "min", "mul", "ne", "neg", "not", "or", "pow", "rem",
    "rsqrt", "select_n", "sign", "sin", "sinh", "sqrt", "square", "stop_gradient", "sub",
    "tan", "tanh", "xor",
})
# fmt: on


def suits(closed: ClosedJaxpr, products, x, y, a, b, features, theta) -> bool:
    """Whether a GPU takes the sums in registers: scalar elementwise weights, and few channels."""
    schedule, _, row_inner, _ = assembly.read(closed, products, x, y, a, b, theta, polynomial=False)
    coordinates = sum(v.shape[0] for v in [*x, *row_inner])
    return (
        schedule.scalar
        and schedule.primitives <= ELEMENTWISE
        and x[0].dtype in (jnp.float32, jnp.float64)
        and sum(f.shape[0] for f in features) <= _MOST_CHANNELS
        and coordinates <= _MOST_COORDINATES
    )


def sums(
    closed: ClosedJaxpr, products, x, y, a, b, features, theta, *, interpret: bool
) -> list[jax.Array]:
    """What `pairs.pair_sums` promises; arguments as those of `tiles.sums`.

    Raises:
        InputError: weights that a GPU does not evaluate, unless interpreted.
    """
    schedule, y, row_inner, col_inner = assembly.read(
        closed, products, x, y, a, b, theta, polynomial=False
    )
    strange = sorted(schedule.primitives - ELEMENTWISE)
    if not interpret and (strange or not schedule.scalar):
        what = f"evaluate {', '.join(strange)}" if strange else "hold arrays"
        raise InputError(
            f"The pallas form of a kernel sum cannot {what} for every pair on a GPU; write the "
            'profile of the kernel with elementwise operations, or choose form("tiles").'
        )
    # in registers another tile costs nothing to write, and channels cost accumulators
    return assembly.sums(
        functools.partial(_totals, interpret=interpret),
        schedule,
        products,
        x,
        y,
        row_inner,
        col_inner,
        features,
        most_channels=0,
    )


def _totals(schedule, nodes, products, x, y, row_inner, col_inner, *, interpret):
    """For every node its product with its channels, summed over the columns: `{node: [c, n]}`."""
    n, m, dtype = x[0].shape[1], y[0].shape[1], x[0].dtype
    channels = jnp.concatenate(list(nodes.values()))
    count = channels.shape[0]
    blocks = pl.cdiv(n, _ROWS)
    width = _MOST_COLUMNS
    while width > _LEAST_COLUMNS and width * count > _ACCUMULATORS:
        width //= 2
    shares = max(1, min(_PROGRAMS // blocks, pl.cdiv(m, 4 * width)))
    steps = pl.cdiv(m, shares * width)

    # repeated positions keep the weights of the padding finite; zero channels make them nothing
    row_places, rows = _stacked([*x, *row_inner], blocks * _ROWS)
    col_places, columns = _stacked([*y, *col_inner], shares * steps * width)
    channels = jnp.pad(channels, ((0, 0), (0, columns.shape[1] - m)))
    shared = schedule.shared(list(nodes))
    keys, packed = _packed(shared)

    def kernel(row_ref, col_ref, channel_ref, *refs):
        *packed_refs, out_ref = refs
        numbers = {key: _read(packed_refs[i], k) for key, (i, k) in keys.items()}
        xi = [[row_ref[k, :][None, :] for k in place] for place in row_places]

        def step(index, totals):
            here = pl.ds(index * width, width)
            yj = [[col_ref[k, here][:, None] for k in place] for place in col_places]
            e = [
                sum(
                    (xk - yk) * (xl - yl)
                    for xk, yk, xl, yl in zip(xi[k], yj[k], xi[l], yj[l], strict=True)
                )
                for k, l in products
            ]
            pairs = zip(xi[len(x) :], yj[len(x) :], strict=True)
            s = [sum(p * q for p, q in zip(*sides, strict=True)) for sides in pairs]
            weights = schedule.evaluate(list(nodes), [*e, *s], numbers)
            each = [
                w for w, f in zip(weights, nodes.values(), strict=True) for _ in range(f.shape[0])
            ]
            return [
                total + w * channel_ref[k, here][:, None]
                for k, (total, w) in enumerate(zip(totals, each, strict=True))
            ]

        start = [jnp.zeros((width, _ROWS), dtype) for _ in range(count)]
        totals = jax.lax.fori_loop(jnp.int32(0), jnp.int32(steps), step, start)
        for k, total in enumerate(totals):
            out_ref[k, :] = jnp.sum(total, axis=0)

    share = steps * width
    out = pl.pallas_call(
        kernel,
        grid=(blocks, shares),
        in_specs=[
            pl.BlockSpec((rows.shape[0], _ROWS), lambda i, j: (_ZERO, i)),
            pl.BlockSpec((columns.shape[0], share), lambda i, j: (_ZERO, j)),
            pl.BlockSpec((count, share), lambda i, j: (_ZERO, j)),
            *(pl.BlockSpec(v.shape, lambda i, j, v=v: (_ZERO,) * v.ndim) for v in packed),
        ],
        out_specs=pl.BlockSpec((None, count, _ROWS), lambda i, j: (j, _ZERO, i)),
        out_shape=jax.ShapeDtypeStruct((shares, count, blocks * _ROWS), dtype),
        compiler_params=triton.CompilerParams(num_warps=_WARPS),
        interpret=interpret,
        name="pair_sums",
    )(rows, columns, channels, *packed)
    out = jnp.sum(out, axis=0)[:, :n]
    ends = np.cumsum([f.shape[0] for f in nodes.values()])[:-1]
    return dict(zip(nodes, jnp.split(out, ends), strict=True))


def _stacked(vectors, size):
    """Different vectors once, below one another and padded to a size; where each one stands."""
    places, held, start = {}, [], 0
    for v in vectors:
        if id(v) not in places:
            places[id(v)] = range(start, start + v.shape[0])
            held.append(v)
            start += v.shape[0]
    whole = jnp.concatenate(held)
    whole = jnp.pad(whole, ((0, 0), (0, size - whole.shape[1])), mode="edge")
    return [places[id(v)] for v in vectors], whole


def _packed(shared):
    """Scalars by dtype in one array each, other arrays as they are; `{key: (array, place)}`."""
    arrays: list = []
    keys = {}
    by_dtype: dict = {}
    for key, value in shared.items():
        if value.ndim:
            keys[key] = len(arrays), None
            arrays.append(value)
        else:
            by_dtype.setdefault(value.dtype, []).append((key, value))
    for scalars in by_dtype.values():
        keys |= {key: (len(arrays), k) for k, (key, _) in enumerate(scalars)}
        arrays.append(jnp.stack([value for _, value in scalars]))
    return keys, arrays


def _read(ref, place):
    return ref[...] if place is None else ref[place]
