"""Chunks on a cluster of Ray: an actor for each worker, which keeps what it has compiled."""

import contextlib
import math
import os
import signal
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from geojax._core import checks
from geojax._core.errors import DeviceError, InputError
from geojax.sweeps.launch import Job, order_of
from geojax.sweeps.remote import AbstractRemote, Answers, Starts

# Seconds between two looks at what has been asked of the head, and at the size of the cluster.
_LOOK = 0.5
# Seconds after which a user is told that nothing has begun.
_PATIENCE = 60
# Settings that workers share with the head; which devices they have is theirs to say.
_SHARED = ("JAX_", "XLA_", "EQX_")
_OWN = ("JAX_PLATFORMS", "JAX_PLATFORM_NAME")


@dataclass
class Ray(AbstractRemote):
    """Chunks on the machines of a Ray cluster, on one of which this process runs.

    A worker that dies, alone or with its machine, takes at most the chunk with it that it had at
    hand; that runs again elsewhere. The folder of the sweep must be on a disk that all machines
    see under the same name, and geojax must be installed on all of them.

    Args:
        address: of the cluster: "auto" for the one that this machine belongs to, "local" for a new
            one of this machine alone, or as `ray.init` takes it. A connection that is there
            already is taken and kept.
        workers: how many at most; as many as the cluster has room for by default, which follows
            machines that come and go.
        gpus_per_worker: one by default where the cluster has any; a part of one, such as 0.5, lets
            workers share it.
        cpus_per_worker: cores that each is given.
        resources: of Ray's own naming that each needs.

    Raises:
        InputError: Ray is not installed, or a number that cannot be.
        DeviceError: no cluster is there, or its workers cannot be started.

    Reference: [moritz2018ray]
    """

    address: str | None = None
    workers: int | None = None
    gpus_per_worker: int | float | None = None
    cpus_per_worker: int = 1
    resources: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self):
        if self.workers is not None:
            checks.count(self.workers, "workers")
        checks.count(self.cpus_per_worker, "cpus_per_worker")
        gpus = self.gpus_per_worker
        if gpus is not None and not (0 <= gpus <= 1 or (float(gpus).is_integer() and gpus > 0)):
            raise InputError(
                f"gpus_per_worker: {gpus!r} cannot be; give a part of one, or a whole number"
            )
        self._ray: Any = None
        self._mine = False
        self._idle: list[Any] = []
        # what is awaited -> worker, and the order that it is at; None while it starts
        self._awaited: dict[Any, tuple[Any, str | None]] = {}
        self._starts = Starts()

    @property
    def num_workers(self) -> int:
        need = self._need()
        have = self._connected().cluster_resources()
        room = min(int(have.get(name, 0) / amount) for name, amount in need.items())
        if self.workers is not None:
            return self.workers if room == 0 else min(self.workers, room)
        return max(1, room)

    @property
    def cores_per_worker(self) -> float:
        return float(self.cpus_per_worker)

    def answers(
        self, job: Job, orders: Mapping[str, Mapping[str, Any]], stop: Callable[[], bool]
    ) -> Answers:
        ray = self._connected()
        waiting, since = deque(orders), time.monotonic()
        while True:
            if stop():
                waiting.clear()
            while waiting and self._idle:
                worker, name = self._idle.pop(), waiting.popleft()
                self._awaited[worker.run.remote(dict(orders[name]))] = worker, name
            busy = sum(name is not None for _, name in self._awaited.values())
            if not waiting and not busy:
                return
            starting = len(self._awaited) - busy
            for _ in range(min(len(waiting), self.num_workers - busy) - starting):
                worker = self._start()
                self._awaited[worker.run.remote(order_of(job))] = worker, None
            done, _ = ray.wait(list(self._awaited), timeout=_LOOK)
            if done or busy:
                since = time.monotonic()
            elif time.monotonic() - since > _PATIENCE:
                since = math.inf
                warnings.warn(
                    f"no worker has begun for {_PATIENCE} s: the cluster has no room for "
                    f"{self._need()}, or adds a machine for it",
                    stacklevel=2,
                )
            for reference in done:
                yield from self._ended(reference)

    def _ended(self, reference: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """What becomes of a worker that has done what it was told, or has died of it."""
        worker, name = self._awaited.pop(reference)
        answer = self._answer(reference)
        if "unfit" in answer:
            raise DeviceError(answer["unfit"])
        if not {"died", "memory"} & set(answer):
            self._starts.good()
            self._idle.append(worker)
        else:
            self._end(worker)
            if name is None:
                self._starts.bad(" ".join(answer.values()))
        if name is not None:
            yield name, answer

    def _answer(self, reference: Any) -> Mapping[str, Any]:
        errors = self._ray.exceptions
        try:
            return self._ray.get(reference)
        except errors.OutOfMemoryError as error:
            # of the machine: Ray ends who takes most
            return {"memory": _line(error)}
        except errors.RayActorError as error:
            return {"died": _line(error)}
        except errors.RayError as error:
            raise DeviceError(f"a worker of Ray cannot go on: {_line(error)}") from error

    def _need(self) -> dict[str, float]:
        """What a worker takes of the cluster."""
        gpus = self.gpus_per_worker
        if gpus is None:
            gpus = 1.0 if self._connected().cluster_resources().get("GPU") else 0.0
        need = {"CPU": float(self.cpus_per_worker), "GPU": gpus, **self.resources}
        return {name: amount for name, amount in need.items() if amount}

    def _start(self) -> Any:
        need = self._need()
        shared = {
            name: value
            for name, value in os.environ.items()
            if name.startswith(_SHARED) and name not in _OWN
        }
        if "GPU" not in need:
            # JAX would take all cores, and workers on one machine fight over them
            shared["NPROC"] = str(self.cpus_per_worker)
        kind = self._ray.remote(
            num_cpus=need.pop("CPU"),
            num_gpus=need.pop("GPU", 0),
            resources=need,
            max_restarts=0,  # the head gives out what is lost
            max_task_retries=0,
            scheduling_strategy="SPREAD",
            runtime_env={"env_vars": shared},
        )(Worker)
        return kind.remote()

    def _end(self, worker: Any) -> None:
        with contextlib.suppress(self._ray.exceptions.RayError):
            self._ray.kill(worker)

    def _connected(self) -> Any:
        """The module, connected to the cluster."""
        if self._ray is None:
            ray = _import_ray()
            if not ray.is_initialized():
                with _kept_handlers(), warnings.catch_warnings():
                    # it forks only to run other programs, which JAX cannot know
                    warnings.filterwarnings("ignore", r"os\.fork", RuntimeWarning)
                    try:
                        ray.init(address=self.address)
                    except (ConnectionError, RuntimeError, ValueError) as error:
                        raise DeviceError(
                            f"address: no cluster of Ray at {self.address!r} ({_line(error)}); "
                            "start one with ray start, or give its address"
                        ) from error
                self._mine = True
            self._ray = ray
        return self._ray

    def close(self) -> None:
        if self._ray is None:
            return
        for worker in [*self._idle, *(worker for worker, _ in self._awaited.values())]:
            self._end(worker)
        self._idle.clear()
        self._awaited.clear()
        if self._mine:
            self._ray.shutdown()
        self._ray, self._mine = None, False


class Worker:
    """An actor: runs orders one after another, and keeps what it has compiled for them."""

    def run(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """Carry an order out; see `run_order`."""
        from geojax.sweeps.worker import run_aside

        return run_aside(order)


def _import_ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise InputError(
            "this launcher needs Ray; pip install 'geojax-engine[ray]', or take Processes"
        ) from error
    return ray


@contextlib.contextmanager
def _kept_handlers() -> Iterator[None]:
    """Keep the handler of SIGTERM, which Ray replaces with one that ends the head at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    old = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, old)


def _line(error: BaseException) -> str:
    """The first line of what Ray says, which is long."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:200]
