"""What a sweep runs at each of its points."""

import abc
import copy
import dataclasses
import functools
import hashlib
import inspect
import os
import typing
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray, PyTree

from geojax._core.errors import InputError
from geojax._core.results import RESULTS
from geojax._core.roles import Role, roles
from geojax.io.files import read_bytes, sha256
from geojax.io.toml import convert

# Columns of the table beside fields, metrics and curves.
RESERVED = (
    "trial", "rung", "status", "reason", "segments", "seconds", "compile_seconds", "deviation",
    "chunk", "lanes", "lockstep", "attempt", "device", "x64", "geojax", "jax", "revision",
    "finished",
)  # fmt: skip


class Outcome(eqx.Module):
    """What one point came to.

    Attributes:
        metrics: name -> number.
        curves: name -> numbers `[k]`, such as the loss of each epoch; column `name_curve`.
        result: result code.
    """

    metrics: dict[str, Array]
    curves: dict[str, Array]
    result: RESULTS


class Program(NamedTuple):
    """The computation of all points that differ in traced fields only: pure functions of one lane.

    Attributes:
        shared: arrays that all lanes read, such as samples.
        start: `(shared, lane, key) -> state`.
        advance: `(shared, lane, state) -> state`, one segment further.
        finish: `(shared, lane, state) -> Outcome`, at the end or, to choose who goes on, before.
        num_segments: how often to advance; 0 where `finish` does it all.
    """

    shared: PyTree
    start: Callable[[PyTree, PyTree, PRNGKeyArray], PyTree]
    advance: Callable[[PyTree, PyTree, PyTree], PyTree]
    finish: Callable[[PyTree, PyTree, PyTree], Outcome]
    num_segments: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class AbstractTask(abc.ABC):
    """What a sweep runs: a configuration whose fields it varies, and a program for its points.

    The fields of a task say what is not swept, such as the file of the samples.

    Attributes:
        config: dataclass of a point; the numbers that its types call `Traced` become lanes.
        objective: the metric by which points are compared.
        maximise: whether more of it is better.
    """

    config: ClassVar[type]
    objective: ClassVar[str]
    maximise: ClassVar[bool] = False

    @abc.abstractmethod
    def lane(self, config: Any) -> PyTree:
        """The traced numbers of a point, as arrays of the shapes that its static fields give.

        Raises:
            InputError: the point cannot be run.
        """

    @abc.abstractmethod
    def program(self, config: Any) -> Program:
        """The program of a point, the same for all that share its static fields and `variant`."""

    def variant(self, config: Any) -> dict[str, Any]:
        """What else tells the program of a point from others, beside its static fields."""
        return {}

    def fingerprint(self, config: Any) -> dict[str, Any]:
        """What else the result of a point depends on, such as the hash of a file of samples."""
        return {}

    def make(self, values: Mapping[str, Any]) -> Any:
        """The configuration of a point.

        Raises:
            InputError: a value that cannot be.
        """
        hints = self.hints()
        # JSON knows no tuples, and no floats that are whole
        given = {name: convert(v, hints[name], name) for name, v in values.items()}
        return self.config(**given)

    def values(self, config: Any) -> dict[str, Any]:
        """All fields of a configuration as plain values, as JSON has them."""
        return {field.name: _plain(getattr(config, field.name)) for field in self.fields()}

    def fields(self) -> tuple[dataclasses.Field, ...]:
        """The fields that a sweep may vary."""
        return dataclasses.fields(self.config)

    def roles(self) -> dict[str, Role]:
        """The role of each field."""
        return _roles(self.config)

    def hints(self) -> dict[str, Any]:
        """The type of each field."""
        return _hints(self.config)


