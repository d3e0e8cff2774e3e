"""`geojax transport`: one saved deformation, carried along another."""

import json

import numpy as np
import pytest
from systems.deformations import shot
from systems.vtp import data_of

from geojax.io import write_mesh
from geojax.io.files import sha256
from geojax.kernels import Gaussian
from geojax.matching import load_match
from geojax.shapes import Curve

START = np.float32([[0, 0], [1, 0.1], [0.1, 1], [1.1, 1.2]])
PLACE = np.float32([[0.5, 0.5]])
KERNEL = Gaussian(np.float32(3.0))
STEP, WAY = np.float32([[0.3, -0.2]]), np.float32([[1.0, 2.0]])


@pytest.fixture
def runs(tmp_path):
    """Two matches of one control point, which translate what is near it, as folders."""
    for name, momentum in (("later", STEP), ("other", WAY)):
        found = shot(START, momentum, KERNEL, control_points=PLACE)
        found.save(tmp_path / name)
        np.save(tmp_path / f"{name}.npy", found.moved)
        target = tmp_path / f"{name}.npy"
        result = {
            "command": "match",
            "config": {"target": target.name},
            "inputs": {target.name: sha256(target.read_bytes())},
        }
        (tmp_path / name / "result.json").write_text(json.dumps(result))
    np.save(tmp_path / "place.npy", PLACE + WAY)
    np.save(tmp_path / "space.npy", np.ones((4, 3), np.float32))
    return tmp_path


def test_the_other_subject_is_moved(command, runs, check_files):
    outcome = command("transport", "later", "other", "--out", "carried")
    assert outcome.code == 0, outcome.err
    assert outcome.err == ""
    check_files(runs / "carried", ["deformation.npz", "manifest.json", "other.npy", "result.json"])
    result = json.loads((runs / "carried/result.json").read_text())
    figures = result["figures"]
    assert result["status"] == "ok"
    assert figures["points"] == 4
    assert figures["folds"] == 0
    assert figures["energy"] == pytest.approx(figures["energy_before"], rel=1e-6)
    assert figures["length_of_the_way"] == pytest.approx(np.linalg.norm(WAY), rel=1e-6)
    # a translation along a translation stays that translation
    moved = np.load(runs / "carried/other.npy")
    assert moved.dtype == np.float32
    by_hand = load_match(runs / "carried").apply(np.load(runs / "other.npy"))
    np.testing.assert_allclose(moved, by_hand, atol=1e-6)
    outcome = command("apply", "carried", "place.npy", "--out", "moved")
    assert outcome.code == 0, outcome.err
    np.testing.assert_allclose(np.load(runs / "moved/place.npy"), PLACE + WAY + STEP, atol=1e-6)
    # other points of the other subject
    outcome = command("transport", "later", "other", "--out", "point", "--points", "place.npy")
    assert outcome.code == 0, outcome.err
    np.testing.assert_allclose(np.load(runs / "point/place.npy"), PLACE + WAY + STEP, atol=1e-6)
    # a curve, as ParaView shows it
    write_mesh(runs / "line.vtk", Curve(PLACE + WAY + np.float32([[0, 0], [0.1, 0]]), [[0, 1]]))
    outcome = command("transport", "later", "other", "--out", "curve", "--points", "line.vtk")
    assert outcome.code == 0, outcome.err
    np.testing.assert_allclose(data_of(runs / "curve/line-data.vtp", "jacobian"), 1, atol=0.01)
    arrows = data_of(runs / "curve/line-momentum.vtp", "momentum")
    np.testing.assert_allclose(arrows, [*STEP[0], 0], atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("later none", "none: no such folder"),
        ("later other --points none.npy", "none.npy: no such file"),
        ("later other --points space.npy", "space.npy is 3-D, but the deformation in other is 2-D"),
        ("later other --num-rungs 0", "--num-rungs must be an integer of at least 1"),
        ("later", "Missing from geojax transport: TO"),
        ("later wide", "wide must have the kernel of the carried deformation, Gaussian(scale=3.0)"),
        ("later far", "far must begin where the carried deformation does, but"),
        ("later changed", "changed.npy: is not what changed was matched to; give the file as"),
        ("later silent", "silent/result.json: does not say what the target was; give the file"),
        ("later gone", "gone.npy: no such file"),
        ("later atlas", "atlas: holds no deformation; give the --out of a match"),
    ],
)
def test_bad_input_is_one_line(command, runs, tree, arguments, message):
    names = arguments.split()
    if len(names) > 1 and names[1] in ("wide", "far", "changed", "silent", "gone"):
        name = names[1]
        kernel = Gaussian(np.float32(5.0)) if name == "wide" else KERNEL
        far = np.float32(90.0 if name == "far" else 0.0)
        shot(START, WAY, kernel, control_points=PLACE + far).save(runs / name)
        text = (runs / "other/result.json").read_text()
        if name in ("changed", "gone"):
            text = text.replace("other.npy", f"{name}.npy")
        if name != "silent":
            (runs / name / "result.json").write_text(text)
        if name == "changed":
            np.save(runs / "changed.npy", START)
    if "atlas" in names:
        from geojax.io import save_arrays

        save_arrays(runs / "atlas", "atlas", {"momenta": START}, {}, kind="geojax atlas")
    before = tree(runs)
    outcome = command("transport", *names, "--out", "run")
    assert outcome.code == 2, outcome.err
    assert message in outcome.err
    assert outcome.err.count("\n") == 1
    assert tree(runs) == before


@pytest.mark.slow
def test_on_what_match_wrote(command, tmp_path):
    """From files to files."""
    np.save(tmp_path / "baseline.npy", START)
    np.save(tmp_path / "followup.npy", START + STEP)
    np.save(tmp_path / "other.npy", START + WAY)
    for name in ("followup", "other"):
        outcome = command(
            "match", "baseline.npy", f"{name}.npy", "--out", name, "--num-steps", 3, "--x64"
        )
        assert outcome.code == 0, outcome.err
    outcome = command("transport", "followup", "other", "--out", "carried", "--x64")
    assert outcome.code == 0, outcome.err
    moved = np.load(tmp_path / "carried/other.npy")
    np.testing.assert_allclose(moved, START + WAY + STEP, atol=0.05)
