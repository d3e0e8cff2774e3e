"""Sizes that arrays are padded to, so that those of many lengths share a compiled program."""

from typing import Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Shaped

from geojax._core import checks

# Up to this many of anything, all share one size.
_SMALLEST = 32


def bucket(count: int) -> int:
    """The smallest of 4, 5, 6 or 7 times a power of two that holds so many; zero stays zero.

    At most a quarter is padding, and there are four sizes per octave.

    Example:
        >>> [bucket(n) for n in (0, 5, 100, 129, 1000)]
        [0, 32, 112, 160, 1024]
    """
    if count <= _SMALLEST:
        return _SMALLEST if count else 0
    step = 2 ** ((count - 1).bit_length() - 3)
    return -(-count // step) * step


def filled(x, count: int, mode: Literal["constant", "edge"] = "constant") -> Shaped[Array, "n ..."]:
    """Rows filled up to a count: by zeros, or by the last one (`"edge"`)."""
    known = not checks.is_tracer(x)
    width = [(0, count - x.shape[0]), *[(0, 0)] * (x.ndim - 1)]
    # of known ones jax would compile a program for every size
    return jnp.asarray(np.pad(x, width, mode=mode)) if known else jnp.pad(x, width, mode=mode)
