"""Point files: round trips in every format, and what is refused and how."""

import io
import struct
import warnings
import zipfile

import numpy as np
import pytest

from geojax._core.errors import InputError
from geojax.io import PointFile, read_points, write_points

TETRAHEDRON = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1.0 / 3.0]])
FACES = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])

VTK = """# vtk DataFile Version 3.0
a title
ASCII
DATASET POLYDATA
POINTS 4 float
0 0 0 1 0 0
0 1 0 0 0 1

POLYGONS {count} {size}
{cells}
POINT_DATA 4
SCALARS thickness float 1
LOOKUP_TABLE default
1.5 2.5 3.5 4.5
"""


def vtk_text(cells: list[list[int]]) -> str:
    lines = "\n".join(" ".join(map(str, [len(cell), *cell])) for cell in cells)
    return VTK.format(count=len(cells), size=sum(len(c) + 1 for c in cells), cells=lines)


def put(folder, name: str, content) -> str:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def npy(array, **options) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, **options)
    return stream.getvalue()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("dimension", [2, 3])
@pytest.mark.parametrize(
    "ending", ["npy", "npz", "csv", "txt", "tsv", "vtk", "vtp", "ply", "obj", "off"]
)
def test_round_trip_is_exact(tmp_path, ending, dimension, dtype):
    points = np.random.default_rng(0).normal(size=(7, dimension)).astype(dtype) / 3
    points[:, -1] += 1  # not flat
    path = tmp_path / f"points.{ending}"
    write_points(path, points)
    read = read_points(path)
    assert read.points.shape == points.shape
    # a table has no dtype: its shortest text is exact once it is read in the dtype it came from
    np.testing.assert_array_equal(read.points.astype(dtype), points)
    moved = (points * 1.7).astype(dtype)
    write_points(path, moved, like=read)
    np.testing.assert_array_equal(read_points(path).points.astype(dtype), moved)


@pytest.mark.parametrize("ending", ["npz", "vtk", "ply"])
def test_mesh_keeps_its_faces_when_moved(tmp_path, ending):
    path = tmp_path / f"mesh.{ending}"
    write_points(path, TETRAHEDRON, faces=FACES)
    mesh = read_points(path)
    np.testing.assert_array_equal(mesh.faces, FACES)
    write_points(tmp_path / f"moved.{ending}", mesh.points + 0.1, like=mesh)
    moved = read_points(tmp_path / f"moved.{ending}")
    np.testing.assert_array_equal(moved.points, TETRAHEDRON + 0.1)
    np.testing.assert_array_equal(moved.faces, FACES)


def test_faces_go_from_one_format_to_another(tmp_path):
    write_points(tmp_path / "a.ply", TETRAHEDRON, faces=FACES)
    mesh = read_points(tmp_path / "a.ply")
    write_points(tmp_path / "b.vtk", mesh.points, like=mesh)
    np.testing.assert_array_equal(read_points(tmp_path / "b.vtk").faces, FACES)


def test_vtk_keeps_all_but_the_points(tmp_path):
    text = vtk_text([[0, 1, 2], [0, 1, 2, 3]])
    mesh = read_points(put(tmp_path, "m.vtk", text))
    assert mesh.faces.tolist() == [[0, 1, 2], [0, 1, 2], [0, 2, 3]]
    written = mesh.decoded.encode(mesh.points * 2).decode()
    before, after = text.split("POINTS")[0], text[text.index("POLYGONS") :]
    assert written.startswith(before)
    assert written.endswith(after)


