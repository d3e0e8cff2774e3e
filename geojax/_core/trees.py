"""Linear algebra on pytrees that may hold complex leaves.

Everywhere in geojax a covector is stored like the vector that it pairs with, and the pairing is
the real one, `<p, v> = sum Re(conj(p) v)`. JAX transposes without conjugating; the two helpers
here put the conjugates where the real pairing wants them. On real trees they change nothing.
"""

import functools
from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree, Shaped

Tree = TypeVar("Tree", bound=PyTree)


def conj(tree: Tree) -> Tree:
    """Complex conjugate of every leaf."""
    return jax.tree.map(jnp.conj, tree)


def pairing(covector: PyTree, vector: PyTree) -> Shaped[Array, ""]:
    """Real pairing `sum Re(conj(p) v)` of two pytrees of the same structure."""
    terms = jax.tree.map(lambda p, v: jnp.sum(jnp.real(jnp.conj(p) * v)), covector, vector)
    return functools.reduce(jnp.add, jax.tree.leaves(terms))


def adjoint(function: Callable, like: PyTree) -> Callable[[PyTree], PyTree]:
    """Adjoint of a linear function for the real pairing.

    Args:
        function: linear function of one pytree argument.
        like: a pytree (arrays or `jax.ShapeDtypeStruct`) with the structure of that argument.

    Returns:
        The function `p -> q` with `<p, f(v)> = <q, v>` for every `v`.
    """
    transpose = jax.linear_transpose(function, like)
    return lambda covector: conj(transpose(conj(covector))[0])


def vjp(function: Callable, state: PyTree) -> tuple[PyTree, Callable[[PyTree], PyTree]]:
    """`jax.vjp` of a function of one argument, for the real pairing."""
    value, pullback = jax.vjp(function, state)
    return value, lambda covector: conj(pullback(conj(covector))[0])


def scale(tree: Tree, factor) -> Tree:
    """Multiply every leaf by a scalar, keeping its dtype."""
    return jax.tree.map(lambda x: x * jnp.asarray(factor).astype(x.dtype), tree)


def add(left: Tree, right: Tree) -> Tree:
    """Sum of two pytrees of the same structure."""
    return jax.tree.map(jnp.add, left, right)


def subtract(left: Tree, right: Tree) -> Tree:
    """Difference of two pytrees of the same structure."""
    return jax.tree.map(jnp.subtract, left, right)
