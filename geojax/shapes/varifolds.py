"""Curves and surfaces as measures: currents and varifolds, compared by kernels."""

import abc
import warnings

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from geojax._core import checks
from geojax._core.errors import InputError
from geojax.kernels import AbstractRadialKernel, kernel_sum, sums
from geojax.kernels.pairs import pair_sums
from geojax.kernels.radial import squared_distances
from geojax.shapes.base import AbstractFidelity, as_kernel, coarser_kernel
from geojax.shapes.meshes import elements, lengths, orientation, same_kind

_NORMALS = ("binet", "unoriented", "oriented")
# Cells that a message names.
_NAMED = 10


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
    """

    kernel: eqx.AbstractVar[AbstractRadialKernel]
    cells: eqx.AbstractVar[tuple[Int[Array, "s k"], Int[Array, "t k"]] | None]
    mass: eqx.AbstractVar[Float[Array, ""] | None]

    @property
    @abc.abstractmethod
    def oriented(self) -> bool:
        """Whether a shape differs from the same shape turned over."""

    @abc.abstractmethod
    def inner(
        self,
        first: tuple[Float[Array, "s d"], Float[Array, "s d"]],
        second: tuple[Float[Array, "t d"], Float[Array, "t d"]],
    ) -> Float[Array, ""]:
        """The inner product of two measures, each given by centres and vectors of its cells."""

    def between(self, source, target) -> "AbstractMeasure":
        """The fidelity of these two shapes, as a function of their vertices.

        Args:
            source, target: two `Surface` or two `Curve` of one dimension.

        Raises:
            InputError: shapes of different kinds; for an oriented fidelity cells that disagree with
                their neighbours, with a list of those to flip, and edges of more than two faces.
        """
        same_kind(source, target)
        for mesh, name in ((source, "source"), (target, "target")):
            self._check_orientation(mesh.cells, name)
        centres, areas = target.centres, target.measure[:, None]
        mass = jnp.sum(areas * kernel_sum(self.kernel, centres, centres, areas))
        return eqx.tree_at(
            lambda f: (f.cells, f.mass),
            self,
            ((source.cells, target.cells), mass),
            is_leaf=lambda x: x is None,
        )

    def cross(self, points, target):
        source_cells, target_cells, _ = self._bound()
        source, other = elements(points, source_cells), elements(target, target_cells)
        return 0.5 * self.inner(source, source) - self.inner(source, other)

    def target_term(self, target):
        _, cells, _ = self._bound()
        shape = elements(target, cells)
        return 0.5 * self.inner(shape, shape)

    def unit(self):
        # moved by a small part of the scale, a shape is about that part of its own norm away
        _, _, mass = self._bound()
        scale = self.kernel.finest_scale
        return jnp.square(scale) / mass.astype(scale.dtype)

    def curvature(self, points):
        # that of as many equal pieces of the target's mass, facing the same way
        _, _, mass = self._bound()
        squared = squared_distances(points, points)
        seen = jnp.sum(self.kernel.profile(squared))
        return -2.0 * self.kernel.derivative(squared) * mass.astype(points.dtype) / seen

    def coarser(self, factor):
        cells, _, mass = self._bound()
        # a shape sees as much more of itself as its dimension says
        mass = mass * factor.astype(mass.dtype) ** (cells.shape[1] - 1)
        coarse = coarser_kernel(self.kernel, factor)
        return eqx.tree_at(lambda f: (f.kernel, f.mass), self, (coarse, mass))

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

    def _check_orientation(self, cells, name: str) -> None:
        if checks.is_tracer(cells):
            return
        found = orientation(np.asarray(cells))
        if found.crowded:
            what = "edges" if cells.shape[1] == 3 else "vertices"
            self._complain(
                f"Argument {name} is no manifold: {_first(found.crowded)} ({what}) belong to more "
                "than two cells; remove the surplus"
            )
        elif not found.orientable:
            self._complain(f"Argument {name} cannot be oriented: it has one side only")
        elif found.flips:
            self._complain(
                f"Argument {name} is not oriented consistently: flip its cells "
                f"{_first(found.flips)}"
            )

    def _complain(self, text: str) -> None:
        if self.oriented:
            raise InputError(f"{text}, or take an unoriented varifold.")
        warnings.warn(f"{text}; a {type(self).__name__} does not mind.", stacklevel=5)


class Currents(AbstractMeasure):
    """Half the squared distance of shapes as currents: `g(u.v) = u.v`.

    Turning a shape over changes its sign, so noise and thin parts cancel, and both shapes must be
    oriented alike. A closed shape that is small against the kernel is nearly zero.

    Args:
        kernel: over which distance places see each other; a `Gaussian` of the given scale if a
            number is passed.

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
        x, (a, u) = first[0], lengths(first[1])
        if first is second:
            y, (b, v) = x, (a, u)
        else:
            y, (b, v) = second[0], lengths(second[1])
        if not sums.stores_pairs(x.shape[0], y.shape[0]):
            other = None if first is second else (y, v)
            return jnp.sum(a * _tiled(self.kernel, self.width, self.normals, x, u, b, other))
        near = self.kernel.profile(squared_distances(x, y))
        return a @ (near * _facing(self.normals, u @ v.T, self.width.astype(x.dtype)) @ b)


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


def _first(values: list) -> str:
    """The first few of a list."""
    more = f" and {len(values) - _NAMED} more" if len(values) > _NAMED else ""
    return f"{values[:_NAMED]}{more}"
