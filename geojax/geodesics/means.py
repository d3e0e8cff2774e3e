"""The Frechet mean of states, by Karcher iterations with the geodesic logarithm."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from geojax._core import checks
from geojax._core.errors import InputError
from geojax._core.results import RESULTS, code_if, first_failure, throw_if_failed
from geojax.actions import AbstractAction, Points
from geojax.geodesics.equation import hamiltonian
from geojax.geodesics.logarithm import check_separation, log
from geojax.geodesics.shooting import check_fit, shoot, warn_of_collisions
from geojax.metrics import RKHS, AbstractMetric


class Mean(eqx.Module):
    """A Frechet mean.

    Attributes:
        state: the mean.
        variance: weighted mean of the squared distances to it.
        residual: norm of the mean logarithm, which is zero at the mean.
        result: result code.
        num_iterations: Karcher iterations.
    """

    state: PyTree
    variance: Float[Array, ""]
    residual: Float[Array, ""]
    result: RESULTS
    num_iterations: Int[Array, ""]


class _State(eqx.Module):
    """What an iteration carries."""

    state: PyTree
    residual: Float[Array, ""]
    variance: Float[Array, ""]
    failed: RESULTS
    iteration: Int[Array, ""]


def mean(
    metric: AbstractMetric,
    action: AbstractAction,
    states: PyTree,
    *,
    weights: Any = None,
    initial: PyTree | None = None,
    tolerance: float | Float[Array, ""] | None = None,
    max_iterations: int = 50,
    throw: bool = True,
    **options,
) -> Mean:
    """The state of least weighted mean squared distance to given states.

    Karcher iterations: shoot along the mean of the logarithms until it vanishes. The mean is
    unique for states close enough together; elsewhere this finds a critical point.

    Args:
        metric, action: the geometry.
        states: k states stacked along a leading axis, or a list of them.
        weights: non-negative weights, normalised to one; equal by default.
        initial: where to start; by default the first state.
        tolerance: norm of the mean logarithm at which to stop; 1e-9 in float64, 1e-4 in float32.
        max_iterations: bound on the iterations.
        throw: raise if it was not reached; otherwise `result` says so.
        **options: as for `log` and `shoot`.

    Returns:
        A `Mean`.

    Raises:
        InputError: states, weights or options that do not fit, or landmarks that coincide.
        NumericalError: the mean was not reached (only outside `jit`, and only if `throw`).

    Gradient: not supported through the iteration (it runs in a while loop).

    Example:
        >>> import jax.numpy as jnp
        >>> from geojax.actions import Points
        >>> from geojax.kernels import Gaussian
        >>> from geojax.metrics import RKHS
        >>> landmarks = jnp.array([[[0.0, 0.0]], [[1.0, 2.0]]])
        >>> mean(RKHS(Gaussian(1.0)), Points(), landmarks).state.round(4).tolist()
        [[0.5, 1.0]]

    Reference: `[younes2010shapes]`.
    """
    checks.count(max_iterations, "max_iterations")
    check_fit(metric, action)
    states = _stacked(action, states)
    count, dtype = states.shape[0], jnp.finfo(states.dtype).dtype
    start = states[0] if initial is None else action.check(initial, "initial")
    if start.shape != states.shape[1:]:
        raise InputError(
            f"Argument initial must have the shape of a state, {list(states.shape[1:])}, but has "
            f"shape {list(start.shape)}."
        )
    if isinstance(metric, RKHS) and isinstance(action, Points):
        for k, state in enumerate(states):
            check_separation(metric, state, f"states[{k}]")
        check_separation(metric, start, "initial")
    warn_of_collisions(metric, action, states)
    if weights is None:
        weights = jnp.ones(count, dtype)
    weights = jnp.asarray(checks.non_negative(weights, "weights"), dtype)
    if weights.shape != (count,):
        raise InputError(
            f"Argument weights must have one entry for each of the {count} states, but has shape "
            f"{list(weights.shape)}."
        )
    if not checks.is_tracer(weights) and not jnp.sum(weights) > 0:
        raise InputError("Argument weights must not all be zero.")
    if tolerance is None:
        tolerance = 1e-9 if dtype == jnp.float64 else 1e-4
    checks.positive(tolerance, "tolerance")
    found = _mean(
        metric,
        action,
        states,
        weights / jnp.sum(weights),
        start,
        jnp.asarray(tolerance, dtype),
        options,
        max_iterations=max_iterations,
    )
    return throw_if_failed(found, found.result, what="mean") if throw else found


def _stacked(action: AbstractAction, states: Any) -> Array:
    """States that are checked one by one, before JAX rounds them, along a leading axis.

    Raises:
        InputError: no states, not states of the action, or not all of one shape.
    """
    if not isinstance(states, list | tuple):
        states = states if isinstance(states, jax.Array) else np.asarray(states)
        if not states.ndim:
            raise InputError(f"Argument states must be a stack of states, but is {states!r}.")
        if states.dtype.kind != "c":  # one warning for all, where something is lost
            states = checks.as_float_array(states, "states")
    if len(states) == 0:
        raise InputError("Argument states must hold at least one state, but is empty.")
    checked = [action.check(state, f"states[{k}]") for k, state in enumerate(states)]
    for k, state in enumerate(checked):
        if state.shape != checked[0].shape:
            raise InputError(
                f"Argument states must hold states of one shape, but states[0] has shape "
                f"{list(checked[0].shape)} and states[{k}] {list(state.shape)}."
            )
    return jnp.stack(checked)


@eqx.filter_jit
def _mean(metric, action, states, weights, start, tolerance, options, *, max_iterations):
    def average(momenta):
        broadcast = weights.reshape(-1, *[1] * (momenta.ndim - 1))
        return jnp.sum(broadcast.astype(momenta.dtype) * momenta, axis=0)

    def measure(state):
        """Mean logarithm, its norm, the variance and the first failure of a logarithm."""
        found = jax.vmap(lambda x: log(metric, action, state, x, throw=False, **options))(states)
        momentum = jax.tree.map(average, found.momentum)
        norm = jnp.sqrt(jnp.maximum(2 * hamiltonian(metric, action, state, momentum), 0.0))
        variance = jnp.sum(weights * jnp.square(found.distance))
        worst = jnp.argmax(found.result != RESULTS.successful)
        failed = jax.tree.map(lambda code: code[worst], found.result)
        return momentum, norm, variance, failed

    def unfinished(carry):
        return (carry.residual > tolerance) & (carry.iteration < max_iterations)

    def iterate(carry):
        momentum, _, _, _ = measure(carry.state)
        state = shoot(metric, action, carry.state, momentum, throw=False, **options).end
        _, norm, variance, failed = measure(state)
        return _State(state, norm, variance, failed, carry.iteration + 1)

    _, norm, variance, failed = measure(start)
    first = _State(start, norm, variance, failed, jnp.array(0))
    last = jax.lax.while_loop(unfinished, iterate, first)
    missed = code_if(~(last.residual <= tolerance), RESULTS.not_converged)
    return Mean(
        state=last.state,
        variance=last.variance,
        residual=last.residual,
        result=first_failure(last.failed, missed),
        num_iterations=last.iteration,
    )
