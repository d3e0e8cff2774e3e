"""IDX files: arrays as MNIST and its kin come in, plain or gzipped."""

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from geojax._core.errors import InputError, StorageError
from geojax.io.files import read_bytes

# Third byte of the file -> type of the entries, which are big-endian.
_DTYPES = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}


def read_idx(path: str | Path) -> np.ndarray:
    """Read an array from an IDX file, which may be gzipped (`.gz`).

    Raises:
        InputError: no such file, or no IDX file.
        StorageError: the file is cut off or damaged.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder) / "labels-idx1-ubyte"
        ...     _ = file.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 2, 1]))
        ...     read_idx(file).tolist()
        [7, 2, 1]
    """
    path = Path(path)
    data = read_bytes(path)
    if path.suffix == ".gz":
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise StorageError(f"{path}: cannot be unpacked ({error}); fetch it again") from error
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in _DTYPES or not data[3]:
        raise InputError(f"{path}: is no IDX file; give one such as train-images-idx3-ubyte.gz")
    dtype, axes = np.dtype(_DTYPES[data[2]]), data[3]
    start = 4 + 4 * axes
    if len(data) < start:
        raise StorageError(f"{path}: is cut off in its header; fetch it again")
    shape = struct.unpack(f">{axes}I", data[4:start])
    # the sizes are looked at before anything is made of them
    expected = start + math.prod(shape) * dtype.itemsize
    if len(data) != expected:
        raise StorageError(
            f"{path}: has {len(data)} bytes, but its header {list(shape)} asks for {expected}; "
            "fetch it again"
        )
    return np.frombuffer(data, dtype, offset=start).reshape(shape).astype(dtype.newbyteorder("="))
