"""Which trials come next: all of them, the best of a rung, or those that Optuna proposes."""

import json
import math
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

from geojax._core.errors import InputError, StorageError
from geojax.io import files
from geojax.sweeps.definition import Halving, Sweep
from geojax.sweeps.execute import WrongDefinition
from geojax.sweeps.space import Range, bare
from geojax.sweeps.store import BATCHES, Store
from geojax.sweeps.trials import Trial, trial_of, trials_of


@dataclass(frozen=True)
class Batch:
    """Trials to run now.

    Attributes:
        trials: all of them, in their order.
        missing: names of those that are not done.
        rung: that they lead to.
        sources: trial -> chunk of the rung before that holds its state.
    """

    trials: Sequence[Trial]
    missing: Set[str]
    rung: int = 0
    sources: Mapping[str, str] = field(default_factory=dict)


class Chooser:
    """Says what to run next, from what the store has alone: so it goes on after a kill.

    Args:
        sweep: the definition.
        store: its results.
    """

    def __init__(self, sweep: Sweep, store: Store):
        self.sweep, self.store = sweep, store
        self._trials = trials_of(sweep) if sweep.proposals is None else []

    def next(self) -> Batch | None:
        """The trials that are missing; None if all is done."""
        if self.sweep.proposals is not None:
            return self._proposed()
        done = self._rows()
        if self.sweep.halving is not None:
            return self._rung(done)
        missing = {trial.id for trial in self._trials if (trial.id, 0) not in done}
        return Batch(self._trials, missing) if missing else None

    def _rows(self) -> dict[tuple[str, int], dict[str, Any]]:
        """Trial and rung -> status, chunk and objective."""
        with self.store.connection() as connection:
            described = connection.execute("DESCRIBE rows").fetchall()
            names = {name for name, *_ in described}
            wanted = [
                f'"{name}"' if name in names else "NULL"
                for name in ("trial", "rung", "status", "chunk", self.sweep.objective)
            ]
            rows = connection.execute(f"SELECT {', '.join(wanted)} FROM rows").fetchall()
        columns = ("status", "chunk", "objective")
        return {row[:2]: dict(zip(columns, row[2:], strict=True)) for row in rows}

    # -- successive halving ---------------------------------------------------------------------

    def _rung(self, done: Mapping[tuple[str, int], Mapping[str, Any]]) -> Batch | None:
        assert self.sweep.halving is not None
        trials = self._trials
        for rung in range(self.sweep.halving.rungs):
            missing = {trial.id for trial in trials if (trial.id, rung) not in done}
            if missing:
                before = {t.id: done.get((t.id, rung - 1)) for t in trials}
                sources = {name: row["chunk"] for name, row in before.items() if row}
                return Batch(trials, missing, rung, sources)
            trials = self._best(trials, rung, done)
        return None

    def _best(self, trials: Sequence[Trial], rung: int, done: Mapping) -> list[Trial]:
        """One in `factor` of those that are still sound; ties go to the first."""
        assert self.sweep.halving is not None
        sign = -1.0 if self.sweep.maximise else 1.0
        scores = {}
        for trial in trials:
            row = done[trial.id, rung]
            if is_sound(row):
                scores[trial.id] = sign * row["objective"]
        order = sorted(scores, key=lambda name: scores[name])
        kept = set(order[: math.ceil(len(trials) / self.sweep.halving.factor)])
        return [trial for trial in trials if trial.id in kept]

    # -- proposals ------------------------------------------------------------------------------

    def _proposed(self) -> Batch | None:
        asked = self.sweep.proposals
        assert asked is not None
        trials = [trial_of(self.sweep, point) for point in self._asked()]
        done = self._rows()
        size = asked.batch_size
        for first in range(0, len(trials), size):
            batch = trials[first : first + size]
            missing = {trial.id for trial in batch if (trial.id, 0) not in done}
            if missing:
                return Batch(batch, missing)
        # rows whose batch was lost have been run all the same
        run = len({trial for trial, _ in done} | {trial.id for trial in trials})
        count = min(asked.batch_size, asked.num_trials - run)
        if count <= 0:
            return None
        points = propose(self.sweep, trials, done, count)
        if not points:
            return None
        places = (self.store.folder / BATCHES).glob("batch-*.json")
        number = 1 + max((int(place.stem.rpartition("-")[2]) for place in places), default=-1)
        self._remember(number, points)
        return self._proposed()  # some may have been run, in a batch that was lost

    def _asked(self) -> list[dict[str, Any]]:
        """The points of all batches so far: what was asked is written down before it runs."""
        found = []
        for path in sorted((self.store.folder / BATCHES).glob("batch-*.json")):
            try:
                whole = files.read_json(path)
                text = json.dumps(whole["points"], sort_keys=True)
                if whole["sha256"] != files.sha256(text.encode()):
                    raise StorageError(f"{path}: is not what was written")
            except (StorageError, InputError, KeyError, TypeError) as error:
                # trials that are done keep their rows, though Optuna hears no more of them
                self.store.put_aside(path, error)
                continue
            found += whole["points"]
        return found

    def _remember(self, number: int, points: list[dict[str, Any]]) -> None:
        folder = self.store.folder / BATCHES
        with files.storage_errors(folder):
            folder.mkdir(exist_ok=True)
        text = json.dumps(points, sort_keys=True)
        content = {"points": points, "sha256": files.sha256(text.encode())}
        files.write_json(folder / f"batch-{number:05d}.json", content)


