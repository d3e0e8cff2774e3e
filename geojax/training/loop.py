"""The verb `fit`: train a network whose path is short as well as right."""

import dataclasses
import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import PyTree

from geojax._core.errors import InputError
from geojax._core.results import RESULTS
from geojax.training import step as steps
from geojax.training.checkpoints import identity_of
from geojax.training.config import TrainConfig
from geojax.training.data import Samples, stratified_split
from geojax.training.evaluate import evaluate
from geojax.training.regularisers import (
    AbstractRegulariser,
    KineticEnergy,
    Mixture,
    differentiates,
)
from geojax.training.rounds import Round, history_of, train
from geojax.training.state import TrainState, create_model

HISTORY = ("loss", "cross_entropy", "energy", "accuracy")
VALIDATION = ("validation_loss", "validation_accuracy")
# Difference of two accuracies of one model that is worth a warning.
TELLING = 0.01


class Fit(eqx.Module):
    """What a training came to.

    Attributes:
        state: after the last epoch that stayed finite.
        history: mean over each epoch, `[epochs]`, of "loss", "cross_entropy", "energy" (of the
            paths) and "accuracy", all on the training batches as the network saw them; with
            validation also "validation_loss" (cross-entropy) and "validation_accuracy", of the
            model after the epoch.
        result: result code; `diverged` if the training broke off.
        config: what was asked for.
        best: parameters of the epoch with the lowest validation loss; None without validation.
        best_epoch: its number, from 1; 0 without validation.
        accuracy_in_steps, accuracy_of_flow: share of the validation samples that the model tells
            right, in the equal steps of the training and along its flow, with the adaptive solver
            of `evaluate`; NaN without validation, and of a model that is no flow.
        seconds: that the epochs took, in all processes that went on with one training.
    """

    state: TrainState
    history: dict[str, np.ndarray]
    result: RESULTS
    config: TrainConfig = eqx.field(static=True)
    best: PyTree = None
    best_epoch: int = eqx.field(static=True, default=0)
    accuracy_in_steps: float = math.nan
    accuracy_of_flow: float = math.nan
    seconds: float = math.nan

    @property
    def model(self) -> Any:
        """The trained model: that of the best epoch if there is validation, else the last."""
        return self.state.model if self.best is None else nnx.merge(self.state.graph, self.best)


def fit(
    data: Samples,
    config: TrainConfig = TrainConfig(),  # noqa: B008 (frozen)
    *,
    model: nnx.Module | None = None,
    regulariser: AbstractRegulariser | None = None,
    optimiser: Any = None,
    solver: diffrax.AbstractSolver | None = None,
    mesh: jax.sharding.Mesh | None = None,
    checkpoints: str | Path | None = None,
    checkpoint_every: int = 1,
    callback: Callable[[int, dict[str, float]], Any] | None = None,
    throw: bool = True,
) -> Fit:
    """Train a classifier on cross-entropy plus the weighted energy of its paths.

    The integration runs in equal steps while training and validating; `evaluate` measures with an
    adaptive solver. With samples to validate on, the model that comes out is measured both ways,
    and a difference of more than one point of accuracy (and of one sample) is warned of.

    All of it depends on `config` and `data` alone, so a plain twin is a second call with
    `config.replace(energy_weight=0.0)`. At weight zero the regulariser is left out of the program
    altogether, so it is plain training to the last bit; all other weights share one program.

    Args:
        data: samples to train on.
        config: settings.
        model: a module with `path` and `read`, as `ContinuousClassifier` has them; drawn from
            `config.seed` if None.
        regulariser: what a path costs, weighted by `config.energy_weight`; its kinetic energy if
            None.
        optimiser: an optax optimiser that takes the place of AdamW with its schedule, and of
            `learning_rate`, `warmup_epochs`, `weight_decay` and `clip_norm`.
        solver: of the paths; Heun's method if None.
        mesh: devices among which each batch is shared out, as `jax.make_mesh` makes them.
        checkpoints: folder in which the training saves where it stands; the same call goes on from
            there, and on the same devices ends with the same parameters to the last bit as if it
            had never stopped. On the way out, by an error or Ctrl-C, the last whole epoch is saved
            as well. Checkpoints of other settings, samples, models or prices are refused; that the
            optimiser is the same is up to the caller.
        checkpoint_every: epochs from one save to the next.
        callback: called with the number of each epoch (from 1) and its means.
        throw: raise if the training breaks off; otherwise `result` says so.

    Returns:
        The trained model with its history.

    Raises:
        InputError: fewer samples than a batch, a batch that the devices cannot share, a model of
            other sizes, or checkpoints of another training.
        StorageError: a checkpoint cannot be written.
        NumericalError: the loss or the parameters are not finite, naming epoch and step.

    Gradient: of the loss, exact for the steps that were taken, by backpropagation through them.

    Example:
        >>> import numpy as np
        >>> x = np.random.default_rng(0).normal(size=(64, 2)).astype(np.float32)
        >>> data = Samples(x, (x[:, 0] > 0).astype(int))
        >>> config = TrainConfig(widths=(8,), epochs=3, batch_size=32)
        >>> fit(data, config).history["loss"].shape
        (3,)

    Reference: [finlay2020train]
    """
    given, held_out = data, None
    if config.validation_fraction:
        split = stratified_split(data, test_fraction=config.validation_fraction, seed=config.seed)
        data, held_out = split.train, split.test
    num_batches = len(data) // config.batch_size
    if num_batches == 0:
        raise InputError(
            f"Argument batch_size must be at most the number of samples, but is "
            f"{config.batch_size} for {len(data)} samples of {data.name}."
        )
    if mesh is not None and config.batch_size % mesh.size:
        raise InputError(
            f"Argument batch_size must be a multiple of the {mesh.size} devices that share each "
            f"batch, but is {config.batch_size}."
        )
    dtype = jax.dtypes.canonicalize_dtype(data.inputs.dtype)
    root = jax.random.key(config.seed)
    if model is None:
        model = create_model(
            config,
            data.num_features,
            data.num_classes,
            key=jax.random.fold_in(root, 0),
            dtype=dtype,
        )
    price = KineticEnergy() if regulariser is None else regulariser
    _check_model(model, data, price)
    # a mixture of nothing is no price either
    free = config.energy_weight == 0 or (isinstance(price, Mixture) and not price.regularisers)
    method = steps.Method(
        config.batch_size,
        config.num_steps,
        diffrax.Heun() if solver is None else solver,
        None if free else price,
        steps.ADAMW if optimiser is None else optimiser,
        mesh,
    )
    hyper = steps.Hyperparameters.of(config, num_batches, dtype)
    arrays = jnp.asarray(data.inputs, dtype), jnp.asarray(data.labels)
    key, averaged = jax.random.fold_in(root, 1), config.ema_decay > 0
    state = steps.init(model, key, optimiser=method.optimiser, averaged=averaged)

    def one(number: int, state: TrainState) -> Round:
        state, info = steps.epoch(state, *arrays, hyper, method)
        finite = np.asarray(info.finite)
        if not finite.all():
            return Round(state, {}, _broken(number, finite, info, config))
        means = {name: float(np.mean(getattr(info, name))) for name in HISTORY}
        if held_out is not None:
            means |= _validated(state, held_out, method)
        return Round(state, means, None)

    def identity() -> dict[str, Any]:
        parts = {"price": method.regulariser, "solver": method.solver}
        parts |= {"model": (state.graph, state.variables)}
        return identity_of((given.inputs, given.labels), config.to_dict(), **parts)

    standing, result = train(
        state,
        config.epochs,
        one,
        validated=held_out is not None,
        patience=config.patience,
        checkpoints=checkpoints,
        checkpoint_every=checkpoint_every,
        identity=identity,
        callback=callback,
        throw=throw,
    )
    history = history_of(standing, HISTORY)
    made = Fit(standing.state, history, result, config, standing.best, standing.best_epoch)
    if held_out is not None and made.best_epoch and hasattr(made.model, "field"):
        made = _compared(made, held_out)
    return dataclasses.replace(made, seconds=standing.seconds)


