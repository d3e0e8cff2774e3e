"""Sums over pairs on tiles that fit the cache: the form for XLA on any device.

Columns run along the rows of a tile and rows along its lanes, so that the sum over columns is the
one orientation of matrix product, `features[c, j] @ weights[j, i]`, that XLA's CPU compiler makes
fast. Measured on two cores, tiles of 2 MB are as fast as larger ones.
"""

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr

from geojax.kernels.schedule import Linear, Pairwise, Schedule, Shared

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
    symmetric = y is None
    b = [left if right is None else right for left, right in zip(a, b, strict=True)]
    row_inner, col_inner = (a + b, b + a) if symmetric else (a, b)
    schedule = Schedule(closed, len(products), len(row_inner), theta)
    outputs = _outside(schedule, [f.shape[0] for f in features], row_inner)
    n = x[0].shape[1]

    # the channels of every tile, and where in its product the sum of an output stands
    nodes: dict[int, list] = {}
    parts = []
    for output, f in zip(outputs, features, strict=True):
        if isinstance(output, Shared):
            parts.append([])
        elif isinstance(output, Pairwise):
            parts.append([(output, None, _place(nodes, output.node, f))])
        else:
            parts.append(
                [
                    (c, row_inner[k], _place(nodes, c.node, _outer(col_inner[k], f)))
                    for k, c in output.terms
                    if isinstance(c, Pairwise)
                ]
            )
    totals = _totals(schedule, nodes, products, x, x if symmetric else y, row_inner, col_inner)

    def assemble(output, f, places):
        if isinstance(output, Shared):
            total = jnp.sum(f, axis=1, keepdims=True) * output.value
            return jnp.broadcast_to(total, (f.shape[0], n))
        total = jnp.zeros((f.shape[0], n), f.dtype)
        for value, rows, place in places:
            part = totals[value.node][place]
            if rows is not None:
                part = jnp.sum(part.reshape(rows.shape[0], -1, n) * rows[:, None], axis=0)
            total = total + (part if value.factor is None else part * value.factor.value)
        return total

    return [assemble(*args) for args in zip(outputs, features, parts, strict=True)]


def _outside(schedule: Schedule, channels, inner):
    """The outputs, with inner products moved out of tiles where that saves a tile."""
    used = [
        v.node
        for output in schedule.outputs
        for v in ([c for _, c in output.terms] if isinstance(output, Linear) else [output])
        if isinstance(v, Pairwise)
    ]

    def choose(output, channels):
        if not isinstance(output, Linear):
            return output
        coefficients = [c for _, c in output.terms]
        cost = channels * sum(inner[k].shape[0] for k, _ in output.terms)
        pays = all(isinstance(c, Pairwise) and used.count(c.node) > 1 for c in coefficients)
        return output if pays and cost <= _MOST_CHANNELS else schedule.plain(output)

    return [choose(*args) for args in zip(schedule.outputs, channels, strict=True)]


def _place(nodes, node, channels) -> slice:
    """Add channels to those of a tile; where they stand among them."""
    held = nodes.setdefault(node, [])
    start = sum(c.shape[0] for c in held)
    held.append(channels)
    return slice(start, start + channels.shape[0])


def _outer(vectors, features):
    """`[k, m]` and `[c, m]` to all products of channels, `[k c, m]`."""
    return (vectors[:, None] * features[None]).reshape(-1, features.shape[1])


def _totals(schedule, nodes, products, x, y, row_inner, col_inner):
    """For every tile its product with its channels, summed over the columns: `{node: [c, n]}`."""
    if not nodes:
        return {}
    n, m = x[0].shape[1], y[0].shape[1]
    row_blocks, row_size = _blocks(n, _ROWS)
    col_blocks, col_size = _blocks(m, _COLUMNS)
    channels = [jnp.concatenate(held) if len(held) > 1 else held[0] for held in nodes.values()]
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
