"""The verb `sweep`: give out what is not done yet, until all is."""

import contextlib
import shutil
import signal
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

from geojax._core import checks
from geojax._core.errors import DeviceError, GeojaxError, InputError, StorageError
from geojax.sweeps.choose import Batch, Chooser, rung_span
from geojax.sweeps.definition import Sweep
from geojax.sweeps.execute import Stopped, WrongDefinition
from geojax.sweeps.launch import AbstractLauncher, Died, InProcess, Job
from geojax.sweeps.planning import GroupPlan
from geojax.sweeps.results import Results
from geojax.sweeps.retry import RETRIED, drop_rows, finish
from geojax.sweeps.store import STATES, Store
from geojax.sweeps.tables import import_duckdb
from geojax.sweeps.trials import (
    MAX_ATTEMPTS,
    Chunk,
    Trial,
    groups_of,
    pack,
    run_alone,
    split,
    trials_of,
)
from geojax.sweeps.work import Report, field_columns, provenance

# Workers that die so often in a row before they begin a chunk would do so forever.
MAX_EARLY = 10

Progress = Callable[[str], None]


class Preempted(GeojaxError):
    """The sweep was asked to end, and can be gone on with."""

    exit_code = 75


def sweep(
    definition: Sweep,
    folder: str | Path,
    *,
    launcher: AbstractLauncher | None = None,
    lanes: int | None = None,
    checkpoint_seconds: float = 60.0,
    time_limit: float | None = None,
    retry: Sequence[str] = (),
    progress: Progress | None = None,
) -> Results:
    """Run all points of a sweep that are not done yet.

    Points that differ in traced fields alone are lanes of one compiled program. Each chunk of lanes
    is stored as soon as it is done, whole or not at all; the same call goes on from there after a
    kill, and does nothing where all is done. A point that cannot be run, fails, or kills its
    process becomes a row that says so.

    Args:
        definition: what to run.
        folder: where its results are kept. A definition with other points adds these to the ones
            that are there.
        launcher: where chunks run; in this process, on its devices, by default.
        lanes: of a chunk; as many as the memory holds and there is work for by default.
        checkpoint_seconds: where a chunk takes longer, its state is saved at least so often.
        time_limit: seconds that a segment, the compilation of its program, or the writing of rows
            may take before the worker ends itself, which counts as a death.
        retry: statuses of points that run again, of "failed", "nonfinite", "poison" and "refused".
        progress: called with a line of text now and then.

    Returns:
        The results.

    Raises:
        InputError: the folder holds another sweep, the task cannot run on this launcher, or DuckDB
            is not installed.
        StorageError: rows cannot be written, or another process runs the sweep.
        Preempted: SIGTERM arrived; what is at work has been saved.
        KeyboardInterrupt: Ctrl-C; likewise.

    Reference: [jamieson2016nonstochastic]
    """
    if not isinstance(definition, Sweep):
        raise InputError(f"Argument definition must be a Sweep, but is {definition!r}.")
    if lanes is not None:
        checks.count(lanes, "lanes")
    checks.non_negative(checkpoint_seconds, "checkpoint_seconds")
    unknown = [status for status in retry if status not in RETRIED]
    if isinstance(retry, str) or unknown:
        raise InputError(
            f"retry: {unknown or retry!r} is unknown; use some of {', '.join(RETRIED)}"
        )
    import_duckdb()
    launcher = InProcess() if launcher is None else launcher
    launcher.check(definition)
    if time_limit is not None:
        checks.positive(time_limit, "time_limit")
        if not launcher.separate:
            raise InputError(
                "time_limit: this launcher runs chunks in this process, which cannot be ended; run "
                "them in processes of their own"
            )
    store, say = Store(folder), progress or (lambda text: None)
    changed = store.check(definition)
    if changed:
        say(f"the definition has changed ({', '.join(changed)}): new points are added")
    _warn_of_other_code(store)
    with store.head() as token, _signals(store) as stopped:
        store.create(definition)
        finish(store)
        if retry:
            wanted = None if definition.proposals else {t.id for t in trials_of(definition)}
            say(f"{drop_rows(store, retry, wanted)} points run again")
        job = Job(definition, store.folder, token, checkpoint_seconds, time_limit)
        head = _Head(job, store, launcher, lanes, say, stopped)
        try:
            chooser = Chooser(definition, store)
            while (batch := chooser.next()) is not None:
                if not head.round(batch):
                    break
            else:
                # nothing goes on from them any more
                shutil.rmtree(store.folder / STATES, ignore_errors=True)
        except Stopped as error:  # while a program was planned elsewhere
            if not stopped():
                raise StorageError(
                    f"{store.folder}: another process has taken the sweep over, or its head.json "
                    "is gone; the same command goes on from here"
                ) from error
        finally:
            launcher.close()
        number = stopped()
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        if number:
            raise Preempted(f"{store.folder}: was asked to end; the same command goes on from here")
    return Results(store, definition)


