"""Results for other tools: a run of MLflow or of TensorBoard for each trial."""

import contextlib
import importlib
import json
import math
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from geojax._core.errors import InputError
from geojax.io import files
from geojax.sweeps.columns import Columns, columns_of
from geojax.sweeps.results import Results

# The tags by which a run is known again: its trial, and what of it is there once it is whole.
TRIAL, WHOLE = "geojax.trial", "geojax.whole"
# At most so many values in one request to a server of MLflow.
_BATCH = 1000


def to_mlflow(
    results: Results, tracking_uri: str | None = None, experiment: str = "geojax sweep"
) -> int:
    """Log each trial as a run of MLflow: fields as parameters, metrics, curves by step, tags.

    A run is known by its trial, so exporting again adds what is new, and replaces what a trial has
    outgrown or what was left half done. A number that is not finite is left out.

    Args:
        results: of the sweep.
        tracking_uri: of a server or a store; as MLflow has it set by default.
        experiment: name of the experiment, made if it is not there.

    Returns:
        How many runs were written.

    Raises:
        InputError: MLflow is not installed, or the server or the experiment cannot be used.
    """
    mlflow = _module("mlflow", "mlflow")
    from mlflow.entities import Metric, Param, RunTag  # pyright: ignore[reportMissingImports]

    columns, count = columns_of(results), 0
    try:
        client = mlflow.MlflowClient(tracking_uri=tracking_uri)
        found = client.get_experiment_by_name(experiment)
        place = client.create_experiment(experiment) if found is None else found.experiment_id
        known = _known_runs(client, place)
        for row in results.table("SELECT * FROM trials ORDER BY trial"):
            digest = _digest(row)
            runs = known.get(row["trial"], {})
            if digest in runs.values():
                continue
            for old in runs:
                client.delete_run(old)
            tags = {TRIAL: row["trial"], "status": row["status"], "reason": row["reason"] or ""}
            run = client.create_run(place, tags=tags, run_name=row["trial"][:8]).info.run_id
            values = [
                Metric(name, value, 0, step)
                for name, series in _series(row, columns).items()
                for step, value in series
            ]
            params = [Param(name, text[:6000]) for name, text in _params(row, columns).items()]
            for first in range(0, len(params), 100):
                client.log_batch(run, params=params[first : first + 100])
            for first in range(0, len(values), _BATCH):
                client.log_batch(run, metrics=values[first : first + _BATCH])
            # last of all, so that a run which was broken off is not taken for a whole one
            client.log_batch(run, tags=[RunTag(WHOLE, digest)])
            client.set_terminated(run, "FINISHED" if row["status"] == "ok" else "FAILED")
            count += 1
    except (mlflow.exceptions.MlflowException, ImportError, OSError) as error:
        where = tracking_uri or "the server of MLflow"
        raise InputError(
            f"{where}: MLflow cannot write experiment {experiment!r} ({error}); give the address "
            "of a server, and a name that is free"
        ) from error
    return count


def _known_runs(client: Any, experiment: str) -> dict[str, dict[str, str]]:
    """Trial -> its runs, with what they are known to hold."""
    known: dict[str, dict[str, str]] = {}
    token = None
    while True:
        page = client.search_runs([experiment], max_results=1000, page_token=token)
        for run in page:
            if TRIAL in run.data.tags:
                runs = known.setdefault(run.data.tags[TRIAL], {})
                runs[run.info.run_id] = run.data.tags.get(WHOLE, "")
        token = page.token
        if not token:
            return known


def to_tensorboard(results: Results, folder: str | Path) -> int:
    """Write each trial as a run of TensorBoard: its fields and metrics as "hparams", its curves.

    Each run is a folder called as its trial. Exporting again adds what is new, and replaces what a
    trial has outgrown. A number that is not finite is left out.

    Args:
        results: of the sweep.
        folder: of the runs (`tensorboard --logdir`); made if it is not there.

    Returns:
        How many runs were written.

    Raises:
        InputError: tensorboardX is not installed, or the folder is a file.
        StorageError: it cannot be written.
    """
    board = _module("tensorboardX", "tensorboard")
    summaries = importlib.import_module("tensorboardX.summary")
    folder = files.checked_path(folder, "folder")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file; give a folder")
    columns, count = columns_of(results), 0
    with files.storage_errors(folder):
        for row in results.table("SELECT * FROM trials ORDER BY trial"):
            place, digest = folder / row["trial"], _digest(row)
            mark = place / "geojax.json"
            with contextlib.suppress(OSError, ValueError):
                if json.loads(mark.read_text()).get("whole") == digest:
                    continue
            # our own folder, from an earlier time
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir(parents=True)
            series = _series(row, columns)
            fields = {k: _plain(row[k]) for k in columns.fields if row.get(k) is not None}
            numbers = {name: values[0][1] for name, values in series.items() if len(values) == 1}
            with board.SummaryWriter(str(place), write_to_disk=True) as writer:
                for part in summaries.hparams({**fields, "status": row["status"]}, numbers):
                    writer.file_writer.add_summary(part)
                for name, values in series.items():
                    for step, value in values:
                        writer.add_scalar(name, value, step)
                writer.add_text("status", f"{row['status']} {row['reason'] or ''}".strip())
            temporary = mark.with_name(f".{mark.name}.tmp")
            temporary.write_text(json.dumps({"whole": digest}))
            os.replace(temporary, mark)
            count += 1
    return count


def _module(name: str, extra: str) -> Any:
    """An optional library.

    Raises:
        InputError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise InputError(
            f"export: needs the package {name!r}; pip install 'geojax-engine[{extra}]'"
        ) from error


def _series(row: Mapping[str, Any], columns: Columns) -> dict[str, list[tuple[int, float]]]:
    """Metrics, and curves with the steps of their entries; what is not finite is left out."""
    found = {name: [row.get(name)] for name in (*columns.metrics, "seconds", "deviation")}
    found |= {name: row.get(name) or [] for name in columns.curves}
    numbers = {
        name: [(k, float(v)) for k, v in enumerate(values) if isinstance(v, int | float)]
        for name, values in found.items()
    }
    finite = {name: [(k, v) for k, v in vs if math.isfinite(v)] for name, vs in numbers.items()}
    return {name: values for name, values in finite.items() if values}


def _params(row: Mapping[str, Any], columns: Columns) -> dict[str, str]:
    return {name: str(_plain(row[name])) for name in columns.fields if row.get(name) is not None}


def _plain(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, list | tuple | dict) else value


def _digest(row: Mapping[str, Any]) -> str:
    """What tells one row of a trial from another."""
    return files.sha256(json.dumps(row, sort_keys=True, default=str).encode())[:16]
