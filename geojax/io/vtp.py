"""XML VTK files of polygonal data (`.vtp`): the format that ParaView reads and writes.

Arrays may be text, base64 or appended (base64 or raw), plain or compressed by zlib. The claims of
the file are held against its bytes before memory is taken, and XML entities are refused. When a
file is written again only its array of points is replaced, by text; all else is kept as it was.
"""

import base64
import re
import zlib
from dataclasses import dataclass, field
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

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
from geojax.io.npy import MAX_RATIO, MAX_UNCHECKED_BYTES

_TYPES = {
    "Float32": "f4", "Float64": "f8", "Int8": "i1", "UInt8": "u1", "Int16": "i2",
    "UInt16": "u2", "Int32": "i4", "UInt32": "u4", "Int64": "i8", "UInt64": "u8",
}  # fmt: skip
_HEADERS = {"UInt32": 4, "UInt64": 8}
_COUNTS = {"Verts": "NumberOfVerts", "Lines": "NumberOfLines", "Polys": "NumberOfPolys"}
_SEGMENT = re.compile(rb"[A-Za-z0-9+/]+={0,2}")


@dataclass
class _Array:
    """A DataArray as it stands in the file."""

    attributes: dict[str, str]
    span: tuple[int, int]
    text: list[str] = field(default_factory=list)


@dataclass
class _File:
    """The elements of a file, and its appended bytes."""

    where: str
    root: dict[str, str] = field(default_factory=dict)
    pieces: list[dict[str, str]] = field(default_factory=list)
    arrays: dict[tuple[str, str], _Array] = field(default_factory=dict)
    appended: bytes = b""
    encoded: bool = False  # the appended bytes are base64

    def error(self, text: str, mend: str = "save the file again") -> InputError:
        return InputError(f"{self.where}: {text}; {mend}")

    @property
    def order(self) -> str:
        return ">" if self.root.get("byte_order") == "BigEndian" else "<"

    def count(self, name: str) -> int:
        """A number of the piece."""
        text = self.pieces[0].get(name, "0").strip()
        if not re.fullmatch(r"[0-9]{1,15}", text):
            raise self.error(f"{name} is {text[:40]!r}, which is no count")
        return int(text)

    def numbers(self, section: str, name: str, count: int) -> np.ndarray:
        """So many numbers of an array."""
        what = f"{section}: {name}"
        array = self.arrays.get((section, name))
        if array is None:
            raise self.error(f"has no array {what}")
        kind = array.attributes.get("type", "")
        if kind not in _TYPES:
            raise self.error(f"{what} has the number type {kind[:40]!r}")
        dtype = np.dtype(self.order + _TYPES[kind])
        form = array.attributes.get("format", "ascii")
        if form == "ascii":
            return self._text(array, count, dtype, what)
        size = count * dtype.itemsize
        if form == "binary":
            data = _from_base64("".join(array.text).encode("utf-8"), self, what)
        elif form == "appended":
            data = self._appended(array, what)
        else:
            raise self.error(f"{what} has the format {form[:40]!r}")
        return np.frombuffer(self._unpacked(data, size, what), dtype)

    def _text(self, array: _Array, count: int, dtype: np.dtype, what: str) -> np.ndarray:
        words = "".join(array.text).split()
        if len(words) != count:
            raise self.error(f"{what} has {len(words):,} of {count:,} numbers")
        for word in words:
            if not NUMBER.fullmatch(word):
                raise self.error(f"{what} has {word[:40]!r} where a number should be")
        try:
            parse = float if dtype.kind == "f" else int
            return np.asarray([parse(word) for word in words], dtype)
        except (ValueError, OverflowError) as error:
            raise self.error(f"{what} has a number that is no {dtype.name}") from error

    def _appended(self, array: _Array, what: str) -> bytes:
        """The appended bytes from the offset of an array on."""
        offset = array.attributes.get("offset", "").strip()
        if not re.fullmatch(r"[0-9]{1,15}", offset) or int(offset) > len(self.appended):
            raise self.error(f"{what} has the offset {offset[:40]!r}, beyond the appended data")
        if not self.encoded:
            return self.appended[int(offset) :]
        later = [
            int(other.attributes["offset"])
            for other in self.arrays.values()
            if re.fullmatch(r"[0-9]{1,15}", other.attributes.get("offset", ""))
            and int(other.attributes["offset"]) > int(offset)
        ]
        end = min(later, default=len(self.appended))
        return _from_base64(self.appended[int(offset) : end], self, what)

    def _unpacked(self, data: bytes, size: int, what: str) -> bytes:
        """The bytes of an array behind their header, of the size that is due."""
        width = _HEADERS[self.root.get("header_type", "UInt32")]

        def header(start: int, count: int) -> list[int]:
            if (start + count) * width > len(data):
                raise self.error(f"{what} ends within its header", "the file is cut off")
            kind = f"{self.order}u{width}"
            return [int(k) for k in np.frombuffer(data, kind, count, start * width)]

        if not self.root.get("compressor"):
            (claimed,) = header(0, 1)
            if claimed != size or width + size > len(data):
                held = min(claimed, len(data) - width)
                raise self.error(f"{what} has {held:,} of {size:,} bytes")
            return data[width : width + size]
        blocks, whole, last = header(0, 3)
        if blocks * width > len(data):
            raise self.error(f"{what} claims {blocks:,} blocks in {len(data):,} bytes")
        sizes = [whole] * (blocks - 1) + [last or whole] if blocks else []
        if sum(sizes) != size:
            raise self.error(f"{what} has {sum(sizes):,} of {size:,} bytes")
        if size > max(MAX_UNCHECKED_BYTES, MAX_RATIO * len(data)):
            raise self.error(f"{what} claims {size:,} bytes in {len(data):,}")
        place, parts = (3 + blocks) * width, []
        for length, packed in zip(sizes, header(3, blocks), strict=True):
            try:
                part = zlib.decompressobj().decompress(data[place : place + packed], length + 1)
            except zlib.error as error:
                raise self.error(f"{what} is no zlib data ({error})") from error
            if len(part) != length:
                raise self.error(f"{what} has a block of another size than it says")
            parts.append(part)
            place += packed
        return b"".join(parts)


