"""What a sweep has found, on the disk: immutable tables, verified when they are read.

A folder holds `sweep.json` (the definition), `parts/` (one Parquet table per chunk, its hash in its
name), `checkpoints/` (where long chunks stand) and `attempts/` (which chunks were begun). The
parts alone are the truth: a trial is done where a part that is whole has its row.
"""

import contextlib
import fcntl
import json
import os
import secrets
import shutil
import socket
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from geojax._core.errors import InputError, StorageError
from geojax.io import files
from geojax.sweeps.definition import Sweep, from_dict
from geojax.sweeps.tables import draft, import_duckdb, quoted, write_table

DEFINITION, HEAD = "sweep.json", "head.json"
PARTS, CHECKPOINTS, ATTEMPTS, DAMAGED = "parts", "checkpoints", "attempts", "damaged"
STATES, BATCHES = "states", "batches"
FORMAT = 1
# A part is far below this; a disk with less is as good as full.
LEAST_FREE_BYTES = 16 << 20


_EMPTY = {"trial": "VARCHAR", "rung": "INTEGER", "status": "VARCHAR", "reason": "VARCHAR"}


class Superseded(Exception):
    """Another head has taken the sweep over, so what this one found is not stored."""


class Store:
    """The folder of one sweep.

    Args:
        folder: where it is, or is to be.
    """

    def __init__(self, folder: str | Path):
        self.folder = files.checked_path(folder, "folder")
        self.parts = self.folder / PARTS
        self._token = ""
        self._database: Any = None
        # part -> how it looked when its hash was taken, so that it is not taken for every query
        self._verified: dict[Path, tuple[int, int, int]] = {}

    # -- the definition -------------------------------------------------------------------------

    def check(self, sweep: Sweep) -> list[str]:
        """Look whether the folder can hold a sweep, without writing anything.

        Returns:
            The keys in which the definition differs from the one that is there.

        Raises:
            InputError: other files are there, or a sweep of another task or precision.
        """
        if self.folder.exists() and not self.folder.is_dir():
            raise InputError(f"{self.folder}: is a file; give a folder")
        place = self.folder / DEFINITION
        if place.exists():
            with contextlib.suppress(StorageError):
                found, other = _differences(self._definition(), sweep.to_dict())
                if other and any(self.parts.glob("part-*")):
                    raise InputError(f"{place}: is another sweep ({other}); give another folder")
                return found
        elif self.folder.is_dir() and os.listdir(self.folder) and not self.parts.is_dir():
            raise InputError(f"{self.folder}: holds other files and no sweep; give another folder")
        return []

    def create(self, sweep: Sweep) -> None:
        """Write the definition, if another one is there or none; only the head may.

        Raises:
            StorageError: it cannot be written.
        """
        place = self.folder / DEFINITION
        if place.exists():
            try:
                found, other = _differences(self._definition(), sweep.to_dict())
                if not found:
                    return
                if other:  # of which nothing came: it was wrong
                    for name in (ATTEMPTS, BATCHES, STATES):
                        shutil.rmtree(self.folder / name, ignore_errors=True)
            except StorageError as error:
                self.put_aside(place, error)
        self._write(DEFINITION, sweep.to_dict())

    def make_folder(self) -> None:
        """Make the folder.

        Raises:
            StorageError: it cannot be made, or the disk is full.
        """
        with files.storage_errors(self.folder):
            for name in (PARTS, CHECKPOINTS, ATTEMPTS):
                (self.folder / name).mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(self.folder).free
        if free < LEAST_FREE_BYTES:
            raise StorageError(
                f"{self.folder}: only {free >> 20} MiB are free on the disk; free at least "
                f"{LEAST_FREE_BYTES >> 20} MiB"
            )

    def sweep(self) -> Sweep:
        """The definition.

        Raises:
            InputError: no sweep is here.
            StorageError: it is damaged.
        """
        if not (self.folder / DEFINITION).exists():
            raise InputError(f"{self.folder}: holds no sweep; give the folder of one")
        return from_dict(self._definition(), str(self.folder / DEFINITION))

    def x64(self) -> bool:
        """The precision of the sweep, which has to be known before any array is made."""
        if not (self.folder / DEFINITION).exists():
            raise InputError(f"{self.folder}: holds no sweep; give the folder of one")
        return bool(self._definition()["x64"])

    def _definition(self) -> dict[str, Any]:
        return self._read(DEFINITION)

    def _write(self, name: str, content: dict[str, Any]) -> None:
        """JSON with its own hash."""
        text = json.dumps(content, sort_keys=True)
        whole = {"format": FORMAT, "sha256": files.sha256(text.encode()), "content": content}
        files.write_json(self.folder / name, whole)

    def _read(self, name: str) -> dict[str, Any]:
        """JSON that holds what was written.

        Raises:
            StorageError: it does not.
        """
        path = self.folder / name
        try:
            whole = files.read_json(path)
            content = whole["content"]
            text = json.dumps(content, sort_keys=True)
            good = whole["format"] == FORMAT and whole["sha256"] == files.sha256(text.encode())
        except (InputError, KeyError, TypeError) as error:
            raise StorageError(
                f"{path}: is damaged ({error}); give the definition again"
            ) from error
        if not good:
            raise StorageError(
                f"{path}: is not what was written, or of a newer version; give the definition again"
            )
        return content

    # -- the head -------------------------------------------------------------------------------

    @contextlib.contextmanager
    def head(self) -> Iterator[str]:
        """Be the one process that gives out the work.

        Yields:
            A token. What workers of an earlier head find is refused by `commit`.

        Raises:
            StorageError: another head is at work.
        """
        self.make_folder()
        with files.storage_errors(self.folder):
            lock = os.open(self.folder / f".{HEAD}", os.O_RDWR | os.O_CREAT, 0o666)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                who = self._who()
                raise StorageError(
                    f"{self.folder}: is being run by another process{who}; wait for it, or stop it"
                ) from error
            except OSError as error:
                raise StorageError(
                    f"{self.folder}: its file system has no locks ({error.strerror}); two heads "
                    "could not be told apart there: give a folder on another one"
                ) from error
            token = self.renew()
            self._sweep_up()
            yield token
        finally:
            os.close(lock)

    def renew(self) -> str:
        """A new token for the head: what was given out with an older one is refused from now on."""
        self._token = secrets.token_hex(8)
        with self._exclusive():
            self._sign(stop=False)
        return self._token

    def _sign(self, *, stop: bool) -> None:
        me = {"token": self._token, "stop": stop}
        me |= {"process": os.getpid(), "host": socket.gethostname()}
        files.write_json(self.folder / HEAD, me)

    def ask_to_stop(self) -> None:
        """Ask all workers of this head to stop at their next segment."""
        self._sign(stop=True)

    def is_stopped(self, token: str) -> bool:
        """Whether the head with this token asks to stop, or another has taken over."""
        try:
            found = files.read_json(self.folder / HEAD)
        except (InputError, StorageError):
            return True
        return found.get("token") != token or bool(found.get("stop"))

    def _who(self) -> str:
        with contextlib.suppress(Exception):
            found = files.read_json(self.folder / HEAD)
            return f" ({found['process']} on {found['host']})"
        return ""

    def _sweep_up(self) -> None:
        """Take away what killed writers have left."""
        for place, pattern in (
            (self.folder, ".*.json.*"), (self.parts, ".*.tmp*"), (self.parts, "tmp_*"),
        ):  # fmt: skip
            for leftover in place.glob(pattern):
                with contextlib.suppress(OSError):
                    leftover.unlink()

    @contextlib.contextmanager
    def _exclusive(self) -> Iterator[None]:
        """One writer at a time; the system lets go of the lock of a process that is killed."""
        with files.storage_errors(self.folder):
            lock = os.open(self.parts / ".lock", os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    # -- parts ----------------------------------------------------------------------------------

    def commit(self, chunk: str, rows: Sequence[Mapping[str, Any]], token: str) -> None:
        """Store the rows of a chunk, all or none.

        Raises:
            Superseded: another head has taken over since the token was given.
            StorageError: they cannot be written; nothing is left of them.
        """

        def write(path: Path) -> None:
            # a column that every table has
            write_table(path, [{"deviation": None, **row} for row in rows])

        temporary, name = draft(self.parts, chunk, write)
        try:
            with self._exclusive():
                if not self._is_current(token):
                    raise Superseded
                if not any(self.parts.glob(f"part-{chunk}-*.parquet")):
                    with files.storage_errors(self.parts):
                        os.replace(temporary, self.parts / name)
                        files.sync_folder(self.parts)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
        shutil.rmtree(self.folder / CHECKPOINTS / chunk, ignore_errors=True)

    def _is_current(self, token: str) -> bool:
        try:
            return files.read_json(self.folder / HEAD).get("token") == token
        except (InputError, StorageError):
            return False

    def whole_parts(self) -> list[Path]:
        """The parts that are as they were written; others are put aside, with a warning."""
        found = []
        for path in sorted(self.parts.glob("part-*.parquet")):
            digest = path.stem.rpartition("-")[2]
            try:
                seen = path.stat()
                mark = seen.st_size, seen.st_mtime_ns, seen.st_ino
            except FileNotFoundError:
                continue
            if self._verified.get(path) == mark:
                found.append(path)
                continue
            try:
                data = files.read_bytes(path)
            except InputError:
                continue  # taken away in the meantime
            if files.sha256(data)[:32] == digest:
                found.append(path)
                self._verified[path] = mark
            else:
                self.put_aside(path, "its hash is not the one in its name")
        return found

    def put_aside(self, path: Path, reason: object) -> None:
        """Keep a damaged file out of the way."""
        folder = self.folder / DAMAGED
        with files.storage_errors(folder):
            folder.mkdir(exist_ok=True)
            place = folder / f"{path.name}.{secrets.token_hex(4)}"
            os.replace(path, place)
        warnings.warn(
            f"{path}: is damaged ({reason}), and put aside as {DAMAGED}/{place.name}; its trials "
            "run again.",
            stacklevel=3,
        )

    def table(self, query: str = "SELECT * FROM rows") -> list[dict[str, Any]]:
        """Rows that a query of DuckDB gives.

        Args:
            query: over the view `rows`, every row of every rung, and `trials`, the last of each
                trial.

        Raises:
            InputError: the query is wrong.
        """
        duckdb = import_duckdb()
        with self.connection() as connection:
            try:
                result = connection.execute(query)
                names = [column[0] for column in result.description or ()]
                return [dict(zip(names, row, strict=True)) for row in result.fetchall()]
            except duckdb.Error as error:
                raise InputError(
                    f"query: {error}; see the columns of geojax sweep status"
                ) from error

    @contextlib.contextmanager
    def connection(self) -> Iterator[Any]:
        """A connection of DuckDB in memory with the views `rows` and `trials`."""
        duckdb = import_duckdb()
        parts = [quoted(path) for path in self.whole_parts()]
        if self._database is None:
            # a connection takes longer to make than a small table to read
            self._database = duckdb.connect(":memory:")
        with self._database.cursor() as connection:
            if parts:
                stored = f"read_parquet([{', '.join(parts)}], union_by_name = true)"
                source = f"SELECT DISTINCT ON (trial, rung) * FROM {stored} ORDER BY trial, rung"
            else:
                empty = ", ".join(f"NULL::{kind} AS {name}" for name, kind in _EMPTY.items())
                source = f"SELECT {empty} WHERE false"
            connection.execute(f"CREATE OR REPLACE TEMP VIEW rows AS {source}")
            connection.execute(
                "CREATE OR REPLACE TEMP VIEW trials AS SELECT DISTINCT ON (trial) * FROM rows "
                "ORDER BY trial, rung DESC"
            )
            yield connection

    # -- attempts -------------------------------------------------------------------------------

    def begin(self, chunk: str) -> int:
        """Note that a chunk is begun; return how often it has been by now."""
        folder = self.folder / ATTEMPTS / chunk
        with files.storage_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            number = len(os.listdir(folder))
            while True:
                number += 1
                try:
                    os.close(os.open(folder / str(number), os.O_CREAT | os.O_EXCL, 0o644))
                    return number
                except FileExistsError:
                    continue

    def begun(self, chunk: str) -> int:
        """How often a chunk has been begun at all."""
        return sum(1 for _ in (self.folder / ATTEMPTS / chunk).glob("*"))

    def attempts(self, chunk: str) -> int:
        """How often a chunk has been begun by a process that then died."""
        return sum(1 for _ in (self.folder / ATTEMPTS / chunk).glob("*[0-9]"))

    def forgive(self, chunk: str, attempt: int) -> None:
        """Count an attempt no longer: its process lives, or has got somewhere."""
        path = self.folder / ATTEMPTS / chunk / str(attempt)
        with files.storage_errors(path), contextlib.suppress(FileNotFoundError):
            path.rename(path.with_name(f"{path.name}.forgiven"))


def _differences(old: dict[str, Any], new: dict[str, Any]) -> tuple[list[str], str]:
    """Keys in which two definitions differ, and how where what a row means is another."""
    new = json.loads(json.dumps(new))
    differs = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    for key in ("task", "x64", "seed", "halving", "objective", "maximise"):
        if key in differs:
            return differs, f"{key}: {old.get(key)!r} there, {new.get(key)!r} here"
    return differs, ""
