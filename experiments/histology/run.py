"""Match two stains of one kidney by their grey values, and score landmarks that it did not see.

    GEOJAX_DATA=<folder> python experiments/histology/run.py            # an eighth of the size
    GEOJAX_DATA=<folder> python experiments/histology/run.py --full     # a quarter too: the README

The folder holds `histology`. With antspyx installed (extra `ants`) its registrations match the same
pictures in the same run. Writes `errors.json` and a picture into `--out`.
"""

import argparse
import json
import os
import platform
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import jax
import numpy as np
from PIL import Image as Picture

from geojax import match_images
from geojax.matching import ImageMatch, LandmarkPair
from geojax.shapes import LNCC, Image

HERE = Path(__file__).parent
STAINS = ("HE", "PanCytokeratin")
# antspyx: its default, the same with local correlation, and its affine map alone
PEERS = {"SyN": "SyN", "SyN, local correlation": "SyNCC", "affine map of SyN": "Affine"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="a quarter of the size too")
    parser.add_argument("--out", type=Path, default=HERE / "outcome")
    options = parser.parse_args()
    folder = data_folder()
    ants = ants_or_none()
    rows: list[dict[str, Any]] = []
    joint: list[dict[str, Any]] = []
    drawn: dict[str, np.ndarray] = {}
    for factor in (8, 4) if options.full else (8,):
        for stains in (STAINS, STAINS[::-1]):
            images = [grey(folder / f"Rat-Kidney_{stain}.jpg", factor) for stain in stains]
            points = landmarks(folder, stains)
            what = {
                "source": stains[0],
                "size": "x".join(map(str, images[1].grid)),
                "spacing": factor,
            }
            found = geojax_errors(images, points)
            if ants is not None:
                found |= ants_errors(ants, images, points)
            joint += [what | row for row in joint_errors(images, points)]
            for method, (errors, seconds) in found.items():
                row = what | {"method": method} | figures(errors) | {"seconds": seconds}
                rows.append(row)
                print(json.dumps(row), flush=True)
            if stains == STAINS:
                drawn = {method: errors for method, (errors, _) in found.items()}
    options.out.mkdir(parents=True, exist_ok=True)
    summary = {
        "rows": rows,
        "joint": joint,
        "python": platform.python_version(),
        "cores": os.cpu_count(),
    }
    for name in ("jax", "antspyx"):
        try:
            summary[name] = version(name)
        except PackageNotFoundError:
            summary[name] = None
    (options.out / "errors.json").write_text(json.dumps(summary, indent=1) + "\n")
    draw(drawn, options.out / "errors.png")


def data_folder() -> Path:
    """Where the pictures are."""
    given = os.environ.get("GEOJAX_DATA")
    if not given:
        raise SystemExit("Set GEOJAX_DATA to the folder that holds histology.")
    folder = Path(given) / "histology"
    if not folder.is_dir():
        raise SystemExit(f"{folder}: no such folder; GEOJAX_DATA names another one")
    return folder


