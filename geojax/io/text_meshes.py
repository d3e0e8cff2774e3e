"""OBJ and OFF files: vertices and faces, or lines, as text.

Only the coordinates of the vertices are replaced when a file is written again; normals, textures,
colours, groups and comments are kept.
"""

import numpy as np

from geojax._core.errors import InputError
from geojax.io.decoded import (
    Content,
    Decoded,
    Lines,
    check_cells,
    fans,
    number,
    number_rows,
    some,
    stacked,
    steps,
)

# Statements of an OBJ file that do not change where its vertices and faces are.
_PASSED = frozenset(
    {"vt", "vn", "vp", "p", "g", "o", "s", "mg", "usemtl", "mtllib", "usemap", "maplib", "bevel",
     "c_interp", "d_interp", "shadow_obj", "trace_obj"}
)  # fmt: skip


def decode_obj(data: bytes, where: str) -> Decoded:
    """Read a Wavefront OBJ file: its vertices, faces (`f`) and lines (`l`).

    Args:
        data: the bytes of the file.
        where: its name, for messages.

    Raises:
        InputError: a statement that is none, or cells that refer to vertices that are not there.
    """
    lines = Lines(data, where)
    places, points, tails = [], [], []
    cells: dict[str, list[list[int]]] = {"f": [], "l": []}
    while (words := lines.next()) is not None:
        keyword = words[0]
        if keyword == "v":
            points.append(lines.floats(words[1:], "vertex")[:3])
            places.append(lines.number)
            tails.append(words[4:])
        elif keyword in cells:
            least = 3 if keyword == "f" else 2
            corners = [word.partition("/")[0] for word in words[1:]]
            indices = lines.integers(corners, "face" if keyword == "f" else "line", least)
            if 0 in indices:
                raise lines.error("refers to vertex 0", "OBJ files count from 1; add 1")
            # A negative index counts back from the vertex before this line.
            cells[keyword].append([i - 1 if i > 0 else len(points) + i for i in indices])
        elif keyword not in _PASSED:
            raise lines.error(f"unknown keyword {keyword[:40]!r}", "save it as a triangle mesh")
    faces, pieces = stacked(cells["f"]), stacked(cells["l"])
    check_cells(*faces, len(points), where)
    check_cells(*pieces, len(points), where, name="line")

    def encode(moved: np.ndarray) -> bytes:
        return lines.replaced(places, _vertex_lines(moved, tails, "v "))

    return Decoded(
        np.asarray(points).reshape(-1, 3),
        some(fans(*faces)),
        encode,
        lambda k: f"vertex {k} (line {places[k]})",
        some(steps(*pieces)),
        int(np.sum(faces[0] > 3)),
    )


def encode_new_obj(content: Content) -> bytes:
    """An OBJ file."""
    lines = ["# written by geojax", *(f"v {row}" for row in number_rows(content.points))]
    for keyword, cells in (("f", content.faces), ("l", content.edges)):
        if cells is not None:
            lines += [f"{keyword} {' '.join(map(str, cell))}" for cell in (cells + 1).tolist()]
    return ("\n".join(lines) + "\n").encode()


def decode_off(data: bytes, where: str) -> Decoded:
    """Read an OFF file; colours and normals behind the coordinates are passed over.

    Args:
        data: the bytes of the file.
        where: its name, for messages.

    Raises:
        InputError: another number of vertices or faces than the file says, or faces that refer to
            vertices that are not there.
    """
    lines = Lines(data, where)
    words = lines.next() or [""]
    if words[0] not in ("OFF", "COFF", "NOFF", "CNOFF", "STOFF") or "BINARY" in words:
        raise lines.error(f"{words[0][:40]!r} begins no OFF text file", "save it as OFF in text")
    counts = words[1:] or lines.next() or []
    num_points, num_faces = lines.integers(counts, "the line of counts", 2)[:2]
    # Every vertex and face has a line: a larger claim is false.
    if not 0 <= num_points + num_faces <= len(lines.lines) or min(num_points, num_faces) < 0:
        raise lines.error(
            f"claims {num_points:,} vertices and {num_faces:,} faces, but the file has "
            f"{len(lines.lines):,} lines"
        )

    def following(what: str, index: int, count: int) -> list[str]:
        words = lines.next()
        if words is None:
            raise InputError(
                f"{where}: ends at {what} {index} of {count}; the file is cut off, save it again"
            )
        return words

    places, points, tails, cells = [], [], [], []
    for k in range(num_points):
        words = following("vertex", k, num_points)
        points.append(lines.floats(words, f"vertex {k}")[:3])
        places.append(lines.number)
        tails.append(words[3:])
    for k in range(num_faces):
        words = following("face", k, num_faces)
        (size,) = lines.integers(words[:1], f"face {k}")
        if size < 3:
            raise lines.error(f"face {k} has {size} vertices", "remove it")
        cells.append(lines.integers(words[1 : size + 1], f"face {k}", size))
    if lines.next() is not None:
        raise lines.error(f"more follows than {num_points} vertices and {num_faces} faces")
    faces = stacked(cells)
    check_cells(*faces, num_points, where)

    def encode(moved: np.ndarray) -> bytes:
        return lines.replaced(places, _vertex_lines(moved, tails))

    return Decoded(
        np.asarray(points).reshape(-1, 3),
        some(fans(*faces)),
        encode,
        lambda k: f"vertex {k} (line {places[k]})",
        polygons=int(np.sum(faces[0] > 3)),
    )


def encode_new_off(content: Content) -> bytes:
    """An OFF file."""
    faces = np.empty((0, 3), int) if content.faces is None else content.faces
    lines = ["OFF", f"{len(content.points)} {len(faces)} 0", *number_rows(content.points)]
    lines += [f"3 {a} {b} {c}" for a, b, c in faces.tolist()]
    return ("\n".join(lines) + "\n").encode()


def _vertex_lines(moved: np.ndarray, tails: list[list[str]], head: str = "") -> list[str]:
    """The lines of vertices at other places."""
    rows = ([number(value, moved.dtype) for value in point] for point in moved)
    return [head + " ".join(row + tail) for row, tail in zip(rows, tails, strict=True)]
