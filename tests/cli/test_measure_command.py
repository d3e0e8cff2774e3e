"""`geojax measure`: the networks of a training as paths."""

import json

import numpy as np
import pytest

TRAIN = ["--epochs", 2, "--widths", 8, "--batch-size", 16, "--warmup-epochs", 1, "--num-steps", 2]


@pytest.fixture(scope="module")
def trained(tmp_path_factory, new_process):
    """A folder with a table of two classes, and a training on it."""
    folder = tmp_path_factory.mktemp("measured")
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 80)
    inputs = rng.normal(size=(80, 2)) + 3 * labels[:, None]
    lines = [f"{x},{y},{label}" for (x, y), label in zip(inputs, labels, strict=True)]
    (folder / "samples.csv").write_text("u,v,label\n" + "\n".join(lines) + "\n")
    done = new_process(
        "train", "--out", "run", "--data", "samples.csv", "--no-twin", *TRAIN, cwd=folder
    )
    assert done.code == 0, done.err
    return folder


@pytest.mark.slow
def test_measure_writes_figures_and_page(trained, command, monkeypatch, check_files, check_page):
    monkeypatch.chdir(trained)
    outcome = command("measure", "run", "--samples", 12, "--jacobians", 3, "--out", "found")
    assert outcome.code == 0, outcome.err
    check_files(trained / "found", ["report.html", "result.json"])
    page = (trained / "found/report.html").read_text()
    check_page(page)
    assert "12 samples" in page
    result = json.loads((trained / "found/result.json").read_text())
    assert result["status"] == "ok"
    figures = result["figures"]
    assert figures["regularised-0_length_over_chord"] >= 1 - 1e-6
    assert 0 <= figures["regularised-0_accuracy"] <= 1
    assert figures["regularised-0_swap"] < figures["regularised-0_deletion"]
    assert "geodesic defect" in outcome.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "holds no result.json"),
        (["run", "--samples", 0], "--samples"),
        (["run", "--jacobians", -1], "--jacobians"),
    ],
)
def test_refusals_leave_nothing_behind(command, tmp_path, arguments, message):
    outcome = command("measure", *arguments)
    assert outcome.code == 2
    assert message in outcome.err
    assert list(tmp_path.iterdir()) == []


def test_other_folders_are_refused(command, tmp_path):
    (tmp_path / "result.json").write_text("{}")
    outcome = command("measure", ".")
    assert outcome.code == 2
    assert "holds no models" in outcome.err


@pytest.mark.slow
def test_data_that_have_changed_are_refused(trained, command, monkeypatch):
    monkeypatch.chdir(trained)
    path = trained / "samples.csv"
    before = path.read_text()
    path.write_text(before.replace("\n", "\n0.5,0.5,0\n", 1))
    try:
        outcome = command("measure", "run", "--out", "other")
    finally:
        path.write_text(before)
    assert outcome.code == 2
    assert "has changed since" in outcome.err
