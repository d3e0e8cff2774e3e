"""Surfaces and curves on the command line: matched as such, and written for ParaView."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from systems.vtp import data_of

from geojax import io
from geojax._core.errors import InputError
from geojax.cli import points as point_files
from geojax.cli.run import Run
from geojax.cli.vtp import write_deformed
from geojax.io import read_mesh, read_points, write_mesh
from geojax.shapes import Curve, Surface

ANGLE = np.arange(16) * 2 * np.pi / 16
RING = np.stack([np.cos(ANGLE), np.sin(ANGLE)], axis=1).astype(np.float32)
EDGES = np.stack([np.arange(16), (np.arange(16) + 1) % 16], axis=1)
OCTAHEDRON = np.concatenate([np.eye(3), -np.eye(3)]).astype(np.float32)
FACES = np.array([[0, 1, 2], [1, 3, 2], [3, 4, 2], [4, 0, 2]])
FACES = np.concatenate([FACES, [[1, 0, 5], [3, 1, 5], [4, 3, 5], [0, 4, 5]]])
FAST = ("--num-steps", 3, "--tolerance", 0.05, "--fidelity-scale", 0.8)


@pytest.mark.slow
def test_surfaces_are_matched_as_varifolds(process, check_files, tmp_path):
    source = Surface(OCTAHEDRON, FACES)
    write_mesh(tmp_path / "a.stl", source)
    write_mesh(tmp_path / "b.off", Surface(OCTAHEDRON * np.float32([1.3, 1, 0.8]), FACES[::-1]))
    outcome = process("match", "a.stl", "b.off", "--out", "run", "--scale", 0.8, "--x64", *FAST)
    assert outcome.code == 0, outcome.err
    assert outcome.err == ""
    check_files(
        tmp_path / "run",
        ["a-data.vtp", "a.stl", "deformation.npz", "manifest.json", "report.html", "result.json"],
    )
    result = json.loads((tmp_path / "run/result.json").read_text())
    assert result["config"]["fidelity"] == "varifold"
    assert result["figures"]["distance_after"] < 0.4 * result["figures"]["distance_before"]
    moved = read_mesh(tmp_path / "run/a.stl")
    start = read_mesh(tmp_path / "a.stl")
    np.testing.assert_array_equal(moved.faces, start.faces)
    assert 1.15 < float(np.max(np.asarray(moved.vertices)[:, 0])) < 1.35
    data = read_mesh(tmp_path / "run/a-data.vtp")
    np.testing.assert_allclose(data.vertices, moved.vertices, atol=1e-6)
    text = (tmp_path / "run/a-data.vtp").read_text()
    assert 'Name="momentum" NumberOfComponents="3"' in text
    assert 'Name="jacobian"' in text
    assert "Change of volume" in (tmp_path / "run/report.html").read_text()


@pytest.mark.slow
def test_curves_of_the_plane_keep_their_lines(process, tmp_path):
    """Vertices that lie on each other are merged for the match, and kept in the file."""
    twice = np.concatenate([RING, RING[:1]])
    lines = np.stack([np.arange(16), np.arange(1, 17)], axis=1)
    write_mesh(tmp_path / "a.vtk", Curve(twice, lines))
    write_mesh(tmp_path / "b.vtk", Curve(1.3 * RING, EDGES))
    outcome = process(
        *("match", "a.vtk", "b.vtk", "--out", "run", "--fidelity", "currents", *FAST),
        *("--control-points", 9),
    )
    assert outcome.code == 0, outcome.err
    assert "a.vtk: 1 vertices lie exactly on others and are merged for the match" in outcome.err
    moved = read_points(tmp_path / "run/a.vtk")
    np.testing.assert_array_equal(moved.edges, lines)
    np.testing.assert_allclose(np.linalg.norm(moved.points, axis=1), 1.3, atol=0.1)
    jacobian = data_of(tmp_path / "run/a-data.vtp", "jacobian")
    assert jacobian.shape == (17,)
    assert np.mean(jacobian) > 1.1  # the ring grows
    assert 'Name="momentum"' not in (tmp_path / "run/a-data.vtp").read_text()
    arrows = data_of(tmp_path / "run/a-momentum.vtp", "momentum").reshape(-1, 3)
    assert arrows.shape == (9, 3)
    assert np.all(arrows[:, 2] == 0)
    # apply keeps the cells as well, in whatever format
    write_mesh(tmp_path / "c.vtp", Curve(RING, EDGES))
    outcome = process("apply", "run", "c.vtp")
    assert outcome.code == 0, outcome.err
    applied = read_points(tmp_path / "run/c-moved/c.vtp")
    np.testing.assert_array_equal(applied.edges, EDGES)
    np.testing.assert_allclose(applied.points, moved.points[:16], atol=1e-5)


@pytest.fixture
def files(tmp_path) -> dict[str, io.PointFile]:
    write_mesh(tmp_path / "surface.ply", Surface(OCTAHEDRON, FACES))
    write_mesh(tmp_path / "curve.ply", Curve(OCTAHEDRON))
    write_mesh(tmp_path / "cloud.ply", OCTAHEDRON)
    return {name: read_points(tmp_path / f"{name}.ply") for name in ("surface", "curve", "cloud")}


def test_default_fidelity_is_that_of_what_the_files_hold(files):
    default = point_files.default_fidelity
    assert default(files["surface"], files["surface"], None) == "varifold"
    assert default(files["curve"], files["curve"], None) == "varifold"
    assert default(files["curve"], files["surface"], None) == "landmarks"
    assert default(files["surface"], files["cloud"], None) == "landmarks"
    assert default(files["surface"], files["surface"], "landmarks") == "landmarks"
    assert default(files["curve"], files["curve"], "currents") == "currents"


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ("surface", "cloud", r"surface\.ply holds faces and .*cloud\.ply points only; give two"),
        ("curve", "surface", r"--fidelity varifold: .*curve\.ply holds lines and .* faces"),
    ],
)
def test_measures_need_cells_of_one_kind(files, first, second, message):
    with pytest.raises(InputError, match=message):
        point_files.default_fidelity(files[first], files[second], "varifold")


def test_a_face_that_has_collapsed_is_written_like_the_others(tmp_path, monkeypatch):
    """Merged for the match, it stands in the file that is written with what was found."""
    again = np.concatenate([OCTAHEDRON, OCTAHEDRON[:1]])
    rows = [*again.tolist(), *([3, *face] for face in [*FACES.tolist(), [0, 6, 1]])]
    text = "\n".join(" ".join(map(str, row)) for row in rows)
    (tmp_path / "a.off").write_text(f"OFF\n7 9 0\n{text}\n")
    source = read_points(tmp_path / "a.off")
    written = {}
    monkeypatch.setattr(Run, "write", lambda run, name, data: written.update({name: data}))
    write_deformed(
        Run.__new__(Run),
        source,
        "a",
        start=again,
        moved=again + 1,
        determinants=np.ones(7),
        base=OCTAHEDRON,
        momentum=OCTAHEDRON,
    )
    assert set(written) == {"a-data.vtp", "a-momentum.vtp"}
    (tmp_path / "a.vtp").write_bytes(written["a-data.vtp"])
    data = read_points(tmp_path / "a.vtp")
    np.testing.assert_array_equal(data.points, again + 1)
    assert data.faces is not None
    assert data.faces.tolist()[-1] == [0, 6, 1]


def test_merged_vertices_take_their_cells_along(tmp_path):
    path = tmp_path / "a.obj"
    path.write_text("v 0 0 0\nv 1 0 0\nv 1 1 0\nv 1 0 0\nv 2 0 1\nf 1 2 3\nf 4 5 3\nf 2 4 5\n")
    with pytest.warns(UserWarning, match=r"1 vertices lie exactly on others .*; 1 cells vanish"):
        merged = point_files.merged_mesh(read_points(path), None)
    assert merged.points.tolist() == [[0, 0, 0], [1, 0, 0], [1, 1, 0], [2, 0, 1]]
    assert merged.faces is not None
    assert merged.faces.tolist() == [[0, 1, 2], [1, 3, 2]]
    same = read_points(path)
    assert len(point_files.merged_mesh(same, 1.2).points) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a.off", "b.off", "--fidelity", "currents"], "a.off: face 0 .* has no area"),
        (["a.off", "b.off"], "a.off: face 0 .* has no area"),
        (["b.off", "c.csv", "--fidelity", "varifold"], "c.csv points only"),
        (["b.off", "b.off", "--fidelity-scale", "-1"], "--fidelity-scale|scale must be positive"),
        (["b.off", "b.off", "--merge-duplicates", "-1"], "--merge-duplicates: -1.0 is no distance"),
    ],
)
def test_bad_meshes_are_named_and_nothing_is_written(command, tree, tmp_path, arguments, message):
    import re

    head = "OFF\n3 1 0\n0 0 0\n1 0 0\n"
    (tmp_path / "a.off").write_text(head + "2 0 0\n3 0 1 2\n")
    (tmp_path / "b.off").write_text(head + "0 1 1\n3 0 1 2\n")
    (tmp_path / "c.csv").write_text("0,0,0\n1,0,0\n0,1,0\n")
    before = tree(tmp_path)
    outcome = command("match", *arguments, "--out", "run")
    assert outcome.code == 2, outcome.err
    assert re.search(message, outcome.err)
    assert tree(tmp_path) == before


@pytest.mark.slow
@pytest.mark.skipif(
    "GEOJAX_DATA" not in os.environ, reason="GEOJAX_DATA names no folder of real data"
)
def test_real_outlines_come_closer(process, tmp_path):
    folder = Path(os.environ["GEOJAX_DATA"]) / "skulls"
    files = (folder / f"skull_{name}.vtk" for name in ("sapiens", "erectus"))
    outcome = process("match", *files, "--out", "run", "--tolerance", 0.01)
    assert outcome.code == 0, outcome.err
    figures = json.loads((tmp_path / "run/result.json").read_text())["figures"]
    assert figures["folds"] == 0
    assert figures["distance_after"] < 0.4 * figures["distance_before"]
