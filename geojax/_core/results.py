"""Result codes: what became of a solve, one code per lane under `vmap`.

`RESULTS` extends `diffrax.RESULTS` (which extends those of optimistix and lineax), so a code
that comes up from a lower library is promoted, never translated or lost.
"""

from typing import Any, TypeVar

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jax.core import Tracer
from jaxtyping import Array, Bool

from geojax._core.errors import NumericalError

T = TypeVar("T")


class RESULTS(diffrax.RESULTS):  # pyright: ignore[reportGeneralTypeIssues]
    """Outcome of a geojax solve."""

    successful = ""
    energy_drift = (
        "The energy, which the equation conserves, drifted along the path: too few steps. "
        "Raise `num_steps` or pass an adaptive `stepsize_controller`."
    )
    not_finite = (
        "The path left the finite numbers (NaN or infinity): the momentum or the velocity is too "
        "large for the number of steps, or an input is not finite. Raise `num_steps` or scale the "
        "input."
    )
    diverged = (
        "The training left the finite numbers (NaN or infinity). Lower `learning_rate` or "
        "`energy_weight`, or raise `num_steps`."
    )
    not_converged = (
        "The iteration stopped before its tolerance was met. Raise `max_iterations`, loosen "
        "`tolerance`, or start nearer to the solution."
    )


def first_failure(*results: RESULTS) -> RESULTS:
    """Combine codes: the first one that is not `successful` wins."""
    out = results[0]
    for result in results[1:]:
        out = RESULTS.where(out == RESULTS.successful, result, out)
    return out


def code_if(failed: Bool[Array, ""], code: Any) -> RESULTS:
    """`code` where `failed`, else `successful`."""
    return RESULTS.where(failed, code, RESULTS.successful)


def all_finite(tree) -> Bool[Array, ""]:
    """Whether every inexact leaf of a pytree is finite."""
    leaves = [leaf for leaf in jax.tree.leaves(tree) if eqx.is_inexact_array(leaf)]
    checks = [jnp.all(jnp.isfinite(leaf)) for leaf in leaves]
    return jnp.all(jnp.stack(checks)) if checks else jnp.array(True)


def is_traced(tree) -> bool:
    """Whether a pytree holds abstract values, so that nothing can be raised from them."""
    return any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(tree))


def result_name(result: RESULTS) -> str:
    """The name of a concrete result code, to be written down."""
    return next(name for name, item in RESULTS._name_to_item.items() if bool(result == item))


def result_named(name: str) -> RESULTS:
    """The result code of a name; a `KeyError` if there is none."""
    return RESULTS._name_to_item[name]


def message(result: RESULTS) -> str:
    """The text of a concrete result code (empty for success)."""
    return RESULTS[result]


def throw_if_failed(value: T, result: RESULTS, *, what: str) -> T:
    """Raise `NumericalError` when `result` is a failure; return `value` unchanged otherwise.

    Outside `jit` the error is an ordinary Python exception raised here. Under a transformation
    the code is carried in the result instead, since a lane cannot raise for its neighbours.
    """
    if is_traced(result._value):
        return value
    failed = result != RESULTS.successful
    if bool(jnp.any(failed)):
        if jnp.ndim(failed) == 0:
            text = message(result)
            reached = getattr(value, "time_reached", None)
            if reached is not None and bool(result == RESULTS.max_steps_reached):
                text = f"{text} The solver came to time {float(reached):g}."
        else:
            lanes = jnp.flatnonzero(failed)
            text = f"{lanes.size} of {failed.size} lanes failed, the first is lane {int(lanes[0])}."
        raise NumericalError(f"{what} failed: {text}", result)
    return value
