"""Launchers: where the chunks of a sweep run. They know nothing of what is in them."""

import abc
import os
import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, TypeVar

import jax

from geojax._core.errors import DeviceError, InputError
from geojax.sweeps.definition import Sweep
from geojax.sweeps.execute import Executor, WrongDefinition
from geojax.sweeps.planning import GroupPlan, plan_group
from geojax.sweeps.store import Store
from geojax.sweeps.trials import Chunk, Trial
from geojax.sweeps.work import Report, carry_out


class Job(NamedTuple):
    """What all chunks of a run share.

    Attributes:
        sweep: the definition.
        folder: of the store, which every worker must see under this name.
        token: of the head.
        checkpoint_seconds: see `carry_out`.
        time_limit: seconds that a segment may take before the worker ends itself.
    """

    sweep: Sweep
    folder: Path
    token: str
    checkpoint_seconds: float
    time_limit: float | None = None


class Died(DeviceError):
    """A worker died while it planned; it may have been killed, so it is worth another try."""


class AbstractLauncher(abc.ABC):
    """Carries chunks out somewhere, and says what became of each.

    A launcher may lose a chunk with its process: it then reports "died", and the head decides. What
    counts as done is what the store has.

    Attributes:
        separate: whether workers can end without the head.
    """

    separate: ClassVar[bool] = True

    @property
    @abc.abstractmethod
    def num_workers(self) -> int:
        """Chunks that run at the same time."""

    @abc.abstractmethod
    def plan(
        self, job: Job, trial: Trial, count: int, *, lanes: int | None = None, timed: bool = False
    ) -> GroupPlan:
        """Measure the program of a group where it will run, and choose its lanes.

        Args:
            job: what all groups share.
            trial: of the group.
            count: trials in it.
            lanes, timed: see `plan_group`.

        Raises:
            InputError: the task cannot run.
        """

    @abc.abstractmethod
    def run(self, job: Job, chunks: Sequence[Chunk], stop: Callable[[], bool]) -> Iterator[Report]:
        """Carry the chunks out; yield a report of each as it comes.

        Args:
            job: what they share.
            chunks: the largest first.
            stop: if it says so, begin no more of them, and let those at work stop at their next
                segment.
        """

    def check(self, sweep: Sweep) -> None:  # noqa: B027 (not every launcher has something to)
        """Raise if the sweep cannot run here.

        Raises:
            InputError: its task has no name by which another process would find it.
        """

    def close(self) -> None:  # noqa: B027
        """Let the workers go."""


@dataclass
class InProcess(AbstractLauncher):
    """Chunks in this process, on its devices: the reference for all launchers.

    Args:
        devices: of JAX; all local ones by default. Each has a thread and programs of its own.
    """

    separate: ClassVar[bool] = False
    devices: Sequence[Any] | None = None

    def __post_init__(self):
        self._devices = list(self.devices or jax.local_devices())
        self._executors: dict[int, Executor] = {}

    @property
    def num_workers(self) -> int:
        return len(self._devices)

    def executor(self, sweep: Sweep, number: int) -> Executor:
        """The executor of a device, which keeps its programs."""
        made = self._executors.get(number)
        if made is None or made.sweep is not sweep:
            made = self._executors[number] = Executor(sweep, self._devices[number])
        return made

    def check(self, sweep: Sweep) -> None:
        if sweep.x64 != jax.config.read("jax_enable_x64"):
            has, asks = ("single", "double") if sweep.x64 else ("double", "single")
            raise InputError(
                f"x64: this process computes in {has} precision, the sweep in {asks}; set "
                "jax_enable_x64 to what it asks for, or run it in processes"
            )

    def plan(self, job, trial, count, *, lanes=None, timed=False):
        executor = self.executor(job.sweep, 0)
        workers = self.num_workers
        # devices of a CPU share its memory
        share = 1 / workers if self._devices[0].platform == "cpu" else 1.0
        return plan_group(
            executor, trial, count, workers=workers, memory_share=share, lanes=lanes, timed=timed
        )

    def run(self, job, chunks, stop):
        store = Store(job.folder)

        def one(number: int, chunk: Chunk) -> Report:
            return carry_out(
                chunk, self.executor(job.sweep, number), store, job.token, stop=stop,
                checkpoint_seconds=job.checkpoint_seconds,
            )  # fmt: skip

        yield from side_by_side(one, chunks, self.num_workers, stop)


