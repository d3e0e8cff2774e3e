"""Sums over pairs on tiles that fit the cache: the form for XLA on any device.

Columns run along the rows of a tile and rows along its lanes, so that the sum over columns is the
one orientation of matrix product, `features[c, j] @ weights[j, i]`, that XLA's CPU compiler makes
fast. Measured on two cores, tiles of 2 MB are as fast as larger ones.
"""

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr

from geojax.kernels import assembly

# Rows and columns of one tile. Rows beyond are taken one block after another.
_ROWS = 2048
_COLUMNS = 256
# Channels up to which an inner product is moved out of a tile that another weight needs as well:
# each costs about a thirtieth of a tile.
_MOST_CHANNELS = 32


def sums(closed: ClosedJaxpr, products, x, y, a, b, features, theta):
    """What `pairs.pair_sums` promises; y is None where rows and columns are the same points.

    The weights are a function of the products, the inner products, where the points are the same
    the transposed ones, and theta.
    """
    schedule, y, row_inner, col_inner = assembly.read(
        closed, products, x, y, a, b, theta, polynomial=True
    )
    return assembly.sums(
        _totals,
        schedule,
        products,
        x,
        y,
        row_inner,
        col_inner,
        features,
        most_channels=_MOST_CHANNELS,
    )


def _totals(schedule, nodes, products, x, y, row_inner, col_inner):
    """For every tile its product with its channels, summed over the columns: `{node: [c, n]}`."""
    n, m = x[0].shape[1], y[0].shape[1]
    row_blocks, row_size = _blocks(n, _ROWS)
    col_blocks, col_size = _blocks(m, _COLUMNS)
    channels = list(nodes.values())
    # repeated positions keep the weights of the padding finite; zero channels make them nothing
    columns = (
        [_cut(v, col_blocks, col_size, "edge") for v in y],
        [_cut(v, col_blocks, col_size, "edge") for v in col_inner],
        [_cut(v, col_blocks, col_size, "constant") for v in channels],
    )

    def tile(rows, columns):
        (xi, ai), (yj, bj, channels) = rows, columns
        e = [_dot_differences(xi[k], yj[k], xi[l], yj[l]) for k, l in products]
        s = [_inner(left, right) for left, right in zip(ai, bj, strict=True)]
        weights = schedule.evaluate(list(nodes), [*e, *s])
        return [jnp.dot(c, w, precision="highest") for c, w in zip(channels, weights, strict=True)]

    def row_block(rows):
        if col_blocks == 1:
            return tile(rows, jax.tree.map(lambda v: v[0], columns))

        def add(total, block):
            return [t + more for t, more in zip(total, tile(rows, block), strict=True)], None

        start = [jnp.zeros((c.shape[0], rows[0][0].shape[1]), c.dtype) for c in channels]
        return jax.lax.scan(add, start, columns)[0]

    if row_blocks == 1:
        return dict(zip(nodes, row_block((x, row_inner)), strict=True))
    rows = jax.tree.map(lambda v: _cut(v, row_blocks, row_size, "edge"), (x, row_inner))
    out = jax.lax.map(row_block, rows)
    out = [jnp.moveaxis(o, 0, 1).reshape(o.shape[1], -1)[:, :n] for o in out]
    return dict(zip(nodes, out, strict=True))


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
