"""STL files, text and binary: triangles, each with its own three corners.

Corners at exactly the same place become one vertex, in the order in which they first occur; nothing
else joins the triangles of such a file. When it is written again, header, names and attributes are
kept and the normals follow the moved corners.
"""

import numpy as np

from geojax._core.errors import InputError
from geojax.io.decoded import Content, Decoded, Lines, number_rows, some, vertex

_RECORD = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
_HEAD = 84
# What stands between the numbers of each triangle of a text file.
_FRAME = (
    ("outer", "loop"), ("vertex",), ("vertex",), ("vertex",), ("endloop",), ("endfacet",),
)  # fmt: skip


def decode(data: bytes, where: str) -> Decoded:
    """Read an STL file.

    Args:
        data: the bytes of the file.
        where: its name, for messages.

    Raises:
        InputError: another number of triangles than the file says, or text that is no STL.
    """
    count = int.from_bytes(data[80:_HEAD], "little")
    if len(data) >= _HEAD and len(data) == _HEAD + count * _RECORD.itemsize:
        return _decode_binary(data)
    if data[:5].lower() == b"solid" and b"\0" not in data[:512]:
        return _decode_text(data, where)
    if len(data) < _HEAD:
        raise InputError(f"{where}: has {len(data)} bytes, which is no STL; save the file again")
    raise InputError(
        f"{where}: claims {count:,} triangles ({_HEAD + count * _RECORD.itemsize:,} bytes), but "
        f"has {len(data):,} bytes; it is cut off or damaged, save it again"
    )


def encode_new(content: Content) -> bytes:
    """A binary STL file; its numbers are float32."""
    faces = np.empty((0, 3), int) if content.faces is None else content.faces
    records = np.zeros(len(faces), _RECORD)
    records["corners"] = content.points[faces]
    records["normal"] = _normals(content.points[faces])
    head = b"written by geojax".ljust(80) + len(faces).to_bytes(4, "little")
    return head + records.tobytes()


def _decode_binary(data: bytes) -> Decoded:
    records = np.frombuffer(data, _RECORD, offset=_HEAD)
    points, faces = _merged(records["corners"].reshape(-1, 3))

    def encode(moved: np.ndarray) -> bytes:
        again = records.copy()
        again["corners"] = moved[faces]
        again["normal"] = _normals(moved[faces])
        return data[:_HEAD] + again.tobytes()

    return Decoded(points, some(faces), encode, vertex)


def _decode_text(data: bytes, where: str) -> Decoded:
    lines = Lines(data, where)
    corners, places, normals = [], [], []
    inside = False
    while (words := lines.next()) is not None:
        keyword = words[0].lower()
        if keyword == ("endsolid" if inside else "solid"):
            inside = not inside
        elif keyword == "facet" and inside:
            normals.append(lines.number)
            for frame in _FRAME:
                words = lines.next()
                if words is None:
                    raise lines.error("the file ends within a facet", "it is cut off")
                if tuple(word.lower() for word in words[: len(frame)]) != frame:
                    text = " ".join(words)[:40]
                    raise lines.error(f"{text!r} stands where {' '.join(frame)!r} should")
                if frame == ("vertex",):
                    corners.append(lines.floats(words[1:], "vertex")[:3])
                    places.append(lines.number)
        else:
            raise lines.error(f"{words[0][:40]!r} stands where a facet should begin or end")
    if inside:
        raise lines.error("the file ends without 'endsolid'", "it is cut off, save it again")
    points, faces = _merged(np.asarray(corners).reshape(-1, 3))

    def encode(moved: np.ndarray) -> bytes:
        at = moved[faces]
        text = [f"      vertex {row}" for row in number_rows(at.reshape(-1, 3))]
        text += [f"  facet normal {row}" for row in number_rows(_normals(at).astype(at.dtype))]
        return lines.replaced(places + normals, text)

    return Decoded(points, some(faces), encode, vertex)


def _merged(corners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vertices, one for each place, in the order of the file; and the triangles between them."""
    # Minus zero is the same place as zero; what is not a number is left for the checks to name.
    _, first, place = np.unique(corners + 0, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return corners[first[order]], rank[place.reshape(-1)].reshape(-1, 3)


def _normals(corners: np.ndarray) -> np.ndarray:
    """Unit normals `[f, 3]`; zero for a triangle without area."""
    corners = corners.astype(np.float64)
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    return normals / np.where(length > 0, length, 1.0)
