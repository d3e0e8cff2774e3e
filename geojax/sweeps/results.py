"""What a sweep has found: its table, its best points, what failed, and files for other tools."""

from pathlib import Path
from typing import Any

from geojax._core import checks
from geojax._core.errors import InputError
from geojax.io import files
from geojax.sweeps.definition import Sweep
from geojax.sweeps.store import Store
from geojax.sweeps.trials import trials_of

FORMATS = ("csv", "parquet", "json")


class Results:
    """The results in a folder, as far as they have come.

    Args:
        folder: of the sweep, or its `Store`.
        definition: of the sweep; the one in the folder by default, whose task must have a name.

    Raises:
        InputError: no sweep is there.
    """

    def __init__(self, folder: str | Path | Store, definition: Sweep | None = None):
        self.store = folder if isinstance(folder, Store) else Store(folder)
        self.sweep: Sweep = self.store.sweep() if definition is None else definition
        self._trials: set[str] | None = None

    def table(self, query: str = "SELECT * FROM trials") -> list[dict[str, Any]]:
        """Rows that a query of DuckDB gives, over `trials` (one row each) or `rows` (each rung).

        Raises:
            InputError: the query is wrong.
        """
        return self.store.table(query)

    def columns(self) -> list[str]:
        """Names of the columns."""
        return [row["column_name"] for row in self.table("DESCRIBE trials")]

    def leaderboard(
        self, count: int = 10, *, by: str | None = None, maximise: bool | None = None
    ) -> list[dict[str, Any]]:
        """The best rows, best first, of those that went to the end.

        Args:
            count: at most so many.
            by: a column; the objective by default.
            maximise: whether more of it is better; as the objective has it by default.

        Raises:
            InputError: no such column.
        """
        checks.count(count, "count")
        by = self.sweep.objective if by is None else by
        up = self.sweep.maximise if maximise is None else maximise
        columns = self.columns()
        if by not in columns:
            if not self.table("SELECT trial FROM trials WHERE status = 'ok'"):
                return []
            mend = checks.nearest_name(by, columns)
            raise InputError(
                f"by: there is no column {by!r}{mend}; use one of {', '.join(columns)}"
            )
        finite = f'coalesce(isfinite(TRY_CAST("{by}" AS DOUBLE)), true)'
        last = "AND rung = (SELECT max(rung) FROM rows)" if self.sweep.halving else ""
        order = self.table(
            f"SELECT trial FROM trials WHERE status = 'ok' AND \"{by}\" IS NOT NULL "
            f'AND {finite} {last} ORDER BY "{by}" {"DESC" if up else "ASC"}, trial'
        )
        wanted = self._wanted()
        chosen = [row["trial"] for row in order if wanted is None or row["trial"] in wanted]
        names = ", ".join(f"'{name}'" for name in chosen[:count])
        rows = self.table(f"SELECT * FROM trials WHERE trial IN ({names})") if names else []
        return sorted(rows, key=lambda row: chosen.index(row["trial"]))

    def best(self) -> dict[str, Any]:
        """The best row.

        Raises:
            InputError: none is sound.
        """
        found = self.leaderboard(1)
        if not found:
            raise InputError(f"{self.store.folder}: no trial has come to a sound end yet")
        return found[0]

    def failures(self) -> list[dict[str, Any]]:
        """Rows of the trials that came to no result, with the reason."""
        return self.table("SELECT * FROM trials WHERE status <> 'ok' ORDER BY status, trial")

    def status(self) -> dict[str, Any]:
        """How far it has come.

        Returns:
            "trials" (None where Optuna proposes them), "done", "missing", "orphans" (rows of points
            that the definition no longer has), and "by_status".
        """
        rows = self.table("SELECT trial, status FROM trials")
        by_status: dict[str, int] = {}
        for row in rows:
            by_status[row["status"]] = by_status.get(row["status"], 0) + 1
        found = {row["trial"] for row in rows}
        wanted = self._wanted()
        if wanted is None:
            assert self.sweep.proposals is not None
            asked = self.sweep.proposals.num_trials
            counts = {"trials": asked, "missing": max(0, asked - len(found)), "orphans": 0}
        else:
            counts = {
                "trials": len(wanted),
                "missing": len(wanted - found),
                "orphans": len(found - wanted),
            }
        return {**counts, "done": len(found) - counts["orphans"], "by_status": by_status}

    def _wanted(self) -> set[str] | None:
        """The trials of the definition as it is now; None where they are proposed."""
        if self.sweep.proposals is not None:
            return None
        if self._trials is None:
            self._trials = {trial.id for trial in trials_of(self.sweep)}
        return self._trials

    def export(self, path: str | Path) -> Path:
        """Write one table of all trials: .csv, .parquet or .json (one object a line).

        Raises:
            InputError: another ending, or a folder that is not there.
            StorageError: it cannot be written.
        """
        path = files.checked_path(path, "export")
        kind = path.suffix.lstrip(".")
        if kind not in FORMATS:
            raise InputError(
                f"{path}: unknown ending {path.suffix!r}; give .csv, .parquet or .json"
            )
        if not path.parent.is_dir():
            raise InputError(f"{path.parent}: no such folder; make it first")
        temporary = path.with_name(f".{path.name}.tmp")
        with files.storage_errors(path), self.store.connection() as connection:
            import duckdb

            try:
                place = str(temporary).replace("'", "''")
                form = "csv, HEADER" if kind == "csv" else kind
                connection.execute(
                    f"COPY (SELECT * FROM trials ORDER BY trial) TO '{place}' (FORMAT {form})"
                )
                temporary.replace(path)
            except duckdb.Error as error:
                temporary.unlink(missing_ok=True)
                raise InputError(f"{path}: cannot be written ({error}); choose another") from error
        return path
