"""NumPy files, read without running anything and without trusting their headers.

A `.npy` header may claim any shape, and NumPy allocates it before it reads. Here the claim is held
against the bytes that are there first. Pickled objects are refused: loading them runs code.
"""

import io
import zipfile
from pathlib import Path

import numpy as np

from geojax._core.errors import InputError
from geojax.io.files import checked_path, read_bytes

# An honest archive of coordinates is not compressed a thousandfold; a zip bomb is.
MAX_RATIO = 1000
MAX_UNCHECKED_BYTES = 1 << 26

POINT_KEYS = ("points", "vertices", "landmarks", "coordinates")


def read_array(stream: io.BytesIO, available: int, where: str) -> np.ndarray:
    """Read one `.npy` stream whose total size is known.

    Args:
        stream: the stream, at its start.
        available: bytes that it holds, header included.
        where: file (and key), for messages.

    Raises:
        InputError: not a `.npy` file, objects inside, or a claim of more bytes than there are.
    """
    try:
        version = np.lib.format.read_magic(stream)
        if version not in ((1, 0), (2, 0), (3, 0)):
            raise ValueError(f"format version {version}")
        # Versions 2 and 3 differ only in the encoding of field names, which points do not have.
        reader = (
            np.lib.format.read_array_header_1_0
            if version == (1, 0)
            else np.lib.format.read_array_header_2_0
        )
        shape, _, dtype = reader(stream)
    except Exception as error:  # the parser of NumPy raises many kinds on damaged headers
        raise InputError(
            f"{where}: is not a NumPy array file ({_line(error)}); save it with numpy.save"
        ) from error
    if dtype.hasobject:
        raise InputError(
            f"{where}: holds Python objects (dtype {dtype}), which geojax does not load because "
            "that runs code; re-save without objects, as an array of numbers"
        )
    if any(size < 0 for size in shape):
        raise InputError(f"{where}: its header claims shape {list(shape)}; save it again")
    claimed = dtype.itemsize
    for size in shape:
        claimed *= int(size)
    held = available - stream.tell()
    if claimed > held:
        raise InputError(
            f"{where}: its header claims shape {list(shape)} of {dtype} ({claimed:,} bytes), but "
            f"the file holds {held:,}; it is cut off or damaged, save it again"
        )
    stream.seek(0)
    try:
        return np.lib.format.read_array(stream, allow_pickle=False)
    except ValueError as error:
        raise InputError(f"{where}: cannot be read ({_line(error)}); save it again") from error


def read_npy(path: str | Path) -> np.ndarray:
    """Read a `.npy` file; see `read_array` for what is refused."""
    data = read_bytes(path)
    return read_array(io.BytesIO(data), len(data), str(path))


def read_npz(path: str | Path) -> dict[str, np.ndarray]:
    """Read all arrays of a `.npz` file; see `read_npz_bytes` for what is refused."""
    return read_npz_bytes(read_bytes(path), str(path))


def read_npz_bytes(data: bytes, where: str) -> dict[str, np.ndarray]:
    """Read all arrays of a `.npz` archive.

    Raises:
        InputError: not an archive of `.npy` members, one of them damaged, or one that unpacks to
            more than a thousand times its size.
    """
    arrays: dict[str, np.ndarray] = {}
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for member in archive.infolist():
                key = member.filename.removesuffix(".npy")
                ratio = member.file_size / max(member.compress_size, 1)
                if member.file_size > MAX_UNCHECKED_BYTES and ratio > MAX_RATIO:
                    raise InputError(
                        f"{where}: {key} unpacks to {member.file_size:,} bytes, {ratio:.0f} times "
                        "its size in the archive; save it uncompressed with numpy.savez"
                    )
                content = archive.read(member)
                arrays[key] = read_array(io.BytesIO(content), len(content), f"{where}: {key}")
    except InputError:
        raise
    except Exception as error:  # zipfile raises many kinds on damaged archives
        raise InputError(
            f"{where}: is not a readable npz archive ({_line(error)}); save it with numpy.savez"
        ) from error
    return arrays


def split_key(path: str | Path, key: str | None = None) -> tuple[Path, str | None]:
    """The file and the array of `archive.npz:name`; any other path as it is.

    Raises:
        InputError: the path is empty or holds control characters.
    """
    text = str(checked_path(path, "file"))
    name, mark, array = text.rpartition(":")
    if mark and key is None and name.lower().endswith(".npz") and not Path(text).exists():
        return Path(name), array
    return Path(text), key


def choose_points(arrays: dict[str, np.ndarray], where: str, key: str | None = None) -> str:
    """The name of the array that holds the points.

    Args:
        arrays: all arrays of the file.
        where: file, for messages.
        key: the name that the user gave, if any.

    Raises:
        InputError: no array of that name, or no telling which one is meant.
    """
    if key is not None:
        if key not in arrays:
            raise InputError(f"{where}: has no array {key!r}; it has {', '.join(arrays) or 'none'}")
        return key
    for name in POINT_KEYS:
        if name in arrays:
            return name
    tables = [name for name, array in arrays.items() if array.ndim == 2 and array.dtype.kind == "f"]
    if len(tables) == 1:
        return tables[0]
    if len(arrays) == 1:
        return next(iter(arrays))
    if not arrays:
        raise InputError(f"{where}: holds no arrays; save one named 'points'")
    raise InputError(
        f"{where}: holds several arrays ({', '.join(arrays)}); say which one, as "
        f"{where}:{next(iter(tables or arrays))}, or name it 'points'"
    )


def _line(error: BaseException) -> str:
    """The first line of an error's text."""
    return (str(error).splitlines() or [type(error).__name__])[0][:120]
