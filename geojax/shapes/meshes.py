"""Curves and surfaces: vertices and the cells (edges or faces) between them."""

import abc
import warnings
from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from geojax._core import checks
from geojax._core.errors import InputError
from geojax._core.linalg import safe_sqrt

# Cells or vertices, and loops of them, that a message names.
_NAMED = 10
_LOOPS = 3


class AbstractMesh(eqx.Module):
    """Vertices and the cells between them: what curves and surfaces share."""

    vertices: eqx.AbstractVar[Float[Array, "n d"]]

    @property
    @abc.abstractmethod
    def cells(self) -> Int[Array, "c k"]:
        """The vertices of each cell."""

    @property
    def centres(self) -> Float[Array, "c d"]:
        """The mean of the vertices of each cell."""
        return elements(self.vertices, self.cells)[0]

    @property
    def normals(self) -> Float[Array, "c d"]:
        """The normal of each face, as long as its area; the tangent of each edge."""
        return elements(self.vertices, self.cells)[1]

    @property
    def measure(self) -> Float[Array, " c"]:
        """The area of each face, or the length of each edge."""
        return lengths(self.normals)[0]


class Surface(AbstractMesh):
    """A triangulated surface in space, open or closed.

    The normal of a face follows the right hand: seen from its tip, the vertices of the face run
    counter-clockwise.

    Args:
        vertices: `[n, 3]`.
        faces: three vertices each, `[f, 3]`, counted from 0.

    Raises:
        InputError: faces that are no integers, no triangles, out of range, or without area, naming
            the first; vertices that are not finite or not in space.

    Example:
        >>> import numpy as np
        >>> round(float(Surface(np.eye(3), [[0, 1, 2]]).measure[0]), 3)
        0.866
    """

    vertices: Float[Array, "n 3"]
    faces: Int[Array, "f 3"]

    def __init__(self, vertices, faces):
        self.vertices = checks.as_points(vertices, "vertices")
        if self.vertices.shape[1] != 3:
            raise InputError(
                "Argument vertices must be points in space, [n, 3], but has shape "
                f"{list(self.vertices.shape)}; for outlines in the plane use `Curve`."
            )
        self.faces = _checked(self.vertices, faces, 3, "face")

    @property
    def cells(self):
        return self.faces

    @property
    def boundary(self) -> list[list[int]]:
        """The loops of vertices at which the surface ends, as its faces run through them.

        Not under `jit`, where faces are not known.
        """
        return _loops(np.asarray(self.faces))

    @property
    def closed(self) -> bool:
        """Whether the surface ends nowhere."""
        return not self.boundary

    @property
    def volume(self) -> Float[Array, ""]:
        """The volume that a closed surface holds; negative if its normals point inwards.

        Under `jit` a surface is taken to be closed.

        Raises:
            InputError: an open surface, with its boundary; faces that disagree on their
                orientation, with a list of those to flip.

        Gradient: forward and reverse, any order.
        """
        if not checks.is_tracer(self.faces):
            loops = self.boundary
            if loops:
                shown = "; ".join(first_few(loop) for loop in loops[:_LOOPS])
                more = f"; and {len(loops) - _LOOPS} more" if len(loops) > _LOOPS else ""
                raise InputError(
                    "The volume needs a closed surface, but this one ends at "
                    f"{len(loops)} loop{'s' if len(loops) > 1 else ''} of vertices: "
                    f"{shown}{more}; close them with faces."
                )
            problem = misfit(np.asarray(self.faces))
            if problem:
                raise InputError(f"The volume needs an oriented surface, but this one {problem}.")
        # about a centre, so that far from the origin no digits are lost
        about = self.vertices - jnp.mean(self.vertices, axis=0, keepdims=True)
        centres, normals = elements(about, self.faces)
        return jnp.sum(centres * normals) / 3.0


class Curve(AbstractMesh):
    """A polygonal curve, of any number of pieces, open or closed.

    Args:
        vertices: `[n, d]`.
        edges: from which vertex to which, `[e, 2]`, counted from 0; by default the vertices are
            joined in their order, without closing the curve.

    Raises:
        InputError: edges that are no integers, no pairs, out of range, or without length, naming
            the first; vertices that are not finite.

    Example:
        >>> import numpy as np
        >>> Curve(np.array([[0.0, 0.0], [3.0, 4.0]])).measure.tolist()
        [5.0]
    """

    vertices: Float[Array, "n d"]
    edges: Int[Array, "e 2"]

    def __init__(self, vertices, edges=None):
        self.vertices = checks.as_points(vertices, "vertices", least=2)
        if edges is None:
            along = np.arange(self.vertices.shape[0])
            edges = np.stack([along[:-1], along[1:]], axis=-1)
        self.edges = _checked(self.vertices, edges, 2, "edge")

    @property
    def cells(self):
        return self.edges


