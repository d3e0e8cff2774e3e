"""The entry of the command line: parse, run, and turn whatever happens into an exit code."""

import contextlib
import importlib
import io
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from geojax._core.errors import DeviceError, GeojaxError, InputError, StorageError
from geojax.cli.options import COMMANDS, Options

if TYPE_CHECKING:
    from geojax.cli.run import Run

DEFECT, PREEMPTED, INTERRUPTED, TERMINATED = 1, 75, 130, 143


class Terminated(BaseException):
    """The process was asked to end (SIGTERM)."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line; return its exit code.

    Args:
        arguments: without the name of the program; those of the process if None.

    Returns:
        0 done, 2 bad input, 3 numerical failure, 4 storage, 5 device, 75 asked to end in
        the middle of a sweep, 130 interrupted, 143 terminated, 1 a defect of geojax itself.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in arguments
    for stream in (sys.stdout, sys.stderr):
        # A unit such as mm² is no reason to fail on a terminal that cannot show it.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    run: Run | None = None
    try:
        if arguments and arguments[0] in ("--version", "-V"):
            from importlib.metadata import version

            print(version("geojax-engine"))
            return 0
        from geojax.cli.parse import parse

        with warnings.catch_warnings(record=True) as early:
            warnings.simplefilter("ignore")
            warnings.simplefilter("always", UserWarning)
            command, options = parse(arguments or ["--help"])
        # Only now: these take longer to import than it takes to answer --help.
        from geojax.cli import run as running

        run = running.Run(command, options)
        with contextlib.suppress(ValueError):  # only the main thread may
            signal.signal(signal.SIGTERM, _terminate)
        with run.collected_warnings():
            for note in early:  # of the configuration file, before there was a run to keep them
                warnings.warn(note.message, stacklevel=1)
            prepare_jax(options)
            handler = importlib.import_module(f"geojax.cli.{command}")
            run.progress("starting")
            figures = handler.run(options, run)
            run.finish("ok", figures)
        run.clear_progress()
        return 0
    except SystemExit as stop:  # after --help
        return int(stop.code or 0)
    except BrokenPipeError:
        # Whoever read the output has gone; Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except BaseException as error:
        if debug:
            traceback.print_exc()
        return _fail(run, error)


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated


def _fail(run: "Run | None", error: BaseException) -> int:
    """Say what went wrong in one line, leave a result that says so, and give the exit code."""
    code, message = classify(error)
    if code == TERMINATED and run is not None and run.command == "sweep":
        code = PREEMPTED  # before its own handler was there; nothing is lost
    if run is not None:
        run.clear_progress()
    print(f"geojax: error: {message}", file=sys.stderr)
    if run is None:
        return code
    if code == InputError.exit_code and not run.begun:
        run.abandon()
        return code
    status = {INTERRUPTED: "interrupted", TERMINATED: "terminated", PREEMPTED: "preempted"}.get(
        code, "error"
    )
    try:
        run.finish(status, run.figures, message, code)
    except StorageError as second:
        print(f"geojax: error: {second}", file=sys.stderr)
    return code


def classify(error: BaseException) -> tuple[int, str]:
    """Exit code and one line for whatever was raised."""
    text = " ".join(str(error).split())
    if isinstance(error, GeojaxError):
        return error.exit_code, text
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED, "interrupted"
    if isinstance(error, Terminated):
        return TERMINATED, "terminated"
    if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in text:
        return DeviceError.exit_code, (
            f"out of memory ({text[:120] or 'no details'}); use fewer points, --control-points, or "
            "a machine with more memory"
        )
    if isinstance(error, OSError):
        from geojax.io.files import describe

        return StorageError.exit_code, describe(error, error.filename or "file")
    if isinstance(error, RuntimeError) and "backend" in text.lower():
        return DeviceError.exit_code, (
            f"no device to compute on ({text[:160]}); see geojax doctor, or set JAX_PLATFORMS=cpu"
        )
    return DEFECT, (
        f"{type(error).__name__}: {text[:300]} (this is a defect of geojax, please report it; "
        "--debug shows where)"
    )


def cache_folder() -> Path:
    """Where compiled programs are kept: `GEOJAX_CACHE_DIR`, or below the user's cache folder."""
    chosen = os.environ.get("GEOJAX_CACHE_DIR")
    if chosen:
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "geojax" / "jax"


def prepare_jax(options: Options) -> None:
    """Set the precision and the compilation cache, before JAX is imported.

    Everything goes through the environment, so that a command that needs no JAX does not load it.
    A variable that the user has set is left as it is.
    """
    if options.x64 or options.always_x64:
        os.environ["JAX_ENABLE_X64"] = "1"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if options.no_cache:
        os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "0"
        return
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return  # a cache is a convenience; a home that cannot be written is no error
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(folder))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.3")


__all__ = ["COMMANDS", "cache_folder", "classify", "main", "prepare_jax"]
