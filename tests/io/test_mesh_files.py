"""Mesh files: round trips in every format, what other libraries read and write, and damage."""

import base64
import io
import os
import struct
from pathlib import Path

import jax
import numpy as np
import pytest

from geojax._core.errors import InputError
from geojax.io import as_mesh, encode_mesh, read_mesh, read_points, write_mesh, write_points
from geojax.shapes import Curve, Surface

POINTS = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1.0 / 3.0]])
FACES = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])
EDGES = np.array([[0, 1], [1, 2], [2, 3]])
SURFACES = ["vtk", "vtp", "ply", "obj", "off", "stl", "gii", "pial"]
SINGLE = {"stl", "gii", "pial"}  # these hold float32 and nothing else
CURVES = ["vtk", "vtp", "ply", "obj"]


def put(folder, name: str, content) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("ending", SURFACES)
def test_surface_is_what_was_written(tmp_path, ending, dtype):
    points = POINTS.astype(dtype) / 3
    write_mesh(tmp_path / f"a.{ending}", Surface(points, FACES))
    mesh = read_mesh(tmp_path / f"a.{ending}")
    assert isinstance(mesh, Surface)
    held = points.astype(np.float32) if ending in SINGLE else points
    if ending == "stl":  # its vertices stand in the order of the triangles
        order = [0, 2, 1, 3]
        np.testing.assert_array_equal(np.asarray(mesh.vertices), held[order])
        np.testing.assert_array_equal(np.asarray(order)[np.asarray(mesh.faces)], FACES)
        return
    np.testing.assert_array_equal(np.asarray(mesh.vertices).astype(held.dtype), held)
    np.testing.assert_array_equal(np.asarray(mesh.faces), FACES)


@pytest.mark.parametrize("dimension", [2, 3])
@pytest.mark.parametrize("ending", [*CURVES, "npz"])
def test_curve_is_what_was_written(tmp_path, ending, dimension):
    points = (POINTS + POINTS[:, ::-1])[:, :dimension]
    if ending == "npz":
        write_points(tmp_path / "a.npz", points, edges=EDGES)
    else:
        write_mesh(tmp_path / f"a.{ending}", Curve(points, EDGES))
    mesh = read_mesh(tmp_path / f"a.{ending}")
    assert isinstance(mesh, Curve)
    np.testing.assert_array_equal(np.asarray(mesh.vertices), points)
    np.testing.assert_array_equal(np.asarray(mesh.edges), EDGES)


@pytest.mark.parametrize("ending", SURFACES)
def test_moved_file_keeps_all_else(tmp_path, ending):
    """Written `like` the file itself nothing changes; moved, only the coordinates do."""
    path = tmp_path / f"a.{ending}"
    write_mesh(path, Surface(POINTS.astype(np.float32), FACES))
    file = read_points(path)
    again = file.decoded.encode(file.points)
    same = read_points(put(tmp_path, f"b.{ending}", again))
    np.testing.assert_array_equal(same.points, file.points)
    write_points(path, 2 * file.points + 1, like=file)
    moved = read_points(path)
    np.testing.assert_allclose(moved.points, 2 * file.points + 1, rtol=1e-6)
    np.testing.assert_array_equal(moved.faces, file.faces)


def test_text_keeps_what_is_no_coordinate(tmp_path):
    text = "# made by hand\r\nv 0 0 0 0.5 0.5 0.5\r\nv 1 0 0\r\nv 0 1 1\r\nvn 0 0 1\r\ng one\r\n"
    text += "f -3//1 -2//1 -1//1 # the only one\r\nl 1 2 3\r\n"
    file = read_points(put(tmp_path, "a.obj", text))
    assert file.faces.tolist() == [[0, 1, 2]]
    assert file.edges.tolist() == [[0, 1], [1, 2]]
    written = file.decoded.encode(file.points * 2).decode()
    assert written == text.replace("v 0 0 0 0", "v 0.0 0.0 0.0 0").replace(
        "v 1 0 0", "v 2.0 0.0 0.0"
    ).replace("v 0 1 1", "v 0.0 2.0 2.0")
    text = "OFF 3 1 0\n\n# points\n0 0 0 7\n1 0 0 8\n0 1 1 9\n3 0 1 2 255 0 0\n"
    file = read_points(put(tmp_path, "a.off", text))
    assert file.decoded.encode(file.points + 1).decode() == (
        "OFF 3 1 0\n\n# points\n1.0 1.0 1.0 7\n2.0 1.0 1.0 8\n1.0 2.0 2.0 9\n3 0 1 2 255 0 0\n"
    )


