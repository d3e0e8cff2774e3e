"""A primitive called outside `jax.jit`, compiled once for all calls that say the same."""

import functools

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, Primitive


class _Call:
    """A primitive and its static parameters, equal to others of the same operations.

    Weights are traced anew in every eager call, and a jaxpr is equal to itself only: so what it
    does is told by its text, which names every operation and every number but its constants.
    """

    def __init__(self, primitive: Primitive, params: dict):
        self.primitive, self.params = primitive, params
        self._key = (primitive, *(_told(value) for _, value in sorted(params.items())))

    def __hash__(self):
        return hash(self._key)

    def __eq__(self, other):
        return self._key == other._key


def _told(value):
    if not isinstance(value, ClosedJaxpr):
        return value
    consts = [np.asarray(c) for c in value.consts]
    return str(value.jaxpr), tuple((c.shape, str(c.dtype), c.tobytes()) for c in consts)


@functools.lru_cache(maxsize=256)
def _jitted(call: _Call):
    return jax.jit(functools.partial(call.primitive.bind, **call.params))


def compiled(primitive: Primitive, params: dict):
    """The function of a primitive's operands, with these static parameters."""
    return _jitted(_Call(primitive, params))
