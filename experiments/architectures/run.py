"""Networks of one size on the same digits, each measured as a path, and four claims about them.

    python experiments/architectures/run.py            # one seed, 20 epochs: a few minutes
    python experiments/architectures/run.py --full     # three seeds, all networks: the README

With `--full` each network has the learning rate that is best on samples kept out of training.
Writes `results.json`, `table.md` and `figure.png` into `--out`.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import nnx

from geojax import viz
from geojax.complexity import Measures, measure
from geojax.complexity.measures import LABELS
from geojax.networks import (
    ContinuousClassifier,
    ConvolutionalNetwork,
    FractalNetwork,
    Layers,
    MomentumNetwork,
    PlainNetwork,
    RecurrentNetwork,
    RecursiveNetwork,
    ResidualNetwork,
    ShootingNetwork,
)
from geojax.training import (
    Split,
    TrainConfig,
    evaluate,
    fit,
    load_digits_split,
    stratified_split,
)

HERE = Path(__file__).parent
COLOURS = (viz.SOURCE, viz.TARGET, viz.MOVED, viz.INK)
MEASURED, JACOBIANS = 200, 4  # samples; of the wide states of images one Jacobian is taken
SCALE = 3.0  # of the kernels: about the distance of two digits
FACTORS = (1, 2, 4, 8, 16)
PRICE = 0.05
RATES, RATE = (0.003, 0.01, 0.03), 0.01
VALIDATION = 0.2  # of the training set, kept out of all trainings
PAIRS = ("plain", "residual", "residual, priced", "conv plain", "conv residual")
LONG = ("conv plain", "conv residual", "free, same points")
MOMENTA = ("shooting", "free momenta", "free, same points")


def models(points: np.ndarray) -> dict:
    """Name -> maker from a seed; about 10,800 parameters each, but for the last."""
    momenta = {"depth": 8, "scale": SCALE}
    return {
        "plain": lambda r: PlainNetwork(64, 10, depth=8, width=32, rngs=r),
        "residual": lambda r: ResidualNetwork(64, 10, depth=8, width=32, rngs=r),
        "residual, priced": lambda r: ResidualNetwork(64, 10, depth=8, width=32, rngs=r),
        "conv plain": lambda r: convolutional(False, r),
        "conv residual": lambda r: convolutional(True, r),
        "continuous": lambda r: ContinuousClassifier(64, 10, widths=(77,), rngs=r),
        "fractal": lambda r: FractalNetwork(64, 10, depth=2, columns=3, width=25, rngs=r),
        "recurrent": lambda r: RecurrentNetwork(16, 4, 10, width=97, cell="plain", rngs=r),
        "gated": lambda r: RecurrentNetwork(16, 4, 10, width=69, rngs=r),
        "recursive": lambda r: RecursiveNetwork(4, 4, 10, width=69, rngs=r),
        "shooting": lambda r: ShootingNetwork(64, 10, points=points[:80], **momenta, rngs=r),
        "free momenta": lambda r: MomentumNetwork(64, 10, points=points[:18], **momenta, rngs=r),
        "free, same points": lambda r: MomentumNetwork(
            64, 10, points=points[:80], **momenta, rngs=r
        ),
    }


def convolutional(residual: bool, rngs: nnx.Rngs) -> ConvolutionalNetwork:
    return ConvolutionalNetwork(
        (8, 8, 1), 10, channels=17, stages=(2, 2), residual=residual, rngs=rngs
    )


class Trained(NamedTuple):
    """A network of one seed, and what was measured of it."""

    model: Any
    measures: Measures
    figures: dict[str, float]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="three seeds, rates by validation")
    parser.add_argument("--epochs", type=int, default=20, help="of each training")
    parser.add_argument("--rates", type=float, nargs="+", help="learning rates to choose among")
    parser.add_argument("--out", type=Path, default=HERE / "outcome", help="folder to write in")
    parser.add_argument("--networks", nargs="+", help="only these, by their names in the table")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    seeds = range(3 if options.full else 1)
    rates = options.rates or (RATES if options.full else (RATE,))
    split = load_digits_split()
    part = stratified_split(split.train, test_fraction=VALIDATION)
    chosen = models(part.train.inputs)
    names = options.networks or [name for name in chosen if options.full or name not in LONG]
    found, tried = {}, {}
    for name in names:
        start = time.perf_counter()
        config = TrainConfig(
            epochs=options.epochs, energy_weight=PRICE if "priced" in name else 0.0
        )
        found[name], tried[name] = trained(chosen[name], config, rates, seeds, part, split.test)
        accuracies = [one.figures["test_accuracy"] for one in found[name]]
        print(
            f"{name:20} {time.perf_counter() - start:6.1f} s, validation {tried[name]}, "
            f"test {np.round(accuracies, 3).tolist()}",
            flush=True,
        )
    # name of the claim -> the networks that it is about, and how it is answered for one seed
    answers = {
        "1 short and straight": (("plain", "residual"), claim_1),
        "2 near identity": (("plain", "residual"), claim_2),
        "3 refinement": (("plain", "residual"), claim_3),
        "4 shooting": (("shooting",), claim_4),
        "7 recurrent": (("recurrent", "gated"), claim_7),
    }
    by_seed = [{name: each[k] for name, each in found.items()} for k in range(len(seeds))]
    claims = {
        name: over_seeds([answer(one, split.test) for one in by_seed])
        for name, (need, answer) in answers.items()
        if set(need) <= set(found)
    }
    runs = {name: [one.figures for one in each] for name, each in found.items()}
    results = {
        "seeds": len(seeds),
        "epochs": options.epochs,
        "samples": {"train": len(part.train), "validation": len(part.test)},
        "validation_accuracy_by_rate": tried,
        "factors": FACTORS,  # of the refinements in the claims 2 (the first four) and 3
        "claims": claims,
        "runs": runs,
    }
    (options.out / "results.json").write_text(json.dumps(clean(results), indent=1) + "\n")
    (options.out / "table.md").write_text(table(runs))
    if len(claims) > 2:
        (options.out / "figure.png").write_bytes(draw(found, claims))
    print(table(runs))
    print(json.dumps(clean(claims), indent=1))
    return 0


def trained(make, config, rates, seeds, part: Split, test) -> tuple[list[Trained], dict]:
    """A network for each seed, and the accuracy on the validation samples of each rate, seed 0.

    The rate of all seeds is the one of the best accuracy, of equals the lowest.
    """
    timed = [timed_fit(make, config.replace(learning_rate=rate), part.train) for rate in rates]
    tried = {
        rate: accuracy(model, part.test) for rate, (model, _) in zip(rates, timed, strict=True)
    }
    best = max(rates, key=lambda rate: tried[rate])
    config = config.replace(learning_rate=best)
    found = []
    for seed in seeds:
        # the first has been trained
        model, seconds = (
            timed_fit(make, config.replace(seed=seed), part.train)
            if seed
            else timed[rates.index(best)]
        )
        measures = measured(model, test)
        figures = {"parameters": parameters(model), "seconds": seconds, "learning_rate": best}
        figures |= {"test_accuracy": accuracy(model, test), **measures.figures()}
        found.append(Trained(model, measures, figures))
    return found, tried


def timed_fit(make, config, samples) -> tuple[nnx.Module, float]:
    start = time.perf_counter()
    model = fit(samples, config, model=make(nnx.Rngs(config.seed))).model
    return model, time.perf_counter() - start


def parameters(model: nnx.Module) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(nnx.state(model, nnx.Param)))


def accuracy(model, samples) -> float:
    return evaluate(model, samples).accuracy


def measured(model, test) -> Measures:
    rows = np.linspace(0, len(test) - 1, MEASURED).astype(int)
    count = 1 if isinstance(model, ConvolutionalNetwork) else JACOBIANS
    return measure(model, test.inputs[rows], test.labels[rows], num_jacobians=count)


def over_seeds(trees: list) -> Any:
    """Each number of a tree with its mean and, of more than one, the standard error of that."""
    if isinstance(trees[0], dict):
        return {key: over_seeds([tree[key] for tree in trees]) for key in trees[0]}
    values = np.asarray(trees, float)
    spread = {}
    if len(values) > 1:
        with np.errstate(invalid="ignore"):  # of a condition that is infinite
            spread = {"stderr": (np.std(values, axis=0, ddof=1) / len(values) ** 0.5).tolist()}
    return {"mean": np.mean(values, axis=0).tolist(), **spread}


def claim_1(one, test) -> dict:
    """Residual networks are short, straight curves; plain ones are not."""
    keys = ("length_over_chord", "energy", "step_size")
    return {name: {key: one[name].figures[key] for key in keys} for name in PAIRS if name in one}


def claim_2(one, test) -> dict:
    """Layers near the identity may be deleted at the price h, and swapped at the price h^2."""
    keys = ("accuracy", "deletion_accuracy", "swap_accuracy")
    found = {name: {key: one[name].figures[key] for key in keys} for name in PAIRS if name in one}
    effects = {"deletion": [], "swap": []}
    for factor in FACTORS[:4]:
        finer = one["residual"].model.refined(factor)
        got = measure(finer, test.inputs[:50], group_size=0, num_jacobians=0)
        # pieces of one layer commute: what is left are the borders between layers
        effects["deletion"].append(float(np.mean(got.change(got.deleted))))
        effects["swap"].append(float(np.mean(got.change(got.swapped)[factor - 1 :: factor])))
    steps = 1 / np.array(FACTORS[:4])
    orders = {name: slope(steps, values) for name, values in effects.items()}
    return {"networks": found, "effects": effects, "orders": orders}


def claim_3(one, test) -> dict:
    """Finer residual layers converge in the first order; finer plain layers do not."""
    x = test.inputs[:50]
    model, other = one["residual"].model, one["plain"].model
    finest = model.refined(4 * FACTORS[-1]).path(x)
    errors, plain = [], []
    for factor in FACTORS:
        path = model.refined(factor).path(x)
        errors.append(
            (
                float(np.mean(np.linalg.norm(path.end - finest.end, axis=-1))),
                float(np.mean(np.abs(path.energy - finest.energy))),
            )
        )
        repeated = [layer for layer in other.layers(x) for _ in range(factor)]
        plain.append(float(np.mean(Layers(repeated).path(other.start(x), throw=False).energy)))
    ends, energies = np.transpose(errors)
    return {
        "end_errors": ends.tolist(),
        "energy_errors": energies.tolist(),
        "orders": {
            "end": slope(1 / np.array(FACTORS), ends),
            "energy": slope(1 / np.array(FACTORS), energies),
        },
        "plain_energies": plain,
    }


def claim_4(one, test) -> dict:
    """One momentum does as well as free ones, along a path of constant energy."""
    keys = ("parameters", "test_accuracy", "energy", "geodesic_defect")
    return {
        "energy_drift": float(one["shooting"].model.geodesic().energy_drift),
        **{name: {key: one[name].figures[key] for key in keys} for name in MOMENTA if name in one},
    }


def claim_7(one, test) -> dict:
    """How the derivative of the answer fades backward in time."""
    found = {}
    for name in ("recurrent", "gated"):
        mean = np.mean(one[name].measures.sensitivity, axis=1)
        rate = np.polyfit(np.arange(len(mean)), np.log(mean), 1)[0]
        found[name] = {
            "first_over_last": float(mean[0] / mean[-1]),
            "factor_per_step": float(np.exp(-rate)),
        }
    return found


def slope(x, y) -> float:
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def table(runs) -> str:
    """All measures: means over the seeds, and their standard errors."""
    keys = ["learning_rate", *(key for key in LABELS if key != "accuracy")]
    names = ["parameters", "test accuracy (%)", *(key.replace("_", " ") for key in keys)]
    lines = ["| network | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for name, each in runs.items():
        found = over_seeds(each)
        cells = [f"{found['parameters']['mean']:,.0f}", cell(found["test_accuracy"], 100)]
        cells += [cell(found[key]) if key in found else "–" for key in keys]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def cell(found: dict, factor: float = 1.0) -> str:
    """Mean, and its standard error if it has one."""
    if not np.isfinite(found["mean"]):
        return "–"
    spread = f" ± {factor * found['stderr']:.2g}" if found.get("stderr") else ""
    return f"{factor * found['mean']:.3g}{spread}"


def means_by_layer(each, key: str) -> np.ndarray:
    """Means over the samples, `[layers, seeds]`; NaN for a layer without any."""
    profiles = [one.measures.profiles()[key] for one in each]
    return np.stack([np.mean(profile, axis=1) for profile in profiles], axis=1)


def draw(found, claims) -> bytes:
    figure, axes = viz.new_figure(3, 2, width=4.4, height=3.6)
    first = claims["1 short and straight"]
    bars(axes[0, 0], {name: each["length_over_chord"] for name, each in first.items()},
         "length over chord")  # fmt: skip
    for ax, key in ((axes[0, 1], "deletion_accuracy"), (axes[0, 2], "swap_accuracy")):
        names = [name for name in PAIRS if name in found and "priced" not in name]
        label = "accuracy, a layer deleted" if "del" in key else "accuracy, two layers swapped"
        values = {name: means_by_layer(found[name], key) for name in names}
        viz.plot_profile(values, ax, label=label)
    second, third = claims["2 near identity"], claims["3 refinement"]
    steps = 1 / np.array(FACTORS)
    curves = {
        "deletion": (steps[:4], second["effects"]["deletion"]),
        "swap": (steps[:4], second["effects"]["swap"]),
        "end, against the flow": (steps, third["end_errors"]),
        "energy, against the flow": (steps, third["energy_errors"]),
    }
    for (name, (x, y)), color in zip(curves.items(), COLOURS, strict=False):
        axes[1, 0].errorbar(
            x, y["mean"], yerr=y.get("stderr"), fmt="o-", color=color, markersize=3, capsize=2,
            label=name,
        )  # fmt: skip
    axes[1, 0].set_xscale("log")
    axes[1, 0].set_yscale("log")
    axes[1, 0].set_xlabel("step of the residual layers")
    axes[1, 0].set_ylabel("change")
    viz.legend(axes[1, 0])
    viz.plot_profile(
        {name: means_by_layer(found[name], "sensitivity")
         for name in ("recurrent", "gated") if name in found},
        axes[1, 1], label="derivative of the logits", log=True, x_label="time",
    )  # fmt: skip
    bars(axes[1, 2], {name: over_seeds([one.figures["geodesic_defect"] for one in found[name]])
         for name in (*MOMENTA, "residual") if name in found}, "geodesic defect")  # fmt: skip
    return viz.to_png(figure, dpi=110, colors=128)


def bars(ax, values: dict[str, dict], title: str) -> None:
    """Bars of means with their standard errors."""
    errors = {name: value.get("stderr", 0.0) for name, value in values.items()}
    means = {name: value["mean"] for name, value in values.items()}
    viz.plot_comparison(means, ax, title=title, spread=errors)
    ax.tick_params(axis="x", rotation=25)


def clean(value):
    """JSON has no NaN."""
    if isinstance(value, dict):
        return {key: clean(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [clean(entry) for entry in value]
    if isinstance(value, float):
        return float(f"{value:.6g}") if np.isfinite(value) else None
    return value


if __name__ == "__main__":
    raise SystemExit(main())
