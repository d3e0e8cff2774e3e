"""`geojax sweep`: plan, run, look at and go on with many points, from the command line."""

import json
import os
import signal
import subprocess
import sys
import time
import typing
from pathlib import Path

import pytest

from geojax.cli.sweep_options import Retried
from geojax.sweeps.retry import RETRIED

TASKS = str(Path(__file__).parents[2])
DEFINITION = """
task = "tests.sweeps.throws:throw"
x64 = true
[axes]
angle = { low = 0.1, high = 1.2, num = 4 }
speed = [1.0, 0.0]
[fixed]
seed = 0
"""


@pytest.fixture
def sweep(command, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(TASKS)
    (tmp_path / "throw.toml").write_text(DEFINITION)

    def run(*arguments):
        return command("sweep", *arguments)

    return run


def test_from_plan_to_export(sweep, tmp_path, check_page):
    planned = sweep("plan", "throw.toml")
    assert planned.code == 0, planned.err
    assert [line.split()[-1] for line in planned.out.splitlines()[:3]] == ["8", "1", "1"]
    assert not (tmp_path / "throw").exists()

    first = sweep("run", "throw.toml")
    assert first.code == 0, first.err
    assert "4 points came to nothing: log_reach is not a number" in first.err
    result = json.loads((tmp_path / "throw/result.json").read_text())
    assert result["figures"]["by_status"] == {"nonfinite": 4, "ok": 4}
    assert result["figures"]["best"]["speed"] == 1.0
    page = (tmp_path / "throw/report.html").read_text()
    check_page(page)
    assert "log_reach is not a number" in page

    parts = sorted((tmp_path / "throw/parts").glob("part-*"))
    again = sweep("run", "throw.toml")
    assert again.code == 0
    assert sorted((tmp_path / "throw/parts").glob("part-*")) == parts
    parts[0].unlink()
    resumed = sweep("resume", "throw")
    assert resumed.code == 0, resumed.err
    assert len(list((tmp_path / "throw/parts").glob("part-*"))) == len(parts)

    status = sweep("status", "throw")
    assert "nonfinite: {'angle': 0.1, 'speed': 0.0}" in status.out
    board = sweep("leaderboard", "throw", "--count", 2, "--by", "angle")
    assert board.out.splitlines()[0].split() == ["angle", "angle", "speed", "trial"]
    assert [line.split()[0] for line in board.out.splitlines()[1:]] == ["0.1", "0.46667"]
    assert sweep("export", "throw", "--to", "table.csv").code == 0
    assert len((tmp_path / "table.csv").read_text().splitlines()) == 9


def test_points_that_came_to_nothing_run_again_when_asked(sweep, tmp_path):
    assert sweep("run", "throw.toml").code == 0
    parts = sorted((tmp_path / "throw/parts").glob("part-*"))
    again = sweep("resume", "throw", "--retry", "nonfinite", "failed")
    assert again.code == 0, again.err
    assert sorted((tmp_path / "throw/parts").glob("part-*")) != parts
    assert "4 points came to nothing" in again.err


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("run", "missing.toml"), "no such file"),
        (("plan", "bad.toml"), "unknown field 'angel' (did you mean 'angle'?)"),
        (("status", "nowhere"), "holds no sweep"),
        (("resume", "nowhere"), "holds no sweep"),
        (("run", "throw.toml", "--workers", 2), "--workers: is for --launcher processes"),
        (("run", "throw.toml", "--launcher", "ray", "--partition", "a"), "--partition: is for"),
        (("run", "throw.toml", "--launcher", "slurm", "--slurm", "gpu"), "is no NAME=VALUE"),
        (("run", "throw.toml", "--retry", "ok"), "retry"),
        (("plan", "throw.toml", "--retry", "failed"), "--retry: is for sweep run or resume"),
        (("status", "throw", "--lanes", 2), "--lanes: is for sweep plan or run or resume"),
        (("leaderboard", "throw", "--maximise"), "--maximise: is about the column of --by"),
        (("plan", "throw.toml", "--out", "no/where"), "no: no such folder"),
        (("run", "throw.toml", "--launcher", "ray", "--gpus-per-worker", "inf"), "gpus_per_worker"),
        (("run", "throw.toml", "--launcher", "slurm", "--gpus-per-worker", "nan"), "whole ones"),
        (("run", "throw.toml", "--lanes", 0), "lanes"),
        (("run", "throw.toml", "--overwrite"), "never overwritten"),
        (("run", "."), "is a folder"),
        (("fly", "throw.toml"), "fly"),
        (("run", "throw.toml", "--out", "full"), "holds other files"),
    ],
)
def test_what_is_wrong_is_said_before_anything_runs(sweep, tmp_path, arguments, text):
    (tmp_path / "bad.toml").write_text(DEFINITION.replace("angle", "angel"))
    (tmp_path / "full").mkdir()
    (tmp_path / "full/notes.txt").write_text("mine")
    outcome = sweep(*arguments)
    assert outcome.code == 2
    assert text in outcome.err
    assert not (tmp_path / "throw/parts").exists()
    assert os.listdir(tmp_path / "full") == ["notes.txt"]


def test_what_can_run_again_is_said_alike():
    assert typing.get_args(Retried) == RETRIED


def test_no_sound_point_is_a_numerical_failure(sweep, tmp_path):
    (tmp_path / "none.toml").write_text(DEFINITION.replace("[1.0, 0.0]", "[-1.0, 0.0]"))
    outcome = sweep("run", "none.toml")
    assert outcome.code == 3
    assert "no point came to a sound end" in outcome.err


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 75), (signal.SIGINT, 130)])
def test_asked_to_end_it_goes_on_later(tmp_path, number, code):
    """A process of its own, because it is signalled; the segments of its task wait a little."""
    (tmp_path / "slow.py").write_text(
        "import os, time, jax\n"
        "from tests.sweeps.throws import WalkTask\n"
        "class Slow(WalkTask):\n"
        "    def program(self, config):\n"
        "        made = super().program(config)\n"
        "        def advance(shared, lane, state):\n"
        "            wait = float(os.environ['WAIT'])\n"
        "            jax.debug.callback(lambda: time.sleep(wait), ordered=False)\n"
        "            return made.advance(shared, lane, state)\n"
        "        return made._replace(advance=advance)\n"
        "task = Slow()\n"
    )
    (tmp_path / "slow.toml").write_text(
        'task = "slow.py:task"\n[axes]\nstep = [0.1, 0.2]\n[fixed]\nlength = 40\n'
    )
    environment = {**os.environ, "PYTHONPATH": TASKS, "WAIT": "0.3"}
    command = [sys.executable, "-m", "geojax.cli", "sweep", "run", "slow.toml"]
    begun = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL)
    attempts = tmp_path / "slow/attempts"
    deadline = time.monotonic() + 120
    while not (attempts.is_dir() and list(attempts.glob("*/*"))):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    time.sleep(2.0)
    begun.send_signal(number)
    assert begun.wait(timeout=60) == code
    assert list((tmp_path / "slow/checkpoints").glob("*/*/manifest.json"))
    environment["WAIT"] = "0"
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "slow/result.json").read_text())
    assert result["figures"]["by_status"] == {"ok": 2}
    assert len(list(attempts.glob("*/*"))) == 2