def test_vtk_binary_and_version_5(tmp_path):
    points = TETRAHEDRON.astype(">f8")
    head = b"# vtk DataFile Version 5.1\ntitle\nBINARY\nDATASET POLYDATA\nPOINTS 4 double\n"
    cells = b"\nPOLYGONS 5 12\nOFFSETS vtktypeint64\n" + np.arange(0, 13, 3).astype(">i8").tobytes()
    cells += b"\nCONNECTIVITY vtktypeint64\n" + FACES.astype(">i8").tobytes() + b"\n"
    mesh = read_points(put(tmp_path, "m.vtk", head + points.tobytes() + cells))
    np.testing.assert_array_equal(mesh.points, TETRAHEDRON)
    np.testing.assert_array_equal(mesh.faces, FACES)
    write_points(tmp_path / "n.vtk", mesh.points - 1, like=mesh)
    np.testing.assert_array_equal(read_points(tmp_path / "n.vtk").points, TETRAHEDRON - 1)
    np.testing.assert_array_equal(read_points(tmp_path / "n.vtk").faces, FACES)


def test_vtk_triangle_strips_alternate(tmp_path):
    text = vtk_text([[0, 1, 2, 3]]).replace("POLYGONS", "TRIANGLE_STRIPS")
    assert read_points(put(tmp_path, "s.vtk", text)).faces.tolist() == [[0, 1, 2], [1, 3, 2]]


def test_flat_mesh_is_read_in_two_dimensions(tmp_path):
    text = vtk_text([[0, 1, 2]]).replace("0 1 0 0 0 1", "0 1 0 1 1 0")
    mesh = read_points(put(tmp_path, "flat.vtk", text))
    assert mesh.flat
    assert mesh.points.shape == (4, 2)
    assert mesh.lifted().points.shape == (4, 3)
    assert not mesh.lifted().flat
    write_points(tmp_path / "moved.vtk", mesh.points + 1, like=mesh)
    np.testing.assert_array_equal(read_points(tmp_path / "moved.vtk").points, mesh.points + 1)


def test_ply_keeps_colours_and_comments(tmp_path):
    text = (
        "ply\nformat ascii 1.0\ncomment made by hand\nelement vertex 3\nproperty float x\n"
        "property float y\nproperty float z\nproperty uchar red\nelement face 1\n"
        "property list uchar int vertex_index\nproperty float area\nend_header\n"
        "0 0 0 255\n1 0 0 128\n0 1 1 7\n3 0 1 2 0.5\n"
    )
    mesh = read_points(put(tmp_path, "m.ply", text))
    assert mesh.faces.tolist() == [[0, 1, 2]]
    assert mesh.points.dtype == np.float32
    written = mesh.decoded.encode(mesh.points + 1).decode()
    assert written.endswith("1.0 1.0 1.0 255\n2.0 1.0 1.0 128\n1.0 2.0 2.0 7\n3 0 1 2 0.5\n")
    assert "comment made by hand" in written


@pytest.mark.parametrize("order", ["<", ">"])
def test_ply_binary_with_polygons(tmp_path, order):
    name = "little" if order == "<" else "big"
    head = (
        f"ply\nformat binary_{name}_endian 1.0\nelement vertex 4\nproperty double x\n"
        "property double y\nproperty double z\nelement face 2\n"
        "property list uchar int vertex_indices\nend_header\n"
    ).encode()
    body = TETRAHEDRON.astype(order + "f8").tobytes()
    body += struct.pack(order + "B4i", 4, 0, 1, 2, 3) + struct.pack(order + "B3i", 3, 1, 2, 3)
    mesh = read_points(put(tmp_path, "m.ply", head + body))
    np.testing.assert_array_equal(mesh.points, TETRAHEDRON)
    assert mesh.faces.tolist() == [[0, 1, 2], [0, 2, 3], [1, 2, 3]]
    write_points(tmp_path / "n.ply", mesh.points * 2, like=mesh)
    moved = read_points(tmp_path / "n.ply")
    np.testing.assert_array_equal(moved.points, 2 * TETRAHEDRON)
    assert moved.faces.tolist() == mesh.faces.tolist()


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("ending", ["vtk", "ply"])
def test_what_meshio_writes_is_read(tmp_path, ending, binary):
    meshio = pytest.importorskip("meshio")
    path = tmp_path / f"m.{ending}"
    meshio.Mesh(TETRAHEDRON, [("triangle", FACES)]).write(path, binary=binary)
    mesh = read_points(path)
    np.testing.assert_allclose(mesh.points, TETRAHEDRON, rtol=1e-15)
    np.testing.assert_array_equal(mesh.faces, FACES)


