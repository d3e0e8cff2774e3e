"""`geojax atlas` and `geojax regress`, on shapes whose answer is known."""

import json
from pathlib import Path

import numpy as np
import pytest
from systems.vtp import data_of

from geojax.io import load_arrays, read_mesh, read_points, write_mesh
from geojax.shapes import Curve

ANGLE = np.arange(8) * 2 * np.pi / 8
RING = np.stack([np.cos(ANGLE), np.sin(ANGLE)], axis=1).astype(np.float32)
EDGES = np.stack([np.arange(8), (np.arange(8) + 1) % 8], axis=1)
SHIFTS = np.float32([[0.2, 0.0], [0.4, 0.0], [0.6, 0.3]])
FAST = ("--num-steps", 2, "--scale", 1)


@pytest.fixture
def rings(tmp_path):
    """A ring, and the same moved three times, as points and as curves."""
    np.save(tmp_path / "ring.npy", RING)
    write_mesh(tmp_path / "ring.vtk", Curve(RING, EDGES))
    for k, shift in enumerate(SHIFTS):
        np.save(tmp_path / f"s{k}.npy", RING + shift)
        write_mesh(tmp_path / f"s{k}.vtk", Curve(RING + shift, EDGES))
    turned = np.concatenate([EDGES[:2, ::-1], EDGES[2:]])
    write_mesh(tmp_path / "turned.vtk", Curve(RING, turned))
    np.save(tmp_path / "short.npy", RING[:5])
    np.save(tmp_path / "space.npy", np.ones((8, 3), np.float32))
    np.save(tmp_path / "nan.npy", np.where(ANGLE[:, None] == 0, np.nan, RING))
    return tmp_path


def figures(folder: Path) -> dict:
    result = json.loads((folder / "result.json").read_text())
    assert result["status"] == "ok"
    return result["figures"]


def test_the_template_is_in_the_middle(command, rings, check_files, check_page):
    subjects = ("s0.npy", "s1.npy", "s2.npy")
    outcome = command("atlas", "ring.npy", *subjects, "--out", "run", *FAST)
    assert outcome.code == 0, outcome.err
    assert "mean distance to the nearest point, after" in outcome.out
    check_files(
        rings / "run",
        [
            *("atlas.npz", "manifest.json", "report.html", "result.json", "template.npy"),
            *(f"reconstruction-{k}-s{k}.npy" for k in range(3)),
        ],
    )
    template = np.load(rings / "run/template.npy")
    np.testing.assert_allclose(template, RING + SHIFTS.mean(axis=0), atol=0.02)
    np.testing.assert_allclose(
        np.load(rings / "run/reconstruction-2-s2.npy"), RING + SHIFTS[2], atol=0.02
    )
    found = figures(rings / "run")
    assert found["distance_after"] < 0.05 * found["distance_before"]
    arrays, notes = load_arrays(rings / "run", "atlas", kind="geojax atlas")
    assert arrays["momenta"].shape == (3, 8, 2)
    assert notes["subjects"] == ["s0.npy", "s1.npy", "s2.npy"]
    page = (rings / "run/report.html").read_text()
    check_page(page)
    assert "Atlas of 3 shapes" in page
    # the same again is the same run; with the template kept it is another
    again = command("atlas", "ring.npy", *subjects, "--out", "run", *FAST)
    assert again.code == 0, again.err
    other = command("atlas", "ring.npy", *subjects, "--out", "run", *FAST, "--keep-template")
    assert other.code == 2
    assert "run: holds the result of another run (keep_template: False there" in other.err


@pytest.mark.slow
def test_the_geodesic_goes_on(command, rings, check_files, check_page):
    (rings / "growth.toml").write_text(
        'shapes = ["s1.npy", "ring.npy"]\ntimes = [62, 60.0]\nat = [60, 64]\n'
    )
    outcome = command("regress", "--config", "growth.toml", "--out", "run", *FAST)
    assert outcome.code == 0, outcome.err
    check_files(
        rings / "run",
        [
            *("at-60.npy", "at-64.npy", "manifest.json", "regression.npz"),
            *("report.html", "result.json"),
        ],
    )
    np.testing.assert_allclose(np.load(rings / "run/at-60.npy"), RING, atol=1e-6)
    np.testing.assert_allclose(np.load(rings / "run/at-64.npy"), RING + 2 * SHIFTS[1], atol=0.06)
    assert figures(rings / "run")["explained"] > 0.99
    arrays, _ = load_arrays(rings / "run", "regression", kind="geojax regression")
    np.testing.assert_array_equal(arrays["times"], [62, 60])
    page = (rings / "run/report.html").read_text()
    check_page(page)
    assert "The path of every point along the geodesic" in page


