"""Matrix-free kernel sums: the hot path of everything that moves particles.

The n-by-m kernel matrix is never stored. Rows are taken in blocks whose part of the matrix fits
the cache, and each block is recomputed, not stored, when derivatives are taken; memory grows
with n + m. All of it composes with forward and reverse differentiation of any order.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from geojax.kernels.radial import AbstractRadialKernel, squared_distances

# Entries of the kernel matrix that one block holds: 1 MB in float32, which fits a core's cache.
_BLOCK_ENTRIES = 2**18


def kernel_sum(
    kernel: AbstractRadialKernel,
    x: Float[Array, "n d"],
    y: Float[Array, "m d"],
    weights: Float[Array, "m c"],
) -> Float[Array, "n c"]:
    """The sums `sum_j k(x_i, y_j) b_j` without the kernel matrix.

    Args:
        kernel: a radial kernel.
        x: points where the sum is evaluated, `[n, d]`.
        y: centres, `[m, d]`.
        weights: one row `b_j` of `c` channels for each centre, `[m, c]`.

    Returns:
        `[n, c]`, in the dtype of the inputs.

    Gradient: forward and reverse, any order, in every argument and in the kernel's scales.
    Derivatives recompute the blocks, so memory stays linear in `n + m`.

    Example:
        >>> import jax.numpy as jnp
        >>> from geojax.kernels import Gaussian, kernel_sum
        >>> x = jnp.zeros((3, 2))
        >>> kernel_sum(Gaussian(1.0), x, x, jnp.ones((3, 1)))[:, 0].tolist()
        [3.0, 3.0, 3.0]
    """

    def block(rows):
        return kernel.profile(squared_distances(rows, y)) @ weights

    return _map_row_blocks(block, (x,), columns=y.shape[0])


def hamiltonian_field(
    kernel: AbstractRadialKernel,
    positions: Float[Array, "n d"],
    momenta: Float[Array, "n d"],
) -> tuple[Float[Array, "n d"], Float[Array, "n d"]]:
    """Both right-hand sides of the particle Hamiltonian in one pass over the pairs.

    With `H = 1/2 sum_ij p_i.p_j k(q_i, q_j)` this is `(dH/dp, -dH/dq)`. The generic geodesic
    equation needs three passes for the same; a test holds the two together.

    Args:
        kernel: a radial kernel.
        positions: `q`, `[n, d]`.
        momenta: `p`, `[n, d]`.

    Returns:
        `(dq/dt, dp/dt)`, each `[n, d]`.

    Gradient: as `kernel_sum`. Reference: `[joshi2000landmark]`.
    """
    # the force is a difference of two products with the positions: far from the origin they would
    # cancel, so it is taken about the centre
    positions = positions - jnp.mean(positions, axis=0, keepdims=True)

    def block(rows):
        q, p = rows
        squared = squared_distances(q, positions)
        velocity = kernel.profile(squared) @ momenta
        pull = 2.0 * kernel.derivative(squared) * (p @ momenta.T)
        force = pull @ positions - jnp.sum(pull, axis=1, keepdims=True) * q
        return velocity, force

    return _map_row_blocks(block, (positions, momenta), columns=positions.shape[0])


def _map_row_blocks(block: Callable, rows: tuple[Array, ...], columns: int):
    """Apply `block` to slices of the rows, few enough at a time to stay in the cache."""
    n = rows[0].shape[0]
    size = max(1, _BLOCK_ENTRIES // max(columns, 1))
    single = len(rows) == 1
    call = (lambda part: block(part[0])) if single else block
    if n <= size:
        return call(rows)
    blocks = -(-n // size)
    size = -(-n // blocks)
    padded = [jnp.pad(row, ((0, blocks * size - n), (0, 0)), mode="edge") for row in rows]
    parts = tuple(row.reshape(blocks, size, row.shape[1]) for row in padded)
    out = jax.lax.map(jax.checkpoint(call), parts)
    return jax.tree.map(lambda a: a.reshape(blocks * size, a.shape[-1])[:n], out)
