"""The verb `log`: the momentum whose geodesic ends at a target; and the distance it gives."""

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
from jaxtyping import Array, Float, Int, PyTree

from geojax._core import checks
from geojax._core.errors import InputError
from geojax._core.results import RESULTS, code_if, first_failure, throw_if_failed
from geojax._core.trees import subtract
from geojax.actions import AbstractAction, Points
from geojax.flows.path import Path
from geojax.geodesics import equation
from geojax.geodesics.shooting import check_fit, like_state, shoot, warn_of_collisions
from geojax.metrics import RKHS, AbstractMetric

# square matrices of the dimension that the search holds at a time: the Jacobian, its QR factors
# with the damping rows, and the tangents of state and costate with their slopes at seven stages
_MATRICES = 20


class Logarithm(eqx.Module):
    """The geodesic between two states.

    Attributes:
        momentum: its initial momentum, stored like the source.
        path: the geodesic.
        distance: its length.
        residual: norm of the difference between its end and the target.
        result: result code.
        num_iterations: iterations of the solver.
    """

    momentum: PyTree
    path: Path
    distance: Float[Array, ""]
    residual: Float[Array, ""]
    result: RESULTS
    num_iterations: Int[Array, ""]


def log(
    metric: AbstractMetric,
    action: AbstractAction,
    source: PyTree,
    target: PyTree,
    *,
    initial: PyTree | None = None,
    tolerance: float | Float[Array, ""] | None = None,
    max_iterations: int = 100,
    throw: bool = True,
    **options,
) -> Logarithm:
    """The geodesic from a source to a target, as a boundary-value problem.

    Levenberg-Marquardt on the end point, from the momentum of the straight chord (for groups: of
    the isotropic logarithm). It finds a critical point of the length: the shortest geodesic if
    the target is within the injectivity radius, else perhaps a longer one.

    Args:
        metric, action: the geometry.
        source, target: states.
        initial: momentum to start from; by default the momentum of the chord.
        tolerance: largest residual that counts as solved, absolute, in the units of the state;
            1e-9 in float64, 1e-4 in float32, times the size of the target.
        max_iterations: bound on the iterations.
        throw: raise if the solve failed; otherwise `result` says so.
        **options: as for `shoot` (num_steps, solver, ...).

    Returns:
        A `Logarithm`.

    Raises:
        InputError: states that do not fit, landmarks that coincide, or a system that does not fit
            into the memory.
        NumericalError: no geodesic found (only outside `jit`, and only if `throw`).

    Gradient: exact, by the implicit function theorem, in source, target and metric; forward and
    reverse. Memory grows with the square of the dimension of the space of states.

    Example:
        >>> import jax.numpy as jnp
        >>> from geojax.actions import Points
        >>> from geojax.kernels import Gaussian
        >>> from geojax.metrics import RKHS
        >>> q = jnp.array([[0.0, 0.0], [1.0, 0.0]])
        >>> found = log(RKHS(Gaussian(1.0)), Points(), q, q + 0.1)
        >>> bool(found.residual < 1e-4)
        True
    """
    check_fit(metric, action)
    source = action.check(source, "source")
    target = action.check(target, "target")
    if isinstance(action, Points):
        checks.same_dimension(source, target, "source", "target")
        checks.same_count(source, target, "source", "target")
    if source.shape != target.shape:
        raise InputError(
            f"Arguments source and target must have the same shape, but have "
            f"{list(source.shape)} and {list(target.shape)}."
        )
    checks.count(max_iterations, "max_iterations")
    equation.check_memory(source, action.dimension(source), _MATRICES, "log")
    warn_of_collisions(metric, action, source, target)
    if isinstance(metric, RKHS) and isinstance(action, Points):
        check_separation(metric, source, "source")
        check_separation(metric, target, "target")
    if tolerance is None:
        precision = 1e-9 if np.dtype(jnp.finfo(source.dtype).dtype) == np.float64 else 1e-4
        tolerance = precision * (1.0 + jnp.linalg.norm(jax.lax.stop_gradient(target)))
    checks.positive(tolerance, "tolerance")
    if initial is not None:
        initial = like_state(initial, source, "initial")
    # a number would be compiled in
    tolerance = jnp.asarray(tolerance, float)
    if options.get("stepsize_controller") is not None and options.get("adjoint") is None:
        # the search needs derivatives of both modes
        options["adjoint"] = diffrax.DirectAdjoint()
    found = _log(
        metric, action, source, target, initial, tolerance, options, max_iterations=max_iterations
    )
    return throw_if_failed(found, found.result, what="log") if throw else found


