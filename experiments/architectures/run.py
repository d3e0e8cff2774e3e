"""Networks of one size on the same digits, each measured as a path, and four claims about them.

    python experiments/architectures/run.py            # one seed, 20 epochs: a few minutes
    python experiments/architectures/run.py --full     # three seeds, 60 epochs: the README

Writes `results.json`, `table.md` and `figure.png` into `--out`.
"""

import argparse
import json
import time
from pathlib import Path

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
from geojax.training import TrainConfig, evaluate, fit, load_digits_split

HERE = Path(__file__).parent
COLOURS = (viz.SOURCE, viz.TARGET, viz.MOVED, viz.INK)
MEASURED, JACOBIANS = 200, 4  # samples; of the wide states of images one Jacobian is taken
SCALE = 3.0  # of the kernels: about the distance of two digits
FACTORS = (1, 2, 4, 8, 16)
PRICE = 0.05
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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="three seeds of 60 epochs")
    parser.add_argument("--out", type=Path, default=HERE / "outcome", help="folder to write in")
    parser.add_argument("--networks", nargs="+", help="only these, by their names in the table")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    seeds, epochs = (range(3), 60) if options.full else (range(1), 20)
    split = load_digits_split()
    runs, last, trained = {}, {}, {}
    chosen = models(split.train.inputs)
    names = options.networks or [name for name in chosen if options.full or name not in LONG]
    chosen = {name: chosen[name] for name in names}
    for name, make in chosen.items():
        runs[name] = []
        for seed in seeds:
            start = time.perf_counter()
            config = TrainConfig(
                epochs=epochs,
                seed=seed,
                learning_rate=1e-2,
                energy_weight=PRICE if "priced" in name else 0.0,
            )
            trained[name] = fit(split.train, config, model=make(nnx.Rngs(seed))).model
            seconds = time.perf_counter() - start
            last[name] = measured(trained[name], split.test)
            runs[name].append(
                {
                    "parameters": parameters(trained[name]),
                    "seconds": seconds,
                    "test_accuracy": accuracy(trained[name], split.test),
                    **last[name].figures(),
                }
            )
        found = summary(runs)[name]["test_accuracy"]
        print(f"{name:20} {time.perf_counter() - start:6.1f} s, accuracy {found:.3f}", flush=True)
    # name of the claim -> the networks that it is about, and how it is answered
    answers = {
        "1 short and straight": (("plain", "residual"), lambda: claim_1(runs)),
        "2 near identity": (("plain", "residual"), lambda: claim_2(trained, runs, split.test)),
        "3 refinement": (("plain", "residual"), lambda: claim_3(trained, split.test)),
        "4 shooting": (("shooting",), lambda: claim_4(trained, runs)),
        "7 recurrent": (("recurrent", "gated"), lambda: claim_7(last)),
    }
    claims = {name: answer() for name, (need, answer) in answers.items() if set(need) <= set(runs)}
    results = {"seeds": len(seeds), "epochs": epochs, "runs": runs, "claims": claims}
    (options.out / "results.json").write_text(json.dumps(clean(results), indent=1) + "\n")
    (options.out / "table.md").write_text(table(runs))
    if len(claims) > 2:
        (options.out / "figure.png").write_bytes(draw(last, claims))
    print(table(runs))
    print(json.dumps(clean(claims), indent=1))
    return 0


def parameters(model: nnx.Module) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(nnx.state(model, nnx.Param)))


def accuracy(model, test) -> float:
    return evaluate(model, test).accuracy


def measured(model, test) -> Measures:
    rows = np.linspace(0, len(test) - 1, MEASURED).astype(int)
    count = 1 if isinstance(model, ConvolutionalNetwork) else JACOBIANS
    return measure(model, test.inputs[rows], test.labels[rows], num_jacobians=count)


def summary(runs) -> dict:
    """Means over the seeds."""
    return {
        name: {key: float(np.mean([run[key] for run in found])) for key in found[0]}
        for name, found in runs.items()
    }


def claim_1(runs) -> dict:
    """Residual networks are short, straight curves; plain ones are not."""
    keys = ("length_over_chord", "energy", "step_size")
    return {name: {key: summary(runs)[name][key] for key in keys} for name in PAIRS if name in runs}


def claim_2(trained, runs, test) -> dict:
    """Layers near the identity may be deleted at the price h, and swapped at the price h^2."""
    names = [name for name in PAIRS if name in runs]
    keys = ("accuracy", "deletion_accuracy", "swap_accuracy")
    found = {name: {key: summary(runs)[name][key] for key in keys} for name in names}
    effects = {"deletion": [], "swap": []}
    for factor in FACTORS[:4]:
        finer = trained["residual"].refined(factor)
        got = measure(finer, test.inputs[:50], group_size=0, num_jacobians=0)
        # pieces of one layer commute: what is left are the borders between layers
        effects["deletion"].append(float(np.mean(got.change(got.deleted))))
        effects["swap"].append(float(np.mean(got.change(got.swapped)[factor - 1 :: factor])))
    steps = 1 / np.array(FACTORS[:4])
    orders = {name: slope(steps, values) for name, values in effects.items()}
    return {"networks": found, "steps": steps.tolist(), "effects": effects, "orders": orders}


