"""Chunks in jobs of Slurm, through submitit: orders and answers are files on the shared disk.

A job takes one order after another from a folder, so that it compiles once and each has as much to
do as it can. To take an order is to rename its file, which one job alone can do; the new name says
which, and so what was at hand when a job has died.
"""

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from geojax._core import checks
from geojax._core.errors import DeviceError, InputError
from geojax.io import files
from geojax.sweeps.launch import Job, order_of
from geojax.sweeps.remote import AbstractRemote, Answers, Starts
from geojax.sweeps.store import Store
from geojax.sweeps.work import Report

CLUSTERS = ("slurm", "local")
_JOBS = 4
# Seconds between two looks at the folder.
_LOOK = 0.2
# Seconds in which jobs may end by themselves before they are cancelled.
_GRACE = 5.0
# Seconds without an order after which a job ends, where its head has died.
_IDLE = 300.0


@dataclass
class Slurm(AbstractRemote):
    """Chunks in jobs that Slurm queues, from a machine that can submit them.

    Jobs are queued as they are needed, and end with the sweep. One that is preempted, or that
    reaches its time, is queued again by submitit and goes on from its last checkpoint; one that is
    killed takes at most the chunk with it that it had at hand. The folders of the sweep and of the
    logs must be on a disk that all machines see under the same name.

    Args:
        logs: folder for scripts, outputs, orders and answers.
        cluster: "slurm", or "local" for processes of this machine; Slurm where it is installed by
            default.
        workers: jobs at once; four by default.
        timeout_min: minutes that a job may take before it is queued again.
        partition: of the cluster.
        gpus_per_node, cpus_per_task: that a job is given.
        options: further ones, as submitit names them, such as `slurm_account` or `mem_gb`.

    Raises:
        InputError: submitit is not installed, an option it does not know, or a number that cannot
            be.
        DeviceError: Slurm is not there, or its jobs cannot do their work.

    Reference: [yoo2003slurm]
    """

    logs: str | Path
    cluster: str | None = None
    workers: int | None = None
    timeout_min: int = 60
    partition: str | None = None
    gpus_per_node: int = 0
    cpus_per_task: int = 1
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self):
        if self.workers is None:
            self.workers = _JOBS
        for name in ("workers", "timeout_min", "cpus_per_task"):
            checks.count(getattr(self, name), name)
        checks.count(self.gpus_per_node, "gpus_per_node", least=0)
        if self.cluster is not None and self.cluster not in CLUSTERS:
            raise InputError(f"cluster: {self.cluster!r} is unknown; use {' or '.join(CLUSTERS)}")
        files.checked_path(self.logs, "logs")
        self._executor: Any = None
        self._desk: Path | None = None
        self._jobs: dict[str, Any] = {}
        self._starts = Starts()
        self._count = 0

    @property
    def num_workers(self) -> int:
        assert self.workers is not None
        return self.workers

    @property
    def cores_per_worker(self) -> float:
        return float(self.cpus_per_task)

    def answers(
        self, job: Job, orders: Mapping[str, Mapping[str, Any]], stop: Callable[[], bool]
    ) -> Answers:
        desk = self._opened(job)
        waiting = {}
        for name, order in orders.items():
            self._count += 1
            waiting[f"{self._count:08d}"] = name
            files.write_json(desk / "orders" / f"{self._count:08d}.json", dict(order))
        while waiting:
            if stop():
                for number in list(waiting):
                    with contextlib.suppress(FileNotFoundError):
                        (desk / "orders" / f"{number}.json").unlink()
                        del waiting[number]
            # first who has ended, then what was answered: no answer comes after that
            ended = {name: job for name, job in self._jobs.items() if job.done()}
            for number, answer in (*_answered(desk), *self._lost(desk, ended)):
                # a job that was preempted as it answered does so twice
                if number in waiting:
                    yield waiting.pop(number), answer
            missing = min(self.num_workers, len(waiting)) - len(self._jobs)
            if missing > 0:
                self._submit(desk, missing)
            if waiting:
                time.sleep(_LOOK)

    def _lost(self, desk: Path, ended: Mapping[str, Any]) -> Answers:
        """What becomes of the orders that jobs which have ended had taken."""
        for name, job in ended.items():
            del self._jobs[name]
            begun = desk / "begun" / name
            if begun.exists():
                self._starts.good()
                if begun.read_text():
                    raise DeviceError(begun.read_text())
            else:
                self._starts.bad(_last_words(job))
            how = "memory" if "OUT_OF_ME" in job.state else "died"
            for taken in (desk / "taken").glob(f"*.{name}.json"):
                taken.unlink()
                yield _number(taken), {how: f"job {name} has ended: {_last_words(job)}"}

    def _submit(self, desk: Path, count: int) -> None:
        try:
            jobs = self._executor.map_array(Clerk(), [str(desk)] * count, [_IDLE] * count)
        except RuntimeError as error:
            line = " ".join(str(error).split())[:300]
            raise DeviceError(f"jobs cannot be submitted ({line}); see options") from error
        self._jobs |= {job.job_id: job for job in jobs}

    def _opened(self, job: Job) -> Path:
        """The folder of orders and answers of a head."""
        if self._desk is None:
            self._executor = self._made()
            self._desk = Path(self.logs).resolve() / f"desk-{job.token}"
            with files.storage_errors(self._desk):
                for name in ("orders", "taken", "answers", "begun"):
                    (self._desk / name).mkdir(parents=True)
            files.write_json(self._desk / "job.json", order_of(job))
        return self._desk

    def _made(self) -> Any:
        """The executor of submitit."""
        try:
            import submitit
        except ImportError as error:
            raise InputError(
                "this launcher needs submitit; pip install 'geojax-engine[slurm]', or take "
                "Processes"
            ) from error
        given = {
            "name": "geojax",
            "timeout_min": self.timeout_min,
            "gpus_per_node": self.gpus_per_node,
            "cpus_per_task": self.cpus_per_task,
        }
        if self.partition is not None:
            given["slurm_partition"] = self.partition
        try:
            executor = submitit.AutoExecutor(str(self.logs), cluster=self.cluster)
            executor.update_parameters(**{**given, **self.options})
        except (AssertionError, NameError, TypeError, ValueError) as error:
            raise InputError(f"options: submitit refuses them ({error}); see its names") from error
        except RuntimeError as error:
            raise DeviceError(
                f"cluster: there is no Slurm on this machine ({error}); submit from one that has it"
            ) from error
        return executor

    def close(self) -> None:
        if self._desk is not None:
            # which tells the jobs to end
            shutil.rmtree(self._desk, ignore_errors=True)
        until = time.monotonic() + _GRACE
        while any(not job.done() for job in self._jobs.values()) and time.monotonic() < until:
            time.sleep(_LOOK)
        for job in self._jobs.values():
            if not job.done():
                job.cancel(check=False)
        self._jobs.clear()
        self._desk = self._executor = None
        self._starts = Starts()


