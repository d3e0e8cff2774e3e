"""Over-parameterised networks: which layers matter, how far they travel, what they generalise.

    python experiments/overparameterised/run.py                            # scikit-learn digits
    GEOJAX_DATA=<folder> python experiments/overparameterised/run.py --full --claims layers

Three parts, `layers`, `widths` and `labels`, of some minutes each; `--claims` chooses among them.
With `--full` the layers are those of networks trained on 10,000 digits of MNIST, and the folder
holds `mnist` with its four files. Writes `results.json` and `figure.png` into `--out`; trainings
that `results.json` holds already are not done again, so that a run that was cut off goes on.
"""

import argparse
import itertools
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import draw
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from scipy.stats import spearmanr

from geojax.complexity import fisher_distance, fisher_length, fisher_norm, measure, reinitialised
from geojax.networks import Layers, ResidualNetwork
from geojax.training import (
    Samples,
    Split,
    TrainConfig,
    load_digits_split,
    load_idx_split,
    step as steps,
)

HERE = Path(__file__).parent
MOST = 10_000  # digits of MNIST to train on

# layers: which are needed, and whether geometry says so
DEPTHS, WIDTH, DRAWS = (3, 4, 5), 256, 5
MEASURED = 100  # test digits on which derivatives are taken
SAVED = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)  # of the training: checkpoints to restore a layer from
DONORS = ("start", "fresh draw")

# widths: descent on all of a few digits until their cross-entropy is this small
WIDTHS, FEW, WANTED, MOST_STEPS = (32, 64, 128, 256, 512, 1024), 128, 0.1, 4000
# gradient descent in units of what is stable at the start, Adam as it is
RATES = {"gradient descent": 0.1, "Adam": 3e-4}