STL_TEXT = """solid wedge # 1
facet normal 9 9 9
 outer loop
  vertex 0 0 0
  vertex 1 0 0
  vertex 0 1 0
 endloop
endfacet
FACET NORMAL 0 0 0
 OUTER LOOP
  VERTEX 1 0 0
  VERTEX 1 1 0.5
  VERTEX -0.0 1 0
 ENDLOOP
ENDFACET
endsolid wedge
"""


def test_stl_joins_equal_corners_and_turns_its_normals(tmp_path):
    file = read_points(put(tmp_path, "a.stl", STL_TEXT))
    assert file.points.tolist() == [[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0.5]]
    assert file.faces.tolist() == [[0, 1, 2], [1, 3, 2]]
    near = STL_TEXT.replace("VERTEX 1 0 0", "VERTEX 1.0000001 0 0")
    assert len(read_points(put(tmp_path, "b.stl", near)).points) == 5  # near is not equal
    moved = file.decoded.encode(file.points[:, [1, 2, 0]]).decode()
    assert moved.startswith("solid wedge # 1\n  facet normal 0.0 1.0 0.0\n outer loop\n")
    assert "vertex 1.0 0.5 1.0\n" in moved  # (y, z, x)
    binary = encode_mesh("a.stl", as_mesh(file))
    binary = b"a head".ljust(80) + binary[80:132] + b"\x07\x00" + binary[134:]
    file = read_points(put(tmp_path, "c.stl", binary))
    moved = file.decoded.encode(2 * file.points)
    assert moved[:6] == b"a head"
    assert moved[132:134] == b"\x07\x00"


def test_data_stand_beside_the_vertices(tmp_path):
    data = {"height": POINTS[:, 2], "the momentum": POINTS.astype(np.float32), "id": np.arange(4)}
    cells = {"area": np.arange(4.0)}
    mesh = Surface(POINTS, FACES)
    write_mesh(tmp_path / "a.vtk", mesh, point_data=data, cell_data=cells)
    text = (tmp_path / "a.vtk").read_text()
    assert "\nPOINT_DATA 4\nFIELD FieldData 3\nheight 1 4 double\n0.0\n0.0\n0.0\n0.33" in text
    assert "\nthe%20momentum 3 4 float\n0.0 0.0 0.0\n1.0 0.0 0.0\n" in text
    assert "\nid 1 4 int\n0\n1\n2\n3\nCELL_DATA 4\nFIELD FieldData 1\narea 1 4 double\n" in text
    meshio = pytest.importorskip("meshio")
    write_mesh(tmp_path / "a.ply", mesh, point_data=data)
    read = meshio.read(tmp_path / "a.ply")
    np.testing.assert_array_equal(read.point_data["height"], POINTS[:, 2])
    np.testing.assert_array_equal(read.point_data["the_momentum_2"], POINTS[:, 2].astype("f4"))
    np.testing.assert_array_equal(read.cells_dict["triangle"], FACES)
    write_mesh(tmp_path / "a.ply", mesh, point_data=data, cell_data=cells)
    np.testing.assert_array_equal(read_mesh(tmp_path / "a.ply").faces, FACES)
    assert b"\nproperty double area\n" in (tmp_path / "a.ply").read_bytes()
    write_mesh(tmp_path / "a.vtp", mesh, point_data=data, cell_data=cells)
    text = (tmp_path / "a.vtp").read_text()
    part = text[text.index('Name="the momentum"') :]
    numbers = base64.b64decode(part[part.index(">") + 1 : part.index("<")])[8:]
    np.testing.assert_array_equal(
        np.frombuffer(numbers, "<f4").reshape(4, 3), POINTS.astype(np.float32)
    )


@pytest.mark.parametrize("ending", ["stl", "obj", "off"])
def test_meshio_reads_what_is_written_and_the_other_way_round(tmp_path, ending):
    meshio = pytest.importorskip("meshio")
    write_mesh(tmp_path / f"a.{ending}", Surface(POINTS.astype(np.float32), FACES))
    theirs = meshio.read(tmp_path / f"a.{ending}")
    faces = theirs.cells_dict["triangle"]
    np.testing.assert_allclose(theirs.points[faces], POINTS.astype(np.float32)[FACES], rtol=1e-7)
    meshio.Mesh(POINTS, [("triangle", FACES)]).write(tmp_path / f"b.{ending}")
    ours = read_mesh(tmp_path / f"b.{ending}")
    corners = np.asarray(ours.vertices)[np.asarray(ours.faces)]
    np.testing.assert_allclose(corners, POINTS[FACES], rtol=1e-6)


