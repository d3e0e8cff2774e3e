"""Conjugate points: where neighbouring geodesics meet again, and one stops being the shortest."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from geojax._core import checks
from geojax._core.errors import InputError
from geojax._core.linalg import dagger
from geojax.metrics import PauliPenalty
from geojax.quantum import lax
from geojax.quantum.search import length

# a singular value below this share of what it is a step away is zero
_ZERO = 1e-3
_GOLDEN = 0.6180339887498949
_SECTIONS = 45


class ConjugatePoints(eqx.Module):
    """Where the Jacobi fields of a geodesic of SU(2^n) vanish.

    Attributes:
        times: in increasing order, infinite after the last one found, `[k]`.
        multiplicities: how many independent fields vanish there, `[k]`.
        lengths: of the geodesic up to there, `[k]`.
    """

    times: Float[Array, " k"]
    multiplicities: Int[Array, " k"]
    lengths: Float[Array, " k"]


def conjugate_points(
    metric: PauliPenalty,
    momentum: Float[Array, " P"],
    *,
    t1: float = 1.0,
    num_steps: int = 256,
    most: int = 8,
) -> ConjugatePoints:
    """Conjugate points of the identity along the geodesic of a momentum.

    The least singular value of the Jacobi fields D(t) / t touches zero there, without a change of
    sign where an even number of fields vanish: so its valleys on a grid are searched by golden
    sections. The times have the error of the geodesic's steps, of order 4 in their length.

    Args:
        metric: the penalties.
        momentum: Pauli coefficients at the identity, `[4^n - 1]`, as `NielsenComplexity.momentum`.
        t1: how far to look; at t = 1 the geodesic has the length of the momentum.
        num_steps: of the grid; many for each turn of the momentum. Two points in one valley of the
            grid are found as one, and a coarse grid may miss points.
        most: how many to return.

    Returns:
        `ConjugatePoints`.

    Raises:
        InputError: a momentum of another size, or zero, or numbers that are not positive.

    Gradient: none.

    Example:
        >>> import jax.numpy as jnp
        >>> metric = PauliPenalty(1)
        >>> points = conjugate_points(metric, jnp.array([jnp.pi, 0.0, 0.0]), t1=1.2)
        >>> float(points.times[0].round(3)), int(points.multiplicities[0])
        (1.0, 2)

    Reference: `[docarmo1992riemannian]`, `[dowling2008geometry]`.
    """
    momentum = check_momentum(metric, momentum)
    checks.positive(t1, "t1")
    checks.count(num_steps, "num_steps", least=4)
    checks.count(most, "most")
    check_memory(metric.num_qubits, num_steps)
    prices = (1.0 / metric.penalties[1:]).astype(momentum.dtype)
    return _conjugate_points(
        momentum, prices, jnp.asarray(t1, momentum.dtype), num_steps=num_steps, most=most
    )


def check_memory(num_qubits: int, num_steps: int) -> None:
    """Raise if the Jacobi fields at all steps would not fit.

    Raises:
        InputError: they do not fit.
    """
    checks.memory(
        2 * 16 * 16**num_qubits * num_steps,
        f"conjugate points of {num_qubits} qubits in {num_steps} steps",
        "use fewer steps or qubits",
    )


def check_momentum(metric: PauliPenalty, momentum: Any) -> Float[Array, " P"]:
    """Pauli coefficients of a momentum of the metric's qubits.

    Raises:
        InputError: another number of them, not finite, or all zero.
    """
    rows = metric.penalties.shape[0] - 1
    momentum = checks.finite(checks.as_float_array(momentum, "momentum"), "momentum")
    if momentum.shape != (rows,):
        raise InputError(
            f"Argument momentum must hold {rows} Pauli coefficients, but has shape "
            f"{list(momentum.shape)}."
        )
    if not checks.is_tracer(momentum) and not bool(jnp.any(momentum != 0)):
        raise InputError("Argument momentum must not be zero: a geodesic has to move.")
    return momentum


def first_conjugate_time(
    momentum: Float[Array, " P"], inverse_prices: Float[Array, " P"], *, num_steps: int
) -> Float[Array, ""]:
    """The first conjugate time up to the end (and a little beyond, for one at the end itself)."""
    end = jnp.asarray(1 + 2 / num_steps, momentum.dtype)
    found = _conjugate_points(momentum, inverse_prices, end, num_steps=num_steps, most=1)
    time = found.times[0]
    return jnp.where(time <= 1 + 1e-6, jnp.minimum(time, 1.0), jnp.inf)


@eqx.filter_jit
def _conjugate_points(momentum, inverse_prices, t1, *, num_steps, most):
    basis = jnp.eye(momentum.shape[0], dtype=momentum.dtype)
    h = t1 / num_steps

    def path(momentum):
        return lax.geodesic(momentum, inverse_prices, num_steps=num_steps, time=t1)

    unitaries = path(momentum)
    tangents = jax.vmap(lambda e: jax.jvp(path, (momentum,), (e,))[1], out_axes=1)(basis)
    times = h * jnp.arange(num_steps + 1, dtype=momentum.dtype)

    def singular(unitary, tangents, time):
        """Singular values of the Jacobi fields over time, seen from the body."""
        fields = jax.vmap(lambda tangent: lax.coefficients(1j * dagger(unitary) @ tangent))
        return jnp.linalg.svd(fields(tangents) / time, compute_uv=False)

    spacing = times[1]
    least = jax.vmap(singular)(unitaries[1:], tangents[1:], times[1:])[:, -1]
    # a valley lies between its neighbours, and is no deeper than its walls can reach; forbidden
    # strings make one of the start, which is none
    left = jnp.concatenate([jnp.full(1, -jnp.inf, least.dtype), least[:-1]])
    right = jnp.concatenate([least[1:], least[-1:]])
    valley = (least <= left) & (least <= right)
    valley &= least <= 1.5 * jnp.maximum(left - least, right - least)
    before = jnp.argsort(jnp.where(valley, times[1:], jnp.inf))[: 4 * most]

    def deepest(before):
        known = valley[before]

        def values(after):
            """The same at a time after a node, by two more steps from there."""

            def move(momentum, unitary):
                return lax.geodesic(
                    momentum, inverse_prices, num_steps=2, time=after, start=unitary
                )[-1]

            here = momentum, unitaries[before]
            moved = jax.vmap(lambda e, tangent: jax.jvp(move, here, (e, tangent))[1])
            return singular(move(*here), moved(basis, tangents[before]), times[before] + after)

        def section(_, bracket):
            low, high = bracket
            a, b = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
            nearer = values(a)[-1] < values(b)[-1]
            return jnp.where(nearer, low, a), jnp.where(nearer, b, high)

        # node `before` lies one before the valley's
        width = jnp.minimum(2 * spacing, t1 - times[before])
        shortest = jnp.where(before == 0, 0.1 * spacing, 0.0)
        low, high = jax.lax.fori_loop(0, _SECTIONS, section, (shortest, width))
        after = 0.5 * (low + high)
        # some are small all along, where strings are forbidden or very dear
        walls = jnp.minimum(values(shortest + 0.01 * spacing), values(width))
        zeros = jnp.sum(values(after) < _ZERO * walls)
        return jnp.where(known & (zeros > 0), times[before] + after, jnp.inf), zeros

    refined, zeros = jax.lax.map(deepest, before)
    order = jnp.argsort(refined)[:most]
    refined = jnp.pad(refined[order], (0, most - order.shape[0]), constant_values=jnp.inf)
    zeros = jnp.pad(zeros[order], (0, most - order.shape[0]))
    return ConjugatePoints(
        times=refined,
        multiplicities=jnp.where(jnp.isfinite(refined), zeros, 0),
        lengths=refined * length(momentum, inverse_prices),
    )
