"""The head, in one process, on tasks with known answers."""

import dataclasses
import json
import math
import signal
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from geojax._core.errors import DeviceError, InputError, StorageError
from geojax.sweeps import (
    FunctionTask,
    Halving,
    InProcess,
    Preempted,
    Proposals,
    Range,
    Results,
    Static,
    Sweep,
    SweepPlan,
    head,
    plan,
    planning,
    sweep,
    trials as trials_module,
    work,
)
from geojax.sweeps.execute import Executor, Stopped
from geojax.sweeps.store import Store
from geojax.sweeps.trials import Chunk, groups_of, pack, trials_of
from tests.sweeps.throws import Throw, distance, throw, walk

AXES = {"angle": [0.1, 0.4, 0.785, 1.2], "power": [1, 2]}
KEPT = ("trial", "angle", "speed", "power", "log_reach", "noise", "flight_curve", "status")


def table(folder, definition=None):
    rows = Results(folder, definition).table("SELECT * FROM trials ORDER BY trial")
    return [{name: row[name] for name in KEPT} for row in rows]


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A sweep that has been run, with the number of programs it took."""
    folder, launcher = tmp_path_factory.mktemp("sweep"), InProcess()
    results = sweep(Sweep(task=throw, axes=AXES), folder, launcher=launcher)
    return folder, results, launcher.executor(results.sweep, 0).num_compiled


class TestLanes:
    def test_values_are_right(self, done):
        rows = table(done[0])
        assert len(rows) == 8
        for row in rows:
            expected = math.sin(2 * row["angle"]) ** row["power"]
            assert row["log_reach"] == pytest.approx(expected, abs=1e-14)
            assert row["flight_curve"] == pytest.approx([0, expected / 2, expected])

    def test_one_program_for_each_static_signature(self, done):
        assert done[2] == 2

    def test_lanes_are_what_they_are_alone(self, done):
        executor = Executor(done[1].sweep)
        rows = {row["trial"]: row for row in table(done[0])}
        for trial in trials_of(done[1].sweep)[::3]:
            alone = executor.alone(trial)
            for name in ("log_reach", "noise"):
                assert rows[trial.id][name] == pytest.approx(float(alone.metrics[name]), abs=1e-12)

    def test_keys_do_not_depend_on_packing(self, done, tmp_path):
        other = sweep(Sweep(task=throw, axes=AXES), tmp_path, lanes=3)
        assert [r["noise"] for r in table(tmp_path)] == [r["noise"] for r in table(done[0])]
        assert len({row["noise"] for row in other.table()}) == 8

    def test_a_part_of_the_lanes_is_run_alone(self, tmp_path, monkeypatch):
        definition = Sweep(task=throw, axes={"angle": [0.1, 0.4]})
        rows = sweep(definition, tmp_path / "one").table()
        assert sorted(row["deviation"] is None for row in rows) == [False, True]
        monkeypatch.setattr(trials_module, "ALONE", 1)
        rows = sweep(definition, tmp_path / "all").table()
        assert all(row["deviation"] < 1e-12 for row in rows)

    def test_neighbours_do_not_matter(self, done, tmp_path):
        axes = {**AXES, "speed": [0.0, 1.0]}
        rows = sweep(Sweep(task=throw, axes=axes), tmp_path).table()
        bad = [row for row in rows if row["speed"] == 0]
        assert {row["status"] for row in bad} == {"nonfinite"}
        assert all("log_reach" in row["reason"] for row in bad)
        good = {(row["angle"], row["power"]): row for row in rows if row["speed"] == 1}
        for row in table(done[0]):
            assert good[row["angle"], row["power"]]["log_reach"] == pytest.approx(
                row["log_reach"], abs=1e-14
            )

    def test_widths_give_the_same(self, done):
        sweep_ = done[1].sweep
        (members, _) = groups_of(trials_of(sweep_)).values()
        rows = [Executor(sweep_).run(pack(members, 4, width)[0])[0] for width in (1, 2, 4)]
        for other in rows[1:]:
            for a, b in zip(rows[0], other, strict=True):
                assert a["log_reach"] == pytest.approx(b["log_reach"], abs=1e-14)
                assert a["noise"] == b["noise"]


class TestAgain:
    def test_what_is_done_is_not_run(self, done):
        launcher = InProcess()
        before = sorted(path.name for path in (done[0] / "parts").glob("part-*"))
        sweep(Sweep(task=throw, axes=AXES), done[0], launcher=launcher)
        assert not launcher._executors
        assert sorted(path.name for path in (done[0] / "parts").glob("part-*")) == before

    def test_new_points_are_added_and_old_ones_kept(self, tmp_path):
        sweep(Sweep(task=throw, axes={"angle": [0.1, 0.2, 0.3]}), tmp_path)
        said = []
        results = sweep(
            Sweep(task=throw, axes={"angle": [0.1, 0.2, 0.4]}), tmp_path, progress=said.append
        )
        assert "axes" in said[0]
        assert results.status() == {
            "trials": 3, "missing": 0, "orphans": 1, "done": 3, "by_status": {"ok": 4}
        }  # fmt: skip

    def test_another_sweep_is_refused(self, done, tmp_path):
        with pytest.raises(InputError, match=r"is another sweep \(seed"):
            sweep(Sweep(task=throw, axes=AXES, seed=1), done[0])
        (tmp_path / "notes.txt").write_text("mine")
        with pytest.raises(InputError, match="holds other files"):
            sweep(Sweep(task=throw, axes=AXES), tmp_path)
        with pytest.raises(InputError, match="holds no sweep"):
            Results(tmp_path)


class TestBadPoints:
    def test_become_rows_and_the_others_go_on(self, tmp_path):
        axes = {"angle": [0.1, 0.2], "speed": [1.0, -1.0]}
        task = FunctionTask(function=distance, config=Checked, objective="log_reach")
        results = sweep(Sweep(task=task, axes=axes), tmp_path)
        assert results.status()["by_status"] == {"ok": 2, "refused": 2}
        assert {row["reason"] for row in results.failures()} == {"speed: is negative; raise it"}
        assert results.best()["speed"] == 1.0

    def test_a_function_that_raises_fails_its_points(self, tmp_path):
        def broken(config, key):
            if config.power == 2:
                raise RuntimeError("no such power")
            return {"log_reach": config.angle}

        task = FunctionTask(function=broken, config=Throw, objective="log_reach")
        results = sweep(Sweep(task=task, axes={"power": [1, 2]}), tmp_path)
        assert results.status()["by_status"] == {"failed": 1, "ok": 1}
        assert "no such power" in results.failures()[0]["reason"]

    def test_metrics_that_are_no_columns_are_refused(self, tmp_path):
        def named(config, key):
            return {"angle": config.angle}

        task = FunctionTask(function=named, config=Throw, objective="angle")
        with pytest.raises(InputError, match="already"):
            sweep(Sweep(task=task, axes={"power": [1, 2]}), tmp_path)

    def test_an_objective_that_is_no_metric_stores_nothing(self, tmp_path):
        asked = {"axes": {"power": [1, 2]}, "objective": "log_reech", "maximise": True}
        with pytest.raises(InputError, match=r"'log_reech' is no metric"):
            sweep(Sweep(task=throw, **asked), tmp_path)
        assert not list((tmp_path / "parts").glob("part-*"))

    def test_fields_that_are_columns_are_refused(self):
        @dataclasses.dataclass(frozen=True)
        class Wide:
            chunk: Static[int] = 1

        task = FunctionTask(function=distance, config=Wide, objective="log_reach")
        with pytest.raises(InputError, match="'chunk' is a column"):
            Sweep(task=task, axes={"chunk": [1, 2]})

    def test_a_lane_that_raises_fails_alone(self, tmp_path, monkeypatch):
        run = Executor.run

        def fragile(self, chunk, **options):
            if any(trial.values["seed"] == 2 for trial in chunk.trials):
                raise RuntimeError("two is too much")
            return run(self, chunk, **options)

        monkeypatch.setattr(Executor, "run", fragile)
        results = sweep(Sweep(task=throw, axes={"seed": Range(0, 3)}), tmp_path)
        assert results.status()["by_status"] == {"failed": 1, "ok": 3}
        assert results.failures()[0]["seed"] == 2

    def test_numbers_that_do_not_fit_are_refused(self, monkeypatch):
        monkeypatch.setattr(jax.dtypes, "canonicalize_dtype", lambda kind: np.dtype("int32"))
        (trial,) = trials_of(Sweep(task=throw, points=({"seed": 3_000_000_000},)))
        assert "does not fit" in trial.refusal

    def test_infinite_objectives_are_not_the_best(self, tmp_path):
        def far(config, key):
            return {"log_reach": jnp.where(config.angle > 0.5, jnp.inf, config.angle)}

        task = FunctionTask(function=far, config=Throw, objective="log_reach", maximise=True)
        results = sweep(Sweep(task=task, axes={"angle": [0.1, 0.4, 0.9]}), tmp_path)
        assert results.best()["angle"] == 0.4

    def test_points_of_other_definitions_are_not_the_best(self, tmp_path):
        sweep(Sweep(task=throw, axes={"angle": [0.1, 0.785]}), tmp_path)
        results = sweep(Sweep(task=throw, axes={"angle": [0.1, 0.2]}), tmp_path)
        assert results.best()["angle"] == 0.2

    def test_the_same_point_twice(self):
        points = ({"angle": 0.5}, {"power": 1})  # both are the defaults
        with pytest.raises(InputError, match=r"point 1.* twice"):
            trials_of(Sweep(task=throw, points=points, fixed={"seed": 0}))


class TestSeeds:
    def test_a_field_that_is_not_given_differs_from_trial_to_trial(self):
        found = [trial.values["seed"] for trial in trials_of(Sweep(task=throw, axes=AXES))]
        assert len(set(found)) == len(found)
        assert found == [trial.values["seed"] for trial in trials_of(Sweep(task=throw, axes=AXES))]

    def test_one_that_is_fixed_is_shared(self):
        definition = Sweep(task=throw, axes=AXES, fixed={"seed": 5})
        assert {trial.values["seed"] for trial in trials_of(definition)} == {5}


class TestSegments:
    def test_a_stop_is_gone_on_from(self, tmp_path, monkeypatch):
        definition = Sweep(task=walk, axes={"step": [0.1, 0.2, 0.3]})
        whole = sweep(definition, tmp_path / "whole").table("SELECT * FROM trials ORDER BY trial")
        calls = []
        advanced = Executor.run

        def counted(self, chunk, *, save=None, **options):
            def watched(state, done):
                calls.append(done)
                if done == 2:
                    signal.raise_signal(signal.SIGTERM)
                save(state, done)

            return advanced(self, chunk, save=watched, **options)

        monkeypatch.setattr(Executor, "run", counted)
        with pytest.raises(Preempted, match="goes on"):
            sweep(definition, tmp_path / "cut")
        assert calls == [1, 2]
        assert len(list((tmp_path / "cut" / "checkpoints").glob("*/*"))) == 1
        found = sweep(definition, tmp_path / "cut").table("SELECT * FROM trials ORDER BY trial")
        assert calls == [1, 2, 3, 4, 5]  # none twice
        for a, b in zip(whole, found, strict=True):
            assert a["place"] == b["place"] == pytest.approx(a["begin"] + 6 * a["step"])
        assert not list((tmp_path / "cut" / "checkpoints").iterdir())
        assert Store(tmp_path / "cut").attempts(found[0]["chunk"]) == 0

    def test_ctrl_c(self, tmp_path, monkeypatch):
        monkeypatch.setattr(
            Executor, "run", lambda *a, **o: signal.raise_signal(signal.SIGINT) or ([{}] * 3, None)
        )
        with pytest.raises(KeyboardInterrupt):
            sweep(Sweep(task=walk, axes={"step": [0.1, 0.2, 0.3]}), tmp_path, lanes=1)

    def test_a_damaged_checkpoint_is_not_gone_on_from(self, tmp_path, monkeypatch):
        definition = Sweep(task=walk, axes={"step": [0.1, 0.2]})
        run = Executor.run

        def cut(self, chunk, *, save=None, **options):
            def watched(state, done):
                save(state, done)
                if done == 4:
                    raise KeyboardInterrupt

            return run(self, chunk, save=watched, **options)

        monkeypatch.setattr(Executor, "run", cut)
        with pytest.raises(KeyboardInterrupt):
            sweep(definition, tmp_path, checkpoint_seconds=0.0)
        monkeypatch.undo()
        kept = sorted((tmp_path / "checkpoints").glob("*/0*"))
        assert [place.name for place in kept] == ["000003", "000004"]
        archive = kept[1] / "state.npz"
        data = bytearray(archive.read_bytes())
        data[len(data) // 2] ^= 1
        archive.write_bytes(bytes(data))
        with pytest.warns(UserWarning, match="is damaged"):
            rows = sweep(definition, tmp_path).table()
        assert all(r["place"] == pytest.approx(r["begin"] + 6 * r["step"]) for r in rows)


class TestHalving:
    def test_a_task_without_segments_and_another_halving_are_refused(self, tmp_path):
        axes = {"angle": [0.1, 0.2, 0.3]}
        with pytest.raises(InputError, match="no segments"):
            sweep(Sweep(task=throw, axes=axes, halving=Halving()), tmp_path / "throw")
        steps = {"step": [0.1, 0.2, 0.3]}
        sweep(Sweep(task=walk, axes=steps, halving=Halving()), tmp_path / "walk")
        with pytest.raises(InputError, match="halving"):
            sweep(Sweep(task=walk, axes=steps), tmp_path / "walk")

    def test_the_best_go_on_from_where_they_stand(self, tmp_path):
        steps = np.linspace(1.0, 19.0, 9).tolist()
        definition = Sweep(task=walk, axes={"step": steps}, fixed={"length": 9}, halving=Halving())
        results = sweep(definition, tmp_path)
        rows = results.table("SELECT rung, step, done, segments, place, begin FROM rows")
        by_rung = {k: sorted(r["step"] for r in rows if r["rung"] == k) for k in range(3)}
        assert [len(by_rung[k]) for k in range(3)] == [9, 3, 1]
        assert by_rung[1] == steps[-3:]
        assert by_rung[2] == steps[-1:]
        for row in rows:
            assert row["done"] == row["segments"] == (1, 3, 9)[row["rung"]]
            assert row["place"] == pytest.approx(row["begin"] + row["done"] * row["step"])
        assert results.best()["step"] == 19.0
        assert len(results.leaderboard()) == 1

    def test_lost_states_are_computed_again(self, tmp_path, monkeypatch):
        definition = Sweep(
            task=walk, axes={"step": [0.1, 0.2, 3.0]}, fixed={"length": 4},
            halving=Halving(rungs=2),
        )  # fmt: skip
        sweep(definition, tmp_path)
        assert not (tmp_path / "states").exists()
        for path in (tmp_path / "parts").glob("part-*"):
            if Results(tmp_path).store.table(
                f"SELECT max(rung) AS rung FROM read_parquet('{path}')"
            )[0]["rung"]:
                path.unlink()
        best = sweep(definition, tmp_path).best()
        assert best["place"] == pytest.approx(best["begin"] + 12.0)

    def test_survivors_in_lockstep_are_packed_anew(self, tmp_path):
        class Lockstep(InProcess):
            def plan(self, job, trial, count, **options):
                found = super().plan(job, trial, count, **options)
                return dataclasses.replace(found, width=found.lanes)

        definition = Sweep(
            task=walk, axes={"step": np.linspace(1.0, 9.0, 9).tolist()}, halving=Halving()
        )
        rows = sweep(definition, tmp_path, launcher=Lockstep()).table("SELECT * FROM rows")
        assert {(r["rung"], r["lanes"], r["lockstep"]) for r in rows} == {
            (0, 9, 9), (1, 3, 3), (2, 1, 1),
        }  # fmt: skip


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
class TestProposals:
    def test_come_near_the_best_and_go_on_after_a_kill(self, tmp_path):
        pytest.importorskip("optuna")
        definition = Sweep(
            task=throw, axes={"angle": Range(0.0, 1.5), "power": [1, 2]}, fixed={"seed": 0},
            proposals=Proposals(num_trials=24, batch_size=8, startup=8),
        )  # fmt: skip
        results = sweep(definition, tmp_path, lanes=8)
        assert results.best()["log_reach"] > 0.99
        rows = {row["trial"] for row in results.table()}
        assert len(rows) == 24
        lost = sorted((tmp_path / "parts").glob("part-*"))[0]
        lost.unlink()
        again = sweep(definition, tmp_path, lanes=8)
        assert {row["trial"] for row in again.table()} == rows
        (tmp_path / "batches" / "batch-00000.json").unlink()
        assert len(sweep(definition, tmp_path, lanes=8).table()) == 24


class TestAttempts:
    def test_only_those_that_died_count(self, tmp_path):
        definition = Sweep(task=throw, axes={"seed": Range(0, 1)})
        for _ in range(4):
            results = sweep(definition, tmp_path, lanes=1)
            for path in (tmp_path / "parts").glob("part-*"):
                path.unlink()
        assert sweep(definition, tmp_path, lanes=1).status()["by_status"] == {"ok": 2}
        assert results.store.attempts(next((tmp_path / "attempts").iterdir()).name) == 0


class TestMemory:
    def test_too_many_lanes_are_halved(self, tmp_path, monkeypatch):
        def little(self, chunk, **options):
            if chunk.lanes > 2:
                raise MemoryError("too small a machine")
            return run(self, chunk, **options)

        run = Executor.run
        monkeypatch.setattr(Executor, "run", little)
        with pytest.warns(UserWarning, match=r"[48] lanes need more memory"):
            results = sweep(Sweep(task=throw, axes={"seed": Range(0, 7)}), tmp_path)
        assert results.status()["by_status"] == {"ok": 8}
        assert {row["lanes"] for row in results.table()} == {2}

    def test_one_lane_that_does_not_fit(self, tmp_path, monkeypatch):
        def none(self, chunk, **options):
            raise MemoryError("too small a machine")

        monkeypatch.setattr(Executor, "run", none)
        results = sweep(Sweep(task=throw, axes={"power": [1, 2]}), tmp_path)
        assert results.status()["by_status"] == {"failed": 2}
        assert "one lane needs more memory" in results.failures()[0]["reason"]


def together(folder):
    """All rows of a store in one part."""
    store = Store(folder)
    rows = store.table()
    with store.head() as token:
        for path in (folder / "parts").glob("part-*"):
            path.unlink()
        store.commit("together", rows, token)


class TestDevice:
    def test_one_that_fails_ends_the_process_and_counts(self, tmp_path, monkeypatch):
        def lost(self, chunk, **options):
            if any(trial.values["seed"] == 1 for trial in chunk.trials):
                raise jax.errors.JaxRuntimeError("INTERNAL: CUDA_ERROR_ILLEGAL_ADDRESS")
            return run(self, chunk, **options)

        run = Executor.run
        monkeypatch.setattr(Executor, "run", lost)
        definition = Sweep(task=throw, axes={"seed": Range(0, 1)})
        # as a chunk, then alone
        for _ in range(2 * trials_module.MAX_ATTEMPTS):
            with pytest.raises(DeviceError, match="ILLEGAL_ADDRESS"):
                sweep(definition, tmp_path)
        results = sweep(definition, tmp_path)
        assert results.status()["by_status"] == {"ok": 1, "poison": 1}


class TestRetry:
    @pytest.fixture
    def definition(self):
        return Sweep(task=throw, axes={"seed": Range(0, 4)})

    @pytest.fixture
    def failed(self, definition, tmp_path, monkeypatch):
        """A folder where one point failed that would not now, and how its rows came to be."""

        def fragile(self, chunk, **options):
            if any(trial.values["seed"] == 2 for trial in chunk.trials):
                raise OSError("the disk was away")
            return run(self, chunk, **options)

        run = Executor.run
        with monkeypatch.context() as patch:
            patch.setattr(Executor, "run", fragile)
            results = sweep(definition, tmp_path, lanes=2)
        assert results.status()["by_status"] == {"failed": 1, "ok": 4}
        return tmp_path, {row["trial"]: row for row in results.table() if row["status"] == "ok"}

    def test_runs_again_what_is_asked_for_alone(self, failed, definition):
        folder, before = failed
        assert sweep(definition, folder, retry=["poison"]).status()["by_status"]["failed"] == 1
        results = sweep(definition, folder, lanes=2, retry=["failed"])
        assert results.status()["by_status"] == {"ok": 5}
        assert {**before, **{row["trial"]: row for row in results.table()}} == {
            row["trial"]: row for row in results.table()
        }
        assert len(list((folder / "replaced").iterdir())) == 1

    def test_other_rows_of_a_part_are_kept(self, failed, definition):
        folder, before = failed
        together(folder)
        results = sweep(definition, folder, lanes=2, retry=("failed", "refused"))
        assert results.status()["by_status"] == {"ok": 5}
        kept = {row["trial"]: row for row in results.table() if row["trial"] in before}
        assert kept == before

    def test_rows_of_other_definitions_stay(self, failed, definition):
        folder, _ = failed
        fewer = dataclasses.replace(definition, axes={"seed": [0, 1, 3]})
        assert sweep(fewer, folder, retry=["failed"]).status()["orphans"] == 2
        assert not (folder / "replaced").exists()

    def test_one_that_was_cut_off_is_brought_to_an_end(self, failed, definition):
        folder, _ = failed
        together(folder)
        (old,) = (folder / "parts").glob("part-together-*")
        content = old.read_bytes()
        sweep(definition, folder, lanes=2, retry=["failed"])
        # as if killed before the old part was taken away
        old.write_bytes(content)
        sweep(definition, folder, lanes=2)
        names = [path.name for path in (folder / "parts").glob("part-*")]
        assert len(names) == 2
        assert old.name not in names

    def test_deaths_of_before_count_no_more(self, tmp_path, definition):
        trials = trials_of(definition)
        store = Store(tmp_path)
        with store.head() as token:
            store.create(definition)
            chunk = pack(trials[:1], 1, 1)[0].id
            for _ in range(3):
                store.begin(chunk)
            row = {**work.provenance(), "trial": trials[0].id, "rung": 0, "status": "poison"}
            store.commit("dead", [{**row, "reason": "it died"}], token)
        results = sweep(definition, tmp_path, lanes=1, retry=["poison"])
        assert results.status()["by_status"] == {"ok": 5}

    def test_a_status_that_cannot_be(self, tmp_path, definition):
        for wrong in ("failed", ["ok"]):
            with pytest.raises(InputError, match="retry"):
                sweep(definition, tmp_path / "out", retry=wrong)


class TestPlan:
    def test_counts_all_rungs_and_leaves_nothing(self, tmp_path):
        definition = Sweep(
            task=walk, axes={"step": np.linspace(1.0, 9.0, 9).tolist()}, fixed={"length": 9},
            halving=Halving(),
        )  # fmt: skip
        found = plan(definition, tmp_path, lanes=2)
        assert (found.trials, found.chunks, found.num_workers) == (9, 5 + 2 + 1, 1)
        full = plan(dataclasses.replace(definition, halving=None), tmp_path, lanes=2)
        assert (full.chunks, full.groups[0].segments) == (5, 9)
        assert found.seconds > 0
        assert found.compile_seconds > 0
        assert found.num_bytes > 0
        assert not list(tmp_path.iterdir())

    def test_points_that_cannot_be_run_and_those_not_known(self):
        found = plan(Sweep(task=throw, axes={"speed": [1.0, -1.0], "power": [1, 2]}))
        assert [trial.values["power"] for trial in found.refused] == [1, 2]
        assert [group.trials for group in found.groups] == [1, 1]
        with pytest.raises(InputError, match="not known before"):
            plan(Sweep(task=throw, axes={"angle": Range(0.0, 1.0)}, proposals=Proposals()))

    def test_the_longest_chunk_is_not_shared(self):
        group = planning.GroupPlan("g", 3, 3, 1, 1, 1, 8, 1.0, 12.0)
        assert SweepPlan(3, (), (group,), 2).seconds == 12.0
        assert SweepPlan(12, (), (dataclasses.replace(group, trials=12),), 2).seconds == 6.0
        assert [group.size(count, 2) for count in (0, 1, 3, 4, 9)] == [1, 1, 2, 2, 3]

    def test_a_point_that_raises_is_timed_as_none(self):
        definition = Sweep(task=raising, axes={"seed": Range(0, 1)})
        assert plan(definition).groups[0].seconds is None

    def test_memory_is_no_more_than_that_of_the_control_group(self, monkeypatch):
        monkeypatch.setattr(planning, "_group_memory", list)
        half = planning.available_memory(jax.devices()[0], 0.5)
        assert half < 0.9 * planning.available_memory(jax.devices()[0])
        monkeypatch.setattr(planning, "_group_memory", lambda: [12345])
        assert planning.available_memory(jax.devices()[0]) == 12345


def test_lanes_that_are_not_used_cost_nothing():
    definition = Sweep(task=walk, axes={"step": [1.0, 2.0, 3.0]})
    (chunk,) = pack(trials_of(definition), 8, 1)
    rows, state = Executor(definition).run(chunk)
    assert [row["status"] for row in rows] == ["ok"] * 3
    # none has advanced, nor begun
    assert np.asarray(state["done"]).tolist() == [6, 6, 6, 0, 0, 0, 0, 0]
    assert not np.asarray(state["begin"])[3:].any()


def test_what_each_part_of_the_work_may_take_is_told():
    definition = Sweep(task=walk, axes={"step": [1.0, 2.0]}, fixed={"length": 3})
    trials, beats = trials_of(definition), []
    (chunk,) = pack(trials, 2, 1, alone={trials[0].id})
    Executor(definition).run(chunk, beat=beats.append)
    # segments, the end, one point alone with its compilation, and the rows
    assert beats == [1, 1, 1, 1, 6, 1]


class TestStrangers:
    """Launchers and heads that are not as they should be."""

    def test_a_sweep_that_is_taken_away_is_no_sweep_that_is_done(self, tmp_path):
        class Taken(InProcess):
            def plan(self, *arguments, **options):
                raise Stopped

        with pytest.raises(StorageError, match="taken the sweep over"):
            sweep(Sweep(task=throw, axes={"power": [1, 2]}), tmp_path, launcher=Taken())

    @pytest.mark.filterwarnings("ignore:chunk .* runs again")
    def test_workers_that_never_begin(self, tmp_path):
        class Dying(InProcess):
            def run(self, job, chunks, stop):
                return (work.Report(chunk.id, "died", "it fell") for chunk in chunks)

        with pytest.raises(DeviceError, match="before they begin"):
            sweep(Sweep(task=throw, axes={"power": [1, 2]}), tmp_path, launcher=Dying())

    @pytest.mark.filterwarnings("ignore:chunk .* runs again")
    def test_workers_that_die_after_a_checkpoint_have_begun(self, tmp_path):
        rounds = []

        class Harried(InProcess):
            def run(self, job, chunks, stop):
                rounds.append(len(chunks))
                if len(rounds) > 2 * head.MAX_EARLY:
                    yield from super().run(job, chunks, stop)
                    return
                store = Store(job.folder)
                for chunk in chunks:
                    store.forgive(chunk.id, store.begin(chunk.id))
                    yield work.Report(chunk.id, "died", "it was killed")

        results = sweep(Sweep(task=throw, axes={"seed": [0, 1]}), tmp_path, launcher=Harried())
        assert results.status()["by_status"] == {"ok": 2}


class TestMending:
    def test_a_definition_that_gave_nothing_can_be_mended(self, tmp_path):
        wrong = Sweep(task=throw, axes={"power": [1, 2]}, objective="height", maximise=True)
        with pytest.raises(InputError, match="no metric"):
            sweep(wrong, tmp_path)
        right = dataclasses.replace(wrong, objective="noise")
        assert sweep(right, tmp_path).status()["by_status"] == {"ok": 2}
        with pytest.raises(InputError, match="another sweep"):
            sweep(dataclasses.replace(wrong, objective="log_reach"), tmp_path)


def strange(config, key):
    if config.power == 2:
        sys.exit(7)
    return {"x": config.angle, **({'a"b': config.angle} if config.power == 3 else {})}


def fail(config, key):
    def refuse(x):
        raise RuntimeError("no good")

    like = jax.ShapeDtypeStruct((), config.angle.dtype)
    return {"x": jax.pure_callback(refuse, like, config.angle)}


raising = FunctionTask(function=fail, config=Throw, objective="x")


class TestPointsThatGoWrong:
    def test_seeds_that_are_drawn_fit(self):
        trials = trials_of(Sweep(task=throw, axes={"angle": Range(0.0, 1.0, num=16)}))
        assert all(0 <= trial.values["seed"] < 2**31 for trial in trials)

    def test_the_end_of_what_a_callback_says(self, tmp_path):
        results = sweep(Sweep(task=raising, axes={"seed": Range(0, 1)}), tmp_path)
        assert all("no good" in row["reason"] for row in results.failures())
        assert results.status()["by_status"] == {"failed": 2}

    def test_one_that_ends_its_process(self, tmp_path):
        task = FunctionTask(function=strange, config=Throw, objective="x")
        results = sweep(Sweep(task=task, axes={"power": [1, 2, 10**20]}), tmp_path / "exit")
        assert results.status()["by_status"] == {"failed": 1, "ok": 2}
        with pytest.raises(InputError, match="no name of a column"):
            sweep(Sweep(task=task, axes={"power": [3, 4]}), tmp_path / "name")

    def test_a_constructor_that_raises_anything(self, tmp_path):
        @dataclasses.dataclass(frozen=True)
        class Picky(Throw):
            def __post_init__(self):
                {1: "one"}[self.power]

        task = FunctionTask(function=distance, config=Picky, objective="log_reach")
        results = sweep(Sweep(task=task, axes={"power": [1, 2]}), tmp_path)
        assert results.status()["by_status"] == {"ok": 1, "refused": 1}
        assert results.failures()[0]["reason"] == "KeyError: 2"


def test_only_processes_can_be_ended(tmp_path):
    with pytest.raises(InputError, match="time_limit"):
        sweep(Sweep(task=throw, axes={"power": [1, 2]}), tmp_path / "out", time_limit=1.0)
    assert not (tmp_path / "out").exists()


def test_without_duckdb_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "duckdb", None)
    with pytest.raises(InputError, match=r"geojax-engine\[sweep\]"):
        sweep(Sweep(task=throw, axes={"power": [1, 2]}), tmp_path / "out")
    assert not (tmp_path / "out").exists()


class TestVersions:
    def test_rows_of_other_code_are_kept_and_told(self, tmp_path, monkeypatch):
        definition = Sweep(task=throw, axes={"seed": Range(0, 1)})
        sweep(definition, tmp_path)
        new = {**work._code(), "revision": "another"}
        monkeypatch.setattr(work, "_code", lambda: new)
        with pytest.warns(UserWarning, match="other versions computed"):
            sweep(definition, tmp_path)


class TestHeads:
    def test_the_second_is_refused(self, done):
        with Store(done[0]).head(), pytest.raises(StorageError, match="another process"):
            sweep(Sweep(task=throw, axes=AXES), done[0])

    def test_rows_of_an_earlier_head_are_refused(self, tmp_path):
        store = Store(tmp_path)
        store.create(Sweep(task=throw, axes=AXES))
        with store.head() as old:
            store.commit("a", [{"trial": "1", "rung": 0, "status": "ok"}], old)
        with store.head() as new:
            assert store.is_stopped(old)
            with pytest.raises(Exception, match=r"^$"):
                store.commit("b", [{"trial": "2", "rung": 0, "status": "ok"}], old)
            store.commit("b", [{"trial": "2", "rung": 0, "status": "ok"}], new)
            # the first that is stored stands
            store.commit("b", [{"trial": "2", "rung": 0, "status": "late"}], new)
        assert [row["status"] for row in store.table()] == ["ok", "ok"]


class TestOrders:
    def test_a_chunk_comes_back_from_json(self):
        (members, _) = groups_of(trials_of(Sweep(task=throw, axes=AXES))).values()
        chunk = pack(members, 3, 2, rung=1, segments=(2, 5), sources={members[0].id: "a"})[0]
        again = Chunk.from_dict(json.loads(json.dumps(chunk.to_dict())))
        assert again == chunk

    def test_keys_are_folded_in(self):
        trial = trials_of(Sweep(task=throw, axes=AXES))[0]
        half = jax.random.fold_in(jax.random.key(7), int(trial.id[:8], 16))
        expected = jax.random.fold_in(half, int(trial.id[8:16], 16))
        (found,) = trials_module.key_data(7, [trial])
        assert np.array_equal(found, np.asarray(jax.random.key_data(expected)))


class Checked(Throw):
    def __post_init__(self):
        if self.speed < 0:
            raise InputError("speed: is negative; raise it")
