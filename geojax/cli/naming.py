"""Errors of the library in the words of the command line: options and files for arguments."""

import contextlib
import re
from collections.abc import Iterator, Mapping

from geojax._core.errors import InputError
from geojax.cli.options import Options

# Arguments of the library whose option is called otherwise.
_RENAMED = {"metric": "kernel", "scales": "scale", "blur": "fidelity_scale"}


@contextlib.contextmanager
def named_options(options: Options, files: Mapping[str, str] | None = None) -> Iterator[None]:
    """Name options and files where the library names its arguments.

    Args:
        options: those of the command.
        files: name of an argument -> the file that it was read from.
    """
    try:
        yield
    except InputError as error:
        raise InputError(renamed(str(error), options, files or {})) from error


def renamed(text: str, options: Options, files: Mapping[str, str]) -> str:
    """`Argument weight must ...` as `--weight must ...`."""

    def rename(match: re.Match[str]) -> str:
        name = match[1]
        if name in files:
            return files[name]
        name = _RENAMED.get(name, name)
        return f"--{name.replace('_', '-')}" if hasattr(options, name) else match[0]

    text = text.replace("work in float64", "give --x64")
    return re.sub(r"\bArgument (\w+)", rename, text)
