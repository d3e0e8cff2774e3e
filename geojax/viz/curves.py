"""Plots of numbers: convergence, training, and one thing against another."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from geojax.viz import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_convergence(
    values: Mapping[str, Any] | Sequence[float],
    ax: "Axes | None" = None,
    *,
    label: str = "objective",
    log: bool = True,
) -> "Axes":
    """A quantity, or several by name, over the iterations of a solver.

    Args:
        values: `[k]`, or name -> `[k]`. Entries that are not finite are left out.
        ax: where to draw; a new figure if None.
        label: label of the vertical axis.
        log: logarithmic vertical axis, where all values are positive.

    Example:
        >>> from geojax.viz import plot_convergence
        >>> ax = plot_convergence([4.0, 2.0, 1.0])
        >>> ax.get_xlabel(), ax.get_yscale()
        ('iteration', 'log')
    """
    ax = style.axes_or_new(ax)
    named = values if isinstance(values, Mapping) else {label: values}
    positive = True
    for k, (name, series) in enumerate(named.items()):
        series = np.asarray(series, float)
        positive = positive and bool(np.all(series[np.isfinite(series)] > 0))
        color = style.CYCLE[k % len(style.CYCLE)]
        ax.plot(np.arange(len(series)), series, color=color, linewidth=1.6, label=name)
    if log and positive:
        ax.set_yscale("log")
    ax.set_xlabel("iteration")
    ax.set_ylabel(label)
    if len(named) > 1:
        style.legend(ax)
    return ax


def plot_history(
    histories: Mapping[str, Any],
    ax: "Axes | None" = None,
    *,
    label: str,
    log: bool = False,
    x: Any = None,
    x_label: str = "epoch",
) -> "Axes":
    """One measured quantity of several runs over time, one colour per run.

    Args:
        histories: name of the run -> `[k]`.
        ax: where to draw; a new figure if None.
        label: what is measured, with its unit.
        log: logarithmic vertical axis.
        x: `[k]`, when it was measured; 1 to k if None.
        x_label: label of the horizontal axis.
    """
    ax = style.axes_or_new(ax)
    for name, color in zip(histories, run_colours(histories), strict=True):
        series = np.asarray(histories[name], float)
        place = np.arange(1, len(series) + 1) if x is None else np.asarray(x)
        ax.plot(place, series, color=color, linewidth=1.6, label=name)
    if log:
        ax.set_yscale("log")
    ax.set_xlabel(x_label)
    ax.set_ylabel(label)
    return style.legend(ax)


def run_colours(names: Mapping[str, Any] | Sequence[str]) -> list[str]:
    """A colour for each run, the same in every plot: the last one is the one to look at."""
    colours = [style.TARGET, style.SOURCE, style.MOVED, *style.CYCLE[3:]]
    return [colours[k % len(colours)] for k, _ in enumerate(names)]


def plot_comparison(
    values: Mapping[str, float],
    ax: "Axes | None" = None,
    *,
    spread: Mapping[str, float] | None = None,
    title: str = "",
    form: str = "{:.3g}",
) -> "Axes":
    """One quantity of several runs, as bars that carry their value.

    Args:
        values: name of the run -> value.
        ax: where to draw; a new figure if None.
        spread: name -> standard deviation, drawn as a whisker.
        title: what is measured, with its unit.
        form: how a value is written.
    """
    ax = style.axes_or_new(ax)
    names = list(values)
    heights = [float(values[name]) for name in names]
    errors = None if spread is None else [float(spread[name]) for name in names]
    bars = ax.bar(
        names, heights, yerr=errors, color=run_colours(names), width=0.62, ecolor=style.INK
    )
    ax.bar_label(bars, [form.format(h) for h in heights], padding=3, fontsize=9, color=style.INK)
    ax.set_title(title)
    ax.spines["left"].set_visible(False)
    ax.set_yticks([])
    ax.margins(y=0.18)
    return ax
