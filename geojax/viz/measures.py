"""Plots of what is measured along a path, layer by layer."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from geojax.viz import style
from geojax.viz.curves import run_colours

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_profile(
    values: Mapping[str, Any],
    ax: "Axes | None" = None,
    *,
    label: str,
    log: bool = False,
    x_label: str = "layer",
) -> "Axes":
    """One quantity of several networks layer by layer: mean over samples, and its standard error.

    Args:
        values: name of the network -> `[layers, samples]`. Entries that are not finite are left
            out.
        ax: where to draw; a new figure if None.
        label: what is measured, with its unit.
        log: logarithmic vertical axis.
        x_label: label of the horizontal axis.

    Example:
        >>> import numpy as np
        >>> from geojax.viz import plot_profile
        >>> ax = plot_profile({"plain": np.ones((3, 5))}, label="step size")
        >>> ax.get_ylabel(), len(ax.lines[0].get_xdata())
        ('step size', 3)
    """
    ax = style.axes_or_new(ax)
    for name, color in zip(values, run_colours(values), strict=True):
        rows = [row[np.isfinite(row)] for row in np.asarray(values[name], float)]
        place = np.array([k + 1 for k, row in enumerate(rows) if row.size])
        rows = [row for row in rows if row.size]
        means = np.array([row.mean() for row in rows])
        errors = [row.std(ddof=1) / row.size**0.5 if row.size > 1 else 0.0 for row in rows]
        ax.errorbar(
            place, means, yerr=errors, color=color, linewidth=1.6, marker="o", markersize=3,
            capsize=2, label=name,
        )  # fmt: skip
    if log:
        ax.set_yscale("log")
    ax.set_xlabel(x_label)
    ax.set_ylabel(label)
    return style.legend(ax)


def plot_spectrum(
    singular_values: Sequence[Any], ax: "Axes | None" = None, *, color: str = style.SOURCE
) -> "Axes":
    """Singular values of the Jacobian from the start to each layer, medians over samples.

    Args:
        singular_values: one array `[samples, r_k]` for each state, in descending order.
        ax: where to draw; a new figure if None.
        color: of the lines; the largest and the smallest are drawn strongest.

    Example:
        >>> import numpy as np
        >>> from geojax.viz import plot_spectrum
        >>> plot_spectrum([np.ones((4, 3)), np.full((4, 2), 0.5)]).get_yscale()
        'log'
    """
    ax = style.axes_or_new(ax)
    medians = [np.median(np.asarray(values, float), axis=0) for values in singular_values]
    most = max(len(values) for values in medians)
    table = np.full((len(medians), most), np.nan)
    for k, values in enumerate(medians):
        # the smallest is always in the last column, whatever the dimension
        table[k, : len(values) - 1] = values[:-1]
        table[k, -1] = values[-1]
    table[table <= 0] = np.nan  # a logarithmic axis has no place for them
    for column in range(most):
        end = column in (0, most - 1)
        ax.plot(
            np.arange(len(table)), table[:, column], color=color,
            linewidth=1.6 if end else 0.5, alpha=1.0 if end else 0.5,
        )  # fmt: skip
    ax.set_yscale("log")
    ax.set_xlabel("state")
    ax.set_ylabel("singular values from the start")
    return ax
