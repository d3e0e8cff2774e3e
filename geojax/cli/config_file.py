"""Configuration files: TOML into the options of a command, typed, with nothing ignored."""

import dataclasses
import difflib
import math
import tomllib
import types
import typing
import warnings
from pathlib import Path
from typing import Any, Literal

from geojax._core.errors import InputError
from geojax.cli.options import SYNONYMS
from geojax.io import files

MAX_BYTES = 1 << 20
# These say how a run is started, not what it computes, so they stay on the command line.
NOT_IN_FILES = frozenset({"config", "debug", "overwrite"})


def read_config(path: str, kind: type) -> dict[str, Any]:
    """Read a configuration file.

    Args:
        path: a TOML file with option names as keys (with `-` or `_`).
        kind: the dataclass of the command.

    Returns:
        Field name -> value of the field's type.

    Raises:
        InputError: not TOML, an unknown or duplicate key, or a value of another type.
    """
    data = files.read_bytes(path)
    if len(data) > MAX_BYTES:
        raise InputError(
            f"{path}: has {len(data):,} bytes; a configuration has at most {MAX_BYTES:,}"
        )
    try:
        table = tomllib.loads(data.decode("utf-8-sig").replace("\r\n", "\n"))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}: line {line} is not UTF-8; save the file as UTF-8") from error
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        text = str(error).replace("Cannot overwrite a value", "a key occurs twice, keep one")
        raise InputError(f"{path}: {text}; correct the TOML") from error
    hints = typing.get_type_hints(kind)
    known = [f.name for f in dataclasses.fields(kind) if f.name not in NOT_IN_FILES]
    values: dict[str, Any] = {}
    for key, value in table.items():
        name = key.replace("-", "_")
        if name in NOT_IN_FILES:
            raise InputError(f"{path}: key {key!r}: give it on the command line, as --{key}")
        if name not in known:
            raise InputError(f"{path}: unknown key {key!r}; {nearest(key, known)}")
        if name in values:
            raise InputError(f"{path}: key {key!r} occurs twice; keep one")
        values[name] = convert(value, hints[name], f"{path}: key {key!r}")
        if name == "out":
            files.inside(Path.cwd(), values[name], f"{path}: key 'out'")
    return values


def nearest(name: str, known: list[str]) -> str:
    """A clause that names the nearest known option."""
    word = name.lower().replace("_", "-")
    options = [option.replace("_", "-") for option in known]
    if word in SYNONYMS and SYNONYMS[word] in options:
        return f"did you mean {SYNONYMS[word]!r}?"
    close = difflib.get_close_matches(word, options, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"use one of {', '.join(options)}"


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
        entries = value if isinstance(value, list) else [value]
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
