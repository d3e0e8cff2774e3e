"""Curves and surfaces as measures: currents and varifolds, compared by kernels."""

import abc
import dataclasses
import warnings

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from geojax._core import checks
from geojax._core.buckets import bucket, filled
from geojax._core.errors import InputError
from geojax.kernels import AbstractRadialKernel, kernel_sum, sums
from geojax.kernels.pairs import pair_sums
from geojax.kernels.radial import squared_distances
from geojax.shapes.base import AbstractFidelity, Counts, as_kernel, coarser_kernel
from geojax.shapes.meshes import AbstractMesh, Surface, elements, lengths, misfit, same_kind
from geojax.shapes.weights import as_factors, check_count

_NORMALS = ("binet", "unoriented", "oriented")


def weighted_elements(
    vertices: Float[Array, "n d"], cells: Int[Array, "c k"], weights: Float[Array, " c"] | None
) -> tuple[Float[Array, "c d"], Float[Array, "c d"]]:
    """Centres of cells and their vectors, as long as their weighted size."""
    centres, vectors = elements(vertices, cells)
    if weights is None:
        return centres, vectors
    return centres, vectors * weights.astype(vectors.dtype)[:, None]


class AbstractMeasure(AbstractFidelity):
    """Half the squared distance of two curves or surfaces, as measures on places and directions.

    `1/2 |S - T|^2` with `<S, T> = sum_ij k(c_i, c_j) g(u_i.u_j) a_i a_j` over all pairs of cells:
    centres c, directions u (unit normals of faces, unit tangents of edges), areas or lengths a.
    Shapes need not correspond, and are not resampled. Memory is linear in the number of cells.

    Vertices alone do not tell a shape, so a fidelity is first bound to the cells of both:
    `between` does it, and `match` does it for you.

    Attributes:
        kernel: over which distance places see each other.
        cells: the cells of source and target; None until `between`.
        mass: `sum_ij k(c_i, c_j) a_i a_j` of the target, by which values are judged as large.
        source_weights, target_weights: factors of the areas or lengths, one for each cell; None for
            ones. A cell that is not trusted gets a small one.
    """

    kernel: eqx.AbstractVar[AbstractRadialKernel]
    source_weights: eqx.AbstractVar[Float[Array, " s"] | None]
    target_weights: eqx.AbstractVar[Float[Array, " t"] | None]
    cells: eqx.AbstractVar[tuple[Int[Array, "s k"], Int[Array, "t k"]] | None]
    mass: eqx.AbstractVar[Float[Array, ""] | None]

    @property
    @abc.abstractmethod
    def oriented(self) -> bool:
        """Whether a shape differs from the same shape turned over."""

    def atoms(
        self,
        points: Float[Array, "n d"],
        cells: Int[Array, "c k"],
        weights: Float[Array, " c"] | None,
    ) -> tuple[Float[Array, "..."], ...]:
        """Where a shape weighs and by which vectors: by default centres and vectors of cells."""
        return weighted_elements(points, cells, weights)

    @abc.abstractmethod
    def inner(
        self,
        first: tuple[Float[Array, "..."], ...],
        second: tuple[Float[Array, "..."], ...],
    ) -> Float[Array, ""]:
        """The inner product of two measures, each given by its `atoms`."""

    def between(
        self, source, target, *, names: tuple[str | None, str] = ("source", "target")
    ) -> "AbstractMeasure":
        """The fidelity of these two shapes, as a function of their vertices.

        Args:
            source, target: two `Surface` or two `Curve` of one dimension.
            names: of both, for messages; None for a source that has been checked before.

        Raises:
            InputError: shapes of different kinds; for an oriented fidelity cells that disagree with
                their neighbours, with a list of those to flip, and edges of more than two faces.
        """
        same_kind(source, target)
        for mesh, name in zip((source, target), names, strict=True):
            if name is not None:
                self.check_shape(mesh, name)
        if self.oriented and _inside_out(source, target):
            warnings.warn(
                "The normals of one shape point inwards and those of the other outwards, which "
                f"{type(self).__name__} takes for a difference: turn the faces of one over with "
                "`faces[:, ::-1]`, as is needed after a reflection.",
                stacklevel=3,
            )
        check_count(self.source_weights, source.cells.shape[0], "cells of the source")
        check_count(self.target_weights, target.cells.shape[0], "cells of the target")
        # in few sizes, so that many shapes share a program
        vertices, count = target.vertices, bucket(target.cells.shape[0])
        points = filled(vertices, bucket(vertices.shape[0]), "edge")
        weights = None if self.target_weights is None else filled(self.target_weights, count)
        mass = _mass(self, points, filled(target.cells, count), weights)
        return eqx.tree_at(
            lambda f: (f.cells, f.mass),
            self,
            ((source.cells, target.cells), mass),
            is_leaf=lambda x: x is None,
        )

    def cross(self, points, target):
        source_cells, target_cells, _ = self._bound()
        source = self.atoms(points, source_cells, self.source_weights)
        other = self.atoms(target, target_cells, self.target_weights)
        return 0.5 * self.inner(source, source) - self.inner(source, other)

    def target_term(self, target):
        _, cells, _ = self._bound()
        shape = self.atoms(target, cells, self.target_weights)
        return 0.5 * self.inner(shape, shape)

    def unit(self):
        # moved by a small part of the scale, a shape is about that part of its own norm away
        _, _, mass = self._bound()
        scale = self.kernel.finest_scale
        return jnp.square(scale) / mass.astype(scale.dtype)

    def curvature(self, points, shares):
        # that of pieces of the target's mass, facing the same way
        _, _, mass = self._bound()
        squared = squared_distances(points, points)
        pairs = shares[:, None] * shares[None]
        seen = jnp.sum(pairs * self.kernel.profile(squared))
        return -2.0 * pairs * self.kernel.derivative(squared) * mass.astype(points.dtype) / seen

    def coarser(self, factor):
        cells, _, mass = self._bound()
        # a shape sees as much more of itself as its dimension says
        mass = mass * factor.astype(mass.dtype) ** (cells.shape[1] - 1)
        coarse = coarser_kernel(self.kernel, factor)
        return eqx.tree_at(lambda f: (f.kernel, f.mass), self, (coarse, mass))

    def counts(self, source, target):
        source_cells, target_cells, _ = self._bound()
        return (Counts(source, target, source_cells.shape[0], target_cells.shape[0]),)

    def padded(self, before, after):
        ((*_, source_count, target_count),) = after
        source, target, _ = self._bound()
        # a cell with one vertex only has no size; and what is alike must look alike, so that ones
        # take the place of None
        factors = [
            np.ones(c.shape[0], jnp.result_type(float)) if w is None else w
            for w, c in ((self.source_weights, source), (self.target_weights, target))
        ]
        return dataclasses.replace(
            self,
            cells=(filled(source, source_count), filled(target, target_count)),
            source_weights=filled(factors[0], source_count),
            target_weights=filled(factors[1], target_count),
        )

    def check(self, source, target):
        source_cells, target_cells, _ = self._bound()
        given = (source, source_cells, "source"), (target, target_cells, "target")
        for points, cells, name in given:
            needed = 0 if checks.is_tracer(cells) else int(np.max(np.asarray(cells))) + 1
            if needed > points.shape[0]:
                raise InputError(
                    f"Argument {name} must hold the {needed} vertices that the fidelity "
                    f"{type(self).__name__} is bound to, but holds {points.shape[0]}; bind it anew "
                    "with `between`."
                )

    def _bound(self) -> tuple[Int[Array, "s k"], Int[Array, "t k"], Float[Array, ""]]:
        """The cells of both shapes and the mass, once they are known."""
        if self.cells is None or self.mass is None:
            raise InputError(
                f"The fidelity {type(self).__name__} compares curves or surfaces: pass a `Curve` "
                "or a `Surface` as source and target, or bind it with `between(source, target)`."
            )
        return *self.cells, self.mass

    def check_shape(self, mesh: AbstractMesh, name: str) -> None:
        """Raise, or warn, where the cells of a shape do not fit together."""
        cells = mesh.cells
        if checks.is_tracer(cells):
            return
        problem = misfit(np.asarray(cells))
        if problem and self.oriented:
            raise InputError(f"Argument {name} {problem}, or take an unoriented varifold.")
        if problem:
            text = f"Argument {name} {problem}; a {type(self).__name__} does not mind."
            warnings.warn(text, stacklevel=4)


