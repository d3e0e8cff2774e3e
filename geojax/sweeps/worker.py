"""A process that runs chunks for a head elsewhere: of the process launcher, of Ray and of Slurm."""

import contextlib
import dataclasses
import faulthandler
import json
import os
import socket
import sys
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any

import jax

from geojax._core.errors import DeviceError, GeojaxError, InputError
from geojax.sweeps.execute import Executor, WrongDefinition
from geojax.sweeps.planning import plan_group
from geojax.sweeps.store import Store
from geojax.sweeps.trials import Chunk, Trial, trial_of
from geojax.sweeps.work import carry_out

# Seconds that a limit may have; the system takes no longer ones.
LONGEST = 1e9
# folder -> what this process has compiled for the sweep in it
_EXECUTORS: dict[tuple[str, str], Executor] = {}


def run_order(order: Mapping[str, Any]) -> dict[str, Any]:
    """Do what a head asks for, with the sweep in its folder.

    Args:
        order: what `order_of` gives, and either a "chunk" to run, or a "plan": "trial", "count",
            "cores" and options of `plan_group`, or neither, to see that this process can do its
            work.

    Returns:
        The fields of a `Report` or of a `GroupPlan`; {"refused": why} where the task cannot run,
        {"unfit": why} where this process, or its machine, cannot run any.
    """
    jax.config.update("jax_enable_x64", bool(order["x64"]))
    with contextlib.suppress(OSError):
        os.chdir(order["cwd"])
    try:
        store = Store(order["folder"])
        sweep = store.sweep()
    except GeojaxError as error:
        # the head has read it: what is missing is missing here
        return {"unfit": f"a worker on {socket.gethostname()} cannot begin: {error}"}
    key = str(store.folder), sweep.digest()
    if key not in _EXECUTORS:
        _EXECUTORS.clear()
        _EXECUTORS[key] = Executor(sweep)
    executor, token = _EXECUTORS[key], order["token"]
    if "plan" in order:
        options = dict(order["plan"])
        trial = Trial(**options.pop("trial"))
        share = min(1.0, options.pop("cores") / (os.cpu_count() or 1))
        try:
            return dataclasses.asdict(plan_group(executor, trial, memory_share=share, **options))
        except WrongDefinition as error:
            return {"wrong": str(error)}
        except InputError as error:
            return {"refused": str(error)}
        except DeviceError as error:
            return {"unfit": str(error)}
    if "chunk" not in order:
        return {}
    chunk = Chunk.from_dict(order["chunk"])
    for trial in chunk.trials:
        if trial_of(sweep, trial.values).id != trial.id:
            return {
                "unfit": f"{store.folder}: a worker finds another task, or other files, than the "
                "sweep was begun with; undo the change, or start it anew in another folder"
            }

    def beat(segments: int) -> None:
        """End this process, with its stacks on standard error, unless this is called in time."""
        if order["time_limit"] is not None:
            # a thread of the interpreter would wait for a program that hangs
            seconds = min(order["time_limit"] * segments, LONGEST)
            faulthandler.dump_traceback_later(seconds, exit=True, file=2)

    beat(1)
    try:
        report = carry_out(
            chunk,
            executor,
            store,
            token,
            stop=lambda: store.is_stopped(token),
            checkpoint_seconds=order["checkpoint_seconds"],
            beat=beat,
        )
    except DeviceError as error:
        # what follows in this process would fail, too
        sys.stderr.write(f"{error}\n")
        sys.stderr.flush()
        os._exit(DeviceError.exit_code)
    finally:
        faulthandler.cancel_dump_traceback_later()
    return report._asdict()


def run_aside(order: Mapping[str, Any]) -> dict[str, Any]:
    """Do the same in a thread of its own.

    Where a signal ends this process by an exception, as Ray and submitit have it, that is raised in
    the main thread. In a host callback of the program it would count as an error of the point.
    """
    answer: Future[dict[str, Any]] = Future()

    def work() -> None:
        try:
            answer.set_result(run_order(order))
        except BaseException as error:
            answer.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    return answer.result()


def main() -> None:
    """Take orders from standard input, a JSON line each, and report on standard output.

    Arguments are the numbers of the cores to run on; all of them without any.
    """
    if len(sys.argv) > 1:
        os.sched_setaffinity(0, [int(core) for core in sys.argv[1:]])
    reports = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    # what a task prints is no report
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    lock, idle = threading.Lock(), threading.Event()
    orders: list[str] = []
    arrived = threading.Condition(lock)

    def listen() -> None:
        for line in sys.stdin:
            with arrived:
                orders.append(line)
                arrived.notify()
        with arrived:
            # the head has gone, or needs no more: what is at work, or waits, would be refused
            if orders or not idle.is_set():
                os._exit(1)
            orders.append("")
            arrived.notify()

    idle.set()
    threading.Thread(target=listen, daemon=True).start()
    while True:
        with arrived:
            idle.set()
            arrived.wait_for(lambda: orders)
            line = orders.pop(0)
            idle.clear()
        if not line:
            return
        print(json.dumps(run_order(json.loads(line))), file=reports, flush=True)


if __name__ == "__main__":
    main()