def _from_base64(text: bytes, file: _File, what: str) -> bytes:
    """Header and numbers, which may have been encoded one by one: padding can stand between."""
    text = b"".join(text.split())
    segments = _SEGMENT.findall(text)
    if sum(map(len, segments)) != len(text) or any(len(part) % 4 for part in segments):
        raise file.error(f"{what} is no base64 text")
    return b"".join(base64.b64decode(part) for part in segments)


def decode(data: bytes, where: str) -> Decoded:
    """Read a VTP file.

    Args:
        data: the bytes of the file.
        where: its name, for messages.

    Raises:
        InputError: no VTP, cut off, of several pieces, or cells that refer to vertices that are
            not there.
    """
    file = _parse(data, where)
    count = file.count("NumberOfPoints")
    names = [name for section, name in file.arrays if section == "Points"]
    if not names or not count:
        raise file.error("has no points", "give a file with vertices")
    array = file.arrays["Points", names[0]]
    points = file.numbers("Points", names[0], 3 * count).reshape(-1, 3)
    if file.count("NumberOfStrips"):
        raise file.error("has triangle strips", "save it with triangles")
    cells = {section: _cells(file, section) for section in _COUNTS}
    for section, noun in (("Polys", "face"), ("Lines", "line"), ("Verts", "vert")):
        check_cells(*cells[section], count, where, name=noun)

    def encode(moved: np.ndarray) -> bytes:
        kind = "Float32" if array.attributes["type"] == "Float32" else "Float64"
        rows = "\n".join(number_rows(moved.astype(_TYPES[kind])))
        start, end = array.span
        return b"".join([
            data[:start],
            f'<DataArray type="{kind}" Name={quoteattr(names[0])} NumberOfComponents="3" '
            f'format="ascii">\n{rows}\n</DataArray>'.encode(),
            data[end:],
        ])  # fmt: skip

    return Decoded(
        points,
        some(fans(*cells["Polys"])),
        encode,
        vertex,
        some(steps(*cells["Lines"])),
        int(np.sum(cells["Polys"][0] > 3)),
    )


def _cells(file: _File, section: str) -> tuple[np.ndarray, np.ndarray]:
    count = file.count(_COUNTS[section])
    if not count:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    ends = file.numbers(section, "offsets", count)
    sizes = np.diff(ends.astype(np.int64), prepend=0)
    if ends.dtype.kind == "f" or np.any(sizes < 0):
        raise file.error(f"{section}: its offsets do not rise")
    indices = file.numbers(section, "connectivity", int(ends[-1]))
    if indices.dtype.kind == "f":
        raise file.error(f"{section}: its connectivity is no whole numbers")
    return sizes, indices.astype(np.int64)


