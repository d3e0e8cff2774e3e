"""MNIST-1D by networks of geojax beside its published baselines, each measured as a path.

    pip install mnist1d                            # makes the 5,000 signals on this machine
    python experiments/mnist1d/run.py              # one seed, 50 epochs: a few minutes
    python experiments/mnist1d/run.py --full       # three seeds, 100 epochs: the README
    python experiments/mnist1d/run.py --select     # chooses the settings anew

Writes `results.json`, `table.md` and `figure.png` into `--out`. The settings of each network are
those of `selection.json`, which `--select` finds on a part of the training set.
"""

import argparse
import itertools
import json
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

from geojax import viz
from geojax.complexity import Measures, measure
from geojax.networks import (
    ContinuousClassifier,
    ConvolutionalLift,
    ConvolutionalNetwork,
    ConvolutionalVelocity,
    Layers,
    MeanReadout,
    PlainNetwork,
    RecurrentNetwork,
    ResidualNetwork,
)
from geojax.training import Samples, Split, TrainConfig, evaluate, fit
from geojax.viz import style

HERE = Path(__file__).parent
SHAPE = (1, 40, 1)
LENGTH, CLASSES = 40, 10
SIGNAL: dict[str, Any] = {"activation": "silu", "periodic": False}
# Published test accuracy and number of parameters.
PUBLISHED = {
    "logistic regression": (0.32, 410),
    "MLP": (0.68, 15_210),
    "CNN": (0.94, 5_210),
    "GRU": (0.91, 5_134),
}
# Network -> the baseline that it is to meet, with no more parameters.
BASELINES = {
    "logistic regression": "logistic regression",
    "plain MLP": "MLP",
    "residual MLP": "MLP",
    "CNN, flat head": "CNN",
    "CNN": "CNN",
    "residual CNN": "CNN",
    "continuous CNN, flat head": "CNN",
    "continuous CNN": "CNN",
    "gated RNN": "GRU",
}
RATES, NOISES = (3e-3, 1e-2, 3e-2), (0.1, 0.3)
SELECTION_EPOCHS = 50
HELD_OUT = 0.2  # of the training set, to choose the settings on
MEASURED, JACOBIANS = 200, 4  # samples
# What is measured -> how the table calls it.
KEYS = {
    "length_over_chord": "length over chord",
    "energy": "energy",
    "step_size": "step over state",
    "commutator": "commutator",
    "geodesic_defect": "geodesic defect",
    "deletion_accuracy": "accuracy without a layer",
    "swap_accuracy": "accuracy, two layers swapped",
    "first_sensitivity": "derivative, first state",
    "last_sensitivity": "derivative, last state",
}


def make(name: str, rngs: nnx.Rngs) -> Any:
    """A network by its name in the table."""
    wide: dict[str, Any] = {"activation": "silu", "rngs": rngs}
    deep = {**SIGNAL, "channels": 15, "stages": (4,), "kernel_size": (1, 5), "rngs": rngs}
    match name:
        case "logistic regression":
            return Layers([same], head=nnx.Linear(LENGTH, CLASSES, rngs=rngs))
        case "plain MLP":
            return PlainNetwork(LENGTH, CLASSES, depth=2, width=74, **wide)
        case "residual MLP":
            return ResidualNetwork(LENGTH, CLASSES, depth=8, width=40, **wide)
        case "CNN, flat head":
            return ConvolutionalNetwork(
                SHAPE, CLASSES, residual=False, head="flat", rngs=rngs,
                channels=18, stages=(1, 1, 1), kernel_size=(1, 3), **SIGNAL,
            )  # fmt: skip
        case "CNN" | "residual CNN":
            return ConvolutionalNetwork(SHAPE, CLASSES, residual="residual" in name, **deep)
        case "continuous CNN" | "continuous CNN, flat head":
            flat = "flat" in name
            channels = 14 if flat else 20
            lift = ConvolutionalLift(SHAPE, (channels,), kernel_size=(1, 5), rngs=rngs)
            velocity = ConvolutionalVelocity(
                lift.lifted_shape, channels, kernel_size=(1, 5), rngs=rngs, **SIGNAL
            )
            head = None if flat else MeanReadout(channels, CLASSES, rngs=rngs)
            return ContinuousClassifier(
                LENGTH, CLASSES, velocity=velocity, lift=lift, head=head, rngs=rngs
            )
        case "gated RNN":
            return RecurrentNetwork(LENGTH, 1, CLASSES, width=47, rngs=rngs)
    raise ValueError(name)