def grey(path: Path, factor: int) -> Image:
    """A picture as luminance, in means over blocks; its world are the pixels of the file."""
    values = np.asarray(Picture.open(path).convert("L"), np.float32) / 255
    rows, columns = (n // factor for n in values.shape)
    blocks = values[: rows * factor, : columns * factor].reshape(rows, factor, columns, factor)
    affine = np.diag([factor, factor, 1.0])
    affine[:2, 2] = (factor - 1) / 2
    return Image(blocks.mean(axis=(1, 3)), affine)


def landmarks(folder: Path, stains: tuple[str, ...]) -> list[np.ndarray]:
    """Rows and columns of landmarks of both, `[n, 2]`, in pixels of the files.

    They correspond in their order; what only one has is left out.
    """
    found = []
    for stain in stains:
        path = folder / f"Rat-Kidney_{stain}.csv"
        found.append(np.genfromtxt(path, delimiter=",", skip_header=1)[:, [2, 1]])
    shared = min(map(len, found))
    return [points[:shared] for points in found]


def geojax_errors(images, points) -> dict[str, tuple[np.ndarray, float | None]]:
    """Distances of landmarks of the target, carried to the source, from those of the source.

    Seconds are those of a second call; the affine map is part of the match.
    """
    before = np.linalg.norm(points[1] - points[0], axis=1)
    errors: dict[str, tuple[np.ndarray, float | None]] = {"before": (before, None)}
    step, area = float(images[1].spacing[0]), float(np.prod(images[1].spacing * images[1].grid))
    # in the plane the default weight is the area (one squared scale for each cell)
    stiffer: dict[str, Any] = {"fidelity": LNCC(6 * step), "weight": 0.5 * area}
    defaults: dict[str, Any] = {}
    for method, options in (
        ("geojax", defaults),
        ("geojax, without the finest resolution", {"factors": (4, 2)}),
        ("geojax, stiffer", stiffer),
    ):
        match_images(*images, **options)
        start = time.perf_counter()
        found: ImageMatch = match_images(*images, **options)
        jax.block_until_ready(found.pull)
        seconds = time.perf_counter() - start
        if not options:
            matrix = found.affine
            moved = points[1] @ matrix[:2, :2].T + matrix[:2, 2]
            errors["geojax, affine map"] = (np.linalg.norm(moved - points[0], axis=1), None)
        moved = found.apply(points[1], inverse=True)
        errors[method] = (np.linalg.norm(moved - points[0], axis=1), seconds)
        print(f"{method}: {found.folds} folds, residual {float(found.residual):.3f}", flush=True)
    return errors


def joint_errors(images, points) -> list[dict[str, Any]]:
    """Images and every other landmark in one match, beside each alone.

    The other landmarks are held out. Each way is measured by them, by the landmarks that it may
    have been given, and by the distance of the images.
    """
    given, held = ([x[k::2] for x in points] for k in (0, 1))
    marks = LandmarkPair(*given)
    area = float(np.prod(images[1].spacing * images[1].grid))
    ways: dict[str, dict[str, Any]] = {
        "images alone": {},
        # next to nothing of the default weight, which in the plane is the area
        "landmarks alone": {"beside": marks, "weight": 1e-6 * area},
        "both": {"beside": marks},
    }
    rows = []
    for way, options in ways.items():
        found: ImageMatch = match_images(*images, throw=False, **options)
        errors = [
            float(np.linalg.norm(found.apply(b, inverse=True) - a, axis=1).mean())
            for a, b in (given, held)
        ]
        row = {"joint": way, "given": errors[0], "held_out": errors[1]}
        row |= {"distance_of_images": float(found.residual), "folds": found.folds}
        rows.append(row)
        print(json.dumps(row), flush=True)
    return rows


def ants_or_none() -> Any:
    try:
        import ants
    except ImportError:
        print("antspyx is not installed: SyN is left out")
        return None
    return ants


def ants_errors(ants: Any, images, points) -> dict[str, tuple[np.ndarray, float | None]]:
    """The same by antspyx, on the same cores."""
    import pandas

    moving, fixed = (
        ants.from_numpy(
            np.asarray(image.values),
            origin=[float(x) for x in image.affine[:2, 2]],
            spacing=[float(x) for x in image.spacing],
        )
        for image in images
    )
    table = pandas.DataFrame(points[1], columns=["x", "y"])
    errors: dict[str, tuple[np.ndarray, float | None]] = {}
    for method, kind in PEERS.items():
        start = time.perf_counter()
        found = ants.registration(fixed, moving, kind, random_seed=1)
        seconds = time.perf_counter() - start
        # points go from fixed to moving by what pulls images from moving to fixed
        moved = ants.apply_transforms_to_points(2, table, found["fwdtransforms"])
        moved = moved[["x", "y"]].to_numpy()
        errors[method] = (np.linalg.norm(moved - points[0], axis=1), seconds)
    return errors


def figures(errors: np.ndarray) -> dict[str, float]:
    """Mean with its standard error, and quantiles, in pixels of the files."""
    return {
        "mean": float(errors.mean()),
        "standard_error": float(errors.std(ddof=1) / np.sqrt(len(errors))),
        "median": float(np.median(errors)),
        "quantile_90": float(np.quantile(errors, 0.9)),
        "largest": float(errors.max()),
    }


def draw(errors: dict[str, np.ndarray], path: Path) -> None:
    """How many landmarks are how near."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots(figsize=(5.4, 3.8), layout="constrained")
    for method, values in errors.items():
        if "without" in method:
            continue
        ax.plot(np.sort(values), (1 + np.arange(len(values))) / len(values), label=method)
    ax.set(xlabel="distance from the landmark, pixels", ylabel="part of the landmarks", ylim=(0, 1))
    ax.set_xscale("log")
    ax.legend(frameon=False, fontsize="small")
    ax.set_title("Two stains of a kidney")
    figure.savefig(path, dpi=150)
    plt.close(figure)


if __name__ == "__main__":
    main()
