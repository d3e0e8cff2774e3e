"""Train on real digits with and without a price on the path, and compare.

    python experiments/regularised_digits/run.py            # one seed, under a minute
    python experiments/regularised_digits/run.py --full     # five seeds: the table of the README

Writes `results.json` and `figure.png` into `--out`.
"""

import argparse
import platform
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np

from geojax import io, viz
from geojax.training import TrainConfig, evaluate, fit, load_digits_split, trajectories

HERE = Path(__file__).parent
PLAIN, REGULARISED = "plain", "regularised"
FIGURES = {
    "accuracy": "test accuracy (%)",
    "energy": "path energy",
    "num_evaluations": "evaluations of the velocity",
    "length_over_chord": "length over chord",
    "seconds": "training (s)",
}
COMPARED = {
    "difference accuracy": "accuracy, regularised less plain (points)",
    "ratio energy": "energy, share of the plain one",
    "ratio num_evaluations": "evaluations, share of the plain ones",
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="five seeds instead of one")
    parser.add_argument("--out", type=Path, default=HERE / "outcome", help="folder to write in")
    options = parser.parse_args()
    seeds = range(5) if options.full else range(1)
    split = load_digits_split()
    runs, shown = [], {}
    start = time.perf_counter()
    for seed in seeds:
        config = TrainConfig(seed=seed)
        # the twin first, so that its training carries no compilation of the other
        for name, chosen in ((PLAIN, config.replace(energy_weight=0.0)), (REGULARISED, config)):
            run, view = train(split, name, chosen)
            runs.append(run)
            shown.setdefault(name, view)
            print(line(run), flush=True)
    summary = summarise(runs)
    claims = check(summary)
    results = {
        "config": TrainConfig().to_dict(),
        "split": {"train": len(split.train), "test": len(split.test)},
        "runs": runs,
        "summary": summary,
        "claims": claims,
        "seconds": round(time.perf_counter() - start, 1),
        "versions": {name: version(name) for name in ("jax", "flax", "diffrax", "optax")}
        | {"python": platform.python_version()},
    }
    options.out.mkdir(parents=True, exist_ok=True)
    io.write_json(options.out / "results.json", results)
    draw(summary, shown, options.out / "figure.png")
    print(table(summary))
    for claim, held in claims.items():
        print(f"{'holds' if held else 'FAILS':6} on every seed: {claim}")
    return 0 if all(claims.values()) else 1


def train(split, name: str, config: TrainConfig):
    """One training: its figures, and what the picture shows of it."""
    start = time.perf_counter()
    fitted = fit(split.train, config)
    seconds = time.perf_counter() - start
    measured = evaluate(fitted.model, split.test)
    figures = measured.figures()
    figures["accuracy"], figures["accuracy_stderr"] = (
        100 * figures[key] for key in ("accuracy", "accuracy_stderr")
    )
    train_accuracy = 100 * evaluate(fitted.model, split.train).accuracy
    run = {
        "name": name, "seed": config.seed, **figures, "train_accuracy": train_accuracy,
        "seconds": seconds,
    }  # fmt: skip
    some = split.test.take(slice(0, 200))
    path = trajectories(fitted.model, some.inputs)
    return run, (np.asarray(path.states), some.labels, fitted.history)


def summarise(runs: list[dict]) -> dict:
    """Mean and standard deviation over the seeds, and ratios seed by seed."""
    summary = {}
    for name in (PLAIN, REGULARISED):
        mine = [run for run in runs if run["name"] == name]
        for key in FIGURES:
            values = [run[key] for run in mine]
            summary[f"{name} {key}"] = mean_and_spread(values)
    pairs = list(zip(runs[::2], runs[1::2], strict=True))
    for key in ("energy", "num_evaluations"):
        summary[f"ratio {key}"] = mean_and_spread([r[key] / p[key] for p, r in pairs])
    gains = [r["accuracy"] - p["accuracy"] for p, r in pairs]
    summary["difference accuracy"] = mean_and_spread(gains)
    return summary


def mean_and_spread(values: list[float]) -> dict[str, float]:
    return {
        "mean": float(np.mean(values)),
        "spread": float(np.std(values, ddof=1)) if len(values) > 1 else 0.0,
        "least": float(np.min(values)),
        "most": float(np.max(values)),
    }


def check(summary: dict) -> dict[str, bool]:
    """The claim in its parts, each held to the worst of the seeds."""
    return {
        "plain accuracy at least 97.5 %": summary["plain accuracy"]["least"] >= 97.5,
        "regularised accuracy at least 97.5 %": summary["regularised accuracy"]["least"] >= 97.5,
        "at most 5 % of the energy": summary["ratio energy"]["most"] <= 0.05,
        "at most 0.7 of the evaluations": summary["ratio num_evaluations"]["most"] <= 0.7,
        "at most 0.5 points less accurate": summary["difference accuracy"]["least"] >= -0.5,
    }


def line(run: dict) -> str:
    return (
        f"seed {run['seed']} {run['name']:12} accuracy {run['accuracy']:.2f} %, energy "
        f"{run['energy']:.4g}, evaluations {run['num_evaluations']:.2f}, length over chord "
        f"{run['length_over_chord']:.4f}, {run['seconds']:.1f} s"
    )


def table(summary: dict) -> str:
    """The table of the README."""

    def cell(name: str) -> str:
        values = summary[name]
        return f"{values['mean']:.4g} ± {values['spread']:.2g}"

    rows = [
        [label, cell(f"{PLAIN} {key}"), cell(f"{REGULARISED} {key}")]
        for key, label in FIGURES.items()
    ]
    rows += [[label, "", cell(name)] for name, label in COMPARED.items()]
    lines = ["| | plain | regularised |", "|---|---|---|"]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def draw(summary: dict, shown: dict, path: Path) -> None:
    """Bars above, paths and energy below."""
    figure, axes = viz.new_figure(3, 2, width=4.2, height=3.6)
    for ax, key in zip(axes[0], ("accuracy", "energy", "num_evaluations"), strict=True):
        values = {name: summary[f"{name} {key}"] for name in (PLAIN, REGULARISED)}
        viz.plot_comparison(
            {name: value["mean"] for name, value in values.items()},
            ax,
            spread={name: value["spread"] for name, value in values.items()},
            title=FIGURES[key],
            form="{:.4g}",
        )
    plane = viz.principal_plane(np.concatenate([view[0] for view in shown.values()], axis=1))
    for ax, (name, (states, labels, _)) in zip(axes[1], shown.items(), strict=False):
        viz.plot_trajectories(states, ax, labels=labels, plane=plane)
        ax.set_title(f"paths of test digits, {name}")
    histories = {name: view[2]["energy"] for name, view in shown.items()}
    viz.plot_history(histories, axes[1, 2], label="path energy in training", log=True)
    figure.savefig(path, dpi=110, facecolor="white")


if __name__ == "__main__":
    raise SystemExit(main())
