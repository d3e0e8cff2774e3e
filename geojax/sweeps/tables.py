"""Rows as Parquet files, by DuckDB."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from geojax._core.errors import InputError, StorageError


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


def write_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Rows as a Parquet file; columns have the type of their values."""
    duckdb = import_duckdb()
    names = list(dict.fromkeys(name for row in rows for name in row))
    kinds = {name: _kind([row.get(name) for row in rows]) for name in names}
    columns = ", ".join(f'"{name}" {kind}' for name, kind in kinds.items())
    marks = ", ".join("?" * len(names))
    with duckdb.connect(":memory:", config={"threads": 1}) as connection:
        connection.execute(f"CREATE TABLE part ({columns})")
        connection.executemany(
            f"INSERT INTO part VALUES ({marks})",
            [[_cell(row.get(name), kinds[name]) for name in names] for row in rows],
        )
        try:
            connection.execute(f"COPY part TO {quoted(path)} (FORMAT parquet)")
        except duckdb.Error as error:
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
        return "BIGINT"
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
