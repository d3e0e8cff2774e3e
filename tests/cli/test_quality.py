"""`geojax quality` against numbers by hand, and what `match` and `apply` refuse of images."""

import json
from pathlib import Path

import numpy as np
import pytest
from systems.image_pairs import (
    CENTRE,
    OF_SOURCE,
    OF_TARGET,
    SHIFT,
    SOURCE_GRID,
    TARGET_GRID,
    box,
    shifted,
    write_space,
)  # fmt: skip

from geojax import io
from geojax.cli import image_files

LABELS = np.array([[0, 1, 1, 0], [2, 0, 0, 0], [0, 0, 0, 5]])
TARGET = np.array([[0, 0, 1, 0], [0, 0, 0, 0], [0, 0, 0, 5]])


@pytest.fixture(scope="module")
def space(tmp_path_factory):
    """A saved match of two images in space, one a shift of the other."""
    folder = tmp_path_factory.mktemp("space")
    write_space(folder)
    shifted(folder).save(folder / "run")
    return folder


class TestQuality:
    """Overlap, distances and landmarks."""

    def test_labels_as_they_are(self, command):
        spaced = np.diag([2.0, 3.0, 1.0])
        io.write_image("a.nii", LABELS.astype(np.float32), affine=spaced)
        io.write_image("b.nii.gz", TARGET, affine=spaced)
        done = command("quality", "a.nii", "b.nii.gz", "--out", "found")
        assert done.code == 0, done.err
        figures = json.loads(Path("found/result.json").read_text())["figures"]
        # label 1 has a voxel too many, 3 mm off: the 95th percentile of (0, 3) is 2.85
        assert figures["labels"]["1"] == {
            "dice": pytest.approx(2 / 3),
            "hausdorff95": pytest.approx(2.85),
        }
        assert figures["labels"]["2"] == {"dice": 0.0, "hausdorff95": None}
        assert figures["labels"]["5"] == {"dice": 1.0, "hausdorff95": 0.0}
        assert figures["mean_dice"] == pytest.approx((2 / 3 + 0 + 1) / 3)
        assert figures["mean_hausdorff95"] is None
        assert [line.split() for line in done.out.splitlines()] == [
            ["label", "Dice", "HD95", "(mm)"],
            ["1", "0.6667", "2.85"],
            ["2", "0", "–"],
            ["5", "1", "0"],
            ["mean", "0.5556", "–"],
        ]

    def test_without_a_folder_nothing_is_written(self, command, tree, tmp_path):
        for name in ("a.npy", "b.npy"):
            np.save(name, LABELS)
        before = tree(tmp_path)
        done = command("quality", "a.npy", "b.npy")
        assert done.code == 0, done.err
        assert done.out.splitlines()[-1].split() == ["mean", "1", "0"]
        assert tree(tmp_path) == before

    def test_labels_of_a_run_are_moved_first(self, space, command):
        folder = space
        marks = CENTRE + np.array([[0.0, 0, 0], [1, 2, 3], [-2, 0, 1]])
        there = marks + SHIFT + np.array([[0, 0, 0], [0, 0, 0.25], [0, 1, 0]])
        io.write_points("source.csv", marks)
        io.write_points("target.csv", there)
        files = (folder / "source-labels.nii.gz", folder / "target-labels.nii.gz")
        options = ("--run", folder / "run", "--landmarks", "source.csv", "target.csv")
        done = command("quality", *files, *options, "--out", "found")
        assert done.code == 0, done.err
        figures = json.loads(Path("found/result.json").read_text())["figures"]
        assert list(figures["labels"]) == ["1", "20000003"]
        for label in (1, 20_000_003):
            entry = figures["labels"][str(label)]
            goal = box(TARGET_GRID, OF_TARGET, SHIFT) == label
            still = box(TARGET_GRID, OF_TARGET, 0 * SHIFT) == label
            expected = 2 * np.sum(still & goal) / (np.sum(still) + np.sum(goal))
            assert entry["dice_before"] == pytest.approx(expected)
            # the affine map has half of the shift, and the displacement the rest
            assert entry["dice_before"] < entry["dice_affine"] < entry["dice"] == 1
            assert entry["hausdorff95_before"] > entry["hausdorff95"] == 0
        assert figures["mean_dice"] == 1
        assert figures["folds"] == 0
        assert figures["sd_log_jacobian"] == pytest.approx(0, abs=1e-5)
        assert figures["inverse_error"] == 0
        before = np.linalg.norm(marks - there, axis=1)
        assert figures["landmarks"]["count"] == 3
        assert figures["landmarks"]["before"] == {
            "mean": pytest.approx(np.mean(before)),
            "median": pytest.approx(np.median(before)),
            "max": pytest.approx(np.max(before)),
        }
        assert figures["landmarks"]["after"] == {
            "mean": pytest.approx(1.25 / 3, abs=1e-5),
            "median": pytest.approx(0.25, abs=1e-5),
            "max": pytest.approx(1, abs=1e-5),
        }
        assert "Dice before  Dice affine  Dice after" in done.out
        assert "error of 3 landmarks (mm)" in done.out
        # the other way round landmarks go away from their partners
        wrong = ("--run", folder / "run", "--landmarks", "target.csv", "source.csv")
        assert command("quality", *files, *wrong, "--out", "wrong").code == 0
        figures = json.loads(Path("wrong/result.json").read_text())["figures"]
        assert figures["landmarks"]["after"]["mean"] > np.linalg.norm(SHIFT)


