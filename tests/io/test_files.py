"""Files written whole or not at all, paths kept inside, and manifests that notice damage."""

import errno
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from geojax._core.errors import InputError, StorageError
from geojax.io import files, load_arrays, save_arrays, verify, write_bytes, write_json


def test_written_file_replaces_the_old_one(tmp_path):
    path = tmp_path / "a.txt"
    write_bytes(path, b"old")
    path.chmod(0o640)
    write_bytes(path, b"new")
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o640
    assert os.listdir(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("call", ["replace", "fsync"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EIO])
def test_old_file_survives_a_failure(tmp_path, monkeypatch, call, code):
    path = tmp_path / "a.txt"
    write_bytes(path, b"old")

    def fail(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(StorageError, match=r"a\.txt: ") as caught:
        write_bytes(path, b"new")
    monkeypatch.undo()
    assert caught.value.exit_code == 4
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_short_write_leaves_the_old_file(tmp_path):
    """A limit on file size gives short writes, as a full disk does."""
    path = tmp_path / "a.bin"
    write_bytes(path, b"old")
    code = (
        "import resource, signal, sys\n"
        "from geojax.io.files import write_bytes\n"
        "from geojax._core.errors import StorageError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))\n"
        "try:\n    write_bytes(sys.argv[1], b'x' * 100000)\n"
        "except StorageError as error:\n    print(error); sys.exit(error.exit_code)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False
    )
    assert run.returncode == 4, run.stderr
    assert "the file is larger than is allowed here" in run.stdout
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.bin"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("../a", "leads out of"),
        ("b/../../a", "leads out of"),
        ("..\\a", "leads out of"),
        ("/etc/passwd", "is absolute"),
        ("C:\\a", "is absolute"),
        ("\\\\host\\share", "is absolute"),
        ("a\0b", "control character"),
        ("a\nb", "control character"),
        ("", "is empty"),
        ("NUL", "reserved name"),
        ("com1.txt", "reserved name"),
        ("ab:stream", "reserved name"),
        ("link/a", "leads out of .* over a link"),
    ],
)
def test_names_that_lead_out_are_refused(tmp_path, name, message):
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "link").symlink_to(tmp_path)
    with pytest.raises(InputError, match=message):
        files.inside(tmp_path / "root", name)


def test_names_inside_are_kept(tmp_path):
    assert files.inside(tmp_path, "a/b.npz") == tmp_path / "a" / "b.npz"
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert files.inside(tmp_path, "link/b") == tmp_path / "link" / "b"


def test_json_is_strict(tmp_path):
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    assert os.listdir(tmp_path) == []
    for text, message in [
        ('{"a": 1, "a": 2}', "key 'a' occurs twice"),
        ('{"a": NaN}', "holds NaN"),
        ('{"a": 1', "not readable JSON"),
        ("[" * 100_000, "not readable JSON"),
    ]:
        (tmp_path / "b.json").write_text(text)
        with pytest.raises((InputError, StorageError), match=message):
            files.read_json(tmp_path / "b.json")


@pytest.fixture
def saved(tmp_path):
    arrays = {"points": np.arange(6.0).reshape(3, 2), "flag": np.array(True)}
    save_arrays(tmp_path / "run", "state", arrays, {"kernel": "gaussian"}, kind="test")
    return tmp_path / "run"


def test_arrays_come_back(saved):
    arrays, metadata = load_arrays(saved, "state", kind="test")
    assert metadata == {"kernel": "gaussian"}
    assert arrays["points"].tolist() == [[0, 1], [2, 3], [4, 5]]
    assert arrays["flag"].dtype == bool
    assert verify(saved) == ["state.npz"]
    assert sorted(os.listdir(saved)) == ["manifest.json", "state.npz"]


def test_every_flipped_bit_is_noticed(saved):
    path = saved / "state.npz"
    good = path.read_bytes()
    for place in range(0, len(good), 7):
        path.write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
        with pytest.raises(StorageError, match=r"state\.npz: its SHA-256 is not the one"):
            load_arrays(saved, "state", kind="test")


def test_cut_off_and_missing_files_are_noticed(saved):
    path = saved / "state.npz"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(StorageError, match="bytes, but the manifest says"):
        load_arrays(saved, "state", kind="test")
    path.unlink()
    with pytest.raises(StorageError, match="is missing, but the manifest lists it"):
        load_arrays(saved, "state", kind="test")


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"format": 2}, InputError, "has format 2, but this version reads format 1"),
        ({"kind": "other"}, InputError, "holds 'other', not 'test'"),
        ({"version": 2}, InputError, "has version 2 of 'test', but this geojax reads up to 1"),
        ({"version": True}, InputError, "has version True"),
        ({"files": {}}, InputError, r"does not list state\.npz"),
        ({"files": []}, StorageError, "does not list any files"),
        ({"files": {"state.npz": 3}}, StorageError, "but the manifest says 3"),
        ({"arrays": {"points": {"shape": [9]}}}, StorageError, "array 'points' is not as listed"),
    ],
)
def test_foreign_manifests_are_refused(saved, change, error, message):
    manifest = json.loads((saved / "manifest.json").read_text())
    (saved / "manifest.json").write_text(json.dumps({**manifest, **change}))
    with pytest.raises(error, match=message):
        load_arrays(saved, "state", kind="test")


def test_manifest_cannot_point_out_of_its_folder(saved, tmp_path):
    (tmp_path / "secret").write_bytes(b"x")
    manifest = json.loads((saved / "manifest.json").read_text())
    manifest["files"] = {"../secret": {"bytes": 1, "sha256": files.sha256(b"x")}}
    (saved / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match="leads out of"):
        verify(saved)


def test_folder_without_manifest(tmp_path):
    with pytest.raises(InputError, match=r"has no manifest\.json; give a folder that geojax"):
        load_arrays(tmp_path, "state")
    with pytest.raises(InputError, match="no such folder"):
        load_arrays(tmp_path / "no", "state")


def test_only_plain_values_are_saved(tmp_path):
    with pytest.raises(InputError, match="array 'a' has dtype object; save numbers only"):
        save_arrays(tmp_path / "run", "state", {"a": np.array([None])}, {})
    with pytest.raises(InputError, match="metadata is not JSON"):
        save_arrays(tmp_path / "run", "state", {}, {"a": float("nan")})
    assert not (tmp_path / "run").exists()
