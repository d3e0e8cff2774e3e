"""Configuration files: TOML into the options of a command, typed, with nothing ignored."""

import dataclasses
import difflib
import typing
from pathlib import Path
from typing import Any

from geojax._core.errors import InputError
from geojax.cli.options import SYNONYMS
from geojax.io import files
from geojax.io.toml import convert, read_toml

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
    table = read_toml(path)
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