SQUARES = np.random.default_rng(0).normal(size=(12, 10)).astype(np.float32)
BAD = [
    # (arguments, message)
    (["match", "a.tif", "p.npy"], "a.tif is an image and p.npy is none; give two images"),
    (["match", "p.npy", "a.tif"], "a.tif is an image and p.npy is none; give two images"),
    (["match", "a.tif", "x.png"], "x.png: no such file"),
    (["match", "a.tif", "s.nii"], "a.tif is 2-D and s.nii is 3-D"),
    (["match", "jacobian.nii.gz", "s.nii"], "jacobian.nii.gz is that of another result; rename"),
    (["match", "a.tif", "flat.tif", "--affine", "none"], "flat.tif has the same value everywhere"),
    (["match", "a.tif", "a.tif", "--control-points", "3"], "--control-points is for points and"),
    (["match", "a.tif", "a.tif", "--merge-duplicates", "1"], "--merge-duplicates is for points"),
    (["match", "a.tif", "a.tif", "--fidelity", "mmd"], "images; give lncc, ssd, nmi"),
    (["match", "a.tif", "a.tif", "--kernel", "cauchy"], "images are matched with gaussian"),
    (["match", "a.tif", "a.tif", "--num-steps", "4"], "a stationary velocity has no time steps"),
    (
        ["match", "a.tif", "a.tif", "--model", "time-dependent", "--num-steps", "0"],
        "--num-steps must be",
    ),
    (
        ["match", "a.tif", "a.tif", "--fidelity", "ssd", "--fidelity-scale", "1"],
        "--fidelity-scale is the window of lncc; --fidelity ssd has none",
    ),
    (["match", "a.tif", "a.tif", "--fidelity-scale", "0"], "--fidelity-scale must be positive"),
    (["match", "a.tif", "a.tif", "--scale", "-1"], "--scale must be positive"),
    (["match", "a.tif", "a.tif", "--weight", "0"], "--weight must be positive"),
    (["match", "a.tif", "a.tif", "--tolerance", "-1"], "--tolerance must be positive"),
    (["match", "a.tif", "a.tif", "--max-iterations", "0"], "--max-iterations must be"),
    (["match", "a.tif", "a.tif", "--source-mask", "x.png"], "x.png: no such file"),
    (
        ["match", "a.tif", "a.tif", "--source-mask", "small.tif"],
        "small.tif: has the grid [6, 5], but the source a.tif has [12, 10]",
    ),
    (
        ["match", "s.nii", "s.nii", "--target-mask", "jacobian.nii.gz"],
        "jacobian.nii.gz: lies elsewhere in the world than the target s.nii (corners are up to 3",
    ),
    (["match", "a.tif", "a.tif", "--target-mask", "flat.tif"], "flat.tif must be non-negative and"),
    (["match", "p.npy", "p.npy", "--model", "stationary"], "--model is for images, but p.npy and"),
    (["match", "p.npy", "p.npy", "--affine", "none"], "--affine is for images"),
    (["match", "p.npy", "p.npy", "--source-mask", "a.tif"], "--source-mask is for images"),
    (["match", "p.npy", "p.npy", "--target-mask", "a.tif"], "--target-mask is for images"),
    (["match", "p.npy", "p.npy", "--landmarks", "p.npy", "p.npy"], "--landmarks is for images"),
    (["match", "p.npy", "p.npy", "--accuracy", "2"], "--accuracy is for images"),
    (["match", "a.tif", "a.tif", "--accuracy", "2"], "--accuracy is that of --landmarks or"),
    (["match", "a.tif", "a.tif", "--landmarks", "p.npy", "x.npy"], "x.npy: no such file"),
    (["match", "s.nii", "s.nii", "--labels", "a.tif", "a.tif"], "a.tif is 2-D, but the images are"),
    (
        ["match", "a.tif", "a.tif", "--landmarks", "p.npy", "p.npy", "--accuracy", "0"],
        "--accuracy must be positive",
    ),
    (["match", "p.npy", "p.npy", "--fidelity", "nmi"], "--fidelity nmi compares images"),
    (["apply", "RUN", "a.tif"], "a.tif is 2-D, but the deformation in"),
    (["apply", "RUN", "p.npy"], "p.npy is 2-D, but the deformation in"),
    (["apply", "RUN", "p.npy", "--order", "linear"], "--order linear is for images, but p.npy is"),
    (["apply", "RUN", "p.npy", "--labels"], "--labels is for images, but p.npy is"),
    (["apply", "RUN", "s.nii", "--labels", "--order", "cubic"], "by --order nearest, not cubic"),
    (["apply", "RUN", "s.nii", "--labels"], "and labels are integers; give --order linear"),
    (["apply", "nowhere", "s.nii"], "no such folder"),
    (["apply", "points", "s.nii"], "points: holds no match of images"),
    (["transport", "RUN", "RUN"], "run: holds a match of images, which is not transported"),
    (["quality", "l.npy", "small.npy"], "l.npy: has the grid [3, 4], but the file small.npy has"),
    (["quality", "s.nii", "s.nii"], "and labels are integers"),
    (["quality", "zero.npy", "zero.npy"], "holds no label but the background 0"),
    (["quality", "l.npy", "l.npy", "--run", "RUN"], "l.npy is 2-D, but the deformation in"),
    (["quality", "LABELS", "LABELS", "--run", "RUN"], "but the target of"),
    (["quality", "l.npy", "l.npy", "--run", "points"], "points: holds no match of images"),
    (["quality", "l.npy", "l.npy", "--landmarks", "p.npy", "p.npy"], "give it by --run"),
    (
        ["quality", "LABELS", "GOAL", "--run", "RUN", "--landmarks", "q.npy", "r.npy"],
        "q.npy has 4 landmarks and r.npy has 3",
    ),
    (
        ["quality", "LABELS", "GOAL", "--run", "RUN", "--landmarks", "q.npy", "p.npy"],
        "p.npy is 2-D, but the deformation in",
    ),
]


