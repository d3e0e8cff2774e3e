"""Errors of the library in the words of the command line: options and files for arguments."""

import contextlib
import re
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

from geojax._core.errors import InputError
from geojax.cli.options import Options

# Arguments of the library whose option is called otherwise.
_RENAMED = {
    "metric": "kernel",
    "scales": "scale",
    "blur": "fidelity_scale",
    "sigma": "accuracy",
    "penalties": "penalty",
}


@contextlib.contextmanager
def named_options(options: Options, files: Mapping[str, str] | None = None) -> Iterator[None]:
    """Name options and files where errors and warnings of the library name its arguments.

    Args:
        options: those of the command.
        files: name of an argument -> the file that it was read from.
    """
    files = files or {}
    with warnings.catch_warnings():
        before = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *place: Any) -> None:
            before(renamed(str(message), options, files), category, *place)

        warnings.showwarning = show
        try:
            yield
        except InputError as error:
            raise InputError(renamed(str(error), options, files)) from error


def renamed(text: str, options: Options, files: Mapping[str, str]) -> str:
    """`Argument weight must ...` as `--weight must ...`."""

    def rename(match: re.Match[str]) -> str:
        name = match[1]
        if name in files:
            return files[name]
        name = _RENAMED.get(name, name)
        return f"--{name.replace('_', '-')}" if hasattr(options, name) else match[0]

    text = text.replace("work in float64", "give --x64")
    if hasattr(options, "merge_duplicates"):
        text = text.replace("merge them", "give --merge-duplicates TOL")
        text = text.replace("take a smaller scale", "a smaller --scale")
        text = text.replace("pass control_points", "--control-points")
    text = re.sub(r"\bArgument (\w+(?:\[\d+\])?)", rename, text)
    # a message may begin with which of many shapes it is about
    return re.sub(r"^\w+\[\d+\]", lambda match: files.get(match[0], match[0]), text)