def _parse(data: bytes, where: str) -> _File:
    """The elements of a file, without the bytes that are appended behind them."""
    file = _File(where)
    head = data
    start = data.find(b"<AppendedData")
    if start >= 0:
        mark = data.find(b"_", data.find(b">", start))
        if mark < 0:
            raise file.error("its appended data do not begin", "the file is cut off")
        head = data[: data.find(b">", start) + 1] + b"</AppendedData></VTKFile>"
        file.encoded = b"base64" in data[start:mark]
        end = data.rfind(b"</AppendedData")
        if end < mark:
            raise file.error("its appended data do not end", "the file is cut off")
        file.appended = data[mark + 1 : end]

    parser = expat.ParserCreate()
    path: list[str] = []
    open_arrays: list[_Array] = []

    def refuse(*_: object) -> None:
        raise file.error("declares a document type or entities, which no VTP needs")

    def begin(tag: str, attributes: dict[str, str]) -> None:
        if not path:
            file.root = {"": tag, **attributes}
        if tag == "Piece":
            file.pieces.append(attributes)
        elif tag == "DataArray" and path:
            array = _Array(attributes, (parser.CurrentByteIndex, 0))
            file.arrays[path[-1], attributes.get("Name", "Points")] = array
            open_arrays.append(array)
        path.append(tag)

    def end_element(tag: str) -> None:
        path.pop()
        if tag == "DataArray" and open_arrays:
            array = open_arrays.pop()
            # The place is where the end tag begins, or behind an element that closes itself.
            end = parser.CurrentByteIndex
            if head.startswith(b"</DataArray", end):
                end = head.index(b">", end) + 1
            array.span = array.span[0], end

    def text(characters: str) -> None:
        if open_arrays and path[-1] == "DataArray":
            open_arrays[-1].text.append(characters)

    parser.StartDoctypeDeclHandler = refuse
    parser.EntityDeclHandler = refuse
    parser.StartElementHandler = begin
    parser.EndElementHandler = end_element
    parser.CharacterDataHandler = text
    try:
        parser.Parse(head, True)
    except (expat.ExpatError, ValueError, LookupError) as error:
        if isinstance(error, InputError):
            raise
        raise file.error(f"is no XML that can be read ({error})") from error
    if file.root.get("") != "VTKFile" or file.root.get("type") != "PolyData":
        kind = file.root.get("type", file.root.get("", ""))
        raise file.error(f"holds {kind[:40]!r}, not PolyData", "save it as polygonal data (.vtp)")
    if file.root.get("header_type", "UInt32") not in _HEADERS:
        raise file.error(f"has the header type {file.root['header_type'][:40]!r}")
    if file.root.get("compressor") not in (None, "", "vtkZLibDataCompressor"):
        raise file.error(
            f"is compressed by {file.root['compressor'][:40]}", "save it with zlib or uncompressed"
        )
    if len(file.pieces) != 1:
        raise file.error(f"has {len(file.pieces)} pieces", "save it as one")
    return file


def encode_new(content: Content) -> bytes:
    """A VTP file with its numbers in base64."""
    count = len(content.points)
    sections = {"Verts": None, "Lines": content.edges, "Polys": content.faces}
    if content.edges is None and content.faces is None:
        sections["Verts"] = np.arange(count)[:, None]
    parts = [
        *_section("PointData", content.point_data),
        *_section("CellData", content.cell_data),
        *_section("Points", {"Points": content.points}),
    ]
    numbers = [f'NumberOfPoints="{count}" NumberOfStrips="0"']
    for name, cells in sections.items():
        cells = np.empty((0, 1), np.int64) if cells is None else cells.astype(np.int64)
        numbers.append(f'{_COUNTS[name]}="{len(cells)}"')
        ends = cells.shape[1] * np.arange(1, len(cells) + 1)
        parts += _section(name, {"connectivity": cells.reshape(-1), "offsets": ends})
    return "\n".join([
        '<?xml version="1.0"?>',
        '<VTKFile type="PolyData" version="1.0" byte_order="LittleEndian" header_type="UInt64">',
        "<!-- written by geojax -->",
        f"<PolyData><Piece {' '.join(numbers)}>",
        *parts,
        "</Piece></PolyData></VTKFile>\n",
    ]).encode()  # fmt: skip


def _section(name: str, arrays) -> list[str]:
    lines = [f"<{name}>"]
    for key, values in arrays.items():
        code = values.dtype.str[1:]
        kind = next(kind for kind, known in _TYPES.items() if known == code)
        body = values.astype(f"<{code}").tobytes()
        text = base64.b64encode(len(body).to_bytes(8, "little") + body).decode()
        width = f' NumberOfComponents="{values.shape[1]}"' if values.ndim == 2 else ""
        lines.append(
            f'<DataArray type="{kind}" Name={quoteattr(key)}{width} format="binary">'
            f"{escape(text)}</DataArray>"
        )
    return [*lines, f"</{name}>"]
