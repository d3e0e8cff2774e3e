"""Plane sections of triangle meshes, as curves and as evenly spaced points."""

from dataclasses import dataclass

import numpy as np

from geojax._core.errors import InputError
from geojax.io.decoded import check_cells


@dataclass(frozen=True)
class Curve:
    """A polygon line in the plane.

    Attributes:
        points: `[n, 2]` corners in order; the first is not repeated at the end.
        closed: whether the last corner is joined to the first.
    """

    points: np.ndarray
    closed: bool

    @property
    def corners(self) -> np.ndarray:
        """`[n (+ 1), 2]`, with the first corner repeated at the end of a closed curve."""
        return np.concatenate([self.points, self.points[:1]]) if self.closed else self.points

    @property
    def length(self) -> float:
        """Length, in the unit of the points."""
        return float(np.sum(np.linalg.norm(np.diff(self.corners, axis=0), axis=1)))


def plane_section(
    vertices: np.ndarray, faces: np.ndarray, *, axis: int, level: float
) -> list[Curve]:
    """Cut a triangle mesh by the plane where one coordinate has a given value.

    Args:
        vertices: `[n, 3]`.
        faces: `[f, 3]` indices of vertices.
        axis: the coordinate (0, 1 or 2) that is constant on the plane.
        level: its value there.

    Returns:
        The curves of the section, longest first, in the two other coordinates.

    Raises:
        InputError: a face refers to a vertex that is not there, or the plane misses the mesh.

    Example:
        >>> import numpy as np
        >>> from geojax.io.sections import plane_section
        >>> vertices = np.array([[0.0, 0, 0], [2, 0, 0], [0, 2, 0], [0, 0, 2]])
        >>> faces = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])
        >>> curve, = plane_section(vertices, faces, axis=2, level=1.0)
        >>> curve.closed, round(curve.length, 3)
        (True, 3.414)
    """
    vertices, faces = np.asarray(vertices, float), np.asarray(faces, np.int64)
    if axis not in (0, 1, 2):
        raise InputError(f"axis: is {axis!r}; give 0, 1 or 2")
    check_cells(np.full(len(faces), 3), faces.reshape(-1), len(vertices), "mesh")
    height = vertices[:, axis] - level
    # A vertex on the plane would be met by many edges; one side takes it.
    above = height >= 0
    crossed = faces[np.any(above[faces], axis=1) & ~np.all(above[faces], axis=1)]
    if not len(crossed):
        low, high = vertices[:, axis].min(), vertices[:, axis].max()
        raise InputError(f"level: {level} misses the mesh; give one between {low:g} and {high:g}")
    nodes: dict[tuple[int, int], int] = {}
    places: list[np.ndarray] = []
    neighbours: list[list[int]] = []
    for face in crossed.tolist():
        ends = []
        for a, b in ((face[0], face[1]), (face[1], face[2]), (face[2], face[0])):
            if above[a] == above[b]:
                continue
            edge = (a, b) if a < b else (b, a)
            if edge not in nodes:
                nodes[edge] = len(places)
                share = height[edge[0]] / (height[edge[0]] - height[edge[1]])
                places.append(vertices[edge[0]] + share * (vertices[edge[1]] - vertices[edge[0]]))
                neighbours.append([])
            ends.append(nodes[edge])
        neighbours[ends[0]].append(ends[1])
        neighbours[ends[1]].append(ends[0])
    flat = np.delete(np.asarray(places), axis, axis=1)
    curves = [Curve(flat[order], closed) for order, closed in _chains(neighbours)]
    return sorted(curves, key=lambda curve: -curve.length)


def _chains(neighbours: list[list[int]]) -> list[tuple[list[int], bool]]:
    """Walk a graph of degree at most two: open chains from their ends, then loops."""
    seen = [False] * len(neighbours)
    ends = [node for node, links in enumerate(neighbours) if len(links) == 1]
    chains = []
    for start in [*ends, *range(len(neighbours))]:
        if seen[start]:
            continue
        order, node = [], start
        while not seen[node]:
            seen[node] = True
            order.append(node)
            node = next((link for link in neighbours[node] if not seen[link]), start)
        chains.append((order, len(order) > 2 and start in neighbours[order[-1]]))
    return chains


def resample(curves: list[Curve], count: int) -> np.ndarray:
    """Evenly spaced points on curves, shared among them by length.

    Args:
        curves: one curve or several.
        count: number of points in all; every curve gets at least one.

    Returns:
        `[count, 2]`, in order along each curve.

    Raises:
        InputError: fewer points than curves, or a curve without length.
    """
    if count < len(curves) or not curves:
        raise InputError(f"count: {count} points for {len(curves)} curves; ask for more points")
    lengths = np.asarray([curve.length for curve in curves])
    if np.any(lengths <= 0):
        raise InputError(f"curve {int(np.argmin(lengths))}: has no length; leave it out")
    # Largest remainders, so that the shares add up.
    shares = (count - len(curves)) * lengths / lengths.sum()
    numbers = np.floor(shares).astype(int) + 1
    for k in np.argsort(numbers - 1 - shares, kind="stable")[: count - numbers.sum()]:
        numbers[k] += 1
    return np.concatenate([_along(c, int(n)) for c, n in zip(curves, numbers, strict=True)])


def _along(curve: Curve, count: int) -> np.ndarray:
    corners = curve.corners
    arc = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(corners, axis=0), axis=1))])
    stops = np.linspace(0.0, arc[-1], count, endpoint=not curve.closed)
    return np.stack([np.interp(stops, arc, corners[:, k]) for k in range(2)], axis=1)
