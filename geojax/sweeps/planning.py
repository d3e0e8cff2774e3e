"""What a sweep will take: programs, lanes, memory and time, measured before it runs."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from geojax._core import checks
from geojax._core.errors import DeviceError, GeojaxError, InputError
from geojax.sweeps.execute import Executor, is_of_device
from geojax.sweeps.trials import Trial

# Share of the memory that lanes may fill.
MEMORY_SHARE = 0.8
# Lanes beyond these bring nothing: a CPU is full with one, a GPU by then.
MOST_LANES = {"cpu": 16}
MOST_LANES_ELSEWHERE = 4096


@dataclass(frozen=True)
class GroupPlan:
    """How the trials of one program are packed.

    Attributes:
        group: its name.
        trials: how many there are.
        lanes: of a chunk.
        width: of them in lockstep.
        chunks: how many there are.
        segments: of the program.
        num_bytes: that a chunk needs.
        compile_seconds: that compiling took.
        seconds: that its chunks will take on one worker; None if that was not measured, or raised.
    """

    group: str
    trials: int
    lanes: int
    width: int
    chunks: int
    segments: int
    num_bytes: int
    compile_seconds: float
    seconds: float | None = None

    def size(self, count: int, workers: int) -> int:
        """Trials in a chunk where so many are left: no more than the share of a worker."""
        return max(1, min(self.lanes, -(-count // workers)))


def plan_group(
    executor: Executor,
    trial: Trial,
    count: int,
    *,
    workers: int = 1,
    memory_share: float = 1.0,
    lanes: int | None = None,
    timed: bool = False,
) -> GroupPlan:
    """Measure the program of a group and choose its lanes.

    As many lanes as the memory holds and there is work for; a power of two where not all fit at
    once, so that groups of about the same size share programs.

    Args:
        executor: that compiles it.
        trial: of the group.
        count: trials in all.
        workers: that share them.
        memory_share: of the memory of the machine that is this worker's, on a CPU.
        lanes: of a chunk, instead.
        timed: also run the first segment of one chunk, for an estimate of the time; where lanes go
            in turn, of one lane.

    Raises:
        InputError: the task cannot make its program.
        DeviceError: out of memory, or the device is lost.
    """
    device = executor.device or jax.devices()[0]
    room = MEMORY_SHARE * available_memory(device, memory_share)
    try:
        return _plan(
            executor, trial, count, device.platform, -(-count // workers), room, lanes, timed
        )
    except GeojaxError:
        raise
    except (Exception, SystemExit) as error:  # a task may end its process
        text = " ".join(str(error).split())[-500:]
        if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in text:
            raise DeviceError(f"out of memory ({text[:200]}); give fewer lanes") from error
        if is_of_device(error):
            raise DeviceError(f"the device fails ({text[:200]})") from error
        raise InputError(f"the task raised {type(error).__name__}: {text}") from error


def _plan(
    executor: Executor,
    trial: Trial,
    count: int,
    platform: str,
    share: int,
    room: float,
    lanes: int | None,
    timed: bool,
) -> GroupPlan:
    if lanes is None:
        most = MOST_LANES.get(platform, MOST_LANES_ELSEWHERE)
        # chunks of about the same size: what is filled up is computed in vain
        size = -(-share // -(-share // most))
    else:
        size = min(checks.count(lanes, "lanes"), count)
    # a CPU is full with one lane: eight in lockstep are 0.8 times as fast where a network has two
    # layers of 32, 1.7 times with one of 16, and take twice as long to compile
    width = 1 if platform == "cpu" else size
    compiled = executor.compiled(trial, size, width)
    while lanes is None and compiled.num_bytes > room and size > 1:
        # bytes grow like the lanes; the next try is the largest power of two that should fit
        fits = max(1, int(size * room / compiled.num_bytes))
        size = min(1 << (fits.bit_length() - 1), size // 2)
        width = min(width, size)
        compiled = executor.compiled(trial, size, width)
    chunks = -(-count // size)
    seconds = _time(executor, trial, size, width) if timed else None
    if seconds is not None:
        # lanes that are not used cost nothing where they go in turn
        seconds *= count if width == 1 else chunks
    return GroupPlan(
        group=trial.group,
        trials=count,
        lanes=size,
        width=width,
        chunks=chunks,
        segments=executor.program(trial).num_segments,
        num_bytes=compiled.num_bytes,
        compile_seconds=compiled.seconds,
        seconds=seconds,
    )


def _time(executor: Executor, trial: Trial, lanes: int, width: int) -> float | None:
    """Seconds of a chunk, or of a lane of it where these go in turn, from the first segment.

    None where the point raises: it will be a row that says so.
    """
    compiled = executor.compiled(trial, lanes, width)
    values, keys = jax.device_put(executor.inputs([trial], lanes), executor.device)
    common = compiled.shared, np.int32(1 if width == 1 else lanes), values
    count = executor.program(trial).num_segments

    def timed(function, *arguments):
        begun = time.perf_counter()
        found = jax.block_until_ready(function(*common, *arguments))
        return found, time.perf_counter() - begun

    try:
        state, first = timed(compiled.start, keys)
        each = 0.0
        if count:
            state, each = timed(compiled.advance, state)
        return first + count * each + timed(compiled.finish, state)[1]
    except Exception as error:
        if is_of_device(error) or "RESOURCE_EXHAUSTED" in str(error):
            raise
        return None


def available_memory(device: Any, share: float = 1.0) -> float:
    """Bytes that a device can give.

    On a CPU, a share of what the machine has, but no more than the control group of the process.
    """
    found = device.memory_stats() if device.platform != "cpu" else None
    if found and "bytes_limit" in found:
        return float(found["bytes_limit"] - found.get("bytes_in_use", 0))
    try:
        with open("/proc/meminfo") as stream:
            lines = dict(line.split(":") for line in stream)
        free = int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        free = checks.installed_memory()
    return float(min([free * share, *_group_memory()]))


def _group_memory() -> list[int]:
    """Bytes that are left to the control group of this process, such as a container or a job."""
    try:
        path = next(
            line.split(":", 2)[2].strip()
            for line in Path("/proc/self/cgroup").read_text().splitlines()
            if line.startswith("0:")
        )
        place = Path("/sys/fs/cgroup" + path)
        # within a container the path is that of the machine
        place = place if (place / "memory.max").exists() else Path("/sys/fs/cgroup")
        most, used = ((place / f"memory.{name}").read_text() for name in ("max", "current"))
        return [] if most.strip() == "max" else [int(most) - int(used)]
    except (OSError, StopIteration, ValueError):
        return []
