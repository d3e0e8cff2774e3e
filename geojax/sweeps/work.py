"""One chunk from beginning to end: resumed, run, and stored; the same wherever it runs."""

import contextlib
import datetime
import functools
import hashlib
import json
import shutil
import time
import warnings
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from geojax import io
from geojax._core.errors import DeviceError, GeojaxError, InputError, StorageError
from geojax.io.files import MANIFEST, sha256, storage_errors
from geojax.sweeps.execute import Executor, Stopped, is_of_device
from geojax.sweeps.store import CHECKPOINTS, STATES, Store, Superseded
from geojax.sweeps.trials import Chunk, Trial

KIND, VERSION, NAME = "lanes", 1, "state"
# How many checkpoints of a chunk are kept: the newest, and one to fall back on.
_KEPT = 2


class Report(NamedTuple):
    """What became of a chunk.

    Attributes:
        chunk: its name.
        status: "done", "stopped" (it can be gone on with), "died" (its process did), "memory" (it
            needs more than there is), "error" (its task raised), "storage", or "superseded".
        message: what happened.
    """

    chunk: str
    status: str
    message: str = ""


def carry_out(
    chunk: Chunk,
    executor: Executor,
    store: Store,
    token: str,
    *,
    stop: Callable[[], bool] = lambda: False,
    checkpoint_seconds: float = 60.0,
    beat: Callable[[int], object] = lambda segments: None,
) -> Report:
    """Run a chunk, from where it stands, and store its rows.

    Args:
        chunk: what to run.
        executor, store: with what, and where to.
        token: of the head that gave it out.
        stop: asked after each segment; if it says so, the chunk is saved and left.
        checkpoint_seconds: at most so much work is lost where a process is killed.
        beat: see `Executor.run`.

    Raises:
        DeviceError: the device fails, and would with any other chunk.
    """
    attempt = 0
    try:
        attempt = store.begin(chunk.id)
        state, done = _standing(chunk, executor, store)
        saved = time.monotonic()

        def save(state: PyTree, done: int) -> None:
            nonlocal saved
            if stop() or time.monotonic() - saved >= checkpoint_seconds:
                _save(store.folder / CHECKPOINTS / chunk.id, state, done, chunk)
                store.forgive(chunk.id, attempt)
                saved = time.monotonic()

        rows, state = executor.run(chunk, state=state, done=done, stop=stop, save=save, beat=beat)
        if chunk.segments[1] >= 0:
            _save(store.folder / STATES / chunk.id, state, chunk.segments[1], chunk)
        common = {**provenance(), **_device(executor), "x64": executor.sweep.x64}
        common |= {"rung": chunk.rung, "lanes": chunk.lanes, "lockstep": chunk.width}
        common |= {"chunk": chunk.id, "attempt": attempt}
        store.commit(
            chunk.id,
            [
                {**field_columns(trial), "trial": trial.id, **common, **row}
                for trial, row in zip(chunk.trials, rows, strict=True)
            ],
            token,
        )
    except Stopped:
        return Report(chunk.id, "stopped")
    except Superseded:
        return Report(chunk.id, "superseded", "another head has taken over")
    except StorageError as error:
        return Report(chunk.id, "storage", str(error))
    except (Exception, SystemExit) as error:  # a task may end its process
        text = " ".join(str(error).split())
        if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in text:
            return Report(chunk.id, "memory", text[:200])
        if is_of_device(error):
            # as if the process had died: it counts as an attempt
            attempt = 0
            raise DeviceError(
                f"the device fails ({text[:200]}); the same command goes on in a new process"
            ) from error
        name = "" if isinstance(error, GeojaxError) else f"{type(error).__name__}: "
        # what was raised in a callback stands at the end of it
        return Report(chunk.id, "error", f"{name}{text[-500:]}")
    finally:
        # a process that is killed does not come by here: such attempts alone are counted
        if attempt:
            with contextlib.suppress(StorageError):
                store.forgive(chunk.id, attempt)
    return Report(chunk.id, "done")


# -- states on the disk ---------------------------------------------------------------------------


def _save(place: Path, state: PyTree, done: int, chunk: Chunk) -> None:
    """Save the state of the lanes after some segments, and drop those before the last."""
    arrays = {f"{k:05d}": leaf for k, leaf in enumerate(_leaves(state))}
    about: dict[str, Any] = {"segments": done, "trials": [trial.id for trial in chunk.trials]}
    about["sha256"] = _digest(about)  # the manifest vouches for its files, not for itself
    io.save_arrays(place / f"{done:06d}", NAME, arrays, about, kind=KIND, version=VERSION)
    there = sorted(place.glob("[0-9]*"), reverse=True)
    # folders of later segments were cut off or are damaged: this run began before them
    whole = [at for at in there if at.name <= f"{done:06d}" and (at / MANIFEST).exists()]
    for old in set(there) - set(whole[:_KEPT]):
        shutil.rmtree(old, ignore_errors=True)


