"""Curves as normal cycles: their end points, corners, branchings and curvature."""

import math

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from geojax._core import checks
from geojax._core.errors import InputError
from geojax.kernels import AbstractRadialKernel, kernel_sum
from geojax.shapes.base import as_kernel
from geojax.shapes.meshes import Curve, elements, lengths
from geojax.shapes.varifolds import AbstractMeasure, Varifold, weighted_elements
from geojax.shapes.weights import as_factors

_NORMALS = ("constant", "linear")


class NormalCycles(AbstractMeasure):
    """Half the squared distance of curves as normal cycles: what they do at their vertices counts.

    The normal cycle of a curve is its bundle of unit normals: over an edge all n with `n.t = 0`,
    over a vertex with the unit directions `u_k` of its edges, pointing away from it, the sum of
    the half spheres `n.u_k <= 0`, less one sphere for all but one of the edges. Two bundles are
    compared by the kernel `k(x, y) g(n.m)`, with g in closed form:

    - `"constant"`, `g = 1`: over edges opposite normals cancel, and a half sphere adds up to
      `-|B| u`, where `|B|` is the volume of the unit ball of one dimension less. What is left is
      `|B|^2 sum_ij k(x_i, y_j) A_i.A_j` over the vertices, with `A_i = sum_k u_k`. A straight edge
      shows its ends only, however it is divided; a corner of angle a has `|A|^2 = 2 + 2 cos a`; on
      a fine curve A is the curvature vector times the length. Three edges that meet evenly add up
      to nothing.
    - `"linear"`, `g = n.m`: a half sphere has the second moment `|B'|/2` times the identity,
      with the ball `B'` of full dimension, whatever u is. What is left is the Binet varifold times
      `(d - 1) |B|^2`, and `d |B'|^2 / 4 sum_ij k(x_i, y_j) e_i e_j` with e two less the number of
      edges at the vertex: ends and branchings count, corners and curvature do not.

    Both are divided by `|B|^2`, and do not mind the directions of edges. Neither is a full kernel
    on the normals, so curves at distance zero may differ: the first does not see edges that run on
    straight or meet evenly, the second no corners. Linear normals see which edges share a vertex,
    so vertices at one place should be one vertex; to constant ones that is the same.

    Args:
        kernel: over which distance places see each other; a `Gaussian` of the given scale if a
            number is passed. No finer than the edges.
        normals: how normals see each other, `"constant"` or `"linear"`.
        source_weights, target_weights: factors of what each edge contributes.

    Raises:
        InputError: from `between`, shapes that are no curves.

    Gradient: forward and reverse, any order, in the vertices and the kernel.

    Example:
        >>> import numpy as np
        >>> from geojax.shapes import Curve
        >>> short = Curve(np.array([[0.0, 0.0], [9.0, 0.0]]))
        >>> divided = Curve(np.array([[0.0, 0.0], [2.0, 0.0], [9.0, 0.0]]))
        >>> between = NormalCycles(1.0).between(short, divided)
        >>> float(between.distance(short.vertices, divided.vertices))
        0.0

    Reference: `[roussillon2016kernel]`.
    """

    kernel: AbstractRadialKernel = eqx.field(converter=as_kernel)
    normals: str = eqx.field(static=True, default="constant")
    cells: tuple[Int[Array, "s k"], Int[Array, "t k"]] | None = None
    mass: Float[Array, ""] | None = None
    source_weights: Float[Array, " s"] | None = eqx.field(default=None, converter=as_factors)
    target_weights: Float[Array, " t"] | None = eqx.field(default=None, converter=as_factors)

    def __check_init__(self):
        if self.normals not in _NORMALS:
            raise InputError(
                f"Argument normals must be one of {', '.join(_NORMALS)}, but is {self.normals!r}"
                f"{checks.nearest_name(self.normals, _NORMALS)}."
            )

    @property
    def oriented(self):
        return False

    def check_shape(self, mesh, name):
        # branchings and edges of any direction are what it is made for
        if not isinstance(mesh, Curve):
            raise InputError(
                f"Argument {name} must be a `Curve` for the fidelity NormalCycles, but is a "
                f"{type(mesh).__name__}; for surfaces use `Varifold`."
            )

    def atoms(self, points, cells, weights):
        d = points.shape[1]
        if self.normals == "constant":
            return points, _leaving(points, cells, weights)
        centres, tangents = weighted_elements(points, cells, weights)
        ratio = _ball(d) / _ball(d - 1)
        weights = jnp.ones(cells.shape[0]) if weights is None else weights
        weights = weights.astype(points.dtype)
        count = jnp.zeros(points.shape[0], points.dtype)
        count = count.at[cells[:, 0]].add(weights).at[cells[:, 1]].add(weights)
        ends = jnp.where(count > 0, 0.5 * math.sqrt(d) * ratio * (2.0 - count), 0.0)
        return centres, math.sqrt(d - 1) * tangents, points, ends[:, None]

    def inner(self, first, second):
        if self.normals == "constant":
            return self._pairs(first, second)
        same = first is second
        edges, others = first[:2], second[:2]
        along = Varifold(self.kernel).inner(edges, edges if same else others)
        return along + self._pairs(first[2:], second[2:])

    def _pairs(self, first, second):
        return jnp.sum(first[1] * kernel_sum(self.kernel, first[0], second[0], second[1]))


def _leaving(vertices, edges, weights) -> Float[Array, "n d"]:
    """The sum of the unit directions of the edges at each vertex, pointing away from it."""
    _, along = lengths(elements(vertices, edges)[1])
    if weights is not None:
        along = along * weights.astype(along.dtype)[:, None]
    nothing = jnp.zeros_like(vertices)
    return nothing.at[edges[:, 0]].add(along).at[edges[:, 1]].add(-along)


def _ball(dimension: int) -> float:
    """Volume of the unit ball."""
    return math.pi ** (dimension / 2) / math.gamma(dimension / 2 + 1)