def same(states):
    """No layer: the input is read as it is."""
    return states


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="three seeds of 100 epochs")
    parser.add_argument("--select", action="store_true", help="choose the settings, train nothing")
    parser.add_argument("--networks", nargs="+", choices=BASELINES, default=list(BASELINES))
    parser.add_argument("--epochs", type=int, help="of each training")
    parser.add_argument("--seeds", type=int, nargs="+", help="of the trainings")
    parser.add_argument("--out", type=Path, default=HERE / "outcome", help="folder to write in")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    split = load()
    if options.select:
        select(split.train, options.networks, options.epochs or SELECTION_EPOCHS, options.out)
        return 0
    places = [folder / "selection.json" for folder in (options.out, HERE / "outcome")]
    settings = chosen(next(place for place in places if place.exists()))
    seeds, epochs = (range(3), 100) if options.full else (range(1), 50)
    seeds, epochs = options.seeds or seeds, options.epochs or epochs
    runs: dict[str, list] = read(options.out / "results.json").get("runs", {})
    for name in options.networks:
        # a run that is cut off goes on with the other networks or seeds
        kept = [row for row in runs.get(name, []) if row["epochs"] == epochs]
        runs[name] = [row for row in kept if row["seed"] not in seeds]
        for seed in seeds:
            start = time.perf_counter()
            model = train(split.train, name, settings[name], epochs, seed).model
            seconds = time.perf_counter() - start
            rows = np.linspace(0, len(split.test) - 1, MEASURED).astype(int)
            found = measure(
                model, split.test.inputs[rows], split.test.labels[rows], num_jacobians=JACOBIANS
            )
            runs[name].append(
                {
                    "epochs": epochs,
                    "seed": seed,
                    "seconds": seconds,
                    "parameters": parameters(model),
                    "test_accuracy": evaluate(model, split.test).accuracy,
                    **{key: value for key, value in found.figures().items() if key in KEYS},
                    "profiles": profiles(found),
                }
            )
            found = runs[name][-1]
            print(name, seed, f"{seconds:.0f} s", found["test_accuracy"], flush=True)
        write(runs, settings, options.out)
    print(table(runs))
    return 0


def write(runs: dict[str, list], settings: dict[str, dict], out: Path) -> None:
    """What was found so far, and the figure."""
    results = {"claims": claims(runs), "settings": settings, "runs": runs}
    (out / "results.json").write_text(json.dumps(rounded(results), indent=1) + "\n")
    (out / "table.md").write_text(table(runs))
    (out / "figure.png").write_bytes(draw(runs))


def load() -> Split:
    """The 4,000 and 1,000 signals, as the authors' package makes them."""
    try:
        from mnist1d.data import get_dataset_args, make_dataset
    except ImportError as error:
        raise SystemExit(f"{error}; the data set comes with: pip install mnist1d") from error
    found = make_dataset(get_dataset_args())
    return Split(
        *(
            Samples(found[x].astype(np.float32), found[y], CLASSES, "MNIST-1D")
            for x, y in (("x", "y"), ("x_test", "y_test"))
        )
    )


def train(data: Samples, name: str, setting: dict, epochs: int, seed: int, **options: Any):
    config = TrainConfig(
        epochs=epochs,
        batch_size=100,
        seed=seed,
        learning_rate=setting["learning_rate"],
        input_noise=setting["input_noise"],
        energy_weight=0.0,
        **options,
    )
    return fit(data, config, model=make(name, nnx.Rngs(seed)))


def select(data: Samples, names: list[str], epochs: int, out: Path) -> None:
    """Accuracies on a part of the training set for every setting; no test sample is seen."""
    found = read(out / "selection.json")
    for name in names:
        rows = []
        for rate, noise in itertools.product(RATES, NOISES):
            row = {"learning_rate": rate, "input_noise": noise}
            history = train(data, name, row, epochs, 0, validation_fraction=HELD_OUT).history
            # of the last epochs: one alone is a matter of luck
            row["validation_accuracy"] = float(np.mean(history["validation_accuracy"][-5:]))
            rows.append(row)
            print(name, row, flush=True)
        found[name] = rows
    (out / "selection.json").write_text(json.dumps(rounded(found), indent=1) + "\n")


def chosen(path: Path) -> dict[str, dict]:
    """The setting of each network with the highest accuracy on what was held out."""
    return {
        name: max(rows, key=lambda row: row["validation_accuracy"])
        for name, rows in read(path).items()
    }


def read(path: Path) -> dict:
    return json.loads(path.read_text()) if path.exists() else {}


def parameters(model: nnx.Module) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(nnx.state(model, nnx.Param)))


