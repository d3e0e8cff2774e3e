"""The verb `plan`: what a sweep will take, before it runs."""

import contextlib
import math
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from geojax._core.errors import InputError
from geojax.io import files
from geojax.sweeps.choose import rung_span
from geojax.sweeps.definition import Sweep
from geojax.sweeps.launch import AbstractLauncher, InProcess, Job
from geojax.sweeps.planning import GroupPlan
from geojax.sweeps.store import Store
from geojax.sweeps.trials import Trial, groups_of, trials_of


@dataclass(frozen=True)
class SweepPlan:
    """What a sweep will take.

    Attributes:
        trials: how many points there are.
        refused: those that cannot be run.
        groups: one for each program, the largest first; of a halving, over all of its rungs.
        num_workers: chunks that run at the same time.
    """

    trials: int
    refused: tuple[Trial, ...]
    groups: tuple[GroupPlan, ...]
    num_workers: int

    @property
    def chunks(self) -> int:
        """How many there are in all."""
        return sum(group.chunks for group in self.groups)

    @property
    def num_bytes(self) -> int:
        """That the largest chunk needs."""
        return max((group.num_bytes for group in self.groups), default=0)

    @property
    def compile_seconds(self) -> float:
        """That compiling all programs once takes."""
        return sum(group.compile_seconds for group in self.groups)

    @property
    def seconds(self) -> float:
        """That all chunks take, reckoned from the first segment of one of each program."""
        longest = [(g.seconds or 0.0) * min(1.0, g.lanes / g.trials) for g in self.groups]
        total = sum(group.seconds or 0.0 for group in self.groups)
        return max([total / self.num_workers, *longest])


def plan(
    definition: Sweep,
    folder: str | Path = ".",
    *,
    launcher: AbstractLauncher | None = None,
    lanes: int | None = None,
    progress: Callable[[str], None] | None = None,
) -> SweepPlan:
    """Measure what a sweep will take where it is to run, without running it.

    Compiles each program, and runs the first segment of one point or chunk of it (all of it, where
    the task has no segments).

    Args:
        definition: what to run.
        folder: that the workers of the launcher see; nothing is left in it.
        launcher, lanes, progress: as of `sweep`.

    Raises:
        InputError: the definition is wrong, or points are still to be proposed.
        DeviceError: the workers cannot begin.
    """
    if definition.proposals is not None:
        raise InputError(
            "proposals: are not known before they are made; plan one of their batches with "
            "design = 'random' and num_points"
        )
    launcher, say = InProcess() if launcher is None else launcher, progress or (lambda text: None)
    launcher.check(definition)
    trials = trials_of(definition)
    groups = []
    try:
        with _job(definition, folder, launcher) as job:
            for members in groups_of(trials).values():
                say(f"compiling the program of {len(members)} points")
                found = launcher.plan(job, members[0], len(members), lanes=lanes, timed=True)
                groups.append(_over_rungs(found, definition, launcher.num_workers))
            workers = launcher.num_workers
    finally:
        launcher.close()
    refused = tuple(trial for trial in trials if trial.refusal)
    return SweepPlan(len(trials), refused, tuple(groups), workers)


@contextlib.contextmanager
def _job(definition: Sweep, folder: str | Path, launcher: AbstractLauncher) -> Iterator[Job]:
    """A job of which nothing is left; workers elsewhere read its definition from a folder."""
    if not launcher.separate:
        yield Job(definition, Path(folder), "", 60.0)
        return
    with scratch(folder) as place:
        store = Store(place / "sweep")
        with store.head() as token:
            store.create(definition)
            yield Job(definition, store.folder, token, 60.0)


@contextlib.contextmanager
def scratch(folder: str | Path) -> Iterator[Path]:
    """A folder within one that workers see, as long as a plan is made.

    Raises:
        StorageError: it cannot be made.
    """
    with files.storage_errors(folder):
        made = tempfile.TemporaryDirectory(prefix=".plan-", dir=folder)
    with made as place:
        yield Path(place)


def _over_rungs(group: GroupPlan, definition: Sweep, workers: int) -> GroupPlan:
    """The chunks and seconds of all rungs, where of each program as many points go on."""
    halving = definition.halving
    if halving is None:
        return group
    chunks, share, count = 0, 0.0, group.trials
    for rung in range(halving.rungs):
        first, last = rung_span(halving, rung, group.segments)
        chunks += math.ceil(count / group.size(count, workers))
        span = (group.segments if last < 0 else last) - first
        share += count / group.trials * span / group.segments
        count = math.ceil(count / halving.factor)
    return replace(
        group,
        chunks=chunks,
        seconds=None if group.seconds is None else group.seconds * share,
    )
