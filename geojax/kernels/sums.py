"""Matrix-free kernel sums: the hot path of everything that moves particles.

Small sums are dense: one matrix product, differentiated as such. Large ones go tile by tile
(`pairs`), so that the matrix over pairs is never stored, nor is it for derivatives; which program
computes them depends on the device (`forms`).
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from geojax.kernels import forms
from geojax.kernels.pairs import pair_sums
from geojax.kernels.radial import AbstractRadialKernel, squared_distances

# Pairs up to which the matrix over them is stored: 1 MB in float32, which fits a core's cache.
DENSE_PAIRS = 2**18


def stores_pairs(rows: int, columns: int) -> bool:
    """Whether the matrix over so many pairs is stored: if it is small, unless a form was chosen."""
    chosen = forms.chosen()
    most = DENSE_PAIRS if chosen == "auto" else 0
    return chosen == "dense" or rows * columns <= most


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
        y: centres, `[m, d]`; pass x itself for sums over one set of points, whose derivatives
            then take one pass over the pairs instead of two.
        weights: one row `b_j` of `c` channels for each centre, `[m, c]`.

    Returns:
        `[n, c]`, in the dtype of the inputs.

    Gradient: forward and reverse, any order, in every argument and in the kernel's scales.
    Derivatives are sums over pairs again, so that beyond 2^18 pairs, up to which the matrix is
    stored, memory is linear in `n + m`. In float32 derivatives in the points lose about
    `6e-8 (extent of the points) / scale` of their size there.

    Example:
        >>> import jax.numpy as jnp
        >>> from geojax.kernels import Gaussian, kernel_sum
        >>> x = jnp.zeros((3, 2))
        >>> kernel_sum(Gaussian(1.0), x, x, jnp.ones((3, 1)))[:, 0].tolist()
        [3.0, 3.0, 3.0]
    """
    own = x is y
    x, y, weights = _in_one_dtype(x, y, weights)
    if stores_pairs(x.shape[0], y.shape[0]):
        return kernel.profile(squared_distances(x, y)) @ weights
    return _kernel_sum(kernel, x, None if own else y, weights)


def _in_single(function):
    """Sixteen bits hold points, but not their sums: work in float32 and round at the end."""

    @eqx.filter_jit
    def wrapped(kernel, *arrays):
        dtype = arrays[0].dtype
        if dtype.itemsize >= 4:
            return function(kernel, *arrays)
        wide = [None if a is None else a.astype(jnp.float32) for a in arrays]
        return jax.tree.map(lambda out: out.astype(dtype), function(kernel, *wide))

    return wrapped


@_in_single
def _kernel_sum(kernel, x, y, b):
    theta, rebuild = parameters(kernel, x.dtype)
    first, second = centred(x, y)
    return pair_sums(
        lambda e, s, t, theta: [rebuild(theta).profile(e[0])],
        [(0, 0)],
        [first],
        None if y is None else [second],
        [],
        [],
        [b.T],
        theta,
    )[0].T


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

    Gradient: as `kernel_sum`, with its loss in float32; its reverse derivative is one pass, too.
    Reference: `[joshi2000landmark]`.
    """
    positions, momenta = _in_one_dtype(positions, momenta)
    if not stores_pairs(positions.shape[0], positions.shape[0]):
        return _hamiltonian_field(kernel, positions, momenta)
    # the force is a difference of two products with the positions: far from the origin they would
    # cancel, so it is taken about the centre
    q = positions - jnp.mean(positions, axis=0, keepdims=True)
    squared = squared_distances(q, q)
    velocity = kernel.profile(squared) @ momenta
    pull = 2.0 * kernel.derivative(squared) * (momenta @ momenta.T)
    return velocity, pull @ q - jnp.sum(pull, axis=1, keepdims=True) * q


@_in_single
def _hamiltonian_field(kernel, positions, momenta):
    theta, rebuild = parameters(kernel, positions.dtype)
    q, _ = centred(positions, None)
    p = momenta.T

    def weights(e, s, t, theta):
        kernel = rebuild(theta)
        return [kernel.profile(e[0]), 2.0 * kernel.derivative(e[0]) * s[0]]

    ones = jnp.ones((1, q.shape[1]), q.dtype)
    velocity, pulled = pair_sums(
        weights, [(0, 0)], [q], None, [p], [None], [p, jnp.concatenate([ones, q])], theta
    )
    return velocity.T, (pulled[1:] - pulled[:1] * q).T


def _in_one_dtype(*arrays):
    """Arrays in the widest of their dtypes, as one operation of JAX would take them."""
    dtype = jnp.result_type(*arrays)
    if not jnp.issubdtype(dtype, jnp.floating):
        dtype = jnp.result_type(float)
    return [a.astype(dtype) for a in arrays]


def centred(x, y):
    """Positions as `[d, n]` about one centre, so that what they share costs no digits."""
    # a point that is not finite is the caller's to find, and spoils its own sum only
    finite = jnp.where(jnp.isfinite(x), x, jnp.zeros_like(x))
    centre = jax.lax.stop_gradient(jnp.mean(finite, axis=0, keepdims=True))
    return (x - centre).T, None if y is None else (y - centre).T


def parameters(kernel, dtype):
    """A kernel's numbers as a list of scalars, and the function that puts them back."""
    arrays, rest = eqx.partition(kernel, eqx.is_array)
    leaves, structure = jax.tree.flatten(arrays)
    scalars = [jnp.ravel(leaf)[k].astype(dtype) for leaf in leaves for k in range(leaf.size)]

    def rebuild(scalars):
        scalars = iter(scalars)

        def restore(leaf):
            if not leaf.size:
                return leaf
            values = jnp.stack([next(scalars) for _ in range(leaf.size)]).reshape(leaf.shape)
            inexact = jnp.issubdtype(leaf.dtype, jnp.inexact)
            return values if inexact else values.astype(leaf.dtype)

        arrays = [restore(leaf) for leaf in leaves]
        return eqx.combine(jax.tree.unflatten(structure, arrays), rest)

    return scalars, rebuild
