"""`geojax train` and `geojax demo`."""

import dataclasses
import gzip
import json
import time

import numpy as np
import pytest

from geojax.cli.options import Train

pytestmark = pytest.mark.lenient  # optax promotes inside

SMALL = ["--epochs", 3, "--widths", 8, "--batch-size", 16, "--warmup-epochs", 1, "--num-steps", 2]


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    """A table of two classes in the plane."""
    path = tmp_path_factory.mktemp("data") / "samples.csv"
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 80)
    inputs = rng.normal(size=(80, 2)) + 3 * labels[:, None]
    lines = [f"{x},{y},{label}" for (x, y), label in zip(inputs, labels, strict=True)]
    path.write_text("x,y,label\n".replace("x,y", "u,v") + "\n".join(lines) + "\n")
    return path


def test_train_writes_models_figures_and_page(process, samples, tmp_path, check_files, check_page):
    outcome = process("train", "--out", "run", "--data", samples, "--seeds", 0, 1, *SMALL)
    assert outcome.code == 0, outcome.err
    check_files(
        tmp_path / "run",
        ["report.html", "result.json"]
        + [
            f"models/{name}-{seed}/{file}"
            for name in ("plain", "regularised")
            for seed in (0, 1)
            for file in ("manifest.json", "model.npz")
        ],
    )
    check_page((tmp_path / "run" / "report.html").read_text())
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    figures = result["figures"]
    assert len(figures["plain_accuracy_by_seed"]) == 2
    for name in ("plain", "regularised"):
        assert figures[f"{name}_accuracy"] == pytest.approx(
            np.mean(figures[f"{name}_accuracy_by_seed"])
        )
        assert figures[f"{name}_num_evaluations"] > 0
        assert figures[f"{name}_length_over_chord"] >= 1 - 1e-6
    assert figures["energy_ratio"] == pytest.approx(
        figures["regularised_energy"] / figures["plain_energy"]
    )
    assert result["config"]["epochs"] == 3
    assert str(samples) in result["inputs"]


@pytest.mark.slow
def test_the_same_command_goes_on(command, samples, tmp_path, monkeypatch):
    """Cut off after the third epoch, between two checkpoints, it goes on from there."""
    from geojax.training import loop

    arguments = ["train", "--out", "run", "--data", samples, "--no-twin", *SMALL]
    arguments += ["--epochs", 6, "--checkpoint-every", 2, "--validation-fraction", 0.2]
    epochs, whole = [], loop.steps.epoch

    def cut(*given):
        epochs.append(1)
        if len(epochs) == 4:
            raise KeyboardInterrupt
        return whole(*given)

    monkeypatch.setattr(loop.steps, "epoch", cut)
    assert command(*arguments).code == 130
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["status"] == "interrupted"
    outcome = command(*arguments)
    assert outcome.code == 0, outcome.err
    assert len(epochs) == 4 + 3
    assert not (tmp_path / "run" / "checkpoints").exists()
    other = command(*arguments, "--learning-rate", 0.1)
    assert other.code == 2
    assert "learning_rate" in other.err
    # another training takes over what an interrupted one has left
    epochs.clear()
    assert command(*arguments, "--overwrite").code == 130
    epochs += [1] * 5
    assert command(*arguments, "--overwrite", "--learning-rate", 0.1).code == 0


