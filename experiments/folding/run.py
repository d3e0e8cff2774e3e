"""Where a displacement folds and a flow does not: landmarks that turn inside a ring at rest.

python experiments/folding/run.py            # writes results.json and figure.png, a minute
python experiments/folding/run.py --full     # finer angles and a finer grid
"""

import argparse
import platform
from importlib.metadata import version
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from geojax import io, viz
from geojax.actions import Points
from geojax.flows import jacobian_determinants
from geojax.geodesics import log, shoot
from geojax.kernels import Gaussian
from geojax.metrics import RKHS

HERE = Path(__file__).parent
METRIC, NUM_STEPS, TOLERANCE = RKHS(Gaussian(0.5)), 40, 1e-6
SHOWN = 80


def main() -> int:
    jax.config.update("jax_enable_x64", True)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="finer angles and grid")
    parser.add_argument("--out", type=Path, default=HERE / "outcome", help="folder to write in")
    options = parser.parse_args()
    angles = range(5 if options.full else 20, 121, 5 if options.full else 20)
    grid = lattice(81 if options.full else 41)
    rows, shown, momentum = [], {}, None
    for angle in angles:
        source, target = rings(np.deg2rad(angle))
        # from the geodesic of the angle before
        found = log(METRIC, Points(), source, target, initial=momentum, num_steps=NUM_STEPS)
        momentum = found.momentum
        maps = {"displacement": displaced(source, target), "flow": flowed(source, momentum)}
        row = {"angle": angle}
        for name, move in maps.items():
            determinants = jacobian_determinants(move, grid)
            row[name] = {
                "error at the landmarks": float(jnp.max(jnp.abs(move(source) - target))),
                "least determinant": float(jnp.min(determinants)),
                "share folded": float(jnp.mean(determinants <= 0)),
            }
            if angle == SHOWN:
                shown[name] = np.asarray(move(lattice(31)))
        rows.append(row)
        least = {name: round(row[name]["least determinant"], 4) for name in maps}
        print(f"{angle} degrees: least determinant {least}", flush=True)
    claims = {
        "the flow never folds": all(row["flow"]["least determinant"] > 0 for row in rows),
        "the displacement folds from some angle on": any(
            row["displacement"]["least determinant"] <= 0 for row in rows
        ),
        "both meet the landmarks": all(
            row[name]["error at the landmarks"] < TOLERANCE for row in rows for name in maps
        ),
    }
    options.out.mkdir(parents=True, exist_ok=True)
    versions = {name: version(name) for name in ("jax", "diffrax")}
    results = {"rows": rows, "claims": claims}
    results["versions"] = versions | {"python": platform.python_version()}
    io.write_json(options.out / "results.json", results)
    draw(rows, shown, options.out / "figure.png")
    for claim, held in claims.items():
        print(f"{'holds' if held else 'FAILS':6} {claim}")
    return 0 if all(claims.values()) else 1


def rings(angle: float):
    """Twelve landmarks of a ring that turns, and twelve around it that rest."""
    phase = jnp.arange(12) * (2 * jnp.pi / 12)

    def ring(radius, turn):
        return radius * jnp.stack([jnp.cos(phase + turn), jnp.sin(phase + turn)], axis=-1)

    outer = ring(1.0, 0.0)
    return jnp.concatenate([ring(0.5, 0.0), outer]), jnp.concatenate([ring(0.5, angle), outer])


def lattice(n: int):
    axis = jnp.linspace(-1.25, 1.25, n)
    return jnp.stack(jnp.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)


def displaced(source, target):
    """The smoothest displacement of the kernel that takes each landmark where it goes."""
    kernel = METRIC.kernel
    weights = jnp.linalg.solve(kernel(source, source), target - source)
    return lambda x: x + kernel(x, source) @ weights


def flowed(source, momentum):
    """The flow of the geodesic."""

    def move(x):
        path = shoot(METRIC, Points(), source, momentum, carried=x, num_steps=NUM_STEPS)
        return path.carried[-1]

    return move


def draw(rows, shown, path: Path) -> None:
    figure, axes = viz.new_figure(3, 1, width=4.0, height=4.0)
    ax = axes[0, 0]
    angles = [row["angle"] for row in rows]
    colors = {"displacement": viz.SOURCE, "flow": viz.TARGET}
    for name, color in colors.items():
        least = [row[name]["least determinant"] for row in rows]
        ax.plot(angles, least, "o-", color=color, label=name, markersize=3)
    ax.axhline(0.0, color=viz.INK, lw=0.8, ls=":")
    ax.set_xlabel("angle of the inner ring (degrees)")
    ax.set_title("least determinant of the Jacobian")
    viz.legend(ax)
    for ax, (name, places) in zip(axes[0, 1:], shown.items(), strict=True):
        lines = places.reshape(31, 31, 2)
        ax.plot(lines[..., 0], lines[..., 1], color=colors[name], lw=0.6)
        ax.plot(lines[..., 0].T, lines[..., 1].T, color=colors[name], lw=0.6)
        ax.plot(*np.asarray(rings(np.deg2rad(SHOWN))[1]).T, ".", color=viz.INK)
        ax.set_title(f"{name}, {SHOWN} degrees")
        ax.set_aspect("equal")
    path.write_bytes(viz.to_png(figure, dpi=110, colors=64))


if __name__ == "__main__":
    raise SystemExit(main())
