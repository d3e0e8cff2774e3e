"""The experiment on MNIST-1D, on made signals: what is compared, chosen and written."""

import importlib.util
import json
import sys
import types

import numpy as np
import pytest
from flax import nnx

from geojax.training import Samples

pytest.importorskip("matplotlib")
pytestmark = pytest.mark.lenient  # optax


@pytest.fixture(scope="module")
def experiment(root):
    spec = importlib.util.spec_from_file_location(
        "mnist1d_run", root / "experiments/mnist1d/run.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def signals(monkeypatch):
    """A package of the name that makes 200 signals in the place of the 5,000."""
    random = np.random.default_rng(0)
    y = np.arange(200) % 10
    x = random.normal(size=(200, 40)) + 3 * np.eye(40)[4 * y]
    package, data = types.ModuleType("mnist1d"), types.ModuleType("mnist1d.data")
    made = {"x": x, "y": y, "x_test": x[:60], "y_test": y[:60]}
    data.get_dataset_args, data.make_dataset = dict, lambda options: made
    monkeypatch.setitem(sys.modules, "mnist1d", package)
    monkeypatch.setitem(sys.modules, "mnist1d.data", data)
    return made


def test_no_network_is_larger_than_its_baseline(experiment):
    for name, baseline in experiment.BASELINES.items():
        shape = nnx.eval_shape(lambda name=name: experiment.make(name, nnx.Rngs(0)))
        assert 0 < experiment.parameters(shape) <= experiment.PUBLISHED[baseline][1], name


def test_without_the_package(experiment, monkeypatch):
    monkeypatch.setitem(sys.modules, "mnist1d.data", None)
    with pytest.raises(SystemExit, match="pip install mnist1d"):
        experiment.load()


def test_the_committed_outcome_is_what_the_code_says_of_it(experiment, root):
    folder = root / "experiments/mnist1d/outcome"
    results = json.loads((folder / "results.json").read_text())
    assert set(results["runs"]) == set(experiment.BASELINES)
    assert results["claims"] == experiment.rounded(experiment.claims(results["runs"]))
    assert results["settings"] == experiment.chosen(folder / "selection.json")
    assert (folder / "table.md").read_text() == experiment.table(results["runs"])


def test_a_claim_is_lost_where_the_mean_is_below(experiment):
    def of(*accuracies):
        rows = [{"test_accuracy": value, "parameters": 5_300} for value in accuracies]
        return experiment.claims({"CNN": rows})["CNN"]

    assert of(0.95, 0.94)["met"]
    assert not of(0.95, 0.92)["met"]
    np.testing.assert_allclose(of(0.95, 0.92)["margin"], -0.005, atol=1e-12)
    assert not of(0.95)["no_larger"]


@pytest.mark.slow
def test_from_the_choice_of_settings_to_the_table(experiment, signals, tmp_path, monkeypatch):
    monkeypatch.setattr(experiment, "RATES", (1e-9, 3e-2))
    monkeypatch.setattr(experiment, "NOISES", (0.1,))
    few = ["--networks", "logistic regression", "--out", str(tmp_path)]
    seen = []
    fit = experiment.fit

    def watched(data: Samples, *arguments, **options):
        seen.append(len(data))
        return fit(data, *arguments, **options)

    monkeypatch.setattr(experiment, "fit", watched)
    assert experiment.main([*few, "--select", "--epochs", "30"]) == 0
    # a rate of nothing learns nothing
    settings = experiment.chosen(tmp_path / "selection.json")
    assert settings["logistic regression"]["learning_rate"] == 3e-2
    for seeds in (["0"], ["1"]):
        assert experiment.main([*few, "--epochs", "30", "--seeds", *seeds]) == 0
    results = json.loads((tmp_path / "results.json").read_text())
    runs = results["runs"]["logistic regression"]
    assert [row["seed"] for row in runs] == [0, 1]
    assert runs[0]["parameters"] == 410
    assert (runs[0]["energy"], runs[0]["length_over_chord"]) == (0, 1)  # no layer, no way
    assert results["claims"]["logistic regression"]["met"]
    assert "| logistic regression | 410 |" in (tmp_path / "table.md").read_text()
    assert (tmp_path / "figure.png").read_bytes()[:4] == b"\x89PNG"
    assert seen == [200] * 4
