"""Results as runs of other tools, each library where it is installed."""

import dataclasses
import json
import sys

import jax.numpy as jnp
import pytest

from geojax._core.errors import InputError
from geojax.reports import SweepView, sweep_page
from geojax.sweeps import FunctionTask, Sweep, Traced, sweep, to_mlflow, to_tensorboard
from geojax.sweeps.columns import columns_of, scales_of

pytest.importorskip("duckdb")


@dataclasses.dataclass(frozen=True)
class Point:
    rate: Traced[float] = 0.1
    widths: tuple[int, ...] = (4, 4)


def outcome(config, key):
    loss = jnp.log(config.rate)
    return {"size": config.rate * 2.0, "loss": loss, "history": jnp.stack([loss + 2.0, loss])}


TASK = FunctionTask(function=outcome, config=Point, objective="loss")


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    definition = Sweep(task=TASK, axes={"rate": [1e-4, 1.0, -1.0]})
    return sweep(definition, tmp_path_factory.mktemp("sweep") / "s")


def test_columns_are_told_apart(results):
    columns = columns_of(results)
    assert columns.fields == ("rate", "widths")
    assert columns.swept == {"rate": "linear"}  # for one of them is negative
    assert columns.metrics == ("loss", "size")
    assert columns.curves == ("history_curve",)  # and not the widths, which are a list as well


def test_table_makes_a_page(results):
    pytest.importorskip("matplotlib")
    columns = columns_of(results)
    view = SweepView(
        results.table("SELECT * FROM rows"),
        columns.swept,
        results.sweep.objective,
        maximise=results.sweep.maximise,
        metrics=columns.metrics,
        curves=columns.curves,
        num_trials=results.status()["trials"],
    )
    text = sweep_page(view, title="Logarithms")
    assert text.count("<svg") == 3  # all trials, one field, one curve
    assert "loss is not a number" in text
    assert view.best[0]["trial"] == results.best()["trial"]


def test_scales_are_those_of_the_definition():
    axes = {"rate": {"low": 0.1, "high": 0.2, "num": 3, "scale": "log"}, "widths": [(4,), (8, 8)]}
    assert scales_of(Sweep(task=TASK, axes=axes)) == {"rate": "log", "widths": "category"}
    points = ({"rate": 1e-3}, {"rate": 1.0, "widths": (4,)})
    found = scales_of(Sweep(task=TASK, points=points))
    assert found == {"rate": "log", "widths": "category"}


@pytest.mark.parametrize(
    ("export", "package", "extra"),
    [(to_mlflow, "mlflow", "mlflow"), (to_tensorboard, "tensorboardX", "tensorboard")],
)
def test_absent_library_is_named_with_its_extra(export, package, extra, results, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=rf"'{package}'; pip install 'geojax-engine\[{extra}\]'"):
        export(results, "nowhere")


def outgrow(results, monkeypatch):
    """Make the table say something else of its best trial."""
    best, table = results.best()["trial"], results.table

    def other(query):
        return [{**row, "size": 7.0} if row.get("trial") == best else row for row in table(query)]

    monkeypatch.setattr(results, "table", other)
    return best


def test_tensorboard_has_a_run_per_trial(results, tmp_path, monkeypatch):
    pytest.importorskip("tensorboardX")
    folder = tmp_path / "runs"
    assert to_tensorboard(results, folder) == 3
    best = results.best()
    seen = read_scalars(folder / best["trial"])
    assert seen["loss"] == [(0, pytest.approx(best["loss"], rel=1e-6))]
    assert [step for step, _ in seen["history"]] == [0, 1]
    assert seen["history"][0][1] == pytest.approx(best["loss"] + 2.0, rel=1e-6)
    (failed,) = results.failures()
    assert "loss" not in read_scalars(folder / failed["trial"])
    assert to_tensorboard(results, folder) == 0  # nothing new
    (folder / failed["trial"] / "geojax.json").unlink()  # as if it had been broken off
    name = outgrow(results, monkeypatch)
    assert to_tensorboard(results, folder) == 2
    assert len(list(folder.iterdir())) == 3
    assert len(list((folder / name).glob("events*"))) == 1
    assert read_scalars(folder / name)["size"] == [(0, 7.0)]
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is a file; give a folder"):
        to_tensorboard(results, tmp_path / "file")


def read_scalars(folder):
    """Name -> steps and values, read with tensorboardX's own protocol."""
    from tensorboardX.proto.event_pb2 import Event

    (path,) = folder.glob("events*")
    data, place, found = path.read_bytes(), 0, {}
    while place < len(data):
        size = int.from_bytes(data[place : place + 8], "little")
        event = Event.FromString(data[place + 12 : place + 12 + size])
        place += size + 16
        for value in event.summary.value:
            if value.HasField("simple_value"):
                found.setdefault(value.tag, []).append((event.step, value.simple_value))
    return found


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of what MLflow itself is built on
def test_mlflow_has_a_run_per_trial(results, tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    address = (tmp_path / "runs").as_uri()
    assert to_mlflow(results, address, "test") == 3
    client = mlflow.MlflowClient(tracking_uri=address)
    place = client.get_experiment_by_name("test").experiment_id

    def runs():
        return {run.data.tags["geojax.trial"]: run for run in client.search_runs([place])}

    best = results.best()
    run = runs()[best["trial"]]
    assert run.data.params == {"rate": str(best["rate"]), "widths": json.dumps(best["widths"])}
    assert run.data.metrics["loss"] == best["loss"]
    history = client.get_metric_history(run.info.run_id, "history")
    assert [(m.step, m.value) for m in history] == list(enumerate(best["history"]))
    (failed,) = results.failures()
    run = runs()[failed["trial"]]
    assert (run.info.status, run.data.tags["status"]) == ("FAILED", "nonfinite")
    assert run.data.tags["reason"] == failed["reason"]
    assert to_mlflow(results, address, "test") == 0
    name = outgrow(results, monkeypatch)
    assert to_mlflow(results, address, "test") == 1
    assert len(client.search_runs([place])) == 3
    assert runs()[name].data.metrics["size"] == 7.0
    with pytest.raises(InputError, match="MLflow cannot write experiment"):
        to_mlflow(results, "nonsense://there", "test")
