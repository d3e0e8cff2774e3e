"""Sweeps of classifiers: each lane is the training that `fit` runs alone."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from geojax._core.errors import InputError
from geojax._core.results import RESULTS, code_if
from geojax.sweeps.tasks.base import AbstractTask, Outcome, Program, hash_of, stamp
from geojax.training import (
    KineticEnergy,
    Samples,
    TrainConfig,
    create_model,
    load_digits_split,
    load_idx_split,
    load_samples,
    step as steps,
    stratified_split,
)

HISTORY: tuple[str, ...] = ("loss", "cross_entropy", "energy", "accuracy")


@dataclass(frozen=True, kw_only=True)
class TrainTask(AbstractTask):
    """Train a classifier at each point, as `fit` does, and choose by samples that are kept out.

    Metrics: "validation_accuracy" and "validation_loss" (cross-entropy), "test_accuracy" and
    "test_loss", all in the steps of training, and "loss", "cross_entropy", "energy" and "accuracy"
    over the last epoch. Curves: the last four, epoch by epoch.

    Args:
        data: samples as for `geojax train --data`; the digits if empty.
        validation_fraction: part of the training samples that points are compared by. (That of the
            configuration, and its patience, belong to a training alone.)
    """

    config: ClassVar[type] = TrainConfig
    objective: ClassVar[str] = "validation_accuracy"
    maximise: ClassVar[bool] = True

    data: str = ""
    validation_fraction: float = 0.2

    def __post_init__(self):
        if not 0 < self.validation_fraction < 1:
            raise InputError(
                f"validation_fraction: {self.validation_fraction} is not between 0 and 1"
            )
        if self.data and not Path(self.data).exists():
            raise InputError(f"data: {self.data}: no such file or folder; check the name")

    def make(self, values: Any) -> TrainConfig:
        config = TrainConfig.from_dict(values)
        if config.validation_fraction or config.patience:
            raise InputError(
                "validation_fraction and patience are not for sweeps, whose lanes share their "
                "samples and their length; give the task a validation_fraction"
            )
        return config

    def lane(self, config: TrainConfig) -> PyTree:
        train = self.samples()[0]
        batches = len(train) // config.batch_size
        if batches == 0:
            raise InputError(
                f"batch_size: {config.batch_size} is more than the {len(train)} samples to train on"
            )
        hyper = steps.Hyperparameters.of(config, batches, self._dtype(train))
        return {
            "hyper": jax.tree.map(np.asarray, hyper),
            "seed": np.asarray(config.seed, np.uint32),
        }

    def variant(self, config: TrainConfig) -> dict[str, Any]:
        # a price of zero and an average of nothing are programs without them
        return {"priced": config.energy_weight > 0, "averaged": config.ema_decay > 0}

    def program(self, config: TrainConfig) -> Program:
        train = self.samples()[0]
        dtype, averaged = self._dtype(train), config.ema_decay > 0
        price = KineticEnergy() if config.energy_weight > 0 else None
        method = steps.Method(config.batch_size, config.num_steps, regulariser=price)
        shared = [(part.inputs.astype(dtype), np.asarray(part.labels)) for part in self.samples()]

        def start(shared, lane, key):
            root = jax.random.key(lane["seed"])
            model = create_model(
                config, train.num_features, train.num_classes,
                key=jax.random.fold_in(root, 0), dtype=dtype,
            )  # fmt: skip
            state = steps.init(model, jax.random.fold_in(root, 1), averaged=averaged)
            history = jnp.full((len(HISTORY), config.epochs), jnp.nan, dtype)
            epoch = jnp.array(0)
            return {
                "state": state, "history": history, "epoch": epoch, "broken": jnp.array(False)
            }  # fmt: skip

        def advance(shared, lane, carry):
            state, info = steps.epoch(
                carry["state"], shared[0][0], shared[0][1], lane["hyper"], method
            )
            means = jnp.stack([jnp.mean(getattr(info, name)) for name in HISTORY])
            return {
                "state": state,
                "history": carry["history"].at[:, carry["epoch"]].set(means),
                "epoch": carry["epoch"] + 1,
                "broken": carry["broken"] | ~jnp.all(info.finite),
            }

        def finish(shared, lane, carry):
            metrics = {}
            for name, part in (("validation", shared[1]), ("test", shared[2])):
                loss, accuracy = steps.validate(carry["state"], part[0], part[1], method)
                metrics |= {f"{name}_accuracy": accuracy, f"{name}_loss": loss}
            last = jnp.maximum(carry["epoch"] - 1, 0)
            metrics |= dict(zip(HISTORY, carry["history"][:, last], strict=True))
            curves = dict(zip(HISTORY, carry["history"], strict=True))
            return Outcome(metrics, curves, code_if(carry["broken"], RESULTS.diverged))

        return Program(shared, start, advance, finish, config.epochs)

    def samples(self) -> tuple[Samples, Samples, Samples]:
        """Samples to train on, to choose by, and to test on."""
        key = self, tuple(stamp(str(file)) for file in self._files())
        if key not in _SAMPLES:
            if not self.data:
                split = load_digits_split()
            elif Path(self.data).is_dir():
                split = load_idx_split(self.data)
            else:
                split = stratified_split(load_samples(self.data))
            parts = stratified_split(split.train, test_fraction=self.validation_fraction)
            _SAMPLES[key] = parts.train, parts.test, split.test
        return _SAMPLES[key]

    def fingerprint(self, config: TrainConfig) -> dict[str, Any]:
        return {"data": [hash_of(str(file)) for file in self._files()]}

    def _files(self) -> list[Path]:
        if not self.data:
            return []
        place = Path(self.data)
        return sorted(place.glob("*-ubyte*")) if place.is_dir() else [place]

    def _dtype(self, samples: Samples) -> Any:
        # double precision is asked for, whatever the file holds
        return jnp.zeros(()).dtype


# read once for each of its contents
_SAMPLES: dict[Any, tuple[Samples, Samples, Samples]] = {}
