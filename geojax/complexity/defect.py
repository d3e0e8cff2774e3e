"""The geodesic defect: how far a motion of particles is from the equation of its geodesics."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from geojax._core import checks
from geojax._core.errors import InputError
from geojax._core.linalg import safe_sqrt
from geojax.actions import Points
from geojax.geodesics import equation
from geojax.metrics import RKHS

# Added to the diagonal of the kernel matrix, in units of k(0, 0): particles that nearly coincide
# would otherwise hold momenta of any size.
NUGGET = {"float32": 1e-5, "float64": 1e-10}


def geodesic_defect(states: Float[Any, "k m d"], metric: RKHS) -> Float[Array, ""]:
    """The turning of a motion of particles that no geodesic has, over its length.

    The states at equal times are joined by straight pieces. The momentum of each is the cheapest
    that moves the particles so, `p = k(q, q)^-1 dq/dt` at its middle; between pieces the residual
    of the momentum equation is `r = dp/dt + (Dv)^T p`. Its velocity `k(q, q) r` is the covariant
    acceleration of the particles, and

        defect = (integral of |r| dt) / (integral of |p| dt),   |p|^2 = p.k(q, q) p,

    is what the velocity turns or changes its speed by, in units of itself, over one unit of time.
    It has no unit and does not depend on the size of the velocity. It is zero for geodesics, up to
    an error of the second order in the steps, and for a particle alone if it runs straight at
    constant speed. The momentum is that of the metric: the adjoint of a loss solves its equation
    along every network, so that it would tell nothing.

    Args:
        states: m particles at k equal times, at least three; all that carries the velocity should
            be among them, for instance the control points.
        metric: of the kernel.

    Returns:
        A number of at least zero; zero where nothing moves.

    Raises:
        InputError: fewer than three times, or states that are not finite.

    Gradient: forward and reverse, where something moves.

    Example:
        >>> import jax.numpy as jnp
        >>> from geojax import shoot
        >>> from geojax.actions import Points
        >>> from geojax.kernels import Gaussian
        >>> metric, q = RKHS(Gaussian(1.0)), jnp.array([[0.0, 0.0], [1.0, 0.0]])
        >>> path = shoot(metric, Points(), q, jnp.array([[0.0, 1.0], [0.5, 0.0]]), num_steps=40)
        >>> turned = path.states.at[20:, :, 0].multiply(2.0)
        >>> bool(geodesic_defect(path.states, metric) < 1e-2 < geodesic_defect(turned, metric))
        True

    Reference: `[younes2010shapes]`, `[vialard2020shooting]`.
    """
    array = checks.finite(checks.as_float_array(states, "states"), "states")
    if array.ndim != 3 or array.shape[0] < 3:
        raise InputError(
            "Argument states must hold particles at three times at least, [k, m, d], but has "
            f"shape {list(array.shape)}."
        )
    return _defect(array, metric)


@eqx.filter_jit
def _defect(states, metric):
    step = 1.0 / (states.shape[0] - 1)
    kernel = metric.kernel
    nugget = NUGGET[states.dtype.name] * kernel(states[0, :1], states[0, :1])[0, 0]

    def matrix(q):
        return kernel(q, q) + nugget * jnp.eye(len(q), dtype=q.dtype)

    def momentum(q, velocity):
        return jnp.linalg.solve(matrix(q), velocity)

    def norm(q, p):
        return safe_sqrt(jnp.sum(p * (matrix(q) @ p)))

    middles = 0.5 * (states[1:] + states[:-1])
    momenta = jax.vmap(momentum)(middles, (states[1:] - states[:-1]) / step)
    inner = states[1:-1]
    mean = 0.5 * (momenta[1:] + momenta[:-1])
    wanted = jax.vmap(lambda q, p: equation.geodesic_field(metric, Points(), q, p)[1])(inner, mean)
    residuals = (momenta[1:] - momenta[:-1]) / step - wanted
    turning = jnp.mean(jax.vmap(norm)(inner, residuals))
    speed = jnp.mean(jax.vmap(norm)(middles, momenta))
    return jnp.where(speed > 0, turning / jnp.where(speed > 0, speed, 1.0), 0.0)