def profiles(found: Measures) -> dict[str, list[float]]:
    """Means over the samples, layer by layer."""
    keys = ("step_size", "deletion_accuracy", "sensitivity")
    return {key: np.mean(found.profiles()[key], axis=1).tolist() for key in keys}


def claims(runs: dict[str, list]) -> dict[str, dict]:
    """Whether each network meets its baseline in the mean over the seeds, and by how much."""
    found = {}
    for name in (name for name in BASELINES if name in runs):
        rows = runs[name]
        accuracies = [row["test_accuracy"] for row in rows]
        figure, size = PUBLISHED[BASELINES[name]]
        found[name] = {
            "published": figure,
            "test_accuracy": float(np.mean(accuracies)),
            "spread": float(np.std(accuracies, ddof=1)) if len(rows) > 1 else 0.0,
            "margin": float(np.mean(accuracies)) - figure,
            "met": bool(np.mean(accuracies) >= figure),
            "no_larger": rows[0]["parameters"] <= size,
        }
    return found


def mean(rows: list[dict], key: str) -> float:
    """Mean over the seeds; NaN where a measure does not apply."""
    values = [row.get(key) for row in rows]
    return float("nan") if None in values else float(np.mean(values))


def table(runs: dict[str, list]) -> str:
    """The table of the README: means over the seeds."""
    heads = ["network", "parameters", "test accuracy", "published", *KEYS.values()]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for name, claim in claims(runs).items():
        accuracy = f"{100 * claim['test_accuracy']:.1f} ± {100 * claim['spread']:.1f} %"
        size = f"{mean(runs[name], 'parameters'):,.0f}"
        cells = [name, size, accuracy, f"{100 * claim['published']:.0f} %"]
        for value in (mean(runs[name], key) for key in KEYS):
            cells.append(f"{value:.3g}" if np.isfinite(value) else "–")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def draw(runs: dict[str, list]) -> bytes:
    figure, axes = viz.new_figure(3, 2, width=5.0, height=3.8)
    found = claims(runs)
    colours = dict(zip(BASELINES, style.CLASSES, strict=False))
    bars = {
        "test_accuracy": "test accuracy (%), published as lines",
        "length_over_chord": "length over chord",
        "geodesic_defect": "geodesic defect, logarithmic",
    }
    for ax, (key, title) in zip(axes[0], bars.items(), strict=True):
        values = {name: mean(runs[name], key) for name in found}
        if key == "test_accuracy":
            values = {name: 100 * value for name, value in values.items()}
            for k, claim in enumerate(found.values()):
                ax.hlines(100 * claim["published"], k - 0.45, k + 0.45, viz.INK, linewidth=1.5)
        values = {name: value for name, value in values.items() if np.isfinite(value)}
        viz.plot_comparison(values, ax, title=title)
        for bar, name in zip(ax.patches, values, strict=True):
            bar.set_color(colours[name])
        if key == "geodesic_defect" and values:
            ax.set_yscale("log")
        ax.tick_params(axis="x", rotation=40)
        for label in ax.get_xticklabels():
            label.set(ha="right", rotation_mode="anchor", fontsize=8)
    curves = {
        "step_size": (KEYS["step_size"], "log"),
        "deletion_accuracy": (KEYS["deletion_accuracy"], "linear"),
        "sensitivity": ("derivative of the logits in the state", "log"),
    }
    for ax, (key, (label, scale)) in zip(axes[1], curves.items(), strict=True):
        for name in found:
            rows = [row["profiles"][key] for row in runs[name]]
            values = np.array([[np.nan if v is None else v for v in row] for row in rows])
            values = values.mean(axis=0)
            known = np.isfinite(values) & ((values > 0) | (scale == "linear"))
            # of forty layers and of two
            depth = np.arange(len(values))[known] / max(len(values) - 1, 1)
            ax.plot(depth, values[known], "o-", color=colours[name], markersize=3, label=name)
        if any(len(line.get_ydata()) for line in ax.lines):  # nothing has no logarithm
            ax.set_yscale(scale)
        ax.set_xlabel("depth: first layer 0, last 1")
        ax.set_ylabel(label)
    viz.legend(axes[1, 2], loc="center left", bbox_to_anchor=(1.0, 0.5))
    return viz.to_png(figure, dpi=110, colors=128)


def rounded(value: Any) -> Any:
    """Six digits; JSON has no NaN."""
    if isinstance(value, dict):
        return {key: rounded(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(entry) for entry in value]
    if isinstance(value, float):
        return float(f"{value:.6g}") if np.isfinite(value) else None
    return value


if __name__ == "__main__":
    raise SystemExit(main())
