"""The matrix functions that the groups need and that JAX does not ship, and a root for norms."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Complex, Float, Shaped


def safe_sqrt(squared: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
    """Square root with derivative zero at zero; zero below it, where rounding may lead."""
    positive = squared > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, squared, 1.0)), 0.0)


def dagger(matrix: Shaped[Array, "*batch n m"]) -> Shaped[Array, "*batch m n"]:
    """Conjugate transpose of the last two axes."""
    return jnp.conj(jnp.swapaxes(matrix, -1, -2))


def hermitian_log(unitary: Complex[Array, "n n"], *, traceless: bool) -> Complex[Array, "n n"]:
    """Hermitian `Z` with `exp(-i Z) = U` and the eigenvalues nearest to zero.

    A unitary matrix shares its eigenvectors with every mix of its Hermitian parts, and `eigh`
    diagonalises those stably even where eigenvalues of U repeat (`eig` does not). One mix,
    `cos a + c sin a`, has one value at two angles (with a + b = 2 atan c), so where its values
    nearly agree a second one at right angles to it decides. Accurate to round-off, and to its
    square root at worst, where values of the mix lie about that close together.

    Args:
        unitary: `[n, n]`.
        traceless: move whole turns between eigenvalues so that `Z` has trace zero, as the Lie
            algebra of SU(n) asks; needs `det U = 1`.
    """
    cosine = 0.5 * (unitary + dagger(unitary))
    sine = 0.5j * (unitary - dagger(unitary))
    # irrational, so that angles of common gates are told apart by the first mix alone
    c = 0.6180339887
    mixed, vectors = jnp.linalg.eigh(cosine + c * sine)
    vectors = vectors @ _within_clusters(dagger(vectors) @ (sine - c * cosine) @ vectors, mixed)
    values = jnp.einsum("ij,ij->j", jnp.conj(vectors), unitary @ vectors)
    angles = -jnp.angle(values)
    if traceless:
        turns = jnp.round(jnp.sum(angles) / (2 * jnp.pi))
        rank = jnp.argsort(jnp.argsort(-angles * jnp.where(turns >= 0, 1, -1)))
        angles = angles - jnp.where(
            rank < jnp.abs(turns).astype(int), 2 * jnp.pi * jnp.sign(turns), 0.0
        )
    return (vectors * angles[None, :].astype(vectors.dtype)) @ dagger(vectors)


def _within_clusters(
    matrix: Complex[Array, "n n"], values: Float[Array, " n"]
) -> Complex[Array, "n n"]:
    """Eigenvectors of a Hermitian matrix within each run of nearly equal sorted values alone."""
    near = 4 * math.sqrt(float(jnp.finfo(values.dtype).eps))
    cluster = jnp.cumsum((jnp.diff(values, prepend=values[:1]) > near).astype(values.dtype))
    together = cluster[:, None] == cluster[None, :]
    # shifts beyond the norm (at most 2) keep eigenvectors of different clusters apart
    shifted = jnp.where(together, matrix, 0.0) + jnp.diag(4.0 * cluster).astype(matrix.dtype)
    return jnp.linalg.eigh(shifted)[1]


# Degree 19 at norm 1 leaves 1 / 20! = 4e-19; evaluated in powers of A^5 it takes seven products.
_BLOCK = 5
_TAYLOR = [1.0 / math.factorial(k) for k in range(4 * _BLOCK)]
_MAX_SQUARINGS = 12
# of a matrix whose exponential is taken, by column sums
LARGEST_NORM = 2**_MAX_SQUARINGS


def expm(matrix: Shaped[Array, "n n"]) -> Shaped[Array, "n n"]:
    """Matrix exponential, for norms up to 4096; NaN beyond.

    By a Taylor polynomial and repeated squaring. Unlike the Pade approximants of
    `jax.scipy.linalg.expm` it solves no linear systems, so its derivatives, which a geodesic on a
    group takes many of, compile several times faster and run up to seven times faster in batches.
    """
    norm = jnp.max(jnp.sum(jnp.abs(matrix), axis=0))
    squarings = jax.lax.stop_gradient(jnp.ceil(jnp.log2(jnp.maximum(norm, 1.0))))
    scaled = matrix * jnp.exp2(-squarings).astype(matrix.dtype)
    powers = [jnp.eye(matrix.shape[-1], dtype=matrix.dtype), scaled]
    while len(powers) <= _BLOCK:
        powers.append(powers[-1] @ scaled)

    def block(start):
        return sum(_TAYLOR[start + k] * powers[k] for k in range(_BLOCK))

    total = block(3 * _BLOCK)
    for start in (2 * _BLOCK, _BLOCK, 0):
        total = total @ powers[_BLOCK] + block(start)

    def square(k, x):
        return jnp.where(k < squarings, x @ x, x)

    total = jax.lax.fori_loop(0, _MAX_SQUARINGS, square, total)
    return jnp.where(squarings <= _MAX_SQUARINGS, total, jnp.nan)
