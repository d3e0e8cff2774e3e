"""Each task runs what the verbs of the library run: a lane is a solo call."""

import numpy as np
import pytest

from geojax._core.errors import InputError
from geojax.kernels import Gaussian
from geojax.matching import match
from geojax.metrics import PauliPenalty
from geojax.quantum import nielsen_complexity
from geojax.sweeps import CircuitTask, DensityTask, MatchTask, Sweep, TrainTask
from geojax.sweeps.execute import Executor
from geojax.sweeps.tasks import training as training_task
from geojax.sweeps.tasks.circuit import CircuitConfig, target_of
from geojax.sweeps.trials import groups_of, pack, trials_of
from geojax.training import TrainConfig, fit


def rows_of(definition, width=None):
    """Values and row of each trial, all groups, in one process and without a store."""
    executor, found = Executor(definition), []
    for members in groups_of(trials_of(definition)).values():
        (chunk,) = pack(members, len(members), width or len(members))
        found += zip(members, executor.run(chunk)[0], strict=True)
    return found, executor


@pytest.fixture
def task(tmp_path):
    x = np.random.default_rng(0).normal(size=(160, 3))
    path = tmp_path / "samples.npz"
    np.savez(path, x=x, y=(np.hypot(x[:, 0], x[:, 1]) > 1.2).astype(int))
    return TrainTask(data=str(path), validation_fraction=0.25)


@pytest.mark.lenient
class TestTraining:
    def test_a_lane_is_fit(self, task):
        fixed = {"widths": [8], "epochs": 3, "batch_size": 32, "num_steps": 2, "warmup_epochs": 1}
        definition = Sweep(
            task=task, fixed=fixed,
            points=({"learning_rate": 3e-3, "seed": 5}, {"learning_rate": 1e-2, "seed": 6}),
        )  # fmt: skip
        (first, _), executor = rows_of(definition)
        trial, row = first
        assert executor.num_compiled == 1
        alone = fit(task.samples()[0], TrainConfig.from_dict(trial.values))
        for name in ("loss", "energy", "accuracy"):
            assert row[name] == pytest.approx(alone.history[name][-1], rel=1e-9)
            assert row[f"{name}_curve"] == pytest.approx(alone.history[name].tolist(), rel=1e-9)
        assert row["status"] == "ok"
        assert 0 <= row["validation_accuracy"] <= 1

    def test_a_price_of_zero_is_another_program(self, task):
        definition = Sweep(task=task, axes={"energy_weight": [0.0, 0.1]}, fixed={"batch_size": 32})
        assert len(groups_of(trials_of(definition))) == 2

    def test_what_is_not_for_sweeps_is_refused(self, task):
        definition = Sweep(
            task=task, axes={"validation_fraction": [0.0, 0.1]}, fixed={"batch_size": 4}
        )
        assert "not for sweeps" in next(t.refusal for t in trials_of(definition) if t.refusal)
        definition = Sweep(task=task, axes={"batch_size": [32, 4096]})
        assert "4096 is more than" in next(t.refusal for t in trials_of(definition) if t.refusal)

    def test_other_samples_are_other_trials(self, task, tmp_path):
        with np.load(task.data) as arrays:
            np.savez(tmp_path / "other.npz", x=arrays["x"] + 1, y=arrays["y"])
        other = TrainTask(data=str(tmp_path / "other.npz"), validation_fraction=0.25)
        names = [
            {t.id for t in trials_of(Sweep(task=each, axes={"seed": [0, 1]}))}
            for each in (task, other)
        ]
        assert not names[0] & names[1]
        assert training_task._SAMPLES


