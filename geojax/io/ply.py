"""PLY files (text, and binary of either byte order) with vertices and faces.

Only the coordinates of the vertices are replaced when a file is written again; colours, faces and
all else are kept.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from geojax._core.errors import InputError
from geojax.io.decoded import (
    Content,
    Decoded,
    check_cells,
    fans,
    number,
    some,
    stacked,
    vertex,
)

_TYPES = {
    "char": "i1",
    "int8": "i1",
    "uchar": "u1",
    "uint8": "u1",
    "short": "i2",
    "int16": "i2",
    "ushort": "u2",
    "uint16": "u2",
    "int": "i4",
    "int32": "i4",
    "uint": "u4",
    "uint32": "u4",
    "float": "f4",
    "float32": "f4",
    "double": "f8",
    "float64": "f8",
}
_ORDERS = {"ascii": "=", "binary_little_endian": "<", "binary_big_endian": ">"}
_INDICES = ("vertex_indices", "vertex_index")
_ENDS = ("vertex1", "vertex2")


@dataclass
class _Property:
    name: str
    dtype: str
    count_dtype: str | None = None  # of a list


@dataclass
class _Element:
    name: str
    count: int
    properties: list[_Property] = field(default_factory=list)

    @property
    def has_lists(self) -> bool:
        return any(p.count_dtype is not None for p in self.properties)


def decode(data: bytes, where: str) -> Decoded:
    """Read a PLY file.

    Args:
        data: the bytes of the file.
        where: its name, for messages.

    Raises:
        InputError: not PLY, no vertices with x and y, cut off, or faces that refer to vertices that
            are not there.
    """
    encoding, elements, start = _header(data, where)
    body = data[start:]
    reader = _read_text if encoding == "ascii" else _read_binary
    tables, lists, span = reader(body, elements, _ORDERS[encoding], where)
    vertices = tables["vertex"]
    names = [name for name in ("x", "y", "z") if name in vertices]
    if names[:2] != ["x", "y"]:
        raise InputError(f"{where}: its vertices have no x and y; give a file with coordinates")
    points = np.stack([vertices[name] for name in names], axis=1)
    faces, cut = None, 0
    if (polygons := lists.get("face")) is not None:
        check_cells(*polygons, len(points), where)
        faces, cut = some(fans(*polygons)), int(np.sum(polygons[0] > 3))
    edges = None
    if set(_ENDS) <= set(ends := tables.get("edge", {})):
        edges = np.stack([ends[name].astype(np.int64) for name in _ENDS], axis=1)
        check_cells(np.full(len(edges), 2), edges.reshape(-1), len(points), where, name="edge")
        edges = some(edges)
    element = next(e for e in elements if e.name == "vertex")

    def encode(moved: np.ndarray) -> bytes:
        columns = dict(vertices)
        for name, values in zip(names, moved.T, strict=True):
            if columns[name].dtype.kind != "f":
                raise InputError(
                    f"{where}: its vertices are whole numbers ({columns[name].dtype}), which moved "
                    "points are not; save it with float coordinates"
                )
            columns[name] = values.astype(columns[name].dtype)
        block = _encode_vertices(columns, element, _ORDERS[encoding], encoding == "ascii")
        return data[: start + span[0]] + block + data[start + span[1] :]

    return Decoded(points, faces, encode, vertex, edges, cut)


def encode_new(content: Content) -> bytes:
    """A little-endian binary PLY file; data of vertices and cells are their properties."""
    word, dtype = content.word
    lines = ["ply", "format binary_little_endian 1.0", "comment written by geojax"]
    lines += [f"element vertex {len(content.points)}"]
    axes = [(axis, content.points[:, k]) for k, axis in enumerate("xyz")]
    lines += [f"property {word} {axis}" for axis, _ in axes]
    fields: list[tuple[str, np.ndarray]] = axes + _properties(content.point_data, lines)
    blocks = [_records(fields, [(axis, dtype) for axis, _ in axes])]
    if content.faces is not None:
        lines += [f"element face {len(content.faces)}", "property list uchar int vertex_indices"]
        counts = np.full(len(content.faces), 3)
        fields = [("n", counts), ("v", content.faces), *_properties(content.cell_data, lines)]
        blocks.append(_records(fields, [("n", "u1"), ("v", "<i4", 3)]))
    if content.edges is not None:
        lines += [f"element edge {len(content.edges)}", *(f"property int {end}" for end in _ENDS)]
        fields = [("v", content.edges), *_properties(content.cell_data, lines)]
        blocks.append(_records(fields, [("v", "<i4", 2)]))
    return ("\n".join([*lines, "end_header"]) + "\n").encode() + b"".join(blocks)


def _properties(data: Mapping[str, np.ndarray], lines: list[str]) -> list[tuple[str, np.ndarray]]:
    """The columns of data by name, after their lines of the header."""
    columns = []
    for name, values in data.items():
        name = re.sub(r"\s", "_", name)
        table = values.reshape(len(values), -1)
        names = [name] if values.ndim == 1 else [f"{name}_{k}" for k in range(table.shape[1])]
        columns += list(zip(names, table.T, strict=True))
        kind = {"f4": "float", "f8": "double"}.get(values.dtype.str[1:], "int")
        lines += [f"property {kind} {column}" for column in names]
    return columns


def _records(fields: list[tuple[str, np.ndarray]], first: list[tuple]) -> bytes:
    """The bytes of a table of which the first fields have given types, and the others their own."""
    others = [
        (name, "<i4" if values.dtype.kind in "iu" else values.dtype.str)
        for name, values in fields[len(first) :]
    ]
    # Fields are set by their number: their names may be anything.
    types = [(f"f{k}", *kind[1:]) for k, kind in enumerate([*first, *others])]
    table = np.empty(len(fields[0][1]), np.dtype(types).newbyteorder("<"))
    for k, (_, values) in enumerate(fields):
        table[f"f{k}"] = values
    return table.tobytes()


def _header(data: bytes, where: str) -> tuple[str, list[_Element], int]:
    """Format, elements, and where the body starts."""
    if data[:3] != b"ply":
        raise InputError(f"{where}: line 1: is no PLY; save it as a .ply file")
    mark = data.find(b"end_header")
    end = data.find(b"\n", mark)
    if mark < 0 or end < 0:
        raise InputError(f"{where}: its header has no end; the file is cut off, save it again")
    encoding, elements = "", []
    for k, line in enumerate(data[:mark].decode("latin-1").splitlines(), start=1):
        words = line.split()
        try:
            if not words or words[0] in ("ply", "comment", "obj_info"):
                continue
            if words[0] == "format":
                encoding = words[1]
            elif words[0] == "element":
                elements.append(_Element(words[1], int(words[2])))
                if elements[-1].count < 0:
                    raise ValueError("negative count")
            elif words[0] == "property" and words[1] == "list":
                count, entry = _TYPES[words[2]], _TYPES[words[3]]
                if count[0] == "f" or (entry[0] == "f" and words[4] in _INDICES):
                    raise ValueError("counts and indices are integers")
                elements[-1].properties.append(_Property(words[4], entry, count))
            elif words[0] == "property":
                elements[-1].properties.append(_Property(words[2], _TYPES[words[1]]))
            else:
                raise ValueError("unknown keyword")
        except (IndexError, KeyError, ValueError) as error:
            raise InputError(
                f"{where}: line {k}: {line.strip()!r} is no PLY header line; save the file again"
            ) from error
    if encoding not in _ORDERS:
        raise InputError(f"{where}: has the format {encoding!r}; save it as ascii or binary PLY")
    for what, names in (
        ("element", [e.name for e in elements]),
        *(("property", [p.name for p in e.properties]) for e in elements),
    ):
        for name in names:
            if names.count(name) > 1:
                raise InputError(f"{where}: has the {what} {name} twice; save the file again")
    if not any(e.name == "vertex" for e in elements):
        raise InputError(f"{where}: has no element vertex; give a file with vertices")
    return encoding, elements, end + 1


Columns = dict[str, np.ndarray]
Polygons = dict[str, tuple[np.ndarray, np.ndarray]]


def _cut_off(where: str, element: _Element, index: int) -> InputError:
    return InputError(
        f"{where}: ends at {element.name} {index} of {element.count}; the file is cut off, save "
        "it again"
    )


def _read_text(
    body: bytes, elements: list[_Element], order: str, where: str
) -> tuple[dict[str, Columns], Polygons, tuple[int, int]]:
    del order
    lines = body.decode("latin-1").splitlines(keepends=True)
    place, offset, span = 0, 0, (0, 0)
    tables: dict[str, Columns] = {}
    lists: Polygons = {}
    for element in elements:
        begin, rows = offset, []
        while len(rows) < element.count:
            if place >= len(lines):
                raise _cut_off(where, element, len(rows))
            words = lines[place].split()
            offset += len(lines[place])
            place += 1
            if words:
                rows.append(words)
        if element.name == "vertex":
            span = (begin, offset)
        columns, polygons = _split_rows(rows, element, where)
        tables[element.name] = columns
        if polygons is not None:
            lists[element.name] = polygons
    return tables, lists, span


def _split_rows(
    rows: list[list[str]], element: _Element, where: str
) -> tuple[Columns, tuple[np.ndarray, np.ndarray] | None]:
    """Columns of one text element, and its vertex list if it has one."""
    values: dict[str, list[float]] = {p.name: [] for p in element.properties}
    polygons: list[list] | None = None
    for k, words in enumerate(rows):
        place = 0
        try:
            for property in element.properties:
                if property.count_dtype is None:
                    values[property.name].append(float(words[place]))
                    place += 1
                    continue
                size = int(words[place])
                number = float if property.dtype[0] == "f" else int
                cell = [number(word) for word in words[place + 1 : place + 1 + size]]
                if size < 0 or len(cell) != size:
                    raise ValueError("short list")
                place += 1 + size
                if property.name in _INDICES:
                    polygons = [] if polygons is None else polygons
                    polygons.append(cell)
            if place != len(words):
                raise ValueError("too many numbers")
        except (IndexError, OverflowError, ValueError) as error:
            raise InputError(
                f"{where}: {element.name} {k}: {' '.join(words)[:60]!r} does not fit its "
                "properties; save the file again"
            ) from error
    columns = {
        p.name: np.asarray(values[p.name], p.dtype)
        for p in element.properties
        if p.count_dtype is None
    }
    if polygons is None:
        return columns, None
    return columns, stacked(polygons)


def _read_binary(
    body: bytes, elements: list[_Element], order: str, where: str
) -> tuple[dict[str, Columns], Polygons, tuple[int, int]]:
    offset, span = 0, (0, 0)
    tables: dict[str, Columns] = {}
    lists: Polygons = {}
    for element in elements:
        begin = offset
        if not element.has_lists:
            dtype = np.dtype([(p.name, order + p.dtype) for p in element.properties])
            size = dtype.itemsize * element.count
            if offset + size > len(body):
                raise _cut_off(where, element, (len(body) - offset) // max(dtype.itemsize, 1))
            table = np.frombuffer(body, dtype, element.count, offset)
            tables[element.name] = {p.name: table[p.name] for p in element.properties}
            offset += size
        else:
            polygons, offset = _read_lists(body, element, order, offset, where)
            if polygons is not None:
                lists[element.name] = polygons
        if element.name == "vertex":
            span = (begin, offset)
    if "vertex" not in tables:
        raise InputError(f"{where}: its vertices have lists; save them with plain coordinates")
    return tables, lists, span


def _read_lists(
    body: bytes, element: _Element, order: str, offset: int, where: str
) -> tuple[tuple[np.ndarray, np.ndarray] | None, int]:
    """The vertex lists of a binary element: at once if all are triangles, else one by one."""
    if len(element.properties) == 1 and element.count:
        p = element.properties[0]
        dtype = np.dtype([("n", order + str(p.count_dtype)), ("v", order + p.dtype, 3)])
        size = dtype.itemsize * element.count
        if p.name in _INDICES and offset + size <= len(body):
            table = np.frombuffer(body, dtype, element.count, offset)
            if np.all(table["n"] == 3):
                flat = table["v"].reshape(-1).astype(np.int64)
                return (np.full(element.count, 3), flat), offset + size
    sizes: list[int] = []
    indices: list[np.ndarray] = []
    for k in range(element.count):
        for p in element.properties:
            size = 1
            if p.count_dtype is not None:
                count_dtype = np.dtype(order + p.count_dtype)
                if offset + count_dtype.itemsize > len(body):
                    raise _cut_off(where, element, k)
                size = int(np.frombuffer(body, count_dtype, 1, offset)[0])
                offset += count_dtype.itemsize
            dtype = np.dtype(order + p.dtype)
            if size < 0 or offset + size * dtype.itemsize > len(body):
                raise _cut_off(where, element, k)
            if p.count_dtype is not None and p.name in _INDICES:
                sizes.append(size)
                indices.append(np.frombuffer(body, dtype, size, offset).astype(np.int64))
            offset += size * dtype.itemsize
    if not indices:
        return None, offset
    return (np.asarray(sizes, np.int64), np.concatenate(indices)), offset


def _encode_vertices(columns: Columns, element: _Element, order: str, text: bool) -> bytes:
    names = [p.name for p in element.properties]
    if text:
        rows = zip(*(columns[name] for name in names), strict=True)
        lines = [" ".join(number(v, v.dtype) for v in values) for values in rows]
        return ("\n".join(lines) + "\n").encode()
    dtype = np.dtype([(p.name, order + p.dtype) for p in element.properties])
    table = np.empty(element.count, dtype)
    for name in names:
        table[name] = columns[name]
    return table.tobytes()
