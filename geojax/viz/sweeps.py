"""Plots of a sweep: its points, what each field does, its best runs, and its rungs."""

import operator
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from geojax._core.errors import InputError
from geojax.viz import style
from geojax.viz.scales import (
    Values,
    field_axis,
    fit,
    logarithmic,
    numbers_of,
    objective_axis,
    ranking,
    scale_of,
    spread_out,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# From worst to best: of middling brightness, so that they read on white and on black.
SHADES = (style.SOURCE, "#8a7fd0", "#b8527f", style.TARGET)


def plot_parallel(
    columns: Mapping[str, Values],
    objective: Values,
    ax: "Axes | None" = None,
    *,
    scales: Mapping[str, str] | None = None,
    label: str = "objective",
    maximise: bool = False,
    most: int = 400,
) -> "Axes":
    """Parallel coordinates: an upright axis per field, a line per point, coloured by its rank.

    The last axis is the objective; values far out are drawn at its end. Points without a finite
    objective are dotted and end before it.

    Args:
        columns: field -> its value at each point, `[n]`: numbers or, where the scale is "category",
            anything. The line of a point has a gap where a number is None or not finite.
        objective: `[n]`; None or not finite where there is none.
        ax: where to draw; a new figure if None.
        scales: field -> "linear", "log" or "category"; "linear" by default. Values that are not
            all numbers are categories, values that are not all positive are not drawn as "log".
        label: what the objective is called.
        maximise: whether more of it is better.
        most: at most so many lines, the best ones and the others evenly by rank.

    Raises:
        InputError: no columns, columns of another length, or an unknown scale.

    Example:
        >>> from geojax.viz import plot_parallel
        >>> ax = plot_parallel({"rate": [0.1, 1.0], "kind": ["a", "b"]}, [2.0, 1.0])
        >>> [text.get_text() for text in ax.get_xticklabels()]
        ['rate', 'kind', 'objective']
    """
    ax = style.axes_or_new(ax)
    found = numbers_of(objective)
    if not columns:
        raise InputError("columns: there are none; give at least one field")
    scales = scales or {}
    axes = [field_axis(name, columns[name], scales.get(name, "linear"), found) for name in columns]
    axes.append(objective_axis(found))
    places = np.stack([axis.places for axis in axes], axis=1)
    xs = np.arange(len(axes), dtype=float)
    ranked = ranking(found, maximise)
    chosen = ranked[spread_out(len(ranked), most)]
    shades = style.matplotlib_module("matplotlib.colors").LinearSegmentedColormap.from_list(
        "rank", SHADES
    )
    lost = np.flatnonzero(~np.isfinite(found))
    lost = lost[spread_out(len(lost), max(1, most // 4), head=0.0)]
    for k in lost:
        ax.plot(xs, places[k], color=style.SOFT, linewidth=0.8, linestyle=":", alpha=0.8, zorder=1)
    # the best last, so that it lies on top
    for place, k in reversed(list(enumerate(chosen))):
        share = 1.0 - place / max(1, len(chosen) - 1)
        ax.plot(
            xs, places[k], color=shades(share), linewidth=0.7 + 1.1 * share**4,
            alpha=0.25 + 0.7 * share**2, zorder=2 + share, solid_joinstyle="round",
        )  # fmt: skip
    for x, axis in zip(xs, axes, strict=True):
        ax.plot([x, x], [0.0, 1.0], color=style.INK, linewidth=0.8, zorder=4)
        for place, text in axis.ticks:
            ax.plot([x - 0.02, x], [place] * 2, color=style.INK, linewidth=0.8, zorder=4)
            ax.annotate(
                text, (x, place), (-4, 2), textcoords="offset points", ha="right", va="bottom",
                fontsize=8, color=style.INK, zorder=5,
            )  # fmt: skip
    for spine in ax.spines.values():
        spine.set_visible(False)
    ax.set_yticks([])
    ax.set_xticks(xs, [*columns, label])
    ax.tick_params(axis="x", length=0)
    ax.set_xlim(-0.35, xs[-1] + 0.1)
    ax.set_ylim(-0.04, 1.04)
    return ax


def plot_effect(
    values: Values,
    objective: Values,
    ax: "Axes | None" = None,
    *,
    name: str,
    scale: str = "linear",
    label: str = "objective",
    most: int = 400,
) -> "Axes":
    """The objective against one field: all points, and medians with quartiles along the field.

    Each value of the field has a median of its own where there are few, and else each sixth of the
    points. Values of the objective far out are drawn at the edge of the frame.

    Args:
        values: of the field at each point, `[n]`.
        objective: `[n]`; points without a finite one are left out.
        ax: where to draw; a new figure if None.
        name: of the field.
        scale: "linear", "log" or "category"; see `plot_parallel`.
        label: what the objective is called.
        most: at most so many points are drawn; the medians are of all.

    Raises:
        InputError: another number of values, or an unknown scale.

    Example:
        >>> from geojax.viz import plot_effect
        >>> ax = plot_effect([1, 1, 2, 2], [1.0, 3.0, 5.0, 9.0], name="width")
        >>> ax.containers[0].lines[0].get_ydata().tolist()
        [2.0, 7.0]
    """
    ax = style.axes_or_new(ax)
    found = numbers_of(objective)
    axis = field_axis(name, values, scale, found)
    frame = objective_axis(found)
    good = np.isfinite(found) & np.isfinite(axis.numbers)
    x, y = axis.numbers[good], found[good]
    seen = np.argsort(y, kind="stable")[spread_out(len(y), most, head=0.0)]
    clipped = np.clip(y[seen], frame.low, frame.high)
    ax.scatter(x[seen], clipped, s=9, color=style.SOURCE, alpha=0.35, linewidths=0)
    groups = _groups(x)
    if groups:
        at = [float(np.median(x[group])) for group in groups]
        quartiles = [np.quantile(y[group], [0.25, 0.5, 0.75]) for group in groups]
        low, middle, high = np.clip(quartiles, frame.low, frame.high).T
        ax.errorbar(
            at, middle, yerr=[middle - low, high - middle], color=style.TARGET, capsize=2,
            linewidth=1.4, marker="o", markersize=4, linestyle="none" if axis.names else "-",
        )  # fmt: skip
    fit(ax, frame)
    if axis.names:
        step = -(-len(axis.names) // 12)
        ax.set_xticks(range(0, len(axis.names), step), axis.names[::step])
        ax.set_xlim(-0.5, len(axis.names) - 0.5)
        if sum(len(text) for text in axis.names[::step]) > 30:
            ax.tick_params(axis="x", rotation=30)
    elif axis.scale == "log":
        logarithmic(ax, "x", axis.low, axis.high)
    ax.set_xlabel(name)
    ax.set_ylabel(label)
    return ax


def plot_runs(
    best: Mapping[str, Values],
    others: Sequence[Values] = (),
    ax: "Axes | None" = None,
    *,
    label: str,
    x_label: str = "entry",
) -> "Axes":
    """A curve of the best runs, before those of others in grey.

    Args:
        best: name of the run -> its curve, the best first; gaps where it is not finite.
        others: further curves.
        ax: where to draw; a new figure if None.
        label: what the curves are of; on a logarithmic axis where they are positive and span two
            decades.
        x_label: label of the horizontal axis.

    Example:
        >>> from geojax.viz import plot_runs
        >>> ax = plot_runs({"a": [3.0, 0.01], "b": [4.0, 1.0]}, [[5.0, None]], label="loss")
        >>> ax.get_yscale(), len(ax.lines)
        ('log', 3)
    """
    ax = style.axes_or_new(ax)
    curves = [numbers_of(curve) for curve in others]
    named = {name: numbers_of(curve) for name, curve in best.items()}
    for curve in curves:
        ax.plot(range(1, len(curve) + 1), curve, color=style.SOFT, linewidth=0.6, alpha=0.45)
    colours = [style.TARGET, style.SOURCE, style.MOVED, *style.CYCLE[3:]]
    for k, (name, curve) in enumerate(named.items()):
        ax.plot(
            range(1, len(curve) + 1), curve, color=colours[k % len(colours)], label=name,
            linewidth=2.0 if k == 0 else 1.3, zorder=3 - 0.01 * k,
        )  # fmt: skip
    every = [*curves, *named.values()]
    if every:
        drawn = np.concatenate(every)
        if scale_of(drawn) == "log":
            logarithmic(ax, "y", float(np.nanmin(drawn)), float(np.nanmax(drawn)))
    ax.set_xlabel(x_label)
    ax.set_ylabel(label)
    return style.legend(ax) if named else ax


def plot_rungs(
    trials: Sequence[Sequence[tuple[Any, Any]]],
    ax: "Axes | None" = None,
    *,
    label: str = "objective",
    maximise: bool = False,
) -> "Axes":
    """The objective of each trial at the rungs of a halving that it came to.

    Those that went to the end stand out.

    Args:
        trials: the rungs of each: segments done, and the objective there.
        ax: where to draw; a new figure if None.
        label: what the objective is called.
        maximise: whether more of it is better; the best one is drawn strongest.

    Example:
        >>> from geojax.viz import plot_rungs
        >>> ax = plot_rungs([[(1, 4.0), (3, 2.0)], [(1, 5.0)]])
        >>> [line.get_xdata().tolist() for line in ax.lines]
        [[1.0], [1.0, 3.0]]
    """
    ax = style.axes_or_new(ax)
    ordered = [sorted(trial, key=operator.itemgetter(0)) for trial in trials if trial]
    tracks = [
        numbers_of([number for rung in trial for number in rung]).reshape(-1, 2)
        for trial in ordered
    ]
    frame = objective_axis(np.concatenate([t[:, 1] for t in tracks]) if tracks else np.zeros(0))
    longest = max((len(track) for track in tracks), default=0)
    ends = np.array([t[-1, 1] if len(t) == longest else np.nan for t in tracks])
    best = ranking(ends, maximise)[:1]
    for k, track in sorted(enumerate(tracks), key=lambda item: (len(item[1]), item[0] in best)):
        whole = len(track) == longest
        ax.plot(
            track[:, 0], np.clip(track[:, 1], frame.low, frame.high), marker="o",
            markersize=4 if whole else 3, linewidth=2.2 if k in best else 1.1,
            color=style.TARGET if k in best else style.SOURCE if whole else style.SOFT,
            alpha=1.0 if whole else 0.5,
        )  # fmt: skip
    fit(ax, frame)
    ticks = sorted({float(at) for track in tracks for at in track[:, 0]})
    if len(ticks) <= 12:
        ax.set_xscale("log")
        ax.minorticks_off()
        ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.set_xlabel("segments")
    ax.set_ylabel(label)
    return ax


def _groups(x: np.ndarray) -> list[np.ndarray]:
    """Places of the points that share a median."""
    unique = np.unique(x)
    if len(unique) <= 8:
        return [np.flatnonzero(x == value) for value in unique]
    return np.array_split(np.argsort(x, kind="stable"), min(6, max(1, len(x) // 4)))
