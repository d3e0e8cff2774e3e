"""How far local maps and scrambled ones are from the identity, as far generators get dear.

    python experiments/locality/run.py            # rotations of 6 coordinates, some minutes
    python experiments/locality/run.py --full     # of 8 coordinates, more prices and draws

Writes `results.json` and `figure.png` into `--out`.
"""

import argparse
import platform
from importlib.metadata import version
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from geojax import io, viz
from geojax.actions import Rotations
from geojax.geodesics import log
from geojax.metrics import locality

HERE = Path(__file__).parent
KINDS = ("local", "permuted", "random")
LAYERS, ANGLE = 6, 0.8
TOLERANCE = 1e-6


def main() -> int:
    jax.config.update("jax_enable_x64", True)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="eight coordinates, more draws")
    parser.add_argument("--out", type=Path, default=HERE / "outcome", help="folder to write in")
    options = parser.parse_args()
    n, draws = (8, 8) if options.full else (6, 6)
    prices = [2.0 ** (0.5 * k) for k in range(13)]
    curves = {kind: [] for kind in KINDS}
    for seed in range(draws):
        for kind, target in zip(KINDS, targets(n, seed), strict=True):
            curves[kind].append(distances(target, prices))
        ends = ", ".join(f"{kind} {curves[kind][-1][-1]:.2f}" for kind in KINDS)
        print(f"draw {seed}: distance at price {prices[-1]:g}: {ends}", flush=True)
    relative = whole(curves)
    results = {
        "coordinates": n,
        "prices": prices,
        "distances": {
            kind: [[x if np.isfinite(x) else None for x in draw] for draw in found]
            for kind, found in curves.items()
        },
        "slopes": {kind: slopes(prices, found) for kind, found in relative.items()},
        "draws": {"all": draws, "kept": len(relative["local"])},
        "versions": {name: version(name) for name in ("jax", "diffrax")}
        | {"python": platform.python_version()},
    }
    options.out.mkdir(parents=True, exist_ok=True)
    io.write_json(options.out / "results.json", results)
    draw(prices, relative, options.out / "figure.png")
    for kind, found in results["slopes"].items():
        shown = ", ".join(f"{name} {x:.3f} ± {error:.3f}" for name, (x, error) in found.items())
        print(f"{kind:9} slope of log distance against log price: {shown}")
    return 0


def targets(n: int, seed: int):
    """A map of local layers, the same with its coordinates permuted, and one of random direction.

    All are at the same distance from the identity where all generators cost the same.
    """
    rng = np.random.default_rng(seed)
    layers = np.zeros((LAYERS, n, n))
    inner = np.arange(n - 1)
    layers[:, inner, inner + 1] = rng.normal(size=(LAYERS, n - 1)) * ANGLE / LAYERS**0.5
    local = jnp.eye(n)
    for generator in layers - np.swapaxes(layers, 1, 2):
        local = jax.scipy.linalg.expm(jnp.asarray(generator) / LAYERS**0.5) @ local
    order = rng.permutation(n)
    straight = distances(local, [1.0])[0]
    free = rng.normal(size=(n, n))
    free = free - free.T
    random = jax.scipy.linalg.expm(jnp.asarray(free * straight / np.linalg.norm(free)))
    return local, local[order][:, order], random


def distances(target, prices) -> list[float]:
    """Lengths of geodesics to a rotation, followed from the isotropic one as the price rises.

    Upper bounds of the distance: a shorter geodesic may not be among those that are followed.
    """
    n = target.shape[0]
    action, start = Rotations(n), jnp.eye(n)
    momentum, lengths = None, []
    for price in prices:
        metric = locality(n, 1, price)
        found = log(metric, action, start, target, initial=momentum, num_steps=40, throw=False)
        if float(found.residual) < TOLERANCE:
            momentum = found.momentum
            lengths.append(float(found.distance))
        else:
            lengths.append(np.nan)
    return lengths


def whole(curves) -> dict[str, np.ndarray]:
    """Lengths over those at price 1, of the draws of which all geodesics were found."""
    found = {kind: np.asarray(curves[kind]) for kind in KINDS}
    kept = np.all([np.isfinite(x).all(axis=1) for x in found.values()], axis=0)
    return {kind: x[kept] / x[kept, :1] for kind, x in found.items()}


def slopes(prices, relative) -> dict[str, list[float]]:
    """Slope of each curve in the first and the last third of the prices: mean, standard error."""
    x, third = np.log(prices), len(prices) // 3
    parts = {"first third": slice(0, third + 1), "last third": slice(-third - 1, None)}
    found = {}
    for name, part in parts.items():
        each = [np.polyfit(x[part], y[part], 1)[0] for y in np.log(relative)]
        error = np.std(each, ddof=1) / len(each) ** 0.5 if len(each) > 1 else 0.0
        found[name] = [float(np.mean(each)), float(error)]
    return found


def draw(prices, relative, path: Path) -> None:
    figure, axes = viz.new_figure(1, 1, width=5.4, height=4.0)
    ax = axes[0, 0]
    for kind, color in zip(KINDS, (viz.SOURCE, viz.TARGET, viz.MOVED), strict=True):
        ax.loglog(prices, relative[kind].T, color=color, lw=0.5, alpha=0.5)
        mean = np.exp(np.mean(np.log(relative[kind]), axis=0))
        ax.loglog(prices, mean, color=color, lw=2, label=kind)
    ax.loglog(prices, np.sqrt(prices), ls=":", color=viz.INK, label="square root")
    ax.set_xlabel("price of far generators")
    ax.set_ylabel("length of the geodesic over that at price 1")
    viz.legend(ax)
    path.write_bytes(viz.to_png(figure, dpi=110, colors=64))


if __name__ == "__main__":
    raise SystemExit(main())
