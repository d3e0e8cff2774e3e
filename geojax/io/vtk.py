"""Legacy VTK files (text and binary) that hold points and cells.

Read here are POLYDATA and UNSTRUCTURED_GRID, as versions 1 to 4 write them and, with offsets and
connectivity, version 5. Only the POINTS block is replaced when a file is written again; cells,
scalars and all else are kept byte for byte.
"""

import re
from dataclasses import dataclass

import numpy as np

from geojax._core.errors import InputError
from geojax.io.decoded import (
    NUMBER,
    Content,
    Decoded,
    check_cells,
    fans,
    number_rows,
    some,
    steps,
    vertex,
)

# VTK's names of number types; binary data are big-endian.
_TYPES = {
    "float": ">f4",
    "double": ">f8",
    "char": ">i1",
    "unsigned_char": ">u1",
    "short": ">i2",
    "unsigned_short": ">u2",
    "int": ">i4",
    "unsigned_int": ">u4",
    "long": ">i8",
    "unsigned_long": ">u8",
    "vtktypeint64": ">i8",
    "vtkidtype": ">i8",
}
_CELLS = ("VERTICES", "LINES", "POLYGONS", "TRIANGLE_STRIPS", "CELLS")
# VTK's numbers of vertex, several; triangle, polygon, quad; line, polyline
_POINTS, _FACES, _LINES = (1, 2), (5, 7, 9), (3, 4)


@dataclass
class _Cursor:
    """A place in the bytes of a file."""

    data: bytes
    where: str
    position: int = 0
    started: int = 0  # where the line of the last reading began
    binary: bool = False

    def error(self, text: str, mend: str = "save the file again") -> InputError:
        line = self.data.count(b"\n", 0, self.started) + 1
        return InputError(f"{self.where}: line {line}: {text}; {mend}")

    def line(self) -> str | None:
        """The next line, or None at the end."""
        if self.position >= len(self.data):
            return None
        self.started = self.position
        end = self.data.find(b"\n", self.position)
        end = len(self.data) if end < 0 else end
        text = self.data[self.position : end].decode("latin-1").strip()
        self.position = end + 1
        return text

    def keyword_line(self) -> list[str] | None:
        """The words of the next line that is not blank."""
        while (text := self.line()) is not None:
            if text:
                return text.split()
        return None

    def numbers(self, count: int, dtype: str, what: str) -> np.ndarray:
        """Read `count` numbers: text over any number of lines, or raw bytes."""
        if self.binary:
            size = count * np.dtype(dtype).itemsize
            held = len(self.data) - self.position
            if size > held:
                raise self.error(f"{what} claims {size:,} bytes, but {held:,} are left")
            array = np.frombuffer(self.data, dtype, count, self.position)
            self.position += size
            return array
        # Text: each number takes two bytes at least, so a claim beyond that is false.
        if 2 * count > len(self.data) - self.position + 1:
            raise self.error(f"{what} claims {count:,} numbers, but the file ends before them")
        values: list[bytes] = []
        while len(values) < count:
            start = self.started = self.position
            if start >= len(self.data):
                raise self.error(f"{what} has {len(values)} of {count} numbers")
            end = self.data.find(b"\n", start)
            end = len(self.data) if end < 0 else end
            words = self.data[start:end].split()
            if len(values) + len(words) > count:
                # The rest of the line belongs to what follows.
                end = start + _word_end(self.data[start:end], count - len(values))
                words = words[: count - len(values)]
            for word in words:
                if not _is_number(word):
                    text = word.decode("latin-1")
                    raise self.error(f"{what} has {text!r} where a number should be")
            values.extend(words)
            self.position = end + 1
        kind = np.dtype(dtype).newbyteorder("=")
        try:
            # Integers are read as such: a double holds no more than 53 bits.
            read = [float(v) for v in values] if kind.kind == "f" else [int(v) for v in values]
            return np.asarray(read, kind)
        except (ValueError, OverflowError) as error:
            raise self.error(f"{what} has a number that is no {kind}") from error


def _is_number(word: bytes) -> bool:
    return NUMBER.fullmatch(word.decode("latin-1")) is not None


def _word_end(line: bytes, count: int) -> int:
    """Where word number `count` of a line ends."""
    return [match.end() for match in re.finditer(rb"\S+", line)][count - 1]