def claim_3(trained, test) -> dict:
    """Finer residual layers converge in the first order; finer plain layers do not."""
    x = test.inputs[:50]
    model = trained["residual"]
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
        start = trained["plain"].start(x)
        repeated = [layer for layer in trained["plain"].layers(x) for _ in range(factor)]
        plain.append(float(np.mean(Layers(repeated).path(start, throw=False).energy)))
    ends, energies = np.transpose(errors)
    return {
        "factors": FACTORS,
        "end_errors": ends.tolist(),
        "energy_errors": energies.tolist(),
        "orders": {
            "end": slope(1 / np.array(FACTORS), ends),
            "energy": slope(1 / np.array(FACTORS), energies),
        },
        "plain_energies": plain,
    }


def claim_4(trained, runs) -> dict:
    """One momentum does as well as free ones, along a path of constant energy."""
    model = trained["shooting"]
    means, keys = summary(runs), ("parameters", "test_accuracy", "geodesic_defect")
    names = [name for name in MOMENTA if name in runs]
    return {
        "energy_drift": float(model.geodesic().energy_drift),
        **{name: {key: means[name][key] for key in keys} for name in names},
    }


def claim_7(last) -> dict:
    """How the derivative of the answer fades backward in time."""
    found = {}
    for name in ("recurrent", "gated"):
        mean = np.mean(last[name].sensitivity, axis=1)
        rate = np.polyfit(np.arange(len(mean)), np.log(mean), 1)[0]
        found[name] = {
            "first_over_last": float(mean[0] / mean[-1]),
            "factor_per_step": float(np.exp(-rate)),
        }
    return found


def slope(x, y) -> float:
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def table(runs) -> str:
    """The table of the README."""
    means = summary(runs)
    keys = ["parameters", "test_accuracy", *(key for key in LABELS if key != "accuracy")]
    lines = ["| network | " + " | ".join(key.replace("_", " ") for key in keys) + " |"]
    lines.append("|---" * (len(keys) + 1) + "|")
    for name, found in means.items():
        cells = [
            f"{found[key]:.3g}" if np.isfinite(found.get(key, np.nan)) else "–" for key in keys
        ]
        cells[0], cells[1] = f"{found['parameters']:,.0f}", f"{100 * found['test_accuracy']:.1f} %"
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def draw(last, claims) -> bytes:
    figure, axes = viz.new_figure(3, 2, width=4.4, height=3.6)
    first = claims["1 short and straight"]
    viz.plot_comparison(
        {name: found["length_over_chord"] for name, found in first.items()},
        axes[0, 0], title="length over chord",
    )  # fmt: skip
    axes[0, 0].tick_params(axis="x", rotation=25)
    for ax, key in ((axes[0, 1], "deletion_accuracy"), (axes[0, 2], "swap_accuracy")):
        names = [name for name in PAIRS if name in last and "priced" not in name]
        label = f"accuracy, one layer {'deleted' if 'del' in key else 'swapped with the next'}"
        viz.plot_profile({name: last[name].profiles()[key] for name in names}, ax, label=label)
    second, third = claims["2 near identity"], claims["3 refinement"]
    steps = 1 / np.array(third["factors"])
    curves = {
        "deletion": (second["steps"], second["effects"]["deletion"]),
        "swap": (second["steps"], second["effects"]["swap"]),
        "end, against the flow": (steps, third["end_errors"]),
        "energy, against the flow": (steps, third["energy_errors"]),
    }
    for (name, (x, y)), color in zip(curves.items(), COLOURS, strict=False):
        axes[1, 0].loglog(x, y, "o-", color=color, markersize=3, label=name)
    axes[1, 0].set_xlabel("step of the residual layers")
    axes[1, 0].set_ylabel("change")
    viz.legend(axes[1, 0])
    viz.plot_profile(
        {name: last[name].sensitivity for name in ("recurrent", "gated") if name in last},
        axes[1, 1], label="derivative of the logits", log=True, x_label="time",
    )  # fmt: skip
    viz.plot_comparison(
        {name: last[name].figures()["geodesic_defect"] for name in
         (*MOMENTA, "residual") if name in last},
        axes[1, 2], title="geodesic defect",
    )  # fmt: skip
    axes[1, 2].tick_params(axis="x", rotation=25)
    return viz.to_png(figure, dpi=110, colors=128)


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