def _compared(made: Fit, held_out: Samples) -> Fit:
    """With its accuracies in the steps of training and along the flow; warn where they differ."""
    in_steps = float(made.history["validation_accuracy"][made.best_epoch - 1])
    measured = evaluate(made.model, held_out, throw=False)
    of_flow = float(np.mean(measured.correct & np.asarray(measured.result == RESULTS.successful)))
    # one sample of a few is no sign; the slack is for rounding
    if abs(in_steps - of_flow) > max(TELLING, 1 / len(held_out)) + 1e-6:
        warnings.warn(
            f"fit: the model tells {100 * in_steps:.1f} % of the validation samples right in the "
            f"{made.config.num_steps} steps of training, but {100 * of_flow:.1f} % along its flow, "
            "with an adaptive solver: it has learned its steps; raise num_steps or energy_weight.",
            stacklevel=3,
        )
    return dataclasses.replace(made, accuracy_in_steps=in_steps, accuracy_of_flow=of_flow)


def _validated(state: TrainState, held_out: Samples, method: steps.Method) -> dict[str, float]:
    """Cross-entropy and accuracy of the model on samples that it was not trained on."""
    inputs = jnp.asarray(held_out.inputs, jax.dtypes.canonicalize_dtype(held_out.inputs.dtype))
    found = steps.validate(state, inputs, jnp.asarray(held_out.labels), method)
    return dict(zip(VALIDATION, map(float, found), strict=True))


def _check_model(model: Any, data: Samples, price: AbstractRegulariser) -> None:
    for name in ("path", "read"):
        if not callable(getattr(model, name, None)):
            raise InputError(
                f"Argument model must have the methods path and read, but a "
                f"{type(model).__name__} has no {name}; use a ContinuousClassifier."
            )
    if differentiates(price.costs) and not hasattr(model, "field"):
        raise InputError(
            f"Argument regulariser asks for derivatives of a velocity, but a "
            f"{type(model).__name__} has layers and no field; use a ContinuousClassifier, or a "
            "price of the path such as KineticEnergy."
        )
    for name in ("num_features", "num_classes"):
        have, need = getattr(model, name, None), getattr(data, name)
        if have is not None and have != need:
            raise InputError(
                f"Argument model has {name} {have}, but {data.name} has {need}; make the model "
                "for these samples."
            )


def _broken(number: int, finite: np.ndarray, info: steps.Info, config: TrainConfig) -> str:
    """What to say when a step of an epoch left the finite numbers."""
    at = int(np.argmin(finite))
    value = float(np.asarray(info.loss)[at])
    what = f"the loss is {value}" if not np.isfinite(value) else "the parameters are not finite"
    return (
        f"fit: {what} at epoch {number}, step {at + 1} of {len(finite)}; lower learning_rate "
        f"({config.learning_rate:g}) or energy_weight ({config.energy_weight:g}), or raise "
        f"num_steps ({config.num_steps})."
    )
