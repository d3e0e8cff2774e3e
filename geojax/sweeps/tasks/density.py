"""Sweeps of densities: flows of points that maximum likelihood and a price on their paths train."""

import dataclasses
import functools
import math
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import PyTree

from geojax import io
from geojax._core import checks
from geojax._core.errors import InputError
from geojax._core.results import RESULTS, code_if
from geojax._core.roles import Static, Traced
from geojax.networks import ACTIVATIONS, DensityFlow
from geojax.sweeps.tasks.base import AbstractTask, Outcome, Program, hash_of
from geojax.training import (
    TOY_DENSITIES,
    DensityMethod,
    JacobianNorm,
    KineticEnergy,
    Mixture,
    density_init,
    density_step,
    toy_samples,
)

# Steps of the optimiser between two looks at the clock.
SEGMENT = 100
HISTORY: tuple[str, ...] = ("loss", "negative_log_likelihood")


@dataclass(frozen=True, kw_only=True)
class DensityConfig:
    """Settings of a density; see `fit_density`, whose Adam and cosine these are.

    Attributes:
        learning_rate: at first.
        energy_weight: price of the kinetic energy of the paths.
        jacobian_weight: price of the squared Jacobian of the velocity along them.
        seed: of the initialisation and of the batches.
        widths, activation, potential: of the velocity, as for `DensityFlow`.
        steps: of the optimiser.
        batch_size: points in a batch.
        num_steps: equal steps of the solver (Bosh3).
    """

    learning_rate: Traced[float] = 3e-3
    energy_weight: Traced[float] = 0.05
    jacobian_weight: Traced[float] = 0.0
    seed: Traced[int] = 0
    widths: Static[tuple[int, ...]] = (64, 64)
    activation: Static[str] = "tanh"
    potential: Static[bool] = False
    steps: Static[int] = 2000
    batch_size: Static[int] = 256
    num_steps: Static[int] = 8

    def __post_init__(self):
        checks.positive(self.learning_rate, "learning_rate")
        for name in ("energy_weight", "jacobian_weight"):
            checks.non_negative(getattr(self, name), name)
        checks.count(self.seed, "seed", least=0)
        for name in ("steps", "batch_size", "num_steps"):
            checks.count(getattr(self, name), name)
        for width in self.widths:
            checks.count(width, "widths")
        if self.activation not in ACTIVATIONS:
            raise InputError(f"activation: {self.activation!r} is none of {', '.join(ACTIVATIONS)}")


