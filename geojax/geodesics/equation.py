"""The geodesic equation, once for every metric and action.

With the cotangent lift of an action, from momentum p at state q (Arnold; Clebsch):

    J     = transpose of (v -> act(v, q)) applied to p      the momentum map
    v     = metric.sharp(J)
    dq/dt = act(v, q)
    dp/dt = -(d act(v, .) at q)^T p, v held fixed

For landmarks this is the Hamiltonian system, for SU(2^n) Nielsen's Lax equation, for gl(n) the
geodesics of deep linear networks. Where a pair is hot a fused equation replaces the generic one;
a test holds the two together.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from geojax._core import checks, trees
from geojax.actions import AbstractAction, Points
from geojax.kernels import hamiltonian_field, kernel_sum
from geojax.metrics import RKHS, AbstractMetric


def velocity_of(
    metric: AbstractMetric, action: AbstractAction, state: PyTree, momentum: PyTree
) -> Any:
    """The velocity that a momentum at a state drives."""
    return metric.sharp(action.momentum(state, momentum))


def cometric(
    metric: AbstractMetric, action: AbstractAction, state: PyTree, momentum: PyTree
) -> PyTree:
    """The tangent of a momentum: the inverse metric of the space of states, applied."""
    return action(velocity_of(metric, action, state, momentum), state)


def hamiltonian(
    metric: AbstractMetric, action: AbstractAction, state: PyTree, momentum: PyTree
) -> Float[Array, ""]:
    """Half the squared norm of a momentum: the conserved energy of its geodesic.

    Args:
        metric, action: the geometry.
        state: q.
        momentum: p, stored like q.
    """
    return 0.5 * trees.pairing(momentum, cometric(metric, action, state, momentum))


def geodesic_field(
    metric: AbstractMetric, action: AbstractAction, state: PyTree, momentum: PyTree
) -> tuple[PyTree, PyTree]:
    """Right-hand side `(dq/dt, dp/dt)` of the geodesic equation; fused where that is faster."""
    if isinstance(metric, RKHS) and isinstance(action, Points):
        return hamiltonian_field(metric.kernel, state, momentum)
    return generic_geodesic_field(metric, action, state, momentum)


def generic_geodesic_field(
    metric: AbstractMetric, action: AbstractAction, state: PyTree, momentum: PyTree
) -> tuple[PyTree, PyTree]:
    """The geodesic equation from the transposes alone, for any metric and action."""
    velocity = velocity_of(metric, action, state, momentum)
    dstate, pullback = trees.vjp(lambda q: action(velocity, q), state)
    return dstate, trees.scale(pullback(momentum), -1.0)


def cometric_matrix(
    metric: AbstractMetric, action: AbstractAction, state: PyTree
) -> Float[Array, "m m"]:
    """The cometric in the coordinates of `action.covector`, `[m, m]`."""
    dtype = jnp.finfo(jax.tree.leaves(state)[0].dtype).dtype
    basis = jnp.eye(action.dimension(state), dtype=dtype)

    def column(coordinates):
        tangent = cometric(metric, action, state, action.covector(state, coordinates))
        return action.coordinates(state, tangent)

    return jax.vmap(column)(basis).T


def momentum_dimension(metric: AbstractMetric, action: AbstractAction, state: PyTree) -> int:
    """Unknowns of the system that `momentum_of` solves."""
    if isinstance(metric, RKHS) and isinstance(action, Points):
        return state.shape[0]
    return action.dimension(state)


def check_memory(state: PyTree, dimension: int, matrices: int, what: str) -> None:
    """Raise if dense square matrices of a dimension would not fit into the memory.

    Args:
        state: gives the precision.
        dimension: rows of each matrix.
        matrices: how many of them are held at a time.
        what: for the message.

    Raises:
        InputError: they do not fit.
    """
    size = jnp.finfo(jax.tree.leaves(state)[0].dtype).dtype.itemsize
    checks.memory(
        matrices * size * dimension**2,
        f"{what}: a dense system of {dimension} unknowns",
        "use fewer points (`match` solves no dense system) or a smaller group",
    )


def momentum_of(
    metric: AbstractMetric, action: AbstractAction, state: PyTree, tangent: PyTree
) -> PyTree:
    """The momentum whose velocity moves a state along a given tangent: inverse of `cometric`.

    Solves a dense linear system: for n particles of the kernel matrix `[n, n]`, else of the
    dimension of the space of states.

    Args:
        metric, action: the geometry.
        state: q.
        tangent: wanted time derivative of q.

    Raises:
        InputError: a system that does not fit into the memory.

    Gradient: forward and reverse in every argument.
    """
    check_memory(state, momentum_dimension(metric, action, state), 2, "momentum_of")
    if isinstance(metric, RKHS) and isinstance(action, Points):
        return jnp.linalg.solve(metric.kernel(state, state), tangent)
    matrix = cometric_matrix(metric, action, state)
    coordinates = jnp.linalg.solve(matrix, action.coordinates(state, tangent))
    return action.covector(state, coordinates)


def carry(
    metric: AbstractMetric,
    state: Float[Array, "n d"],
    momentum: Float[Array, "n d"],
    points: Float[Array, "m d"],
) -> Float[Array, "m d"]:
    """Velocity of other points in the field of particles with momenta."""
    if not isinstance(metric, RKHS):
        raise TypeError("Only an RKHS metric over points has a field that carries others.")
    return kernel_sum(metric.kernel, points, state, momentum)
