"""A thousand geodesics of one qubit and a thousand matches of landmarks, by one command each.

    python experiments/sweeps/run.py            # a part of the points, a minute
    python experiments/sweeps/run.py --full     # all thousand of each

Writes results.json and figure.png. The claims and the outcome are in README.md.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from geojax.sweeps import Results

HERE = Path(__file__).parent
# Rounding, and what the tolerances of the searches leave open.
SLACK = 1e-6
SMALL = {
    "circuits": [("high = 99", "high = 9")],
    "matches": [("num = 25", "num = 5"), ("num = 40", "num = 8")],
}


def landmarks(folder: Path) -> None:
    """A ring of twenty landmarks, and the same ring bent and turned a little."""
    angle = np.linspace(0, 2 * np.pi, 20, endpoint=False)
    source = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    bent = source * (1 + 0.2 * np.cos(3 * angle))[:, None] + [0.1, 0.0]
    turn = np.array([[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]])
    np.save(folder / "source.npy", source)
    np.save(folder / "target.npy", bent @ turn.T)


def swept(name: str, full: bool, folder: Path) -> tuple[Results, float]:
    """Run the definition of that name by the command; the results, and the seconds it took."""
    text = (HERE / f"{name}.toml").read_text()
    for old, new in () if full else SMALL[name]:
        text = re.sub(re.escape(old), new, text)
    (folder / f"{name}.toml").write_text(text)
    begun = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "geojax.cli", "sweep", "run", f"{name}.toml",
         "--launcher", "processes", "--workers", "2"],
        cwd=folder, check=True,
    )  # fmt: skip
    return Results(folder / name), time.perf_counter() - begun


def table(results: Results, value: str, row: str, column: str) -> tuple[np.ndarray, ...]:
    """A metric on a grid of two fields, NaN where there is none, and the values of the fields."""
    rows = results.table(f"SELECT {row} AS r, {column} AS c, {value} AS v, status FROM trials")
    rs, cs = (np.unique([x[k] for x in rows]) for k in ("r", "c"))
    grid = np.full((len(rs), len(cs)), np.nan)
    for x in rows:
        if x["status"] == "ok":
            grid[np.searchsorted(rs, x["r"]), np.searchsorted(cs, x["c"])] = x["v"]
    return grid, rs, cs


def grows(grid: np.ndarray, scale: np.ndarray | float = 1.0) -> int:
    """How many neighbours along the rows are in falling order, beyond the slack."""
    return int(np.sum(np.diff(grid, axis=1) < -SLACK * scale))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="all thousand points of each")
    parser.add_argument("--out", type=Path, default=HERE / "outcome", help="folder to write in")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        landmarks(folder)
        circuits, circuit_seconds = swept("circuits", options.full, folder)
        matches, match_seconds = swept("matches", options.full, folder)
        distance, _, prices = table(circuits, "distance", "seed", "penalty")
        lower, _, _ = table(circuits, "lower_bound", "seed", "penalty")
        residual, scales, weights = table(matches, "residual", "scale", "weight")
        energy, _, _ = table(matches, "energy", "scale", "weight")
        found = {
            name: {
                "points": sum(results.status()["by_status"].values()),
                **results.status()["by_status"],
                "seconds": seconds,
                **results.table("SELECT sum(seconds) AS computing_seconds FROM trials")[0],
                **results.table("SELECT count(DISTINCT chunk) AS chunks FROM trials")[0],
                **results.table("SELECT max(deviation) AS largest_deviation FROM trials")[0],
            }
            for name, results, seconds in [
                ("circuits", circuits, circuit_seconds), ("matches", matches, match_seconds),
            ]
        }  # fmt: skip
    first = distance[:, :1]
    found["circuits"] |= {
        "falls with the price": grows(distance),
        "above root of the price": int(np.sum(distance > np.sqrt(prices) * first + SLACK)),
        "below the isotropic bound": int(np.sum(distance < lower - SLACK)),
    }
    found["matches"] |= {
        "residual rises with the weight": grows(-residual, np.nanmax(residual)),
        "energy falls with the weight": grows(energy, np.nanmax(energy)),
    }
    (options.out / "results.json").write_text(json.dumps(found, indent=2) + "\n")
    print(json.dumps(found, indent=2))
    draw(options.out, distance, prices, residual, energy, scales, weights)
    return 0


def draw(out, distance, prices, residual, energy, scales, weights) -> None:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(11, 3.2), layout="constrained")
    axes[0].plot(prices, distance.T[:, :60], color="C0", alpha=0.25, linewidth=0.8)
    axes[0].plot(prices, np.nanmean(distance, axis=0), color="C1", label="mean")
    axes[0].set(xlabel="price of Z", ylabel="complexity of a random gate")
    axes[0].legend()
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
    for k in np.linspace(0, len(scales) - 1, 5).astype(int):
        axes[1].loglog(weights, residual[k], label=f"scale {scales[k]:.2g}")
        axes[2].semilogx(weights, energy[k])
    axes[1].set(xlabel="weight", ylabel="residual (unit of the points)")
    axes[1].legend()
    axes[2].set(xlabel="weight", ylabel="energy (squared unit)")
    figure.savefig(out / "figure.png", dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    sys.exit(main())