def test_nibabel_reads_what_is_written_and_the_other_way_round(tmp_path):
    nibabel = pytest.importorskip("nibabel")
    points = POINTS.astype(np.float32)
    write_mesh(tmp_path / "a.surf.gii", Surface(points, FACES))
    theirs = nibabel.load(tmp_path / "a.surf.gii")
    np.testing.assert_array_equal(theirs.agg_data("pointset"), points)
    np.testing.assert_array_equal(theirs.agg_data("triangle"), FACES)
    write_mesh(tmp_path / "lh.pial", Surface(points, FACES))
    theirs = nibabel.freesurfer.read_geometry(tmp_path / "lh.pial")
    np.testing.assert_array_equal(theirs[0], points)
    np.testing.assert_array_equal(theirs[1], FACES)
    nibabel.freesurfer.write_geometry(tmp_path / "rh.white", points, FACES)
    np.testing.assert_array_equal(read_mesh(tmp_path / "rh.white").vertices, points)


def test_gifti_keeps_its_other_arrays(tmp_path):
    gifti = pytest.importorskip("nibabel.gifti")
    data = encode_mesh("a.gii", Surface(POINTS.astype(np.float32), FACES))
    image = gifti.GiftiImage.from_bytes(data)
    image.add_gifti_data_array(
        gifti.GiftiDataArray(np.arange(4, dtype=np.float32), intent="NIFTI_INTENT_SHAPE")
    )
    file = read_points(put(tmp_path, "a.gii", image.to_bytes()))
    again = gifti.GiftiImage.from_bytes(file.decoded.encode(file.points + 1))
    assert len(again.darrays) == 3
    np.testing.assert_array_equal(again.agg_data("shape"), np.arange(4))


def test_polygons_are_cut_and_lines_left_out_with_a_warning(tmp_path):
    path = put(tmp_path, "a.obj", "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 1\nf 1 2 3 4\nl 1 2\n")
    with pytest.warns(UserWarning, match=r"a\.obj") as notes:
        assert read_mesh(path).faces.shape == (2, 3)
    first, second = (str(note.message) for note in notes)
    assert "a.obj: 1 faces have more than three vertices and are cut into triangles" in first
    assert "a.obj: holds 1 pieces of lines beside its faces" in second


def test_unreferenced_vertices_are_counted(tmp_path):
    path = put(tmp_path, "a.obj", "v 0 0 0\nv 1 0 0\nv 0 1 0\nv 5 5 5\nf 1 2 3\n")
    with pytest.warns(UserWarning, match=r"a\.obj: 1 of 4 vertices belong to no face"):
        read_mesh(path)


def test_grid_of_lines_and_triangles(tmp_path):
    head = "# vtk DataFile Version 3.0\nt\nASCII\nDATASET UNSTRUCTURED_GRID\nPOINTS 4 float\n"
    head += "0 0 1 1 0 1 1 1 1 0 1 2\n"
    path = put(tmp_path, "a.vtk", head + "CELLS 2 7\n3 0 1 2\n2 2 3\nCELL_TYPES 2\n4\n3\n")
    assert read_mesh(path).edges.tolist() == [[0, 1], [1, 2], [2, 3]]
    path = put(tmp_path, "b.vtk", head + "CELLS 1 5\n4 0 1 2 3\nCELL_TYPES 1\n10\n")
    with pytest.raises(InputError, match=r"b\.vtk: has cells of the VTK types 10, .* surface"):
        read_mesh(path)
    path = put(tmp_path, "c.vtk", head + "CELLS 1 4\n3 0 1 2\nCELL_TYPES 2\n5\n5\n")
    with pytest.raises(InputError, match=r"c\.vtk: has 1 cells, but CELL_TYPES for 2"):
        read_mesh(path)


def test_reading_needs_no_more_precision_than_there_is(tmp_path):
    path = tmp_path / "a.off"
    write_mesh(path, Surface(POINTS, FACES))
    with jax.enable_x64(False), pytest.warns(UserWarning, match=r"a\.off: .*float32"):
        assert read_mesh(path).vertices.dtype == np.float32


