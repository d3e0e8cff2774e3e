"""Finite differences, orders of convergence, and a count of compilations."""

import contextlib
from collections.abc import Iterator, Sequence

import jax
import jax.monitoring
import jax.numpy as jnp
import numpy as np

COMPILATION = "/jax/core/compile/backend_compile_duration"


def central_difference(function, x, direction, step):
    """Derivative of `function` at x along a direction, to second order in `step`."""
    ahead, behind = function(x + step * direction), function(x - step * direction)
    return (ahead - behind) / (2 * step)


def relative_error(value, truth) -> float:
    """Largest difference over the largest size of the truth."""
    value, truth = np.asarray(value), np.asarray(truth)
    return float(np.max(np.abs(value - truth)) / np.max(np.abs(truth)))


def largest(x) -> float:
    """Largest absolute value."""
    return float(np.max(np.abs(np.asarray(x))))


def observed_order(counts: Sequence[int], errors: Sequence[float], *, floor: float) -> float:
    """Slope of log error against log step for `counts` of equal steps, above a floor.

    Only errors above the floor count; there must be three of them.
    """
    kept = [(n, e) for n, e in zip(counts, errors, strict=True) if e > floor]
    assert len(kept) >= 3, f"too few errors above {floor:g}: {list(errors)}"
    n, e = np.array(kept).T
    return float(-np.polyfit(np.log(n), np.log(e), 1)[0])


class Count:
    """A number that goes up."""

    value = 0


_open: list[Count] = []


def _listener(event: str, duration: float, **_) -> None:
    if event == COMPILATION:
        for count in _open:
            count.value += 1


jax.monitoring.register_event_duration_secs_listener(_listener)


@contextlib.contextmanager
def compilations() -> Iterator[Count]:
    """Count the programs that XLA compiles."""
    count = Count()
    _open.append(count)
    try:
        yield count
    finally:
        _open.remove(count)


def unit_directions(key, number: int, shape: tuple[int, ...]):
    """Random directions of norm one, `[number, *shape]`."""
    draws = jax.random.normal(key, (number, *shape))
    norms = jnp.sqrt(jnp.sum(jnp.square(draws), axis=tuple(range(1, draws.ndim)), keepdims=True))
    return draws / norms
