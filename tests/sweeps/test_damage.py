"""Kills at every call of a write, and damage to every file of sweeps that were cut off."""

import os
import shutil
import subprocess
import sys
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from geojax.sweeps import Halving, InProcess, Proposals, Range, Sweep, sweep, work
from geojax.sweeps.choose import Chooser
from geojax.sweeps.execute import Executor
from geojax.sweeps.store import Store
from tests.sweeps import kills
from tests.sweeps.test_store import DAMAGES
from tests.sweeps.throws import throw, walk

HALVED = Sweep(
    task=walk, axes={"step": np.linspace(1.0, 19.0, 9).tolist()}, fixed={"length": 9},
    halving=Halving(),
)  # fmt: skip
PROPOSED = Sweep(
    task=throw, axes={"angle": Range(0.0, 1.5)}, fixed={"seed": 0},
    proposals=Proposals(num_trials=12, batch_size=4, startup=4),
)  # fmt: skip


def values(results):
    rows = results.table("SELECT * FROM rows ORDER BY trial, rung")
    names = ("trial", "rung", "step", "angle", "status", "segments", "place", "begin", "log_reach")
    return [[row.get(name) for name in names] for row in rows]


@pytest.fixture(scope="module")
def launcher():
    """One that keeps its programs from test to test."""
    return InProcess()


@pytest.fixture(scope="module")
def expected(tmp_path_factory, launcher):
    return values(sweep(HALVED, tmp_path_factory.mktemp("whole"), launcher=launcher, lanes=3))


@pytest.fixture(scope="module")
def cut(tmp_path_factory, launcher):
    """A halving that was killed in its last rung, with two checkpoints and one attempt."""
    folder, run = tmp_path_factory.mktemp("cut"), Executor.run

    def fragile(self, chunk, *, save=None, **options):
        def watched(state, done):
            assert save is not None
            save(state, done)
            if done == 6:
                raise KeyboardInterrupt

        return run(self, chunk, save=watched, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Executor, "run", fragile)
        patch.setattr(Store, "forgive", lambda *_: None)  # as where its process dies
        with pytest.raises(KeyboardInterrupt):
            sweep(HALVED, folder, launcher=launcher, lanes=3, checkpoint_seconds=0.0)
    return folder


def names_of(folder):
    return sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())


class TestHalving:
    def test_what_is_there(self, cut):
        kinds = [path.parts[0] for path in names_of(cut) if path.name != ".lock"]
        counts = {kind: kinds.count(kind) for kind in kinds}
        assert counts == {
            "sweep.json": 1, "head.json": 1, ".head.json": 1, "parts": 4, "attempts": 5,
            "checkpoints": 4, "states": 8,
        }  # fmt: skip

    @pytest.mark.parametrize("damage", DAMAGES)
    @pytest.mark.parametrize("kind", ["states", "checkpoints"])
    def test_every_state_damaged_in_turn(self, cut, launcher, expected, damage, kind, tmp_path):
        # the others are not read, since this one is whole
        newest = {"states": "000003", "checkpoints": "000006"}[kind]
        for name in (name for name in names_of(cut) if name.parts[0] == kind):
            folder = tmp_path / "-".join(name.parts)
            shutil.copytree(cut, folder)
            if kind == "states":  # which are read where no checkpoint is
                shutil.rmtree(folder / "checkpoints")
            damage(folder / name)
            with warnings.catch_warnings(record=True) as told:
                warnings.simplefilter("always")
                again = sweep(HALVED, folder, launcher=launcher, lanes=3)
            assert values(again) == expected, name
            # one without its manifest counts as cut off
            cut_off = damage is os.unlink and name.name == "manifest.json"
            assert len(told) == (name.parts[-2] == newest and not cut_off), name
            for warning in told:
                assert name.name in str(warning.message)
                assert "is damaged" in str(warning.message)
            # chunks have the names that they had before the kill, and their states are cleared
            assert not list((folder / "checkpoints").iterdir())

    def test_attempts_that_are_gone(self, cut, launcher, expected, tmp_path):
        shutil.copytree(cut, tmp_path, dirs_exist_ok=True)
        shutil.rmtree(tmp_path / "attempts")
        assert values(sweep(HALVED, tmp_path, launcher=launcher, lanes=3)) == expected

    def test_no_flip_in_a_manifest_passes_for_another_state(self, cut, tmp_path):
        (place,) = cut.glob("checkpoints/*/000006")
        good = work._load(place)
        assert good is not None
        whole = (place / "manifest.json").read_bytes()
        for position in range(len(whole)):
            data = bytearray(whole)
            data[position] ^= 1 << position % 8
            copy = shutil.copytree(place, tmp_path / f"{position:06d}")
            (copy / "manifest.json").write_bytes(bytes(data))
            with warnings.catch_warnings(record=True) as told:
                warnings.simplefilter("always")
                found = work._load(copy)
            if found is None:
                assert "is damaged" in str(told[0].message)
            else:  # what is not read, such as a type
                assert found[1] == good[1], data
                assert all(map(np.array_equal, found[0], good[0])), data


