"""The verb `transport_match`: what happened to one subject, carried over to another."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from geojax._core import checks
from geojax._core.errors import InputError
from geojax._core.results import RESULTS, code_if, first_failure, is_traced, throw_if_failed
from geojax.actions import Points
from geojax.geodesics import hamiltonian, momentum_of, parallel_transport
from geojax.kernels import kernel_sum
from geojax.matching.problem import Problem, moved_source
from geojax.matching.result import Match
from geojax.metrics import RKHS
from geojax.shapes import Landmarks

# Part of the norm of a deformation that may be lost where its momentum is put on other points.
_LOST = 0.1


def transport_match(
    deformation: Match, to: Match, *, num_rungs: int | None = None, throw: bool = True
) -> Match:
    """Carry a deformation along another one, to where that ends.

    Say `deformation` takes the baseline of a subject to its follow-up, and `to` the same baseline
    to another subject. The momentum of the first is transported parallel along the geodesic of the
    second, and then moves that other subject as the first was moved.

    Both must have the same metric. If their momenta sit on other points, that of `deformation` is
    first put on those of `to`, where it gives the velocities nearest in the metric: those that
    agree at these points.

    Args:
        deformation: what is carried.
        to: along which geodesic; it should begin where `deformation` does.
        num_rungs: of a pole ladder; None integrates the equation (see `parallel_transport`).
        throw: raise if the solve failed; otherwise `result` says so.

    Returns:
        A `Match` from `to.moved` to where the carried deformation takes that. It has no target to
        miss, so its target is its end, its residual zero, and nothing is known of a gradient (NaN).
        Where nothing is lost its energy is that of `deformation`. Its `result` is the first failure
        of both and of what was done here; also, under `jit`, of points that hold too little.

    Raises:
        InputError: several lanes, other metrics or dimensions, points of `to` that coincide or lie
            too far from those of `deformation` to hold its momentum, or a system that does not fit
            into the memory.
        NumericalError: as `parallel_transport`.

    Gradient: forward and reverse with equal steps, in both matches.

    Example:
        >>> import numpy as np
        >>> from geojax.kernels import Gaussian
        >>> from geojax.matching import match
        >>> start = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
        >>> later = match(start, start + [0.0, 0.3], metric=Gaussian(2.0))
        >>> other = match(start, 1.5 * start, metric=Gaussian(2.0))
        >>> carried = transport_match(later, other)
        >>> np.allclose(carried.energy, later.energy, rtol=1e-3)
        True

    Reference: `[lorenzi2014efficient]`.
    """
    for value, name in ((deformation, "deformation"), (to, "to")):
        if not isinstance(value, Match):
            raise InputError(f"Argument {name} must be a `Match`, but is {value!r}.")
        if value.momentum.ndim != 2:
            raise InputError(
                f"Argument {name} must be one match, but holds {value.momentum.shape[0]} lanes; "
                "pick one with `jax.tree.map(lambda x: x[i], match)`."
            )
    ours, problem = deformation.problem, to.problem
    checks.same_dimension(ours.source, problem.source, "deformation", "to")
    if not _agree(ours.metric, problem.metric):
        raise InputError(
            f"Argument to must have the kernel of the carried deformation, {_shown(ours.metric)}, "
            f"but has {_shown(problem.metric)}; match both with the same."
        )
    checks.distinct(problem.base, "to")
    momentum, lost = deformation.momentum.astype(problem.base.dtype), RESULTS.successful
    # of points that are differentiated it matters where they would go, so there it is always done
    if is_traced((ours.base, problem.base)) or not _agree(ours.base, problem.base):
        momentum, lost = _projected(ours.base.astype(problem.base.dtype), momentum, problem)
    path, carried = parallel_transport(
        problem.metric,
        Points(),
        problem.base,
        to.momentum,
        momentum,
        num_rungs=num_rungs,
        save="end",
        throw=False,
        **problem.stepping,
    )
    found = _finish(problem, to, path, carried[-1])
    result = first_failure(deformation.result, to.result, lost, found.result)
    found = dataclasses.replace(found, result=result)
    return throw_if_failed(found, found.result, what="transport_match") if throw else found


def _agree(first, second) -> bool:
    """Whether two pytrees hold the same numbers; of abstract ones only the shapes are known."""
    if jax.tree.structure(first) != jax.tree.structure(second):
        return False
    for x, y in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        if jnp.shape(x) != jnp.shape(y):
            return False
        if is_traced((x, y)):
            continue
        # up to the precision that either may have been cut to, in any unit
        x, y = np.asarray(x), np.asarray(y)
        if not np.allclose(x, y, rtol=1e-6, atol=1e-6 * np.max(np.abs(y), initial=0.0)):
            return False
    return True


def _shown(metric: RKHS) -> str:
    """The kernel of a metric in one line, with its numbers."""
    plain = jax.tree.map(
        lambda x: "?" if is_traced(x) else np.vectorize(lambda v: float(f"{v:.6g}"))(x).tolist(),
        metric.kernel,
    )
    return " ".join(eqx.tree_pformat(plain).split())


def _projected(
    base: Float[Array, "k d"], momentum: Float[Array, "k d"], problem: Problem
) -> tuple[Float[Array, "c d"], RESULTS]:
    """A momentum on the points of a problem: that of the nearest field that they can hold.

    Where the points are abstract, a result code says whether too much is lost.

    Raises:
        InputError: too much of the field is lost.
    """
    metric: RKHS = problem.metric
    velocities = kernel_sum(metric.kernel, problem.base, base, momentum)
    projected = momentum_of(metric, Points(), problem.base, velocities)
    before = hamiltonian(metric, Points(), base, momentum)
    # the projection is orthogonal, so what it keeps of the square is the rest of what it loses
    kept = 0.5 * jnp.sum(projected * velocities)
    some = before > 0
    lost = jnp.sqrt(jnp.where(some, jnp.maximum(1.0 - kept / jnp.where(some, before, 1.0), 0), 0.0))
    if not is_traced(lost) and not lost <= _LOST:
        raise InputError(
            "Argument to must begin where the carried deformation does, but the points of its "
            f"momentum lose {float(lost):.0%} of the norm of that (at most {_LOST:.0%} may be "
            "lost); match both from the same source, with the same control points."
        )
    return projected, code_if(~(lost <= _LOST), RESULTS.not_converged)


@eqx.filter_jit
def _finish(problem: Problem, to: Match, path, momentum) -> Match:
    shape = moved_source(to.path)[-1]
    own = problem.control_points is None
    problem = Problem(
        metric=problem.metric,
        fidelity=Landmarks(),
        weight=jnp.zeros_like(problem.weight),
        source=shape,
        target=shape,
        control_points=None if own else path.end,
        layout=problem.layout,
        **problem.stepping,
    )
    moved = problem.shoot(momentum)
    problem = eqx.tree_at(lambda p: p.target, problem, moved_source(moved)[-1])
    zero = jnp.zeros((), shape.dtype)
    return Match(
        problem=problem,
        momentum=momentum,
        path=moved,
        objective=moved.energy,
        energy=moved.energy,
        residual=zero,
        gradient_norm=zero + jnp.nan,
        history=moved.energy[None],
        num_iterations=jnp.zeros((), int),
        result=first_failure(path.result, moved.result),
    )
