"""What the models of many shapes have in common: their arguments and where they start."""

from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np

from geojax._core import checks
from geojax._core.results import RESULTS
from geojax.matching import arguments, subjects
from geojax.matching.search import Search, settings
from geojax.matching.solvers import LBFGS


def prepare(
    start,
    shapes,
    names: tuple[str, str],
    *,
    metric,
    fidelity,
    weight,
    control_points,
    multiscale: int | None,
    batch_size: int | None,
    minimiser: LBFGS | None,
    tolerance,
    max_iterations: int,
    num_steps: int,
    solver: diffrax.AbstractSolver | None,
) -> tuple[dict[str, Any], Search]:
    """The common fields of a model, and how to search.

    Args:
        start: the shape that is carried.
        shapes: those that it is compared with.
        names: of both, for messages.
        metric, fidelity, weight, control_points, multiscale, batch_size, minimiser, tolerance,
            max_iterations, num_steps, solver: as for `match`.

    Raises:
        InputError: arguments that do not fit together.
    """
    source, targets = subjects.as_points(start, shapes, *names)
    minimiser, solver = settings(
        minimiser,
        solver,
        tolerance,
        max_iterations,
        num_steps=num_steps,
        max_steps=None,
        stepsize_controller=None,
        adjoint=None,
    )
    metric = arguments.as_metric(metric, source)
    checks.collisions(metric.kernel)
    controls = arguments.as_control_points(control_points, source)
    base = arguments.seen(source if controls is None else controls)
    seen = arguments.seen((metric, source, targets))
    if not any(checks.is_tracer(x) for x in jax.tree.leaves(seen)):
        sizes = [abs(np.log(arguments.diagonal(x) / arguments.diagonal(seen[1]))) for x in seen[2]]
        arguments.check_scales(seen[0], seen[1], seen[2][int(np.argmax(sizes))], base)
    bound = subjects.bind(fidelity, start, source, shapes, targets, names, batch_size)
    own = controls is None
    name = names[0] if own else "control_points"
    arguments.check_points(seen[0], bound.one(0)[0], base, own, name)
    rounds = 0
    for k, target in enumerate(targets):
        rounds = max(rounds, arguments.as_rounds(multiscale, bound.one(k)[0], source, target))
    weight = 1e3 * bound.unit() if weight is None else arguments.scalar(weight, "weight")
    fields = {
        "metric": metric,
        "fidelity": bound,
        "weight": jnp.asarray(weight).astype(source.dtype),
        "source": source,
        "control_points": controls,
        "solver": solver,
        "num_steps": num_steps,
    }
    return fields, Search(minimiser, rounds, tolerance, max_iterations)


def worst(results: RESULTS) -> RESULTS:
    """The first failure of many lanes."""
    lane = jnp.argmax(results != RESULTS.successful)
    return jax.tree.map(lambda code: code[lane], results)