@pytest.fixture(scope="module")
def proposed(tmp_path_factory, launcher):
    pytest.importorskip("optuna")
    folder = tmp_path_factory.mktemp("proposed")
    with warnings.catch_warnings():  # the mark is not for fixtures
        warnings.simplefilter("ignore")
        return folder, values(sweep(PROPOSED, folder, launcher=launcher, lanes=4))


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
class TestProposals:
    @pytest.mark.parametrize("damage", DAMAGES)
    @pytest.mark.parametrize(
        ("number", "when"),
        [(0, "done"), (0, "asked"), (0, "unasked"), (1, "unasked"), (2, "done"), (2, "asked")],
    )
    def test_batches(self, proposed, launcher, damage, number, when, tmp_path):
        """Of a sweep that is done, or was killed before the last batch was run, or asked for."""
        folder, expected = proposed
        shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
        batch = tmp_path / "batches" / f"batch-{number:05d}.json"
        if when != "done":
            parts = (tmp_path / "parts").glob("part-*")
            max(parts, key=lambda path: path.stat().st_mtime_ns).unlink()
        if when == "unasked":
            (tmp_path / "batches" / "batch-00002.json").unlink()
        damage(batch)
        with warnings.catch_warnings(record=True) as told:
            warnings.filterwarnings("always", ".* is damaged")
            # packed otherwise, so that what ran twice would be stored twice
            again = sweep(PROPOSED, tmp_path, launcher=launcher, lanes=2)
        told = [str(warning.message) for warning in told]
        assert bool(told) == (damage is not os.unlink)
        assert all(f"{batch.name}: is damaged" in message for message in told)
        parts = [str(path) for path in (tmp_path / "parts").glob("part-*")]
        assert again.table(f"SELECT count(*) AS rows FROM read_parquet({parts})") == [{"rows": 12}]
        if when == "unasked" and number == 0:
            # the last proposals come from less; none is lost, none run twice
            assert len([row for row in values(again) if row in expected]) == 8
        else:
            assert values(again) == expected


class _Executor(Executor):
    def __init__(self):
        self.device = None

    def state_like(self, chunk):
        return {"place": jax.ShapeDtypeStruct((1, 3), jnp.float64)}


def test_a_kill_at_each_call_of_a_write(tmp_path):
    command = [sys.executable, kills.__file__, str(tmp_path)]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    tries = {name: sorted((tmp_path / name).iterdir()) for name in kills.WRITES}
    found = []
    for folder in tries["commit"]:
        store = Store(folder)
        found.append(len(store.table()))
        with store.head() as token:
            assert not list((folder / "parts").glob(".chunk.*"))
            store.commit(kills.CHUNK.id, [kills.ROW], token)
        (row,) = store.table()
        assert {name: row[name] for name in kills.ROW} == kills.ROW
        assert len(list((folder / "parts").glob("part-*"))) == 1
    assert found == sorted(found)
    assert set(found) == {0, 1}
    found = []
    for folder in tries["save"]:
        state, done = work._standing(kills.CHUNK, _Executor(), Store(folder))
        assert np.all(state["place"] == done / 7)
        found.append(done)
    assert found == sorted(found)
    assert set(found) == {2, 3}
    found = []
    for folder in tries["remember"]:
        asked = Chooser._asked(kills.Folder(Store(folder)))  # pyright: ignore
        assert asked in ([], [kills.TRIAL.values])
        found.append(len(asked))
    assert found == sorted(found)
    assert set(found) == {0, 1}


def test_states_that_were_cut_off_take_no_place(tmp_path):
    """Of later segments, begun by a process that was killed, whose work is done again."""
    folder = tmp_path / "checkpoints" / kills.CHUNK.id
    kills.checkpoint(tmp_path, 5)
    for later in (8, 9):
        kills.checkpoint(tmp_path, later)
        (folder / f"{later:06d}" / "manifest.json").unlink()
    kills.checkpoint(tmp_path, 6)
    assert [place.name for place in sorted(folder.iterdir())] == ["000005", "000006"]
