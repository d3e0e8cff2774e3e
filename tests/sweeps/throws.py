"""A task that compiles in a moment, with a known answer; imported by name, as workers do."""

import dataclasses

import jax
import jax.numpy as jnp

from geojax._core.results import RESULTS
from geojax.sweeps import AbstractTask, FunctionTask, Outcome, Program, Static, Traced


@dataclasses.dataclass(frozen=True)
class Throw:
    angle: Traced[float] = 0.5
    speed: Traced[float] = 1.0
    seed: Traced[int] = 0
    power: Static[int] = 1

    def __post_init__(self):
        if self.speed < 0:
            raise ValueError("speed is negative")


def distance(config, key):
    reach = config.speed**2 * jnp.sin(2 * config.angle) ** config.power
    return {
        # a speed of zero has no logarithm
        "log_reach": jnp.where(config.speed > 0, reach, jnp.nan),
        "noise": jax.random.normal(key),
        "flight": jnp.linspace(0.0, 1.0, 3) * reach,
    }


throw = FunctionTask(function=distance, config=Throw, objective="log_reach", maximise=True)


@dataclasses.dataclass(frozen=True)
class Walk:
    step: Traced[float] = 0.1
    length: Static[int] = 6


@dataclasses.dataclass(frozen=True, kw_only=True)
class WalkTask(AbstractTask):
    """Sums its step, segment by segment; the start is drawn with the key of the trial."""

    config = Walk
    objective = "place"
    maximise = True

    def lane(self, config):
        return {"step": jnp.asarray(config.step)}

    def program(self, config):
        def start(shared, lane, key):
            begin = jax.random.uniform(key, dtype=lane["step"].dtype)
            return {"place": begin, "begin": begin, "key": key, "done": jnp.array(0)}

        def advance(shared, lane, state):
            place = state["place"] + lane["step"]
            return {**state, "place": place, "done": state["done"] + 1}

        def finish(shared, lane, state):
            metrics = {"place": state["place"], "begin": state["begin"], "done": state["done"]}
            return Outcome(metrics, {}, RESULTS.successful)

        return Program((), start, advance, finish, config.length)


walk = WalkTask()