GIFTI = encode_mesh("a.gii", Surface(POINTS.astype(np.float32), FACES))
STL = encode_mesh("a.stl", Surface(POINTS.astype(np.float32), FACES))
PIAL = encode_mesh("a.pial", Surface(POINTS.astype(np.float32), FACES))
TRIANGLE = "v 0 0 0\nv 1 0 0\nv 0 1 0\n"
OFF = "OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n"
PLY = "ply\nformat ascii 1.0\nelement vertex 3\n" + "".join(
    f"property float {axis}\n" for axis in "xyz"
)
PLY += "element face 1\nproperty list uchar int vertex_indices\nend_header\n"
PLY += "0 0 0\n1 0 0\n0 1 0\n3 0 1 2.7\n"
DAMAGED = [
    # fault 1
    ("a.obj", TRIANGLE.replace("v 1 0", "v nan 0") + "f 1 2 3\n", r"vertex 1 \(line 2\), x=nan"),
    ("a.off", OFF.replace("1 0 0", "1 inf 0"), r"vertex 1 \(line 4\), y=inf"),
    ("a.stl", STL[:96] + struct.pack("<f", np.nan) + STL[100:], r"a\.stl: vertex \d, x=nan"),
    ("lh.pial", PIAL.replace(struct.pack(">f", 1), struct.pack(">f", np.inf)), r"vertex 1, x=inf"),
    # faults 5, 9, 10, 11
    ("a.obj", "o nothing\n", r"holds no points"),
    ("a.obj", TRIANGLE, r"holds points without faces or lines; give a mesh"),
    ("a.obj", TRIANGLE + "f 1 2 4\n", r"face 0 refers to vertex 3 of 3"),
    ("a.obj", TRIANGLE + "f 1 2 0\n", r"line 4: refers to vertex 0; OBJ files count from 1"),
    ("a.off", OFF.replace("0 1 2", "0 1 -1"), r"face 0 refers to vertex -1 of 3"),
    ("a.off", OFF.replace("0 1 2", "1 2 3"), r"smallest index is 1 and .* is it 1-based"),
    # fault 12
    ("a.obj", TRIANGLE + "f 1 2 2\n", r"a\.obj: face 0 has the vertices \[1, 1|two are the same"),
    ("a.obj", TRIANGLE.replace("0 1 0", "2 0 0") + "f 1 2 3\n", r"a\.obj: face 0 .* has no area"),
    # cut off, wrong counts, another format
    ("a.obj", TRIANGLE + "f 1 2\n", r"line 4: face has 2 of 3 numbers"),
    ("a.obj", TRIANGLE + "f 1 2 x\n", r"line 4: face has 'x' where a number should be"),
    ("a.obj", TRIANGLE + "f 1 2 2.5\n", r"has '2.5' where a whole number should be"),
    ("a.obj", "v 0 0\n", r"line 1: vertex has 2 of 3 numbers"),
    ("a.obj", "curv 0 1\n", r"line 1: unknown keyword 'curv'; save it as a triangle mesh"),
    ("a.ply", PLY, r"face 0: '3 0 1 2\.7' does not fit its properties"),
    ("a.ply", PLY.replace("char int", "char float"), r"line 8: .*'property list uchar float ver"),
    ("a.off", "PLY\n", r"line 1: 'PLY' begins no OFF text file"),
    ("a.off", OFF.replace("3 1 0\n0", "999999999999 1 0\n0"), r"claims 999,999,999,999 vertices"),
    ("a.off", OFF.replace("3 1 0\n0", "3 2 0\n0"), r"ends at face 1 of 2; the file is cut off"),
    ("a.off", OFF.replace("3 1 0\n0", "2 1 0\n0"), r"face 0 has 2 vertices|face 0 has 0 vertices"),
    ("a.off", OFF + "3 0 2 1\n", r"line 7: more follows than 3 vertices and 1 faces"),
    ("a.stl", STL[:-7], r"claims 4 triangles \(284 bytes\), but has 277 bytes; it is cut off"),
    ("a.stl", b"nothing", r"has 7 bytes, which is no STL"),
    ("a.stl", STL_TEXT[: STL_TEXT.index("ENDLOOP")], r"line 14: the file ends within a facet"),
    ("a.stl", STL_TEXT[: STL_TEXT.index("endsolid")], r"the file ends without 'endsolid'"),
    ("a.stl", STL_TEXT.replace("outer", "inner"), r"line 3: 'inner loop' stands where 'outer"),
    ("a.stl", STL_TEXT.replace("solid wedge # 1", "solid wedge\nbanana"), r"line 2: 'banana'"),
    ("lh.pial", PIAL[:-5], r"claims 4 vertices and 4 faces, but 91 bytes follow"),
    ("lh.pial", b"\xff\xff\xff" + PIAL[3:], r"it begins with ff ff ff, not ff ff fe"),
    ("lh.pial", PIAL[:12], r"ends within its header"),
    ("a.gii", GIFTI[:-40], r"is no readable GIFTI file"),
    ("a.gii", GIFTI.replace(b'Dim0="4"', b'Dim0="999999999999"'), r"claims [\d,]+ bytes of numb"),
    ("a.gii", GIFTI.replace(b'Dim0="4"', b'Dim0="5"'), r"is no readable GIFTI file"),
    ("a.gii", GIFTI.replace(b"?>", b"?><!DOCTYPE a [<!ENTITY b 'c'>]>"), r"has XML entities"),
    ("a.gii", GIFTI.replace(b"GZipBase64Binary", b"ExternalFileBinary"), r"data in other files"),
    ("a.gii", GIFTI.replace(b"INTENT_POINTSET", b"INTENT_SHAPE"), r"has no points; give a surf"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "content", "message"), DAMAGED)
