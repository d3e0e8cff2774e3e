"""The bridge from flax nnx networks to vector fields; there is no other."""

from typing import Any

import equinox as eqx
import jax
from flax import nnx
from jaxtyping import Array, Float, PyTree

from geojax._core.errors import InputError
from geojax.fields.base import AbstractField


class Neural(AbstractField):
    """A flax nnx module `module(t, x)` as a velocity field.

    The module is split into its structure (static) and its variables (leaves), so the field is a
    pytree that can be an argument of `jit`, `vmap`, `grad` and diffrax.

    Args:
        module: an `nnx.Module` called as `module(t, x)` with t a scalar and x `[..., d]`. It must
            not change its own variables when called.

    Example:
        >>> import jax.numpy as jnp
        >>> class Linear(nnx.Module):
        ...     def __init__(self, rngs):
        ...         self.layer = nnx.Linear(2, 2, rngs=rngs)
        ...
        ...     def __call__(self, t, x):
        ...         return self.layer(x)
        >>> field = Neural(Linear(nnx.Rngs(0)))
        >>> field(jnp.array(0.0), jnp.ones((3, 2))).shape
        (3, 2)
    """

    graph: Any = eqx.field(static=True)
    variables: PyTree

    def __init__(self, module: Any):
        if not isinstance(module, nnx.Module):
            raise InputError(
                f"Argument module must be a flax nnx module, but is a {type(module).__name__}; "
                "wrap plain functions of the state in `Stationary`."
            )
        self.graph, self.variables = nnx.split(module)

    @property
    def module(self) -> nnx.Module:
        """The module with the current variables."""
        return nnx.merge(self.graph, self.variables)

    def __call__(self, t, x: Float[Array, "*batch d"]) -> Float[Array, "*batch d"]:
        return self.module(t, x)

    def num_parameters(self) -> int:
        """Number of trainable numbers: those of `nnx.Param`, not of statistics and the like."""
        trained = nnx.state(self.module, nnx.Param)
        return sum(leaf.size for leaf in jax.tree.leaves(trained))