def mesh_of(vertices: Float[Array, "n d"], cells: Int[Array, "c k"]) -> Surface | Curve:
    """The curve or surface of cells that were checked before, at new places of the vertices."""
    family, name = (Surface, "faces") if cells.shape[1] == 3 else (Curve, "edges")
    mesh = object.__new__(family)
    object.__setattr__(mesh, "vertices", vertices)
    object.__setattr__(mesh, name, cells)
    return mesh


def elements(
    vertices: Float[Array, "n d"], cells: Int[Array, "c k"]
) -> tuple[Float[Array, "c d"], Float[Array, "c d"]]:
    """Centres of cells and their vectors: the normals of faces, the tangents of edges."""
    corners = [vertices[cells[:, k]] for k in range(cells.shape[1])]
    centres = sum(corners[1:], corners[0]) / len(corners)
    first, *others = (corner - corners[0] for corner in corners[1:])
    return centres, 0.5 * jnp.cross(first, others[0]) if others else first


def lengths(vectors: Float[Array, "c d"]) -> tuple[Float[Array, " c"], Float[Array, "c d"]]:
    """Lengths and directions of vectors; both zero, with derivative zero, for a zero vector."""
    length = safe_sqrt(jnp.sum(jnp.square(vectors), axis=-1))
    return length, vectors / jnp.where(length > 0, length, 1.0)[:, None]


def _checked(vertices, cells, size: int, name: str):
    """Cells as indices, once they were seen to be some.

    Under a transformation only their shape is.
    """
    if not checks.is_tracer(cells):
        if not checks.is_regular(cells):
            raise InputError(
                f"Argument {name}s must hold {size} vertices for every {name}, but its rows have "
                "different lengths; split what has more."
            )
        cells = np.asarray(cells)
    if cells.ndim != 2 or cells.shape[1] != size or not cells.shape[0]:
        hint = "; split each face into triangles" if size == 3 and cells.ndim == 2 else ""
        raise InputError(
            f"Argument {name}s must have shape [n, {size}] (one row per {name}), but has shape "
            f"{list(cells.shape)}{hint}."
        )
    if cells.dtype.kind not in "iu":
        raise InputError(
            f"Argument {name}s must hold integers, the vertices of each {name}, but has dtype "
            f"{cells.dtype}."
        )
    if not checks.is_tracer(cells):
        _check_indices(cells, vertices.shape[0], name)
        if not checks.is_tracer(vertices):
            _check_sizes(np.asarray(vertices), cells, name)
    return jnp.asarray(cells, jnp.int32)


def _check_indices(cells: np.ndarray, count: int, name: str) -> None:
    outside = np.argwhere((cells < 0) | (cells >= count))
    if len(outside):
        row, column = (int(k) for k in outside[0])
        one_based = cells.min() == 1 and cells.max() == count
        hint = "; they count from 1, so subtract 1" if one_based else "; vertices count from 0"
        raise InputError(
            f"Argument {name}s: {name} {row} refers to vertex {cells[row, column]} of {count} "
            f"vertices ({len(outside)} such entries){hint}."
        )
    ordered = np.sort(cells, axis=1)
    repeated = np.flatnonzero(np.any(ordered[:, 1:] == ordered[:, :-1], axis=1))
    if len(repeated):
        raise InputError(
            f"Argument {name}s: {name} {repeated[0]} has the vertices "
            f"{cells[repeated[0]].tolist()}, of which two are the same (such {name}s: "
            f"{first_few(repeated.tolist())}); remove them."
        )
    missed = count - len(np.unique(cells))
    if missed:
        warnings.warn(
            f"{missed} of {count} vertices belong to no {name}: no fidelity of measures sees them. "
            "Remove them.",
            stacklevel=5,
        )


def _check_sizes(vertices: np.ndarray, cells: np.ndarray, name: str) -> None:
    corners = vertices[cells].astype(np.float64)
    sides = np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=-1)
    if cells.shape[1] == 2:
        small = sides[:, 0] == 0
    else:
        spans = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        # below this, round-off of the vertices is what one sees
        resolved = np.finfo(vertices.dtype).eps * np.max(np.abs(corners), axis=(1, 2))
        small = np.linalg.norm(spans, axis=-1) <= resolved * np.max(sides, axis=1)
    if np.any(small):
        row = int(np.flatnonzero(small)[0])
        what = "length" if cells.shape[1] == 2 else "area"
        raise InputError(
            f"Argument {name}s: {name} {row} with the vertices {cells[row].tolist()} has no {what} "
            f"(such {name}s: {first_few(np.flatnonzero(small).tolist())}); remove them or merge "
            "their vertices."
        )


