"""A trial of about a tenth of a second, whose value is known: the angle after many rotations."""

import dataclasses

import jax
import jax.numpy as jnp

from geojax.sweeps import FunctionTask, Traced

ROTATIONS = 4_000_000


@dataclasses.dataclass(frozen=True)
class Turn:
    angle: Traced[float] = 0.1


def turn(config, key):
    cosine, sine = jnp.cos(config.angle), jnp.sin(config.angle)

    def one(_, point):
        return point[0] * cosine - point[1] * sine, point[0] * sine + point[1] * cosine

    x, y = jax.lax.fori_loop(0, ROTATIONS, one, (jnp.ones(()), jnp.zeros(())))
    return {"x": x, "y": y, "draw": jax.random.uniform(key)}


task = FunctionTask(function=turn, config=Turn, objective="x", maximise=True)
