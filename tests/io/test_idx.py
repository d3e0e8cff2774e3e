"""IDX files: the order of bytes and axes, and files that are none."""

import gzip

import numpy as np
import pytest

from geojax._core.errors import InputError, StorageError
from geojax.io import read_idx

KINDS = {8: "u1", 9: "i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}


def encoded(array, kind):
    head = bytes([0, 0, kind, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    return head + array.astype(KINDS[kind]).tobytes()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("packed", [False, True])
def test_arrays_come_back(tmp_path, kind, packed):
    array = np.arange(24).reshape(2, 3, 4) + 100
    data = encoded(array, kind)
    path = tmp_path / ("some-idx3.gz" if packed else "some-idx3")
    path.write_bytes(gzip.compress(data) if packed else data)
    found = read_idx(path)
    np.testing.assert_array_equal(found, array)
    assert found.dtype.isnative


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (b"", InputError, "is no IDX file"),
        (b"\0\0\7\1\0\0\0\0", InputError, "is no IDX file"),
        (b"\0\0\10\2\0\0\0\1", StorageError, "cut off in its header"),
        (encoded(np.arange(5), 8)[:-1], StorageError, "has 12 bytes, but its header .5. asks"),
        (encoded(np.arange(5), 8) + b"x", StorageError, "has 14 bytes"),
        # a header that claims terabytes is no reason to allocate them
        (b"\0\0\16\2\xff\xff\xff\xff\xff\xff\xff\xff", StorageError, "asks for"),
    ],
)
def test_damaged_files(tmp_path, data, error, message):
    path = tmp_path / "bad"
    path.write_bytes(data)
    with pytest.raises(error, match=message):
        read_idx(path)
