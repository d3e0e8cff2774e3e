"""Match real pairs of curves and surfaces, and count the folds and what is lost there and back.

    GEOJAX_DATA=<folder> python experiments/real_pairs/run.py            # the four small pairs
    GEOJAX_DATA=<folder> python experiments/real_pairs/run.py --full     # the table of the README

Writes a `.json` for each pair into `--out` and a picture of it into `--pictures`. The folder holds
`hippocampus_surfaces` and `skulls`; the hemispheres come with the package nilearn.
"""

import argparse
import gzip
import importlib.resources
import os
import platform
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
from scipy.spatial import ConvexHull, KDTree
from scipy.spatial.distance import pdist

from geojax import io, match, viz
from geojax.flows import RESULTS
from geojax.kernels import Gaussian, Sum
from geojax.shapes import Curve, Surface, Varifold

HERE = Path(__file__).parent
# One recipe for all pairs: lengths as parts of the source's diagonal, the weight in the fidelity's
# units.
METRIC, FIDELITY, WEIGHT = (1 / 5, 1 / 10, 1 / 20), 1 / 30, 3000.0
# Inverse consistency to reach, as a part of the diameter.
LARGEST_GAP = 0.01


@dataclass(frozen=True)
class Folders:
    """Where the data lie; None where they were not given."""

    data: Path | None
    fsaverage: Path | None

    def file(self, name: str) -> Path:
        if self.data is None:
            raise SystemExit("Set GEOJAX_DATA to the folder that holds hippocampus_surfaces.")
        return found_at(self.data / name, "GEOJAX_DATA")

    def hemisphere(self, name: str) -> Path:
        folder = self.fsaverage
        if folder is None:
            try:
                package = importlib.resources.files("nilearn")
            except ModuleNotFoundError as error:
                raise SystemExit(
                    "The hemispheres come with nilearn: install 'geojax-engine[demo,io]', or give "
                    "--fsaverage."
                ) from error
            folder = Path(str(package)) / "datasets/data/fsaverage5"
        return found_at(folder / f"{name}.gii.gz", "--fsaverage")


def found_at(path: Path, option: str) -> Path:
    if not path.exists():
        raise SystemExit(f"{path}: no such file; {option} names another folder")
    return path


@dataclass(frozen=True)
class Pair:
    """A source and a target, and what differs from the recipe.

    Attributes:
        title: what is matched.
        load: reads source and target.
        names: of the columns of the picture.
        control_points: how many points hold momenta; None for all vertices.
        normals: how the varifold sees directions.
        weight: in the fidelity's units.
        rounds: at a coarser fidelity first; None for as many as the data ask for.
        tolerance: relative gradient at which the search stops.
        views: elevations and azimuths of the picture of a surface, or their number.
        full: matched only with `--full`.
    """

    title: str
    load: Callable[[Folders], tuple[Curve, Curve] | tuple[Surface, Surface]]
    names: tuple[str, str]
    control_points: int | None = None
    normals: str = "binet"
    weight: float = WEIGHT
    rounds: int | None = None
    tolerance: float = 5e-3
    views: tuple[tuple[float, float], ...] | int = 2
    full: bool = False


def hippocampi(name: str, folders: Folders):
    with np.load(folders.file(f"hippocampus_surfaces/{name}.npz")) as data:
        source, target = (Surface(data["V" + k], data["F" + k]) for k in "ST")
    return source, target


def skulls(source: str, target: str, folders: Folders):
    first, second = (
        welded(io.read_mesh(folders.file(f"skulls/skull_{name}.vtk"))) for name in (source, target)
    )
    return first, second


def hemispheres(folders: Folders):
    """The left one, and the right one seen in a mirror, which turns its faces over."""
    left, right = (unpacked(folders.hemisphere(f"pial_{side}")) for side in ("left", "right"))
    mirror = np.array([-1, 1, 1], np.float32)
    return left, Surface(np.asarray(right.vertices) * mirror, np.asarray(right.faces)[:, ::-1])


def welded(curve: Curve) -> Curve:
    """The curve with vertices at one place made one: closed lines end where they begin."""
    places, where = np.unique(np.asarray(curve.vertices), axis=0, return_inverse=True)
    return Curve(places, where.reshape(-1)[np.asarray(curve.edges)])


def unpacked(path: Path) -> Surface:
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / path.stem
        plain.write_bytes(gzip.decompress(path.read_bytes()))
        return io.read_mesh(plain)


def _skulls(source: str) -> Pair:
    return Pair(
        f"skulls, {source} to sapiens",
        partial(skulls, source, "sapiens"),
        (source, "sapiens"),
        tolerance=3e-3,
    )