@pytest.mark.slow
def test_curves_keep_their_lines(command, rings):
    """Compared as varifolds, which is chosen by what the files hold."""
    curves = ("s0.vtk", "s1.vtk", "s2.vtk")
    outcome = command("atlas", "ring.vtk", *curves, "--out", "run", *FAST)
    assert outcome.code == 0, outcome.err
    assert json.loads((rings / "run/result.json").read_text())["config"]["fidelity"] == "varifold"
    template = read_mesh(rings / "run/template.vtk")
    np.testing.assert_array_equal(template.edges, EDGES)
    np.testing.assert_allclose(
        read_points(rings / "run/template.vtk").points.mean(axis=0)[:2], [0.4, 0.1], atol=0.05
    )
    # what ParaView shows: a translation, of momenta that sit on the vertices of the template
    moved = rings / "run/reconstruction-2-s2-data.vtp"
    np.testing.assert_array_equal(read_points(moved).edges, EDGES)
    ours = read_points(rings / "run/reconstruction-2-s2.vtk").points
    np.testing.assert_allclose(read_points(moved).points[:, :2], ours[:, :2], atol=1e-6)
    np.testing.assert_allclose(data_of(moved, "jacobian"), 1, atol=0.3)
    momenta = load_arrays(rings / "run", "atlas", kind="geojax atlas")[0]["momenta"]
    arrows = data_of(moved, "momentum").reshape(-1, 3)
    np.testing.assert_array_equal(arrows, np.pad(momenta[2], ((0, 0), (0, 1))))
    options = ("--times", 0, 1, "--control-points", 4, "--out", "way", *FAST)
    outcome = command("regress", "ring.vtk", "s1.vtk", *options)
    assert outcome.code == 0, outcome.err
    end = read_mesh(rings / "way/at-1.vtk")
    np.testing.assert_array_equal(end.edges, EDGES)
    np.testing.assert_allclose(data_of(rings / "way/at-0-data.vtp", "jacobian"), 1, atol=1e-5)
    changed = data_of(rings / "way/at-1-data.vtp", "jacobian")
    assert np.max(np.abs(changed - 1)) > 1e-3
    assert data_of(rings / "way/at-1-momentum.vtp", "momentum").shape == (12,)


@pytest.mark.slow
def test_what_was_not_reached_is_withheld(command, rings, check_files):
    options = ("--out", "run", "--max-iterations", 1, "--tolerance", 1e-6, *FAST)
    outcome = command("atlas", "ring.npy", "s0.npy", "s2.npy", *options)
    assert outcome.code == 3
    assert "geojax atlas did not reach its tolerance: gradient" in outcome.err
    check_files(rings / "run", ["result.json"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("atlas ring.npy", "SUBJECTS: there are none"),
        ("atlas ring.npy none.npy", "none.npy: no such file"),
        ("atlas ring.npy s0.npy short.npy", "ring.npy has 8 points and short.npy has 5"),
        ("atlas ring.npy s0.npy space.npy", "ring.npy is 2-D and space.npy is 3-D"),
        ("atlas ring.vtk s0.vtk space.npy", "s0.vtk is fit for varifold, space.npy for landmarks"),
        ("atlas ring.npy s0.npy nan.npy", "nan.npy: row 0, x=nan"),
        ("atlas ring.npy s0.npy --estimate-control-points", "give --control-points too"),
        ("atlas ring.npy s0.npy --batch-size 0", "--batch-size must be an integer of at least 1"),
        ("atlas ring.npy s0.npy --scale -1", "--scale must be positive"),
        ("atlas ring.npy s0.npy --fidelity varifold", "ring.npy holds points only"),
        ("atlas ring.npy s0.npy --config growth.toml", "growth.toml: no such file"),
        ("atlas ring.vtk s0.vtk turned.vtk --fidelity currents", "turned.vtk is not oriented"),
        ("regress s0.npy --times 1", "SHAPES: give at least two files"),
        ("regress s0.npy s1.npy", "Missing from geojax regress: --times"),
        ("regress s0.npy s1.npy --times 1", "--times: has 1 numbers for 2 files"),
        ("regress s0.npy s1.npy --times 1 2 3", "--times: has 3 numbers for 2 files"),
        ("regress s0.npy s1.npy --times 1 1", "--times: all are 1; give at least two"),
        ("regress s0.npy s1.npy --times 1 nan", "--times: (1.0, nan) are not all finite"),
        ("regress s0.npy s1.npy --times 1 2 --at inf", "--at: (inf,) are not all finite"),
        ("regress s0.npy short.npy --times 1 2", "s0.npy has 8 points and short.npy has 5"),
    ],
)
def test_bad_input_is_one_line(command, rings, tree, arguments, message):
    before = tree(rings)
    outcome = command(*arguments.split(), "--out", "run")
    assert outcome.code == 2, outcome.err
    assert message in outcome.err
    assert outcome.err.count("\n") == 1
    assert tree(rings) == before


def test_folders_that_are_taken(command, rings):
    for folder, message in (("full", "holds note and no result"), ("s0.npy", "is a file")):
        if folder == "full":
            (rings / folder).mkdir()
            (rings / folder / "note").write_text("mine")
        outcome = command("regress", "s0.npy", "s1.npy", "--times", 0, 1, "--out", folder)
        assert outcome.code == 2
        assert message in outcome.err
