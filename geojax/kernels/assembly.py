"""From the weights of sums over pairs to few totals over tiles, and back: what all forms share.

A form only has to compute, for some nodes of a `Schedule` and channels that belong to each, the
totals `sum_j channels[c, j] node_ij`. What stands before and after is linear in the number of
points and written here once.
"""

from collections.abc import Callable

import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr

from geojax.kernels.schedule import Linear, Pairwise, Schedule, Shared

# (schedule, {node: channels [c, m]}, products, x, y, row_inner, col_inner) to {node: [c, n]}
Totals = Callable[..., dict]


def read(closed: ClosedJaxpr, products, x, y, a, b, theta, *, polynomial: bool):
    """The schedule of `pairs.pair_sums`, and the columns and inner vectors with nothing implied.

    y is None where rows and columns are the same points; an entry of b, where it is that of a.

    Returns:
        schedule, y, the vectors of the inner products at rows, and those at columns.
    """
    b = [left if right is None else right for left, right in zip(a, b, strict=True)]
    row_inner, col_inner = (a + b, b + a) if y is None else (a, b)
    schedule = Schedule(closed, len(products), len(row_inner), theta, polynomial=polynomial)
    return schedule, x if y is None else y, row_inner, col_inner


def sums(
    totals_of: Totals,
    schedule: Schedule,
    products,
    x,
    y,
    row_inner,
    col_inner,
    features,
    *,
    most_channels: int,
):
    """The sums of all weights of a schedule.

    Args:
        totals_of: the form.
        most_channels: channels up to which an inner product is moved out of a tile that another
            weight needs as well.
    """
    outputs = _outside(schedule, [f.shape[0] for f in features], row_inner, most_channels)
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
    channels = {
        node: jnp.concatenate(held) if len(held) > 1 else held[0] for node, held in nodes.items()
    }
    totals = totals_of(schedule, channels, products, x, y, row_inner, col_inner) if nodes else {}

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


def _outside(schedule: Schedule, channels, inner, most_channels):
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
        return output if pays and cost <= most_channels else schedule.plain(output)

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