def test_what_is_written_meshio_reads(tmp_path):
    meshio = pytest.importorskip("meshio")
    write_points(tmp_path / "m.ply", TETRAHEDRON, faces=FACES)
    mesh = meshio.read(tmp_path / "m.ply")
    np.testing.assert_array_equal(mesh.points, TETRAHEDRON)
    np.testing.assert_array_equal(mesh.cells_dict["triangle"], FACES)


@pytest.mark.parametrize(
    "text",
    [
        "0,1\n2,3.5\n",
        "0;1\r\n2;3.5\r\n",
        "\ufeffx,y\r0,1\r2,3.5\r",
        "# two points\n\n 0 1\n 2   3.5\n\n",
        "0\t1\n2\t3.5",
        'id,"X","Y",name\n7,0,1,first\n8,2,3.5,second\n',
        "x, y\n0, 1\n2, 3.5\n",
        "0. 1e0\n+2 35E-1\n",
    ],
)
def test_tables_of_every_kind(tmp_path, text):
    read = read_points(put(tmp_path, "t.csv", text))
    assert read.points.tolist() == [[0, 1], [2, 3.5]]
    write_points(tmp_path / "again.csv", read.points + 1, like=read)
    assert read_points(tmp_path / "again.csv").points.tolist() == [[1, 2], [3, 4.5]]


def test_table_keeps_its_other_columns(tmp_path):
    read = read_points(put(tmp_path, "t.csv", "id;x;y;name\n7;0;1;first\n8;2;3.5;second\n"))
    written = read.decoded.encode(read.points * 2).decode()
    assert written == "id;x;y;name\n7;0.0;2.0;first\n8;4.0;7.0;second\n"


def test_archive_keeps_its_other_arrays(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, points=TETRAHEDRON, faces=FACES, other=np.arange(3))
    read = read_points(path)
    write_points(path, read.points + 1, like=read)
    with np.load(path) as again:
        assert set(again) == {"points", "faces", "other"}
        np.testing.assert_array_equal(again["points"], TETRAHEDRON + 1)


def test_archive_array_is_chosen_by_name(tmp_path):
    path = tmp_path / "pair.npz"
    np.savez(path, VS=TETRAHEDRON, VT=TETRAHEDRON + 1)
    np.testing.assert_array_equal(read_points(f"{path}:VT").points, TETRAHEDRON + 1)
    with pytest.raises(
        InputError, match=r"holds several arrays \(VS, VT\); say which one, as .*:VS"
    ):
        read_points(path)
    with pytest.raises(InputError, match="has no array 'VX'; it has VS, VT"):
        read_points(f"{path}:VX")


def test_integers_are_cast_with_a_warning(tmp_path):
    path = put(tmp_path, "p.npy", npy(np.arange(6).reshape(3, 2)))
    with pytest.warns(UserWarning, match=r"p\.npy: int64 is cast to floating point"):
        assert read_points(path).points.dtype == np.float64