class Clerk:
    """A job: carries out one order after another from a folder, while that is there."""

    def __call__(self, desk: str, idle: float) -> None:
        """Begin, or go on after a preemption.

        Args:
            desk: the folder.
            idle: seconds without an order after which to end.
        """
        import submitit

        from geojax.sweeps.worker import run_aside

        place, name = Path(desk), submitit.JobEnvironment().job_id
        common = files.read_json(place / "job.json")
        unfit = run_aside(common).get("unfit", "")
        (place / "begun" / name).write_text(unfit)
        if unfit:
            return
        store = Store(common["folder"])
        since = time.monotonic()
        while time.monotonic() - since < idle:
            taken = _take(place, name)
            if taken is None:
                if not place.is_dir():
                    return
                time.sleep(_LOOK)
                continue
            order = files.read_json(taken)
            try:
                if "chunk" in order and store.is_stopped(order["token"]):
                    answer = Report(order["chunk"]["id"], "stopped")._asdict()
                else:
                    answer = run_aside(order)
            except SystemExit as ended:
                # it is queued again: what is at work is not to be waited for
                os._exit(ended.code & 0xFF if isinstance(ended.code, int) else 1)
            files.write_json(place / "answers" / f"{_number(taken)}.json", answer)
            taken.unlink()
            since = time.monotonic()

    def checkpoint(self, desk: str, idle: float) -> Any:
        """What submitit queues in place of a job that is preempted: the same again."""
        import submitit

        return submitit.helpers.DelayedSubmission(self, desk, idle)


def _take(place: Path, name: str) -> Path | None:
    """The next order for a job: the one it had when it was preempted, or the first."""
    for own in (place / "taken").glob(f"*.{name}.json"):
        return own
    for order in sorted((place / "orders").glob("*.json")):
        taken = place / "taken" / f"{order.stem}.{name}.json"
        try:
            order.rename(taken)
        except FileNotFoundError:
            continue  # another has it
        return taken
    return None


def _number(taken: Path) -> str:
    return taken.name.partition(".")[0]


def _answered(desk: Path) -> Answers:
    for path in sorted((desk / "answers").glob("*.json")):
        answer = files.read_json(path)
        path.unlink()
        yield path.stem, answer


def _last_words(job: Any) -> str:
    """The end of what a job has said."""
    lines = (job.stderr() or "").strip().splitlines()
    return lines[-1][:200] if lines else f"its state is {job.state}"
