"""What is stored survives damage, and damage is found."""

import errno
import os
import resource
import signal

import numpy as np
import pytest

from geojax._core.errors import InputError, StorageError
from geojax.sweeps import InProcess, Results, Sweep, store as stores, sweep
from geojax.sweeps.store import Store
from tests.sweeps.throws import throw

DEFINITION = Sweep(task=throw, axes={"angle": np.linspace(0.1, 1.2, 6).tolist()}, fixed={"seed": 0})


def values(results):
    rows = results.table("SELECT trial, log_reach, noise FROM rows ORDER BY trial")
    return [tuple(row.values()) for row in rows]


@pytest.fixture(scope="module")
def launcher():
    """One that keeps its programs from test to test."""
    return InProcess()


@pytest.fixture
def folder(tmp_path, launcher):
    sweep(DEFINITION, tmp_path, launcher=launcher, lanes=2)
    return tmp_path


@pytest.fixture(scope="module")
def expected(tmp_path_factory, launcher):
    return values(sweep(DEFINITION, tmp_path_factory.mktemp("whole"), launcher=launcher, lanes=2))


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def zero(path):
    path.write_bytes(bytes(path.stat().st_size))


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 4
    path.write_bytes(bytes(data))


DAMAGES = (truncate, zero, flip, os.unlink)


@pytest.mark.parametrize("damage", DAMAGES)
def test_every_file_damaged_in_turn(folder, launcher, expected, damage):
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.stat().st_size)
    assert len([p for p in files if p.suffix == ".parquet"]) == 3
    for path in files:
        if not path.exists():  # a part that was put aside and written anew
            continue
        damage(path)
        part = path.suffix == ".parquet" and damage is not os.unlink
        definition = path.name == "sweep.json" and damage is not os.unlink
        if part or definition:
            with pytest.warns(UserWarning, match=f"{path.name}.*damaged"):
                again = sweep(DEFINITION, folder, launcher=launcher, lanes=2)
        else:
            again = sweep(DEFINITION, folder, launcher=launcher, lanes=2)
        assert values(again) == expected, path
    assert len(list((folder / "parts").glob("part-*"))) == 3


def test_only_what_is_damaged_runs_again(folder, launcher):
    before = {path.name: path.stat().st_mtime_ns for path in (folder / "parts").glob("part-*")}
    flip(sorted((folder / "parts").glob("part-*"))[1])
    with pytest.warns(UserWarning, match="damaged"):
        sweep(DEFINITION, folder, launcher=launcher, lanes=2)
    after = {path.name: path.stat().st_mtime_ns for path in (folder / "parts").glob("part-*")}
    assert sum(after.get(name) == when for name, when in before.items()) == 2


def test_a_damaged_definition_is_named(folder):
    flip(folder / "sweep.json")
    with pytest.raises(StorageError, match=r"sweep.json.*give the definition again"):
        Results(folder)


def test_a_full_disk_leaves_what_is_there(folder, launcher, expected):
    """Writes beyond a few bytes fail, as on a full disk."""
    lost = sorted((folder / "parts").glob("part-*"))[0]
    lost.unlink()
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (700, limits[1]))
    try:
        with pytest.raises(StorageError) as caught:
            sweep(DEFINITION, folder, launcher=launcher, lanes=2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, old)
    assert caught.value.exit_code == 4
    assert len(values(Results(folder, DEFINITION))) == 4
    assert not list((folder / "parts").glob(".*tmp*"))
    assert values(sweep(DEFINITION, folder, launcher=launcher, lanes=2)) == expected


def test_too_little_space_is_known_before(tmp_path, monkeypatch):
    monkeypatch.setattr(stores.shutil, "disk_usage", lambda _: _Full)
    with pytest.raises(StorageError, match="MiB are free"):
        sweep(DEFINITION, tmp_path)


class _Full:
    free = 0


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES, errno.ENOSPC])
def test_a_place_that_cannot_be_written(folder, launcher, monkeypatch, code):
    sorted((folder / "parts").glob("part-*"))[0].unlink()

    def fail(*arguments, **options):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(stores.os, "replace", fail)
    with pytest.raises(StorageError):
        sweep(DEFINITION, folder, launcher=launcher, lanes=2)
    monkeypatch.undo()
    assert not list((folder / "parts").glob(".*tmp*"))


class TestTables:
    def test_columns_may_be_added(self, tmp_path):
        store = Store(tmp_path)
        store.create(DEFINITION)
        base = {"rung": 0, "status": "ok"}
        with store.head() as token:
            store.commit("a", [{"trial": "1", **base, "x": 1, "curve": [1.0, float("nan")]}], token)
            store.commit("b", [{"trial": "2", **base, "y": [1, 2], "z": "it's", "w": None}], token)
        rows = store.table("SELECT * FROM rows ORDER BY trial")
        assert rows[0]["x"] == 1
        assert rows[0]["y"] is rows[1]["x"] is None
        assert rows[0]["curve"][0] == 1.0
        assert np.isnan(rows[0]["curve"][1])
        assert rows[1]["y"] == [1.0, 2.0]
        assert rows[1]["z"] == "it's"

    def test_the_last_rung_is_the_trial(self, tmp_path):
        store = Store(tmp_path)
        store.create(DEFINITION)
        with store.head() as token:
            for rung in (0, 1):
                row = {"trial": "1", "rung": rung, "status": "ok"}
                store.commit(f"chunk{rung}", [row], token)
        assert [row["rung"] for row in store.table("SELECT * FROM trials")] == [1]
        assert len(store.table()) == 2

    def test_an_empty_folder_has_an_empty_table(self, tmp_path):
        store = Store(tmp_path)
        store.create(DEFINITION)
        assert store.table("SELECT trial, status FROM trials") == []

    def test_a_wrong_query_is_named(self, folder):
        with pytest.raises(InputError, match="query"):
            Results(folder, DEFINITION).table("SELECT nothing FROM trials")

    @pytest.mark.parametrize("ending", ["csv", "parquet", "json"])
    def test_export(self, folder, tmp_path, ending):
        import duckdb

        path = Results(folder, DEFINITION).export(tmp_path / f"it's.{ending}")
        reader = {"csv": "csv", "parquet": "parquet", "json": "json_auto"}[ending]
        place = str(path).replace("'", "''")
        query = f"SELECT count(*), max(angle) FROM read_{reader}('{place}')"
        assert duckdb.sql(query).fetchall() == [(6, pytest.approx(1.2))]

    def test_export_to_another_ending(self, folder, tmp_path):
        results = Results(folder, DEFINITION)
        with pytest.raises(InputError, match="ending"):
            results.export(tmp_path / "table.xls")

    def test_leaderboard(self, folder):
        results = Results(folder, DEFINITION)
        rows = results.leaderboard(3)
        assert [r["log_reach"] for r in rows] == sorted(r["log_reach"] for r in rows)[::-1]
        assert results.leaderboard(1, by="angle", maximise=False)[0]["angle"] == 0.1
        with pytest.raises(InputError, match=r"'angel'.*'angle'"):
            results.leaderboard(by="angel")