@dataclasses.dataclass(frozen=True, kw_only=True)
class FunctionTask(AbstractTask):
    """A function of a configuration and a key, as a task.

    Args:
        function: `(config, key) -> {name: number}`, pure, in JAX. Traced fields of `config` arrive
            as arrays. Entries that are vectors become curves. NaN in a number fails the point.
        config: dataclass of a point.
        objective: the entry by which points are compared.
        maximise: whether more of it is better.

    Example:
        >>> import dataclasses
        >>> from geojax.sweeps import FunctionTask, Sweep, Traced, sweep
        >>> @dataclasses.dataclass(frozen=True)
        ... class Throw:
        ...     angle: Traced[float] = 0.5
        >>> task = FunctionTask(
        ...     function=lambda config, key: {"range": jnp.sin(2 * config.angle)},
        ...     config=Throw, objective="range", maximise=True,
        ... )
        >>> axes = {"angle": [0.2, 0.785, 1.2]}
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     table = sweep(Sweep(task=task, axes=axes), folder).best()
        >>> table["angle"], round(table["range"], 3)
        (0.785, 1.0)
    """

    function: Callable[[Any, PRNGKeyArray], Mapping[str, Any]]
    config: type  # pyright: ignore[reportIncompatibleVariableOverride]
    objective: str  # pyright: ignore[reportIncompatibleVariableOverride]
    maximise: bool = False  # pyright: ignore[reportIncompatibleVariableOverride]

    def lane(self, config: Any) -> PyTree:
        kinds = self.hints()
        found = {}
        for name, role in self.roles().items():
            if role is Role.traced:
                value = np.asarray(getattr(config, name))
                if value.dtype.kind not in "biuf":
                    raise InputError(f"field {name}: {kinds[name]} is no number; declare it Static")
                # as JAX would take the Python number
                dtype = jax.dtypes.canonicalize_dtype(value.dtype)
                if value.dtype.kind in "iu" and not np.all(value == value.astype(dtype)):
                    raise InputError(f"{name}: {value} does not fit into {dtype}; take x64 = true")
                found[name] = value.astype(dtype)
        return found

    def program(self, config: Any) -> Program:
        def finish(shared, lane, state):
            point = copy.copy(config)
            for name, value in lane.items():
                # a constructor that checks its numbers cannot look at traced ones
                object.__setattr__(point, name, value)
            entries = {name: jnp.asarray(v) for name, v in self.function(point, state).items()}
            for name, entry in entries.items():
                if entry.ndim > 1:
                    raise InputError(
                        f"{name}: the function returned shape {list(entry.shape)}; return numbers, "
                        "or vectors as curves"
                    )
            return Outcome(
                {name: entry for name, entry in entries.items() if entry.ndim == 0},
                {name: entry for name, entry in entries.items() if entry.ndim == 1},
                RESULTS.successful,
            )

        def start(shared, lane, key):
            return key

        return Program((), start, lambda shared, lane, state: state, finish)

    def fingerprint(self, config: Any) -> dict[str, Any]:
        # another function gives other results, under whatever name
        return {"function": _source(self.function)}


# what every trial of a sweep asks for
_roles = functools.cache(roles)


@functools.cache
def _hints(config: type) -> dict[str, Any]:
    return typing.get_type_hints(config, include_extras=True)


@functools.cache
def _source(function: Callable) -> str:
    """Hash of the text of a function; empty where it has none."""
    try:
        return hashlib.sha256(inspect.getsource(function).encode()).hexdigest()[:16]
    except (OSError, TypeError):
        return ""


def stamp(path: str) -> tuple[str, int, int]:
    """What tells the content of a file from another, without reading it.

    Raises:
        InputError: no such file.
    """
    try:
        found = os.stat(path)
    except OSError as error:
        raise InputError(f"{path}: no such file; check the name") from error
    return path, found.st_mtime_ns, found.st_size


@functools.lru_cache(maxsize=4096)
def _hash_of(mark: tuple[str, int, int]) -> str:
    return sha256(read_bytes(mark[0]))[:16]


def hash_of(path: str) -> str:
    """Hash of a file, which is read once for each of its contents."""
    return _hash_of(stamp(path))


def _plain(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_plain(entry) for entry in value]
    return value.item() if hasattr(value, "item") else value
