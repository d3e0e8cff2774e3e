"""Scales of the axes of a sweep: numbers, logarithms and categories, as places between 0 and 1."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from geojax._core.errors import InputError
from geojax.viz import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SCALES = ("linear", "log", "category")
# Numbers that span more than this ratio are drawn on a logarithmic axis.
WIDE = 100.0
# What is far out is cut off only where it would stretch the frame more than so many times.
FAR = 10.0
# Beyond this a number has blown up: differences and squares of such numbers overflow.
LARGEST = 1e150
NUMBER = (int, float, np.number)
Values = Sequence[Any] | np.ndarray


def ranking(objective: Values, maximise: bool = False) -> np.ndarray:
    """Places of the finite entries, the best first; ties in their order.

    Example:
        >>> from geojax.viz import ranking
        >>> ranking([3.0, None, 1.0, float("inf")]).tolist()
        [2, 0]
    """
    found = numbers_of(objective)
    order = np.argsort(-found if maximise else found, kind="stable")
    return order[np.isfinite(found[order])]


class Scaled(NamedTuple):
    """One axis: what its values are as numbers, and where they lie between 0 and 1."""

    numbers: np.ndarray
    places: np.ndarray
    scale: str
    low: float
    high: float
    ticks: list[tuple[float, str]]
    names: list[str]


def field_axis(name: str, values: Values, scale: str, objective: np.ndarray) -> Scaled:
    """The axis of a field; see `plot_parallel`."""
    if scale not in SCALES:
        raise InputError(f"scale: {scale!r} of {name} is unknown; use one of {', '.join(SCALES)}")
    if len(values) != len(objective):
        raise InputError(
            f"{name}: has {len(values)} values for {len(objective)} points; give one for each"
        )
    known = [value for value in values if value is not None]
    if scale == "category" or not all(
        isinstance(value, NUMBER) and not isinstance(value, bool) for value in known
    ):
        return _categories(values)
    numbers = numbers_of(values)
    finite = numbers[np.isfinite(numbers)]
    log = scale == "log" and finite.size and finite.min() > 0
    return _numeric(numbers, "log" if log else "linear", *_ends(finite))


def _categories(values: Values) -> Scaled:
    called = [text_of(value) for value in values]
    known = dict(zip(called, values, strict=True))
    try:
        texts = sorted(known, key=lambda text: known[text])
    except TypeError:  # of several types
        texts = sorted(known)
    place = {text: k for k, text in enumerate(texts)}
    numbers = np.array([float(place[text]) for text in called])
    names = [text if len(text) <= 20 else f"{text[:9]}…{text[-10:]}" for text in texts]
    last = max(1, len(names) - 1)
    middle = 0.5 if len(names) == 1 else 0.0
    ticks = _thinned([(middle + k / last, name) for k, name in enumerate(names)])
    return Scaled(numbers, middle + numbers / last, "category", 0.0, float(last), ticks, names)


def _numeric(numbers: np.ndarray, scale: str, low: float, high: float) -> Scaled:
    """Numbers from low to high; what lies beyond is drawn at the end."""
    bend = np.log10 if scale == "log" else np.asarray
    start, stop = bend(low), bend(high)
    span = float(stop - start)

    def place(at: np.ndarray) -> np.ndarray:
        clipped = np.where(np.isfinite(at), np.clip(at, low, high), low)
        shares = (bend(clipped) - start) / span if span > 0 else np.full(at.shape, 0.5)
        return np.where(np.isfinite(at), shares, np.nan)

    marks = np.unique(numbers[np.isfinite(numbers)])
    if len(marks) > 7:
        ticker = style.matplotlib_module("matplotlib.ticker")
        locator = ticker.LogLocator(numticks=6) if scale == "log" else ticker.MaxNLocator(5)
        marks = np.asarray(locator.tick_values(low, high))
        marks = marks[(marks >= low) & (marks <= high)]
        if len(marks) < 2:
            marks = np.array([low, high])
    ticks = [(float(at), f"{mark:.4g}") for at, mark in zip(place(marks), marks, strict=True)]
    return Scaled(numbers, place(numbers), scale, low, high, _thinned(ticks), [])


def _thinned(ticks: list[tuple[float, str]]) -> list[tuple[float, str]]:
    """Without those whose letters would overlap."""
    kept: list[tuple[float, str]] = []
    for place, text in ticks:
        if not kept or place - kept[-1][0] >= 0.045:
            kept.append((place, text))
    return kept


def objective_axis(found: np.ndarray) -> Scaled:
    """The objective, without what is so far out that the rest could not be told apart."""
    finite = found[np.isfinite(found)]
    if not finite.size:
        return _numeric(found, "linear", math.nan, math.nan)
    scale = scale_of(finite)
    bent = np.log10(finite) if scale == "log" else finite
    lower, upper = np.quantile(bent, [0.25, 0.75])
    reach = 3.0 * (upper - lower)
    near = (bent >= lower - reach) & (bent <= upper + reach)
    # a few good values far from many bad ones are what a sweep is for
    if np.ptp(bent) <= FAR * np.ptp(bent[near]):
        near[:] = True
    return _numeric(found, scale, *_ends(finite[near]))


def _ends(finite: np.ndarray) -> tuple[float, float]:
    return (float(finite.min()), float(finite.max())) if finite.size else (math.nan, math.nan)


def scale_of(values: np.ndarray) -> str:
    """Whether numbers ask for a logarithmic axis."""
    finite = values[np.isfinite(values)]
    low, high = _ends(finite)
    wide = finite.size > 0 and low > 0 and math.log10(high) - math.log10(low) >= math.log10(WIDE)
    return "log" if wide else "linear"


def fit(ax: "Axes", frame: Scaled) -> None:
    """Make the vertical axis that of the objective, with some room around the numbers."""
    if not math.isfinite(frame.low):
        return
    if frame.scale == "log":
        logarithmic(ax, "y", frame.low, frame.high)
        share = (frame.high / frame.low) ** 0.05
        ax.set_ylim(frame.low / share, frame.high * share)
    else:
        share = 0.05 * (frame.high - frame.low) or 0.05 * abs(frame.high) or 1.0
        ax.set_ylim(frame.low - share, frame.high + share)


def logarithmic(ax: "Axes", which: Literal["x", "y"], low: float, high: float) -> None:
    """Make an axis logarithmic, with plain numbers where it spans few decades."""
    ticker = style.matplotlib_module("matplotlib.ticker")
    ax.set_xscale("log") if which == "x" else ax.set_yscale("log")
    axis = ax.xaxis if which == "x" else ax.yaxis
    axis.set_minor_formatter(ticker.NullFormatter())
    axis.set_tick_params(which="minor", color=style.INK)
    if math.log10(high) - math.log10(low) < 3.0:
        axis.set_major_locator(ticker.LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))


def spread_out(count: int, most: int, head: float = 0.25) -> np.ndarray:
    """At most so many of the places 0 to count: the first ones, and the others evenly."""
    if count <= most:
        return np.arange(count)
    first = int(head * most)
    rest = np.linspace(first, count - 1, most - first).round().astype(int)
    return np.concatenate([np.arange(first), rest])


def numbers_of(values: Values) -> np.ndarray:
    """Values as numbers; NaN for what is none, or has blown up."""
    return np.array(
        [
            float(value)
            if isinstance(value, NUMBER) and not isinstance(value, bool) and abs(value) <= LARGEST
            else math.nan
            for value in values
        ],
        float,
    )


def text_of(value: Any) -> str:
    """A value as a category is called."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(text_of(entry) for entry in value)
    return f"{value:.6g}" if isinstance(value, float) else str(value)