@pytest.fixture
def files(space, tmp_path):
    """Good and bad files, in the folder of the command."""
    io.write_image(tmp_path / "a.tif", SQUARES)
    io.write_image(tmp_path / "small.tif", np.ones((6, 5)))
    io.write_image(tmp_path / "flat.tif", np.zeros((12, 10)))
    noise = np.random.default_rng(1).normal(size=SOURCE_GRID).astype(np.float32)
    io.write_image(tmp_path / "s.nii", noise, affine=OF_SOURCE)
    moved = OF_SOURCE.copy()
    moved[0, 3] += 3
    io.write_image(tmp_path / "jacobian.nii.gz", noise, affine=moved)
    np.save(tmp_path / "p.npy", np.eye(2))
    np.save(tmp_path / "q.npy", np.ones((4, 3)))
    np.save(tmp_path / "r.npy", np.ones((3, 3)))
    np.save(tmp_path / "l.npy", LABELS)
    np.save(tmp_path / "small.npy", LABELS[:2])
    np.save(tmp_path / "zero.npy", 0 * LABELS)
    io.save_arrays(tmp_path / "points", "deformation", {"source": np.eye(2)}, {}, kind="other")
    names = {"RUN": "run", "LABELS": "source-labels.nii.gz", "GOAL": "target-labels.nii.gz"}
    return {word: str(space / name) for word, name in names.items()}


@pytest.mark.parametrize(("arguments", "message"), BAD)
def test_bad_input_is_named_and_nothing_is_written(
    command, files, tree, tmp_path, space, arguments, message
):
    before = tree(tmp_path), tree(space)
    words = [files.get(word, word) for word in arguments]
    outcome = command(*words, "--out", "deep/run")
    assert outcome.code == 2, outcome.err
    assert message in outcome.err
    errors = [line for line in outcome.err.splitlines() if "warning" not in line]
    assert len(errors) == 1
    assert (tree(tmp_path), tree(space)) == before


def test_damaged_match_is_noticed(space, command, tmp_path):
    (tmp_path / "run").mkdir()
    for name in ("deformation.npz", "manifest.json"):
        (tmp_path / "run" / name).write_bytes((space / "run" / name).read_bytes())
    data = bytearray((tmp_path / "run/deformation.npz").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "run/deformation.npz").write_bytes(data)
    for arguments in (
        ["apply", "run"],
        ["quality", space / "target-labels.nii.gz", "--run", "run"],
    ):
        outcome = command(*arguments, space / "target-labels.nii.gz")
        assert outcome.code == 4, outcome.err
        assert "its SHA-256 is not the one in the manifest" in outcome.err


def test_pictures_keep_their_range(tmp_path):
    """Rounded and cut where the format counts, and left alone where it does not."""
    soft = np.array([[-3.2, 0.4], [254.6, 300.0]], np.float32)
    for name, kept, dtype in (
        ("a.png", [[0, 0], [255, 255]], np.uint8),
        ("b.tif", [[0, 0], [255, 255]], np.uint8),
        ("c.nii", soft.tolist(), np.float32),
    ):
        io.write_image(tmp_path / name, np.array([[0, 1], [2, 255]], np.uint8))
        stored = image_files.storable(soft, io.read_image(tmp_path / name))
        np.testing.assert_allclose(stored, kept)
        assert stored.dtype == dtype
