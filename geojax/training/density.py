"""Training of densities: maximum likelihood with a price on the paths, from one integration."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from geojax._core import checks
from geojax._core.errors import InputError
from geojax._core.results import RESULTS, all_finite
from geojax.networks import DensityFlow
from geojax.training.checkpoints import identity_of
from geojax.training.regularisers import AbstractRegulariser, Mixture
from geojax.training.rounds import Round, history_of, train
from geojax.training.state import TrainState


class DensityInfo(eqx.Module):
    """What a step reports: means over its batch.

    Attributes:
        loss: with the price.
        negative_log_likelihood: in nats per point.
        energy: of the paths.
        finite: whether all that the step left is finite.
    """

    loss: Float[Array, "*steps"]
    negative_log_likelihood: Float[Array, "*steps"]
    energy: Float[Array, "*steps"]
    finite: Bool[Array, "*steps"]


class DensityMethod(eqx.Module):
    """How a density is trained; a change of it compiles anew.

    Attributes:
        regulariser: what a path costs, added with weight one (weights are in `Mixture`); None for
            plain maximum likelihood, whose program knows no price.
        divergence: `"exact"` or `"hutchinson"`.
        num_steps: equal steps of the solver.
        solver: a diffrax solver.
        optimiser: an optax optimiser.
    """

    regulariser: AbstractRegulariser | None = None
    divergence: str = eqx.field(static=True, default="exact")
    num_steps: int = eqx.field(static=True, default=8)
    solver: diffrax.AbstractSolver = diffrax.Bosh3()
    optimiser: Any = eqx.field(static=True, default=optax.adam(1e-3))


def density_init(flow: DensityFlow, key: PRNGKeyArray, method: DensityMethod) -> TrainState:
    """The state before the first step."""
    graph, variables = nnx.split(flow)
    return TrainState(graph, variables, method.optimiser.init(variables), jnp.array(0), key)


def density_step(
    state: TrainState, points: Float[Array, "n d"], method: DensityMethod
) -> tuple[TrainState, DensityInfo]:
    """One step of the optimiser on one batch of points: a pure function.

    The probes of a stochastic divergence are drawn anew at every step.
    """
    key = jax.random.fold_in(state.key, state.step)

    def loss(variables):
        stochastic = method.divergence == "hutchinson"
        log_prob, path = nnx.merge(state.graph, variables).back(
            points,
            divergence=method.divergence,
            key=key if stochastic else None,
            costs=None if method.regulariser is None else method.regulariser.costs,
            num_steps=method.num_steps,
            solver=method.solver,
            throw=False,
        )
        value = likelihood = -jnp.mean(log_prob)
        if method.regulariser is not None:
            value = value + jnp.mean(method.regulariser(path))
        return value, (likelihood, jnp.mean(path.energy))

    (value, parts), gradient = jax.value_and_grad(loss, has_aux=True)(state.variables)
    updates, optimiser = method.optimiser.update(gradient, state.optimiser, state.variables)
    variables = optax.apply_updates(state.variables, updates)
    finite = jnp.isfinite(value) & all_finite(variables)
    after = TrainState(state.graph, variables, optimiser, state.step + 1, state.key)
    return after, DensityInfo(value, parts[0], parts[1], finite)


@eqx.filter_jit
def density_steps(
    state: TrainState,
    points: Float[Array, "m d"],
    method: DensityMethod,
    batch_size: int,
    num_steps: int,
) -> tuple[TrainState, DensityInfo]:
    """Some steps on batches drawn from the points with replacement; what each step reported."""

    def one(state, _):
        key = jax.random.fold_in(jax.random.fold_in(state.key, 1), state.step)
        rows = jax.random.randint(key, (batch_size,), 0, len(points))
        return density_step(state, points[rows], method)

    return jax.lax.scan(one, state, length=num_steps)


class DensityFit(eqx.Module):
    """What a training of a density came to.

    Attributes:
        state: after the last report that stayed finite.
        history: means between reports of "loss", "negative_log_likelihood" and "energy".
        result: result code; `diverged` if the training broke off.
    """

    state: TrainState
    history: dict[str, np.ndarray]
    result: RESULTS

    @property
    def flow(self) -> DensityFlow:
        """The trained density."""
        return self.state.model


def fit_density(
    points: Float[np.ndarray | Array, "m d"],
    flow: DensityFlow,
    *,
    regulariser: AbstractRegulariser | None = None,
    divergence: str = "exact",
    steps: int = 2000,
    batch_size: int = 256,
    learning_rate: float = 3e-3,
    num_steps: int = 8,
    solver: diffrax.AbstractSolver | None = None,
    report_every: int = 200,
    seed: int = 0,
    checkpoints: str | Path | None = None,
    checkpoint_every: int = 1,
    callback: Callable[[int, dict[str, float]], Any] | None = None,
    throw: bool = True,
) -> DensityFit:
    """Fit a density to points by maximum likelihood, with Adam.

    Args:
        points: samples `[m, d]`, of mean about 0 and deviation about 1 at best.
        flow: where to begin; it is not changed.
        regulariser: added to the negative log-likelihood with weight one; give weights with
            `Mixture`. None, or a `Mixture` of weights zero, is plain maximum likelihood to the
            last bit.
        divergence: `"exact"`, or `"hutchinson"` for many dimensions.
        steps: of the optimiser.
        batch_size: points in a batch.
        learning_rate: at first; it falls along a cosine to a hundredth.
        num_steps: equal steps of the solver while training.
        solver: a diffrax solver; Bosh3 if None.
        report_every: steps from one entry of the history to the next; the last may be shorter.
        seed: of the batches and probes.
        checkpoints, checkpoint_every: folder in which the training saves where it stands, and
            reports from one save to the next; as for `fit`.
        callback: called with the number of steps and the entries of the history.
        throw: raise if the training breaks off; otherwise `result` says so.

    Raises:
        InputError: points of another dimension than the flow's, or checkpoints of another training.
        StorageError: a checkpoint cannot be written.
        NumericalError: the loss or the parameters are not finite.

    Example:
        >>> import jax
        >>> from flax import nnx
        >>> from geojax.networks import DensityFlow
        >>> from geojax.training import KineticEnergy, toy_samples
        >>> points = toy_samples("two_moons", jax.random.key(0), 500)
        >>> flow = DensityFlow(2, (16,), rngs=nnx.Rngs(0))
        >>> done = fit_density(points, flow, regulariser=KineticEnergy(), steps=4, report_every=2)
        >>> done.history["energy"].shape
        (2,)

    Reference: [grathwohl2019ffjord], [finlay2020train]
    """
    points = jnp.asarray(points, flow.dtype)
    if points.ndim != 2 or points.shape[1] != flow.num_features:
        raise InputError(
            f"Argument points must be [m, {flow.num_features}], as the flow was made for, but has "
            f"shape {list(points.shape)}."
        )
    checks.finite(points, "points")
    checks.count(steps, "steps")
    checks.count(batch_size, "batch_size")
    checks.positive(learning_rate, "learning_rate")
    checks.count(report_every, "report_every")
    schedule = optax.cosine_decay_schedule(learning_rate, steps, alpha=0.01)
    if isinstance(regulariser, Mixture) and not regulariser.weights:
        regulariser = None
    method = DensityMethod(
        regulariser,
        divergence,
        num_steps,
        diffrax.Bosh3() if solver is None else solver,
        optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule)),
    )
    state = density_init(flow, jax.random.key(seed), method)

    def done(number: int) -> int:
        # what is left at the end is trained and reported as well
        return min(number * report_every, steps)

    def one(number: int, state: TrainState) -> Round:
        first, last = done(number - 1), done(number)
        after, info = density_steps(state, points, method, batch_size, last - first)
        if np.asarray(info.finite).all():
            means = {name: float(np.mean(getattr(info, name))) for name in HISTORY}
            return Round(after, means, None)
        what = (
            f"fit_density: not finite within steps {first + 1} to {last}; "
            f"lower learning_rate ({learning_rate:g}) or raise num_steps ({num_steps})."
        )
        return Round(after, {}, what)

    def identity() -> dict[str, Any]:
        setting = {"steps": steps, "batch_size": batch_size, "learning_rate": learning_rate}
        setting |= {"divergence": divergence, "num_steps": num_steps, "seed": seed}
        setting |= {"report_every": report_every}
        parts = {"price": method.regulariser, "solver": method.solver}
        return identity_of((points,), setting, **parts, flow=(state.graph, state.variables))

    standing, result = train(
        state,
        -(-steps // report_every),
        one,
        checkpoints=checkpoints,
        checkpoint_every=checkpoint_every,
        identity=identity,
        callback=None if callback is None else lambda number, means: callback(done(number), means),
        throw=throw,
    )
    return DensityFit(standing.state, history_of(standing, HISTORY), result)


HISTORY = ("loss", "negative_log_likelihood", "energy")
