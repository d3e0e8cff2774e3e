"""The life of a run: its folder, its result, its exit code."""

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time

import numpy as np
import pytest

from geojax._core.errors import DeviceError, InputError, NumericalError, StorageError
from geojax.cli import app
from geojax.cli.options import Doctor
from geojax.cli.run import Run, clean


@pytest.fixture
def handler(monkeypatch):
    """Put a function in the place of the doctor, so that anything can happen in a run."""
    from geojax.cli import doctor

    def put(function):
        monkeypatch.setattr(doctor, "run", function)

    return put


def test_doctor_says_what_there_is(command, tmp_path):
    outcome = command("doctor", "--out", "report")
    assert outcome.code == 0, outcome.err
    assert "kernel sum against dense" in outcome.out
    result = json.loads((tmp_path / "report" / "result.json").read_text())
    assert result["status"] == "ok"
    assert result["command"] == "doctor"
    assert result["exit_code"] == 0
    assert result["figures"]["kernel_sum_error"] <= result["figures"]["kernel_sum_bound"]
    assert result["versions"]["jax"]
    assert result["config"] == {"x64": False}


def test_doctor_notices_a_device_that_computes_wrongly(command, monkeypatch):
    monkeypatch.setattr("geojax.cli.doctor.kernel_error", lambda: (1e-2, 1e-6))
    outcome = command("doctor")
    assert outcome.code == 3
    assert "differs from the dense one by 1.0e-02" in outcome.err


def test_version(command):
    outcome = command("--version")
    assert outcome.code == 0
    assert outcome.out.strip().count(".") == 2


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (InputError("a.csv: line 3"), 2, "a.csv: line 3"),
        (NumericalError("did not converge"), 3, "did not converge"),
        (StorageError("x: the disk is full"), 4, "x: the disk is full"),
        (DeviceError("no GPU"), 5, "no GPU"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (app.Terminated(), 143, "terminated"),
        (MemoryError("8 TB"), 5, "out of memory (8 TB)"),
        (RuntimeError("RESOURCE_EXHAUSTED: 9 GB"), 5, "out of memory"),
        (RuntimeError("Unable to initialize backend 'cuda'"), 5, "no device to compute on"),
        (OSError(28, "No space left on device", "f"), 4, "f: the disk is full"),
        (ZeroDivisionError("division\nby zero"), 1, "this is a defect of geojax"),
    ],
)
def test_every_error_has_its_code_and_one_line(
    command, handler, tree, tmp_path, error, code, message
):
    def fail(options, run):
        run.claim("report")
        raise error

    handler(fail)
    outcome = command("doctor")
    assert outcome.code == code
    assert outcome.err.count("\n") == 1
    assert outcome.err.startswith("geojax: error: ")
    assert message in outcome.err
    if code == 2:
        assert tree(tmp_path) == []
    else:
        result = json.loads((tmp_path / "report" / "result.json").read_text())
        assert result["exit_code"] == code
        assert result["status"] in ("error", "interrupted", "terminated")
        assert message in result["message"]


def test_traceback_only_when_asked_for(command, handler):
    def fail(options, run):
        raise InputError("no")

    handler(fail)
    assert "Traceback" not in command("doctor").err
    assert "Traceback" in command("doctor", "--debug").err


def test_warnings_are_one_line_each_and_kept(command, handler, tmp_path):
    def warn(options, run):
        import warnings

        run.claim("report")
        for _ in range(3):
            warnings.warn("float64 data\nare cut", stacklevel=1)
        warnings.warn("old name", DeprecationWarning, stacklevel=1)
        return {}

    handler(warn)
    outcome = command("doctor")
    assert outcome.err == "geojax: warning: float64 data are cut\n"
    result = json.loads((tmp_path / "report" / "result.json").read_text())
    assert result["warnings"] == ["float64 data are cut"]


def test_warnings_of_a_configuration_are_kept_too(command, monkeypatch, tmp_path):
    """They come up before there is a run."""
    (tmp_path / "a.toml").write_text('source = "a.npy"\ntarget = "b.npy"\nscale = "0.9"\n')

    def work(options, run):
        run.claim(options.out)
        return {}

    monkeypatch.setattr("geojax.cli.match.run", work)
    outcome = command("match", "--config", "a.toml", "--out", "run")
    note = "a.toml: key 'scale': the text '0.9' is taken for the number 0.9"
    assert outcome.code == 0, outcome.err
    assert outcome.err == f"geojax: warning: {note}\n"
    assert json.loads((tmp_path / "run" / "result.json").read_text())["warnings"] == [note]


def test_figures_are_plain_json():
    import jax.numpy as jnp

    value = {
        "a": np.float64(1.5),
        "b": jnp.arange(2),
        "c": (float("nan"), None, True),
        4: np.int8(3),
    }
    assert clean(value) == {"a": 1.5, "b": [0, 1], "c": [None, None, True], "4": 3}
    json.dumps(clean(value), allow_nan=False)


