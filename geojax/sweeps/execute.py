"""Running a chunk: its lanes as one compiled program, segment by segment."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from geojax._core.errors import InputError
from geojax._core.results import result_name
from geojax.sweeps.definition import Sweep
from geojax.sweeps.tasks import Outcome, Program
from geojax.sweeps.tasks.base import RESERVED
from geojax.sweeps.trials import Chunk, Trial, key_data, stacked

# What XLA says where a device is lost to its process, whatever is run on it.
_LOST = ("CUDA_ERROR", "CUDNN_STATUS", "hipError", "UNAVAILABLE:", "DATA_LOSS:")


class Stopped(Exception):
    """The run was asked to end; the chunk can be gone on with."""


class WrongDefinition(InputError):
    """The definition is wrong in what only the program shows: no point could be right."""


class Compiled(NamedTuple):
    """The compiled program of a group for a number of lanes.

    Attributes:
        start, advance, finish: of all lanes; their second argument is how many are in use.
        state: its structure, abstract.
        seconds: that compiling took.
        num_bytes: that it needs, beside what all lanes share.
        shared: on the device.
    """

    start: Callable
    advance: Callable | None
    finish: Callable
    state: PyTree
    seconds: float
    num_bytes: int
    shared: PyTree


class Executor:
    """Runs chunks of a sweep on one device; each group is compiled once per number of lanes.

    Args:
        sweep: the definition.
        device: of JAX; the default one if None.

    Attributes:
        num_compiled: programs compiled so far.
    """

    def __init__(self, sweep: Sweep, device: Any = None):
        self.sweep, self.device = sweep, device
        self.num_compiled = 0
        self._programs: dict[str, Program] = {}
        self._compiled: dict[tuple[str, int, int], Compiled] = {}
        self._alone: dict[str, Callable] = {}

    def program(self, trial: Trial) -> Program:
        """The program of the group of a trial."""
        if trial.group not in self._programs:
            config = self.sweep.task.make(trial.values)
            self._programs[trial.group] = self.sweep.task.program(config)
        return self._programs[trial.group]

    def inputs(self, trials: list[Trial], lanes: int) -> tuple[PyTree, PyTree]:
        """Lanes and keys of some trials, filled up."""
        task = self.sweep.task
        rows = [task.lane(task.make(trial.values)) for trial in trials]
        filled = [*trials, *[trials[0]] * (lanes - len(trials))]
        keys = key_data(self.sweep.seed, filled)
        return stacked(rows, lanes), jax.random.wrap_key_data(jnp.asarray(keys))

    def compiled(self, trial: Trial, lanes: int, width: int) -> Compiled:
        """The program of the group of a trial, compiled for so many lanes."""
        key = trial.group, lanes, width
        if key not in self._compiled:
            program = self.program(trial)
            begun = time.perf_counter()
            shared = jax.device_put(program.shared, self.device)
            inputs = self.inputs([trial], lanes)
            lane, keys = jax.tree.map(_abstract, inputs)

            def compile(function, *arguments, donate=()):
                # arrays that a lane overwrites are not kept twice
                mapped = jax.jit(_over(function, width), donate_argnums=donate)
                count = jax.ShapeDtypeStruct((), np.int32)
                made = mapped.lower(jax.tree.map(_abstract, shared), count, *arguments).compile()
                return made, jax.eval_shape(mapped, shared, count, *arguments)

            with jax.default_device(self.device):
                start, state = compile(program.start, lane, keys)
                parts = [start]
                advance = None
                if program.num_segments:
                    advance, _ = compile(program.advance, lane, state, donate=(3,))
                    parts.append(advance)
                finish, outcome = compile(program.finish, lane, state)
                parts.append(finish)
            self._check_names(outcome)
            seconds = time.perf_counter() - begun
            num_bytes = max(_num_bytes(part) for part in parts)
            self._compiled[key] = Compiled(
                start, advance, finish, state, seconds, num_bytes, shared
            )
            self.num_compiled += 1
        return self._compiled[key]

    def _check_names(self, outcome: Outcome) -> None:
        """Metrics and fields are columns of one table."""
        known = {*self.sweep.task.hints(), *RESERVED}
        for name in [*outcome.metrics, *(f"{name}_curve" for name in outcome.curves)]:
            if not name or '"' in name:
                raise WrongDefinition(f"metric {name!r}: is no name of a column; rename it")
            if name.lower() in {other.lower() for other in known}:
                raise WrongDefinition(
                    f"metric {name!r}: is the name of a field or a column already; rename it"
                )
            known.add(name)
        if self.sweep.objective not in outcome.metrics:
            raise WrongDefinition(
                f"objective: {self.sweep.objective!r} is no metric; use one of "
                f"{', '.join(outcome.metrics)}"
            )

    def run(
        self,
        chunk: Chunk,
        *,
        state: PyTree = None,
        done: int = 0,
        stop: Callable[[], bool] = lambda: False,
        save: Callable[[PyTree, int], Any] | None = None,
        beat: Callable[[int], object] = lambda segments: None,
    ) -> tuple[list[dict[str, Any]], PyTree]:
        """Run a chunk to its end.

        Args:
            chunk: what to run.
            state, done: of its lanes after so many segments, where it goes on.
            stop: asked after each segment whether to leave it at that.
            save: called with the state and the number of segments after each.
            beat: called before each part of the work with how many segments, or as much, it takes.

        Returns:
            A row for each trial, and the state of the lanes.

        Raises:
            Stopped: `stop` said so.
            InputError: what the task returns is no table row.
        """
        trials = list(chunk.trials)
        compiled = self.compiled(trials[0], chunk.lanes, chunk.width)
        begun = time.perf_counter()
        lanes, keys = jax.device_put(self.inputs(trials, chunk.lanes), self.device)
        common = compiled.shared, np.int32(len(trials)), lanes
        if state is None:
            state = jax.block_until_ready(compiled.start(*common, keys))
        last = self.last(chunk)
        while done < last:
            assert compiled.advance is not None
            beat(1)
            state = jax.block_until_ready(compiled.advance(*common, state))
            done += 1
            if save is not None and done < last:
                save(state, done)
            if done < last and stop():
                raise Stopped
        beat(1)
        outcome = jax.device_get(compiled.finish(*common, state))
        seconds = time.perf_counter() - begun
        rows = [
            {
                **_row(outcome, k),
                "seconds": seconds / len(trials),
                "compile_seconds": compiled.seconds,
                "segments": done,
            }
            for k in range(len(trials))
        ]
        for k, trial in enumerate(trials):
            if trial.id in chunk.alone and last == self.program(trial).num_segments:
                beat(last + 3)  # and compiles, starts and finishes
                rows[k]["deviation"] = self._deviation(trial, outcome, k)
        beat(1)
        return rows, state

    def state_like(self, chunk: Chunk) -> PyTree:
        """The structure, shapes and dtypes of the state of a chunk's lanes."""
        return self.compiled(chunk.trials[0], chunk.lanes, chunk.width).state

    def last(self, chunk: Chunk) -> int:
        """The segment at which a chunk ends."""
        count = self.program(chunk.trials[0]).num_segments
        return count if chunk.segments[1] < 0 else chunk.segments[1]

    def alone(self, trial: Trial) -> Outcome:
        """What a trial comes to without neighbours, in a program of its own."""
        program = self.program(trial)
        task = self.sweep.task
        lane = task.lane(task.make(trial.values))
        (key,) = jax.random.wrap_key_data(jnp.asarray(key_data(self.sweep.seed, [trial])))

        def whole(shared, lane, key):
            state = program.start(shared, lane, key)
            if program.num_segments:
                state = jax.lax.fori_loop(
                    0, program.num_segments, lambda _, s: program.advance(shared, lane, s), state
                )
            return program.finish(shared, lane, state)

        if trial.group not in self._alone:
            self._alone[trial.group] = jax.jit(whole)
        with jax.default_device(self.device):
            return jax.device_get(self._alone[trial.group](program.shared, lane, key))

    def _deviation(self, trial: Trial, outcome: Outcome, lane: int) -> float:
        """Largest difference of a metric from what the trial comes to alone, relative above 1."""
        alone = self.alone(trial)
        gaps = []
        for name, values in outcome.metrics.items():
            here, there = np.float64(values[lane]), np.float64(alone.metrics[name])
            if here == there or (np.isnan(here) and np.isnan(there)):
                gaps.append(0.0)
            else:
                gaps.append(float(abs(here - there) / max(1.0, abs(there))))
        return max(gaps, default=0.0)


