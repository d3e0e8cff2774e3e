"""Whatever is in a file, reading it gives points or an error that names it, in one line."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from geojax._core.errors import GeojaxError
from geojax.io import encode_points, read_points

POINTS = np.random.default_rng(0).normal(size=(6, 3))
FACES = np.array([[0, 1, 2], [2, 3, 4]])
PIECES = [b"-1", b"nan", b"999999999999", b"\n", b" ", b"0", b"x", b"1e400", b"\xff", b"\xb3"]
PIECES += [b"\0", b";", b",", b"POINTS", b"list", b"POLYGONS 1 4\n3 0 1 2\n"]

TEXT_PLY = (
    b"ply\nformat ascii 1.0\nelement vertex 3\nproperty float x\nproperty float y\n"
    b"property float z\nelement face 1\nproperty list uchar int vertex_index\nend_header\n"
    b"0 0 0\n1 0 0\n0 1 1\n3 0 1 2\n"
)
BINARY_VTK = (
    b"# vtk DataFile Version 5.1\ntitle\nBINARY\nDATASET POLYDATA\nPOINTS 3 double\n"
    + np.eye(3).astype(">f8").tobytes()
    + b"\nPOLYGONS 2 3\nOFFSETS vtktypeint64\n"
    + np.array([0, 3]).astype(">i8").tobytes()
    + b"\nCONNECTIVITY vtktypeint64\n"
    + np.arange(3).astype(">i8").tobytes()
)
TEXT_STL = (
    b"solid\nfacet normal 0 0 1\nouter loop\nvertex 0 0 0\nvertex 1 0 0\nvertex 0 1 0\nendloop\n"
    b"endfacet\nendsolid\n"
)
ENDINGS = ["csv", "txt", "vtk", "vtp", "ply", "obj", "off", "stl", "gii", "pial", "npz", "npy"]
FILES = [
    *((ending, encode_points(f"a.{ending}", POINTS, faces=FACES)) for ending in ENDINGS),
    ("ply", TEXT_PLY),
    ("vtk", BINARY_VTK),
    ("stl", TEXT_STL),
]


def damage(data: bytes, edits: list[tuple[str, float, int]]) -> bytes:
    """Change, insert, cut out or cut off bytes, at places given as parts of the length."""
    for kind, place, value in edits:
        at = int(place * len(data))
        if kind == "change":
            data = data[:at] + bytes([value]) + data[at + 1 :]
        elif kind == "insert":
            data = data[:at] + PIECES[value % len(PIECES)] + data[at:]
        elif kind == "remove":
            data = data[:at] + data[at + 1 + value % 20 :]
        else:
            data = data[:at]
    return data


EDITS = st.lists(
    st.tuples(
        st.sampled_from(["change", "insert", "remove", "end"]),
        st.floats(0, 1),
        st.integers(0, 255),
    ),
    min_size=1,
    max_size=4,
)


@pytest.mark.parametrize(("ending", "data"), FILES)
@settings(max_examples=150)
@given(edits=EDITS)
def test_damage_is_survived_or_named(tmp_path_factory, ending, data, edits):
    path = tmp_path_factory.getbasetemp() / f"damaged.{ending}"
    path.write_bytes(damage(data, edits))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        message = read = None
        try:
            read = read_points(path)
            read.decoded.encode(read.lifted().points)
        except GeojaxError as error:
            message = str(error)
    if message is not None:
        assert message.startswith(str(path))
        assert "\n" not in message
        return
    assert read is not None
    assert np.all(np.isfinite(read.points))
    if read.faces is not None:
        assert read.faces.min() >= 0
        assert read.faces.max() < len(read.points)
