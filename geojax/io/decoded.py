"""What a reader of a point file hands back, and the checks that all readers share."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
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
        edges: `[e, 2]`, the pieces of lines, or None.
        polygons: how many polygons with more than three corners were cut.
    """

    points: np.ndarray
    faces: np.ndarray | None
    encode: Callable[[np.ndarray], bytes]
    rows: Callable[[int], str]
    edges: np.ndarray | None = None
    polygons: int = 0


@dataclass(frozen=True)
class Content:
    """What is written into a new mesh file.

    Attributes:
        points: `[n, 3]`, float32 or float64.
        faces: `[f, 3]`, or None.
        edges: `[e, 2]`, or None.
        point_data: name -> `[n]` or `[n, d]`.
        cell_data: name -> `[c]` or `[c, d]`, for the edges or the faces.
    """

    points: np.ndarray
    faces: np.ndarray | None = None
    edges: np.ndarray | None = None
    point_data: Mapping[str, np.ndarray] = field(default_factory=dict)
    cell_data: Mapping[str, np.ndarray] = field(default_factory=dict)

    @property
    def word(self) -> tuple[str, str]:
        """The name of the number type of the points, and its dtype."""
        return ("float", "f4") if self.points.dtype == np.float32 else ("double", "f8")


class Lines:
    """The lines of a text file that hold something, one after the other.

    Args:
        data: the bytes of the file.
        where: its name, for messages.
    """

    def __init__(self, data: bytes, where: str) -> None:
        self.where = where
        self.number = 0
        # Bytes for letters: what is not understood is written again as it was.
        self.lines = data.decode("latin-1").split("\n")

    def next(self) -> list[str] | None:
        """The words of the next line, without its comment; None at the end."""
        while self.number < len(self.lines):
            words = self.lines[self.number].partition("#")[0].split()
            self.number += 1
            if words:
                return words
        return None

    def replaced(self, numbers: list[int], texts: Iterable[str]) -> bytes:
        """The file with other text in the lines of these numbers."""
        lines = list(self.lines)
        for number, text in zip(numbers, texts, strict=True):
            lines[number - 1] = text + ("\r" if lines[number - 1].endswith("\r") else "")
        return "\n".join(lines).encode("latin-1")

    def error(self, text: str, mend: str = "save the file again") -> InputError:
        """An error about the line that was read last."""
        return InputError(f"{self.where}: line {self.number}: {text}; {mend}")

    def floats(self, words: list[str], what: str, least: int = 3) -> list[float]:
        """Numbers, at least so many."""
        self._check(words, what, least)
        return [float(word) for word in words]

    def integers(self, words: list[str], what: str, least: int = 1) -> list[int]:
        """Whole numbers, at least so many."""
        self._check(words, what, least)
        for word in words:
            if not re.fullmatch(r"[+-]?\d{1,18}", word):
                raise self.error(f"{what} has {word[:40]!r} where a whole number should be")
        return [int(word) for word in words]

    def _check(self, words: list[str], what: str, least: int) -> None:
        if len(words) < least:
            raise self.error(f"{what} has {len(words)} of {least} numbers")
        for word in words:
            if not NUMBER.fullmatch(word):
                raise self.error(f"{what} has {word[:40]!r} where a number should be")


NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|[+-]?(?:nan|inf(?:inity)?)", re.I)


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
    indices = indices.astype(np.int64)
    if sizes.size and np.all(sizes == 3):
        return indices.reshape(-1, 3)
    first, step = _pieces(sizes, 2)
    return np.stack([indices[first], indices[first + step + 1], indices[first + step + 2]], axis=1)


def steps(sizes: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """Edges `[e, 2]` of polygonal lines given one after the other."""
    first, step = _pieces(sizes, 1)
    indices = indices.astype(np.int64)
    return np.stack([indices[first + step], indices[first + step + 1]], axis=1)


def _pieces(sizes: np.ndarray, less: int) -> tuple[np.ndarray, np.ndarray]:
    """Where the cell of each piece begins, and the number of the piece in its cell.

    A cell of `k` vertices has `k - less` pieces.
    """
    counts = np.maximum(sizes - less, 0).astype(np.int64)
    starts = np.cumsum(sizes, dtype=np.int64) - sizes
    before = np.cumsum(counts) - counts
    return np.repeat(starts, counts), np.arange(np.sum(counts)) - np.repeat(before, counts)


def stacked(cells: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Lists of vertices as sizes `[c]` and indices `[sum(sizes)]`."""
    sizes = np.asarray([len(cell) for cell in cells], np.int64)
    return sizes, np.asarray([index for cell in cells for index in cell], np.int64)


def some(cells: np.ndarray) -> np.ndarray | None:
    """Cells, or None if there are none."""
    return cells if len(cells) else None


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
