"""The definition of a sweep: what runs, over which space, how it is chosen from."""

import contextlib
import dataclasses
import importlib
import importlib.util
import inspect
import json
import sys
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax

from geojax._core import checks
from geojax._core.errors import InputError
from geojax.io.files import sha256
from geojax.io.toml import convert, read_toml
from geojax.sweeps import space
from geojax.sweeps.tasks import TASKS, AbstractTask
from geojax.sweeps.tasks.base import RESERVED


@dataclass(frozen=True, kw_only=True)
class Halving:
    """Successive halving: of the points that got so far, a part goes on.

    Attributes:
        factor: one in so many goes on from each rung.
        rungs: how many there are, the last being the end; the first is reached after the share
            `factor ** (1 - rungs)` of the segments, at least one.

    Reference: [jamieson2016nonstochastic]
    """

    factor: int = 3
    rungs: int = 3

    def __post_init__(self):
        checks.count(self.factor, "factor", least=2)
        checks.count(self.rungs, "rungs", least=2)


@dataclass(frozen=True, kw_only=True)
class Proposals:
    """Points that Optuna proposes, a batch at a time, in the light of what the ones before gave.

    Attributes:
        num_trials: points in all.
        batch_size: points that are proposed, and run, at once.
        startup: random points before the first proposals.

    Reference: [bergstra2011algorithms]
    """

    num_trials: int = 64
    batch_size: int = 16
    startup: int = 16

    def __post_init__(self):
        for name in ("num_trials", "batch_size", "startup"):
            checks.count(getattr(self, name), name)


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """Many points of one task.

    Args:
        task: what runs at each point.
        axes: field -> list of values, or `{low, high, num, scale}` (a `Range`).
        fixed: field -> value that all points share; the task's default where a field is in neither.
        points: the points themselves, field -> value each, in place of axes.
        design: "grid", "random" or "sobol" over the axes; "list" for `points`.
        num_points: how many a random or Sobol design draws.
        seed: of the design, and of the lanes: each takes `fold_in(key(seed), trial)`, and where the
            task has a field `seed` that is neither swept nor fixed, a seed of its own from it.
        x64: compute in double precision; as this process does by default.
        objective: the metric by which points are compared; the task's own by default.
        maximise: whether more of it is better; as the task says by default.
        halving: stop most points early.
        proposals: let Optuna choose the points, within the axes (ranges and lists).

    Raises:
        InputError: an unknown field (naming the nearest), a value of another type, a field that is
            both swept and fixed, an empty or a repeated axis value, or a design without its number.

    Example:
        >>> from geojax.sweeps import Sweep
        >>> from geojax.sweeps.tasks import DensityTask
        >>> rates = {"low": 1e-4, "high": 1e-2, "num": 3, "scale": "log"}
        >>> definition = Sweep(task=DensityTask(), axes={"learning_rate": rates, "seed": [0, 1]})
        >>> len(definition.rows()), definition.rows()[0]
        (6, {'learning_rate': 0.0001, 'seed': 0})
    """

    task: AbstractTask
    axes: Mapping[str, Any] = field(default_factory=dict)
    fixed: Mapping[str, Any] = field(default_factory=dict)
    points: tuple[Mapping[str, Any], ...] = ()
    design: str = "grid"
    num_points: int | None = None
    seed: int = 0
    x64: bool | None = None
    objective: str = ""
    maximise: bool | None = None
    halving: Halving | None = None
    proposals: Proposals | None = None

    def __post_init__(self):
        if not isinstance(self.task, AbstractTask):
            raise InputError(f"task: {self.task!r} is no task; see geojax.sweeps.tasks")
        put = lambda name, value: object.__setattr__(self, name, value)  # noqa: E731 (frozen)
        hints = self.task.hints()
        for name in hints:
            if name.lower() in RESERVED:
                raise InputError(f"task: its field {name!r} is a column of every table; rename it")
        for name, fields in [("axes", self.axes), ("fixed", self.fixed)]:
            if not isinstance(fields, Mapping):
                raise InputError(f"{name}: {fields!r} is no table of fields and values; give one")
            for key in fields:
                _known(key, hints, name)
        both = sorted(set(self.axes) & set(self.fixed))
        if both:
            raise InputError(f"{both[0]}: is swept and fixed; take it out of axes or of fixed")
        put("axes", {n: space.as_axis(n, v, hints[n]) for n, v in self.axes.items()})
        put("fixed", {n: convert(v, hints[n], f"fixed {n}") for n, v in self.fixed.items()})
        if self.points:
            put("design", "list")
        if self.design not in space.DESIGNS:
            mend = checks.nearest_name(self.design, space.DESIGNS)
            raise InputError(
                f"design: {self.design!r} is unknown{mend}; use {', '.join(space.DESIGNS)}"
            )
        if (self.design == "list") != bool(self.points) or (self.points and self.axes):
            raise InputError("points: belong to the design 'list', which has no axes; give either")
        if self.points:
            put("points", tuple(self._point(k, point) for k, point in enumerate(self.points)))
        if self.x64 is None:
            put("x64", bool(jax.config.read("jax_enable_x64")))
        put("seed", checks.count(self.seed, "seed", least=0))
        if self.maximise is None:
            # of another metric nobody knows which way is up
            if self.objective and self.objective != self.task.objective:
                raise InputError(f"objective: {self.objective!r} needs maximise, true or false")
            put("maximise", self.task.maximise)
        put("objective", self.objective or self.task.objective)
        if self.proposals is not None and (self.halving is not None or not self.axes):
            raise InputError("proposals: need axes to choose from, and leave no room for halving")
        self.rows()  # a definition that is wrong stops here

    def _point(self, number: int, point: Mapping[str, Any]) -> dict[str, Any]:
        hints = self.task.hints()
        read = {}
        for key, value in point.items():
            _known(key, hints, f"point {number}")
            if key in self.fixed:
                raise InputError(f"point {number}: {key!r} is fixed as well; keep one")
            read[key] = convert(value, hints[key], f"point {number}, {key}")
        return read

    def rows(self) -> list[dict[str, Any]]:
        """The points, each as the fields in which it differs from what is fixed."""
        if self.proposals is not None:
            return []
        if self.points:
            space.check_size(len(self.points))
            return [dict(point) for point in self.points]
        hints = self.task.hints()
        return space.points(self.axes, hints, self.design, self.num_points, self.seed)

    # -- as a file ------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as JSON has them."""
        axes = {
            name: dataclasses.asdict(axis) if isinstance(axis, space.Range) else _plain(axis)
            for name, axis in self.axes.items()
        }
        extra = {
            name: None if value is None else dataclasses.asdict(value)
            for name, value in (("halving", self.halving), ("proposals", self.proposals))
        }
        return {
            "task": describe(self.task),
            "axes": axes,
            "fixed": _plain(self.fixed),
            "points": _plain(self.points),
            **{
                name: getattr(self, name)
                for name in ("design", "num_points", "seed", "x64", "objective", "maximise")
            },
            **extra,
        }

    def digest(self) -> str:
        """Hash of the definition: what tells one sweep from another."""
        return sha256(json.dumps(self.to_dict(), sort_keys=True).encode())[:16]