class TestMatching:
    @pytest.mark.slow
    def test_a_lane_is_match(self, tmp_path):
        rng = np.random.default_rng(1)
        names = []
        points = rng.uniform(0, 4, size=(6, 2))
        for k in range(3):
            np.save(tmp_path / f"{k}.npy", points + k * 0.1 * rng.normal(size=(6, 2)))
            names.append(str(tmp_path / f"{k}.npy"))
        points = (
            {"target": names[1], "scale": 0.8, "weight": 200.0},
            {"target": names[2], "scale": 1.1, "weight": 100.0},
            {"target": names[1]},
        )
        definition = Sweep(task=MatchTask(), points=points, fixed={"source": names[0]})
        found, executor = rows_of(definition, width=1)
        assert executor.num_compiled == 1  # other files are other numbers
        for trial, row in found:
            given = trial.values
            alone = match(
                np.load(given["source"]), np.load(given["target"]), quality=False,
                metric=Gaussian(given["scale"]) if given["scale"] else None,
                weight=given["weight"] or None,
            )  # fmt: skip
            for name in ("energy", "residual", "objective"):
                assert row[name] == pytest.approx(float(getattr(alone, name)), rel=1e-9)

    def test_pairs_that_do_not_fit_are_refused(self, tmp_path):
        np.save(tmp_path / "six.npy", np.random.default_rng(0).normal(size=(6, 2)))
        np.save(tmp_path / "five.npy", np.random.default_rng(0).normal(size=(5, 2)))
        source = str(tmp_path / "six.npy")
        targets = [str(tmp_path / "five.npy"), str(tmp_path / "none.npy"), source]
        trials = trials_of(Sweep(
            task=MatchTask(), axes={"target": targets}, fixed={"source": source}
        ))  # fmt: skip
        assert "correspond" in trials[0].refusal
        assert "no such file" in trials[1].refusal
        assert not trials[2].refusal


class TestCircuits:
    @pytest.mark.slow
    def test_a_lane_is_nielsen_complexity(self):
        import jax

        definition = Sweep(
            task=CircuitTask(),
            axes={"seed": [3, 4], "penalty": [1.0, 3.0]},
            fixed={"num_starts": 4, "num_steps": 16},
        )
        found, executor = rows_of(definition)
        assert executor.num_compiled == 1
        for trial, row in found[:2]:
            given = trial.values
            alone = nielsen_complexity(
                target_of(CircuitConfig(seed=given["seed"])),
                PauliPenalty(1, {"Z": given["penalty"]}), num_starts=4, num_steps=16,
                key=jax.random.key(given["seed"]),
            )  # fmt: skip
            assert row["distance"] == pytest.approx(float(alone.distance), abs=1e-10)

    def test_targets(self):
        unitary = target_of(CircuitConfig(seed=3, num_qubits=2))
        assert np.allclose(unitary @ unitary.conj().T, np.eye(4))
        with pytest.raises(InputError, match=r"toffoly.*toffoli"):
            target_of(CircuitConfig(target="toffoly"))
        definition = Sweep(task=CircuitTask(), axes={"penalty": [2.0, -1.0]}, fixed={"priced": "Z"})
        assert [bool(trial.refusal) for trial in trials_of(definition)] == [False, True]
        definition = Sweep(task=CircuitTask(), axes={"penalty": [2.0, 3.0]}, fixed={"priced": "ZZ"})
        assert "ZZ" in trials_of(definition)[0].refusal


@pytest.mark.lenient
class TestDensities:
    @pytest.mark.slow
    def test_lanes_do_not_depend_on_one_another(self):
        definition = Sweep(
            task=DensityTask(num_points=128),
            axes={"learning_rate": [1e-3, 1e-2], "energy_weight": [0.01, 0.1]},
            fixed={"steps": 150, "widths": [8], "batch_size": 16, "num_steps": 2},
        )
        together, executor = rows_of(definition)
        for trial, row in together:
            alone = executor.alone(trial).metrics
            for name, value in alone.items():
                assert row[name] == pytest.approx(float(value), rel=1e-10)

    def test_points_of_a_file_are_split(self, tmp_path):
        np.save(tmp_path / "points.npy", np.random.default_rng(0).normal(size=(20, 2)))
        train, test = DensityTask(data=str(tmp_path / "points.npy")).points()
        assert (len(train), len(test)) == (15, 5)
        with pytest.raises(InputError, match="test_fraction"):
            DensityTask(test_fraction=1.0)