def test_floats_and_tables_do_not_warn(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_points(put(tmp_path, "p.npy", npy(np.eye(2, dtype=np.float32))))
        read_points(put(tmp_path, "p.csv", "1,2\n3,4\n"))


BAD_FILES = [
    # fault 1
    (
        "a.npy",
        npy(np.array([[0, 1], [2, np.nan]])),
        r"a\.npy: row 1, y=nan \(1 such value\); remove",
    ),
    ("a.csv", "x,y\n1,2\n\n3,inf\n", r"a\.csv: line 4, y=inf"),
    ("a.vtk", vtk_text([[0, 1, 2]]).replace("0 1 0 0 0 1", "0 1 0 0 nan 1"), r"vertex 3, y=nan"),
    # fault 3
    ("a.npy", npy(np.zeros((2, 9))), r"has 9 coordinates per point; transpose it to \[9, 2\]\?"),
    ("a.npy", npy(np.zeros((9, 5))), r"has 5 coordinates per point; give 2 or 3 columns"),
    ("a.npy", npy(np.zeros(4)), r"has shape \[4\]; give \[n, 2\] or \[n, 3\]"),
    ("a.npy", npy(np.zeros((4, 1))), r"has 1 coordinates per point"),
    # fault 5
    ("a.npy", npy(np.zeros((0, 2))), r"holds no points"),
    ("a.csv", "# nothing\n\n", r"holds no points; write one point per line"),
    ("a.csv", "x,y\n", r"line 1 is a header, but no points follow"),
    ("a.csv", "", r"is empty"),
    ("a.ply", "", r"is empty"),
    ("a.vtk", VTK[: VTK.index("POINTS")], r"has no POINTS"),
    # faults 9, 10, 11
    (
        "a.vtk",
        vtk_text([[0, 1, 2], [0, 1, 9]]),
        r"face 1 refers to vertex 9 of 4 \(1 such reference\)",
    ),
    ("a.vtk", vtk_text([[0, 1, -2]]), r"face 0 refers to vertex -2 of 4 .*; negative indices"),
    (
        "a.vtk",
        vtk_text([[1, 2, 3], [2, 3, 4]]),
        r"face 1 refers to vertex 4 of 4 .*smallest index is 1 and the largest 4: is it 1-based",
    ),
    # fault 27
    ("a.npy", npy(np.array([["a", "b"]])), r"has dtype <U1; save the points as real numbers"),
    ("a.npy", npy(np.eye(2, dtype=complex)), r"has dtype complex128"),
    ("a.npy", npy(np.eye(2, dtype=bool)), r"has dtype bool"),
    # fault 38
    ("a.npy", npy(np.array([[1, None]], object), allow_pickle=True), r"re-save without objects"),
    # fault 39
    (
        "a.npy",
        npy(np.zeros((9, 2)))[:-8],
        r"claims shape \[9, 2\] of float64 \(144 bytes\), but .* 136",
    ),
    ("a.npy", b"\x93NUMPY\x01\x00", r"is not a NumPy array file"),
    ("a.npy", b"1,2\n3,4\n", r"is not a NumPy array file .*; save it with numpy\.save"),
    ("a.npz", b"PK\x03\x04 cut", r"is not a readable npz archive"),
    # fault 52
    (
        "a.csv",
        "1,2\n3,4 \xe9\n".encode("latin-1"),
        r"line 2 is not UTF-8 \(byte 0xe9\); save the file",
    ),
    ("a.csv", "1,2\n".encode("utf-16"), r"is UTF-16"),
    ("a.csv", "1;2\n1,5;2,5\n", r"line 2: '1,5' has a comma as decimal mark; write 1\.5"),
    ("a.txt", "1,5 2,5\n", r"line 1: '1,5' has a comma as decimal mark"),
    ("a.csv", "1,2\n3,4,5\n", r"line 2 has 3 columns, but line 1 has 2"),
    ("a.csv", "x,y\n1,2\n3\n", r"line 3 has 1 columns, but the header has 2"),
    ("a.csv", "1,2\n3,four\n", r"line 2, column 2: 'four' is not a number"),
    ("a.csv", "1,2\n3,\n", r"line 2, column 2: is empty"),
    ("a.csv", "1,2\n3,1e999\n", r"line 2, column 2: 1e999 is too large"),
    ("a.csv", "1,2\n3,1_0\n", r"'1_0' is not a number"),
    ("a.csv", "1,2\n3,\0\n", r"line 2 holds a NUL byte"),
    # damaged meshes
    ("a.vtk", "<?xml version='1.0'?>", r"line 1: is XML VTK; name it \.vtp, or save it"),
    (
        "a.vtk",
        VTK.replace("POLYDATA", "STRUCTURED_GRID"),
        r"line 4: has the data set STRUCTURED_GRID",
    ),
    ("a.vtk", VTK.replace("0 1 0 0 0 1", "0 1 0 0 o 1"), r"line 7: POINTS has 'o' where a number"),
    ("a.vtk", VTK.replace("POINTS 4", "POINTS 4000000000"), r"claims 12,000,000,000 numbers"),
    ("a.vtk", VTK.replace("ASCII", "BINARY").replace("4 f", "99 f"), r"POINTS claims 1,188 bytes"),
    ("a.vtk", vtk_text([[0, 1, 2]]).replace("\n3 0 1 2", "\n5 0 1 2"), r"cell 0 runs over the 4"),
    ("a.ply", "ply\nformat ascii 1.0\nelement vertex 2\n", r"its header has no end"),
    (
        "a.ply",
        "ply\nformat ascii 1.0\nbanana\nend_header\n",
        r"line 3: 'banana' is no PLY header line",
    ),
    (
        "a.ply",
        "ply\nformat ascii 1.0\nelement vertex 2\nproperty float x\nproperty float y\n"
        "end_header\n0 0\n",
        r"ends at vertex 1 of 2; the file is cut off",
    ),
    ("a.step", "solid", r"the ending '\.step' is no point format; use one of \.npy, \.npz"),
]


@pytest.mark.parametrize(("name", "content", "message"), BAD_FILES)
def test_bad_files_are_refused_in_one_line(tmp_path, name, content, message):
    with pytest.raises(InputError, match=message) as caught:
        read_points(put(tmp_path, name, content))
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / name))


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(InputError, match=r"no\.csv: no such file"):
        read_points(tmp_path / "no.csv")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(InputError, match="is a folder"):
        read_points(tmp_path / "folder.csv")
    with pytest.raises(InputError, match="control character"):
        read_points("a\0.csv")