KEYS = tuple(f.name for f in dataclasses.fields(Sweep))


def from_dict(table: Mapping[str, Any], where: str = "sweep", folder: Path | None = None) -> Sweep:
    """A sweep from plain values.

    Args:
        table: as `Sweep.to_dict` makes it, or a file holds it.
        where: what to call it in errors.
        folder: where files that it names are looked for.

    Raises:
        InputError: an unknown key (naming the nearest), a missing task, or what `Sweep` refuses.
    """
    for key in table:
        if key.replace("-", "_") not in KEYS:
            mend = checks.nearest_name(key, KEYS)
            raise InputError(f"{where}: unknown key {key!r}{mend}; use {', '.join(KEYS)}")
    given = {key.replace("-", "_"): value for key, value in table.items()}
    if "task" not in given:
        raise InputError(f"{where}: has no task; give one of {', '.join(TASKS)}, or module:name")
    given["task"] = task_of(given["task"], where, folder)
    kinds = {"num_points": int, "seed": int, "x64": bool, "maximise": bool, "objective": str}
    kinds["design"] = str
    for key, kind in kinds.items():
        if given.get(key) is not None:
            given[key] = convert(given[key], kind, f"{where}: {key}")
    for key, kind in (("halving", Halving), ("proposals", Proposals)):
        if given.get(key) is not None:
            given[key] = kind(**_typed(given[key], kind, f"{where}: {key}"))
    # what is written down does not depend on who reads it
    given["x64"] = bool(given.get("x64"))
    listed = given.get("points") or ()
    if not isinstance(listed, list | tuple):
        raise InputError(f"points: {listed!r} is no list; give a table for each point")
    given["points"] = tuple(listed)
    for number, point in enumerate(given["points"]):
        if not isinstance(point, Mapping):
            raise InputError(f"{where}: point {number} is {point!r}; give fields and values")
    try:
        return Sweep(**given)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def read_sweep(path: str | Path) -> Sweep:
    """Read the definition of a sweep from a TOML file.

    Raises:
        InputError: not TOML, or not a sweep; see `Sweep`.
    """
    return from_dict(read_toml(path), str(path), Path(path).parent)


# -- tasks by name --------------------------------------------------------------------------------


