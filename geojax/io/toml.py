"""Configuration files: TOML read strictly, and its values as the types of fields.

Nothing is guessed and nothing is ignored: a duplicate key, a NaN or a boolean where a number is
asked for are refused, with the place and how to mend it.
"""

import difflib
import math
import tomllib
import types
import typing
import warnings
from pathlib import Path
from typing import Any, Literal

from geojax._core.errors import InputError
from geojax.io import files

MAX_BYTES = 1 << 20


def read_toml(path: str | Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        InputError: no such file, too large to be a configuration, not UTF-8, or not TOML.
    """
    data = files.read_bytes(path)
    if len(data) > MAX_BYTES:
        raise InputError(
            f"{path}: has {len(data):,} bytes; a configuration has at most {MAX_BYTES:,}"
        )
    try:
        return tomllib.loads(data.decode("utf-8-sig").replace("\r\n", "\n"))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}: line {line} is not UTF-8; save the file as UTF-8") from error
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        text = str(error).replace("Cannot overwrite a value", "a key occurs twice, keep one")
        raise InputError(f"{path}: {text}; correct the TOML") from error


def convert(value: Any, hint: Any, where: str) -> Any:
    """A TOML value as the type of a field, or an error that says what is expected.

    Numbers in quotes are taken for what they say, with a warning. A boolean is no number, and NaN
    and infinity are no values.
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        kinds = [argument for argument in arguments if argument is not type(None)]
        return convert(value, kinds[0], where)
    if origin is typing.Annotated:
        return convert(value, arguments[0], where)
    if origin is Literal:
        if value not in arguments:
            close = difflib.get_close_matches(str(value), [str(a) for a in arguments], n=1)
            mend = f"did you mean {close[0]!r}?" if close else f"use one of {', '.join(arguments)}"
            raise InputError(f"{where}: {value!r} is unknown; {mend}")
        return value
    if origin is tuple:
        entries = value if isinstance(value, list | tuple) else [value]
        return tuple(convert(entry, arguments[0], where) for entry in entries)
    if hint is bool:
        if not isinstance(value, bool):
            raise InputError(f"{where}: {value!r} is not true or false; write true or false")
        return value
    if hint is str:
        if not isinstance(value, str):
            raise InputError(f"{where}: {value!r} is not text; put it in quotes")
        return value
    return _number(value, hint, where)


def _number(value: Any, kind: type, where: str) -> Any:
    what = "a whole number" if kind is int else "a number"
    if isinstance(value, str):
        try:
            read = kind(value)
        except ValueError as error:
            raise InputError(f"{where}: {value!r} is not {what}; write {what}") from error
        if math.isfinite(read):
            text = f"{where}: the text {value!r} is taken for the number {read}"
            warnings.warn(text, stacklevel=2)
        value = read
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(f"{where}: {value!r} is not {what}; write {what}")
    if not math.isfinite(value):
        raise InputError(f"{where}: {value} is not finite; write {what}")
    if kind is int and not isinstance(value, int):
        raise InputError(f"{where}: {value!r} is not {what}; write {what}")
    return kind(value)