def decode(data: bytes, where: str) -> Decoded:
    """Read a legacy VTK file.

    Args:
        data: the bytes of the file.
        where: its name, for messages.

    Raises:
        InputError: not legacy VTK, a data set without points, cut off, or cells that refer to
            vertices that are not there.
    """
    cursor = _Cursor(data, where)
    first = cursor.line()
    if first is None or not first.lower().startswith("# vtk datafile version"):
        if data.lstrip()[:1] == b"<":
            raise InputError(f"{where}: line 1: is XML VTK; name it .vtp, or save it as legacy VTK")
        raise InputError(f"{where}: line 1: is no VTK; save it as a legacy .vtk file")
    version = first.split()[-1]
    cursor.line()  # the title may be anything
    encoding = cursor.keyword_line()
    if encoding is None or encoding[0].upper() not in ("ASCII", "BINARY"):
        raise cursor.error("should be ASCII or BINARY")
    cursor.binary = encoding[0].upper() == "BINARY"
    dataset = cursor.keyword_line()
    if dataset is None or dataset[0].upper() != "DATASET" or len(dataset) < 2:
        raise cursor.error("should be DATASET")
    if dataset[1].upper() not in ("POLYDATA", "UNSTRUCTURED_GRID"):
        raise cursor.error(
            f"has the data set {dataset[1]}", "convert it to POLYDATA or UNSTRUCTURED_GRID"
        )

    points: np.ndarray | None = None
    span, word = (0, 0), "float"
    cells: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    types: np.ndarray | None = None
    while True:
        start = cursor.position
        words = cursor.keyword_line()
        if words is None or words[0].upper() in ("POINT_DATA", "CELL_DATA", "FIELD"):
            break
        keyword = words[0].upper()
        if keyword == "POINTS":
            count, word = _count(cursor, words, 1), words[2] if len(words) > 2 else "float"
            dtype = _number_type(cursor, word)
            points = cursor.numbers(3 * count, dtype, "POINTS").reshape(-1, 3)
            span = (start, cursor.position)
        elif keyword in _CELLS:
            cells[keyword] = _read_cells(cursor, words, version)
        elif keyword == "CELL_TYPES":
            types = cursor.numbers(_count(cursor, words, 1), ">i4", keyword)
        elif keyword == "METADATA":
            while text := cursor.line():
                del text  # ends with a blank line
        else:
            raise cursor.error(f"unknown keyword {words[0]!r}")
    if points is None:
        raise InputError(f"{where}: has no POINTS; give a file with vertices")
    for name, (sizes, indices) in cells.items():
        noun = "face" if name in ("POLYGONS", "CELLS") else name.lower().rstrip("s")
        check_cells(sizes, indices, len(points), where, name=noun)

    def encode(moved: np.ndarray) -> bytes:
        block = _encode_points(moved, word, cursor.binary)
        return data[: span[0]] + block + data[span[1] :]

    _sort_grid(cells, types, where)
    faces, edges = _faces(cells), some(steps(*cells.get("LINES", _NONE)))
    cut = int(np.sum(cells.get("POLYGONS", _NONE)[0] > 3))
    return Decoded(points, faces, encode, vertex, edges, cut)


def encode_new(content: Content) -> bytes:
    """A text POLYDATA file."""
    head = b"# vtk DataFile Version 3.0\nwritten by geojax\nASCII\nDATASET POLYDATA\n"
    body = _encode_points(content.points, content.word[0], binary=False)
    count = len(content.points)
    name, cells = next(
        (
            (name, cells)
            for name, cells in (("POLYGONS", content.faces), ("LINES", content.edges))
            if cells is not None
        ),
        ("VERTICES", np.arange(count)[:, None]),
    )
    size = cells.shape[1]
    lines = [f"{name} {len(cells)} {(size + 1) * len(cells)}"]
    lines += [f"{size} {' '.join(map(str, cell))}" for cell in cells.tolist()]
    for part, number, data in (
        ("POINT_DATA", count, content.point_data),
        ("CELL_DATA", len(cells), content.cell_data),
    ):
        if data:
            lines += [f"{part} {number}", f"FIELD FieldData {len(data)}"]
        for key, values in data.items():
            table = values.reshape(number, -1)
            word = next(word for word, dtype in _TYPES.items() if dtype[1:] == table.dtype.str[1:])
            # A blank would end the name.
            lines.append(f"{key.replace(' ', '%20')} {table.shape[1]} {number} {word}")
            lines += number_rows(table)
    return head + body + ("\n".join(lines) + "\n").encode()


