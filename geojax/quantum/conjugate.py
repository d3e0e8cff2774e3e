"""Conjugate points: where neighbouring geodesics meet again, and one stops being the shortest.

The Jacobi fields D(t) that vanish at the start obey, in the body's frame,

    D' = M (1 + T D),    M = R^T F R the inverse metric, T the commutator with the momentum.

With `P = 1 + T D / 2` they are a Hamiltonian system, whose step `D + Phi (1 + T D)` is made exactly
symplectic here. A step without conjugate points of its own then crosses as many of them as the
symmetric matrix `D^T Phi^-1 (D + Phi (1 + T D))` has negative eigenvalues. So points are counted,
not looked for, and none is missed however near to another one it lies.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from geojax._core import checks
from geojax._core.errors import InputError
from geojax.metrics import PauliPenalty
from geojax.quantum import lax
from geojax.quantum.arguments import check_metric, positive_number
from geojax.quantum.search import length

# Radians that a step may turn a field by: much less than the whole turn of a conjugate point.
_LARGEST_TURN = 1.0
_USUAL_TURN = 1 / 16
_FEWEST_STEPS = 64
# where the number of steps has to be known before the momentum
_TRACED_STEPS = 256
# No string is dearer than this (times the root of the precision) beside the cheapest one: fields
# of forbidden strings would else be told from zero by rounding alone.
_DEAREST = 8.0
_HALVINGS = 45
# Points nearer to each other are one of a higher multiplicity: parts of a step, or roundings.
_TOGETHER = 1e-3
_ROUNDINGS = 512
_DEGREE = 12
# of a time, over the fourth power of the turn of a step; 0.012 was seen
_ERROR = 0.05


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
    num_steps: int | None = None,
    most: int = 8,
) -> ConjugatePoints:
    """Conjugate points of the identity along the geodesic of a momentum.

    Each step counts the points that it crosses, and bisection on the count finds them. Points
    nearer than a thousandth of a step are one, of a higher multiplicity. The times have the error
    of the steps, of order 4 in their length.

    Args:
        metric: the penalties.
        momentum: Pauli coefficients at the identity, `[4^n - 1]`, as `NielsenComplexity.momentum`.
        t1: how far to look; at t = 1 the geodesic has the length of the momentum.
        num_steps: up to t1; by default as many as turn neither the velocity nor the fields by more
            than a sixteenth of a radian each (256 where the momentum is traced).
        most: how many to return.

    Returns:
        `ConjugatePoints`; NaN where the momentum is traced and the steps turn out too long to
        count, more than a radian each.

    Raises:
        InputError: a momentum of another size, or zero, numbers that are not positive, steps too
            long to count, or too many for the memory.

    Gradient: none.

    Example:
        >>> import jax.numpy as jnp
        >>> metric = PauliPenalty(1)
        >>> points = conjugate_points(metric, jnp.array([jnp.pi, 0.0, 0.0]), t1=1.2)
        >>> float(points.times[0].round(3)), int(points.multiplicities[0])
        (1.0, 2)

    Reference: `[docarmo1992riemannian]`, `[dowling2008geometry]`, `[dosly2007sturmian]`.
    """
    momentum = check_momentum(metric, momentum)
    positive_number(t1, "t1")
    checks.count(most, "most")
    prices = (1.0 / metric.penalties[1:]).astype(momentum.dtype)
    known = not any(checks.is_tracer(x) for x in (momentum, prices, t1))
    turn = float(turning(momentum, prices)) * float(t1) if known else None
    if num_steps is None:
        wanted = _TRACED_STEPS * _USUAL_TURN if turn is None else turn
        num_steps = max(_FEWEST_STEPS, int(np.ceil(wanted / _USUAL_TURN)))
    checks.count(num_steps, "num_steps", least=4)
    check_memory(metric.num_qubits, num_steps)
    if turn is not None and turn > _LARGEST_TURN * num_steps:
        raise InputError(
            f"Argument num_steps must be at least {int(np.ceil(turn / _LARGEST_TURN))} for a "
            f"momentum that turns its Jacobi fields by up to {turn:.3g} radians, but is "
            f"{num_steps}; leave it out for a number that fits."
        )
    return _conjugate_points(
        momentum, prices, jnp.asarray(t1, momentum.dtype), num_steps=num_steps, most=most
    )


@jax.jit
def turning(momentum: Float[Array, " P"], inverse_prices: Float[Array, " P"]) -> Float[Array, ""]:
    """Radians in unit time by which velocity and Jacobi fields turn at most.

    Commutators with L turn fields by differences of its eigenvalues, at prices of one, where a
    conjugate point takes a whole turn. The speed bounds those of the velocity.
    """
    cheapest = jnp.max(inverse_prices)
    values = jnp.linalg.eigvalsh(lax.matrix(momentum))
    speed = length(momentum, inverse_prices)
    return jnp.maximum(
        cheapest * (values[-1] - values[0]), jnp.sqrt(2 * values.shape[0] * cheapest) * speed
    )


def check_memory(num_qubits: int, num_steps: int) -> None:
    """Raise if the Jacobi fields at all steps would not fit.

    Raises:
        InputError: they do not fit.
    """
    checks.memory(
        2 * 8 * 16**num_qubits * num_steps,
        f"conjugate points of {num_qubits} qubits in {num_steps} steps",
        "use fewer steps or qubits",
    )


def check_momentum(metric: PauliPenalty, momentum: Any) -> Float[Array, " P"]:
    """Pauli coefficients of a momentum of the metric's qubits.

    Raises:
        InputError: no metric; another number of them, not finite, or all zero.
    """
    rows = check_metric(metric).penalties.shape[0] - 1
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
    """The first conjugate time up to the end, infinite without one, NaN for too long steps.

    Looks a little beyond, for one at the end itself, which is known up to the error of the steps.
    """
    end = jnp.asarray(1 + 2 / num_steps, momentum.dtype)
    found = _conjugate_points(momentum, inverse_prices, end, num_steps=num_steps, most=1)
    time = found.times[0]
    error = 1e-6 + _ERROR * (turning(momentum, inverse_prices) * end / num_steps) ** 4
    return jnp.where(time > 1 + error, jnp.inf, jnp.where(time > 1 - error, 1.0, time))


@eqx.filter_jit
def _conjugate_points(momentum, inverse_prices, t1, *, num_steps, most):
    turn = lax.turned(momentum)
    eye = jnp.eye(momentum.shape[0], dtype=momentum.dtype)
    eps = float(jnp.finfo(momentum.dtype).eps)
    least = _DEAREST * eps**0.5 * jnp.max(inverse_prices)
    prices = jnp.maximum(inverse_prices, least)
    units = 1 / jnp.sqrt(prices)
    # so that points at simple fractions of t1 do not fall on a node
    h = t1 / (num_steps - 0.381966)
    together = jnp.maximum(_TOGETHER * h, _ROUNDINGS * eps * t1)
    nodes = h * jnp.arange(num_steps + 1, dtype=momentum.dtype)

    def propagator(unitary, h):
        """Of a step from a unitary on, by Magnus' expansion to order 4: Phi, and where it ends."""
        path = lax.geodesic(momentum, inverse_prices, num_steps=2, time=h, start=unitary)
        first, middle, last = lax.body_metrics(path, prices)
        bracket = first @ turn @ last
        mean = h / 6 * (first + 4 * middle + last) - h**2 / 12 * (bracket + bracket.T)
        turned, total = mean @ turn, eye
        for k in range(_DEGREE, 1, -1):
            total = eye + turned @ total / k
        return total @ mean, path[-1]

    def crossed(fields, phi, grown):
        """How many conjugate points a step crosses, by the law of inertia."""
        form = fields.T @ (jnp.linalg.solve(phi, fields) + grown)
        form = units[:, None] * form * units[None, :]
        return jnp.sum(jnp.linalg.eigvalsh(0.5 * (form + form.T)) < 0)

    def move(carry, _):
        unitary, fields = carry
        phi, end = propagator(unitary, h)
        grown = eye + turn @ fields
        count = crossed(fields, phi, grown)
        return (end, fields + phi @ grown), (unitary, fields, count)

    start = lax.matrix(momentum)
    start = jnp.eye(start.shape[0], dtype=start.dtype), jnp.zeros_like(eye)
    _, (unitaries, fields, counts) = jax.lax.scan(move, start, length=num_steps)
    # the fields leave zero in the first step
    counts = counts.at[0].set(0)
    totals = jnp.cumsum(counts)

    def following(passed, _):
        """The next point after some: its time and multiplicity."""
        step = jnp.argmax(totals > passed)
        before = totals[step] - counts[step]
        unitary, here = unitaries[step], fields[step]
        grown = eye + turn @ here

        def count(after):
            return before + crossed(here, propagator(unitary, after)[0], grown)

        def halve(_, bracket):
            low, high = bracket
            middle = 0.5 * (low + high)
            beyond = count(middle) > passed
            return jnp.where(beyond, low, middle), jnp.where(beyond, middle, high)

        after = jax.lax.fori_loop(0, _HALVINGS, halve, (jnp.zeros_like(h), h))[1]
        until = jnp.maximum(count(after + together), passed + 1)
        time = nodes[step] + after
        there = (totals[-1] > passed) & (time <= t1)
        found = jnp.where(there, time, jnp.inf), jnp.where(there, until - passed, 0)
        return jnp.where(there, until, totals[-1]), found

    _, (times, multiplicities) = jax.lax.scan(following, jnp.zeros_like(totals[0]), length=most)
    countable = turning(momentum, inverse_prices) * h <= 1.01 * _LARGEST_TURN
    times = jnp.where(countable, times, jnp.nan)
    return ConjugatePoints(
        times=times,
        multiplicities=jnp.where(countable, multiplicities, 0),
        lengths=times * length(momentum, inverse_prices),
    )
