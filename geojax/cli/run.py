"""One run of a command: its folder, its progress, its figures, and its `result.json`.

The order is the same for all commands: read and check the input, claim the folder, compute, write.
So bad input leaves nothing behind, and a place that cannot be written is known before the work.
"""

import contextlib
import dataclasses
import datetime
import math
import os
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from geojax._core.errors import InputError, StorageError
from geojax.cli.options import Options
from geojax.io import files

RESULT = "result.json"
# What a run writes is far below this; a disk with less is as good as full.
LEAST_FREE_BYTES = 32 << 20
# How a run was started, not what it computes.
_NOT_CONFIG = frozenset({"out", "overwrite", "debug", "no_cache", "config", "checkpoint_every"})


class Run:
    """A run of a command.

    Args:
        command: name of the command.
        options: its options.
    """

    def __init__(self, command: str, options: Options) -> None:
        self.command = command
        self.options = options
        self.folder: Path | None = None
        self.inputs: dict[str, str] = {}
        self.notes: list[str] = []
        self.figures: dict[str, Any] = {}  # what is known of a run that fails
        self.started = time.perf_counter()
        self.config: dict[str, Any] = {
            key: value
            for key, value in dataclasses.asdict(options).items()
            if key not in _NOT_CONFIG
        }
        self.begun = False
        self._made: list[Path] = []
        self._written = False
        self._line = 0

    # -- the folder -----------------------------------------------------------------------------

    def add_input(self, path: str | Path) -> None:
        """Remember what a file held, so that another run on another content is told apart."""
        self.inputs[str(path)] = files.sha256(files.read_bytes(path))

    def claim(self, out: str | Path) -> Path:
        """Make the output folder, or take it over if it holds this same run.

        Raises:
            InputError: it holds another run or other files, and there is no `--overwrite`.
            StorageError: it cannot be made or written, or the disk is full.
        """
        folder = self.check_folder(out)
        with files.storage_errors(folder):
            missing = [path for path in (folder, *folder.parents) if not path.exists()]
            for path in reversed(missing):
                path.mkdir()
                self._made.append(path)
            handle, probe = tempfile.mkstemp(prefix=".geojax.", dir=folder)
            os.close(handle)
            os.unlink(probe)
            free = shutil.disk_usage(folder).free
        if free < LEAST_FREE_BYTES:
            self.abandon()
            raise StorageError(
                f"{folder}: only {free >> 20} MiB are free on the disk; free at least "
                f"{LEAST_FREE_BYTES >> 20} MiB or choose another --out"
            )
        self.folder = folder
        return folder

    def check_folder(self, out: str | Path) -> Path:
        """Raise what `claim` would raise for bad input, without writing anything."""
        folder = files.checked_path(out, "--out")
        if folder.exists() and not folder.is_dir():
            raise InputError(f"{folder}: is a file; give a folder as --out")
        if folder.is_dir() and not self.options.overwrite:
            self._check_same_run(folder)
        return folder

    def _check_same_run(self, folder: Path) -> None:
        names = sorted(os.listdir(folder))
        if not names:
            return
        if RESULT not in names:
            raise InputError(
                f"{folder}: holds {names[0]} and no result of geojax; give another --out, or "
                "--overwrite to write into it"
            )
        old = files.read_json(folder / RESULT)
        if not isinstance(old, dict):
            raise InputError(f"{folder / RESULT}: is no result of geojax; give another --out")
        if old.get("command") != self.command:
            differs = [f"command {old.get('command')!r} there, {self.command!r} here"]
        else:
            differs = _differences(old.get("config"), clean(self.config), "")
            differs += _differences(old.get("inputs"), self.inputs, "content of ")
        if differs:
            raise InputError(
                f"{folder}: holds the result of another run ({'; '.join(differs[:4])}); give "
                "another --out, or --overwrite to replace it"
            )

    def begin(self) -> None:
        """Say in the folder which run it holds, so that the same command goes on after a kill."""
        self.finish("running", {}, code=None)
        self.begun = self._written = True

    def abandon(self) -> None:
        """Take back the folders that `claim` made, if nothing is in them."""
        for path in reversed(self._made):
            with contextlib.suppress(OSError):
                path.rmdir()
        self._made.clear()
        self.folder = None

    def write(self, name: str, data: bytes | str) -> Path:
        """Write a file of the output folder, whole or not at all."""
        assert self.folder is not None, "claim the folder first"
        if not self._written:
            # A run that is cut off must not leave the result of an earlier one standing.
            with files.storage_errors(self.folder):
                (self.folder / RESULT).unlink(missing_ok=True)
            self._written = True
        path = self.folder / name
        files.write_bytes(path, data.encode() if isinstance(data, str) else data)
        return path

    def finish(
        self, status: str, figures: dict[str, Any], message: str = "", code: int | None = 0
    ) -> None:
        """Write `result.json`, the last file of a run."""
        if self.folder is None:
            return
        seconds = time.perf_counter() - self.started
        result = {
            "status": status,
            "command": self.command,
            "exit_code": code,
            "message": message,
            "figures": figures,
            "warnings": self.notes,
            "config": self.config,
            "inputs": self.inputs,
            "versions": versions(),
            "finished": None if code is None else _now(),
            "seconds": round(seconds, 3),
        }
        files.write_json(self.folder / RESULT, clean(result))

    # -- the screen -----------------------------------------------------------------------------

    def progress(self, text: str) -> None:
        """Show what is being done, on stderr, if that is a terminal."""
        if not sys.stderr.isatty():
            return
        width = shutil.get_terminal_size().columns - 1
        line = f"geojax: {text}"[:width]
        sys.stderr.write("\r" + line.ljust(min(self._line, width)))
        sys.stderr.flush()
        self._line = len(line)

    def iteration(self, iteration: int, objective: float, gradient: float) -> None:
        """Show how far a search has come."""
        self.progress(f"iteration {iteration}, objective {objective:.5g}, gradient {gradient:.2g}")

    def clear_progress(self) -> None:
        """Take the progress line away."""
        if self._line:
            sys.stderr.write("\r" + " " * self._line + "\r")
            sys.stderr.flush()
            self._line = 0

    @contextlib.contextmanager
    def collected_warnings(self) -> Iterator[None]:
        """Show each warning that is meant for the user once, as one line, and keep it."""

        def show(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: Any = None,
            line: str | None = None,
        ) -> None:
            text = " ".join(str(message).split())
            if issubclass(category, UserWarning) and text not in self.notes:
                self.notes.append(text)
                self.clear_progress()
                print(f"geojax: warning: {text}", file=sys.stderr)

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("always", UserWarning)
            warnings.showwarning = show
            yield


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _differences(old: Any, new: dict[str, Any], prefix: str) -> list[str]:
    old = old if isinstance(old, dict) else {}
    return [
        f"{prefix}{key}: {_short(old.get(key))} there, {_short(new.get(key))} here"
        for key in dict.fromkeys([*new, *old])
        if old.get(key) != new.get(key)
    ]


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:18]}...{text[-4:]}"


def clean(value: Any) -> Any:
    """JSON values: numbers of NumPy and JAX as plain ones, what is not finite as null."""
    if isinstance(value, dict):
        return {str(key): clean(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [clean(entry) for entry in value]
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if hasattr(value, "tolist"):  # arrays and scalars of NumPy and JAX
        return clean(value.tolist())
    return str(value)


def versions() -> dict[str, str]:
    """Versions of Python, geojax and what it computes with."""
    import platform
    from importlib import metadata

    found = {"python": platform.python_version()}
    for name in (
        "geojax-engine",
        "jax",
        "jaxlib",
        "diffrax",
        "equinox",
        "flax",
        "numpy",
        "ott-jax",
    ):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found