def is_of_device(error: BaseException) -> bool:
    """Whether an error says that a device is lost to this process, whatever is run on it."""
    return isinstance(error, jax.errors.JaxRuntimeError) and any(
        mark in str(error) for mark in _LOST
    )


def _over(function: Callable, width: int) -> Callable:
    """A function of one lane as one of all lanes, in lockstep or, at a width of 1, in turn.

    In turn, those that are not in use cost nothing, and come to zeros.
    """

    def mapped(shared, count, *arguments):
        def one(arguments):
            return function(shared, *arguments)

        lanes = jax.tree.leaves(arguments)[0].shape[0]
        if width > 1:
            return jax.vmap(one)(arguments)

        def advance(k, results):
            found = one(jax.tree.map(lambda leaf: leaf[k], arguments))
            return jax.tree.map(lambda leaf, part: leaf.at[k].set(part), results, found)

        def empty(like):
            return jax.lax.full((lanes, *like.shape), 0, like.dtype)

        first = jax.tree.map(lambda leaf: leaf[0], arguments)
        results = jax.tree.map(empty, jax.eval_shape(one, first))
        return jax.lax.fori_loop(0, count, advance, results)

    return mapped


def _row(outcome: Outcome, lane: int) -> dict[str, Any]:
    """Status, metrics and curves of a lane."""
    code = result_name(jax.tree.map(lambda leaf: leaf[lane], outcome.result))
    metrics = {name: values[lane].item() for name, values in outcome.metrics.items()}
    curves = {f"{name}_curve": values[lane].tolist() for name, values in outcome.curves.items()}
    status, reason = "ok", ""
    nan = [name for name, value in metrics.items() if value != value]
    if code in ("not_finite", "diverged") or (code == "successful" and nan):
        status = "nonfinite"
        reason = code if code != "successful" else f"{nan[0]} is not a number"
    elif code != "successful":
        status, reason = "failed", code
    return {"status": status, "reason": reason, **metrics, **curves}


def _abstract(leaf: Any) -> jax.ShapeDtypeStruct:
    dtype = jax.dtypes.canonicalize_dtype(leaf.dtype, allow_extended_dtype=True)
    return jax.ShapeDtypeStruct(jnp.shape(leaf), dtype)


def _num_bytes(compiled: Any) -> int:
    """Bytes that a compiled program holds at once."""
    found = compiled.memory_analysis()
    if found is None:  # this backend does not say
        return 0
    parts = ("temp_size_in_bytes", "argument_size_in_bytes", "output_size_in_bytes")
    total = sum(getattr(found, part, 0) for part in parts)
    return total - getattr(found, "alias_size_in_bytes", 0)