PAIRS = {
    "hippocampi": Pair(
        "hippocampi", partial(hippocampi, "hippos_red"), ("one subject", "another"), 400
    ),
    "australopithecus": _skulls("australopithecus"),
    "habilis": _skulls("habilis"),
    "erectus": _skulls("erectus"),
    "hippocampi-fine": Pair(
        "hippocampi, fine", partial(hippocampi, "hippos"), ("one subject", "another"), 400,
        full=True,
    ),
    # they start so close to each other that no coarse round is needed, and end close only at a
    # high price
    "hemispheres": Pair(
        "hemispheres", hemispheres, ("left", "right, mirrored"), 600,
        normals="oriented", weight=1e4, rounds=0, tolerance=3e-2,
        views=((0, 180), (0, 0)), full=True,
    ),
}  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="the large pairs as well")
    parser.add_argument("--pairs", nargs="+", choices=PAIRS, help="these pairs alone")
    parser.add_argument("--fsaverage", type=Path, help="folder of pial_left.gii.gz and its other")
    parser.add_argument("--out", type=Path, default=HERE / "outcome", help="folder for figures")
    parser.add_argument(
        "--pictures", type=Path, default=HERE.parents[1] / "docs/pictures", help="for pictures"
    )
    options = parser.parse_args()
    data = os.environ.get("GEOJAX_DATA")
    folders = Folders(Path(data) if data else None, options.fsaverage)
    chosen = options.pairs or [
        name for name, pair in PAIRS.items() if options.full or not pair.full
    ]
    shapes = {name: PAIRS[name].load(folders) for name in chosen}  # what is missing shows at once
    # lines of the profiles meet, and so do two sheets of one hippocampus
    warnings.filterwarnings("ignore", ".* is no manifold: ")
    rows = {}
    for name in chosen:
        rows[name] = run(name, PAIRS[name], *shapes[name], options.out, options.pictures)
        print(f"{name}: {rows[name]['seconds']:.1f} s, {rows[name]['iterations']} iterations",
              flush=True)  # fmt: skip
    print(table(rows))
    claims = check(rows)
    for claim, held in claims.items():
        print(f"{'holds' if held else 'FAILS':6} for every pair: {claim}")
    return 0 if all(claims.values()) else 1


def run(name: str, pair: Pair, source, target, out: Path, pictures: Path) -> dict:
    """Match a pair, the small ones in both directions, measure, and write figures and picture."""
    found, seconds = matched(pair, source, target)
    row = {"title": pair.title, "seconds": seconds, **measure(found, source, target)}
    if not pair.full:
        back, _ = matched(pair, target, source)
        gaps = np.asarray(back.apply(found.moved)) - np.asarray(source.vertices)
        row["round_trip"] = summary(np.linalg.norm(gaps, axis=1) / row["diameter"])
    row |= {
        "versions": {"jax": version("jax"), "python": platform.python_version()},
        "settings": {
            "control_points": pair.control_points, "normals": pair.normals, "weight": pair.weight,
            "scales": [float(k.scale) for k in found.problem.metric.kernel.kernels],
            "fidelity_scale": float(found.problem.fidelity.kernel.scale),
            "tolerance": pair.tolerance,
        },
    }  # fmt: skip
    for folder in (out, pictures):
        folder.mkdir(parents=True, exist_ok=True)
    io.write_json(out / f"{name}.json", row)
    draw(found, pair, source, target, pictures / f"{name}.png")
    return row


def matched(pair: Pair, source, target):
    """The match by the recipe, and its seconds."""
    size = float(np.linalg.norm(np.ptp(np.asarray(source.vertices), axis=0)))
    fidelity = Varifold(FIDELITY * size, normals=pair.normals).between(source, target)
    start = time.perf_counter()
    found = match(
        source,
        target,
        metric=Sum([Gaussian(part * size) for part in METRIC]),
        fidelity=fidelity,
        weight=pair.weight * fidelity.unit(),
        control_points=pair.control_points,
        multiscale=pair.rounds,
        tolerance=pair.tolerance,
        max_iterations=500,
        quality=False,
        throw=False,
    )
    found.objective.block_until_ready()
    return found, time.perf_counter() - start


def measure(found, source, target) -> dict:
    """Folds, inverse consistency and closeness; all lengths as parts of the source's diameter."""
    found = found.with_quality()
    fidelity, points = found.problem.fidelity, np.asarray(source.vertices)
    determinants = np.asarray(found.determinants(points))
    moved = found.moved_shapes
    size = diameter(points)
    before, after = distances(source, target) / size, distances(moved, target) / size
    return {
        "vertices": [len(points), len(target.vertices)],
        "cells": [len(source.cells), len(target.cells)],
        "diameter": size,
        "iterations": int(found.num_iterations),
        "converged": bool(found.result == RESULTS.successful),
        "gradient_norm": float(found.gradient_norm),
        "residual_before": float(fidelity.distance(found.problem.source, found.problem.target)),
        "residual": float(found.residual),
        # written so that a determinant that is not a number counts as a fold
        "folds": int(np.sum(~(determinants > 0))),
        "smallest_determinant": float(determinants.min()),
        "largest_determinant": float(determinants.max()),
        "grid_folds": found.folds,
        "grid_smallest_determinant": found.smallest_determinant,
        "inverse_error": found.inverse_error / size,
        "before": summary(before),
        "after": summary(after),
    }


def diameter(points: np.ndarray) -> float:
    """The largest distance between two points."""
    return float(pdist(points[ConvexHull(points).vertices].astype(float)).max())


