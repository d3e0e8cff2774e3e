"""What launchers with workers elsewhere share: orders go out as JSON, answers come back."""

import abc
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from geojax._core.errors import DeviceError
from geojax.sweeps.definition import Sweep
from geojax.sweeps.execute import Stopped
from geojax.sweeps.launch import (
    AbstractLauncher,
    Job,
    need_name,
    order_of,
    plan_of,
    plan_order,
    report_of,
)
from geojax.sweeps.planning import GroupPlan
from geojax.sweeps.store import Store
from geojax.sweeps.trials import Chunk, Trial
from geojax.sweeps.work import Report

Answers = Iterator[tuple[str, Mapping[str, Any]]]
# Workers that end so often before they could begin, one after another, will not do so later.
MAX_FAILED_STARTS = 3


class AbstractRemote(AbstractLauncher):
    """A launcher whose workers run `geojax.sweeps.worker.run_order` in processes of their own."""

    @property
    @abc.abstractmethod
    def cores_per_worker(self) -> float:
        """Cores of its machine that a worker is given; of the memory it takes the same share."""

    @abc.abstractmethod
    def answers(
        self, job: Job, orders: Mapping[str, Mapping[str, Any]], stop: Callable[[], bool]
    ) -> Answers:
        """Have orders carried out; yield the name of each and its answer as it comes.

        Args:
            job: what they share.
            orders: name -> order, in the order in which to begin them.
            stop: if it says so, begin no more of them, and wait for those at work. What was not
                begun has no answer.

        Raises:
            DeviceError: the workers cannot be started, or cannot do their work where they are.
        """

    def check(self, sweep: Sweep) -> None:
        need_name(sweep)

    def plan(
        self, job: Job, trial: Trial, count: int, *, lanes: int | None = None, timed: bool = False
    ) -> GroupPlan:
        options = {"workers": self.num_workers, "lanes": lanes, "timed": timed}
        order = plan_order(job, trial, count, cores=self.cores_per_worker, **options)
        store = Store(job.folder)
        answers = self.answers(job, {"plan": order}, lambda: store.is_stopped(job.token))
        for _, answer in answers:
            return plan_of(answer)
        raise Stopped

    def run(self, job: Job, chunks: Sequence[Chunk], stop: Callable[[], bool]) -> Iterator[Report]:
        known = {chunk.id: chunk for chunk in chunks}
        common = order_of(job)
        orders = {name: {**common, "chunk": chunk.to_dict()} for name, chunk in known.items()}
        for name, answer in self.answers(job, orders, stop):
            yield report_of(known[name], answer)


class Starts:
    """Counts workers that end before they could begin; too many in a row are no accident."""

    def __init__(self) -> None:
        self.failed = 0

    def good(self) -> None:
        """One has begun."""
        self.failed = 0

    def bad(self, reason: str) -> None:
        """One has ended before.

        Raises:
            DeviceError: as did the ones before it.
        """
        self.failed += 1
        if self.failed >= MAX_FAILED_STARTS:
            raise DeviceError(
                f"workers cannot be started ({reason}); see that geojax is installed where they "
                "run, in the versions that it has here"
            )