def test_claims_are_checked_before_memory_is_taken(tmp_path):
    """A header that claims 8 TB is refused by its size, in an archive as well (fault 39)."""
    huge = npy(np.zeros((1, 3))).replace(b"(1, 3), }         ", b"(999999999999, 3),}")
    path = put(tmp_path, "huge.npy", huge)
    with pytest.raises(InputError, match=r"claims shape \[999999999999, 3\]"):
        read_points(path)
    with zipfile.ZipFile(tmp_path / "huge.npz", "w") as archive:
        archive.writestr("points.npy", huge)
    with pytest.raises(InputError, match=r"huge\.npz: points: its header claims"):
        read_points(tmp_path / "huge.npz")


def test_archive_that_unpacks_beyond_reason(tmp_path):
    path = tmp_path / "bomb.npz"
    np.savez_compressed(path, points=np.zeros((1 << 23, 2)))
    with pytest.raises(InputError, match=r"unpacks to 134,217,\d+ bytes, \d+ times its size"):
        read_points(path)


def test_objects_in_an_archive_do_not_run(tmp_path):
    path = tmp_path / "o.npz"
    np.savez(path, points=np.array([[1, None]], object), allow_pickle=True)
    with pytest.raises(InputError, match=r"points: holds Python objects"):
        read_points(path)


def test_single_point_is_fine(tmp_path):
    assert read_points(put(tmp_path, "one.csv", "1 2\n")).points.tolist() == [[1, 2]]


def test_another_number_of_points_does_not_fit(tmp_path):
    read: PointFile = read_points(put(tmp_path, "p.csv", "1,2\n3,4\n"))
    with pytest.raises(InputError, match="3 points cannot take the place of the 2"):
        write_points(tmp_path / "q.csv", np.zeros((3, 2)), like=read)
