"""One step of training and one epoch of steps, each a single compiled program."""

from typing import Any, TypeVar

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from geojax._core.results import all_finite
from geojax.training.config import TrainConfig
from geojax.training.regularisers import AbstractRegulariser, differentiates
from geojax.training.state import TrainState


def _adamw(learning_rate, weight_decay, clip_norm):
    return optax.chain(
        optax.clip_by_global_norm(clip_norm),
        optax.adamw(learning_rate, weight_decay=weight_decay),
    )


T = TypeVar("T")

# The numbers of the optimiser are part of its state, so that changing them compiles nothing.
ADAMW = optax.inject_hyperparams(_adamw)(learning_rate=0.0, weight_decay=0.0, clip_norm=1.0)


class Method(eqx.Module):
    """What a compiled epoch is made for; a change of it compiles anew.

    Attributes:
        batch_size: samples in a batch.
        num_steps: equal steps of the solver.
        solver: a diffrax solver.
        regulariser: what a path costs; None for plain training, whose program knows no price.
        optimiser: an optax optimiser; `ADAMW` takes its learning rate, weight decay and clipping
            from the hyperparameters, any other is used as it is.
        mesh: devices that share each batch; None for one.
    """

    batch_size: int = eqx.field(static=True)
    num_steps: int = eqx.field(static=True)
    solver: diffrax.AbstractSolver = diffrax.Heun()
    regulariser: AbstractRegulariser | None = None
    optimiser: Any = eqx.field(static=True, default=ADAMW)
    mesh: jax.sharding.Mesh | None = eqx.field(static=True, default=None)

    def shared_out(self, batch: T) -> T:
        """A batch whose samples are spread over the devices.

        Gradients are then summed over them; steps of equal length need no other word between them.
        """
        if self.mesh is None:
            return batch
        axes = jax.sharding.PartitionSpec(self.mesh.axis_names)
        where = jax.sharding.NamedSharding(self.mesh, axes)
        return jax.tree.map(lambda x: jax.lax.with_sharding_constraint(x, where), batch)


class Hyperparameters(eqx.Module):
    """The numbers of a training, traced: one compiled program serves all their values."""

    energy_weight: Float[Array, ""]
    learning_rate: Float[Array, ""]
    weight_decay: Float[Array, ""]
    clip_norm: Float[Array, ""]
    input_noise: Float[Array, ""]
    ema_decay: Float[Array, ""]
    warmup_steps: Float[Array, ""]
    energy_warmup_steps: Float[Array, ""]
    total_steps: Float[Array, ""]

    @classmethod
    def of(cls, config: TrainConfig, num_batches: int, dtype: Any) -> "Hyperparameters":
        """Those of a configuration, for epochs of `num_batches` steps."""
        names = (
            *("energy_weight", "learning_rate", "weight_decay", "clip_norm", "input_noise"),
            "ema_decay",
        )
        numbers = {name: jnp.asarray(getattr(config, name), dtype) for name in names}
        return cls(
            **numbers,
            warmup_steps=jnp.asarray(config.warmup_epochs * num_batches, dtype),
            energy_warmup_steps=jnp.asarray(config.energy_warmup_epochs * num_batches, dtype),
            total_steps=jnp.asarray(config.epochs * num_batches, dtype),
        )

    def energy_weight_at(self, step: Int[Array, ""]) -> Float[Array, ""]:
        """Linear warm-up to the weight."""
        done = step.astype(self.total_steps.dtype)
        return self.energy_weight * jnp.minimum(
            1, (done + 1) / jnp.maximum(self.energy_warmup_steps, 1)
        )

    def learning_rate_at(self, step: Int[Array, ""]) -> Float[Array, ""]:
        """Linear warm-up to the peak, then a cosine down to a hundredth of it."""
        done = step.astype(self.total_steps.dtype)
        warm = (done + 1) / jnp.maximum(self.warmup_steps, 1)
        rest = jnp.maximum(self.total_steps - self.warmup_steps, 1)
        phase = jnp.clip((done - self.warmup_steps) / rest, 0, 1)
        cosine = 0.01 + 0.99 * 0.5 * (1 + jnp.cos(jnp.pi * phase))
        return self.learning_rate * jnp.minimum(warm, cosine)


class Info(eqx.Module):
    """What a step reports: means over its batch, and whether all that it left is finite."""

    loss: Float[Array, "*steps"]
    cross_entropy: Float[Array, "*steps"]
    energy: Float[Array, "*steps"]
    accuracy: Float[Array, "*steps"]
    finite: Bool[Array, "*steps"]


def init(
    model: nnx.Module, key: PRNGKeyArray, *, optimiser: Any = ADAMW, averaged: bool = False
) -> TrainState:
    """The state before the first step; with a moving average of the parameters if asked for."""
    graph, variables = nnx.split(model)
    average = variables if averaged else None
    return TrainState(graph, variables, optimiser.init(variables), jnp.array(0), key, average)


