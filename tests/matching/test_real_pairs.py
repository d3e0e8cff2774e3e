"""The experiment on real pairs, on made ones: what it measures is what is there."""

import importlib.util
import json
import sys

import numpy as np
import pytest
from systems.meshes import icosphere, outline

from geojax.shapes import Curve, Surface

pytest.importorskip("matplotlib")


@pytest.fixture(scope="module")
def experiment(root):
    path = root / "experiments/real_pairs/run.py"
    spec = importlib.util.spec_from_file_location("real_pairs", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["real_pairs"] = module  # where its dataclasses look themselves up
    spec.loader.exec_module(module)
    yield module
    del sys.modules["real_pairs"]


def ellipses():
    (first, edges), (second, _) = outline(24, 1.0, 1.0), outline(24, 1.3, 0.8, 0.1)
    return Curve(first, edges), Curve(second, edges)  # of one size: one program for both ways


def ellipsoids():
    vertices, faces = icosphere(1)
    return Surface(vertices, faces), Surface(vertices * [1.2, 0.9, 1.0], faces)


@pytest.mark.parametrize(
    ("load", "controls"),
    [(ellipses, None), pytest.param(ellipsoids, 12, marks=pytest.mark.slow)],
)
@pytest.mark.slow
def test_a_made_pair_comes_closer_without_folds(experiment, tmp_path, load, controls):
    pair = experiment.Pair(
        "made", lambda folders: load(), ("a", "b"), controls, rounds=0, tolerance=2e-2
    )
    row = experiment.run("made", pair, *load(), tmp_path, tmp_path / "pictures")
    assert all(experiment.check({"made": row}).values())
    assert row["after"]["mean"] < 0.5 * row["before"]["mean"]
    assert row["round_trip"]["largest"] < 0.1
    assert json.loads((tmp_path / "made.json").read_text())["folds"] == 0
    assert (tmp_path / "pictures/made.png").read_bytes().startswith(b"\x89PNG")
    assert "| made |" in experiment.table({"made": row})


def test_a_fold_or_a_gap_fails_the_claim(experiment):
    good = {"folds": 0, "grid_folds": 0, "inverse_error": 1e-6, "converged": True}
    assert all(experiment.check({"good": good}).values())
    for name, bad in (("folds", 1), ("grid_folds", None), ("inverse_error", np.nan)):
        assert not all(experiment.check({"good": good, "bad": good | {name: bad}}).values())


def test_distances_are_those_between_shapes_not_vertices(experiment):
    along = np.linspace(0.0, 1.0, 6)[:, None] * [1.0, 0.0]
    apart = experiment.distances(Curve(along), Curve(np.array([[0.0, 0.5], [1.0, 0.5]])))
    assert apart.shape == (8,)
    assert np.all((apart >= 0.5) & (apart < 0.51))  # a sixth of the long edge is near enough
    assert experiment.diameter(np.array([[0.0, 0], [3, 0], [0, 4], [1, 1]])) == 5.0


def test_closed_lines_that_end_where_they_begin_are_welded(experiment):
    square = np.array([[0.0, 0], [1, 0], [1, 1], [0, 1], [0, 0]])
    curve = experiment.welded(Curve(square))
    assert curve.vertices.shape == (4, 2)
    assert np.allclose(np.sum(curve.measure), 4.0)


def test_missing_data_say_what_to_do(experiment, tmp_path):
    with pytest.raises(SystemExit, match="Set GEOJAX_DATA"):
        experiment.Folders(None, None).file("skulls")
    with pytest.raises(SystemExit, match=r"skulls: no such file; GEOJAX_DATA names"):
        experiment.Folders(tmp_path, None).file("skulls")
    with pytest.raises(SystemExit, match=r"pial_left.gii.gz: no such file; --fsaverage"):
        experiment.Folders(None, tmp_path).hemisphere("pial_left")
