"""Rows as Parquet files, by DuckDB."""

import contextlib
import functools
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from geojax._core.errors import InputError, StorageError
from geojax.io import files


def import_duckdb() -> Any:
    """DuckDB, which sweeps store and read their tables with.

    Raises:
        InputError: it is not installed.
    """
    try:
        import duckdb
    except ImportError as error:
        raise InputError(
            "sweeps keep their tables with DuckDB; pip install 'geojax-engine[sweep]'"
        ) from error
    return duckdb


def draft(folder: Path, chunk: str, write: Callable[[Path], object]) -> tuple[Path, str]:
    """A table under a temporary name, whole on the disk, and the name that it is to have.

    Args:
        folder: of the parts.
        chunk: whose rows they are.
        write: writes them to a file.

    Raises:
        StorageError: it cannot be written; nothing is left of it.
    """
    with files.storage_errors(folder):
        handle, name = tempfile.mkstemp(prefix=f".{chunk}.", suffix=".tmp", dir=folder)
        os.close(handle)
        temporary = Path(name)
        try:
            write(temporary)
            with open(temporary, "rb+") as stream:
                digest = files.sha256(stream.read())
                os.fsync(stream.fileno())
            os.chmod(temporary, 0o644)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    return temporary, f"part-{chunk}-{digest[:32]}.parquet"


def write_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Rows as a Parquet file; columns have the type of their values."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    kinds = {name: _kind([row.get(name) for row in rows]) for name in names}
    # whole columns at once: row by row takes ten times as long
    columns = ", ".join(f'unnest(?::{kind}[]) AS "{name}"' for name, kind in kinds.items())
    values = [[_cell(row.get(name), kinds[name]) for row in rows] for name in names]
    with cursor() as connection:
        copy(connection, f"(SELECT {columns})", path, values=values)


@contextlib.contextmanager
def cursor() -> Iterator[Any]:
    """A cursor of a database in memory, which takes longer to make than a small table."""
    with _database().cursor() as found:
        yield found


@functools.cache
def _database() -> Any:
    return import_duckdb().connect(":memory:", config={"threads": 1})


def copy(connection: Any, table: str, path: Path, *, values: Sequence[Any] = ()) -> None:
    """Write a table, or what a query in brackets gives, to a Parquet file.

    Args:
        connection: of DuckDB.
        table: of it.
        path: of the file.
        values: of the marks in the query.

    Raises:
        StorageError: it cannot be written.
    """
    try:
        connection.execute(f"COPY {table} TO {quoted(path)} (FORMAT parquet)", values)
    except import_duckdb().IOException as error:
        raise StorageError(f"{path.parent}: cannot be written ({error}); free space") from error


def _kind(values: Iterable[Any]) -> str:
    """The type of a column."""
    values = [value for value in values if value is not None]
    first = values[0] if values else ""
    if isinstance(first, list | tuple):
        inner = [entry for value in values for entry in value]
        return "DOUBLE[]" if all(isinstance(e, int | float) for e in inner) else "VARCHAR"
    if all(isinstance(value, bool) for value in values):
        return "BOOLEAN" if values else "DOUBLE"
    if not values:
        return "DOUBLE"
    if all(isinstance(value, int) and not isinstance(value, bool) for value in values):
        return "BIGINT" if all(abs(value) < 2**63 for value in values) else "VARCHAR"
    if all(isinstance(value, int | float) for value in values):
        return "DOUBLE"
    return "VARCHAR"


def _cell(value: Any, kind: str) -> Any:
    if value is None:
        return None
    if kind == "VARCHAR" and not isinstance(value, str):
        return json.dumps(value)
    if kind == "DOUBLE[]":
        return [float(entry) for entry in value]
    return float(value) if kind == "DOUBLE" else value


def quoted(path: Path) -> str:
    """A path in a query."""
    return "'" + str(path).replace("'", "''") + "'"