def loss(
    variables: PyTree,
    graph: Any,
    inputs: Float[Array, "n d"],
    labels: Int[Array, " n"],
    energy_weight: Float[Array, ""],
    method: Method,
    key: PRNGKeyArray | None = None,
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """Cross-entropy plus the weighted price of the paths, means over the samples.

    Plain training is a program of its own: a price of weight zero would change no number on
    paper, but XLA rounds differently where it fuses one more term, and zero times an overflow is
    NaN.

    Returns:
        The loss, and its parts.

    Gradient: exact for the discretised path (the steps that were taken).
    """
    each, right, path = _cross_entropy(variables, graph, inputs, labels, method, key)
    cross_entropy = jnp.mean(each)
    parts = {
        "cross_entropy": cross_entropy,
        "energy": jnp.mean(path.energy),
        "accuracy": jnp.mean(right),
    }
    if method.regulariser is None:
        return cross_entropy, parts
    return cross_entropy + energy_weight * jnp.mean(method.regulariser(path)), parts


def _cross_entropy(variables, graph, inputs, labels, method: Method, key=None):
    """Cross-entropy of each sample, whether it was told right (0 or 1), and the paths."""
    model = nnx.merge(graph, variables)
    costs = None if method.regulariser is None else method.regulariser.costs
    path = model.path(
        inputs,
        num_steps=method.num_steps,
        solver=method.solver,
        costs=costs,
        save="end",
        throw=False,
        # one random probe for each path, where a price asks for derivatives of the velocity
        **({"key": key} if key is not None and differentiates(costs) else {}),
    )
    logits = model.read(path.end)
    chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], axis=-1)
    right = jnp.argmax(logits, axis=-1).astype(labels.dtype) == labels
    return -chosen[:, 0], right.astype(inputs.dtype), path


def step(
    state: TrainState,
    inputs: Float[Array, "n d"],
    labels: Int[Array, " n"],
    hyper: Hyperparameters,
    *,
    method: Method,
) -> tuple[TrainState, Info]:
    """One step of the optimiser on one batch."""
    noise = jax.random.normal(_key(state, "noise"), inputs.shape, inputs.dtype)
    (value, parts), gradient = jax.value_and_grad(loss, has_aux=True)(
        state.variables,
        state.graph,
        inputs + hyper.input_noise * noise,
        labels,
        hyper.energy_weight_at(state.step),
        method,
        _key(state, "probe"),
    )
    optimiser = state.optimiser
    if method.optimiser is ADAMW:
        optimiser = optimiser._replace(
            hyperparams={
                "learning_rate": hyper.learning_rate_at(state.step),
                "weight_decay": hyper.weight_decay,
                "clip_norm": hyper.clip_norm,
            }
        )
    updates, optimiser = method.optimiser.update(gradient, optimiser, state.variables)
    variables = optax.apply_updates(state.variables, updates)
    finite = jnp.isfinite(value) & all_finite(variables)
    average = state.average
    if average is not None:
        # at the start the mean of all so far, which the first parameters do not dominate
        count = (state.step + 1).astype(hyper.ema_decay.dtype)
        kept = jnp.minimum(hyper.ema_decay, (count - 1) / count)
        average = optax.incremental_update(variables, average, 1 - kept)
    after = TrainState(state.graph, variables, optimiser, state.step + 1, state.key, average)
    return after, Info(loss=value, finite=finite, **parts)


@eqx.filter_jit
def epoch(
    state: TrainState,
    inputs: Float[Array, "n d"],
    labels: Int[Array, " n"],
    hyper: Hyperparameters,
    method: Method,
) -> tuple[TrainState, Info]:
    """One pass over all samples in random order, in whole batches.

    Returns:
        The state, and what each of its steps reported.
    """
    num_batches = len(labels) // method.batch_size
    order = jax.random.permutation(_key(state, "order"), len(labels))
    batches = order[: num_batches * method.batch_size].reshape(num_batches, method.batch_size)

    def one(state, rows):
        batch = method.shared_out((inputs[rows], labels[rows]))
        return step(state, *batch, hyper, method=method)

    return jax.lax.scan(one, state, batches)


@eqx.filter_jit
def validate(
    state: TrainState, inputs: Float[Array, "n d"], labels: Int[Array, " n"], method: Method
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Cross-entropy and accuracy of the model on samples, batch by batch, in the steps of training.

    Means over the samples; the last batch is filled up with copies that do not count.
    """
    graph, variables = nnx.split(state.model)
    plain = eqx.tree_at(lambda m: m.regulariser, method, None, is_leaf=lambda x: x is None)
    size = min(method.batch_size, len(labels))
    rows = jnp.arange(-(-len(labels) // size) * size)
    counts = (rows < len(labels)).reshape(-1, size)
    rows = jnp.minimum(rows, len(labels) - 1).reshape(-1, size)

    def one(batch):
        places, counted = batch
        parts = _cross_entropy(variables, graph, inputs[places], labels[places], plain)[:2]
        return [jnp.sum(jnp.where(counted, part, 0)) for part in parts]

    entropy, right = jax.lax.map(one, (rows, counts))
    return jnp.sum(entropy) / len(labels), jnp.sum(right) / len(labels)


def _key(state: TrainState, purpose: str) -> PRNGKeyArray:
    """A key for one purpose at one step, whatever was drawn before."""
    purposes = ("order", "noise", "probe")
    return jax.random.fold_in(jax.random.fold_in(state.key, purposes.index(purpose)), state.step)
