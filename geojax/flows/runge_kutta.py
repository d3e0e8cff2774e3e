"""One explicit Runge-Kutta step from a diffrax solver's own tableau.

diffrax loops over stages with a `custom_vjp`, which closes the door to forward mode and to fields
that close over traced values. Here the stages run in a `lax.scan`, so that a step is an ordinary
differentiable function, and the field is traced once however many stages there are.
"""

from collections.abc import Callable
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, PyTree

# The name under which a checkpointed loop may keep the slopes of the stages: they are small, and
# with them the reverse pass evaluates the field once per stage instead of twice.
SLOPE = "slope"


def has_tableau(solver: diffrax.AbstractSolver) -> bool:
    """Whether a solver is an explicit Runge-Kutta method for a single term."""
    # isinstance sees through diffrax's wrapping solvers, which have no tableau of their own
    if isinstance(solver, diffrax.AbstractWrappedSolver):
        return False
    return isinstance(solver, diffrax.AbstractERK) and not isinstance(
        solver.tableau, diffrax.MultiButcherTableau
    )


def explicit_step(
    tableau: Any,
    field: Callable[[Array, PyTree], PyTree],
    t0: Array,
    t1: Array,
    y0: PyTree,
    first: PyTree,
) -> tuple[PyTree, PyTree, PyTree]:
    """Advance `dy/dt = field(t, y)` from t0 to t1.

    Args:
        tableau: of the method.
        field: vector field.
        t0, t1: the step.
        y0: state at t0.
        first: `field(t0, y0)`.

    Returns:
        The state at t1, the embedded error estimate, and the last stage's derivative (that of
        the new state for methods whose last stage is the first of the next step).
    """
    step = t1 - t0
    rows = np.zeros((tableau.num_stages - 1, tableau.num_stages))
    for i, row in enumerate(tableau.a_lower):
        rows[i, : len(row)] = row

    def combine(coefficients, slopes):
        def one(slope):
            weights = (step.astype(slope.dtype)) * coefficients.astype(slope.dtype)
            return jnp.tensordot(weights, slope, axes=1)

        return jax.tree.map(one, slopes)

    def stage(slopes, inputs):
        index, c, row = inputs
        y = jax.tree.map(jnp.add, y0, combine(row, slopes))
        slope = checkpoint_name(field(t0 + c * step, y), SLOPE)
        return jax.tree.map(lambda k, s: k.at[index].set(s), slopes, slope), None

    empty = jax.tree.map(lambda k: jnp.zeros((tableau.num_stages, *k.shape), k.dtype), first)
    slopes = jax.tree.map(lambda buffer, k: buffer.at[0].set(k), empty, first)
    inputs = (
        jnp.arange(1, tableau.num_stages),
        jnp.asarray(tableau.c, step.dtype),
        jnp.asarray(rows, step.dtype),
    )
    slopes, _ = jax.lax.scan(stage, slopes, inputs)
    y1 = jax.tree.map(jnp.add, y0, combine(jnp.asarray(tableau.b_sol, step.dtype), slopes))
    error = combine(jnp.asarray(tableau.b_error, step.dtype), slopes)
    return y1, error, jax.tree.map(lambda k: k[-1], slopes)
