"""Sums over pairs on tiles that fit the cache: the form for XLA on any device.

Columns run along the rows of a tile and rows along its lanes, so that the sum over columns is the
one orientation of matrix product, `features[c, j] @ weights[j, i]`, that XLA's CPU compiler makes
fast. Measured on two cores, tiles of 2 MB are as fast as larger ones.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Literal
from jax.extend.core.primitives import exp_p

# Rows and columns of one tile. Rows beyond are taken one block after another.
_ROWS = 2048
_COLUMNS = 256

# 2^x on [-1/2, 1/2] to one unit in the last place of float32, and exactly one at zero (minimax fit).
_EXP2 = (
    0.001326472712360171,
    0.009671512644825192,
    0.05550733743497011,
    0.2402224208526231,
    0.6931469775989926,
    1.0,
)


def sums(weights, products, x, y, a, b, features, theta):
    """What `pairs.pair_sums` promises; y is None where rows and columns are the same points."""
    symmetric = y is None
    n = x[0].shape[1]
    m = n if symmetric else y[0].shape[1]
    b = [left if right is None else right for left, right in zip(a, b, strict=True)]
    rows = (x, a, b if symmetric else [])
    cols = (x if symmetric else y, b, a if symmetric else [])
    row_blocks, row_size = _blocks(n, _ROWS)
    col_blocks, col_size = _blocks(m, _COLUMNS)
    # repeated positions keep the weights of the padding finite; zero features make them nothing
    cols = jax.tree.map(lambda v: _cut(v, col_blocks, col_size, "edge"), cols)
    features = [_cut(f, col_blocks, col_size, "constant") for f in features]
    pairwise = _over_pairs(weights)

    def tile(rows, cols, features):
        (xi, ai, bi), (yj, bj, aj) = rows, cols
        e = [_dot_differences(xi[k], yj[k], xi[l], yj[l]) for k, l in products]
        s = [_inner(left, right) for left, right in zip(ai, bj, strict=True)]
        t = [_inner(right, left) for left, right in zip(aj, bi, strict=True)]
        shape = features[0].shape[1], jax.tree.leaves(rows)[0].shape[1]
        return [
            jnp.dot(f, jnp.broadcast_to(w, shape), precision="highest")
            for f, w in zip(features, pairwise(e, s, t, theta, shape), strict=True)
        ]

    def row_block(rows):
        if col_blocks == 1:
            return tile(rows, *jax.tree.map(lambda v: v[0], (cols, features)))

        def add(total, block):
            return jax.tree.map(jnp.add, total, tile(rows, *block)), None

        size = jax.tree.leaves(rows)[0].shape[1]
        start = [jnp.zeros((f.shape[1], size), f.dtype) for f in features]
        return jax.lax.scan(add, start, (cols, features))[0]

    if row_blocks == 1:
        return row_block(rows)
    rows = jax.tree.map(lambda v: _cut(v, row_blocks, row_size, "edge"), rows)
    out = jax.lax.map(row_block, rows)
    return [jnp.moveaxis(o, 0, 1).reshape(o.shape[1], -1)[:, :n] for o in out]


def _blocks(count: int, largest: int) -> tuple[int, int]:
    """How many equal blocks of at most a size, and that size."""
    number = max(1, -(-count // largest))
    return number, -(-count // number)


def _cut(v, number, size, mode):
    """`[c, n]` as `[number, c, size]`, padded at the end."""
    v = jnp.pad(v, ((0, 0), (0, number * size - v.shape[1])), mode=mode)
    return jnp.moveaxis(v.reshape(v.shape[0], number, size), 1, 0)


def _dot_differences(x, y, u, v):
    """`(x_i - y_j).(u_i - v_j)`, coordinate by coordinate: an expanded square would cancel."""
    total = None
    for k in range(x.shape[0]):
        left = x[k][None, :] - y[k][:, None]
        right = left if x is u and y is v else u[k][None, :] - v[k][:, None]
        total = left * right if total is None else total + left * right
    return total


def _inner(row, col):
    total = None
    for k in range(row.shape[0]):
        term = row[k][None, :] * col[k][:, None]
        total = term if total is None else total + term
    return total


def _over_pairs(weights):
    """Scalar weights applied to whole tiles."""

    def evaluate(e, s, t, theta, shape):
        values = e, s, t
        if not jax.tree.leaves(values):  # weights that are the same for all pairs
            return [jnp.broadcast_to(w, shape) for w in weights(e, s, t, theta)]
        scalar = lambda e, s, t: list(weights(e, s, t, theta))  # noqa: E731
        return jax.vmap(jax.vmap(scalar))(*values)

    return evaluate


def with_fast_exponential(closed: ClosedJaxpr) -> ClosedJaxpr:
    """The same function with the exponentials of float32 replaced by a short polynomial.

    Derivatives are taken before this, of the exponential itself.
    """
    inputs = [jax.ShapeDtypeStruct(v.aval.shape, v.aval.dtype) for v in closed.jaxpr.invars]
    return jax.make_jaxpr(lambda *args: _replay(closed, args))(*inputs)


def _replay(closed, args):
    jaxpr = closed.jaxpr
    env = dict(zip(jaxpr.constvars, closed.consts, strict=True))
    env |= dict(zip(jaxpr.invars, args, strict=True))

    def read(v):
        return v.val if isinstance(v, Literal) else env[v]

    for eqn in jaxpr.eqns:
        values = [read(v) for v in eqn.invars]
        inner = eqn.params.get("jaxpr", eqn.params.get("call_jaxpr"))
        if eqn.primitive is exp_p and eqn.invars[0].aval.dtype == np.float32:
            out = [_exp(values[0])]
        elif inner is not None:
            inner = inner if isinstance(inner, ClosedJaxpr) else ClosedJaxpr(inner, ())
            out = _replay(inner, values)
        else:
            out = eqn.primitive.bind(*values, **eqn.params)
            out = out if eqn.primitive.multiple_results else [out]
        env |= dict(zip(eqn.outvars, out, strict=True))
    return [read(v) for v in jaxpr.outvars]


def _exp(x):
    """`exp` in float32 by a polynomial and an addition to the bits of the exponent."""
    scaled = jnp.clip(x * np.float32(1 / np.log(2)), np.float32(-126.0), np.float32(127.0))
    whole = jnp.round(scaled)
    rest = scaled - whole
    value = jnp.full_like(rest, np.float32(_EXP2[0]))
    for coefficient in _EXP2[1:]:
        value = value * rest + np.float32(coefficient)
    bits = jax.lax.bitcast_convert_type(value, jnp.int32) + (whole.astype(jnp.int32) << 23)
    return jax.lax.bitcast_convert_type(bits, jnp.float32)
