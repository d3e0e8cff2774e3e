"""Trials of about a tenth of a second, or of some such segments, whose values are known.

A point of the circle is turned by the angle again and again: after N turns it is at N times it.
"""

import dataclasses
import os

import jax
import jax.numpy as jnp
from jax.experimental import io_callback

from geojax._core.results import RESULTS
from geojax.sweeps import AbstractTask, FunctionTask, Outcome, Program, Traced

TURNS = 4_000_000
SEGMENTS = 24
PADDING = 500_000  # numbers in a state, so that writing it takes a while


@dataclasses.dataclass(frozen=True)
class Turn:
    angle: Traced[float] = 0.1


def note(angle):
    """A byte for each time that the work begins: what is done twice is counted without geojax."""
    with open(os.environ["TALLY"], "ab", buffering=0) as stream:
        stream.write(b".")
    return angle


def turned(angle, point):
    angle = io_callback(note, jax.ShapeDtypeStruct(angle.shape, angle.dtype), angle)
    cosine, sine = jnp.cos(angle), jnp.sin(angle)

    def one(_, point):
        return point[0] * cosine - point[1] * sine, point[0] * sine + point[1] * cosine

    return jax.lax.fori_loop(0, TURNS, one, point)


def turn(config, key):
    x, y = turned(config.angle, (jnp.ones(()), jnp.zeros(())))
    return {"x": x, "y": y, "draw": jax.random.uniform(key)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Segments(AbstractTask):
    """The same in segments, with a state that is saved between them."""

    config = Turn
    objective = "x"
    maximise = True

    def lane(self, config):
        return jnp.asarray(config.angle)

    def program(self, config):
        def start(shared, lane, key):
            padding = jax.random.uniform(key, (PADDING,))
            return {"point": (jnp.ones(()), jnp.zeros(())), "padding": padding, "key": key}

        def advance(shared, lane, state):
            return {**state, "point": turned(lane, state["point"])}

        def finish(shared, lane, state):
            (x, y), padding = state["point"], state["padding"]
            draw = jax.random.uniform(state["key"])
            metrics = {"x": x, "y": y, "draw": draw, "padding": padding[0] + padding[-1]}
            return Outcome(metrics, {}, RESULTS.successful)

        return Program((), start, advance, finish, SEGMENTS)


task = FunctionTask(function=turn, config=Turn, objective="x", maximise=True)
segments = Segments()
