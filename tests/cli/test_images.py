"""Images on the command line: matched, moved both ways, measured, and refused where they must."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from systems.image_pairs import (
    CENTRE,
    COLUMNS,
    MIDDLE,
    OF_SOURCE,
    OF_TARGET,
    ROWS,
    SHIFT,
    SOURCE_GRID,
    TARGET_GRID,
    WIDER,
    box,
    disc,
    picture,
    shifted,
    volume,
    write_space,
)  # fmt: skip

from geojax import io
from geojax._core.results import RESULTS
from geojax.cli import kinds
from geojax.cli.match_image import failure
from geojax.cli.options import Match
from geojax.cli.run import Run
from geojax.io.displacements import read_displacement
from geojax.matching.images.result import Carried


@pytest.fixture(scope="module")
def flat(tmp_path_factory, new_process):
    """A match of two pictures, made by the command as a process of its own."""
    folder = tmp_path_factory.mktemp("flat")
    io.write_image(folder / "source.png", picture(1.0))
    io.write_image(folder / "target.tif", picture(WIDER))
    outcome = new_process("match", *FLAT, "--out", "run", cwd=folder)
    assert outcome.code == 0, outcome.err
    return folder, outcome


FLAT = (
    *("source.png", "target.tif", "--affine", "none", "--fidelity", "ssd", "--weight", 1e5),
    *("--scale", 4, "--tolerance", 0.05),
)


@pytest.fixture(scope="module")
def space(tmp_path_factory):
    """A saved match of two images in space, one a shift of the other.

    The affine map has one half of the shift, the displacement the other.
    """
    folder = tmp_path_factory.mktemp("space")
    write_space(folder)
    found = shifted(folder)
    found.save(folder / "run")
    return folder


class TestMatch:
    """What a match of images writes."""

    def test_pictures(self, flat, check_files, check_page):
        folder, outcome = flat
        check_files(
            folder / "run",
            [
                *("deformation.npz", "displacement.nii.gz", "jacobian.npy", "manifest.json"),
                *("report.html", "result.json", "source.png"),
            ],
        )
        assert outcome.err == ""
        assert "standard deviation of log Jacobian" in outcome.out
        before, goal = picture(1.0).astype(float), picture(WIDER).astype(float)
        moved = io.read_image(folder / "run/source.png").values
        assert moved.dtype == np.uint8
        left = np.mean(np.abs(moved - goal)) / np.mean(np.abs(before - goal))
        assert left < 0.3
        result = json.loads((folder / "run/result.json").read_text())
        figures = result["figures"]
        assert figures["residual"] < 0.1 * figures["residual_before"]
        assert figures["folds"] == 0
        assert figures["inverse_error"] < 0.5
        assert figures["sd_log_jacobian"] > 0.01
        assert set(result["inputs"]) == {"source.png", "target.tif"}
        config = result["config"]
        assert (config["fidelity"], config["model"]) == ("ssd", "stationary")
        assert (config["max_iterations"], config["tolerance"]) == (100, 0.05)
        assert "control_points" not in config
        determinants = np.load(folder / "run/jacobian.npy")
        assert determinants.shape == (ROWS, COLUMNS)
        # where the target is wider, it has less of the source for its volume
        assert np.mean(determinants[4:8, 10:20]) == pytest.approx(1 / WIDER, abs=0.12)
        page = (folder / "run/report.html").read_text()
        check_page(page)
        for word in (
            "Checkerboard",
            "Jacobian",
            "source.png to target.tif",
            "Nowhere does it fold",
        ):
            assert word in page

    @pytest.mark.slow
    def test_images_in_space(self, process, tmp_path, check_files):
        folder = tmp_path
        write_space(folder)
        outcome = process(
            *("match", "source.nii.gz", "target.nii.gz", "--out", "run", "--affine", "translation"),
            *("--target-mask", "mask.nii", "--scale", 6, "--weight", 1),
        )
        assert outcome.code == 0, outcome.err
        check_files(
            folder / "run",
            [
                *("deformation.npz", "displacement.nii.gz", "jacobian.nii.gz", "manifest.json"),
                *("report.html", "result.json", "source.nii.gz"),
            ],
        )
        assert outcome.err == ""
        moved = io.read_image(folder / "run/source.nii.gz")
        np.testing.assert_allclose(moved.affine, OF_TARGET)
        goal = volume(TARGET_GRID, OF_TARGET, SHIFT)
        centre = goal > 30
        assert np.mean(np.abs(moved.values - goal)[centre]) < 3
        field, affine = read_displacement(folder / "run/displacement.nii.gz")
        np.testing.assert_allclose(affine, OF_TARGET)
        # from the target back to the source
        np.testing.assert_allclose(field[:, centre].mean(axis=1), -SHIFT, atol=0.15)
        jacobian = io.read_image(folder / "run/jacobian.nii.gz")
        np.testing.assert_allclose(jacobian.values[centre], 1, atol=0.1)
        np.testing.assert_allclose(jacobian.affine, OF_TARGET)
        result = json.loads((folder / "run/result.json").read_text())
        assert set(result["inputs"]) == {"source.nii.gz", "target.nii.gz", "mask.nii"}

    @pytest.mark.slow
    def test_same_match_writes_the_same_files(self, flat, new_process):
        folder, _ = flat
        again = new_process("match", *FLAT, "--out", "again", cwd=folder)
        assert again.code == 0, again.err
        for path in (folder / "run").iterdir():
            if path.is_file() and path.name != "result.json":
                assert path.read_bytes() == (folder / "again" / path.name).read_bytes(), path.name

    @pytest.mark.slow
    def test_velocities_of_each_time(self, flat, new_process):
        """All options at once, by a file, also of labels, which are told to be labels."""
        folder, _ = flat
        for name, wider in (("a.png", 1.0), ("b.png", 1.1)):
            io.write_image(folder / name, disc(wider))
        (folder / "all.toml").write_text(
            'model = "time-dependent"\nnum_steps = 3\nfidelity = "lncc"\nfidelity_scale = 3\n'
            'scale = [4, 8]\naffine = "rigid"\nmax_iterations = 60\ntolerance = 0.1\n'
        )
        outcome = new_process(
            "match", "a.png", "b.png", "--out", "times", "--config", "all.toml", cwd=folder
        )
        assert outcome.code == 0, outcome.err
        assert outcome.err.count("looks like labels, which are compared as intensities") == 2
        config = json.loads((folder / "times/result.json").read_text())["config"]
        assert (config["num_steps"], config["affine"]) == (3, "rigid")
        arrays, _ = io.load_arrays(folder / "times", "deformation", kind="geojax image match")
        assert arrays["pull"].shape[0] == 2

    def test_result_that_is_not_reached_is_withheld(self, space, command, tmp_path, monkeypatch):
        given = {}

        def match_images(**arguments):
            given.update(arguments)
            return shifted(space, RESULTS.not_converged)

        monkeypatch.setattr("geojax.matching.match_images", match_images)
        files = (space / "source.nii.gz", space / "target.nii.gz")
        outcome = command(
            "match", *files, "--out", "run", "--max-iterations", 7, "--affine", "none"
        )
        assert outcome.code == 3
        assert "the match did not reach its tolerance" in outcome.err
        assert "raise --max-iterations" in outcome.err
        assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["result.json"]
        result = json.loads((tmp_path / "run/result.json").read_text())
        assert result["status"] == "error"
        assert result["figures"]["iterations"] == 7
        assert (given["affine"], given["max_iterations"], given["throw"]) == (None, 7, False)
        assert given["source"].values.dtype == np.float32

    def test_what_is_found_is_what_is_written(self, space, command, monkeypatch, check_files):
        found = shifted(space)
        monkeypatch.setattr("geojax.matching.match_images", lambda **_: found)
        files = (space / "source.nii.gz", space / "target.nii.gz")
        outcome = command("match", *files, "--out", "run", "--target-mask", space / "mask.nii")
        assert outcome.code == 0, outcome.err
        field, affine = read_displacement("run/displacement.nii.gz")
        np.testing.assert_allclose(affine, OF_TARGET)
        shift = np.broadcast_to(-SHIFT.reshape(3, 1, 1, 1), (3, *TARGET_GRID))
        np.testing.assert_allclose(field, shift, atol=1e-5)
        jacobian = io.read_image("run/jacobian.nii.gz")
        np.testing.assert_allclose(jacobian.values, 1, atol=1e-5)
        figures = json.loads(Path("run/result.json").read_text())["figures"]
        half = 0.5 * np.linalg.norm(SHIFT)
        assert figures["mean_displacement"] == pytest.approx(half, rel=1e-5)
        assert figures["residual_before"] == 4 * figures["residual"]

    def test_what_lies_beside(self, space, command, monkeypatch):
        """Landmarks, surfaces and labels are read, handed on in order, and told."""
        given = {}
        told = tuple(Carried(k, 2.0, 0.5) for k in ("landmarks", "surfaces", "labels"))

        def match_images(**arguments):
            given.update(arguments)
            return dataclasses.replace(shifted(space), beside=told)

        monkeypatch.setattr("geojax.matching.match_images", match_images)
        corners = CENTRE + 3 * np.concatenate([np.zeros((1, 3)), np.eye(3)])
        faces = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])
        for name, shift in (("a", np.zeros(3)), ("b", SHIFT)):
            io.write_points(f"{name}.csv", corners + shift)
            io.write_points(f"{name}.ply", (corners + shift).astype(np.float32), faces=faces)
        labels = [space / f"{name}-labels.nii.gz" for name in ("source", "target")]
        outcome = command(
            *("match", space / "source.nii.gz", space / "target.nii.gz", "--out", "run"),
            *("--landmarks", "a.csv", "b.csv", "--surfaces", "a.ply", "b.ply"),
            *("--labels", *labels, "--accuracy", 0.5),
        )
        assert outcome.code == 0, outcome.err
        assert outcome.err == ""
        pairs = given["beside"]
        assert list(pairs) == ["landmarks", "surfaces", "labels"]
        for name in ("landmarks", "surfaces"):
            np.testing.assert_allclose(pairs[name].source, corners, atol=1e-6)
            np.testing.assert_allclose(pairs[name].target, corners + SHIFT, atol=1e-6)
            assert pairs[name].sigma == 0.5
        assert pairs["labels"].labels == (1, 20_000_003)
        np.testing.assert_allclose(pairs["labels"].target.affine, OF_TARGET)
        result = json.loads(Path("run/result.json").read_text())
        assert result["figures"]["landmarks_before"] == 2.0
        assert result["figures"]["labels_after"] == 0.5
        assert len(result["inputs"]) == 8
        assert "distance of the landmarks, root mean square, after" in outcome.out
        again = command("apply", "run", "a.csv", "--out", "there")
        assert again.code == 0, again.err

    @pytest.mark.slow
    def test_a_match_with_landmarks(self, command):
        """Of pictures that show nothing, by three points."""
        shade = np.tile(np.arange(30, dtype=np.uint8) * 8, (24, 1))
        io.write_image("a.png", shade)
        marks = np.array([[8.0, 8.0], [12.0, 20.0], [17.0, 12.0]])
        io.write_points("a.csv", marks)
        io.write_points("b.csv", marks + np.array([[1.5, 0.0], [-1.0, 0.0], [1.0, 0.0]]))
        outcome = command(
            *("match", "a.png", "a.png", "--out", "run", "--affine", "none", "--scale", 5),
            *("--landmarks", "a.csv", "b.csv", "--accuracy", 0.5, "--tolerance", 0.05),
        )
        assert outcome.code == 0, outcome.err
        figures = json.loads(Path("run/result.json").read_text())["figures"]
        assert figures["landmarks_before"] == pytest.approx(np.sqrt(4.25 / 3))
        assert figures["landmarks_after"] < 0.3 * figures["landmarks_before"]
        assert command("apply", "run", "a.csv", "--out", "there").code == 0
        gap = io.read_points("there/a.csv").points - io.read_points("b.csv").points
        assert np.max(np.abs(gap)) < 0.5

    def test_failures_name_the_options_that_mend_them(self):
        from types import SimpleNamespace as Fake

        from geojax._core.results import RESULTS

        options = kinds.image_options(Match(source="a.png", target="b.png", out=""))
        for code, words in (
            (RESULTS.not_converged, "of 100 iterations brought more than 0.01 of"),
            (RESULTS.not_finite, "left the finite numbers .NaN or infinity.; lower --weight"),
        ):
            text = failure(Fake(result=code), {"objective": 2.0}, options)
            assert words.replace(".NaN", "(NaN").replace("infinity.", "infinity)") in text

    def test_defaults_are_those_of_the_library(self):
        import inspect

        from geojax.cli.match_image import arguments
        from geojax.matching import Metamorphosis, Shooting, TimeDependent, match_images
        from geojax.shapes import Image

        run = Run("match", Match(source="a.png", target="b.png", out=""))
        options = kinds.image_options(run.options, run)
        parameters = inspect.signature(match_images).parameters
        for name in ("affine", "weight", "tolerance", "max_iterations"):
            assert getattr(options, name) == parameters[name].default, name
            assert run.config[name] == parameters[name].default, name
        moving = Match(source="a.png", target="b.png", out="", model="time-dependent")
        assert kinds.image_options(moving).num_steps == TimeDependent().num_steps
        for model in (Shooting, Metamorphosis):
            price = 3.0 if model is Metamorphosis else None
            name: Any = model.__name__.lower()
            asked = Match(source="a.png", target="b.png", out="", model=name, intensity_price=price)
            filled = kinds.image_options(asked)
            chosen = arguments(filled, Image(np.ones((4, 4))))["model"]
            assert isinstance(chosen, model)
            assert chosen.num_steps == filled.num_steps == 10


class TestApply:
    """Each thing goes the right way."""

    def test_points_of_pictures(self, flat, command):
        folder, _ = flat
        points = MIDDLE + np.array([[0.0, 5.0], [0.0, -5.0], [2.0, 0.0]])
        io.write_points("points.csv", points)
        assert command("apply", folder / "run", "points.csv", "--out", "there").code == 0
        moved = io.read_points("there/points.csv").points
        expected = MIDDLE + (points - MIDDLE) * [1.0, WIDER]
        np.testing.assert_allclose(moved, expected, atol=0.6)
        back = command("apply", folder / "run", "there/points.csv", "--inverse", "--out", "back")
        assert back.code == 0, back.err
        np.testing.assert_allclose(io.read_points("back/points.csv").points, points, atol=0.1)
        figures = json.loads(Path("there/result.json").read_text())["figures"]
        shift = np.linalg.norm(moved - points, axis=1)
        assert figures["mean_displacement"] == pytest.approx(np.mean(shift), rel=1e-6)

    def test_labels_and_images_of_pictures(self, flat, command):
        folder, _ = flat
        for name, wider in (("thin.png", 1.0), ("wide.png", WIDER)):
            io.write_image(name, disc(wider))
        there = command("apply", folder / "run", "thin.png", "--out", "there")
        assert there.code == 0, there.err
        assert there.err == ""
        assert "thin.png: looks like labels, which are moved by the nearest voxel" in there.out
        assert there.out.splitlines()[-1] == "there/thin.png"
        moved = io.read_image("there/thin.png").values
        assert set(np.unique(moved)) == {0, 3}
        assert overlap(moved, disc(WIDER)) > 0.96 > overlap(disc(1.0), disc(WIDER))
        back = command("apply", folder / "run", "wide.png", "--inverse", "--out", "back")
        assert back.code == 0, back.err
        assert overlap(io.read_image("back/wide.png").values, disc(1.0)) > 0.96
        wrong = command("apply", folder / "run", "wide.png", "--out", "wrong")
        assert wrong.code == 0
        assert overlap(io.read_image("wrong/wide.png").values, disc(1.0)) < 0.8
        for order in ("linear", "cubic"):
            out = ("--out", order)
            soft = command("apply", folder / "run", "thin.png", "--order", order, *out)
            assert soft.code == 0, soft.err
            assert "looks like labels" not in soft.out
            assert len(np.unique(io.read_image(f"{order}/thin.png").values)) > 2
        source = folder / "source.png"
        same = command("apply", folder / "run", source, "--out", "same", "--order", "linear")
        assert same.code == 0, same.err
        again = Path("same/source.png").read_bytes()
        assert again == (folder / "run/source.png").read_bytes()

    def test_meshes_and_points_in_space(self, space, command):
        folder = space
        corners = (CENTRE + 3 * np.concatenate([np.zeros((1, 3)), np.eye(3)])).astype(np.float32)
        faces = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])
        io.write_points("mesh.ply", corners, faces=faces)
        io.write_points("points.csv", corners.astype(float))
        for name in ("mesh.ply", "points.csv"):
            done = command("apply", folder / "run", name, "--out", "there")
            assert done.code == 0, done.err
            assert done.err == ""
            moved = io.read_points(f"there/{name}")
            np.testing.assert_allclose(moved.points, corners + SHIFT, atol=1e-5)
            back = command("apply", folder / "run", name, "--inverse", "--out", "back")
            assert back.code == 0, back.err
            got = io.read_points(f"back/{name}").points
            np.testing.assert_allclose(got, corners - SHIFT, atol=1e-5)
            np.testing.assert_array_equal(moved.faces, faces if name == "mesh.ply" else None)
            shutil.rmtree("there")
            shutil.rmtree("back")

    def test_images_and_labels_in_space(self, space, command):
        folder = space
        labels = folder / "source-labels.nii.gz"
        done = command("apply", folder / "run", labels, "--out", "there")
        assert done.code == 0, done.err
        moved = io.read_image("there/source-labels.nii.gz")
        np.testing.assert_allclose(moved.affine, OF_TARGET)
        assert set(np.unique(moved.values)) == {0, 1, 20_000_003}
        np.testing.assert_array_equal(moved.values, box(TARGET_GRID, OF_TARGET, SHIFT))
        image = folder / "target.nii.gz"
        done = command(
            "apply", folder / "run", image, "--inverse", "--order", "cubic", "--out", "b"
        )
        assert done.code == 0, done.err
        back = io.read_image("b/target.nii.gz")
        np.testing.assert_allclose(back.affine, OF_SOURCE)
        goal = volume(SOURCE_GRID, OF_SOURCE, np.zeros(3))
        assert np.mean(np.abs(back.values - goal)[goal > 30]) < 3
        # by default into the folder of the match, under a name without its two endings
        done = command("apply", folder / "run", image, "--inverse")
        assert done.out.strip().endswith("run/target-back/target.nii.gz")

    def test_what_lies_elsewhere_is_told(self, space, command):
        folder = space
        far = OF_SOURCE.copy()
        far[0, 3] += 500
        image = np.random.default_rng(0).normal(size=SOURCE_GRID).astype(np.float32)
        io.write_image("far.nii", image, affine=far)
        done = command("apply", folder / "run", "far.nii", "--out", "there")
        assert done.code == 0, done.err
        assert "nothing of it lies on the grid of the target after the move" in done.err


def overlap(first: np.ndarray, second: np.ndarray) -> float:
    both = np.sum((first > 0) & (second > 0))
    return 2 * both / (np.sum(first > 0) + np.sum(second > 0))