@dataclass(frozen=True, kw_only=True)
class DensityTask(AbstractTask):
    """Train a density at each point and measure it on points that it was not trained on.

    Metrics: "test_negative_log_likelihood" (nats per point), "energy" of the paths, and "loss" and
    "negative_log_likelihood" over the last segment. Curves: the latter two, segment by segment.

    Args:
        data: two_moons, eight_gaussians, checkerboard or pinwheel, or a file of points `[m, d]`
            (.npy, .csv, ...).
        num_points: points that are drawn of one of these densities.
        test_fraction: part of the points that is kept for testing.
    """

    config: ClassVar[type] = DensityConfig
    objective: ClassVar[str] = "test_negative_log_likelihood"

    data: str = "two_moons"
    num_points: int = 4096
    test_fraction: float = 0.25

    def __post_init__(self):
        checks.count(self.num_points, "num_points", least=8)
        if not 0 < self.test_fraction < 1:
            raise InputError(f"test_fraction: {self.test_fraction} is not between 0 and 1")
        if self.data not in TOY_DENSITIES:
            read_points(self.data)

    def lane(self, config: DensityConfig) -> PyTree:
        real = jnp.zeros(()).dtype
        numbers = ("learning_rate", "energy_weight", "jacobian_weight")
        found = {name: np.asarray(getattr(config, name), real) for name in numbers}
        return {**found, "seed": np.asarray(config.seed, np.uint32)}

    def variant(self, config: DensityConfig) -> dict[str, Any]:
        # a price of zero is a program without it
        return {"priced": [config.energy_weight > 0, config.jacobian_weight > 0]}

    def program(self, config: DensityConfig) -> Program:
        train, test = self.points()
        count = max(1, round(config.steps / SEGMENT))
        length = math.ceil(config.steps / count)
        prices = [
            (KineticEnergy(), "energy_weight", config.energy_weight > 0),
            (JacobianNorm(), "jacobian_weight", config.jacobian_weight > 0),
        ]

        def method(lane) -> DensityMethod:
            schedule = optax.cosine_decay_schedule(1.0, config.steps, alpha=0.01)
            kept = [(price, lane[name]) for price, name, used in prices if used]
            return DensityMethod(
                Mixture([p for p, _ in kept], [w for _, w in kept]) if kept else None,
                num_steps=config.num_steps,
                optimiser=optax.chain(
                    optax.clip_by_global_norm(1.0),
                    optax.scale_by_adam(),
                    optax.scale_by_schedule(schedule),
                    optax.scale(-lane["learning_rate"]),
                ),
            )

        def start(shared, lane, key):
            key = jax.random.key(lane["seed"])
            flow = DensityFlow(
                shared[0].shape[1],
                config.widths,
                activation=config.activation,
                potential=config.potential,
                dtype=shared[0].dtype,
                rngs=nnx.Rngs(jax.random.fold_in(key, 0)),
            )
            state = density_init(flow, jax.random.fold_in(key, 1), method(lane))
            history = jnp.full((2, count), jnp.nan, shared[0].dtype)
            return {"state": state, "history": history, "broken": jnp.array(False)}

        def advance(shared, lane, carry):
            made, points = method(lane), shared[0]

            def one(carry, _):
                state, sums, broken = carry
                rows = jax.random.randint(
                    jax.random.fold_in(jax.random.fold_in(state.key, 1), state.step),
                    (config.batch_size,), 0, len(points),
                )  # fmt: skip
                after, info = density_step(state, points[rows], made)
                # the last segment may be shorter
                due = state.step < config.steps
                keep = functools.partial(_where, due)
                entries = jnp.stack([info.loss, info.negative_log_likelihood])
                sums = sums + jnp.where(due, jnp.append(entries, 1.0), 0.0).astype(sums.dtype)
                broken = broken | (due & ~info.finite)
                return (jax.tree.map(keep, after, state), sums, broken), None

            segment = carry["state"].step // length
            zero = jnp.zeros(3, points.dtype)
            begin = carry["state"], zero, carry["broken"]
            (state, sums, broken), _ = jax.lax.scan(one, begin, length=length)
            history = carry["history"].at[:, segment].set(sums[:2] / sums[2])
            return {"state": state, "history": history, "broken": broken}

        def finish(shared, lane, carry):
            state = carry["state"]
            log_prob, path = state.model.back(
                shared[1], num_steps=config.num_steps, solver=method(lane).solver, throw=False
            )
            last = jnp.maximum(jnp.minimum(-(-state.step // length), count) - 1, 0)
            loss, likelihood = carry["history"][:, last]
            metrics = {
                "test_negative_log_likelihood": -jnp.mean(log_prob),
                "energy": jnp.mean(path.energy),
                "loss": loss,
                "negative_log_likelihood": likelihood,
            }
            curves = dict(zip(HISTORY, carry["history"], strict=True))
            return Outcome(metrics, curves, code_if(carry["broken"], RESULTS.diverged))

        return Program((train, test), start, advance, finish, count)

    def points(self) -> tuple[np.ndarray, np.ndarray]:
        """Points to train on and points to test on."""
        if self.data in TOY_DENSITIES:
            points = np.asarray(toy_samples(self.data, jax.random.key(0), self.num_points))
        else:
            points = read_points(self.data)
        points = points.astype(jnp.zeros(()).dtype)
        order = np.random.default_rng(0).permutation(len(points))
        count = min(max(1, round(self.test_fraction * len(points))), len(points) - 1)
        return points[order[count:]], points[order[:count]]

    def fingerprint(self, config: DensityConfig) -> dict[str, Any]:
        if self.data in TOY_DENSITIES:
            return {}
        return {"data": hash_of(self.data)}


def read_points(path: str) -> np.ndarray:
    """Points of a file.

    Raises:
        InputError: no such file, or fewer than two points in it.
    """
    points = io.read_points(path).points
    if len(points) < 2:
        raise InputError(f"{path}: has one point; a density needs more")
    return points


def _where(condition, new, old):
    if dataclasses.is_dataclass(new) or not hasattr(new, "dtype"):
        return new
    if jnp.issubdtype(new.dtype, jax.dtypes.prng_key):
        return old
    return jnp.where(condition, new, old)