def _standing(chunk: Chunk, executor: Executor, store: Store) -> tuple[PyTree, int]:
    """The newest whole state of a chunk, and its segments; None and 0 where it starts afresh."""
    folder = store.folder / CHECKPOINTS / chunk.id
    for place in sorted(folder.glob("[0-9]*"), reverse=True) if folder.is_dir() else ():
        found = _load(place)
        if found is not None and found[1]["trials"] == [trial.id for trial in chunk.trials]:
            state = _filled(chunk, executor, found[0])
            if state is not None:
                return state, found[1]["segments"]
    if not chunk.sources:
        return None, 0
    rows: dict[str, list[np.ndarray]] = {}
    for source in chunk.sources:
        found = _load(store.folder / STATES / source / f"{chunk.segments[0]:06d}")
        if found is None:
            continue
        for k, trial in enumerate(found[1]["trials"]):
            rows[trial] = [leaf[k] for leaf in found[0]]
    if any(trial.id not in rows for trial in chunk.trials):
        # what is lost is computed again
        return None, 0
    lanes = [rows[trial.id] for trial in chunk.trials]
    lanes += [lanes[0]] * (chunk.lanes - len(lanes))
    leaves = [np.stack(column) for column in zip(*lanes, strict=True)]
    state = _filled(chunk, executor, leaves)
    return (None, 0) if state is None else (state, chunk.segments[0])


def _load(place: Path) -> tuple[list[np.ndarray], dict[str, Any]] | None:
    """The arrays of a state and what is said of them; None where it is not whole."""
    if not (place / MANIFEST).is_file():
        return None  # cut off before its manifest, the last file, was written
    try:
        arrays, about = io.load_arrays(place, NAME, kind=KIND, version=VERSION)
        if about.pop("sha256", None) != _digest(about):
            raise StorageError(f"{place / MANIFEST}: is not what was written")
    except (InputError, StorageError) as error:
        with storage_errors(place):
            place.rename(place.with_name(f"damaged-{place.name}-{time.time_ns()}"))
        warnings.warn(
            f"{place}: is damaged ({error}), and put aside; its work is done again.", stacklevel=3
        )
        return None
    return [arrays[name] for name in sorted(arrays)], about


def _digest(about: dict[str, Any]) -> str:
    return sha256(json.dumps(about, sort_keys=True).encode())


def _filled(chunk: Chunk, executor: Executor, leaves: list[np.ndarray]) -> PyTree:
    """A state with the structure that the program has, and the given numbers.

    None where they do not fit: they are of other code.
    """
    like = executor.state_like(chunk)
    known, structure = jax.tree.flatten(like)
    if len(known) != len(leaves):
        return None
    made = [
        jax.random.wrap_key_data(jnp.asarray(leaf)) if _is_key(old) else leaf
        for old, leaf in zip(known, leaves, strict=True)
    ]
    for old, leaf in zip(known, made, strict=True):
        if (old.shape, old.dtype) != (leaf.shape, leaf.dtype):
            return None
    return jax.device_put(jax.tree.unflatten(structure, made), executor.device)


def _leaves(state: PyTree) -> list[np.ndarray]:
    return [
        np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf)
        for leaf in jax.tree.leaves(state)
    ]


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


# -- what a row says of itself --------------------------------------------------------------------


def field_columns(trial: Trial) -> dict[str, Any]:
    """The fields of a trial as columns: lists as text, since they may hold anything, or nothing."""
    return {
        name: json.dumps(value) if isinstance(value, list) else value
        for name, value in trial.values.items()
    }


def provenance() -> dict[str, str]:
    """With what a row was computed, and when."""
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return {**_code(), "finished": now}


@functools.cache
def _code() -> dict[str, str]:
    """Versions, and a hash of the package's own files: changed code is another revision."""
    digest = hashlib.sha256()
    folder = Path(io.__file__).parents[1]
    for path in sorted(folder.rglob("*.py")):
        digest.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    try:
        version = metadata.version("geojax-engine")
    except metadata.PackageNotFoundError:
        version = "unknown"
    return {"geojax": version, "jax": jax.__version__, "revision": digest.hexdigest()[:12]}


def _device(executor: Executor) -> dict[str, str]:
    device = executor.device or jax.devices()[0]
    return {"device": f"{device.platform}: {device.device_kind}"}
