"""Sums over pairs of points that are shared out over the devices of a mesh.

Each device keeps its rows and adds up, while the blocks of columns go once round the ring of
devices. The sums of two blocks are those of one device. As the ring is how the primitive of
`pairs` is evaluated and not something that JAX differentiates, a derivative is a ring again and
keeps no block that went by.
"""

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

_FREE = PartitionSpec.UNCONSTRAINED


def place(mesh: Mesh, arrays):
    """Arrays as they are, in a program that runs on all devices of a mesh."""
    anywhere = NamedSharding(mesh, PartitionSpec(_FREE, _FREE))
    return [jax.lax.with_sharding_constraint(v, anywhere) for v in arrays]


def sums(mesh: Mesh, of_one, closed, products, x, y, a, b, features, theta) -> list[jax.Array]:
    """What `pairs.pair_sums` promises; arguments as those of `tiles.sums`.

    Args:
        mesh: the devices, along one axis.
        of_one: the sums of one device, a function of the remaining arguments.
    """
    (axis,) = mesh.axis_names
    devices = mesh.size
    n = x[0].shape[1]
    b = [left if right is None else right for left, right in zip(a, b, strict=True)]
    # rows and columns of different devices are different points: nothing is implied any more
    row_inner, col_inner = (a + b, b + a) if y is None else (a, b)
    rows = [_padded(v, devices, "edge") for v in (x, row_inner)]
    columns = [_padded(v, devices, "edge") for v in (x if y is None else y, col_inner)]
    columns.append(_padded(features, devices, "constant"))

    def on_one(rows, columns, theta):
        xi, ai = rows

        def partial_sums(block):
            yj, bj, f = block
            return of_one(closed, products, xi, yj, ai, bj, f, theta)

        def step(_, carried):
            totals, block = carried
            # sent before it is used, so that the next block travels meanwhile
            following = jax.lax.ppermute(
                block, axis, [(k, (k + 1) % devices) for k in range(devices)]
            )
            more = partial_sums(block)
            return [t + v for t, v in zip(totals, more, strict=True)], following

        start = [jnp.zeros((f.shape[0], xi[0].shape[1]), f.dtype) for f in columns[2]]
        totals, last = jax.lax.fori_loop(0, devices - 1, step, (start, columns))
        return [t + v for t, v in zip(totals, partial_sums(last), strict=True)]

    shared_out, everywhere = PartitionSpec(None, axis), PartitionSpec()
    out = jax.shard_map(
        on_one,
        mesh=mesh,
        in_specs=(shared_out, shared_out, everywhere),
        out_specs=shared_out,
        check_vma=False,
    )(rows, columns, theta)
    return [v[:, :n] for v in out]


def _padded(vectors, devices, mode):
    """Vectors whose length the devices divide."""
    missing = [-v.shape[1] % devices for v in vectors]
    return [
        jnp.pad(v, ((0, 0), (0, more)), mode=mode) if more else v
        for v, more in zip(vectors, missing, strict=True)
    ]