def _encode_points(points: np.ndarray, word: str, binary: bool) -> bytes:
    dtype = np.dtype(_TYPES[word.lower()])
    if dtype.kind != "f":  # an integer mesh that was moved is one no longer
        word, dtype = "double", np.dtype(">f8")
    head = f"POINTS {len(points)} {word}\n".encode()
    if binary:
        return head + points.astype(dtype).tobytes() + b"\n"
    return head + ("\n".join(number_rows(points.astype(dtype.newbyteorder("=")))) + "\n").encode()


def _count(cursor: _Cursor, words: list[str], position: int) -> int:
    if len(words) <= position or not re.fullmatch(r"[0-9]+", words[position]):
        raise cursor.error(f"{words[0]} should be followed by a count")
    return int(words[position])


def _number_type(cursor: _Cursor, word: str) -> str:
    if word.lower() not in _TYPES:
        raise cursor.error(f"unknown number type {word!r}")
    return _TYPES[word.lower()]


def _read_cells(cursor: _Cursor, words: list[str], version: str) -> tuple[np.ndarray, np.ndarray]:
    """Cells as sizes `[f]` and indices `[sum(sizes)]`."""
    name = words[0]
    count, total = _count(cursor, words, 1), _count(cursor, words, 2)
    if re.match(r"[5-9]|[1-9][0-9]", version):
        parts = {}
        for part, size in (("OFFSETS", count), ("CONNECTIVITY", total)):
            head = cursor.keyword_line()
            if head is None or head[0].upper() != part or len(head) < 2:
                raise cursor.error(f"{name} should be followed by {part} and its type")
            dtype = _number_type(cursor, head[1])
            parts[part] = cursor.numbers(size, dtype, part).astype(np.int64)
        sizes, indices = np.diff(parts["OFFSETS"]), parts["CONNECTIVITY"]
        if np.any(sizes < 0) or int(np.sum(sizes)) != len(indices):
            raise cursor.error(f"{name}: its offsets do not fit its connectivity")
        return sizes, indices
    flat = cursor.numbers(total, ">i4", name).astype(np.int64)
    sizes, kept, place = np.empty(count, np.int64), np.ones(total, bool), 0
    for cell in range(count):
        if place >= total or flat[place] < 0 or place + flat[place] >= total:
            raise cursor.error(f"{name}: cell {cell} runs over the {total} numbers given")
        sizes[cell], kept[place] = flat[place], False
        place += int(flat[place]) + 1
    if place != total:
        raise cursor.error(f"{name}: {count} cells take {place} of the {total} numbers given")
    return sizes, flat[kept]


_NONE = np.empty(0, np.int64), np.empty(0, np.int64)


def _sort_grid(
    cells: dict[str, tuple[np.ndarray, np.ndarray]], types: np.ndarray | None, where: str
) -> None:
    """Put the cells of an unstructured grid where those of the same kind stand in POLYDATA."""
    if "CELLS" not in cells:
        return
    sizes, indices = cells.pop("CELLS")
    found = 0 if types is None else len(types)
    if types is None or found != len(sizes):
        raise InputError(
            f"{where}: has {len(sizes)} cells, but CELL_TYPES for {found}; save the file again"
        )
    unknown = np.setdiff1d(types, (*_POINTS, *_FACES, *_LINES))
    if len(unknown):
        raise InputError(
            f"{where}: has cells of the VTK types {', '.join(map(str, unknown))}, which are no "
            "points, lines, triangles or polygons; extract the surface and save that"
        )
    for name, kinds in (("POLYGONS", _FACES), ("LINES", _LINES)):
        chosen = np.isin(types, kinds)
        if np.any(chosen):
            cells[name] = sizes[chosen], indices[np.repeat(chosen, sizes)]


def _faces(cells: dict[str, tuple[np.ndarray, np.ndarray]]) -> np.ndarray | None:
    """The triangles of polygons and strips, or None where there are no faces."""
    faces = fans(*cells.get("POLYGONS", _NONE))
    if "TRIANGLE_STRIPS" in cells:
        sizes, indices = cells["TRIANGLE_STRIPS"]
        ends = np.cumsum(sizes)
        strip = [
            # Every other triangle of a strip is turned over.
            (indices[k], indices[k + 1 + (k - start) % 2], indices[k + 2 - (k - start) % 2])
            for start, end in zip(ends - sizes, ends, strict=True)
            for k in range(int(start), int(end) - 2)
        ]
        faces = np.concatenate([faces, np.asarray(strip, np.int64).reshape(-1, 3)])
    return some(faces)
