"""Training of networks that answer at rest: any estimator of the gradient, step by step."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from geojax._core import checks
from geojax._core.errors import InputError
from geojax._core.results import RESULTS, all_finite
from geojax.networks import EquilibriumNetwork
from geojax.training.checkpoints import identity_of
from geojax.training.data import Samples
from geojax.training.estimators import AbstractEstimator, Implicit, Symmetric, cosine
from geojax.training.rounds import Round, history_of, train
from geojax.training.state import TrainState


class EquilibriumInfo(eqx.Module):
    """What a step reports.

    Attributes:
        loss, accuracy: of the free phase, means over the batch.
        residual, pulled_residual, num_sweeps, num_pulled_sweeps: of the two phases.
        cosine: with the implicit gradient; NaN at steps where it was not asked for.
        finite: whether all that the step left is finite.
    """

    loss: Float[Array, "*steps"]
    accuracy: Float[Array, "*steps"]
    residual: Float[Array, "*steps"]
    pulled_residual: Float[Array, "*steps"]
    num_sweeps: Int[Array, "*steps"]
    num_pulled_sweeps: Int[Array, "*steps"]
    cosine: Float[Array, "*steps"]
    finite: Bool[Array, "*steps"]


class EquilibriumMethod(eqx.Module):
    """How an equilibrium network is trained; a change of it compiles anew.

    Attributes:
        estimator: of the gradient.
        optimiser: an optax optimiser.
        cosine_every: steps from one comparison with the implicit gradient to the next; 0 for
            none. Each costs about as much as two steps.
        reference: what to compare with.
    """

    estimator: AbstractEstimator = Symmetric()
    optimiser: Any = eqx.field(static=True, default=optax.adam(1e-3))
    cosine_every: int = eqx.field(static=True, default=100)
    reference: AbstractEstimator = Implicit(tolerance=1e-6)


def equilibrium_init(
    model: EquilibriumNetwork, key: PRNGKeyArray, method: EquilibriumMethod
) -> TrainState:
    """The state before the first step."""
    method.estimator.check(model)
    graph, variables = nnx.split(model)
    return TrainState(graph, variables, method.optimiser.init(variables), jnp.array(0), key)


def equilibrium_step(
    state: TrainState,
    batch: tuple[Float[Array, "n d"], Int[Array, " n"]],
    method: EquilibriumMethod,
) -> tuple[TrainState, EquilibriumInfo]:
    """One step of the optimiser on one batch of inputs and labels: a pure function."""
    inputs, labels = batch
    model = state.model
    targets = jax.nn.one_hot(labels, model.num_classes, dtype=inputs.dtype)
    gradient, phases = method.estimator(model, inputs, targets)
    likeness = jnp.array(jnp.nan, inputs.dtype)
    if method.cosine_every:
        likeness = jax.lax.cond(
            state.step % method.cosine_every == 0,
            lambda: cosine(gradient, method.reference(model, inputs, targets)[0]),
            lambda: likeness,
        )
    updates, optimiser = method.optimiser.update(gradient, state.optimiser, state.variables)
    variables = optax.apply_updates(state.variables, updates)
    right = jnp.argmax(phases.outputs, axis=-1) == labels
    info = EquilibriumInfo(
        loss=phases.loss,
        accuracy=jnp.mean(right.astype(inputs.dtype)),
        residual=phases.residual,
        pulled_residual=phases.pulled_residual,
        num_sweeps=phases.num_sweeps,
        num_pulled_sweeps=phases.num_pulled_sweeps,
        cosine=likeness,
        finite=jnp.isfinite(phases.loss) & all_finite(variables),
    )
    return TrainState(state.graph, variables, optimiser, state.step + 1, state.key), info


@eqx.filter_jit
def equilibrium_epoch(
    state: TrainState,
    inputs: Float[Array, "n d"],
    labels: Int[Array, " n"],
    method: EquilibriumMethod,
    batch_size: int,
) -> tuple[TrainState, EquilibriumInfo]:
    """One pass over all samples in random order, in whole batches; what each step reported."""
    num_batches = len(labels) // batch_size
    order = jax.random.permutation(jax.random.fold_in(state.key, state.step), len(labels))
    batches = order[: num_batches * batch_size].reshape(num_batches, batch_size)

    def one(state, rows):
        return equilibrium_step(state, (inputs[rows], labels[rows]), method)

    return jax.lax.scan(one, state, batches)


class EquilibriumFit(eqx.Module):
    """What a training of an equilibrium network came to.

    Attributes:
        state: after the last epoch that stayed finite.
        history: one entry per epoch, `[epochs]`: means of "loss" and "accuracy" (of the free
            phase, on the training batches), "num_sweeps" and "num_pulled_sweeps"; the largest
            "residual" and "pulled_residual"; the least "cosine" with the implicit gradient (NaN
            where none was compared).
        result: result code; `diverged` if the training broke off.
    """

    state: TrainState
    history: dict[str, np.ndarray]
    result: RESULTS

    @property
    def model(self) -> EquilibriumNetwork:
        """The trained model."""
        return self.state.model


def fit_equilibrium(
    data: Samples,
    model: EquilibriumNetwork,
    *,
    estimator: AbstractEstimator | None = None,
    epochs: int = 20,
    batch_size: int = 100,
    learning_rate: float = 1e-3,
    cosine_every: int = 100,
    seed: int = 0,
    checkpoints: str | Path | None = None,
    checkpoint_every: int = 1,
    callback: Callable[[int, dict[str, float]], Any] | None = None,
    throw: bool = True,
) -> EquilibriumFit:
    """Train an equilibrium network on the squared error to one-hot targets, with Adam.

    Args:
        data: samples to train on.
        model: of as many features and classes; it is not changed.
        estimator: of the gradient; `Symmetric()` if None.
        epochs: passes over the samples.
        batch_size: samples in a batch; what is left over sits out the epoch.
        learning_rate: at first; it falls along a cosine to a hundredth.
        cosine_every: steps from one comparison with the implicit gradient to the next; 0 for none.
        seed: of the order of the samples.
        checkpoints, checkpoint_every: folder in which the training saves where it stands, and
            epochs from one save to the next; as for `fit`.
        callback: called with the number of each epoch (from 1) and its entries of the history.
        throw: raise if the training breaks off; otherwise `result` says so.

    Raises:
        InputError: fewer samples than a batch, a model of other sizes, or checkpoints of another
            training.
        StorageError: a checkpoint cannot be written.
        NumericalError: the loss or the parameters are not finite.

    Example:
        >>> import numpy as np
        >>> from flax import nnx
        >>> x = np.random.default_rng(0).uniform(size=(64, 2)).astype(np.float32)
        >>> data = Samples(x, (x[:, 0] > x[:, 1]).astype(int))
        >>> model = EquilibriumNetwork(2, (16,), 2, rngs=nnx.Rngs(0))
        >>> done = fit_equilibrium(data, model, epochs=3, batch_size=32, cosine_every=1)
        >>> done.history["loss"].shape, bool(done.history["cosine"].min() > 0.99)
        ((3,), True)

    Reference: [scellier2017equilibrium]
    """
    checks.count(epochs, "epochs")
    checks.count(cosine_every, "cosine_every", least=0)
    checks.positive(learning_rate, "learning_rate")
    num_batches = len(data) // checks.count(batch_size, "batch_size")
    if num_batches == 0:
        raise InputError(
            f"Argument batch_size must be at most the number of samples, but is {batch_size} for "
            f"{len(data)} samples of {data.name}."
        )
    for name in ("num_features", "num_classes"):
        if getattr(model, name) != getattr(data, name):
            raise InputError(
                f"Argument model has {name} {getattr(model, name)}, but {data.name} has "
                f"{getattr(data, name)}; make the model for these samples."
            )
    schedule = optax.cosine_decay_schedule(learning_rate, epochs * num_batches, alpha=0.01)
    method = EquilibriumMethod(estimator or Symmetric(), optax.adam(schedule), cosine_every)
    state = equilibrium_init(model, jax.random.key(seed), method)
    inputs, labels = jnp.asarray(data.inputs, model.dtype), jnp.asarray(data.labels)

    def one(number: int, state: TrainState) -> Round:
        after, info = equilibrium_epoch(state, inputs, labels, method, batch_size)
        if np.asarray(info.finite).all():
            return Round(after, _summary(info), None)
        what = (
            f"fit_equilibrium: not finite at epoch {number}; lower learning_rate "
            f"({learning_rate:g}) or the feedback of the model ({model.feedback:g})."
        )
        return Round(after, {}, what)

    def identity() -> dict[str, Any]:
        setting = {"epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate}
        setting |= {"cosine_every": cosine_every, "seed": seed}
        parts = {"estimator": method.estimator, "model": (state.graph, state.variables)}
        return identity_of((data.inputs, data.labels), setting, **parts)

    standing, result = train(
        state,
        epochs,
        one,
        checkpoints=checkpoints,
        checkpoint_every=checkpoint_every,
        identity=identity,
        callback=callback,
        throw=throw,
    )
    return EquilibriumFit(standing.state, history_of(standing, SUMMARIES), result)


SUMMARIES: dict[str, Callable[[np.ndarray], Any]] = {
    "loss": np.mean,
    "accuracy": np.mean,
    "num_sweeps": np.mean,
    "num_pulled_sweeps": np.mean,
    "residual": np.max,
    "pulled_residual": np.max,
    # the least of those that were compared, NaN if none were
    "cosine": np.fmin.reduce,
}


def _summary(info: EquilibriumInfo) -> dict[str, float]:
    return {
        name: float(summary(np.asarray(getattr(info, name)))) for name, summary in SUMMARIES.items()
    }


def equilibrium_accuracy(
    model: EquilibriumNetwork,
    data: Samples,
    *,
    chunk_size: int = 1000,
    tolerance: float = 1e-4,
    max_sweeps: int = 200,
) -> float:
    """Share of samples whose class has the largest output at rest.

    Args:
        model: a trained network.
        data: samples, usually those that it was not trained on.
        chunk_size: samples at a time; bounds the memory.
        tolerance, max_sweeps: as for `EquilibriumNetwork.settle`.

    Raises:
        NumericalError: a chunk did not come to rest.
    """
    right = 0
    for first in range(0, len(data), checks.count(chunk_size, "chunk_size")):
        rows = slice(first, first + chunk_size)
        scores = model(jnp.asarray(data.inputs[rows]), tolerance=tolerance, max_sweeps=max_sweeps)
        right += int(np.sum(np.argmax(np.asarray(scores), axis=-1) == data.labels[rows]))
    return right / len(data)
