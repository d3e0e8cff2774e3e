"""The noun field: a velocity that depends on time and place."""

import abc
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree, Real

from geojax._core.errors import InputError


class AbstractField(eqx.Module):
    """`field(t, x)` is the velocity at time t of a state x (points `[..., d]`, or a matrix)."""

    @abc.abstractmethod
    def __call__(self, t: Real[Array, ""], x: PyTree) -> Any:
        """The velocity at time t and state x."""

    @property
    def jumps(self) -> Float[Array, " k"] | None:
        """Times at which the field is discontinuous; a solver has to step on them."""
        return None


class SumOf(AbstractField):
    """Weighted sum of fields.

    Args:
        fields: the summands, all over the same kind of state.
        weights: one number each; ones by default.

    Example:
        >>> import jax.numpy as jnp
        >>> twice = SumOf([lambda t, x: x, lambda t, x: x])
        >>> twice(jnp.array(0.0), jnp.ones(2)).tolist()
        [2.0, 2.0]
    """

    fields: tuple[Any, ...]
    weights: Float[Array, " k"]

    def __init__(self, fields: Sequence[Any], weights=None):
        self.fields = tuple(fields)
        if not self.fields:
            raise InputError("Argument fields must hold at least one field, but is empty.")
        self.weights = jnp.ones(len(self.fields)) if weights is None else jnp.asarray(weights)
        if self.weights.shape != (len(self.fields),):
            raise InputError(
                f"Argument weights must have one entry for each of the {len(self.fields)} fields, "
                f"but has shape {list(self.weights.shape)}."
            )

    def __call__(self, t, x):
        def combine(*velocities):
            pairs = zip(self.weights, velocities, strict=True)
            terms = [weight.astype(v.dtype) * v for weight, v in pairs]
            return sum(terms[1:], terms[0])

        return jax.tree.map(combine, *(field(t, x) for field in self.fields))

    @property
    def jumps(self):
        found = [getattr(field, "jumps", None) for field in self.fields]
        found = [times for times in found if times is not None]
        return jnp.sort(jnp.concatenate(found)) if found else None
