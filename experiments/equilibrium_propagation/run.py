"""Train a network that answers at rest by equilibrium propagation, beside back-propagation.

    python experiments/equilibrium_propagation/run.py            # digits of scikit-learn
    GEOJAX_DATA=folder python experiments/equilibrium_propagation/run.py --full

`--full` needs the four files of MNIST, gzipped, in `folder/mnist`.
Writes `results.json` (or `results_full.json`) and a figure into `--out`.
"""

import argparse
import os
import platform
import time
from importlib.metadata import version
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from geojax import io, viz
from geojax.networks import EquilibriumNetwork
from geojax.training import (
    BackPropagation,
    EquilibriumMethod,
    Holomorphic,
    Implicit,
    OneSided,
    Samples,
    Split,
    Symmetric,
    equilibrium_accuracy,
    equilibrium_epoch,
    equilibrium_init,
    fit_equilibrium,
    load_digits_split,
    load_idx_split,
)

HERE = Path(__file__).parent
BETAS = (0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002)
ESTIMATORS = {
    "one-sided": (lambda beta, **options: OneSided(beta, **options), 1),
    "symmetric": (lambda beta, **options: Symmetric(beta, **options), 2),
    "four points of a circle": (lambda beta, **options: Holomorphic(beta, 4, **options), 4),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="MNIST instead of small digits")
    parser.add_argument("--epochs", type=int, help="passes over the training set")
    parser.add_argument("--out", type=Path, default=HERE / "outcome", help="folder to write in")
    options = parser.parse_args()
    layers = (256, 256) if options.full else (64, 64)
    split = mnist() if options.full else load_digits_split()
    epochs = options.epochs or (20 if options.full else 60)
    trained, history, models = train(split, layers, epochs)
    ratio = cost_ratio(split.train, models, repeats=3 if options.full else 9)
    print(f"an epoch costs {ratio['ratio']:.2f} times that of back-propagation", flush=True)
    slopes = orders()
    largest = 98.0 if options.full else 95.0
    claims = {
        f"test accuracy at least {largest} %": trained["accuracy"] >= largest,
        "cosine to the implicit gradient at least 0.999": trained["least_cosine"] >= 0.999,
        "an epoch costs at most 6 times that of back-propagation": ratio["ratio"] <= 6,
        "the errors have the orders of the theory within 0.05": all(
            abs(slopes[name]["slope"] - order) < 0.05 for name, (_, order) in ESTIMATORS.items()
        ),
    }
    results = {
        "data": split.train.name,
        "layers": [split.train.num_features, *layers, split.train.num_classes],
        "training": trained,
        "cost": ratio,
        "orders": slopes,
        "history": {name: values.tolist() for name, values in history.items()},
        "claims": claims,
        "versions": {name: version(name) for name in ("jax", "flax", "optax")}
        | {"python": platform.python_version()},
    }
    options.out.mkdir(parents=True, exist_ok=True)
    name = "_full" if options.full else ""
    io.write_json(options.out / f"results{name}.json", results)
    draw(slopes, history, options.out / f"figure{name}.png")
    for claim, held in claims.items():
        print(f"{'holds' if held else 'FAILS':6} {claim}")
    return 0 if all(claims.values()) else 1


def mnist() -> Split:
    """The standard split, pixels in 0 to 1."""
    folder = os.environ.get("GEOJAX_DATA")
    if folder is None:
        raise SystemExit("set GEOJAX_DATA to the folder that holds mnist/*.gz")
    return load_idx_split(Path(folder) / "mnist")


def network(samples: Samples, layers, seed: int = 0) -> EquilibriumNetwork:
    return EquilibriumNetwork(
        samples.num_features,
        layers,
        samples.num_classes,
        response="logistic",
        rngs=nnx.Rngs(seed),
    )


def estimator() -> Symmetric:
    # a strong pull: what rounding leaves of the contrast falls as its inverse
    return Symmetric(0.5, tolerance=1e-5, max_sweeps=60)


def train(split: Split, layers, epochs: int) -> tuple[dict, dict, dict]:
    """Train by equilibrium propagation, and the same layers by back-propagation.

    Returns:
        Figures, the history of the first, and both models.
    """

    def show(number, row):
        shown = ", ".join(f"{name} {value:.4g}" for name, value in row.items())
        print(f"epoch {number}: {shown}", flush=True)

    start = time.perf_counter()
    done = fit_equilibrium(
        split.train, network(split.train, layers), estimator=estimator(), epochs=epochs,
        cosine_every=10, callback=show,
    )  # fmt: skip
    seconds = time.perf_counter() - start
    twin = fit_equilibrium(
        split.train, network(split.train, layers), estimator=BackPropagation(), epochs=epochs,
        cosine_every=0,
    )  # fmt: skip
    scores = twin.model.feed_forward(jnp.asarray(split.test.inputs))[-1]
    figures = {
        "accuracy": 100 * equilibrium_accuracy(done.model, split.test),
        "train_accuracy": 100 * equilibrium_accuracy(done.model, split.train),
        "back_propagation_accuracy": float(
            100 * np.mean(np.argmax(np.asarray(scores), axis=-1) == split.test.labels)
        ),
        "epochs": epochs,
        "seconds": seconds,
        "least_cosine": float(done.history["cosine"].min()),
        "largest_residual": float(done.history["residual"].max()),
        "largest_pulled_residual": float(done.history["pulled_residual"].max()),
        "sweeps": float(done.history["num_sweeps"].mean()),
        "pulled_sweeps": float(done.history["num_pulled_sweeps"].mean()),
    }
    return figures, done.history, {"equilibrium": done.model, "back_propagation": twin.model}