# labels: shares drawn at random, and what else is varied
SHARES, RESIDUAL_DEPTHS, DECAYS = (0.0, 0.25, 0.5, 0.75, 1.0), (2, 8), (0.0, 0.03, 0.1)
RESIDUAL_WIDTH, EPOCHS = 128, 100
ONLY_PATHS = {"group_size": 0, "num_jacobians": 0, "robustness": False}
BOOTSTRAP = 1000


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="layers of networks for MNIST")
    parser.add_argument("--claims", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each kind")
    parser.add_argument("--out", type=Path, help="folder to write in")
    options = parser.parse_args()
    out = options.out or HERE / ("outcome_mnist" if options.full else "outcome")
    out.mkdir(parents=True, exist_ok=True)
    file = out / "results.json"
    results = json.loads(file.read_text()) if file.exists() else {}
    for name in options.claims:
        split = mnist() if options.full and name == "layers" else load_digits_split()
        grid, one, summary = PARTS[name]
        runs = results.get(name, {}).get("runs", [])
        for values in itertools.product(*grid.values(), range(options.seeds)):
            setting = dict(zip((*grid, "seed"), values, strict=True))
            if not any(setting.items() <= known(run) for run in runs):
                runs.append(rounded(setting | one(split, **setting)))
                results[name] = {"runs": runs}
                file.write_text(json.dumps(results, indent=1) + "\n")
                print(json.dumps(dict(known(runs[-1]))), flush=True)
        results[name] = rounded(summary(runs)) | {"runs": runs}
        file.write_text(json.dumps(results, indent=1) + "\n")
        print(json.dumps({k: v for k, v in results[name].items() if k != "runs"}, indent=1))
    (out / "figure.png").write_bytes(draw.figure(results))
    return 0


def known(run: dict) -> Any:
    """Names and values of what a run says in plain numbers and words."""
    return {key: value for key, value in run.items() if not isinstance(value, dict | list)}.items()


def mnist() -> Split:
    given = os.environ.get("GEOJAX_DATA")
    if not given:
        raise SystemExit("Set GEOJAX_DATA to the folder that holds mnist.")
    split = load_idx_split(Path(given) / "mnist")
    return Split(split.train.take(np.arange(MOST)), split.test)


class Hidden(nnx.Module):
    """`x -> max(W x + b, 0)`."""

    def __init__(self, size: int, width: int, rngs: nnx.Rngs):
        self.linear = nnx.Linear(size, width, kernel_init=nnx.initializers.he_normal(), rngs=rngs)

    def __call__(self, x):
        return jax.nn.relu(self.linear(x))


def perceptron(size: int, depth: int, width: int, seed: int) -> Layers:
    rngs = nnx.Rngs(seed)
    hidden = [Hidden(size if k == 0 else width, width, rngs) for k in range(depth)]
    return Layers(hidden, head=nnx.Linear(width, 10, rngs=rngs))


def training(
    model: nnx.Module, samples: Samples, config: TrainConfig, optimiser: Any = steps.ADAMW
) -> Iterator[tuple[Any, float]]:
    """The state at the start and after each epoch, and the mean loss on the way there."""
    method = steps.Method(config.batch_size, config.num_steps, optimiser=optimiser)
    hyper = steps.Hyperparameters.of(config, len(samples) // config.batch_size, np.float32)
    arrays = jnp.asarray(samples.inputs), jnp.asarray(samples.labels)
    state = steps.init(model, jax.random.key(config.seed), optimiser=optimiser)
    yield state, np.inf
    for _ in range(config.epochs):
        state, info = steps.epoch(state, *arrays, hyper, method)
        if not np.asarray(info.finite).all():
            raise SystemExit(f"A training of {config} diverged.")
        yield state, float(np.mean(info.loss))


@eqx.filter_jit
def _answers(graph, variables, inputs):
    return nnx.merge(graph, variables)(inputs)


def answers(model: nnx.Module, inputs: Any) -> jax.Array:
    return _answers(*nnx.split(model), jnp.asarray(inputs))


def accuracy(model: nnx.Module, samples: Samples) -> float:
    return float(np.mean(np.argmax(answers(model, samples.inputs), axis=-1) == samples.labels))


def distance(variables: Any, other: Any) -> float:
    return float(optax.global_norm(jax.tree.map(jnp.subtract, variables, other)))


def layers(split: Split, depth: int, seed: int) -> dict:
    """What is left of the accuracy if one layer forgets, and what geometry says of the layers."""
    small = split.train.num_features == 64
    config = TrainConfig(
        epochs=100 if small else 15,
        learning_rate=1e-3,
        warmup_epochs=1,
        input_noise=0.0,
        seed=seed,
    )
    start, *fresh = (
        perceptron(split.train.num_features, depth, WIDTH, number)
        for number in (seed, *(1000 * (seed + 1) + k for k in range(DRAWS)))
    )
    donors, saved = {"start": [start]}, {max(1, round(share * config.epochs)) for share in SAVED}
    for epoch, (state, _) in enumerate(training(start, split.train, config)):
        if epoch in saved:
            donors[f"epoch {epoch}"] = [state.model]
    donors["fresh draw"] = fresh
    model, parts = state.model, [f"parts.{k}" for k in range(depth + 1)]
    damaged = {
        name: [
            np.mean([accuracy(reinitialised(model, donor, part), split.test) for donor in givers])
            for part in parts
        ]
        for name, givers in donors.items()
    }
    run = {
        "train_accuracy": accuracy(model, split.train),
        "test_accuracy": accuracy(model, split.test),
        "without": damaged,
        "moved": [moved(model, start, part) for part in parts],
        "norms": norms(model, {name: donors[name] for name in DONORS}, parts, split.test),
    }
    return run | {"correlations": correlations(run)}


def layers_summary(runs: list[dict]) -> dict:
    by_depth = {depth: [run for run in runs if run["depth"] == depth] for depth in DEPTHS}
    return {
        "accuracy": {
            depth: {
                name: mean_and_error([run["without"][name] for run in found])
                for name in found[0]["without"]
            }
            for depth, found in by_depth.items()
        },
        "correlations": {
            name: {
                "mean_and_error": mean_and_error([run["correlations"][name] for run in runs]),
                "positive": sum(run["correlations"][name] > 0 for run in runs),
                "of": len(runs),
            }
            for name in runs[0]["correlations"]
        },
        "falling profiles": {
            f"{metric}, {name}": sum(is_falling(run["norms"][metric][name]) for run in runs)
            for metric in ("Euclidean", "Fisher")
            for name in ("state", *DONORS)
        },
    }


def is_falling(profile: list[float]) -> bool:
    """Whether a profile falls from each hidden layer to the next."""
    return bool(np.all(np.diff(profile[:-1]) < 0))


def part_of(model: nnx.Module, part: str) -> Any:
    """The parameters, zero but for those of one part."""
    parameters = nnx.state(model, nnx.Param)
    zero = nnx.clone(model)
    nnx.update(zero, jax.tree.map(jnp.zeros_like, parameters))
    return nnx.state(reinitialised(zero, model, part), nnx.Param)


def moved(model: nnx.Module, start: nnx.Module, part: str) -> float:
    """How far the training moved a part, relative to where it began."""
    ends = part_of(model, part), part_of(start, part)
    return distance(*ends) / float(optax.global_norm(ends[1]))


def norms(model, donors, parts, test) -> dict[str, dict[str, list[float]]]:
    """Sizes of what perturbations of each part do to the answers, to first order.

    "state": the state after the part is moved in a random direction, by its own length; else by
    what its parameters would change by if they were those of a donor. Root mean squares.
    """
    rows = np.linspace(0, len(test) - 1, MEASURED).astype(int)
    inputs = jnp.asarray(test.inputs[rows])
    found = measure(model, inputs, group_size=0, num_jacobians=MEASURED, robustness=False)
    states, logits = model.states(inputs), answers(model, inputs)
    p = jax.nn.softmax(logits)
    lengths = [np.linalg.norm(s, axis=-1) / s.shape[-1] ** 0.5 for s in [*states[1:], logits]]
    roots = {
        "Euclidean": [*found.sensitivity[1:], np.full(len(rows), 10**0.5)],
        # the root of the trace of diag(p) - p p^T
        "Fisher": [*found.fisher_sensitivity[1:], np.sqrt(1 - np.sum(np.square(p), axis=-1))],
    }
    sizes = {
        name: {"state": [rms(a * b) for a, b in zip(root, lengths, strict=True)]}
        for name, root in roots.items()
    }
    for donor, givers in donors.items():
        for name, norm in (("Euclidean", euclidean_norm), ("Fisher", fisher_norm)):
            sizes[name][donor] = []
            for part in parts:
                changes = [
                    jax.tree.map(jnp.subtract, part_of(giver, part), part_of(model, part))
                    for giver in givers
                ]
                values = [norm(model, change, inputs) for change in changes]
                sizes[name][donor].append(rms(values))
    return sizes


@eqx.filter_jit
def _change(graph, parameters, variation, inputs):
    def logits(parameters):
        return nnx.merge(graph, parameters)(inputs)

    return jax.jvp(logits, (parameters,), (variation,))[1]


def euclidean_norm(model, variation, inputs):
    return np.linalg.norm(_change(*nnx.split(model), variation, inputs), axis=-1)


def correlations(run: dict) -> dict[str, float]:
    """Rank correlations over the layers of one network with the accuracy that is lost."""
    damage = {name: run["test_accuracy"] - np.array(run["without"][name]) for name in DONORS}
    pairs = {}
    for name in DONORS:
        for metric, sizes in run["norms"].items():
            pairs[f"{metric} norm of the change, {name}"] = sizes[name], damage[name]
            # of hidden layers: the logits have no layer after them
            pairs[f"{metric} norm of a turned state, {name}"] = (
                sizes["state"][:-1],
                damage[name][:-1],
            )
        pairs[f"nearness to the input, {name}"] = -np.arange(len(run["moved"])), damage[name]
        pairs[f"relative change of the parameters, {name}"] = run["moved"], damage[name]
    return {name: rank_correlation(*pair) for name, pair in pairs.items()}


def widths(split: Split, optimiser: str, width: int, seed: int) -> dict:
    """How far a network of some width travels until it fits some digits."""
    rows = np.linspace(0, len(split.train) - 1, FEW).astype(int)
    samples = split.train.take(rows)
    start, rate = perceptron(samples.num_features, 3, width, seed), RATES[optimiser]
    if optimiser == "gradient descent":
        rate *= 2 / largest_eigenvalue(start, samples.inputs)
    method = optax.sgd(rate) if optimiser == "gradient descent" else optax.adam(rate)
    config = TrainConfig(epochs=MOST_STEPS, batch_size=FEW, input_noise=0.0, seed=seed)
    first = last = answers(start, samples.inputs)
    length, count = 0.0, -1
    for state, loss in training(start, samples, config, method):
        here = answers(state.model, samples.inputs)
        length += float(fisher_length(jnp.stack([last, here])))
        last, count = here, count + 1
        if loss < WANTED:
            break
    begun = nnx.state(start)
    far = distance(state.variables, begun)
    return {
        "rate": rate,
        # the loss is that before the step
        "steps": count - 1,
        "loss": loss,
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(begun)),
        "distance": far,
        "relative_distance": far / float(optax.global_norm(begun)),
        "fisher_length": length,
        "fisher_distance": rms(fisher_distance(first, last)),
        "test_accuracy": accuracy(state.model, split.test),
    }


def widths_summary(runs: list[dict]) -> dict:
    """Powers of the width that the figures grow with, from all widths and from the widest half."""
    keys = ("distance", "relative_distance", "fisher_length", "fisher_distance", "steps")
    found = {}
    for least in (WIDTHS[0], WIDTHS[len(WIDTHS) // 2]):
        for name in RATES:
            chosen = [run for run in runs if run["optimiser"] == name and run["width"] >= least]
            seeds = sorted({run["seed"] for run in chosen})
            groups = [[run for run in chosen if run["seed"] == seed] for seed in seeds]
            found.setdefault(f"from {least}", {})[name] = {
                key: mean_and_error([slope(group, key) for group in groups]) for key in keys
            }
    return {"slopes": found}


def largest_eigenvalue(model: nnx.Module, inputs: Any) -> float:
    """Of the Fisher metric of the parameters, by power iteration.

    Where answers are still far from certain it is close to the Hessian of the loss, so that
    gradient descent is stable up to two over it.
    """
    graph, parameters = nnx.split(model)
    inputs = jnp.asarray(inputs)
    p = jax.nn.softmax(answers(model, inputs))

    def logits(parameters):
        return nnx.merge(graph, parameters)(inputs)

    @jax.jit
    def applied(vector):
        _, moved = jax.jvp(logits, (parameters,), (vector,))
        pulled = p * (moved - jnp.sum(p * moved, axis=-1, keepdims=True)) / len(inputs)
        (found,) = jax.vjp(logits, parameters)[1](pulled)
        size = optax.global_norm(found)
        return jax.tree.map(lambda x: x / size, found), size

    vector, size = jax.grad(lambda q: jnp.sum(jnp.square(logits(q))))(parameters), 0.0
    for _ in range(20):
        vector, size = applied(vector)
    return float(size)


def slope(runs: list[dict], key: str) -> float:
    x, y = (np.log([run[k] for run in runs]) for k in ("width", key))
    return float(np.polyfit(x, y, 1)[0])


def labels(split: Split, depth: int, share: float, weight_decay: float, seed: int) -> dict:
    """Energy of the paths and test error of a network, some of its labels drawn at random."""
    rows = np.linspace(0, len(split.train) - 1, 256).astype(int)
    samples = partly_random(split.train, share, seed)
    config = TrainConfig(
        epochs=EPOCHS, learning_rate=1e-2, weight_decay=weight_decay, input_noise=0.0, seed=seed
    )
    start = ResidualNetwork(64, 10, depth=depth, width=RESIDUAL_WIDTH, rngs=nnx.Rngs(seed))
    path = []
    for state, _ in training(start, samples, config):
        path.append(answers(state.model, samples.inputs[rows]))
    energies = {
        name: float(np.mean(measure(state.model, inputs, **ONLY_PATHS).energy))
        for name, inputs in (("test", split.test.inputs), ("train", samples.inputs))
    }
    return {
        "train_accuracy": accuracy(state.model, samples),
        "test_error": 1 - accuracy(state.model, split.test),
        "energy": energies["test"],
        "energy_train": energies["train"],
        "fisher_length": float(fisher_length(jnp.stack(path))),
        "distance": distance(state.variables, nnx.state(start)),
    }


def labels_summary(runs: list[dict]) -> dict:
    keys = ("energy", "energy_train", "fisher_length", "distance")
    return {
        "means": {
            f"{share:g}": {
                key: mean_and_error([run[key] for run in runs if run["share"] == share])
                for key in ("train_accuracy", "test_error", *keys)
            }
            for share in sorted({run["share"] for run in runs})
        },
        "correlations": {
            key: {
                "all": bootstrapped(runs, key, within=False),
                "at one share": bootstrapped(runs, key),
            }
            for key in keys
        },
    }


def partly_random(samples: Samples, share: float, seed: int) -> Samples:
    """Samples some of whose labels are drawn from all classes alike."""
    random = np.random.default_rng([seed, 1])
    chosen = random.permutation(len(samples))[: round(share * len(samples))]
    found = samples.labels.copy()
    found[chosen] = random.integers(0, samples.num_classes, len(chosen))
    return Samples(samples.inputs, found, samples.num_classes, samples.name)


def bootstrapped(runs: list[dict], key: str, within: bool = True) -> dict[str, float]:
    """Rank correlation with the test error, and its 95 % interval.

    Settings are drawn again with all their seeds, since seeds of one setting are alike. Within:
    the mean over the shares of random labels (but all: there is nothing to learn) of the
    correlation among the settings with that share.
    """
    random = np.random.default_rng(0)
    groups: dict[float, dict[Any, list]] = {}
    for run in runs:
        if not (within and run["share"] == 1):
            setting = (run["share"], run["depth"], run["weight_decay"])
            group = groups.setdefault(run["share"] if within else 0.0, {})
            group.setdefault(setting, []).append((run[key], run["test_error"]))

    def once(again: bool) -> float:
        found = []
        for group in groups.values():
            pieces = list(group.values())
            if again:
                pieces = [pieces[k] for k in random.integers(0, len(pieces), len(pieces))]
            found.append(rank_correlation(*np.concatenate(pieces).T))
        return float(np.mean(found))

    low, high = np.quantile([once(again=True) for _ in range(BOOTSTRAP)], [0.025, 0.975])
    return {"value": once(again=False), "low": float(low), "high": float(high)}


def rank_correlation(x, y) -> float:
    """Spearman's; zero where one of the two does not vary."""
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return 0.0
    return float(spearmanr(x, y).statistic)


def rms(values) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


def mean_and_error(values) -> list:
    """Mean over trainings and its standard error."""
    array = np.asarray(values, float)
    error = array.std(axis=0, ddof=1) / len(array) ** 0.5 if len(array) > 1 else 0 * array[0]
    return [array.mean(axis=0).tolist(), np.asarray(error).tolist()]


def rounded(value):
    if isinstance(value, dict):
        return {str(key): rounded(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(entry) for entry in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value


# name -> what is varied, what is done for each setting, what is made of all
PARTS = {
    "layers": ({"depth": DEPTHS}, layers, layers_summary),
    "widths": ({"optimiser": RATES, "width": WIDTHS}, widths, widths_summary),
    "labels": (
        {"depth": RESIDUAL_DEPTHS, "share": SHARES, "weight_decay": DECAYS},
        labels,
        labels_summary,
    ),
}


if __name__ == "__main__":
    raise SystemExit(main())
