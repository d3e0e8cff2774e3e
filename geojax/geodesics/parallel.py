"""Parallel transport of a momentum along a geodesic, by its differential equation."""

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from geojax._core import trees
from geojax.actions import AbstractAction
from geojax.flows.path import Path
from geojax.flows.stepping import solve
from geojax.geodesics.equation import (
    check_memory,
    cometric,
    geodesic_field,
    momentum_dimension,
    momentum_of,
)
from geojax.geodesics.shooting import check_fit, like_state, shoot
from geojax.metrics import AbstractMetric


def parallel_transport(
    metric: AbstractMetric,
    action: AbstractAction,
    state: PyTree,
    momentum: PyTree,
    transported: PyTree,
    *,
    num_steps: int = 20,
    throw: bool = True,
    **options,
) -> tuple[Path, PyTree]:
    """Carry a momentum parallel along the geodesic of another.

    Integrates the Levi-Civita equation itself, so norms and angles are kept to the accuracy of
    the solver and the order is that of the solver (a ladder of geodesic parallelograms has
    order 1 or 2). Each evaluation solves one linear system: for n particles of size n.

    For covectors a, b that are constant in the ambient coordinates, with X = C a, Y = C b and C
    the cometric, Koszul's formula reads

        nabla_X b = 1/2 ( C^-1 (D_X C b - D_Y C a) + grad <a, C b> ).

    Args:
        metric, action, state, momentum: the geodesic, as for `shoot`.
        transported: the momentum to carry, at `state`.
        num_steps, throw, **options: as for `shoot`.

    Returns:
        The geodesic, and the carried momenta at its saved times (leading axis).

    Raises:
        InputError: as `shoot`, or a system that does not fit into the memory.
        NumericalError: as `shoot`.

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

    Reference: `[micheli2012sectional]` for the cometric form, `[guigui2022numerical]` for ladders.
    """
    check_fit(metric, action)
    state = action.check(state, "state")
    momentum = like_state(momentum, state, "momentum")
    transported = like_state(transported, state, "transported")
    # the system and its factor, in each evaluation
    check_memory(state, momentum_dimension(metric, action, state), 2, "parallel_transport")
    path = shoot(metric, action, state, momentum, num_steps=num_steps, throw=throw, **options)
    start, end = path.times[0], path.times[-1]
    carried = _transport(
        metric,
        action,
        state,
        momentum,
        transported,
        start,
        end,
        num_steps=num_steps,
        save=options.get("save", "steps"),
    )
    return path, carried


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
    return steps.states[2]
