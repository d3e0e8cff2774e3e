"""The complexity of a unitary: the length of a shortest geodesic from the identity."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float, Int, Key

from geojax._core import checks
from geojax._core.errors import InputError
from geojax._core.linalg import dagger
from geojax._core.results import RESULTS, code_if, first_failure, throw_if_failed
from geojax.actions import Unitaries
from geojax.flows.path import Path
from geojax.geodesics import shoot
from geojax.metrics import PauliPenalty
from geojax.quantum import conjugate, lax
from geojax.quantum.arguments import as_key, check_metric, positive_number
from geojax.quantum.gates import as_target, roots_of_unity, shortest_log
from geojax.quantum.search import Lanes, length, search

# lengths that differ by less, relatively, count as one geodesic's
_SAME = 1e-5
_POLISH = 4
_FINER = 8  # times the steps of the search, for conjugate points
# share of the largest singular value below which the derivative's own error rules
_SINGULAR = 3e-4


class NielsenComplexity(eqx.Module):
    """The shortest geodesic found from the identity to a unitary, up to its phase.

    Attributes:
        distance: its length, the complexity of the unitary; NaN where none was found.
        momentum: its initial momentum L in Pauli coefficients, `[4^n - 1]`; the Hamiltonian's are
            these over the penalties.
        path: the geodesic, as from `shoot`.
        target: what its end was to be: the given unitary times a root of unity.
        residual: norm of the difference between its end and the target.
        lower_bound: no curve is shorter: the isotropic distance times the root of the least price.
        upper_bound: of the distance, up to the error of the steps: its length, and what a curve
            from its end to the target may cost at most.
        conjugate_time: when the first conjugate point comes, infinite if none does by the end: a
            geodesic is not the shortest beyond it. 1 means the end itself; NaN where the steps are
            too long to count such points.
        num_converged: starts that reached the target to 1e-5 (1e-3 in float32).
        num_agreed: those of them whose geodesic is as short as this one.
        lanes: what every start found.
        result: result code.
    """

    distance: Float[Array, ""]
    momentum: Float[Array, " P"]
    path: Path
    target: Complex[Array, "N N"]
    residual: Float[Array, ""]
    lower_bound: Float[Array, ""]
    upper_bound: Float[Array, ""]
    conjugate_time: Float[Array, ""]
    num_converged: Int[Array, ""]
    num_agreed: Int[Array, ""]
    lanes: Lanes
    result: RESULTS


def nielsen_complexity(
    target: Any,
    metric: PauliPenalty,
    *,
    num_starts: int = 32,
    num_steps: int = 32,
    tolerance: float | None = None,
    phase_free: bool = True,
    key: Key[Array, ""] | None = None,
    throw: bool = True,
) -> NielsenComplexity:
    """Nielsen's complexity of a unitary: its distance from the identity, phases not counted.

    Starts from many logarithms of the target, at all penalties one, follows each geodesic while the
    penalties grow (a deformation in the sense of Dowling and Nielsen, by damped Newton steps), and
    keeps the shortest. All starts are lanes of one program. It is a search: the length found is an
    upper bound, and `num_agreed`, `conjugate_time` and the bounds say how far to trust it.

    Args:
        target: `[2^n, 2^n]` unitary, or the name of a gate as for `gate`.
        metric: `PauliPenalty`; infinite prices are the sub-Riemannian limit.
        num_starts: lanes; the first 2^n are the shortest logarithms of the target times the roots
            of unity, the others turn, mix and shake them. Fewer leave out some of these roots.
        num_steps: steps of each geodesic in the search; more for penalties beyond about fifty.
            The path returned is solved again by `shoot`, in as many steps.
        tolerance: largest residual that counts as reached; 1e-8 in float64, 1e-3 in float32.
        phase_free: whether the target times any root of unity will do, as for a gate; otherwise it
            must have determinant one and is sought itself, as a point of SU(2^n).
        key: of the random starts; `jax.random.key(0)` by default.
        throw: raise if no start reached the target; otherwise `result` says so.

    Returns:
        A `NielsenComplexity`.

    Raises:
        InputError: a target that is not unitary, not of the metric's qubits, or of another
            determinant than one where phases are not free; counts that are not positive; no random
            key; a search that does not fit into the memory.
        NumericalError: no start reached the target (only outside `jit`, and only if `throw`).

    Gradient: of distance, momentum and path in target and penalties: exact, forward and reverse,
    first order. The bounds and counts have none.

    Example:
        >>> found = nielsen_complexity("x", PauliPenalty(1), num_starts=4)
        >>> round(float(found.distance), 4)  # half of pi
        1.5708

    Reference: `[nielsen2006geometric]`, `[dowling2008geometry]`.
    """
    check_metric(metric)
    unitary = as_target(target)
    if not phase_free:
        _check_determinant(target)
    size, num_qubits = unitary.shape[0], metric.num_qubits
    if size != 2**num_qubits:
        raise InputError(
            f"Argument target must be of the metric's {num_qubits} "
            f"qubit{'s' if num_qubits > 1 else ''}, [{2**num_qubits}, {2**num_qubits}], but has "
            f"shape {list(unitary.shape)}."
        )
    checks.count(num_starts, "num_starts")
    checks.count(num_steps, "num_steps", least=2)
    num_steps += num_steps % 2
    check_memory(num_qubits, num_starts, num_steps)
    real = jnp.finfo(unitary.dtype).dtype
    if tolerance is None:
        tolerance = 1e-8 if np.dtype(real) == np.float64 else 1e-3
    positive_number(tolerance, "tolerance")
    found = _complexity(
        unitary, metric, as_key(key), jnp.asarray(tolerance, real), num_starts=num_starts,
        num_steps=num_steps, phase_free=phase_free,
    )  # fmt: skip
    return throw_if_failed(found, found.result, what="nielsen_complexity") if throw else found


def check_memory(num_qubits: int, num_starts: int, num_steps: int) -> None:
    """Raise if a search would not fit: its Jacobi fields are square in the 4^n - 1 strings.

    Raises:
        InputError: it does not fit.
    """
    rows = 4**num_qubits - 1
    checks.memory(
        8 * rows**2 * num_starts * (2 * num_steps + 10),
        f"nielsen_complexity of {num_qubits} qubits with {num_starts} starts",
        "use fewer starts, steps or qubits",
    )
    conjugate.check_memory(num_qubits, _FINER * num_steps)


@eqx.filter_jit
def _complexity(unitary, metric, key, tolerance, *, num_starts, num_steps, phase_free):
    real = jnp.finfo(unitary.dtype).dtype
    inverse_prices = (1.0 / metric.penalties[1:]).astype(real)
    fixed, prices = jax.lax.stop_gradient((unitary, inverse_prices))
    # the search begins at prices of one, so it is done in units of the least of them
    unit = 1.0 / jnp.max(prices)
    lanes = search(
        fixed, prices * unit, key, num_starts=num_starts, num_steps=num_steps, phase_free=phase_free
    )
    lanes = Lanes(
        momenta=lanes.momenta * unit,
        lengths=lanes.lengths * jnp.sqrt(unit),
        residuals=lanes.residuals,
        derivatives=lanes.derivatives / unit,
        centres=lanes.centres,
    )
    # to what the search's own steps leave open where the target is conjugate to the identity
    reached = lanes.converged(1e-5 if np.dtype(real) == np.float64 else 1e-3)
    lengths = jnp.where(reached, lanes.lengths, jnp.inf)
    nearest = jnp.argmin(jnp.nan_to_num(lanes.residuals, nan=jnp.inf))
    best = jnp.where(jnp.any(reached), jnp.argmin(lengths), nearest)
    size = unitary.shape[0]
    target = roots_of_unity(unitary)[lanes.centres[best]] * unitary
    action, identity = Unitaries(metric.num_qubits), jnp.eye(size, dtype=unitary.dtype)

    # damped Newton steps with the search's derivative: each takes away all but its small error of
    # the residual, and of what is missing of the implicit derivative, which is how this has one
    left, values, right = jnp.linalg.svd(lanes.derivatives[best])
    values = values / (jnp.square(values) + jnp.square(_SINGULAR * values[0]))

    def newton(carry, _):
        momentum, _, _ = carry
        costate = action.lift(identity, lax.matrix(momentum) / size)
        path = shoot(metric, action, identity, costate, num_steps=num_steps, throw=False)
        gap = lax.coefficients(1j * dagger(target) @ path.end)
        return (momentum - right.T @ (values * (left.T @ gap)), momentum, path), None

    def first(momentum):
        # one copy of the solver in the program: what it returns is first filled with zeros
        like = jax.eval_shape(newton, (momentum, momentum, None), None)[0][2]
        return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), like)

    momentum = lanes.momenta[best]
    carry = momentum, momentum, first(momentum)
    (_, momentum, path), _ = jax.lax.scan(newton, carry, length=_POLISH + 1)
    residual = jnp.linalg.norm(path.end - target)
    missed = code_if(~(residual <= tolerance), RESULTS.not_converged)
    result = first_failure(path.result, missed)
    distance = jnp.where(result == RESULTS.successful, length(momentum, inverse_prices), jnp.nan)
    momentum_found, residual = jax.lax.stop_gradient((momentum, residual))
    most = jnp.sqrt(jnp.max(jax.lax.stop_gradient(metric.penalties)))
    return NielsenComplexity(
        distance=distance,
        momentum=momentum,
        path=path,
        target=target,
        residual=residual,
        lower_bound=jnp.sqrt(1.0 / jnp.max(prices))
        * isotropic_distance(fixed, phase_free=phase_free),
        # the norm of a difference of unitaries, over sqrt(2^n), is below their distance by 11 %
        # at most, for differences of less than one
        upper_bound=jax.lax.stop_gradient(distance)
        + jnp.where(residual > 0, most * 1.2 * residual / np.sqrt(size), 0.0),
        conjugate_time=conjugate.first_conjugate_time(
            momentum_found, prices, num_steps=_FINER * num_steps
        ),
        num_converged=jnp.sum(reached),
        num_agreed=jnp.sum(
            reached & (lengths <= lengths[best] * (1 + _SAME) + _SAME * jnp.sqrt(unit))
        ),
        lanes=lanes,
        result=result,
    )


def _check_determinant(target: Any) -> None:
    """Raise where a point of SU(2^n) is asked for and another unitary given."""
    if isinstance(target, str) or checks.is_tracer(target):
        return
    determinant = complex(np.linalg.det(np.asarray(target)))
    if abs(determinant - 1) > 1e-4:
        raise InputError(
            f"Argument target must have determinant one where phase_free is False, but det U = "
            f"{determinant:.4g}; divide it by a root of that."
        )


def isotropic_distance(target: Any, *, phase_free: bool = True) -> Float[Array, ""]:
    """Distance of a unitary from the identity at all penalties one: in closed form.

    The norm of its shortest traceless logarithm over all roots of unity that multiply it.

    Args:
        target: `[2^n, 2^n]` unitary, or the name of a gate.
        phase_free: whether roots of unity times it will do; otherwise it must have determinant one.

    Raises:
        InputError: no unitary, or a determinant that is not one where phases are not free.

    Gradient: none.

    Example:
        >>> round(float(isotropic_distance("h")), 4)
        1.5708
    """
    unitary = as_target(target)
    if not phase_free:
        _check_determinant(target)
    return jnp.linalg.norm(shortest_log(unitary, phase_free=phase_free)) / np.sqrt(len(unitary))
