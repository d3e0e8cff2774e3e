"""Parallel transport of a momentum along a geodesic: its differential equation, or a ladder."""

import dataclasses

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from geojax._core import checks, trees
from geojax._core.results import RESULTS, first_failure, is_traced, throw_if_failed
from geojax.actions import AbstractAction
from geojax.flows.path import Path
from geojax.flows.stepping import solve
from geojax.geodesics.equation import (
    check_memory,
    cometric,
    geodesic_field,
    hamiltonian,
    momentum_dimension,
    momentum_of,
)
from geojax.geodesics.logarithm import log
from geojax.geodesics.shooting import check_fit, like_state, shoot
from geojax.metrics import AbstractMetric


def parallel_transport(
    metric: AbstractMetric,
    action: AbstractAction,
    state: PyTree,
    momentum: PyTree,
    transported: PyTree,
    *,
    num_rungs: int | None = None,
    num_steps: int = 20,
    throw: bool = True,
    **options,
) -> tuple[Path, PyTree]:
    """Carry a momentum parallel along the geodesic of another.

    Integrates the Levi-Civita equation itself, so norms and angles are kept to the accuracy of
    the solver and the order is that of the solver. Each evaluation solves one linear system: for n
    particles of size n.

    For covectors a, b that are constant in the ambient coordinates, with X = C a, Y = C b and C
    the cometric, Koszul's formula reads

        nabla_X b = 1/2 ( C^-1 (D_X C b - D_Y C a) + grad <a, C b> ).

    The pole ladder needs geodesics only: on each rung the end of the vector is reflected in the
    middle of the rung. It has order 2 in the number of rungs, and is exact on symmetric spaces. Two
    geodesics of each rung are found by `log`.

    Args:
        metric, action, state, momentum: the geodesic, as for `shoot`.
        transported: the momentum to carry, at `state`.
        num_rungs: climb a pole ladder of so many rungs; None integrates the equation.
        num_steps, throw, **options: as for `shoot`; without `throw`, momenta that could not be
            carried are NaN. Half a rung takes as many steps as it needs for `num_steps` over the
            whole.

    Returns:
        The geodesic, and the carried momenta at its saved times (leading axis): the steps, or the
        ends of the rungs.

    Raises:
        InputError: as `shoot`, or a system that does not fit into the memory.
        NumericalError: as `shoot`; on a ladder also as `log`.

    Gradient: forward and reverse with equal steps.

    Example:
        >>> import jax.numpy as jnp
        >>> from geojax.actions import Points
        >>> from geojax.kernels import Gaussian
        >>> from geojax.metrics import RKHS
        >>> q, p = jnp.zeros((1, 2)), jnp.array([[1.0, 0.0]])
        >>> path, carried = parallel_transport(RKHS(Gaussian(1.0)), Points(), q, p, 2 * p)
        >>> carried[-1].tolist()
        [[2.0, 0.0]]

    Reference: `[micheli2012sectional]` for the cometric form, `[lorenzi2014efficient]` and
    `[guigui2022numerical]` for the ladder.
    """
    check_fit(metric, action)
    state = action.check(state, "state")
    momentum = like_state(momentum, state, "momentum")
    transported = like_state(transported, state, "transported")
    where = metric, action, state, momentum, transported
    if num_rungs is None:
        path, carried, failure = _equation(*where, num_steps, options)
    else:
        path, carried, failure = _ladder(*where, num_rungs, num_steps, options)
    if throw:
        # the result of the path stays that of the geodesic, whatever is carried along it
        throw_if_failed(path, first_failure(path.result, failure), what="parallel_transport")
    return path, carried


def _equation(metric, action, state, momentum, transported, num_steps, options):
    """The geodesic, and what is carried along it."""
    # the system and its factor, in each evaluation
    check_memory(state, momentum_dimension(metric, action, state), 2, "parallel_transport")
    path = shoot(metric, action, state, momentum, num_steps=num_steps, throw=False, **options)
    carried, failure = _transport(
        metric,
        action,
        state,
        momentum,
        transported,
        path.times[0],
        path.times[-1],
        num_steps=num_steps,
        save=options.get("save", "steps"),
    )
    return path, carried, failure