@pytest.mark.slow
def test_a_folder_of_mnist(command, tmp_path):
    rng = np.random.default_rng(0)
    folder = tmp_path / "tiny"
    folder.mkdir()
    for name, count in (("train", 40), ("t10k", 12)):
        images = rng.integers(0, 256, (count, 3, 3), dtype=np.uint8)
        labels = (np.arange(count) % 2).astype(np.uint8)
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            head = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
            (folder / f"{name}-{kind}-ubyte.gz").write_bytes(gzip.compress(head + array.tobytes()))
    outcome = command("train", "--out", "run", "--data", folder, "--no-twin", *SMALL)
    assert outcome.code == 0, outcome.err
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert len(result["inputs"]) == 4
    found = command("measure", "run", "--out", "measured", "--samples", 6, "--jacobians", 0)
    assert found.code == 0, found.err
    file = folder / "t10k-images-idx3-ubyte.gz"
    for data, code, message in (
        (file.read_bytes()[:-9], 4, "cannot be unpacked"),
        (gzip.compress(bytes([0, 0, 8, 3]) + np.array([12, 3, 3], ">u4").tobytes()), 4, "asks for"),
        (gzip.compress(b"no such thing"), 2, "is no IDX file"),
        (None, 2, "has no t10k-images-idx3-ubyte.gz"),
    ):
        file.unlink()
        if data is not None:
            file.write_bytes(data)
        found = command("train", "--out", "bad", "--data", folder, *SMALL)
        assert (found.code, message in found.err) == (code, True), found.err
        if data is None:
            break
        assert not (tmp_path / "bad").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--patience", 3], "--patience needs samples to validate on"),
        (["--ema-decay", 1], "--ema-decay must be below 1"),
        (["--checkpoint-every", -1], "--checkpoint-every must be"),
        (["--seeds", -1], "--seeds: -1 is no seed"),
        (["--seeds", 3, 3], "--seeds: 3 is given twice"),
        (["--seeds"], "--seeds: is empty"),
        (["--epochs", 0], "--epochs must be an integer of at least 1"),
        (["--learning-rate", 0], "--learning-rate must be a positive number"),
        (["--energy-weight", -1], "--energy-weight must be a number of at least 0"),
        (["--energy-weight", "nan"], "--energy-weight must be a number of at least 0"),
        (["--batch-size", 100_000], "--batch-size: 100000 is more than the 60 samples"),
        (["--widths", 0], "--widths must be"),
        (["--activation", "relu"], "invalid choice 'relu'"),
        (["--lr", 1], "did you mean --learning-rate?"),
        (["--data", "no.csv"], "no.csv: no such file"),
        (["--data", "bad.csv"], "row 1 has label 0.5"),
        (["--out", "file", "--batch-size", 8], "file: is a file; give a folder"),
    ],
)
def test_bad_input_is_named_and_nothing_is_written(
    command, samples, tree, tmp_path, options, message
):
    (tmp_path / "bad.csv").write_text("1,2,0\n3,4,0.5\n")
    (tmp_path / "file").write_text("")
    before = tree(tmp_path)
    outcome = command("train", "--out", "run", "--data", samples, *options)
    assert outcome.code == 2, outcome.err
    assert message in outcome.err
    assert outcome.err.count("\n") == 1
    assert tree(tmp_path) == before


def test_defaults_are_those_of_the_library():
    from geojax.training import TrainConfig

    options = Train(out="")
    for field in dataclasses.fields(TrainConfig):
        if field.name != "seed":
            assert getattr(options, field.name) == getattr(TrainConfig(), field.name), field.name


def test_demo_refuses_bad_input(command, tree, tmp_path):
    for arguments, message in [
        (["--points", 3], "--points: 3 points make no outline"),
        (["--epochs", 0], "--epochs must be"),
        (["--seed", -1], "-1 is no seed"),
    ]:
        outcome = command("demo", *arguments)
        assert outcome.code == 2
        assert message in outcome.err
    assert tree(tmp_path) == []


@pytest.mark.slow
def test_demo_shows_what_it_promises_in_time(process, tmp_path, check_files, check_page):
    start = time.perf_counter()
    outcome = process("demo")
    seconds = time.perf_counter() - start
    assert outcome.code == 0, outcome.err
    assert outcome.err == ""
    assert seconds < 180
    folder = tmp_path / "geojax-demo"
    check_files(
        folder,
        ["deformation.npz", "left.csv", "manifest.json", "report.html", "result.json", "right.csv"],
    )
    result = json.loads((folder / "result.json").read_text())
    match, training = result["figures"]["match"], result["figures"]["training"]
    assert match["folds"] == 0
    assert match["outline_distance_after"] < 0.3 * match["outline_distance_before"]
    assert training["regularised_accuracy"] >= 97.5
    assert training["energy_ratio"] <= 0.05
    assert training["num_evaluations_ratio"] <= 0.7
    assert training["accuracy_difference"] >= -0.5
    page = (folder / "report.html").read_text()
    check_page(page)
    for part in ("Before", "The deformation", "Energy curve", "Paths, plain", "Paths, regularised"):
        assert part in page
