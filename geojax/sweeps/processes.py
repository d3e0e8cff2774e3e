"""Chunks in processes on this machine: one for each GPU, or for a share of the cores."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from geojax._core import checks
from geojax.sweeps.launch import Job, side_by_side
from geojax.sweeps.remote import AbstractRemote, Answers


@dataclass
class Processes(AbstractRemote):
    """Chunks in processes of their own, so that one that dies takes no other with it.

    Args:
        workers: how many; one for each GPU, or two on a CPU, by default.
    """

    workers: int | None = None
    _pool: dict[int, "subprocess.Popen[str]"] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self):
        if self.workers is None:
            self.workers = len(_gpus()) or min(2, _cores())
        checks.count(self.workers, "workers")

    @property
    def num_workers(self) -> int:
        assert self.workers is not None
        return self.workers

    @property
    def cores_per_worker(self) -> float:
        return _cores() / self.num_workers

    def answers(
        self, job: Job, orders: Mapping[str, Mapping[str, Any]], stop: Callable[[], bool]
    ) -> Answers:
        def one(number: int, name: str) -> tuple[str, Mapping[str, Any]]:
            return name, self._ask(number, orders[name])

        return side_by_side(one, list(orders), self.num_workers, stop)

    def _ask(self, number: int, order: Mapping[str, Any]) -> dict[str, Any]:
        """Give an order to a worker and wait for its answer."""
        worker = self._pool.get(number)
        if worker is None or worker.poll() is not None:
            worker = self._pool[number] = self._start(number)
        assert worker.stdin is not None
        assert worker.stdout is not None
        try:
            worker.stdin.write(json.dumps(order) + "\n")
            worker.stdin.flush()
            line = worker.stdout.readline()
        except OSError:
            line = ""
        if line:
            return json.loads(line)
        worker.communicate()
        self._pool.pop(number, None)
        code = worker.returncode
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        return {"died": f"its process ended with {how}"}

    def _start(self, number: int) -> "subprocess.Popen[str]":
        environment, cores = dict(os.environ), []
        gpus = _gpus()
        if gpus:
            environment["CUDA_VISIBLE_DEVICES"] = gpus[number % len(gpus)]
        elif hasattr(os, "sched_getaffinity"):
            # each its own share: threads that fight over cores make all slower
            own = sorted(os.sched_getaffinity(0))
            cores = own[number :: self.num_workers] or own
        return subprocess.Popen(
            [sys.executable, "-m", "geojax.sweeps.worker", *map(str, cores)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            start_new_session=True,  # Ctrl-C is for the head, which tells them
        )

    def close(self) -> None:
        for worker in self._pool.values():
            worker.communicate()
        self._pool.clear()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _gpus() -> list[str]:
    """Names of the GPUs that workers may use, without taking one for this process."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name for name in visible.split(",") if name]
    return [str(k) for k, _ in enumerate(Path("/proc/driver/nvidia/gpus").glob("*"))]