Item = TypeVar("Item")
Result = TypeVar("Result")


def side_by_side(
    one: Callable[[int, Item], Result],
    items: Sequence[Item],
    workers: int,
    stop: Callable[[], bool],
) -> Iterator[Result]:
    """Do things in so many threads, and yield what comes of them as it comes.

    Where it is left early, or a thread raises, nothing is begun any more, and what is at work is
    waited for.

    Args:
        one: does a thing; its first argument is the number of the thread.
        items: what there is to do.
        workers: how many threads.
        stop: if it says so, nothing is begun any more.
    """
    if min(workers, len(items)) <= 1:  # in this thread, where signals arrive
        for item in items:
            if stop():
                return
            yield one(0, item)
        return
    waiting: queue.SimpleQueue[Item] = queue.SimpleQueue()
    results: queue.SimpleQueue[Any] = queue.SimpleQueue()
    left, ended = threading.Event(), object()
    for item in items:
        waiting.put(item)

    def work(number: int) -> None:
        try:
            while not (stop() or left.is_set()):
                results.put(one(number, waiting.get_nowait()))
        except queue.Empty:
            pass
        except BaseException as error:
            results.put(error)
        results.put(ended)

    threads = [
        threading.Thread(target=work, args=(k,), daemon=True)
        for k in range(min(workers, len(items)))
    ]
    for thread in threads:
        thread.start()
    try:
        for _ in threads:
            while (result := results.get()) is not ended:
                if isinstance(result, BaseException):
                    raise result
                yield result
    finally:
        left.set()
        for thread in threads:
            thread.join()


def need_name(sweep: Sweep) -> None:
    """Raise unless another process can make the task from its name."""
    if not sweep.to_dict()["task"]["name"]:
        raise InputError(
            "task: is known to this process alone; put it into a module or a file, and name it as "
            "module:task or file.py:task, or run it in process"
        )


def order_of(job: Job) -> dict[str, Any]:
    """What a worker elsewhere has to know of a job, as JSON has it."""
    return {
        "folder": str(job.folder.resolve()),
        "token": job.token,
        "checkpoint_seconds": job.checkpoint_seconds,
        "time_limit": job.time_limit,
        "x64": job.sweep.x64,
        # where relative names of files begin
        "cwd": os.getcwd(),
    }


def plan_order(job: Job, trial: Trial, count: int, **options: Any) -> dict[str, Any]:
    """The order to plan a group."""
    plan = {"trial": asdict(trial), "count": count, **options}
    return {**order_of(job), "plan": plan}


def plan_of(answer: Mapping[str, Any]) -> GroupPlan:
    """The answer to it.

    Raises:
        InputError: the task cannot run.
        Died: the process that planned it did.
        DeviceError: it cannot work where it is.
    """
    if "unfit" in answer:
        raise DeviceError(answer["unfit"])
    if "wrong" in answer:
        raise WrongDefinition(answer["wrong"])
    if "refused" in answer:
        raise InputError(answer["refused"])
    if "died" in answer:
        raise Died(f"the program could not be compiled: {answer['died']}")
    return GroupPlan(**answer)


def report_of(chunk: Chunk, answer: Mapping[str, Any]) -> Report:
    """The answer to a chunk.

    Raises:
        DeviceError: its process cannot work where it is.
    """
    if "unfit" in answer:
        raise DeviceError(answer["unfit"])
    for status in ("died", "memory"):
        if status in answer:
            return Report(chunk.id, status, answer[status])
    return Report(**answer)
