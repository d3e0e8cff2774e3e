"""Sectional curvature, from how fast neighbouring geodesics spread."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from geojax._core import trees
from geojax.actions import AbstractAction
from geojax.geodesics.equation import (
    check_memory,
    cometric,
    cometric_matrix,
    generic_geodesic_field,
)
from geojax.geodesics.shooting import check_fit, like_state
from geojax.metrics import AbstractMetric


def sectional_curvature(
    metric: AbstractMetric,
    action: AbstractAction,
    state: PyTree,
    first: PyTree,
    second: PyTree,
) -> Float[Array, ""]:
    """Sectional curvature of the plane of two momenta at a state.

    A Jacobi field J that starts at zero with derivative w along a geodesic of velocity v obeys
    `|J(t)|^2 / t^2 = |w|^2 - t^2 / 3 <R(w, v) v, w> + O(t^3)`. The second derivative of the left
    side at t = 0 follows from the Taylor coefficients of the geodesic equation, taken by
    automatic differentiation: exact, with no time stepping and no finite differences.

    Args:
        metric, action: the geometry.
        state: q.
        first, second: momenta that span the plane, stored like the state.

    Returns:
        A scalar; NaN if the momenta are parallel.

    Raises:
        InputError: arguments that do not fit, or a system that does not fit into the memory.

    Cost: solves a dense system of the dimension m of the space of states; meant for m up to a few
    hundred. Gradient: forward and reverse.

    Example:
        >>> import jax.numpy as jnp
        >>> from geojax.actions import Rotations
        >>> from geojax.metrics import Isotropic
        >>> so3, eye = Rotations(3), jnp.eye(3)
        >>> p, w = (so3.covector(eye, axis) for axis in jnp.eye(3)[:2])
        >>> round(float(sectional_curvature(Isotropic(), so3, eye, p, w)), 5)
        0.125

    Reference: `[arnold1966geometrie]`, `[milnor1976curvatures]`, `[micheli2012sectional]`.
    """
    check_fit(metric, action)
    state = action.check(state, "state")
    first, second = like_state(first, state, "first"), like_state(second, state, "second")
    # the cometric with its first two derivatives, and its factor
    check_memory(state, action.dimension(state), 5, "sectional_curvature")
    return _sectional_curvature(metric, action, state, first, second)


def ricci_curvature(
    metric: AbstractMetric, action: AbstractAction, state: PyTree, momentum: PyTree
) -> Float[Array, ""]:
    """Ricci curvature in the direction of a momentum, of unit length.

    The sum of the sectional curvatures of the m - 1 planes that the momentum spans with an
    orthonormal basis of its complement: how fast the volume of a thin cone of geodesics about it
    falls behind that of a straight one.

    Args:
        metric, action: the geometry.
        state: q.
        momentum: the direction, stored like the state; its length does not matter.

    Returns:
        A scalar; NaN for a momentum of zero.

    Raises:
        InputError: arguments that do not fit, or a system that does not fit into the memory.

    Cost: that of m - 1 sectional curvatures, one after another. Gradient: forward and reverse.

    Example:
        >>> import jax.numpy as jnp
        >>> from geojax.actions import Rotations
        >>> from geojax.metrics import Isotropic
        >>> so3, eye = Rotations(3), jnp.eye(3)
        >>> p = so3.covector(eye, jnp.array([2.0, 0.0, 0.0]))
        >>> round(float(ricci_curvature(Isotropic(), so3, eye, p)), 5)
        0.25

    Reference: `[milnor1976curvatures]`, `[docarmo1992riemannian]`.
    """
    check_fit(metric, action)
    state = action.check(state, "state")
    momentum = like_state(momentum, state, "momentum")
    check_memory(state, action.dimension(state), 5, "ricci_curvature")
    return _ricci_curvature(metric, action, state, momentum)


@eqx.filter_jit
def _ricci_curvature(metric, action, state, momentum):
    gram = cometric_matrix(metric, action, state)
    # coordinates in which the cometric is the identity
    whiten = jnp.linalg.cholesky(gram)
    velocity = action.coordinates(state, cometric(metric, action, state, momentum))
    direction = jax.scipy.linalg.solve_triangular(whiten, velocity, lower=True)
    # the reflection that takes the first axis to the direction takes the others to its complement
    unit = direction / jnp.linalg.norm(direction)
    mirror = unit.at[0].add(jnp.where(unit[0] < 0, -1.0, 1.0))
    eye = jnp.eye(unit.shape[0], dtype=unit.dtype)
    complement = (eye - 2 * jnp.outer(mirror, mirror) / jnp.sum(jnp.square(mirror)))[1:]

    def plane(other):
        back = jax.scipy.linalg.solve_triangular(whiten.T, other, lower=False)
        across = action.covector(state, back)
        return _sectional_curvature(metric, action, state, momentum, across)

    return jnp.sum(jax.lax.map(plane, complement))


@eqx.filter_jit
def _sectional_curvature(metric, action, state, first, second):
    def field(z):
        return generic_geodesic_field(metric, action, *z)

    def varied_field(zdz):
        return jax.jvp(field, (zdz[0],), (zdz[1],))

    def along(function):
        """Time derivative of a function of (z, dz) along the flow of the variational equation."""
        return lambda zdz: jax.jvp(function, (zdz,), (varied_field(zdz),))[1]

    zero = jax.tree.map(jnp.zeros_like, state)
    start = ((state, first), (zero, second))
    rates = varied_field, along(varied_field), along(along(varied_field))
    d1, d2, d3 = (rate(start) for rate in rates)

    def spread(t):
        """`|J(t)|^2 / t^2`, right to second order in t."""

        def series(*coefficients):
            terms = [trees.scale(c, t**k) for k, c in enumerate(coefficients)]
            total = terms[0]
            for term in terms[1:]:
                total = trees.add(total, term)
            return total

        q = series(state, d1[0][0], trees.scale(d2[0][0], 0.5))
        j = series(d1[1][0], trees.scale(d2[1][0], 0.5), trees.scale(d3[1][0], 1.0 / 6.0))
        right = action.coordinates(q, j)
        return right @ jnp.linalg.solve(cometric_matrix(metric, action, q), right)

    def slope(t):
        return jax.jvp(spread, (t,), (jnp.ones_like(t),))[1]

    origin = jnp.zeros((), jnp.finfo(jax.tree.leaves(state)[0].dtype).dtype)
    curvature = -1.5 * jax.jvp(slope, (origin,), (jnp.ones_like(origin),))[1]

    def inner(p, w):
        return trees.pairing(p, cometric(metric, action, state, w))

    area = inner(first, first) * inner(second, second) - jnp.square(inner(first, second))
    return curvature / area