@eqx.filter_jit
def _mass(fidelity, points, cells, weights):
    """`sum_ij k(c_i, c_j) a_i a_j` of a shape."""
    places, vectors = fidelity.atoms(points, cells, weights)[:2]
    sizes = lengths(vectors)[0][:, None]
    return jnp.sum(sizes * kernel_sum(fidelity.kernel, places, places, sizes))


class Currents(AbstractMeasure):
    """Half the squared distance of shapes as currents: `g(u.v) = u.v`.

    Turning a shape over changes its sign, so noise and thin parts cancel, and both shapes must be
    oriented alike. A closed shape that is small against the kernel is nearly zero.

    Args:
        kernel: over which distance places see each other; a `Gaussian` of the given scale if a
            number is passed.
        source_weights, target_weights: factors of the areas or lengths of cells.

    Gradient: forward and reverse, any order, in the vertices and the kernel.

    Example:
        >>> import numpy as np
        >>> from geojax.shapes import Curve
        >>> line = Curve(np.array([[0.0, 0.0], [1.0, 0.0]]))
        >>> there = Currents(1.0).between(line, line)
        >>> back = Currents(1.0).between(line, Curve(line.vertices, line.edges[:, ::-1]))
        >>> [float(f.distance(line.vertices, line.vertices)) for f in (there, back)]
        [0.0, 2.0]

    Reference: `[vaillant2005surface]`, `[glaunes2008large]`.
    """

    kernel: AbstractRadialKernel = eqx.field(converter=as_kernel)
    cells: tuple[Int[Array, "s k"], Int[Array, "t k"]] | None = None
    mass: Float[Array, ""] | None = None
    source_weights: Float[Array, " s"] | None = eqx.field(default=None, converter=as_factors)
    target_weights: Float[Array, " t"] | None = eqx.field(default=None, converter=as_factors)

    @property
    def oriented(self):
        return True

    def inner(self, first, second):
        return jnp.sum(first[1] * kernel_sum(self.kernel, first[0], second[0], second[1]))


