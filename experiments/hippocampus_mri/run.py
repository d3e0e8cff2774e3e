"""Match brain images with each other by intensities alone, and score how the hippocampi agree.

    GEOJAX_DATA=<folder> python experiments/hippocampus_mri/run.py            # three pairs
    GEOJAX_DATA=<folder> python experiments/hippocampus_mri/run.py --full     # the README's table
    GEOJAX_DATA=<folder> python experiments/hippocampus_mri/run.py --batch    # many in one program

The folder holds `hippocampus_mri`. With antspyx installed (extra `ants`) SyN matches the same
pairs in the same run. Writes `matches.csv`, `summary.json` and a picture into `--out`; with
`--batch` only `batch.json`.
"""

import argparse
import csv
import functools
import json
import os
import platform
import time
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import jax
import numpy as np

from geojax import io, match_images, match_many_images
from geojax.matching import ImageMatch
from geojax.matching.images.levels import padded
from geojax.shapes import Image
from geojax.shapes.overlap import dice, hausdorff95, jacobian_figures

HERE = Path(__file__).parent
LABELS = (1, 2)
# Without the finest resolution.
FAST = (4, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="all pairs, in both directions")
    parser.add_argument("--batch", action="store_true", help="all pairs side by side, one by one")
    parser.add_argument("--out", type=Path, default=HERE / "outcome")
    options = parser.parse_args()
    folder = data_folder()
    images = sorted((folder / "images").glob("*.nii.gz"))
    half = len(images) // 2
    whole = options.full or options.batch
    pairs = [(images[i], images[-1 - i]) for i in range(half if whole else 3)]
    if whole:
        pairs += [(b, a) for a, b in pairs]
    options.out.mkdir(parents=True, exist_ok=True)
    if options.batch:
        figures = batch_figures(pairs)
        (options.out / "batch.json").write_text(json.dumps(figures, indent=2) + "\n")
        print(json.dumps(figures, indent=2))
        return
    ants = syn_or_none()
    rows = []
    # one program for all sizes, or a program and a time for each size
    ours = in_one_program(pairs) if options.full else (geojax_figures(*pair) for pair in pairs)
    for (source, target), figures in zip(pairs, ours, strict=True):
        row = {"source": source.stem[:-4], "target": target.stem[:-4], **figures}
        if ants is not None:
            row |= syn_figures(ants, source, target)
        rows.append(row)
        print(
            ", ".join(
                f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items()
            )
        )
    with (options.out / "matches.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    summary = summarised(rows)
    (options.out / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    print(json.dumps(summary, indent=2))
    draw(rows, options.out / "dice.png")


def data_folder() -> Path:
    """Where the volumes are."""
    given = os.environ.get("GEOJAX_DATA")
    if not given:
        raise SystemExit("Set GEOJAX_DATA to the folder that holds hippocampus_mri.")
    folder = Path(given) / "hippocampus_mri"
    if not (folder / "images").is_dir():
        raise SystemExit(f"{folder / 'images'}: no such folder; GEOJAX_DATA names another one")
    return folder


Labelled = tuple[Image, Image]


def read(path: Path) -> Labelled:
    """An image and its labels."""
    files = (path, "float32"), (labels_of(path), "int32")
    image, labels = (io.as_image(io.read_image(file), dtype) for file, dtype in files)
    return image, labels


def labels_of(path: Path) -> Path:
    """The file of the labels of an image."""
    return path.parent.parent / "labels" / path.name


def geojax_figures(source: Path, target: Path) -> dict[str, Any]:
    """Match two images with the defaults, and in the fast form, one by one and timed."""
    start, end = read(source), read(target)
    quick, quick_seconds = timed(start[0], end[0], factors=FAST)
    found, seconds = timed(start[0], end[0])
    figures = scored(found, quick, start, end)
    return figures | {"seconds": seconds, "fast_seconds": quick_seconds}


def in_one_program(pairs: list[tuple[Path, Path]]) -> Iterator[dict[str, Any]]:
    """The same for all pairs in one program for each resolution, one after the other."""
    starts, ends = ([read(path) for path in column] for column in zip(*pairs, strict=True))
    images = [[image for image, _ in column] for column in (starts, ends)]
    options: dict[str, Any] = dict(affine="affine", batch_size=1)
    quick = match_many_images(*images, factors=FAST, **options)
    found = match_many_images(*images, **options)
    for one in zip(found, quick, starts, ends, strict=True):
        yield scored(*one)


def scored(found: ImageMatch, quick: ImageMatch, start: Labelled, end: Labelled) -> dict[str, Any]:
    """How well both forms carry the labels, which they did not see."""
    ours, theirs = start[1], end[1]
    truth = np.asarray(theirs.values)
    moved = np.asarray(found.warp(ours, order=0).values)
    figures = jacobian_figures(np.asarray(found.determinants().values))
    surface = hausdorff95(moved, truth, theirs.spacing)
    return {
        "dice": mean_dice(moved, truth),
        "hd95": float(np.mean([surface[k] for k in LABELS])),
        "folds": int(figures["folds"]),
        "sd_log": float(figures["sd_log"]),
        "smallest": float(figures["min"]),
        "iterations": int(found.num_iterations),
        "fast_dice": mean_dice(np.asarray(quick.warp(ours, order=0).values), truth),
        "fast_folds": quick.folds,
    }


_COMPILED: set[Any] = set()


def timed(source: Image, target: Image, **options: Any) -> tuple[ImageMatch, float]:
    """A match, and the time that it takes once the programs for its sizes are compiled."""
    sizes = (padded(source).frame.grid, padded(target).frame.grid, options.get("factors"))
    if sizes not in _COMPILED:
        match_images(source, target, **options)
        _COMPILED.add(sizes)
    start = time.perf_counter()
    found = match_images(source, target, **options)
    jax.block_until_ready(found.pull)
    return found, time.perf_counter() - start


def batch_figures(pairs: list[tuple[Path, Path]]) -> dict[str, Any]:
    """The fast matches of all pairs, one by one and in one program for each resolution.

    In one program all are filled up to the largest, and in a batch all wait for the slowest.
    Seconds are those of second calls, affine maps included.
    """
    starts, ends = ([read(path) for path in column] for column in zip(*pairs, strict=True))
    sources, targets = ([image for image, _ in column] for column in (starts, ends))
    ours, theirs = ([labels for _, labels in column] for column in (starts, ends))

    def one_by_one() -> tuple[list[ImageMatch], float]:
        several = zip(sources, targets, strict=True)
        found = [timed(a, b, factors=FAST) for a, b in several]
        return [match for match, _ in found], sum(seconds for _, seconds in found)

    def together(size: int) -> tuple[list[ImageMatch], float]:
        for _ in range(2):
            start = time.perf_counter()
            found = match_many_images(
                sources, targets, affine="affine", factors=FAST, batch_size=size
            )
            jax.block_until_ready([match.pull for match in found])
            seconds = time.perf_counter() - start
        return found, seconds

    runs: dict[str, Any] = {
        f"one program, {size} side by side": functools.partial(together, size)
        for size in (1, len(pairs))
    }
    figures: dict[str, Any] = {"matches": len(pairs)}
    for name, run in (runs | {"one by one": one_by_one}).items():
        found, seconds = run()
        overlaps = [
            mean_dice(np.asarray(match.warp(a, order=0).values), np.asarray(b.values))
            for match, a, b in zip(found, ours, theirs, strict=True)
        ]
        figures[name] = {
            "seconds": seconds,
            "dice": float(np.mean(overlaps)),
            "folds": sum(match.folds for match in found),
        }
        print(name, figures[name], flush=True)
    return figures | {"jax": version("jax"), "cores": os.cpu_count()}


def mean_dice(labels: np.ndarray, target: np.ndarray) -> float:
    found = dice(labels, target)
    return float(np.mean([found.get(k, 0.0) for k in LABELS]))


def syn_or_none() -> Any:
    try:
        import ants
    except ImportError:
        print("antspyx is not installed: SyN is left out")
        return None
    return ants


def syn_figures(ants: Any, source: Path, target: Path) -> dict[str, Any]:
    """SyN with its defaults, on the same cores."""
    fixed, moving = (ants.image_read(str(path)) for path in (target, source))
    theirs, ours = (ants.image_read(str(labels_of(path))) for path in (target, source))
    ants.registration(fixed, moving, "SyN", random_seed=1)  # the first run may start up things
    start = time.perf_counter()
    found = ants.registration(fixed, moving, "SyN", random_seed=1)
    seconds = time.perf_counter() - start
    moved = ants.apply_transforms(
        theirs, ours, found["fwdtransforms"], interpolator="nearestNeighbor"
    )
    labels = [np.rint(image.numpy()).astype(int) for image in (moved, theirs)]
    return {"syn_dice": mean_dice(*labels), "syn_seconds": seconds}


def summarised(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Means with their standard errors, and the versions that they were taken with."""
    numbers = {
        key: np.asarray([row[key] for row in rows], float)
        for key in rows[0]
        if key not in ("source", "target")
    }
    summary: dict[str, Any] = {"matches": len(rows)}
    for key, values in numbers.items():
        if "seconds" in key:
            summary[f"{key}_median"] = float(np.median(values))
        elif "folds" in key:
            summary[key] = int(values.sum())
        else:
            error = np.std(values, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
            summary[key] = {"mean": float(values.mean()), "standard_error": float(error)}
    if "syn_dice" in numbers:
        gain = numbers["dice"] - numbers["syn_dice"]
        error = np.std(gain, ddof=1) / np.sqrt(len(gain))
        summary["gain_over_syn"] = {"mean": float(gain.mean()), "standard_error": float(error)}
        summary["wins"] = int(np.sum(gain > 0))
    for name in ("jax", "antspyx"):
        try:
            summary[name] = version(name)
        except PackageNotFoundError:
            summary[name] = None
    return summary | {"python": platform.python_version(), "cores": os.cpu_count()}


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Dice of both, match by match."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots(figsize=(4.6, 4.4), layout="constrained")
    ours = [row["dice"] for row in rows]
    if "syn_dice" in rows[0]:
        theirs = [row["syn_dice"] for row in rows]
        low, high = min(ours + theirs) - 0.02, max(ours + theirs) + 0.02
        ax.plot([low, high], [low, high], color="0.6", linewidth=1, label="equal")
        ax.plot(theirs, ours, "o", markersize=5, alpha=0.8, label="one match")
        ax.set(
            xlabel="mean Dice, SyN", ylabel="mean Dice, geojax", xlim=(low, high), ylim=(low, high)
        )
        ax.set_aspect("equal")
        ax.legend(frameon=False)
    else:
        ax.hist(ours, bins=12)
        ax.set(xlabel="mean Dice", ylabel="matches")
    ax.set_title("Hippocampi, matched by intensities")
    figure.savefig(path, dpi=150)
    plt.close(figure)


if __name__ == "__main__":
    main()