@eqx.filter_jit
def _log(metric, action, source, target, initial, tolerance, options, *, max_iterations):
    def end_error(coordinates, problem):
        metric, source, target = problem
        momentum = action.covector(source, coordinates.astype(dtype))
        path = shoot(metric, action, source, momentum, **{**options, "save": "end"}, throw=False)
        return action.residual(path.end, target).astype(coordinates.dtype)

    dtype = jnp.finfo(source.dtype).dtype
    problem = (metric, source, target)
    fixed = jax.lax.stop_gradient(problem)
    if initial is None:
        momentum = equation.momentum_of(
            fixed[0], action, fixed[1], action.chord(fixed[1], fixed[2])
        )
    else:
        momentum = jax.lax.stop_gradient(initial)
    tight = 64 * float(jnp.finfo(dtype).eps)
    # optimistix keeps its damping in jax's default precision and refuses unknowns in another
    guess = _coordinates_of(action, fixed[1], momentum).astype(jnp.result_type(float))
    search = optx.least_squares(
        end_error,
        optx.LevenbergMarquardt(rtol=tight, atol=tight),
        guess,
        fixed,
        max_steps=max_iterations,
        throw=False,
    )
    # a Newton solve that starts at the solution: it polishes, and its implicit derivative needs
    # the Jacobian of the residual alone
    polish = optx.root_find(
        end_error,
        optx.Newton(rtol=tight, atol=tight),
        jax.lax.stop_gradient(search.value),
        problem,
        max_steps=4,
        throw=False,
    )
    momentum = action.covector(source, polish.value.astype(dtype))
    path = shoot(metric, action, source, momentum, **options, throw=False)
    residual = jnp.linalg.norm(subtract(path.end, target))
    missed = code_if(~(residual <= tolerance.astype(residual.dtype)), RESULTS.not_converged)
    return Logarithm(
        momentum=momentum,
        path=path,
        distance=path.length,
        residual=residual,
        result=first_failure(path.result, missed),
        num_iterations=search.stats["num_steps"] + polish.stats["num_steps"],
    )


def _coordinates_of(action, state, momentum):
    """Coordinates of a costate: least squares through the (linear) chart of costates."""
    zero = jnp.zeros(action.dimension(state), jnp.finfo(state.dtype).dtype)
    basis = jax.vmap(lambda c: action.coordinates(state, action.covector(state, c)))
    gram = basis(jnp.eye(zero.shape[0], dtype=zero.dtype))
    return jnp.linalg.solve(gram, action.coordinates(state, momentum))


def distance(
    metric: AbstractMetric,
    action: AbstractAction,
    source: PyTree,
    target: PyTree,
    **options,
) -> Float[Array, ""]:
    """Length of the geodesic that `log` finds between two states.

    Args:
        metric, action, source, target, **options: as for `log`.

    Returns:
        A scalar; NaN where no geodesic was found and `throw` is False.

    Gradient: exact, forward and reverse.

    Example:
        >>> import jax.numpy as jnp
        >>> from geojax.actions import Points
        >>> from geojax.kernels import Gaussian
        >>> from geojax.metrics import RKHS
        >>> q = jnp.zeros((1, 2))
        >>> float(distance(RKHS(Gaussian(1.0)), Points(), q, q + jnp.array([3.0, 4.0])).round(4))
        5.0
    """
    found = log(metric, action, source, target, **options)
    return jnp.where(found.result == RESULTS.successful, found.distance, jnp.nan)


def check_separation(metric: RKHS, points: Float[Array, "n d"], name: str) -> None:
    """Coincident landmarks make the kernel matrix singular: raise, or warn where it is nearly so.

    Raises:
        InputError: two points coincide, or the kernel matrix cannot be inverted in float32.
    """
    if any(checks.is_tracer(leaf) for leaf in jax.tree.leaves((metric, points))):
        return
    checks.distinct(points, name)
    checks.near_duplicates(metric.kernel, points, name)
