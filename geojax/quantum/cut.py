"""Cut points: up to where a geodesic of SU(2^n) is the shortest."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from geojax._core import checks
from geojax.metrics import PauliPenalty
from geojax.quantum import lax
from geojax.quantum.arguments import positive_number
from geojax.quantum.conjugate import check_momentum
from geojax.quantum.nielsen import nielsen_complexity
from geojax.quantum.search import length

_SHORTER = 1e-6
_STEPS = 512  # of the geodesic, which must be met to that share


def cut_time(
    metric: PauliPenalty,
    momentum: Float[Array, " P"],
    *,
    t1: float = 1.0,
    num_bisections: int = 20,
    phase_free: bool = False,
    **options,
) -> Float[Array, ""]:
    """How long a geodesic from the identity stays the shortest, as far as a search can tell.

    Bisects for the first time at which `nielsen_complexity` finds a geodesic shorter by 1e-6 of the
    length. It can come before the first conjugate point, where quite another geodesic catches up,
    and never comes after it.

    Args:
        metric: the penalties.
        momentum: Pauli coefficients at the identity, `[4^n - 1]`.
        t1: how far to look.
        num_bisections: the time is found to `t1 2^-num_bisections`, and no better than shorter
            geodesics part from it: up to a hundredth of it behind a conjugate point.
        phase_free: whether points that differ by a phase are one.
        **options: as for `nielsen_complexity`.

    Returns:
        The time; infinite where the geodesic is the shortest up to `t1`, NaN where a search found
        no geodesic at all.

    Raises:
        InputError: a momentum of another size or zero, or numbers that are not positive.

    Gradient: none.

    Reference: `[docarmo1992riemannian]`.
    """
    momentum = check_momentum(metric, momentum)
    positive_number(t1, "t1")
    checks.count(num_bisections, "num_bisections")
    end = jnp.asarray(t1, momentum.dtype)
    return _cut_time(metric, momentum, end, num_bisections, phase_free, options)


@eqx.filter_jit
def _cut_time(metric, momentum, t1, num_bisections, phase_free, options):
    prices = (1.0 / metric.penalties[1:]).astype(momentum.dtype)
    speed = length(momentum, prices)

    def shortest(time):
        end = lax.geodesic(momentum, prices, num_steps=_STEPS, time=time)[-1]
        found = nielsen_complexity(end, metric, phase_free=phase_free, throw=False, **options)
        still = ~(found.distance < speed * time * (1 - _SHORTER))
        return still, jnp.isnan(found.distance)

    def bisect(_, bracket):
        low, high, failed = bracket
        middle = 0.5 * (low + high)
        still, lost = shortest(middle)
        return jnp.where(still, middle, low), jnp.where(still, high, middle), failed | lost

    bracket = jnp.zeros_like(t1), 2 * t1, jnp.zeros((), bool)
    low, high, failed = jax.lax.fori_loop(0, num_bisections, bisect, bracket)
    return jnp.where(failed, jnp.nan, jnp.where(high > t1, jnp.inf, 0.5 * (low + high)))