@eqx.filter_jit
def _transport(metric, action, state, momentum, transported, t0, t1, *, num_steps, save):
    def cometric_along(q, covector, direction):
        """D_X C covector, for X = direction."""
        return jax.jvp(lambda x: cometric(metric, action, x, covector), (q,), (direction,))[1]

    def vector_field(t, y, args):
        q, p, b = y
        x, z = cometric(metric, action, q, p), cometric(metric, action, q, b)
        twist = trees.subtract(cometric_along(q, b, x), cometric_along(q, p, z))
        _, pullback = trees.vjp(lambda s: trees.pairing(p, cometric(metric, action, s, b)), q)
        gradient = pullback(jnp.ones((), t.dtype))
        slope = trees.add(momentum_of(metric, action, q, twist), gradient)
        return (*geodesic_field(metric, action, q, p), trees.scale(slope, -0.5))

    # in ambient coordinates: order 8 keeps the group far below the accuracy that is asked for
    steps = solve(
        diffrax.ODETerm(vector_field),
        (state, momentum, transported),
        t0=t0,
        t1=t1,
        num_steps=num_steps,
        solver=diffrax.Dopri8(),
        save=save,
    )
    return steps.states[2], steps.result


def _ladder(metric, action, state, momentum, transported, num_rungs, num_steps, options):
    """The geodesic at the ends of the rungs, and what is carried there."""
    checks.count(num_rungs, "num_rungs")
    half = -(-checks.count(num_steps, "num_steps") // (2 * num_rungs))
    save = options.get("save", "steps")
    steps = {**options, "num_steps": 2 * num_rungs * half, "save": "steps"}
    path = shoot(metric, action, state, momentum, **steps, throw=False)
    nodes = {name: getattr(path, name) for name in ("times", "states", "costates", "carried")}
    middles = jax.tree.map(lambda x: x[half :: 2 * half], path.states)
    nodes = jax.tree.map(lambda x: x[:: 2 * half], nodes)
    whole = ("save", "t0", "t1", "reverse", "buckets", "carried")  # what only the path is shot with
    across = {name: value for name, value in options.items() if name not in whole}
    across |= {"num_steps": half, "save": "end", "throw": False}
    rungs = middles, jax.tree.map(lambda x: x[1:], nodes["states"])
    carried, failure = _climb(metric, action, state, transported, path.length, rungs, across)
    if save == "end":
        nodes, carried = jax.tree.map(lambda x: x[jnp.array([0, -1])], (nodes, carried))
    return dataclasses.replace(path, **nodes), carried, failure


def _climb(metric, action, state, transported, length, rungs, options):
    # transport is linear, so the vector may be as long as a rung, which keeps the ladder even
    square = 2 * hamiltonian(metric, action, state, transported)
    known = square > 0
    count = jax.tree.leaves(rungs)[0].shape[0]
    ratio = jnp.where(known, length / jnp.sqrt(jnp.where(known, square, 1.0)), 1.0)
    # but no shorter than round-off lets it be
    scale = jnp.maximum(ratio, jnp.finfo(ratio.dtype).eps ** (1 / 3)) / count

    def climb(carry, rung):
        carry = _rung(metric, action, *carry, *rung, options)
        return carry, carry[1]

    carry = state, trees.scale(transported, scale), RESULTS.successful
    if is_traced((metric, carry, rungs)):
        carry, rows = jax.lax.scan(climb, carry, rungs)
    else:
        # rung by rung, so that ladders whose rungs take as many steps share one program
        rows = []
        for rung in zip(*rungs, strict=True):
            carry, row = climb(carry, rung)
            rows.append(row)
        rows = jax.tree.map(lambda *x: jnp.stack(x), *rows)
    failure = carry[2]
    # a logarithm that was not found leads elsewhere, so what it led to is withheld
    scale = jnp.where(failure == RESULTS.successful, scale, jnp.nan)
    rows = jax.tree.map(lambda x, p: jnp.concatenate([x[None], p / scale]), transported, rows)
    return rows, failure


@eqx.filter_jit
def _rung(metric, action, state, momentum, failure, middle, end, options):
    """The end of a rung, a short momentum carried there, and the first failure so far."""
    corner = shoot(metric, action, state, momentum, **options)
    towards = log(metric, action, middle, corner.end, **options)
    opposite = shoot(metric, action, middle, trees.scale(towards.momentum, -1.0), **options)
    back = log(metric, action, end, opposite.end, **options)
    for part in (corner, towards, opposite, back):
        failure = first_failure(failure, part.result)
    return end, trees.scale(back.momentum, -1.0), failure
