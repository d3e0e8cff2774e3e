"""Maps of a grid to itself: pull-back, composition, exponentials and Jacobians.

A map is held as its displacement `[d, *grid]`: `x -> x + u(x)`, in the units of the spacing.
Beyond the ends of the grid displacements vanish and images go on with their last value, or both
are periodic.
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from geojax._core import checks
from geojax._core.grids import Boundary, differences
from geojax.flows.interpolation import Ends, indices_of, sample, shifted


def pull_back(
    values: Float[Array, "*lead_and_grid"],
    displacement: Float[Array, "d *grid"],
    spacing: Float[Array, " d"],
    *,
    order: int = 1,
    ends: Ends = "edge",
) -> Float[Array, "*lead_and_grid"]:
    """Fields composed with a map: `x -> values(x + displacement(x))`.

    Args:
        values: one field `[*grid]` or several with leading axes, on the grid of the map.
        displacement: `[d, *grid]`.
        spacing: of the grid.
        order, ends: as of `sample`.

    Gradient: reverse, first order, for linear interpolation; else as `sample`.
    """
    grid = displacement.shape[1:]
    shift = displacement / _column(spacing.astype(displacement.dtype), displacement)
    if order == 1:
        fields = values.reshape(-1, *grid)
        return shifted(fields, shift, ends).reshape(values.shape)
    places = indices_of(grid, displacement.dtype) + shift
    return sample(values, places, order=order, ends=ends)


def compose(
    outer: Float[Array, "d *grid"],
    inner: Float[Array, "d *grid"],
    spacing: Float[Array, " d"],
    *,
    order: int = 1,
    boundary: Boundary = "zero",
) -> Float[Array, "d *grid"]:
    """Displacement of one map after another, `x -> outer(inner(x))`.

    Args:
        outer, inner: displacements `[d, *grid]`, in the units of the spacing.
        spacing: of the grid.
        order: as of `sample`.
        boundary: as of the metric: beyond the ends displacements vanish, or are periodic.

    Gradient: as `pull_back`.
    """
    ends: Ends = "wrap" if boundary == "periodic" else "zero"
    return inner + pull_back(outer, inner, spacing, order=order, ends=ends)


def inverse(
    displacement: Float[Array, "d *grid"],
    spacing: Float[Array, " d"],
    *,
    num_iterations: int = 8,
    order: int = 1,
    boundary: Boundary = "zero",
) -> Float[Array, "d *grid"]:
    """Displacement of the inverse of a map whose displacement is a contraction.

    Args:
        displacement: `[d, *grid]`, in the units of the spacing.
        spacing: of the grid.
        num_iterations: of the fixed point; each reduces the error by the Lipschitz constant.
        order: as of `sample`.
        boundary: as of the metric.

    Gradient: as `pull_back`.

    Example:
        >>> import jax.numpy as jnp
        >>> shift = jnp.stack([0.2 * jnp.sin(jnp.linspace(0, jnp.pi, 30))])
        >>> back = inverse(shift, jnp.ones(1))
        >>> bool(jnp.max(jnp.abs(compose(shift, back, jnp.ones(1)))) < 1e-6)
        True
    """
    checks.count(num_iterations, "num_iterations")
    ends: Ends = "wrap" if boundary == "periodic" else "zero"

    def iterate(u, _):
        return -pull_back(displacement, u, spacing, order=order, ends=ends), None

    return jax.lax.scan(iterate, -displacement, None, length=num_iterations)[0]


def exponential(
    velocity: Float[Array, "d *grid"],
    spacing: Float[Array, " d"],
    *,
    num_squarings: int = 6,
    order: int = 1,
    boundary: Boundary = "zero",
) -> Float[Array, "d *grid"]:
    """Displacement of the flow of a stationary velocity, by scaling and squaring.

    Args:
        velocity: `[d, *grid]`, in the units of the spacing.
        spacing: of the grid.
        num_squarings: the flow of a `2^-num_squarings` part of time is taken as one step.
        order: of the interpolation; with 3 the error falls with the square of the spacing, with 1
            more slowly.
        boundary: as of the metric.

    Gradient: reverse, first order; with order 3 forward and reverse.

    Reference: `[arsigny2006logeuclidean]`.
    """
    checks.count(num_squarings, "num_squarings", least=0)
    displacement = velocity / 2**num_squarings

    def square(u, _):
        return compose(u, u, spacing, order=order, boundary=boundary), None

    # recomputed in the derivative: what a squaring needs is its start alone
    return jax.lax.scan(jax.checkpoint(square), displacement, None, length=num_squarings)[0]


def jacobian_matrices(
    displacement: Float[Array, "d *grid"], spacing: Float[Array, " d"], boundary: Boundary = "zero"
) -> Float[Array, "d d *grid"]:
    """Derivative of each coordinate (first axis) of a map along each axis (second).

    By central differences, one-sided at the ends of a grid that is not periodic.

    Gradient: forward and reverse.
    """
    slopes = differences(displacement, spacing, boundary)  # [axis, coordinate, *grid]
    identity = jnp.eye(displacement.shape[0], dtype=displacement.dtype)
    return jnp.swapaxes(slopes, 0, 1) + identity.reshape(identity.shape + (1,) * (slopes.ndim - 2))


def determinants(matrices: Float[Array, "d d *grid"]) -> Float[Array, "*grid"]:
    """Determinant at every point, by cofactors: one pass without factorisations.

    Gradient: forward and reverse.
    """
    d = matrices.shape[0]
    if d == 1:
        return matrices[0, 0]
    terms = [(-1) ** k * matrices[0, k] * determinants(_minor(matrices, k)) for k in range(d)]
    return functools.reduce(jnp.add, terms)


def _minor(matrices, column: int):
    return jnp.concatenate([matrices[1:, :column], matrices[1:, column + 1 :]], axis=1)


def _column(vector, like):
    """A vector over the first axis of a field."""
    return vector.reshape(vector.shape + (1,) * (like.ndim - 1))
