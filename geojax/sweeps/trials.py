"""Trials: the points of a sweep with their names, and how they are packed into programs."""

import json
import zlib
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from geojax._core.errors import GeojaxError, InputError
from geojax._core.roles import Role
from geojax.io.files import sha256
from geojax.sweeps.definition import Sweep, identity_of

# A point that kills its process so often is not tried again.
MAX_ATTEMPTS = 3
# Of so many trials one is run again, alone.
ALONE = 100


@dataclass(frozen=True)
class Trial:
    """A point of a sweep.

    Attributes:
        id: hash of all that its result depends on, so that the same point is never run twice.
        values: every field of its configuration.
        group: name of the program that runs it; empty if it cannot be run.
        refusal: why it cannot be run; empty if it can.
    """

    id: str
    values: Mapping[str, Any]
    group: str
    refusal: str = ""


@dataclass(frozen=True)
class Chunk:
    """Trials that run side by side: the unit of work, and of what is stored.

    Attributes:
        id: hash of its trials and of how far they go.
        group: of its trials.
        trials: at most as many as there are lanes.
        lanes: width of the program; what the trials leave over is filled with copies.
        width: how many of them advance in lockstep.
        rung: which rung of a halving it leads to.
        segments: how many have been done before, and how many by its end (-1: all).
        sources: chunks of the rung before, whose states its trials go on from.
        alone: those of its trials that are run again, alone.
    """

    id: str
    group: str
    trials: tuple[Trial, ...]
    lanes: int
    width: int
    rung: int = 0
    segments: tuple[int, int] = (0, -1)
    sources: tuple[str, ...] = ()
    alone: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        trials = [{"id": t.id, "values": dict(t.values)} for t in self.trials]
        names = ("id", "group", "lanes", "width", "rung")
        own = {name: getattr(self, name) for name in names}
        own |= {"segments": list(self.segments), "sources": list(self.sources)}
        own["alone"] = list(self.alone)
        return {**own, "trials": trials}

    @classmethod
    def from_dict(cls, table: Mapping[str, Any]) -> "Chunk":
        """From what `to_dict` gave."""
        group = table["group"]
        trials = tuple(Trial(t["id"], t["values"], group) for t in table["trials"])
        names = ("id", "group", "lanes", "width", "rung")
        return cls(
            **{name: table[name] for name in names},
            trials=trials,
            segments=(table["segments"][0], table["segments"][1]),
            sources=tuple(table["sources"]),
            alone=tuple(table["alone"]),
        )


def trial_of(sweep: Sweep, point: Mapping[str, Any]) -> Trial:
    """The trial of a point; one that its task refuses says why."""
    task = sweep.task
    given = {**sweep.fixed, **point}
    if "seed" in task.hints() and "seed" not in given:
        given["seed"] = int(_digest([sweep.seed, given])[:8], 16) & 0x7FFFFFFF  # fits into int32
    own = identity_of(task)
    identity = [own, sweep.x64, sweep.seed]
    try:
        config = task.make(given)
        values = task.values(config)
        # the arrays of the lane are made again where it runs: here they are checked
        task.lane(config)
        static = {name: values[name] for name, role in task.roles().items() if role is Role.static}
        group = _digest([own, static, task.variant(config), sweep.x64])[:12]
        name = _digest([*identity, values, task.fingerprint(config)])[:32]
        return Trial(name, values, group)
    except (Exception, SystemExit) as error:  # whatever a constructor raises
        if isinstance(error, GeojaxError) and not isinstance(error, InputError):
            raise
        plain = isinstance(error, ValueError | TypeError | ArithmeticError)
        why = str(error) if plain else f"{type(error).__name__}: {error}"
        values = {field: given.get(field) for field in task.hints() if field in given}
        return Trial(_digest([*identity, values, why])[:32], values, "", why)


