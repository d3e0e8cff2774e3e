"""Files written whole or not at all, with a manifest of their hashes.

A file is written beside its place and moved onto it when it is complete and on the disk, so a
full disk or a kill leaves the old file or none, never a half. A manifest holds the SHA-256 of every
file of a folder: a flipped bit is found when the folder is read, not in the result.
"""

import contextlib
import errno
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from geojax._core.errors import InputError, StorageError

MANIFEST = "manifest.json"
MANIFEST_FORMAT = 1

_DEVICE_NAMES = frozenset(
    ["CON", "PRN", "AUX", "NUL"] + [f"{port}{i}" for port in ("COM", "LPT") for i in range(1, 10)]
)
_MENDS = {
    errno.ENOSPC: "the disk is full; free some space or choose another place",
    errno.EDQUOT: "the disk quota is used up; free some space or choose another place",
    errno.EROFS: "the file system is read-only; choose another place",
    errno.EACCES: "permission denied; choose another place or change its permissions",
    errno.EPERM: "permission denied; choose another place or change its permissions",
    errno.EFBIG: "the file is larger than is allowed here; raise the limit or choose another place",
    errno.ENOTDIR: "a part of the path is not a folder; choose another place",
    errno.ENAMETOOLONG: "the name is too long; choose a shorter one",
}


def describe(error: OSError, path: str | Path) -> str:
    """One line for an operating-system error: the path, the reason and the mend."""
    reason = error.strerror or str(error)
    return f"{path}: {_MENDS.get(error.errno or 0, f'{reason}; check the path and the disk')}"


@contextlib.contextmanager
def storage_errors(path: str | Path) -> Iterator[None]:
    """Turn the `OSError`s of a block into `StorageError`s that name `path`."""
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        raise StorageError(describe(error, path)) from error


def checked_path(path: str | Path, what: str = "path") -> Path:
    """A path that the operating system can hold: not empty, without NUL or control characters.

    Raises:
        InputError: no path at all, or one that is empty or holds such a character.
    """
    if not isinstance(path, str | os.PathLike):
        raise InputError(f"{what}: must be a path, but is {path!r}")
    text = os.fspath(path)
    if not text.strip():
        raise InputError(f"{what}: is empty; give a path")
    for position, character in enumerate(text):
        if ord(character) < 32 or ord(character) == 127:
            raise InputError(
                f"{what}: {text!r} has the control character {character!r} at position "
                f"{position}; remove it"
            )
    return Path(text).expanduser()


