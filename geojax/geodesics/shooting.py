"""The verb `shoot`: the geodesic that leaves a state with a momentum; and its variations."""

import dataclasses
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree, Real

from geojax._core import checks
from geojax._core.buckets import bucket, filled
from geojax._core.checks import as_points, same_dimension
from geojax._core.errors import InputError
from geojax._core.linalg import safe_sqrt
from geojax._core.results import RESULTS, code_if, first_failure, is_traced, throw_if_failed
from geojax.actions import (
    AbstractAction,
    AbstractGroup,
    Densities,
    Images,
    Points,
    Unitaries,
)
from geojax.flows.path import Path
from geojax.flows.solvers import LieTerm, MuntheKaas
from geojax.flows.stepping import Save, Time, check_options, solve
from geojax.geodesics import equation
from geojax.metrics import (
    RKHS,
    AbstractGridMetric,
    AbstractMetric,
    Entrywise,
    Isotropic,
    PauliPenalty,
)


def shoot(
    metric: AbstractMetric,
    action: AbstractAction,
    state: PyTree,
    momentum: PyTree,
    *,
    carried: PyTree | None = None,
    t0: Time = 0.0,
    t1: Time = 1.0,
    num_steps: int = 20,
    reverse: bool = False,
    save: Save = "steps",
    buckets: bool = False,
    energy_tolerance: float | Real[Array, ""] = 1e-2,
    solver: diffrax.AbstractSolver | None = None,
    stepsize_controller: diffrax.AbstractStepSizeController | None = None,
    adjoint: diffrax.AbstractAdjoint | None = None,
    max_steps: int | None = 4096,
    throw: bool = True,
) -> Path:
    """Follow the geodesic that starts at a state with a momentum.

    Args:
        metric: what velocities cost.
        action: how they move the state.
        state: q at time `t0`: points `[n, d]`, or a matrix of the group.
        momentum: p, stored like the state; `momentum_of` finds it from a tangent, and
            `action.lift(state, metric.flat(velocity))` from a velocity of a group.
        carried: other points `[m, d]` moved by the same velocity (RKHS over points only).
        t0, t1: start and end of time, `t0 < t1`.
        num_steps: equal steps; with a controller, equal intervals at whose ends the path is
            saved.
        reverse: follow the geodesic backwards from its end: state and momentum are those at `t1`,
            and `path.end` is at `t0`.
        save: `"steps"` for the whole path, `"end"` for its two ends.
        buckets: pad points to one of four sizes per octave, by such that hold no momentum, so that
            other numbers of points share a compiled program. The path is that without padding;
            with a controller to its tolerance only, since its steps depend on all points.
        energy_tolerance: relative drift of the conserved energy beyond which the solve has
            failed.
        solver: Tsit5 by default; for groups a Munthe-Kaas step, which stays on the group.
        stepsize_controller, adjoint, max_steps: passed to diffrax.
        throw: raise if the solve failed; otherwise `path.result` says so.

    Returns:
        The path, with states, costates, energy, length and energy drift. If the end was not
        reached, energy and length are NaN like the states; after `energy_drift` they stay.

    Raises:
        InputError: arguments that do not fit together.
        NumericalError: not finite, or energy drift (only outside `jit`, and only if `throw`).

    Warns:
        UserWarning: the kernel of an RKHS is not C^2, so that points may collide.

    Gradient: forward and reverse, any order, with equal steps; otherwise that of the adjoint.

    Example:
        >>> import jax.numpy as jnp
        >>> from geojax.actions import Points
        >>> from geojax.kernels import Gaussian
        >>> from geojax.metrics import RKHS
        >>> q, p = jnp.zeros((1, 2)), jnp.array([[1.0, 2.0]])
        >>> shoot(RKHS(Gaussian(1.0)), Points(), q, p).end.round(6).tolist()
        [[1.0, 2.0]]

    Reference: `[arnold1966geometrie]`, `[younes2010shapes]`.
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
    checks.positive(energy_tolerance, "energy_tolerance")
    check_fit(metric, action)
    state = action.check(state, "state")
    checks.resolved_interval(t0, t1, num_steps, jnp.finfo(state.dtype).dtype)
    momentum = like_state(momentum, state, "momentum")
    if carried is not None:
        if not (isinstance(metric, RKHS) and isinstance(action, Points)):
            raise InputError("Argument carried needs an RKHS metric and the action on points.")
        carried = as_points(carried, "carried", any_dimension=True)
        same_dimension(carried, state, "carried", "state")
    warn_of_collisions(metric, action, state, momentum)
    given = state, carried
    if buckets:
        if not isinstance(action, Points) or is_traced((state, momentum, carried)):
            raise InputError(
                "Argument buckets needs the action on points, outside `jit`, `vmap` and `grad`: "
                "padding is done in NumPy."
            )
        # what is repeated moves along with the last
        count = bucket(state.shape[0])
        state, momentum = filled(state, count, "edge"), filled(momentum, count)
        carried = None if carried is None else filled(carried, bucket(carried.shape[0]), "edge")
    is_group = isinstance(action, AbstractGroup)
    path = _shoot(
        metric,
        action,
        state,
        momentum,
        carried,
        jnp.asarray(t0, float),
        jnp.asarray(t1, float),
        jnp.asarray(energy_tolerance, float),
        solver if solver is not None else (MuntheKaas() if is_group else diffrax.Tsit5()),
        stepsize_controller,
        adjoint,
        num_steps=num_steps,
        reverse=bool(reverse),
        save=save,
        max_steps=max_steps,
    )
    if buckets:
        path = _trimmed(path, *given)
    return throw_if_failed(path, path.result, what="shoot") if throw else path


def _trimmed(path, state, carried) -> Path:
    """A path without its padding."""

    def kept(x, like):
        return None if x is None else jnp.asarray(np.asarray(x)[:, : like.shape[0]])

    return dataclasses.replace(
        path,
        states=kept(path.states, state),
        costates=kept(path.costates, state),
        carried=kept(path.carried, carried),
    )


@eqx.filter_jit
def _shoot(
    metric,
    action,
    state,
    momentum,
    carried,
    t0,
    t1,
    energy_tolerance,
    solver,
    stepsize_controller,
    adjoint,
    *,
    num_steps,
    reverse,
    save,
    max_steps,
) -> Path:
    dtype = jnp.finfo(jax.tree.leaves(state)[0].dtype).dtype
    t0, t1 = t0.astype(dtype), t1.astype(dtype)
    # the geodesic run backwards is the geodesic of the opposite momentum
    sign = -1.0 if reverse else 1.0
    momentum = jax.tree.map(lambda p: sign * p, momentum)
    start: Any = (state, momentum) if carried is None else (state, momentum, carried)
    steps = solve(
        _term(metric, action),
        start,
        t0=t0,
        t1=t1,
        num_steps=num_steps,
        solver=solver,
        stepsize_controller=stepsize_controller,
        adjoint=adjoint,
        max_steps=max_steps,
        save=save,
    )
    states, costates = steps.states[0], steps.states[1]
    last = jax.tree.map(lambda x: x[-1], (states, costates))
    energy = equation.hamiltonian(metric, action, state, momentum)
    drift = jnp.abs(equation.hamiltonian(metric, action, *last) - energy)
    drift = drift / jnp.where(energy > 0, energy, 1.0)
    # written so that a drift that is not a number passes on to the code for that
    drifted = code_if(drift > energy_tolerance.astype(dtype), RESULTS.energy_drift)
    norm = safe_sqrt(2 * energy)

    # a path that drifted did reach its end: there the numbers stay, since they show the drift
    def over_time(rate):
        return jnp.where(steps.result == RESULTS.successful, rate * (t1 - t0), jnp.nan)

    return Path(
        times=t0 + t1 - steps.times if reverse else steps.times,
        states=states,
        costates=jax.tree.map(lambda p: sign * p, costates),
        carried=None if carried is None else steps.states[2],
        energy=over_time(energy),
        length=over_time(norm),
        energy_drift=drift,
        result=first_failure(steps.result, drifted),
        num_steps=steps.num_steps,
        num_evaluations=steps.num_evaluations,
        time_reached=t0 + t1 - steps.reached if reverse else steps.reached,
    )


# The right-hand sides are modules, not closures, so that diffrax can differentiate what they hold.


class _Velocity(eqx.Module):
    metric: AbstractMetric
    action: AbstractAction

    def __call__(self, t, y):
        return equation.velocity_of(self.metric, self.action, *y)


class _Rates(eqx.Module):
    metric: AbstractMetric
    action: AbstractAction

    def __call__(self, t, y, args):
        rates = equation.geodesic_field(self.metric, self.action, y[0], y[1])
        return rates if len(y) == 2 else (*rates, equation.carry(self.metric, *y))


def _term(metric, action) -> diffrax.AbstractTerm:
    if isinstance(action, AbstractGroup):
        return LieTerm(action, _Velocity(metric, action))
    return diffrax.ODETerm(_Rates(metric, action))


def check_fit(metric: AbstractMetric, action: AbstractAction) -> None:
    """Raise where a metric prices other velocities than those that an action takes."""
    on_grids = isinstance(metric, AbstractGridMetric), isinstance(action, Images | Densities)
    if isinstance(metric, RKHS) != isinstance(action, Points) or on_grids[0] != on_grids[1]:
        known = RKHS, Isotropic, Entrywise, PauliPenalty, AbstractGridMetric
        if isinstance(metric, known):
            raise InputError(
                f"Argument metric must price the velocities of {type(action).__name__}, but is "
                f"{type(metric).__name__}; points are moved by velocity fields, priced by `RKHS`, "
                "images by those on grids, priced by `Sobolev` or `GaussianGrid`, and matrices by "
                "matrices."
            )
    if all(on_grids):
        _check_same_grid(metric, action)
    if isinstance(metric, PauliPenalty):
        qubits = action.num_qubits if isinstance(action, Unitaries) else None
        if qubits != metric.num_qubits:
            raise InputError(
                f"Argument metric must fit the action, but is PauliPenalty of {metric.num_qubits} "
                f"qubits for {action!r}."
            )


def _check_same_grid(metric, action) -> None:
    if metric.boundary != action.boundary:
        raise InputError(
            f"Argument metric must have the boundary of the action, {action.boundary!r}, but has "
            f"{metric.boundary!r}."
        )
    ours, theirs = metric.spacing, action.spacing
    known = not is_traced((ours, theirs))
    if ours.shape != theirs.shape or (known and not np.allclose(ours, theirs, rtol=1e-6, atol=0)):
        raise InputError(
            f"Argument metric must have the spacing of the action, {action.spacing}, but has "
            f"{metric.spacing}."
        )


def warn_of_collisions(metric: AbstractMetric, action: AbstractAction, *arrays) -> None:
    """Warn where geodesics of points may run into collisions: the kernel is not C^2.

    Only outside transformations: what calls `shoot` inside one has its own say.
    """
    if isinstance(metric, RKHS) and isinstance(action, Points) and not is_traced((metric, arrays)):
        checks.collisions(metric.kernel)


def jacobi_field(
    metric: AbstractMetric,
    action: AbstractAction,
    state: PyTree,
    momentum: PyTree,
    momentum_variation: PyTree,
    *,
    state_variation: PyTree | None = None,
    **options,
) -> tuple[Path, PyTree]:
    """Variation of a geodesic with its initial momentum (and state).

    Args:
        metric, action, state, momentum: as for `shoot`.
        momentum_variation: derivative of the initial momentum, stored like it.
        state_variation: derivative of the initial state; zero by default.
        **options: as for `shoot`; the steps must be equal or the adjoint
            `diffrax.ForwardMode()`.

    Returns:
        The geodesic, and the derivative of `path.states` at the saved times: the Jacobi field.

    Gradient: as `shoot`.

    Example:
        >>> import jax.numpy as jnp
        >>> from geojax.actions import Points
        >>> from geojax.kernels import Gaussian
        >>> from geojax.metrics import RKHS
        >>> q = jnp.zeros((1, 1))
        >>> path, field = jacobi_field(RKHS(Gaussian(1.0)), Points(), q, q, q + 1)
        >>> float(field[-1, 0, 0].round(6))
        1.0
    """
    throw = options.pop("throw", True)
    state = action.check(state, "state")
    momentum = like_state(momentum, state, "momentum")
    momentum_variation = like_state(momentum_variation, state, "momentum_variation")
    if state_variation is None:
        state_variation = jax.tree.map(jnp.zeros_like, state)
    else:
        state_variation = like_state(state_variation, state, "state_variation")

    def states(q, p):
        path = shoot(metric, action, q, p, throw=False, **options)
        return path.states, path

    _, variation, path = jax.jvp(
        states, (state, momentum), (state_variation, momentum_variation), has_aux=True
    )
    path = throw_if_failed(path, path.result, what="jacobi_field") if throw else path
    return path, variation


def like_state(covector, state, name: str):
    """A covector (or tangent) in the state's dtype; raises where it is not one.

    Raises:
        InputError: another shape, complex where the state is real, or not finite.
    """
    array = covector
    if not isinstance(array, jax.Array):
        array = np.asarray(array) if checks.is_regular(array) else None
    if array is None or array.dtype.kind not in "fiuc":
        raise InputError(f"Argument {name} must be an array of numbers, but is {covector!r}.")
    if array.shape != state.shape:
        raise InputError(
            f"Argument {name} must have the shape of the state, {list(state.shape)}, but has "
            f"shape {list(array.shape)}."
        )
    if array.dtype.kind == "c" and not jnp.iscomplexobj(state):
        raise InputError(
            f"Argument {name} must be real like the state, but has dtype {array.dtype}."
        )
    return jnp.asarray(checks.finite(array, name)).astype(state.dtype)