def cost_ratio(samples: Samples, models: dict, repeats: int) -> dict:
    """Seconds of an epoch by either gradient, warm and taken in turn.

    Both go on from the trained models: couplings that have grown need more sweeps.
    """
    inputs, labels = jnp.asarray(samples.inputs), jnp.asarray(samples.labels)
    seconds: dict[str, list[float]] = {name: [] for name in models}
    methods = {
        "equilibrium": EquilibriumMethod(estimator(), optax.adam(1e-5), 0),
        "back_propagation": EquilibriumMethod(BackPropagation(), optax.adam(1e-5), 0),
    }
    states = {
        name: equilibrium_init(model, jax.random.key(0), methods[name])
        for name, model in models.items()
    }
    for number in range(repeats + 1):
        for name, method in methods.items():
            start = time.perf_counter()
            states[name], _ = equilibrium_epoch(states[name], inputs, labels, method, 100)
            jax.block_until_ready(states[name].variables)
            if number:
                seconds[name].append(time.perf_counter() - start)
    medians = {name: float(np.median(values)) for name, values in seconds.items()}
    return {
        **{f"{name}_seconds": value for name, value in medians.items()},
        "ratio": medians["equilibrium"] / medians["back_propagation"],
        "ratios": [e / b for e, b in zip(*seconds.values(), strict=True)],
    }


def orders() -> dict:
    """Relative error of each estimate against beta, on a small smooth network in float64."""
    with jax.enable_x64(True):
        model = EquilibriumNetwork(
            5, (7, 6), 3, response="logistic", dtype=jnp.float64, rngs=nnx.Rngs(3)
        )
        inputs = jax.random.uniform(jax.random.key(0), (4, 5))
        targets = jax.nn.one_hot(jnp.array([0, 1, 2, 0]), 3, dtype=jnp.float64)
        exact = dict(tolerance=1e-14, max_sweeps=400)
        graph, variables = nnx.split(model)

        def gradient(chosen):
            run = jax.jit(lambda v: chosen(nnx.merge(graph, v), inputs, targets)[0])
            return run(variables)

        truth = gradient(Implicit(**exact))
        found = {}
        for name, (make, _) in ESTIMATORS.items():
            errors = [
                optax.tree.norm(optax.tree.sub(gradient(make(beta, **exact)), truth))
                / optax.tree.norm(truth)
                for beta in BETAS
            ]
            errors = [float(error) for error in errors]
            # the limit of small pulls, where round-off over beta does not show yet
            near = [k for k, beta in enumerate(BETAS) if beta <= 0.1 and errors[k] > 1e-10][-2:]
            rise = np.log(errors[near[0]] / errors[near[1]])
            slope = float(rise / np.log(BETAS[near[0]] / BETAS[near[1]]))
            found[name] = {"betas": list(BETAS), "errors": errors, "slope": slope}
            print(f"{name}: order {slope:.3f}", flush=True)
    return found


def draw(slopes: dict, history: dict, path: Path) -> None:
    """Errors against beta, and the training."""
    figure, axes = viz.new_figure(3, 1, width=4.2, height=3.6)
    ax = axes[0, 0]
    for name, curve in slopes.items():
        ax.loglog(curve["betas"], curve["errors"], "o-", label=f"{name}: {curve['slope']:.2f}")
    ax.set_xlabel("beta")
    ax.set_title("relative error of the gradient, and its order")
    ax.legend(fontsize=8)
    viz.plot_history({"loss": history["loss"]}, axes[0, 1], label="training loss", log=True)
    ax = axes[0, 2]
    numbers = np.arange(1, len(history["cosine"]) + 1)
    ax.semilogy(numbers, np.maximum(1 - history["cosine"], 1e-9))
    ax.axhline(1e-3, ls="--", lw=0.8, color="0.5")
    ax.set_title("1 - least cosine to the implicit gradient")
    ax.set_xlabel("epoch")
    figure.savefig(path, dpi=110, facecolor="white")


if __name__ == "__main__":
    raise SystemExit(main())
