"""Text tables of points: comma, semicolon, tab or blanks between the columns.

Accepted: a header line, `#` comments, blank lines, a byte-order mark, any line ends. With a header
that names columns x and y (and z), these are the points; the other columns are kept as they are.
"""

import math
import re

import numpy as np

from geojax._core.errors import InputError
from geojax.io.decoded import Decoded, number

_COMMA_DECIMAL = re.compile(r"[+-]?\d+,\d+(?:[eE][+-]?\d+)?")
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|[+-]?(?:nan|inf(?:inity)?)", re.I)


def decode(data: bytes, where: str) -> Decoded:
    """Read a text table.

    Args:
        data: the bytes of the file.
        where: its name, for messages.

    Raises:
        InputError: naming the line: not UTF-8, comma as decimal mark, a field that is no number,
            rows of different lengths.
    """
    lines = _lines(data, where)
    rows = [(k + 1, line) for k, line in enumerate(lines) if line.strip() and not _is_comment(line)]
    if not rows:
        raise InputError(f"{where}: holds no points; write one point per line")
    delimiter = _delimiter(rows, where)
    fields = [(k, _split(line, delimiter)) for k, line in rows]
    header = None
    if not any(_NUMBER.fullmatch(field) for field in fields[0][1]):
        header, fields = fields[0][1], fields[1:]
        if not fields:
            raise InputError(f"{where}: line {rows[0][0]} is a header, but no points follow it")
    width = len(header) if header is not None else len(fields[0][1])
    columns = _columns(header, width)
    points = np.empty((len(fields), len(columns)))
    for i, (k, values) in enumerate(fields):
        if len(values) != width:
            first = "the header" if header is not None else f"line {fields[0][0]}"
            raise InputError(
                f"{where}: line {k} has {len(values)} columns, but {first} has {width}; give every "
                "line the same number"
            )
        for j, column in enumerate(columns):
            points[i, j] = _number(values[column], f"{where}: line {k}, column {column + 1}")

    def encode(moved: np.ndarray) -> bytes:
        separator = " " if delimiter is None else delimiter
        text = [] if header is None else [separator.join(header)]
        for (_, values), point in zip(fields, moved, strict=True):
            values = list(values)
            for column, value in zip(columns, point, strict=True):
                values[column] = number(value, moved.dtype)
            text.append(separator.join(values))
        return ("\n".join(text) + "\n").encode()

    return Decoded(points, None, encode, lambda i: f"line {fields[i][0]}")


def encode_new(points: np.ndarray, delimiter: str = ",") -> bytes:
    """A table with a header line x, y, z (as many as there are coordinates)."""
    names = ["x", "y", "z"][: points.shape[1]]
    lines = [delimiter.join(names)]
    lines += [delimiter.join(number(v, points.dtype) for v in point) for point in points]
    return ("\n".join(lines) + "\n").encode()


def _lines(data: bytes, where: str) -> list[str]:
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise InputError(f"{where}: line 1 is UTF-16, not UTF-8; save the file as UTF-8")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{where}: line {line} is not UTF-8 (byte 0x{data[error.start]:02x}); save the file "
            "as UTF-8"
        ) from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise InputError(f"{where}: line {line} holds a NUL byte, so this is no text; check it")
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def _is_comment(line: str) -> bool:
    return line.lstrip().startswith("#")


def _delimiter(rows: list[tuple[int, str]], where: str) -> str | None:
    """The delimiter between columns (None: blanks)."""
    for k, line in rows:
        words = line.replace(";", " ").split()
        decimals = [word for word in words if _COMMA_DECIMAL.fullmatch(word)]
        # "1,5 2,5" and "1,5;2,5" have commas as decimal marks; "1,5" alone is two columns.
        if decimals and len(words) > 1 and all(_is_value(word) for word in words):
            raise InputError(
                f"{where}: line {k}: {decimals[0]!r} has a comma as decimal mark; write "
                f"{decimals[0].replace(',', '.')} (for all numbers)"
            )
    # The first row may be a header of any kind.
    data = [line for _, line in rows[1:] or rows]
    return next((mark for mark in ";\t," if any(mark in line for line in data)), None)


def _is_value(word: str) -> bool:
    return bool(_COMMA_DECIMAL.fullmatch(word) or _NUMBER.fullmatch(word))


def _split(line: str, delimiter: str | None) -> list[str]:
    if delimiter is None:
        return line.split()
    return [field.strip().strip('"') for field in line.split(delimiter)]


def _columns(header: list[str] | None, width: int) -> list[int]:
    """Which columns are the points: those named x, y, z, or all."""
    names = [name.strip().lower() for name in header or []]
    if "x" in names and "y" in names:
        return [names.index(name) for name in ("x", "y", "z") if name in names]
    return list(range(width))


def _number(field: str, where: str) -> float:
    if not _NUMBER.fullmatch(field):
        what = f"{field!r} is not a number" if field else "is empty"
        raise InputError(f"{where}: {what}; write a number, with a point as decimal mark")
    value = float(field)
    if math.isinf(value) and "inf" not in field.lower():
        raise InputError(f"{where}: {field} is too large for a float; rescale the data")
    return value
