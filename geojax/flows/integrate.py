"""The verb `integrate`: any velocity field along time, over points or over a group."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, Literal

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from geojax._core import checks
from geojax._core.errors import InputError
from geojax._core.results import throw_if_failed
from geojax.actions import AbstractAction, AbstractGroup
from geojax.flows.path import AbstractFieldCost, Path, kinetic_energy, speed
from geojax.flows.solvers import LieTerm, Measured, MuntheKaas
from geojax.flows.stepping import Save, Time, check_options, solve

RunningCost = Callable[[Array, Array, Array], Array] | AbstractFieldCost


def integrate(
    field: Callable,
    state: PyTree,
    *,
    action: AbstractAction | None = None,
    t0: Time = 0.0,
    t1: Time = 1.0,
    num_steps: int = 20,
    reverse: bool = False,
    costs: Mapping[str, RunningCost] | None = None,
    divergence: Literal["exact", "hutchinson"] | None = None,
    key: PRNGKeyArray | None = None,
    probe: Literal["rademacher", "gaussian"] = "rademacher",
    save: Save = "steps",
    solver: diffrax.AbstractSolver | None = None,
    stepsize_controller: diffrax.AbstractStepSizeController | None = None,
    adjoint: diffrax.AbstractAdjoint | None = None,
    max_steps: int | None = 4096,
    throw: bool = True,
) -> Path:
    """Move a state along a time-dependent velocity field.

    Args:
        field: `field(t, x) -> velocity`. Without an action, x is an array of points
            `[..., d]`, each moved by its own velocity.
        state: where to start; with a group action, a matrix.
        action: how velocities move the state; None for points moved by the values of the field.
        t0, t1: start and end of time, `t0 < t1`.
        num_steps: equal steps; with a controller, equal intervals at whose ends the path is
            saved.
        reverse: run the flow backwards from `t1` to `t0`: the inverse flow.
        costs: running costs `name -> f(t, x, velocity) -> [...]`, one value per point, integrated
            in the same solve; an `AbstractFieldCost` also sees the field and the probe. Energy
            and length are always there.
        divergence: also integrate the divergence, so that `path.log_det` is the log-determinant
            of the flow's Jacobian and `log_density - path.log_det` the moved log-density;
            `"exact"` takes d derivatives, `"hutchinson"` one random probe, and needs `key`.
        key: draws the probe of each point, which is the same along its whole path.
        probe: distribution of its entries, of mean 0 and variance 1.
        save: `"steps"` for the whole path, `"end"` for its two ends.
        solver: Tsit5 by default, a Munthe-Kaas step for groups.
        stepsize_controller, adjoint, max_steps: passed to diffrax. Costs take no part in the
            error estimate, so measuring a path does not change it.
        throw: raise if the solve failed; otherwise `path.result` says so.

    Returns:
        The path.

    Raises:
        InputError: options that do not fit, or a state that is not finite.
        NumericalError: the solve failed (only outside `jit`, and only if `throw`).

    Gradient: forward and reverse, any order, with equal steps; otherwise that of the adjoint.

    Example:
        >>> import jax.numpy as jnp
        >>> path = integrate(lambda t, x: -x, jnp.ones((1, 2)), divergence="exact")
        >>> [round(float(v), 5) for v in (path.end[0, 0], path.log_det[0])]
        [0.36788, -2.0]

    Reference: `[chen2018neural]`, `[kidger2021neural]`.
    """
    check_options(
        t0=t0,
        t1=t1,
        num_steps=num_steps,
        max_steps=max_steps,
        solver=solver,
        stepsize_controller=stepsize_controller,
        adjoint=adjoint,
        save=save,
    )
    costs = dict(costs or {})
    if divergence not in (None, "exact", "hutchinson"):
        raise InputError(
            f"Argument divergence must be 'exact', 'hutchinson' or None, but is {divergence!r}."
        )
    if probe not in ("rademacher", "gaussian"):
        raise InputError(f"Argument probe must be 'rademacher' or 'gaussian', but is {probe!r}.")
    if divergence == "hutchinson" and key is None:
        raise InputError("Argument key must be given with divergence='hutchinson', but is None.")
    if action is not None:
        state = action.check(state, "state")
        if costs or divergence:
            raise InputError("Arguments costs and divergence are for points: leave action None.")
    else:
        state = checks.finite(checks.as_float_array(state, "state"), "state")
    checks.resolved_interval(t0, t1, num_steps, jnp.finfo(state.dtype).dtype)
    if stepsize_controller is None:  # a controller is told to step on the jumps
        _check_jumps(getattr(field, "jumps", None), t0, t1, num_steps)
    is_group = isinstance(action, AbstractGroup)
    path = _integrate(
        field,
        state,
        action,
        jnp.asarray(t0, float),
        jnp.asarray(t1, float),
        costs,
        key,
        solver if solver is not None else (MuntheKaas() if is_group else diffrax.Tsit5()),
        stepsize_controller,
        adjoint,
        num_steps=num_steps,
        reverse=bool(reverse),
        divergence=divergence,
        probe=probe,
        save=save,
        max_steps=max_steps,
    )
    return throw_if_failed(path, path.result, what="integrate") if throw else path


class _Augmented(eqx.Module):
    """State of an integration over points with everything that is accumulated beside it."""

    x: Float[Array, "*batch d"]
    costs: dict[str, Float[Array, "*batch"]]
    log_det: Float[Array, "*batch"] | None


@eqx.filter_jit
def _integrate(
    field,
    state,
    action,
    t0,
    t1,
    costs,
    key,
    solver,
    stepsize_controller,
    adjoint,
    *,
    num_steps,
    reverse,
    divergence,
    probe,
    save,
    max_steps,
) -> Path:
    dtype = jnp.finfo(state.dtype).dtype
    t0, t1 = t0.astype(dtype), t1.astype(dtype)
    jumps = getattr(field, "jumps", None)
    if reverse:
        t0, t1 = -t1, -t0
        jumps = None if jumps is None else -jumps
    options: dict[str, Any] = dict(
        t0=t0,
        t1=t1,
        num_steps=num_steps,
        solver=solver,
        adjoint=adjoint,
        max_steps=max_steps,
        save=save,
        jumps=jumps,
    )
    clock = _Clock(reverse)
    if action is not None:
        return _integrate_action(field, state, action, clock, stepsize_controller, options)
    costs = {"energy": kinetic_energy, "length": speed, **costs}
    draw = jax.random.rademacher if probe == "rademacher" else jax.random.normal
    drawn = None if key is None else draw(key, state.shape, state.dtype)
    rates = _AugmentedField(field, costs, clock, drawn, divergence)
    zero = jnp.zeros(state.shape[:-1], state.dtype)
    like = jax.eval_shape(rates, t0, _Augmented(state, {}, zero), None)
    zeros = {name: jnp.zeros(s.shape, s.dtype) for name, s in like.costs.items()}
    start = _Augmented(state, zeros, zero if divergence else None)
    controller = _seeing(stepsize_controller, _Augmented, lambda y: (y.x, y.log_det))
    steps = solve(diffrax.ODETerm(rates), start, stepsize_controller=controller, **options)
    totals = {name: value[-1] for name, value in steps.states.costs.items()}
    return Path(
        times=clock(steps.times),
        states=steps.states.x,
        energy=totals.pop("energy"),
        length=totals.pop("length"),
        costs=totals,
        log_det=None if divergence is None else steps.states.log_det[-1],
        result=steps.result,
        num_steps=steps.num_steps,
        num_evaluations=steps.num_evaluations,
        time_reached=clock(steps.reached),
    )


def _seeing(controller, kind: type, part: Callable):
    """A step size controller that estimates errors of a part of what is integrated.

    Args:
        controller: a PID controller, or one that holds it; any other is left as it is.
        kind: of what is integrated. The backward solve of `BacksolveAdjoint` has the same
            controller, but a tuple of states and gradients, of which all count.
        part: of that, which counts.
    """
    if isinstance(controller, diffrax.ClipStepSizeController):
        inner = _seeing(controller.controller, kind, part)
        return eqx.tree_at(lambda c: c.controller, controller, inner)
    if not isinstance(controller, diffrax.PIDController):
        return controller
    norm = controller.norm
    return eqx.tree_at(
        lambda c: c.norm, controller, lambda y: norm(part(y) if isinstance(y, kind) else y)
    )


class _Clock(eqx.Module):
    """Time of the field at solver time s: a reversed flow is the flow of the reversed field.

    The opposite time, with no offset, so that jumps stay where they are to the last bit.
    """

    reverse: bool = eqx.field(static=True)

    def __call__(self, s):
        return -s if self.reverse else s

    def sign(self, velocity: Any) -> Any:
        return jax.tree.map(jnp.negative, velocity) if self.reverse else velocity


# The right-hand sides are modules, not closures, so that diffrax can differentiate what they hold.


class _AugmentedField(eqx.Module):
    """Velocity, running costs and divergence of points."""

    field: Callable
    costs: dict[str, Callable]
    clock: _Clock
    probe: Float[Array, "*batch d"] | None
    divergence: str | None = eqx.field(static=True)

    def __call__(self, s, y, args):
        t = self.clock(s)
        if self.divergence is None:
            velocity, rate = self.field(t, y.x), None
        else:
            probe = self.probe if self.divergence == "hutchinson" else None
            velocity, rate = _divergence(lambda x: self.field(t, x), y.x, probe)

        def price(cost):
            if isinstance(cost, AbstractFieldCost):
                return cost(self.field, t, y.x, velocity, self.probe)
            return cost(t, y.x, velocity)

        # costs are prices along the curve: positive in either direction of time
        prices = {name: price(cost) for name, cost in self.costs.items()}
        return _Augmented(self.clock.sign(velocity), prices, self.clock.sign(rate))


class _Velocity(eqx.Module):
    """Velocity of a state that is moved by an action."""

    field: Callable
    clock: _Clock

    def __call__(self, s, y):
        return self.clock.sign(self.field(self.clock(s), y))


class _Moved(eqx.Module):
    """Time derivative of a state that is moved by an action, and the prices of its motion."""

    velocity: _Velocity
    action: AbstractAction

    def __call__(self, s, y, args):
        rate = self.action(self.velocity(s, y.state), y.state)
        return Measured(rate, _prices(rate))


def _prices(rate) -> dict[str, Float[Array, ""]]:
    """Rates of energy and length of a state as a whole, in the ambient norm."""
    parts = jnp.stack([jnp.real(rate), jnp.imag(rate)]).reshape(-1)
    zero = jnp.zeros((), parts.dtype)
    return {"energy": kinetic_energy(zero, parts, parts), "length": speed(zero, parts, parts)}


def _integrate_action(field, state, action, clock, controller, options) -> Path:
    velocity = _Velocity(field, clock)
    if isinstance(action, AbstractGroup):
        term: diffrax.AbstractTerm = LieTerm(action, velocity, _prices)
    else:
        term = diffrax.ODETerm(_Moved(velocity, action))
    zero = jnp.zeros((), jnp.finfo(state.dtype).dtype)
    start = Measured(state, {"energy": zero, "length": zero})
    controller = _seeing(controller, Measured, lambda y: y.state)
    steps = solve(term, start, stepsize_controller=controller, **options)
    totals = jax.tree.map(lambda cost: cost[-1], steps.states.costs)
    return Path(
        times=clock(steps.times),
        states=steps.states.state,
        energy=totals["energy"],
        length=totals["length"],
        result=steps.result,
        num_steps=steps.num_steps,
        num_evaluations=steps.num_evaluations,
        time_reached=clock(steps.reached),
    )


def _divergence(field, x, probe):
    """Value and divergence of a field that acts on each point by itself."""
    if probe is not None:
        value, derivative = jax.jvp(field, (x,), (probe,))
        return value, jnp.sum(probe * derivative, axis=-1)
    value, push = jax.linearize(field, x)
    directions = jnp.eye(x.shape[-1], dtype=x.dtype)

    def diagonal(k):
        return push(jnp.broadcast_to(directions[k], x.shape))[..., k]

    return value, functools.reduce(jnp.add, [diagonal(k) for k in range(x.shape[-1])])


def _check_jumps(jumps, t0, t1, num_steps):
    """Jumps of a field must fall on the ends of steps, or the solver loses its order."""
    if jumps is None or any(checks.is_tracer(v) for v in (jumps, t0, t1)):
        return
    inside = np.asarray([t for t in np.asarray(jumps) if t0 < t < t1])
    position = (inside - t0) / (t1 - t0) * num_steps
    off = np.abs(position - np.round(position)) > 1e-6
    if np.any(off):
        raise InputError(
            f"Argument num_steps must put a step at every jump of the field, but with "
            f"{num_steps} steps the jump at t = {inside[off][0]:g} falls inside one."
        )
