"""What a reader of a point file hands back, and the checks that all readers share."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from geojax._core.errors import InputError


class Decoded(NamedTuple):
    """Points as they lie in a file, and how to write the file again with other points.

    Attributes:
        points: `[n, d]`, of the file's own dtype.
        faces: `[f, 3]` triangles (larger polygons are cut into fans), or None.
        encode: new points `[n, d]` -> bytes of the file with all else as it was.
        rows: element number -> its place in the file ("vertex 3", "line 17"), for messages.
    """

    points: np.ndarray
    faces: np.ndarray | None
    encode: Callable[[np.ndarray], bytes]
    rows: Callable[[int], str]


def vertex(index: int) -> str:
    """The default name of an element."""
    return f"vertex {index}"


def row(index: int) -> str:
    """The name of an element of an array file."""
    return f"row {index}"


def check_cells(
    sizes: np.ndarray, indices: np.ndarray, num_points: int, where: str, *, name: str = "face"
) -> None:
    """Raise unless every cell refers to vertices that are there.

    JAX would clamp an index that is too large and wrap a negative one, without a word.

    Args:
        sizes: `[f]`, number of vertices of each cell.
        indices: `[sum(sizes)]`, the vertices of all cells, one after the other.
        num_points: number of vertices.
        where: file, for the message.
        name: what a cell is called.
    """
    if indices.size == 0:
        return
    bad = np.flatnonzero((indices < 0) | (indices >= num_points))
    if bad.size == 0:
        return
    cell = int(np.searchsorted(np.cumsum(sizes), bad[0], side="right"))
    index = int(indices[bad[0]])
    low, high = int(indices.min()), int(indices.max())
    if low >= 1 and high == num_points:
        mend = f"the smallest index is {low} and the largest {high}: is it 1-based? subtract 1"
    elif low < 0:
        mend = "negative indices are not vertices; correct the faces"
    else:
        mend = f"indices run from 0 to {num_points - 1}; correct the faces"
    raise InputError(
        f"{where}: {name} {cell} refers to vertex {index} of {num_points} ({bad.size} such "
        f"reference{'s' if bad.size > 1 else ''}); {mend}"
    )


def fans(sizes: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """Triangles `[t, 3]` of convex polygons given one after the other."""
    if sizes.size and np.all(sizes == 3):
        return indices.reshape(-1, 3).astype(np.int64)
    triangles: list[tuple[int, int, int]] = []
    start = 0
    for size in sizes.tolist():
        polygon = indices[start : start + size].tolist()
        triangles.extend((polygon[0], polygon[k], polygon[k + 1]) for k in range(1, size - 1))
        start += size
    return np.asarray(triangles, np.int64).reshape(-1, 3)


def number(value: float | np.number, dtype: np.dtype) -> str:
    """The shortest text that reads back as the same number of that dtype."""
    if np.dtype(dtype) == np.float64:
        return repr(float(value))
    return str(np.asarray(value, dtype)[()])


def number_rows(table: np.ndarray, separator: str = " ") -> Iterable[str]:
    """Lines of numbers, each number in its shortest text."""
    for line in table:
        yield separator.join(number(value, table.dtype) for value in line)


def as_float(array: np.ndarray) -> np.ndarray:
    """Points in a dtype that computes: float32 stays, all other floats and integers are float64."""
    return array.astype(array.dtype.newbyteorder("=") if array.dtype == np.float32 else np.float64)