def distances(first, second) -> np.ndarray:
    """From the vertices of each of two shapes to the nearest point of the other."""
    pairs = (first, second), (second, first)
    return np.concatenate([
        KDTree(sampled(b)).query(np.asarray(a.vertices))[0] for a, b in pairs
    ])  # fmt: skip


def sampled(mesh, parts: int = 6) -> np.ndarray:
    """Points all over the cells, whose sides are cut into so many parts."""
    size = mesh.cells.shape[1]
    steps = np.stack(np.meshgrid(*[np.arange(parts + 1)] * (size - 1)), axis=-1)
    steps = steps.reshape(-1, size - 1)
    steps = steps[steps.sum(axis=1) <= parts]
    shares = np.column_stack([steps, parts - steps.sum(axis=1)]) / parts
    corners = np.asarray(mesh.vertices, float)[np.asarray(mesh.cells)]
    return np.einsum("sk,ckd->csd", shares, corners).reshape(-1, corners.shape[-1])


def summary(values: np.ndarray) -> dict[str, float]:
    return {
        "mean": float(values.mean()),
        "most": float(np.quantile(values, 0.95)),
        "largest": float(values.max()),
    }


def check(rows: dict[str, dict]) -> dict[str, bool]:
    """The claim in its parts."""
    values = rows.values()
    return {
        "no folds at the vertices": all(row["folds"] == 0 for row in values),
        "no folds on the grid around them": all(row["grid_folds"] == 0 for row in values),
        "inverse consistent to 1 % of the diameter": all(
            row["inverse_error"] < LARGEST_GAP for row in values
        ),
        "the search converged": all(row["converged"] for row in values),
    }


def table(rows: dict[str, dict]) -> str:
    """The table of the README; lengths in per cent of the diameter."""

    def close(values: dict[str, float]) -> str:
        return " / ".join(f"{100 * values[key]:.2g}" for key in ("mean", "most", "largest"))

    columns = {
        "pair": lambda row: row["title"],
        "vertices": lambda row: " / ".join(f"{n:,}" for n in row["vertices"]),
        "folds": lambda row: f"{row['folds']}, {row['grid_folds']} on the grid",
        "determinants": lambda row: (
            f"{row['smallest_determinant']:.2f} to {row['largest_determinant']:.2f}"
        ),
        "inverse error": lambda row: f"{100 * row['inverse_error']:.1g}",
        "distances before": lambda row: close(row["before"]),
        "distances after": lambda row: close(row["after"]),
        "residual": lambda row: f"{row['residual'] / row['residual_before']:.3f}",
        "iterations": lambda row: str(row["iterations"]),
        "seconds": lambda row: f"{row['seconds']:.0f}",
        "round trip": lambda row: close(row["round_trip"]) if "round_trip" in row else "",
    }
    lines = ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    for row in rows.values():
        lines.append("| " + " | ".join(form(row) for form in columns.values()) + " |")
    return "\n".join(lines)


def draw(found, pair: Pair, source, target, path: Path) -> None:
    """Before, after and target, coloured by how the deformation changes areas or volumes."""
    first, second = pair.names
    curves = isinstance(source, Curve)
    titles = first, f"{first}, moved", f"{second}, under the moved" if curves else second
    show = outlines if curves else sheets
    figure = show(found, pair, source, target, titles)
    path.write_bytes(viz.to_png(figure, dpi=100, colors=256))


def sheets(found, pair, source, target, titles):
    change = np.log2(np.asarray(found.determinants(source.vertices)))
    limit = float(np.ceil(4 * np.quantile(np.abs(change), 0.99)) / 4)
    return viz.plot_surfaces(
        [source, found.moved_shapes, target],
        values=[change, change, np.full(len(target.vertices), np.nan)],
        colormap="RdBu_r",
        limits=(-limit, limit),
        label="change of volume, log2 of the Jacobian determinant",
        titles=titles,
        views=pair.views,
    )


def outlines(found, pair, source, target, titles):
    figure, axes = viz.new_figure(3, 1, width=3.4, height=4.1)
    ends = [np.asarray(x.vertices) for x in (source, found.moved_shapes, target)]
    every = np.concatenate(ends)
    low, high = every.min(axis=0), every.max(axis=0)
    margin = 0.06 * float(np.max(high - low))
    low, high = low - margin, high + margin
    left, middle, right = axes[0]

    def move(points):
        return found.apply(points.astype(every.dtype))

    viz.plot_area_change(move, [low, high], left, label="change of area")
    viz.plot_points(ends[0], left, edges=source.edges, color=viz.DARK)
    viz.plot_grid(move, [low, high], middle)
    viz.plot_points(ends[1], middle, edges=source.edges, color=viz.DARK)
    viz.plot_points(ends[2], right, edges=target.edges, color=viz.TARGET, linewidth=3.5, alpha=0.6)
    viz.plot_points(ends[1], right, edges=source.edges, color=viz.DARK)
    for ax, title in zip(axes[0], titles, strict=True):
        viz.bare(ax).set_title(title)
        ax.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]))
    return figure


if __name__ == "__main__":
    raise SystemExit(main())
