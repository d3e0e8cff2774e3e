"""`geojax atlas` of images."""

import json

import numpy as np
import pytest
from systems.image_pairs import disc, picture

from geojax import io

WIDTHS = (0.85, 1.0, 1.18)
NAMES = [f"{name}.png" for name in "abc"]
OPTIONS = (
    *("--affine", "none", "--fidelity", "ssd", "--weight", 1e5, "--scale", 4),
    *("--tolerance", 0.05, "--rounds", 1),
)


@pytest.fixture
def pictures(tmp_path):
    for name, wider in zip(NAMES, WIDTHS, strict=True):
        io.write_image(tmp_path / name, picture(wider))
    return tmp_path


@pytest.mark.slow
def test_pictures(pictures, command, check_files, check_page):
    outcome = command("atlas", "-", *NAMES, "--out", "run", *OPTIONS)
    assert outcome.code == 0, outcome.err
    inside = (
        *("deformation.npz", "displacement.nii.gz", "jacobian.npy", "manifest.json"),
        "{}.png",
    )
    folders = [f"subject-{k}-{name}" for k, name in enumerate("abc")]
    written = [f"{f}/{name.format(f[-1])}" for f in folders for name in inside]
    check_files(pictures / "run", [*written, "template.png", "report.html", "result.json"])
    # the template is in the middle of what is narrow and what is wide
    template = io.read_image(pictures / "run/template.png").values.astype(float)
    given = [picture(wider).astype(float) for wider in WIDTHS]
    far = [np.mean(np.abs(template - values)) for values in given]
    assert far[1] < 0.5 * min(far[0], far[2])
    for folder, name, values in zip(folders, NAMES, given, strict=True):
        moved = io.read_image(pictures / "run" / folder / name).values
        before = np.mean(np.abs(values - template))
        assert np.mean(np.abs(moved - template)) < max(0.5 * before, 2.0)
    result = json.loads((pictures / "run/result.json").read_text())
    figures, config = result["figures"], result["config"]
    assert figures["residual"] < 0.2 * figures["residual_before"]
    assert figures["history"][1] < figures["history"][0]
    assert figures["largest_mean_displacement"] < 0.3
    assert (figures["subjects"], figures["folds"]) == (3, 0)
    assert (config["rounds"], config["fidelity"], config["model"]) == (1, "ssd", "stationary")
    assert config["max_iterations"] == 100
    assert {"keep_template", "control_points"}.isdisjoint(config)
    assert set(result["inputs"]) == set(NAMES)
    page = (pictures / "run/report.html").read_text()
    check_page(page)
    for words in ("Atlas of 3 images", "c.png"):
        assert words in page
    # each deformation moves other files
    io.write_image(pictures / "labels.png", disc(WIDTHS[2]))
    applied = command("apply", f"run/{folders[2]}", "labels.png", "--labels", "--out", "moved")
    assert applied.code == 0, applied.err
    labels = io.read_image(pictures / "moved/labels.png").values
    assert np.sum(labels != disc(1.0)) < 0.5 * np.sum(disc(WIDTHS[2]) != disc(1.0))


@pytest.mark.slow
def test_images_in_space(tmp_path, command):
    """A given template, and files of NIfTI."""
    from systems.image_pairs import OF_SOURCE, SOURCE_GRID, volume

    for name, shift in (("start", 0.0), ("a", 0.8), ("b", 1.2)):
        values = volume(SOURCE_GRID, OF_SOURCE, np.array([shift, 0.0, 0.0]))
        io.write_image(tmp_path / f"{name}.nii.gz", values, affine=OF_SOURCE)
    outcome = command(
        *("atlas", "start.nii.gz", "a.nii.gz", "b.nii.gz", "--out", "run", *OPTIONS),
        *("--model", "time-dependent", "--num-steps", 2),
    )
    assert outcome.code == 0, outcome.err
    template = io.read_image(tmp_path / "run/template.nii.gz")
    np.testing.assert_allclose(template.affine, OF_SOURCE, atol=1e-6)
    middle = volume(SOURCE_GRID, OF_SOURCE, np.array([1.0, 0.0, 0.0]))
    start = volume(SOURCE_GRID, OF_SOURCE, np.zeros(3))
    assert np.std(template.values - middle) < 0.5 * np.std(start - middle)
    assert (tmp_path / "run/subject-1-b/jacobian.nii.gz").exists()


def test_what_is_refused(pictures, command, tree):
    (pictures / "points.csv").write_text("0,0\n1,0\n0,1\n")
    io.write_image(pictures / "space.nii.gz", np.zeros((4, 4, 4)))
    io.write_image(pictures / "flat.png", np.full((12, 30), 7, np.uint8))
    before = tree(pictures)
    for arguments, message in (
        (("-", "a.png"), "SUBJECTS: there is only a.png"),
        (("points.csv", "a.png", "b.png"), "is an image and"),
        (("-", "a.png", "space.nii.gz"), "is 2-D and"),
        (("-", "points.csv", "points.csv"), "template of images only"),
        (("points.csv", "points.csv", "--rounds", 2), "--rounds is for images"),
        (("points.csv", "points.csv", "--fidelity", "ssd"), "--fidelity ssd is for images"),
        (("a.png", "a.png", "b.png", "--keep-template"), "--keep-template is for points"),
        (("-", "a.png", "b.png", "--control-points", 4), "--control-points is for points"),
        (("-", "a.png", "b.png", "--fidelity", "mmd"), "--fidelity mmd compares points"),
        (("-", "a.png", "b.png", "--num-steps", 4), "a stationary velocity has no time steps"),
        (("-", "a.png", "b.png", "--rounds", 0), "--rounds must"),
        (("-", "a.png", "flat.png"), "flat.png has the same value everywhere"),
    ):
        outcome = command("atlas", *arguments, "--out", "run")
        assert outcome.code == 2, outcome.err
        assert message in outcome.err, outcome.err
    assert tree(pictures) == before


@pytest.mark.slow
def test_an_unfinished_atlas_is_withheld(pictures, command, tree):
    options = ("--affine", "none", "--max-iterations", 1, "--rounds", 1)
    outcome = command("atlas", "-", *NAMES[:2], "--out", "run", *options)
    assert outcome.code == 3
    assert "a.png: the match did not reach its tolerance" in outcome.err
    assert tree(pictures / "run") == ["result.json"]