def test_damage_is_named_in_one_line(tmp_path, capfd, name, content, message):
    path = put(tmp_path, name, content)
    with pytest.raises(InputError, match=message) as caught:
        read_mesh(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_formats_refuse_what_they_do_not_hold(tmp_path):
    curve = Curve(POINTS, EDGES)
    with pytest.raises(InputError, match=r"a\.stl: STL holds no lines; write \.vtp"):
        write_mesh(tmp_path / "a.stl", curve)
    with pytest.raises(InputError, match=r"a\.obj: OBJ holds no data; write \.vtp"):
        write_mesh(tmp_path / "a.obj", curve, point_data={"a": np.zeros(4)})
    with pytest.raises(InputError, match=r"cell_data: a has shape \[4\] .*; give numbers \[3\]"):
        write_mesh(tmp_path / "a.vtp", curve, cell_data={"a": np.zeros(4)})
    with pytest.raises(InputError, match=r"'\\n' is no name"):
        write_mesh(tmp_path / "a.vtk", curve, point_data={"\n": np.zeros(4)})
    assert list(tmp_path.iterdir()) == []


def test_points_alone_make_a_file_for_paraview(tmp_path):
    write_mesh(tmp_path / "a.vtp", POINTS, point_data={"momentum": POINTS})
    file = read_points(tmp_path / "a.vtp")
    np.testing.assert_array_equal(file.points, POINTS)
    assert file.faces is None
    assert 'NumberOfVerts="4"' in (tmp_path / "a.vtp").read_text()


needs_data = pytest.mark.skipif(
    "GEOJAX_DATA" not in os.environ, reason="GEOJAX_DATA names no folder of real data"
)


@needs_data
def test_real_outlines_are_curves_of_the_plane():
    for path in sorted((Path(os.environ["GEOJAX_DATA"]) / "skulls").glob("*.vtk")):
        mesh = read_mesh(path)
        assert isinstance(mesh, Curve)
        assert mesh.vertices.shape[1] == 2
        assert mesh.edges.shape[0] == mesh.vertices.shape[0] - 6
        assert 100 < float(np.sum(np.asarray(mesh.measure))) < 5000


@needs_data
@pytest.mark.parametrize("ending", SURFACES)
def test_real_surfaces_pass_through_every_format(tmp_path, ending):
    folder = Path(os.environ["GEOJAX_DATA"])
    (path, *_) = sorted((folder / "deformetrica_oracles/atlas_meshes").glob("*.vtk"))
    with np.load(folder / "hippocampus_surfaces" / "hippos_reduc.npz") as pair:
        hippocampus = Surface(pair["VS"].astype(np.float32), pair["FS"])
    for mesh in (read_mesh(path), hippocampus):
        write_mesh(tmp_path / f"a.{ending}", mesh)
        again = read_mesh(tmp_path / f"a.{ending}")
        assert again.faces.shape == mesh.faces.shape
        np.testing.assert_allclose(again.centres, mesh.centres, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(again.normals, mesh.normals, rtol=1e-4, atol=1e-5)


def test_faces_of_an_archive_make_a_surface(tmp_path):
    stream = io.BytesIO()
    np.savez(stream, vertices=POINTS, faces=FACES)
    mesh = read_mesh(put(tmp_path, "a.npz", stream.getvalue()))
    assert isinstance(mesh, Surface)