def _warn_of_other_code(store: Store) -> None:
    """Rows of other versions are kept, each with its own; whoever compares them should know."""
    now = provenance()
    if not store.whole_parts():
        return
    rows = store.table("SELECT DISTINCT geojax, jax, revision FROM rows")
    others = [row for row in rows if any(row[name] != now[name] for name in row)]
    if others:
        warnings.warn(
            f"{store.folder}: holds rows that other versions computed (geojax "
            f"{others[0]['geojax']}, revision {others[0]['revision']}, jax {others[0]['jax']}); "
            "they are kept, and each row says which",
            stacklevel=3,
        )


class _Head:
    """Gives out chunks, and judges what becomes of them."""

    def __init__(
        self,
        job: Job,
        store: Store,
        launcher: AbstractLauncher,
        lanes: int | None,
        say: Progress,
        stopped: Callable[[], int],
    ):
        self.job, self.store, self.launcher, self.lanes = job, store, launcher, lanes
        self.say, self.stopped = say, stopped
        self.plans: dict[str, GroupPlan] = {}
        self.smaller: dict[str, int] = {}
        self.broken: set[str] = set()
        # chunk -> how often it had been begun; deaths in a row before it was begun once more
        self.begun: dict[str, int] = {}
        self.early = 0
        self._counts: Counter[str] = Counter()

    def round(self, batch: Batch) -> bool:
        """Run trials that are missing, as far as it goes; return whether to look for more."""
        # a worker that was given up but lives on must not store what is given out again
        self.job = self.job._replace(token=self.store.renew())
        refused = [t for t in batch.trials if t.refusal and t.id in batch.missing]
        if refused:
            self._fail(refused, "refused", {trial.id: trial.refusal for trial in refused})
        chunks: list[Chunk] = []
        groups = groups_of(batch.trials)
        workers = self.launcher.num_workers
        alone = run_alone([trial for members in groups.values() for trial in members])
        for group, members in groups.items():
            if all(trial.id not in batch.missing for trial in members):
                continue
            plan = self._plan(group, members, batch)
            if plan is None:
                continue

            def packed(trials: list[Trial], plan=plan) -> list[Chunk]:
                span = rung_span(self.job.sweep.halving, batch.rung, plan.segments)
                return pack(
                    trials, plan.lanes, plan.width, size=plan.size(len(trials), workers),
                    rung=batch.rung, segments=span, sources=batch.sources, alone=alone,
                )  # fmt: skip

            # the same chunks as before a kill, which may have left a state of them
            rest: list[Trial] = []
            for chunk in packed(members):
                missing = [trial for trial in chunk.trials if trial.id in batch.missing]
                if len(missing) == len(chunk.trials):
                    chunks.append(chunk)
                elif missing and self._is_bad(chunk):
                    chunks += [one for one in split(chunk, 1) if one.trials[0] in missing]
                else:
                    rest += missing
            chunks += packed(rest)
        chunks = self._apart(chunks)
        known = {chunk.id: chunk for chunk in chunks}
        self.begun = {name: self.store.begun(name) for name in known}
        if self.stopped():  # while the token was renewed
            return False
        reports = self.launcher.run(self.job, chunks, lambda: bool(self.stopped()))
        for number, report in enumerate(reports, 1):
            self._judge(report, known[report.chunk])
            self.say(f"{number} of {len(chunks)} chunks")
        return not self.stopped()

    def _plan(self, group: str, members: Sequence[Trial], batch: Batch) -> GroupPlan | None:
        """Lanes of a group; a program that cannot be made fails its trials."""
        # chunks of as many lanes as a head would choose that begins here, after a kill
        count = self._count(group)
        plan = self.plans.get(group)
        try:
            if plan is None:
                plan = self._planned(members, count)
            # lanes in lockstep cost as much where no trial is left for them
            anew = self.job.sweep.halving and plan.width > 1 and self.lanes is None
            if anew and plan.trials != len(members):
                plan = self._planned(members, len(members))
        except WrongDefinition:
            raise
        except InputError as error:
            missing = [trial for trial in members if trial.id in batch.missing]
            self._fail(missing, "failed", dict.fromkeys(batch.missing, str(error)), batch.rung)
            return None
        self.plans[group] = plan
        return plan

    def _count(self, group: str) -> int:
        """Trials that the program of a group is to serve."""
        asked = self.job.sweep.proposals
        if asked is not None:
            return asked.batch_size
        if not self._counts:
            self._counts = Counter(trial.group for trial in trials_of(self.job.sweep))
        return self._counts[group]

    def _planned(self, members: Sequence[Trial], count: int) -> GroupPlan:
        """The plan of a group, though workers may be killed on the way."""
        self.say(f"compiling the program of {count} points")
        for _ in range(MAX_ATTEMPTS - 1):
            try:
                return self.launcher.plan(self.job, members[0], count, lanes=self.lanes)
            except Died as error:
                warnings.warn(f"{error}; it is tried again", stacklevel=2)
        return self.launcher.plan(self.job, members[0], count, lanes=self.lanes)

    def _apart(self, chunks: Sequence[Chunk]) -> list[Chunk]:
        """Chunks that fail as a whole, taken apart; trials that kill their process, given up."""
        kept: list[Chunk] = []
        for chunk in chunks:
            bad = self._is_bad(chunk)
            lanes = min(self.smaller.get(chunk.group, chunk.lanes), chunk.lanes)
            if bad and chunk.lanes == 1:
                reason = f"its process died {MAX_ATTEMPTS} times with it alone"
                if self.job.time_limit is not None:
                    reason += f", or took longer than {self.job.time_limit:g} s"
                self._fail(chunk.trials, "poison", {chunk.trials[0].id: reason}, chunk.rung)
            elif bad:
                kept += self._apart(split(chunk, 1))
            elif lanes < chunk.lanes:
                kept += self._apart(split(chunk, lanes))
            else:
                kept.append(chunk)
        return kept

    def _is_bad(self, chunk: Chunk) -> bool:
        """Whether a chunk is not to be run again as it is."""
        return chunk.id in self.broken or self.store.attempts(chunk.id) >= MAX_ATTEMPTS

    def _judge(self, report: Report, chunk: Chunk) -> None:
        """What is to follow from a report; what the store lacks is given out again."""
        if report.status == "storage":
            raise StorageError(report.message)
        if report.status == "superseded":
            raise StorageError(f"{self.store.folder}: another process has taken the sweep over")
        if report.status == "error" and chunk.lanes > 1:
            self.broken.add(chunk.id)  # its trials are tried one by one
        elif report.status == "error":
            ids = [trial.id for trial in chunk.trials]
            self._fail(chunk.trials, "failed", dict.fromkeys(ids, report.message), chunk.rung)
        elif report.status == "memory" and chunk.lanes == 1:
            reason = f"one lane needs more memory than there is ({report.message})"
            self._fail(chunk.trials, "failed", {chunk.trials[0].id: reason}, chunk.rung)
        elif report.status == "memory":
            self.smaller[chunk.group] = chunk.lanes // 2
            plan = self.plans[chunk.group]
            self.plans[chunk.group] = replace(
                plan, lanes=chunk.lanes // 2, width=min(plan.width, chunk.lanes // 2)
            )
            warnings.warn(
                f"{chunk.lanes} lanes need more memory than there is; going on with "
                f"{chunk.lanes // 2}",
                stacklevel=2,
            )
        elif report.status == "died":
            self._count_death(report, chunk)
            warnings.warn(f"chunk {chunk.id}: {report.message}; it runs again", stacklevel=2)

    def _count_death(self, report: Report, chunk: Chunk) -> None:
        """Raise where process after process dies before it begins: no point is to blame for it."""
        begun = self.store.begun(chunk.id)
        self.early = 0 if begun > self.begun[chunk.id] else self.early + 1
        if self.early >= MAX_EARLY:
            raise DeviceError(f"workers die before they begin ({report.message})")

    def _fail(
        self, trials: Sequence[Trial], status: str, reasons: Mapping[str, str], rung: int = 0
    ) -> None:
        """Store rows that say why there is no result."""
        (chunk,) = pack(trials, len(trials), 1, rung=rung, segments=(0, 0))
        common = {**provenance(), "x64": self.job.sweep.x64, "rung": rung, "chunk": chunk.id}
        rows = [
            {**field_columns(trial), "trial": trial.id, **common, "status": status, "reason": why}
            for trial, why in ((trial, reasons[trial.id]) for trial in trials)
        ]
        self.store.commit(chunk.id, rows, self.job.token)


@contextlib.contextmanager
def _signals(store: Store) -> Iterator[Callable[[], int]]:
    """While within, SIGTERM and SIGINT ask the workers to stop; a second one ends at once."""
    seen = 0

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal seen
        if seen:
            signal.signal(number, old[number])
            signal.raise_signal(number)
            return
        seen = number
        with contextlib.suppress(StorageError):
            store.ask_to_stop()

    old: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT):
            old[number] = signal.signal(number, ask)
    try:
        yield lambda: seen
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
