"""Shortest piecewise constant controls: cost minimised directly, without geodesics."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from geojax._core import checks
from geojax._core.errors import InputError
from geojax._core.results import RESULTS, code_if, throw_if_failed
from geojax.metrics import PauliPenalty
from geojax.quantum.arguments import as_key, check_metric, positive_number
from geojax.quantum.controls import Controls, combine
from geojax.quantum.endpoint import Plant, endpoint, jacobian
from geojax.quantum.gates import as_target
from geojax.quantum.synthesis import synthesise

# a step goes part of the way to the minimum of its quadratic model, since the constraint is curved
_SHARE = 0.5
_FEASIBLE_STEPS = 4
# of the sum of F1, below which a coefficient's weight grows no more
_SMOOTHING = 1e-6


class ShortestControls(eqx.Module):
    """The cheapest controls found, over all starts.

    Attributes:
        controls: piecewise constant, from the identity to the target up to its phase.
        length: what they cost: the integral of the norm.
        infidelity: `1 - |tr(target' U)|^2 / 4^n`.
        lengths: of every start, infinite where it missed the target, `[S]`, increasing.
        change: relative change of the controls in the last step, of the best start.
        result: result code.
    """

    controls: Controls
    length: Float[Array, ""]
    infidelity: Float[Array, ""]
    lengths: Float[Array, " S"]
    change: Float[Array, ""]
    result: RESULTS


def shortest_controls(
    target: Any,
    metric: PauliPenalty,
    *,
    order: int = 2,
    priced: bool = True,
    num_slices: int = 16,
    num_starts: int = 16,
    num_iterations: int = 200,
    tolerance: float | Float[Array, ""] | None = None,
    key: Key[Array, ""] | None = None,
    throw: bool = True,
) -> ShortestControls:
    """Piecewise constant controls of least cost that make a gate.

    Random controls are first taken to the target (`synthesise`), then shortened: each step goes
    half of the way to the cheapest controls that meet the target to first order, a linear system in
    the 4^n coordinates of the end. It knows nothing of geodesics, so it is an independent check of
    `nielsen_complexity`, never below it, and above it by the order of `num_slices^-2`. Costs of
    order 1 are weighted sums of squares whose weights follow the controls.

    Args:
        target: `[2^n, 2^n]` unitary, or the name of a gate.
        metric: the penalties; strings of infinite price are not used.
        order, priced: which of Nielsen's costs, as in `PauliPenalty.norm`: F1 (1, False), Fp (1,
            True), F2 (2, False), Fq (2, True).
        num_slices: K slices of equal duration.
        num_starts: random starts, all in one program.
        num_iterations: steps of shortening.
        tolerance: infidelity at which a start counts; 1e-10 in float64, 1e-5 in float32.
        key: of the starts; `jax.random.key(0)` by default.
        throw: raise if no start meets the target (only outside `jit`); otherwise `result` says so.

    Returns:
        `ShortestControls`.

    Raises:
        InputError: a target that is not unitary or not of the metric's qubits, another order,
            counts that are not positive, no random key, penalties that are traced, or too much
            memory.
        NumericalError: no start met the target (only outside `jit`, and only if `throw`).

    Under `jit` and `vmap` the target as a matrix, the tolerance and the key may be traced. The
    penalties may not, since the forbidden strings are left out: make the metric outside.

    Gradient: none.

    Example:
        >>> found = shortest_controls("s", PauliPenalty(1), num_slices=2, num_starts=2)
        >>> round(float(found.length), 5)  # a quarter of pi
        0.7854

    Reference: `[nielsen2006geometric]`.
    """
    if order not in (1, 2):
        raise InputError(f"Argument order must be 1 or 2, but is {order!r}.")
    checks.count(num_iterations, "num_iterations")
    check_metric(metric)
    if checks.is_tracer(metric.penalties):
        raise InputError(
            "Argument metric of shortest_controls must not be traced, since it decides which "
            "strings are left out; make it outside of jit, grad or vmap, and close over it."
        )
    usable = np.isfinite(np.asarray(metric.penalties))
    if not np.any(usable[1:]):
        raise InputError("Argument metric forbids all strings; give one a finite penalty.")
    labels = tuple(label for label, use in zip(metric.labels[1:], usable[1:], strict=True) if use)
    goal = as_target(target)
    if goal.shape[0] != 2**metric.num_qubits:
        raise InputError(
            f"Argument target must be of the metric's {metric.num_qubits} qubits, but has shape "
            f"{list(goal.shape)}."
        )
    if tolerance is None:
        tolerance = 1e-10 if goal.dtype == jnp.complex128 else 1e-5
    positive_number(tolerance, "tolerance")
    starts = synthesise(
        goal,
        labels,
        num_slices=num_slices,
        num_starts=num_starts,
        key=as_key(key),
        tolerance=tolerance,
        throw=throw,
    )
    dtype = starts.coefficients.dtype
    plant = Plant(
        target=starts.target,
        generators=combine(jnp.eye(len(labels), dtype=dtype), labels),
        drift=jnp.zeros_like(starts.target),
        basis=jnp.eye(num_slices, dtype=dtype),
        bound=jnp.full(len(labels), jnp.inf, dtype),
        step=jnp.asarray(1 / num_slices, dtype),
    )
    prices = metric.penalties[jnp.asarray(np.flatnonzero(usable)[1:])].astype(dtype)
    prices = prices if priced else jnp.ones_like(prices)
    prices = jnp.sqrt(prices) if order == 1 else prices
    coefficients, lengths, infidelities, changes = _shorten(
        plant, starts.coefficients, prices, order=order, num_iterations=num_iterations
    )
    lengths = jnp.where(
        infidelities <= jnp.maximum(jnp.asarray(tolerance, dtype), 1e-14), lengths, jnp.inf
    )
    best = jnp.argmin(lengths)
    found = ShortestControls(
        controls=Controls(coefficients[best], labels),
        length=jnp.where(jnp.isfinite(lengths[best]), lengths[best], jnp.nan),
        infidelity=infidelities[best],
        lengths=jnp.sort(lengths),
        change=changes[best],
        result=code_if(~jnp.isfinite(lengths[best]), RESULTS.not_converged),
    )
    return throw_if_failed(found, found.result, what="shortest_controls") if throw else found


@eqx.filter_jit
def _shorten(plant, coefficients, prices, *, order, num_iterations):
    def weights(controls):
        """Of the sum of squares that stands for the cost, and touches it at these controls."""
        if order == 2:
            return jnp.broadcast_to(prices, controls.shape)
        sizes = jnp.abs(controls) * prices[None, :]
        total = jnp.sum(sizes, axis=1, keepdims=True)
        return jnp.square(prices)[None, :] * total / (sizes + _SMOOTHING * total + 1e-30)

    dtype = coefficients.dtype
    ridge = 512 * float(jnp.finfo(dtype).eps)

    def solve(slopes, scaled, right):
        """The multipliers: `slopes scaled^T lambda = right`, with the end's idle direction."""
        normal = slopes @ scaled.T
        least = ridge * jnp.trace(normal) * jnp.eye(normal.shape[0], dtype=dtype)
        return jnp.linalg.solve(normal + least, right)

    def model(controls):
        end = endpoint(plant, controls)
        slopes = jacobian(plant, controls, end)
        return end.residual, slopes, slopes / weights(controls).reshape(1, -1)

    def shorten(controls, _):
        residual, slopes, scaled = model(controls)
        x = controls.reshape(-1)
        step = scaled.T @ solve(slopes, scaled, slopes @ x - residual) - x
        change = jnp.linalg.norm(step) / (jnp.linalg.norm(x) + 1e-30)
        # the model is good for small moves
        share = _SHARE / jnp.maximum(1.0, change)
        return controls + share * step.reshape(controls.shape), change

    def meet(controls, _):
        residual, slopes, scaled = model(controls)
        step = scaled.T @ solve(slopes, scaled, residual)
        return controls - step.reshape(controls.shape), None

    def lane(controls):
        controls, changes = jax.lax.scan(shorten, controls, length=num_iterations)
        controls, _ = jax.lax.scan(meet, controls, length=_FEASIBLE_STEPS)
        if order == 1:
            costs = jnp.sum(jnp.abs(controls) * prices[None, :], axis=1)
        else:
            costs = jnp.linalg.norm(controls * jnp.sqrt(prices)[None, :], axis=1)
        infidelity = endpoint(plant, controls).infidelity
        return controls, plant.step * jnp.sum(costs), infidelity, changes[-1]

    return jax.lax.map(lane, coefficients, batch_size=16)
