"""`geojax quality`: how well labels and landmarks agree, and how regular a deformation is."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from geojax._core.errors import InputError
from geojax.cli import apply, apply_image, image_files
from geojax.cli.options import Quality
from geojax.cli.run import Run
from geojax.io import ImageFile, PointFile, files, read_image, read_points

# Figures of a run -> what they are called; "u" stands for the unit of the world.
LABELS = {
    "folds": "folds (Jacobian determinant not positive)",
    "share_of_folds": "share of folds",
    "smallest_determinant": "smallest Jacobian determinant",
    "sd_log_jacobian": "standard deviation of log Jacobian",
    "inverse_error": "largest error of moving there and back",
}
STAGES = ("before", "affine", "after")


def run(options: Quality, run: Run) -> dict[str, Any]:
    """Read, check, measure, and print."""
    if options.landmarks is not None and options.run is None:
        raise InputError(
            "--landmarks: the first landmarks are moved by a match of images; give it by --run"
        )
    labels, target = read_image(options.labels), read_image(options.target)
    for file in (labels, target):
        apply_image.check_labels(file)
        run.add_input(file.path)
    found = None
    marks: list[PointFile] = []
    if options.run is None:
        image_files.check_grid(labels, target.values.shape, target.affine, f"file {target.path}")
    else:
        found = apply_image.load(options.run)
        check_worlds(labels, target, found, options.run)
        run.add_input(Path(options.run) / files.MANIFEST)
        marks = read_landmarks(options)
        for file in marks:
            run.add_input(file.path)
    if options.out is not None:
        run.claim(options.out)
    run.progress("measuring")
    stages = {"after": labels.values} if found is None else carried(labels, found)
    figures = agreement(stages, target)
    if found is not None:
        figures |= regularity(found)
    if found is not None and marks:
        figures["landmarks"] = landmark_errors(found, marks)
    show(figures, run, "mm" if target.format == "nifti" else "px")
    return figures


def check_worlds(labels: ImageFile, target: ImageFile, found: Any, folder: str) -> None:
    """Raise unless labels can be moved by a deformation and compared on its grid.

    Raises:
        InputError: another dimension, or another grid than that of the target of the match.
    """
    d = found.source.dimension
    if labels.values.ndim != d:
        raise InputError(
            f"{labels.path} is {labels.values.ndim}-D, but the deformation in {folder} is {d}-D"
        )
    where = f"target of {folder}"
    image_files.check_grid(target, found.target.grid, found.target.affine, where)


def read_landmarks(options: Quality) -> list[PointFile]:
    """Landmarks of source and target, in the dimension of the deformation.

    Raises:
        InputError: another dimension, or not the same number of both.
    """
    if options.landmarks is None or options.run is None:
        return []
    read = [apply.in_dimension(read_points(path), options.run) for path in options.landmarks]
    counts = [len(file.points) for file in read]
    if counts[0] != counts[1]:
        raise InputError(
            f"{read[0].path} has {counts[0]} landmarks and {read[1].path} has {counts[1]}; give "
            "the same landmarks, in the same order"
        )
    return read


def carried(labels: ImageFile, found: Any) -> dict[str, np.ndarray]:
    """Labels on the target's grid: as they lie in the world, by the affine map, and by all."""
    import jax.numpy as jnp

    rest = jnp.zeros_like(found.pull)
    still = dataclasses.replace(found, pull=rest, push=rest)
    asis = dataclasses.replace(still, affine=np.eye(len(found.affine)))
    maps = zip(STAGES, (asis, still, found), strict=True)
    return {name: apply_image.moved_labels(one, labels)[0] for name, one in maps}


def agreement(stages: dict[str, np.ndarray], target: ImageFile) -> dict[str, Any]:
    """Overlap and distance of each label at each stage, and their means."""
    from geojax.shapes.overlap import dice, hausdorff95

    spacing = np.linalg.norm(target.affine[:-1, :-1], axis=0)
    # 0 is what lies outside of an image, so a label may be lost on the way: it counts as missed
    known = {int(k) for values in (*stages.values(), target.values) for k in np.unique(values)}
    known -= {0}
    if not known:
        raise InputError(f"{target.path}: holds no label but the background 0; give label images")
    figures: dict[str, Any] = {"labels": {str(k): {} for k in sorted(known)}}
    for stage, values in stages.items():
        tail = "" if stage == "after" else f"_{stage}"
        overlaps = dice(values, target.values)
        distances = hausdorff95(values, target.values, spacing)
        for k in sorted(known):
            entry = figures["labels"][str(k)]
            entry[f"dice{tail}"] = overlaps.get(k, 0.0)
            entry[f"hausdorff95{tail}"] = distances.get(k, np.inf)
        for name in ("dice", "hausdorff95"):
            every = [entry[f"{name}{tail}"] for entry in figures["labels"].values()]
            figures[f"mean_{name}{tail}"] = float(np.mean(every))
    return figures


def regularity(found: Any) -> dict[str, Any]:
    """How smooth and invertible a deformation is."""
    from geojax.shapes.overlap import jacobian_figures

    figures = jacobian_figures(np.asarray(found.determinants().values))
    return {
        "folds": figures["folds"],
        "share_of_folds": figures["share_of_folds"],
        "smallest_determinant": found.smallest_determinant,
        "sd_log_jacobian": figures["sd_log"],
        "inverse_error": found.inverse_error,
    }


def landmark_errors(found: Any, marks: list[PointFile]) -> dict[str, Any]:
    """Distance of landmarks to their partners in the target, before and after."""
    source, target = (file.points.astype(np.float64) for file in marks)
    moved = apply.moved_points(found, marks[0], source)
    figures: dict[str, Any] = {"count": len(source)}
    for stage, points in (("before", source), ("after", moved)):
        errors = np.linalg.norm(points - target, axis=1)
        figures[stage] = {
            "mean": np.mean(errors),
            "median": np.median(errors),
            "max": np.max(errors),
        }
    return figures


def show(figures: dict[str, Any], run: Run, unit: str) -> None:
    """Print the tables."""
    from geojax.cli.run import clean

    run.clear_progress()
    plain = clean(figures)
    stages = [s for s in STAGES if f"mean_dice{_tail(s)}" in plain]
    head = ["label"]
    for name in ("Dice", f"HD95 ({unit})"):
        head += [name if len(stages) == 1 else f"{name} {stage}" for stage in stages]
    keys = [f"{name}{_tail(s)}" for name in ("dice", "hausdorff95") for s in stages]
    rows = [head]
    for label, entry in plain["labels"].items():
        rows.append([label, *(_number(entry[key]) for key in keys)])
    rows.append(["mean", *(_number(plain[f"mean_{key}"]) for key in keys)])
    _print_table(rows)
    if "folds" not in plain:
        return
    print()
    for key, text in LABELS.items():
        tail = f" {unit}" if key == "inverse_error" else ""
        print(f"{text:48} {_number(plain[key], 3)}{tail}")
    if "landmarks" in plain:
        print()
        marks = plain["landmarks"]
        rows = [[f"error of {marks['count']} landmarks ({unit})", "mean", "median", "max"]]
        for stage in ("before", "after"):
            rows.append([stage, *(_number(value) for value in marks[stage].values())])
        _print_table(rows)


def _tail(stage: str) -> str:
    return "" if stage == "after" else f"_{stage}"


def _number(value: Any, digits: int = 4) -> str:
    if isinstance(value, int):
        return str(value)
    return "–" if value is None else f"{value:.{digits}g}"


def _print_table(rows: list[list[str]]) -> None:
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    for row in rows:
        cells = [row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:]))]
        print("  ".join(cells).rstrip())