def task_of(spec: Any, where: str, folder: Path | None = None) -> AbstractTask:
    """A task from its name, or from a table with its name and its options.

    A name is one of `TASKS`, or `module:attribute` (or `file.py:attribute`) of a task.
    """
    table = {"name": spec} if isinstance(spec, str) else spec
    if isinstance(table, Mapping) and table.get("name") == "":
        raise InputError(f"{where}: its task was known to one process alone; give the definition")
    if not isinstance(table, Mapping) or not isinstance(table.get("name"), str):
        raise InputError(f"{where}: task {spec!r} has no name; use one of {', '.join(TASKS)}")
    options = {key: value for key, value in table.items() if key != "name"}
    name = table["name"]
    if ":" in name:
        if options:
            raise InputError(f"{where}: task {name} is made already and takes no options")
        return _imported(name, where, folder)
    if name not in TASKS:
        mend = checks.nearest_name(name, TASKS)
        raise InputError(
            f"{where}: task {name!r} is unknown{mend}; use one of {', '.join(TASKS)}, or "
            "module:name for one of your own"
        )
    kind = TASKS[name]
    try:
        return kind(**_typed(options, kind, f"{where}: task {name}"))
    except TypeError as error:
        raise InputError(f"{where}: task {name}: {error}; give it") from error


def describe(task: AbstractTask) -> dict[str, Any]:
    """The name of a task, and its options: what `task_of` makes it from.

    The name is empty where no other process would find the task.
    """
    for name, kind in TASKS.items():
        if type(task) is kind:
            return {"name": name, **_plain(dataclasses.asdict(task))}
    place = _PLACES.get(id(task))
    if place is None:
        for module in list(sys.modules.values()):
            # a task is known by the module-level name that holds it
            for key, value in list(getattr(module, "__dict__", {}).items()):
                if value is task and module.__name__ != "__main__":
                    return {"name": f"{module.__name__}:{key}"}
        return {"name": "", "function": task.fingerprint(None)}
    return {"name": place}


def identity_of(task: AbstractTask) -> dict[str, Any]:
    """The identity of a task, which is looked for once: every trial asks for it."""
    known = _IDENTITIES.get(id(task))
    if known is None or known[0] is not task:
        known = _IDENTITIES[id(task)] = task, _identity(task)
    return known[1]


# id -> a task, kept so that no other takes its id, and its identity
_IDENTITIES: dict[int, tuple[AbstractTask, dict[str, Any]]] = {}


def _identity(task: AbstractTask) -> dict[str, Any]:
    """What tells the results of a task from those of another: its name, options and own code.

    The folder of a file does not: it may be moved.
    """
    found = describe(task)
    kind = type(task)
    if kind.__module__.partition(".")[0] != "geojax":
        with contextlib.suppress(OSError, TypeError):
            found["source"] = sha256(inspect.getsource(kind).encode())[:16]
    place, _, attribute = found["name"].rpartition(":")
    if place.endswith(".py"):
        found["name"] = f"{Path(place).name}:{attribute}"
    return found


# task that came from a file -> the name it came by
_PLACES: dict[int, str] = {}


def _imported(name: str, where: str, folder: Path | None) -> AbstractTask:
    place, _, attribute = name.rpartition(":")
    module_name = ""
    try:
        if place.endswith(".py"):
            path = (folder or Path.cwd()) / place
            module_name = f"geojax_sweep_{sha256(str(path.resolve()).encode())[:12]}"
            module = sys.modules.get(module_name)
            if module is None:
                found = importlib.util.spec_from_file_location(module_name, path)
                if found is None or found.loader is None or not path.is_file():
                    raise InputError(f"{where}: task {name!r}: no such file; check the name")
                module = importlib.util.module_from_spec(found)
                sys.modules[module_name] = module
                found.loader.exec_module(module)
            name = f"{path.resolve()}:{attribute}"
        else:
            module = importlib.import_module(place)
    except InputError:
        raise
    except Exception as error:
        sys.modules.pop(module_name, None)
        raise InputError(
            f"{where}: task {name!r}: {type(error).__name__}: {error}; check the name, or mend it"
        ) from error
    task = getattr(module, attribute, None)
    if not isinstance(task, AbstractTask):
        raise InputError(f"{where}: {name!r} is no task; make one with geojax.sweeps.FunctionTask")
    _PLACES[id(task)] = name
    return task


def _typed(table: Any, kind: type, where: str) -> dict[str, Any]:
    """The entries of a table as the fields of a dataclass."""
    if not isinstance(table, Mapping):
        raise InputError(f"{where}: {table!r} is no table; give keys and values")
    hints = typing.get_type_hints(kind, include_extras=True)
    known = [f.name for f in dataclasses.fields(kind)]
    read = {}
    for key, value in table.items():
        name = key.replace("-", "_")
        _known(name, known, where)
        read[name] = None if value is None else convert(value, hints[name], f"{where}, {key}")
    return read


def _known(name: str, known: Any, where: str) -> None:
    if name not in known:
        mend = checks.nearest_name(name, known)
        raise InputError(f"{where}: unknown field {name!r}{mend}; use one of {', '.join(known)}")


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(entry) for entry in value]
    return value
