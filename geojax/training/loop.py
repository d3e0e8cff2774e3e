"""The verb `fit`: train a network whose path is short as well as right."""

from collections.abc import Callable
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from geojax._core.errors import InputError, NumericalError
from geojax._core.results import RESULTS
from geojax.training import step as steps
from geojax.training.config import TrainConfig
from geojax.training.data import Samples
from geojax.training.regularisers import AbstractRegulariser, KineticEnergy
from geojax.training.state import TrainState, create_model

HISTORY = ("loss", "cross_entropy", "energy", "accuracy")


class Fit(eqx.Module):
    """What a training came to.

    Attributes:
        state: after the last epoch that stayed finite.
        history: mean over each epoch, `[epochs]`, of "loss", "cross_entropy", "energy" (of the
            paths) and "accuracy", all on the training batches as the network saw them.
        result: result code; `diverged` if the training broke off.
        config: what was asked for.
    """

    state: TrainState
    history: dict[str, np.ndarray]
    result: RESULTS
    config: TrainConfig = eqx.field(static=True)

    @property
    def model(self) -> Any:
        """The trained model."""
        return self.state.model


def fit(
    data: Samples,
    config: TrainConfig = TrainConfig(),  # noqa: B008 (frozen)
    *,
    model: nnx.Module | None = None,
    regulariser: AbstractRegulariser | None = None,
    optimiser: Any = None,
    solver: diffrax.AbstractSolver | None = None,
    callback: Callable[[int, dict[str, float]], Any] | None = None,
    throw: bool = True,
) -> Fit:
    """Train a classifier on cross-entropy plus the weighted energy of its paths.

    The integration runs in equal steps while training; `evaluate` measures with an adaptive
    solver. All of it depends on `config` and `data` alone, so a plain twin is a second call with
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
        callback: called with the number of each epoch (from 1) and its means.
        throw: raise if the training breaks off; otherwise `result` says so.

    Returns:
        The trained model with its history.

    Raises:
        InputError: fewer samples than a batch, or a model of other sizes.
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
    num_batches = len(data) // config.batch_size
    if num_batches == 0:
        raise InputError(
            f"Argument batch_size must be at most the number of samples, but is "
            f"{config.batch_size} for {len(data)} samples of {data.name}."
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
    _check_model(model, data)
    price = KineticEnergy() if regulariser is None else regulariser
    method = steps.Method(
        config.batch_size,
        config.num_steps,
        diffrax.Heun() if solver is None else solver,
        price if config.energy_weight > 0 else None,
        steps.ADAMW if optimiser is None else optimiser,
    )
    hyper = steps.Hyperparameters.of(config, num_batches, dtype)
    inputs, labels = jnp.asarray(data.inputs, dtype), jnp.asarray(data.labels)
    state = steps.init(model, jax.random.fold_in(root, 1), optimiser=method.optimiser)
    means: list[dict[str, float]] = []
    result = RESULTS.successful
    for number in range(1, config.epochs + 1):
        after, info = steps.epoch(state, inputs, labels, hyper, method)
        finite = np.asarray(info.finite)
        if not finite.all():
            result = RESULTS.diverged
            if throw:
                raise NumericalError(_broken(number, finite, info, config), result)
            break
        state = after
        means.append({name: float(np.mean(getattr(info, name))) for name in HISTORY})
        if callback is not None:
            callback(number, means[-1])
    history = {name: np.array([mean[name] for mean in means]) for name in HISTORY}
    return Fit(state, history, result, config)


def _check_model(model: Any, data: Samples) -> None:
    for name in ("path", "read"):
        if not callable(getattr(model, name, None)):
            raise InputError(
                f"Argument model must have the methods path and read, but a "
                f"{type(model).__name__} has no {name}; use a ContinuousClassifier."
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