def trials_of(sweep: Sweep, points: Iterable[Mapping[str, Any]] | None = None) -> list[Trial]:
    """The trials of some points; of all points of the definition by default.

    Raises:
        InputError: two points are the same.
    """
    known = sweep.__dict__.get("_trials")
    if points is None and known is not None:
        return list(known)
    found: dict[str, Trial] = {}
    for number, point in enumerate(sweep.rows() if points is None else points):
        trial = trial_of(sweep, point)
        if trial.id in found:
            raise InputError(f"point {number}: {dict(point)} is there twice; keep one")
        found[trial.id] = trial
    if points is None:
        # the command asks several times, and some tasks look closely at each point
        object.__setattr__(sweep, "_trials", tuple(found.values()))
    return list(found.values())


def groups_of(trials: Iterable[Trial]) -> dict[str, list[Trial]]:
    """Trials by program, the largest group first; those that are refused are left out."""
    found: dict[str, list[Trial]] = {}
    for trial in trials:
        if not trial.refusal:
            found.setdefault(trial.group, []).append(trial)
    return dict(sorted(found.items(), key=lambda item: -len(item[1])))


def pack(
    trials: Iterable[Trial],
    lanes: int,
    width: int,
    *,
    size: int | None = None,
    rung: int = 0,
    segments: tuple[int, int] = (0, -1),
    sources: Mapping[str, str] | None = None,
    alone: Set[str] = frozenset(),
) -> list[Chunk]:
    """Trials of one group in chunks of so many lanes.

    Args:
        trials: in their order.
        lanes, width, rung, segments: of the chunks.
        size: trials in a chunk, where that is less than lanes.
        sources: trial -> chunk that holds its state, where it goes on from one.
        alone: trials that are run again, alone.
    """
    trials, sources = list(trials), sources or {}
    chunks, size = [], lanes if size is None else size
    for first in range(0, len(trials), size):
        part = tuple(trials[first : first + size])
        origin = tuple(dict.fromkeys(sources[t.id] for t in part if t.id in sources))
        name = _chunk_name(part, lanes, rung, segments)
        again = tuple(trial.id for trial in part if trial.id in alone)
        group = part[0].group
        chunks.append(Chunk(name, group, part, lanes, width, rung, segments, origin, again))
    return chunks


def split(chunk: Chunk, lanes: int) -> list[Chunk]:
    """A chunk as several of fewer lanes."""
    width = min(chunk.width, lanes)
    return [
        replace(
            chunk,
            id=_chunk_name(part, lanes, chunk.rung, chunk.segments),
            trials=part,
            alone=tuple(trial.id for trial in part if trial.id in chunk.alone),
            lanes=lanes,
            width=width,
        )
        for first in range(0, len(chunk.trials), lanes)
        for part in [chunk.trials[first : first + lanes]]
    ]


def _chunk_name(trials: Sequence[Trial], lanes: int, rung: int, segments: tuple[int, int]) -> str:
    return _digest([[trial.id for trial in trials], lanes, rung, segments])[:16]


def run_alone(trials: Sequence[Trial]) -> set[str]:
    """Trials that are run again, alone: one in `ALONE`, but at least one."""
    found = {trial.id for trial in trials if zlib.crc32(trial.id.encode()) % ALONE == 0}
    return found or {trial.id for trial in trials[:1]}


def key_data(sweep_seed: int, trials: Sequence[Trial]) -> np.ndarray:
    """The key of each trial, whatever it is packed with: 64 bits of its name, folded in."""
    words = [[int(t.id[first : first + 8], 16) for first in (0, 8)] for t in trials]
    folded = _folded(jax.random.key(sweep_seed), np.asarray(words, dtype=np.uint32))
    return np.asarray(jax.random.key_data(folded))


@jax.jit
def _folded(key: jax.Array, words: jax.Array) -> jax.Array:
    return jax.vmap(lambda pair: jax.random.fold_in(jax.random.fold_in(key, pair[0]), pair[1]))(
        words
    )


def stacked(trees: list[PyTree], lanes: int) -> PyTree:
    """Lanes as arrays with one leading axis, filled up with copies of the first."""
    rows = [*trees, *[trees[0]] * (lanes - len(trees))]
    return jax.tree.map(lambda *leaves: np.stack(leaves), *rows)


def _digest(value: Any) -> str:
    return sha256(json.dumps(value, sort_keys=True, default=str).encode())