def is_sound(row: Mapping[str, Any]) -> bool:
    """Whether a row can be compared by its objective."""
    value = row["objective"]
    return row["status"] == "ok" and value is not None and math.isfinite(value)


def rung_span(halving: Halving | None, rung: int, count: int) -> tuple[int, int]:
    """Segments before a rung and at its end (-1: all), of a task that has `count`.

    Raises:
        WrongDefinition: it has none to stop after.
    """
    if halving is None:
        return 0, -1
    if count == 0:
        raise WrongDefinition("halving: the task has no segments to stop after; leave it out")
    ends = [0, *rung_ends(count, halving.rungs, halving.factor)]
    return ends[rung], -1 if rung == halving.rungs - 1 else ends[rung + 1]


def rung_ends(count: int, rungs: int, factor: int) -> list[int]:
    """Segments at the end of each rung: all at the last, a share of them before.

    Example:
        >>> rung_ends(9, 3, 3)
        [1, 3, 9]
    """
    return [max(1, math.ceil(count * float(factor) ** (k + 1 - rungs))) for k in range(rungs)]


def propose(
    sweep: Sweep,
    trials: Sequence[Trial],
    done: Mapping[tuple[str, int], Mapping[str, Any]],
    count: int,
) -> list[dict[str, Any]]:
    """New points for a batch, from what the ones before gave, by Optuna's TPE.

    The study is built again from the rows each time: nothing of it has to survive a kill.

    Raises:
        InputError: Optuna is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise InputError(
            "proposals need Optuna; pip install 'geojax-engine[optuna]', or take a design"
        ) from error
    assert sweep.proposals is not None
    spaces = {name: _distribution(sweep, name, axis) for name, axis in sweep.axes.items()}
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.TPESampler(
        seed=(sweep.seed + len(trials)) % 2**32,
        n_startup_trials=sweep.proposals.startup,
        constant_liar=True,  # points of one batch keep apart
    )
    direction = "maximize" if sweep.maximise else "minimize"
    study = optuna.create_study(sampler=sampler, direction=direction)
    states = optuna.trial.TrialState
    for trial in trials:
        row = done[trial.id, 0]
        good = is_sound(row)
        try:
            params = {name: _inward(sweep, name, trial.values[name]) for name in spaces}
            study.add_trial(optuna.trial.create_trial(
                params=params,
                distributions=spaces,
                value=row["objective"] if good else None,
                state=states.COMPLETE if good else states.FAIL,
            ))  # fmt: skip
        except ValueError:
            continue  # of axes that were wider then
    known, points = {trial.id for trial in trials}, []
    for _ in range(4 * count):  # a small space may propose the same again
        asked = study.ask(spaces)
        point = {name: _outward(sweep, name, value) for name, value in asked.params.items()}
        trial = trial_of(sweep, point)
        if trial.id not in known:
            known.add(trial.id)
            points.append(point)
        if len(points) == count:
            break
    return points


def _distribution(sweep: Sweep, name: str, axis: Any) -> Any:
    import optuna

    if not isinstance(axis, Range):
        # values of any kind go by their number
        return optuna.distributions.CategoricalDistribution(list(range(len(axis))))
    whole = bare(sweep.task.hints()[name]) is int
    kind = "IntDistribution" if whole else "FloatDistribution"
    low, high = (int(axis.low), int(axis.high)) if whole else (axis.low, axis.high)
    return getattr(optuna.distributions, kind)(low, high, log=axis.scale == "log")


def _inward(sweep: Sweep, name: str, value: Any) -> Any:
    axis = sweep.axes[name]
    if isinstance(axis, Range):
        return value
    plain = tuple(value) if isinstance(value, list) else value
    return axis.index(plain)


def _outward(sweep: Sweep, name: str, value: Any) -> Any:
    axis = sweep.axes[name]
    if isinstance(axis, Range):
        return value
    chosen = axis[value]
    return list(chosen) if isinstance(chosen, tuple) else chosen
