"""`geojax match` and `geojax apply`: what they write, and what they refuse before writing."""

import inspect
import json

import numpy as np
import pytest

from geojax import io
from geojax._core.errors import InputError
from geojax.cli import points as point_files
from geojax.cli.kinds import point_options
from geojax.cli.options import Match

CIRCLE = np.stack([np.cos(np.arange(12) * 0.5), np.sin(np.arange(12) * 0.5)], axis=1)


@pytest.fixture(scope="module")
def matched(tmp_path_factory, new_process):
    """A match of two small meshes, made by the command as a process of its own."""
    folder = tmp_path_factory.mktemp("matched")
    points = np.concatenate([CIRCLE, np.full((12, 1), 0.2)], axis=1)
    points[::2, 2] -= 0.5
    faces = np.array([[k, k + 1, k + 2] for k in range(10)])
    io.write_points(folder / "source.ply", points.astype(np.float32), faces=faces)
    io.write_points(folder / "target.ply", (1.2 * points + 0.3).astype(np.float32), faces=faces)
    outcome = new_process(
        *("match", "source.ply", "target.ply", "--out", "run", "--num-steps", 4),
        *("--fidelity", "landmarks"),
        cwd=folder,
    )
    assert outcome.code == 0, outcome.err
    return folder, outcome


def test_match_writes_all_that_it_says(matched, check_files):
    folder, outcome = matched
    check_files(
        folder / "run",
        ["deformation.npz", "manifest.json", "report.html", "result.json", "source.ply"],
    )
    result = json.loads((folder / "run" / "result.json").read_text())
    assert result["status"] == "ok"
    assert result["config"]["fidelity"] == "landmarks"
    figures = result["figures"]
    assert figures["folds"] == 0
    assert figures["residual"] < 0.05
    assert figures["distance_after"] < 0.2 * figures["distance_before"]
    assert figures["inverse_error"] < 1e-4
    assert set(result["inputs"]) == {"source.ply", "target.ply"}
    assert outcome.err == ""
    assert "folds" in outcome.out


def test_moved_mesh_lies_on_the_target_and_keeps_its_faces(matched):
    folder, _ = matched
    moved, target = (io.read_points(folder / n) for n in ("run/source.ply", "target.ply"))
    np.testing.assert_allclose(moved.points, target.points, atol=0.1)
    np.testing.assert_array_equal(moved.faces, target.faces)


def test_apply_there_and_back(matched, process):
    folder, _ = matched
    others = np.array([[0.1, 0.2, 0.3], [0.5, -0.5, 0.0]], np.float32)
    np.save(folder / "others.npy", others)
    there = process("apply", "run", "others.npy", cwd=folder)
    assert there.code == 0, there.err
    assert there.out.strip() == "run/others-moved/others.npy"
    moved = np.load(folder / "run/others-moved/others.npy")
    assert np.all(np.linalg.norm(moved - others, axis=1) > 0.05)
    back = process(
        "apply", "run", "run/others-moved/others.npy", "--inverse", "--out", "back", cwd=folder
    )
    assert back.code == 0, back.err
    np.testing.assert_allclose(np.load(folder / "back/others.npy"), others, atol=1e-4)
    result = json.loads((folder / "back/result.json").read_text())
    assert result["command"] == "apply"
    assert result["config"]["inverse"] is True
    assert result["figures"]["points"] == 2


def test_apply_refuses_what_it_cannot_move(matched, command, tree):
    folder, _ = matched
    before = tree(folder)
    np.save("flat.npy", np.zeros((3, 2)))
    for arguments, message in [
        (["apply", folder / "run", "flat.npy"], "is 2-D, but the deformation"),
        (["apply", folder, "flat.npy"], "has no manifest.json"),
        (["apply", folder / "nowhere", "flat.npy"], "no such folder"),
        (["apply", folder / "run", "no.npy"], "no.npy: no such file"),
    ]:
        outcome = command(*arguments)
        assert outcome.code == 2
        assert message in outcome.err
        assert outcome.err.count("\n") == 1
    assert tree(folder) == before