class Orientation(NamedTuple):
    """How the cells of a mesh fit together.

    Attributes:
        crowded: edges of a surface (vertices of a curve) that belong to more than two cells.
        flips: cells to turn over so that all agree with their neighbours; as few as possible.
        orientable: whether that would do.
    """

    crowded: list
    flips: list[int]
    orientable: bool


def orientation(cells: Int[np.ndarray, "c k"]) -> Orientation:
    """Where cells meet, and whether they agree on their orientation, in NumPy."""
    count, size = cells.shape
    if size == 3:  # two faces agree if they run through their edge in opposite directions
        ends = np.stack([cells, np.roll(cells, -1, axis=1)], axis=-1).reshape(-1, 2)
        signs, borders = ends[:, 0] < ends[:, 1], np.sort(ends, axis=1)
    else:  # two edges agree if one enters the vertex and the other leaves it
        signs, borders = np.tile([False, True], count), cells.reshape(-1, 1)
    owners = np.repeat(np.arange(count), size)
    names, where, shared = np.unique(borders, axis=0, return_inverse=True, return_counts=True)
    where = where.reshape(-1)
    order = np.argsort(where, kind="stable")
    pairs = order[shared[where[order]] == 2].reshape(-1, 2)
    (left, right), agree = owners[pairs].T, signs[pairs[:, 0]] != signs[pairs[:, 1]]
    # every cell twice, as it is and turned over; what must go together is joined
    other = np.where(agree, right, right + count)
    joined = np.concatenate([left, left + count]), np.concatenate([other, (other + count)])
    joined = joined[0], joined[1] % (2 * count)
    ones = np.ones(len(joined[0]))
    _, labels = connected_components(coo_matrix((ones, joined), (2 * count, 2 * count)))
    kept, turned = labels[:count], labels[count:]
    flips, piece = kept > turned, np.minimum(kept, turned)
    most = np.bincount(piece, flips) > 0.5 * np.bincount(piece)
    flips = flips ^ most[piece]
    crowded = names[shared > 2]
    return Orientation(
        crowded=[int(v[0]) if size == 2 else v.tolist() for v in crowded],
        flips=np.flatnonzero(flips).tolist(),
        orientable=not np.any(kept == turned),
    )


def misfit(cells: Int[np.ndarray, "c k"]) -> str | None:
    """What keeps cells from being an oriented manifold, and how to mend it; None if nothing."""
    found = orientation(cells)
    if found.crowded:
        what = "edges" if cells.shape[1] == 3 else "vertices"
        return (
            f"is no manifold: {first_few(found.crowded)} ({what}) belong to more than two cells; "
            "remove the surplus"
        )
    if not found.orientable:
        return "cannot be oriented: it has one side only"
    if found.flips:
        return f"is not oriented consistently: flip its cells {first_few(found.flips)}"
    return None


def _loops(faces: np.ndarray) -> list[list[int]]:
    """The edges of one face only, joined to loops."""
    ends = np.stack([faces, np.roll(faces, -1, axis=1)], axis=-1).reshape(-1, 2)
    _, where, shared = np.unique(
        np.sort(ends, axis=1), axis=0, return_inverse=True, return_counts=True
    )
    lone = ends[shared[where.reshape(-1)] == 1].tolist()
    onward: dict[int, list[int]] = {}
    for a, b in lone:
        onward.setdefault(a, []).append(b)
    loops = []
    for start, _ in lone:
        # loops may touch: where a walk meets itself, a loop is complete
        walk, place = [start], {start: 0}
        while onward.get(walk[-1]):
            after = onward[walk[-1]].pop()
            if after in place:
                loop = walk[place[after] :]
                loops.append(loop)
                walk = walk[: place[after] + 1]
                for vertex in loop[1:]:
                    del place[vertex]
            else:
                place[after] = len(walk)
                walk.append(after)
        if len(walk) > 1:  # faces that disagree leave pieces that do not close
            loops.append(walk)
    return loops


def first_few(values: list) -> str:
    """The first few of a list, for a message."""
    more = f" and {len(values) - _NAMED} more" if len(values) > _NAMED else ""
    return f"{values[:_NAMED]}{more}"


def same_kind(source, target) -> None:
    """Raise unless both are curves, or both surfaces, in one dimension."""
    for mesh, name in ((source, "source"), (target, "target")):
        if not isinstance(mesh, AbstractMesh):
            raise InputError(
                f"Argument {name} must be a `Surface` or a `Curve` for a fidelity of measures, but "
                f"is a {type(mesh).__name__}; for points without cells use the MMD fidelity."
            )
    if type(source) is not type(target):
        raise InputError(
            "Arguments source and target must both be curves or both surfaces, but source is a "
            f"{type(source).__name__} and target a {type(target).__name__}."
        )
    checks.same_dimension(source.vertices, target.vertices, "source", "target")