class TestFolder:
    """`claim`: the folder of this run, of another one, of something else."""

    def run(self, **options) -> Run:
        return Run("doctor", Doctor(**options))

    def test_new_folders_are_made_and_taken_back(self, tree, tmp_path):
        run = self.run()
        run.claim(tmp_path / "a" / "b")
        assert tree(tmp_path) == ["a", "a/b"]
        run.abandon()
        assert tree(tmp_path) == []

    def test_same_run_again(self, tree, tmp_path):
        for _ in range(2):
            run = self.run()
            run.claim(tmp_path / "a")
            run.write("x.txt", "text")
            run.finish("ok", {})
        assert tree(tmp_path) == ["a", "a/result.json", "a/x.txt"]

    def test_another_run_is_not_overwritten(self, tree, tmp_path):
        run = self.run()
        run.claim(tmp_path / "a")
        run.finish("ok", {"first": 1})
        before = (tmp_path / "a" / "result.json").read_bytes()
        with pytest.raises(InputError, match=r"another run \(x64: False there, True here\); give"):
            self.run(x64=True).claim(tmp_path / "a")
        other = Run("demo", Doctor())
        with pytest.raises(InputError, match="command 'doctor' there, 'demo' here"):
            other.claim(tmp_path / "a")
        assert (tmp_path / "a" / "result.json").read_bytes() == before
        self.run(x64=True, overwrite=True).claim(tmp_path / "a")

    def test_changed_input_is_another_run(self, tree, tmp_path):
        data = tmp_path / "p.csv"
        for text in ("1,2\n", "3,4\n"):
            data.write_text(text)
            run = self.run()
            run.add_input(data)
            if text.startswith("3"):
                with pytest.raises(InputError, match=r"content of .*p\.csv: '"):
                    run.claim(tmp_path / "a")
            else:
                run.claim(tmp_path / "a")
                run.finish("ok", {})

    def test_foreign_folder_is_left_alone(self, tree, tmp_path):
        (tmp_path / "thesis.tex").write_text("x")
        with pytest.raises(InputError, match=r"holds thesis\.tex and no result of geojax"):
            self.run().claim(tmp_path)
        with pytest.raises(InputError, match="is a file; give a folder"):
            self.run().claim(tmp_path / "thesis.tex")
        with pytest.raises(InputError, match="control character"):
            self.run().claim("a\0b")
        with pytest.raises(InputError, match="is empty"):
            self.run().claim(" ")

    def test_full_disk_is_noticed_before_the_work(self, tree, tmp_path, monkeypatch):
        usage = shutil.disk_usage(tmp_path)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1 << 20))
        with pytest.raises(StorageError, match="only 1 MiB are free on the disk"):
            self.run().claim(tmp_path / "a")
        assert tree(tmp_path) == []

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
    def test_read_only_place(self, tree, tmp_path):
        tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
        with pytest.raises(StorageError, match="permission denied"):
            self.run().claim(tmp_path / "a")
        tmp_path.chmod(stat.S_IRWXU)

    def test_interrupted_rerun_does_not_leave_the_old_result(self, tree, tmp_path):
        run = self.run()
        run.claim(tmp_path / "a")
        run.finish("ok", {})
        again = self.run()
        again.claim(tmp_path / "a")
        assert (tmp_path / "a" / "result.json").exists()
        again.write("x.txt", "new")
        assert not (tmp_path / "a" / "result.json").exists()


SLOW = """
import signal, sys, time
from geojax.cli import main, doctor
# a shell's background job, as which the tests may run, ignores interrupts, and so do its heirs
signal.signal(signal.SIGINT, signal.default_int_handler)
def run(options, run):
    run.claim("report")
    print("ready", flush=True)
    time.sleep(60)
doctor.run = run
sys.exit(main(["doctor"]))
"""


@pytest.mark.parametrize(
    ("number", "code", "status"),
    [(signal.SIGTERM, 143, "terminated"), (signal.SIGINT, 130, "interrupted")],
)
def test_signals_end_a_run_with_a_result(tmp_path, number, code, status):
    child = subprocess.Popen(
        [sys.executable, "-c", SLOW], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert child.stdout is not None
    assert child.stdout.readline() == b"ready\n"
    child.send_signal(number)
    start = time.perf_counter()
    _, err = child.communicate(timeout=30)
    assert time.perf_counter() - start < 10
    assert child.returncode == code
    assert err.decode().startswith("geojax: error: ")
    result = json.loads((tmp_path / "report" / "result.json").read_text())
    assert result["status"] == status


def test_closed_output_is_no_error(process):
    """`geojax doctor | head -1`."""
    done = subprocess.run(
        f"{sys.executable} -m geojax.cli doctor | head -1",
        shell=True,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.startswith("system")
    assert done.stderr == ""


def test_cache_is_kept_where_asked(process, tmp_path):
    place = {"GEOJAX_CACHE_DIR": str(tmp_path / "cache")}
    outcome = process("doctor", JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="0", **place)
    assert outcome.code == 0, outcome.err
    assert list((tmp_path / "cache").iterdir())
    assert str(tmp_path / "cache") in outcome.out
    shutil.rmtree(tmp_path / "cache")
    outcome = process("doctor", "--no-cache", **place)
    assert "cache          off" in outcome.out
    assert not (tmp_path / "cache").exists()


def test_unwritable_cache_is_no_error(process, tmp_path):
    (tmp_path / "file").write_text("")
    outcome = process("doctor", GEOJAX_CACHE_DIR=str(tmp_path / "file" / "cache"))
    assert outcome.code == 0
    assert outcome.err == ""