def test_damaged_deformation_is_noticed(matched, command, tmp_path):
    folder, _ = matched
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("deformation.npz", "manifest.json"):
        (copy / name).write_bytes((folder / "run" / name).read_bytes())
    data = bytearray((copy / "deformation.npz").read_bytes())
    data[len(data) // 2] ^= 1
    (copy / "deformation.npz").write_bytes(data)
    outcome = command("apply", copy, folder / "source.ply")
    assert outcome.code == 4
    assert "deformation.npz: its SHA-256 is not the one in the manifest" in outcome.err


def test_another_run_in_the_same_folder_is_refused(matched, command):
    folder, _ = matched
    before = (folder / "run" / "result.json").read_bytes()
    files = [folder / "source.ply", folder / "target.ply"]
    options = ("--out", folder / "run", "--weight", 5, "--fidelity", "landmarks")
    outcome = command("match", *files, *options)
    assert outcome.code == 2
    assert "holds the result of another run (" in outcome.err
    assert "weight: None there, 5.0 here" in outcome.err
    assert (folder / "run" / "result.json").read_bytes() == before


@pytest.mark.slow
def test_result_that_is_not_reached_is_withheld(process, tmp_path):
    np.save(tmp_path / "a.npy", CIRCLE.astype(np.float32))
    np.save(tmp_path / "b.npy", (2 * CIRCLE).astype(np.float32))
    outcome = process(
        *("match", "a.npy", "b.npy", "--out", "run", "--max-iterations", 1, "--num-steps", 3),
        "--tolerance", 1e-7, "--fidelity", "mmd",
    )  # fmt: skip
    assert outcome.code == 3
    assert "did not reach its tolerance" in outcome.err
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["result.json"]
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["status"] == "error"
    assert result["figures"]["iterations"] >= 1
    assert result["figures"]["gradient_norm"] > 1e-7


def test_every_failure_names_the_option_that_mends_it():
    from types import SimpleNamespace as Fake

    from geojax._core.results import RESULTS
    from geojax.cli.match import failure

    def text(code):
        found = Fake(result=code, problem=Fake(num_steps=5), path=Fake(energy_drift=0.25))
        return failure(found, {"gradient_norm": 0.5, "iterations": 3})

    assert "drifted by 2.5e-01" in text(RESULTS.energy_drift)
    for code in (RESULTS.energy_drift, RESULTS.not_finite):
        assert "raise --num-steps, which is 5, or lower --weight" in text(code)
        assert "stepsize_controller" not in text(code)
    assert "raise --max-iterations" in text(RESULTS.not_converged)


GOOD = CIRCLE.astype(np.float32)
NEAR = np.concatenate([GOOD[:11], GOOD[3:4] + np.float32([1e-5, 0])])
BAD_PAIRS = [
    # (source, target, options, message); the number is that of the list of faults
    pytest.param(GOOD + np.where(GOOD > 0.99, np.nan, 0), GOOD, [], "row 0, x=nan", id="1"),
    pytest.param(GOOD, GOOD[:11], [], "has 12 points and b.npy has 11", id="2"),
    pytest.param(GOOD, GOOD[:11], ["--fidelity", "landmarks"], "--fidelity mmd or", id="2b"),
    pytest.param(GOOD.T, GOOD, [], "transpose it to [12, 2]?", id="3"),
    pytest.param(GOOD, np.ones((12, 3), np.float32), [], "a.npy is 2-D and b.npy is 3-D", id="4"),
    pytest.param(GOOD[:0], GOOD, [], "holds no points", id="5"),
    pytest.param(
        GOOD[[0, 1, 0, 3, 1]], GOOD[:5], [], "row 0 and row 2 at [1.0, 0.0], row 1 and", id="7"
    ),
    pytest.param(NEAR, 1.2 * GOOD, ["--scale", "0.9"], "points: 3 and 11 are 1e-05 apart", id="8"),
    pytest.param(NEAR, GOOD, ["--num-steps", "20"], "TOL, a smaller --scale, --cont", id="8b"),
    pytest.param(GOOD, GOOD + 1, ["--scale", "-1"], "--scale must be positive", id="19"),
    pytest.param(GOOD, GOOD + 1, ["--scale", "0"], "--scale must be positive", id="19b"),
    pytest.param(GOOD, GOOD + 1, ["--scale", "nan"], "--scale must be positive", id="19c"),
    pytest.param(GOOD, GOOD + 1, ["--scale", "2", "1", "3"], "--scale must be sorted", id="20"),
    pytest.param(GOOD, GOOD + 1, ["--scale", "2", "2"], "--scale must be sorted", id="20b"),
    pytest.param(GOOD, GOOD + 1, ["--weight", "-1"], "--weight must be", id="21"),
    pytest.param(GOOD, GOOD + 1, ["--weight", "0"], "--weight must be positive", id="21b"),
    pytest.param(
        GOOD, GOOD + 1, ["--fidelity", "sinkhorn", "--fidelity-scale", "1e-6"],
        "--fidelity-scale must be at least", id="22",
    ),
    pytest.param(GOOD, GOOD + 1, ["--num-steps", "0"], "--num-steps must be", id="23"),
    pytest.param(GOOD, GOOD + 1, ["--num-steps", "-3"], "--num-steps must be", id="23b"),
    pytest.param(GOOD, GOOD + 1, ["--num-steps", "2.5"], "not a whole number", id="23c"),
    pytest.param(GOOD, GOOD + 1, ["--max-iterations", "0"], "--max-iterations must be", id="25"),
    pytest.param(GOOD, GOOD + 1, ["--tolerance", "-1"], "--tolerance must be", id="25b"),
    pytest.param(GOOD.astype(complex), GOOD, [], "has dtype complex128", id="27"),
    pytest.param(GOOD, GOOD + 1, ["--control-points", "13"], "--control-points must be", id="cp"),
    pytest.param(GOOD, GOOD + 1, ["--control-points", "0"], "--control-points must be", id="cp0"),
    pytest.param(GOOD, GOOD + 1, ["--merge-duplicates", "-1"], "--merge-duplicates: -1.0", id="m"),
    pytest.param(GOOD, GOOD + 1, ["--sigam", "1"], "did you mean --scale", id="35"),
    pytest.param(1e39 * CIRCLE, 1e39 * CIRCLE, [], "values beyond single precision", id="28"),
]  # fmt: skip


@pytest.mark.parametrize(("source", "target", "options", "message"), BAD_PAIRS)
def test_bad_input_is_named_and_nothing_is_written(
    command, tree, tmp_path, source, target, options, message
):
    np.save(tmp_path / "a.npy", source)
    np.save(tmp_path / "b.npy", target)
    before = tree(tmp_path)
    outcome = command("match", "a.npy", "b.npy", "--out", "deep/run", *options)
    assert outcome.code == 2, outcome.err
    assert message in outcome.err
    errors = [line for line in outcome.err.splitlines() if "warning" not in line]
    assert len(errors) == 1
    assert errors[0].startswith("geojax: error: ")
    assert tree(tmp_path) == before


@pytest.mark.slow
def test_near_duplicates_are_told_before_any_is_left_out(command, process, tmp_path):
    """The mend that is named works, and what is left out is told and written down."""
    np.save(tmp_path / "a.npy", NEAR)
    np.save(tmp_path / "b.npy", 1.2 * NEAR)
    refused = command("match", "a.npy", "b.npy", "--out", "run", "--scale", 0.9)
    assert refused.code == 2
    (error,) = [line for line in refused.err.splitlines() if "error" in line]
    for part in ("a.npy has nearly coinciding points", "condition number of the kernel matrix is",
                 "give --merge-duplicates TOL", "give --x64"):  # fmt: skip
        assert part in error
    assert not (tmp_path / "run").exists()
    options = ("--scale", 0.9, "--num-steps", 3, "--tolerance", 0.1, "--out", "run")
    double = process("match", "a.npy", "b.npy", "--x64", *options)
    assert double.code == 0, double.err
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["figures"]["control_points"] == 11
    assert any("11 control points are taken" in note for note in result["warnings"])
    assert "11 control points are taken, spread over the 12 of a.npy" in double.err


def test_precision_that_is_lost_is_told_once(command, tmp_path):
    np.save(tmp_path / "a.npy", CIRCLE)
    np.save(tmp_path / "b.npy", CIRCLE + 1)
    outcome = command("match", "a.npy", "b.npy", "--out", "run", "--weight", -1)
    warnings = [line for line in outcome.err.splitlines() if "warning" in line]
    assert len(warnings) == 1
    assert "a.npy and b.npy: float64 points are computed in float32 (relative loss" in warnings[0]
    assert "--x64" in warnings[0]


def test_defaults_are_those_of_the_library():
    from geojax.matching import match

    defaults = {name: p.default for name, p in inspect.signature(match).parameters.items()}
    options = point_options(Match(source="", target="", out=""))
    for name in ("num_steps", "max_iterations", "tolerance", "weight", "control_points"):
        assert getattr(options, name) == defaults[name], name


class TestPoints:
    """What happens to points between a file and a match."""

    def test_close_points_are_merged_in_groups(self):
        points = np.array([[0.0, 0], [5, 5], [0.1, 0], [0.2, 0], [9, 9]])
        groups = point_files.merge_groups(points, 0.11)
        assert groups.tolist() == [0, 1, 0, 0, 2]  # a chain is one group
        np.testing.assert_allclose(
            point_files.group_means(points, groups), [[0.1, 0], [5, 5], [9, 9]]
        )

    def test_nothing_is_merged_without_close_points(self):
        assert point_files.merge_groups(CIRCLE, 1e-3).tolist() == list(range(12))

    def test_nearest_distances_go_both_ways(self):
        first, second = np.array([[0.0, 0]]), np.array([[1.0, 0], [3, 0]])
        assert point_files.nearest_distances(first, second).tolist() == [1, 1, 3]

    def test_flat_meshes_are_matched_in_the_plane_only_together(self, tmp_path):
        flat = np.concatenate([CIRCLE, np.zeros((12, 1))], axis=1)
        for name, points in (("a", flat), ("b", flat), ("c", flat + np.eye(3)[2])):
            io.write_points(tmp_path / f"{name}.vtk", points)
        a, b, c = (str(tmp_path / f"{name}.vtk") for name in "abc")
        assert [f.points.shape[1] for f in point_files.read_pair(a, b)] == [2, 2]
        assert [f.points.shape[1] for f in point_files.read_pair(a, c)] == [3, 3]

    def test_exact_points_lose_nothing_and_warn_of_nothing(self, tmp_path):
        np.save(tmp_path / "a.npy", np.array([[0.5, 0.25]]))
        (cut,) = point_files.to_precision([io.read_points(tmp_path / "a.npy")], x64=False)
        assert cut.dtype == np.float32
        assert (
            point_files.to_precision([io.read_points(tmp_path / "a.npy")], x64=True)[0].dtype
            == np.float64
        )

    @pytest.mark.slow
    def test_dense_points_are_moved_by_fewer(self):
        import jax.numpy as jnp

        from geojax.cli.match import enough_points
        from geojax.kernels import Gaussian

        angles = np.linspace(0, 2 * np.pi, 100, endpoint=False)
        dense = jnp.asarray(np.stack([np.cos(angles), np.sin(angles)], axis=1), jnp.float32)
        count = enough_points(Gaussian(1.0), dense)
        assert count is not None
        assert 5 < count < 40
        assert enough_points(Gaussian(0.01), dense) is None

    def test_landmarks_need_equal_numbers(self, tmp_path):
        np.save(tmp_path / "a.npy", CIRCLE)
        np.save(tmp_path / "b.npy", CIRCLE[:5])
        a, b = (io.read_points(tmp_path / n) for n in ("a.npy", "b.npy"))
        assert point_files.default_fidelity(a, a, None) == "landmarks"
        assert point_files.default_fidelity(a, b, "mmd") == "mmd"
        with pytest.raises(InputError, match=r"has 12 points and .*b\.npy has 5"):
            point_files.default_fidelity(a, b, None)