class Varifold(AbstractMeasure):
    """Half the squared distance of shapes as varifolds: parts facing apart do not cancel.

    With unit normals (or tangents) `u`, `v` and the width w, `g(u.v)` is

    - `"binet"`: `(u.v)^2`, blind to orientation and without a width;
    - `"unoriented"`: `exp(-(1 - (u.v)^2) / w^2)`, blind to orientation;
    - `"oriented"`: `exp(-(1 - u.v) / w^2)`, a Gaussian of `|u - v|` with the scale w.

    Args:
        kernel: over which distance places see each other; a `Gaussian` of the given scale if a
            number is passed.
        normals: how directions see each other.
        width: how far directions may differ, in radians for small angles.
        source_weights, target_weights: factors of the areas or lengths of cells.

    Gradient: forward and reverse, any order, in the vertices, the kernel and the width.

    Example:
        >>> import numpy as np
        >>> from geojax.shapes import Curve
        >>> line = Curve(np.array([[0.0, 0.0], [1.0, 0.0]]))
        >>> back = Curve(line.vertices, line.edges[:, ::-1])
        >>> float(Varifold(1.0).between(line, back).distance(line.vertices, line.vertices))
        0.0

    Reference: `[charon2013varifold]`, `[kaltenmark2017general]`.
    """

    kernel: AbstractRadialKernel = eqx.field(converter=as_kernel)
    normals: str = eqx.field(static=True, default="binet")
    width: Float[Array, ""] = eqx.field(
        default=0.5, converter=lambda w: jnp.asarray(checks.positive(w, "width"), float)
    )
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
        if np.ndim(self.width):
            raise InputError(
                f"Argument width must be one number, but has shape {list(np.shape(self.width))}."
            )

    @property
    def oriented(self):
        return self.normals == "oriented"

    def inner(self, first, second):
        return lengths(first[1])[0] @ self.density(first, second)

    def density(
        self,
        first: tuple[Float[Array, "..."], ...],
        second: tuple[Float[Array, "..."], ...],
    ) -> Float[Array, " s"]:
        """How much of the second measure each cell of the first sees."""
        x, (_, u) = first[0], lengths(first[1])
        if first is second:
            y, (b, v) = x, lengths(first[1])
        else:
            y, (b, v) = second[0], lengths(second[1])
        if not sums.stores_pairs(x.shape[0], y.shape[0]):
            other = None if first is second else (y, v)
            return _tiled(self.kernel, self.width, self.normals, x, u, b, other)
        near = self.kernel.profile(squared_distances(x, y))
        return (near * _facing(self.normals, u @ v.T, self.width.astype(x.dtype))) @ b


def _inside_out(source: AbstractMesh, target: AbstractMesh) -> bool:
    """Whether two closed surfaces are turned over against each other."""
    shapes = source, target
    if any(checks.is_tracer(leaf) for shape in shapes for leaf in (shape.vertices, shape.cells)):
        return False
    if not all(isinstance(shape, Surface) and shape.closed for shape in shapes):
        return False
    # in NumPy: under `jit` sums of known numbers in JAX are not known
    given = [(np.asarray(shape.vertices), np.asarray(shape.cells)) for shape in shapes]
    volumes = [np.sum(np.linalg.det((v - v.mean(axis=0))[cells])) for v, cells in given]
    return bool(volumes[0] * volumes[1] < 0)


def _facing(normals: str, cosine, width):
    """How directions see each other, from their inner product."""
    if normals == "binet":
        return jnp.square(cosine)
    like = cosine if normals == "oriented" else jnp.square(cosine)
    return jnp.exp((like - 1.0) / jnp.square(width))


@eqx.filter_jit
def _tiled(kernel, width, normals, x, u, b, other):
    """`sum_j k(x_i, y_j) g(u_i.v_j) b_j` without a matrix over pairs; other is (y, v)."""
    theta, rebuild = sums.parameters((kernel, width), x.dtype)
    y, v = (None, None) if other is None else other
    x, y = sums.centred(x, y)

    def weights(e, s, t, theta):
        kernel, width = rebuild(theta)
        return [kernel.profile(e[0]) * _facing(normals, s[0], width)]

    vectors = [u.T], [None if v is None else v.T]
    return pair_sums(
        weights, [(0, 0)], [x], None if y is None else [y], *vectors, [b[None]], theta
    )[0][0]