def inside(root: str | Path, name: str, what: str = "name") -> Path:
    """The path of `name` under `root`, for names that come out of a file.

    Args:
        root: the folder that must hold the result.
        name: a relative path with forward slashes, as a manifest or configuration gives it.
        what: where the name comes from, for the message.

    Raises:
        InputError: the name is absolute, has `..`, a reserved name, or leads out over a link.

    Example:
        >>> from geojax.io.files import inside
        >>> inside("runs", "../other")
        Traceback (most recent call last):
        geojax._core.errors.InputError: name: '../other' leads out of runs; give a name without '..'
    """
    checked_path(name, what)
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if PurePosixPath(name).is_absolute() or PureWindowsPath(name).anchor:
        raise InputError(f"{what}: {name!r} is absolute; give a path relative to {root}")
    if ".." in parts:
        raise InputError(f"{what}: {name!r} leads out of {root}; give a name without '..'")
    for part in parts:
        if part.split(".")[0].rstrip(" ").upper() in _DEVICE_NAMES or ":" in part:
            raise InputError(f"{what}: {part!r} is a reserved name on some systems; rename it")
    path = Path(root) / name
    top, real = os.path.realpath(root), os.path.realpath(path)
    if real != top and not real.startswith(top.rstrip(os.sep) + os.sep):
        raise InputError(f"{what}: {name!r} leads out of {root} over a link; remove the link")
    return path


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write a file whole or not at all.

    Raises:
        StorageError: the place cannot be written; the old file, if any, is left as it was.
    """
    path = Path(path)
    temporary = ""
    with storage_errors(path):
        try:
            handle, temporary = tempfile.mkstemp(prefix=f".{path.name[:80]}.", dir=path.parent)
            with open(handle, "wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            os.chmod(temporary, _permissions(path))
            os.replace(temporary, path)
            sync_folder(path.parent)
        except BaseException:
            if temporary:
                with contextlib.suppress(OSError):
                    os.unlink(temporary)
            raise


def _permissions(path: Path) -> int:
    """The mode of the file that is replaced, or what the umask gives a new one."""
    with contextlib.suppress(OSError):
        return path.stat().st_mode & 0o777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def sync_folder(folder: Path) -> None:
    """Put a rename on the disk, where the system can sync folders."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_json(path: str | Path, value: Any) -> None:
    """Write strict JSON (no NaN, no infinity) whole or not at all."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    write_bytes(path, (text + "\n").encode())


def read_bytes(path: str | Path) -> bytes:
    """Read a file.

    Raises:
        InputError: there is no such file, or it is a folder.
        StorageError: the file is there but cannot be read.
    """
    path = checked_path(path, "file")
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; check the name") from error
    except IsADirectoryError as error:
        raise InputError(f"{path}: is a folder; give a file") from error
    except OSError as error:
        raise StorageError(describe(error, path)) from error


def read_json(path: str | Path) -> Any:
    """Read strict JSON.

    Raises:
        InputError: no such file, or duplicate keys, NaN or infinity in it.
        StorageError: the file is damaged.
    """
    data = read_bytes(path)

    def refuse(constant: str) -> None:
        raise InputError(f"{path}: holds {constant}, which is not JSON; write null or a number")

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = [key for key, _ in pairs]
        for key in keys:
            if keys.count(key) > 1:
                raise InputError(f"{path}: key {key!r} occurs twice; keep one")
        return dict(pairs)

    try:
        return json.loads(data.decode(), parse_constant=refuse, object_pairs_hook=unique)
    except InputError:
        raise
    except (ValueError, RecursionError) as error:
        raise StorageError(f"{path}: is not readable JSON ({error}); restore the file") from error


def sha256(data: bytes) -> str:
    """Hexadecimal SHA-256 of some bytes."""
    return hashlib.sha256(data).hexdigest()


def write_manifest(folder: str | Path, names: list[str], content: dict[str, Any]) -> None:
    """Write `manifest.json`: what the folder holds and the hash and size of each file.

    Args:
        folder: a folder in which `names` have been written.
        names: files to hash, relative to the folder.
        content: what else the manifest says (JSON values), beside `format` and `files`.
    """
    files = {}
    for name in names:
        data = read_bytes(inside(folder, name, MANIFEST))
        files[name] = {"sha256": sha256(data), "bytes": len(data)}
    write_json(Path(folder) / MANIFEST, {"format": MANIFEST_FORMAT, **content, "files": files})


def read_manifest(folder: str | Path) -> dict[str, Any]:
    """Read `manifest.json` and check its format, without reading the files it names.

    Raises:
        InputError: there is no manifest, or it is of a format that this version cannot read.
        StorageError: the manifest is damaged.
    """
    path = Path(folder) / MANIFEST
    if not path.is_file():
        what = "has no manifest.json" if Path(folder).is_dir() else "no such folder"
        raise InputError(f"{folder}: {what}; give a folder that geojax has written")
    manifest = read_json(path)
    if not isinstance(manifest, dict) or not isinstance(manifest.get("files"), dict):
        raise StorageError(f"{path}: does not list any files; restore it")
    if manifest.get("format") != MANIFEST_FORMAT:
        raise InputError(
            f"{path}: has format {manifest.get('format')!r}, but this version reads format "
            f"{MANIFEST_FORMAT}; read it with the version of geojax that wrote it"
        )
    return manifest


def read_verified(folder: str | Path, name: str, manifest: dict[str, Any]) -> bytes:
    """Read a file of a folder and hold it against the manifest.

    Raises:
        InputError: the manifest does not list the file, or its name leads out of the folder.
        StorageError: the file is missing, cut off or changed.
    """
    if name not in manifest["files"]:
        raise InputError(f"{Path(folder) / MANIFEST}: does not list {name}; give another folder")
    path = inside(folder, name, str(Path(folder) / MANIFEST))
    entry = manifest["files"][name]
    if not path.is_file():
        raise StorageError(f"{path}: is missing, but the manifest lists it; restore the file")
    data = read_bytes(path)
    if not isinstance(entry, dict) or len(data) != entry.get("bytes"):
        raise StorageError(
            f"{path}: has {len(data)} bytes, but the manifest says "
            f"{entry.get('bytes') if isinstance(entry, dict) else entry!r}; restore the file"
        )
    if sha256(data) != entry.get("sha256"):
        raise StorageError(
            f"{path}: its SHA-256 is not the one in the manifest, so it was changed or damaged; "
            "restore the file"
        )
    return data


def verify(
    folder: str | Path, content: Callable[[dict[str, Any]], None] | None = None
) -> list[str]:
    """Hold every file of a folder against its manifest; return their names.

    Args:
        folder: a folder with a `manifest.json`.
        content: a further check of the manifest itself, which raises where it does not hold.

    Raises:
        InputError, StorageError: as `read_manifest` and `read_verified`.
    """
    manifest = read_manifest(folder)
    if content is not None:
        content(manifest)
    for name in manifest["files"]:
        read_verified(folder, name, manifest)
    return list(manifest["files"])
