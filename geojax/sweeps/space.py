"""The space of a sweep: which values its fields take, and in which combinations."""

import itertools
import math
import typing
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from geojax._core import checks
from geojax._core.errors import InputError
from geojax.io.toml import convert

Design = Literal["grid", "random", "sobol", "list"]
DESIGNS = typing.get_args(Design)
# A table of more points than this is a slip of the pen, not a sweep.
MAX_POINTS = 10_000_000


@dataclass(frozen=True)
class Range:
    """Numbers between two ends.

    Attributes:
        low, high: the ends, both included.
        num: how many a grid takes; whole numbers are all taken if it is None.
        scale: "linear", or "log" for equal ratios.

    Raises:
        InputError: ends that are not finite or not in order, or not positive on a "log" scale.
    """

    low: float | int
    high: float | int
    num: int | None = None
    scale: str = "linear"

    def __post_init__(self):
        for name in ("low", "high"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise InputError(f"range: {name} is {value!r}; give a number")
            if not math.isfinite(value):
                raise InputError(f"range: {name} is {value}; give a finite number")
        if self.scale not in ("linear", "log"):
            mend = checks.nearest_name(self.scale, ("linear", "log"))
            raise InputError(f"range: scale {self.scale!r} is unknown{mend}; use linear or log")
        if self.low >= self.high:
            raise InputError(f"range: low {self.low} is not below high {self.high}; exchange them")
        if self.scale == "log" and self.low <= 0:
            raise InputError(f"range: low is {self.low}; a log scale needs a positive one")
        if self.num is not None:
            checks.count(self.num, "num", least=2)

    def at(self, share: float, whole: bool) -> float | int:
        """The number at a share of the way from low to high."""
        if whole:
            # every whole number gets an equal share
            low, high = self.low - 0.5, self.high + 0.5
            low = low if self.scale == "linear" else max(low, self.low * 0.75)
        else:
            low, high = self.low, self.high
        if self.scale == "log":
            value = math.exp(math.log(low) + share * (math.log(high) - math.log(low)))
        else:
            value = low + share * (high - low)
        value = min(max(value, self.low), self.high)
        return (
            min(max(round(value), math.ceil(self.low)), math.floor(self.high)) if whole else value
        )

    def grid(self, whole: bool, where: str) -> list[float | int]:
        """The numbers that a grid takes."""
        if self.num is None:
            if not whole:
                raise InputError(f"{where}: a grid needs num, how many numbers to take; add num")
            return list(range(math.ceil(self.low), math.floor(self.high) + 1))
        shares = np.linspace(0.0, 1.0, self.num)
        if self.scale == "log":
            values = np.exp(math.log(self.low) + shares * math.log(self.high / self.low))
        else:
            values = self.low + shares * (self.high - self.low)
        values[0], values[-1] = self.low, self.high  # to the last bit
        if not whole:
            return values.tolist()
        return list(dict.fromkeys(round(value) for value in values))


Axis = Range | tuple[Any, ...]


def as_axis(name: str, value: Any, hint: Any) -> Axis:
    """An axis as it is written down: a list of values, or a table with low and high.

    Raises:
        InputError: empty, a value twice, of another type than the field, or an unknown key.
    """
    where = f"axis {name}"
    if isinstance(value, Range):
        axis = value
    elif isinstance(value, Mapping):
        known = ("low", "high", "num", "scale")
        for key in value:
            if key not in known:
                mend = checks.nearest_name(key, known)
                raise InputError(f"{where}: unknown key {key!r}{mend}; use {', '.join(known)}")
        for key in ("low", "high"):
            if key not in value:
                raise InputError(f"{where}: has no {key}; give low and high, or a list of values")
        try:
            axis = Range(**value)
        except InputError as error:
            raise InputError(f"{where}: {error}") from error
    elif isinstance(value, str) or not isinstance(value, Sequence | np.ndarray):
        raise InputError(
            f"{where}: {value!r} is no list; give a list of values, or low and high (one value "
            "belongs under fixed)"
        )
    else:
        values = value.tolist() if isinstance(value, np.ndarray) else value
        read = tuple(convert(v, hint, where) for v in values)
        if not read:
            raise InputError(f"{where}: is empty; give values, or leave it out")
        seen = set()
        for entry in read:
            if entry in seen:
                raise InputError(f"{where}: {entry!r} is there twice; keep one")
            seen.add(entry)
        if len(read) == 1:
            warnings.warn(f"{where}: has one value; it could stand under fixed", stacklevel=2)
        return read
    if bare(hint) not in (int, float):
        raise InputError(f"{where}: is no number; give a list of values")
    return axis


def points(
    axes: Mapping[str, Axis], hints: Mapping[str, Any], design: str, num: int | None, seed: int
) -> list[dict[str, Any]]:
    """All points of a design over some axes.

    Raises:
        InputError: no axes, more points than can be meant, or a number of points that does not fit
            the design.
    """
    if not axes:
        raise InputError("axes: there are none; give at least one")
    whole = {name: bare(hints[name]) is int for name in axes}
    if design == "grid":
        if num is not None:
            raise InputError("num_points: a grid has as many as its axes make; leave it out")
        columns = {
            name: axis.grid(whole[name], f"axis {name}") if isinstance(axis, Range) else axis
            for name, axis in axes.items()
        }
        check_size(math.prod(len(column) for column in columns.values()))
        return [
            dict(zip(columns, row, strict=True)) for row in itertools.product(*columns.values())
        ]
    if num is None:
        raise InputError(f"num_points: a {design} design needs it; say how many points to draw")
    check_size(checks.count(num, "num_points"))
    if design == "random":
        shares = np.random.default_rng(seed).random((num, len(axes)))
    else:
        from scipy.stats import qmc

        sampler = qmc.Sobol(len(axes), scramble=True, rng=np.random.default_rng(seed))
        # a power of two keeps the balance of the sequence
        shares = sampler.random_base2(max(num - 1, 0).bit_length())[:num]
    return [
        {
            name: _pick(axis, float(share), whole[name])
            for (name, axis), share in zip(axes.items(), row, strict=True)
        }
        for row in shares
    ]


def check_size(count: int) -> None:
    """Raise if there are more points than can be meant."""
    if count > MAX_POINTS:
        raise InputError(
            f"the space has {count:,} points; {MAX_POINTS:,} are the most: take fewer values, or "
            "design = 'random' with num_points"
        )


def _pick(axis: Axis, share: float, whole: bool) -> Any:
    if isinstance(axis, Range):
        return axis.at(share, whole)
    return axis[min(int(share * len(axis)), len(axis) - 1)]


def bare(hint: Any) -> Any:
    """The type that an annotation is about."""
    while typing.get_origin(hint) is typing.Annotated:
        hint = typing.get_args(hint)[0]
    return hint
