"""Plots of images and of deformations of their grid.

An image is drawn as the world stands: the first axis leads to the right, the second up. Images in
space are drawn by their `middle_slices`.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from geojax._core.errors import InputError
from geojax.viz import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# More points along an axis are not seen, but make a page heavy.
_MOST = 700
_PLANES = ((0, 1), (0, 2), (1, 2))
_PERCENTILES = 0.5, 99.5


def middle_slices(values: Any, spacing: Any) -> list[tuple[np.ndarray, np.ndarray]]:
    """The images of the plane by which an image is drawn.

    Args:
        values: `[*lead, *grid]`, with as many axes of a grid as there are spacings.
        spacing: `[d]`, d = 2 or 3.

    Returns:
        Values `[*lead, a, b]` and spacing `[2]` of each plane: of an image in space through its
        middle along the axes 0 and 1, 0 and 2, 1 and 2; the image itself in the plane.

    Raises:
        InputError: another dimension.

    Example:
        >>> import numpy as np
        >>> from geojax.viz import middle_slices
        >>> [plane.shape for plane, _ in middle_slices(np.zeros((3, 4, 5)), [1, 1, 2])]
        [(3, 4), (3, 5), (4, 5)]
    """
    values, spacing = np.asarray(values), np.asarray(spacing, float)
    d = len(spacing)
    if d not in (2, 3) or values.ndim < d:
        raise InputError(
            f"Argument values must end with the axes of a grid in 2 or 3 dimensions, but has shape "
            f"{list(values.shape)} for {d} spacings."
        )
    if d == 2:
        return [(values, spacing)]
    found = []
    for plane in _PLANES:
        (across,) = set(range(3)) - set(plane)
        axis = values.ndim - 3 + across
        found.append((values.take(values.shape[axis] // 2, axis), spacing[list(plane)]))
    return found


def window(values: Any) -> tuple[float, float]:
    """What is drawn black and what white: the outermost half percent is cut."""
    low, high = np.percentile(np.asarray(values, float), _PERCENTILES)
    if not high > low:
        low, high = float(np.min(values)), float(np.max(values))
    return float(low), float(high) if high > low else float(low) + 1.0


def plot_image(
    values: Any,
    ax: "Axes | None" = None,
    *,
    spacing: Any = (1.0, 1.0),
    limits: tuple[float, float] | None = None,
    **options: Any,
) -> "Axes":
    """An image of the plane in shades of grey.

    Args:
        values: `[a, b]`; the first axis leads to the right, the second up.
        ax: where to draw; a new figure if None.
        spacing: distance of neighbours along each axis.
        limits: values that are black and white; from the image if None.
        options: passed to `Axes.imshow`: cmap, alpha and so on.

    Example:
        >>> import numpy as np
        >>> from geojax.viz import plot_image
        >>> ax = plot_image(np.eye(4), spacing=(1.0, 2.0))
        >>> [float(x) for x in ax.images[0].get_extent()]
        [-0.5, 3.5, -1.0, 7.0]
    """
    ax = style.axes_or_new(ax)
    values = _in_plane(values)
    low, high = window(values) if limits is None else limits
    _show(ax, values, spacing, **{"cmap": "gray", "vmin": low, "vmax": high, **options})
    return style.bare(ax)


def plot_checkerboard(
    first: Any,
    second: Any,
    ax: "Axes | None" = None,
    *,
    spacing: Any = (1.0, 1.0),
    limits: tuple[tuple[float, float], tuple[float, float]] | None = None,
    tiles: int = 6,
) -> "Axes":
    """Two images in alternating squares: where they agree, edges run on from square to square.

    Args:
        first, second: `[a, b]`, on one grid; of different brightness if need be.
        ax: where to draw; a new figure if None.
        spacing: distance of neighbours along each axis.
        limits: values that are black and white, of each; from the images if None.
        tiles: squares along the longer side.

    Raises:
        InputError: other shapes.
    """
    ax = style.axes_or_new(ax)
    pair = [_in_plane(values) for values in (first, second)]
    if pair[0].shape != pair[1].shape:
        raise InputError(
            f"Arguments first and second must have one shape, but have {list(pair[0].shape)} and "
            f"{list(pair[1].shape)}."
        )
    limits = (window(pair[0]), window(pair[1])) if limits is None else limits
    shades = [(v - low) / (high - low) for v, (low, high) in zip(pair, limits, strict=True)]
    lengths = np.asarray(pair[0].shape) * np.asarray(spacing, float)
    side = float(np.max(lengths)) / tiles
    number = [
        np.floor((np.arange(n) + 0.5) * float(s) / side).astype(int)
        for n, s in zip(pair[0].shape, np.asarray(spacing, float), strict=True)
    ]
    even = (number[0][:, None] + number[1][None, :]) % 2 == 0
    board = np.clip(np.where(even, *shades), 0.0, 1.0)
    _show(ax, board, spacing, cmap="gray", vmin=0.0, vmax=1.0)
    return style.bare(ax)


def plot_moved_grid(
    displacement: Any,
    ax: "Axes | None" = None,
    *,
    spacing: Any = (1.0, 1.0),
    distance: float | None = None,
    **options: Any,
) -> "Axes":
    """A square grid, carried by the deformation that pulls images back by a displacement.

    Drawn are the places that come from the lines of a square grid, where `x + u(x)` has a round
    coordinate; so in a slice as well these are lines, whatever moves across it.

    Args:
        displacement: `[2, a, b]`, u along the two axes, in units of the spacing.
        ax: where to draw; a new figure if None.
        spacing: distance of neighbours along each axis.
        distance: of the lines before the deformation; a 24th of the longer side if None.
        options: passed to `Axes.contour`: colors, linewidths and so on.

    Raises:
        InputError: another shape, or more than a thousand lines.
    """
    ax = style.axes_or_new(ax)
    shift, spacing = np.asarray(displacement, float), np.asarray(spacing, float)
    if shift.ndim != 3 or len(shift) != 2 or min(shift.shape) < 2:
        raise InputError(
            f"Argument displacement must have shape [2, a, b], but has {list(shift.shape)}."
        )
    lengths = np.asarray(shift.shape[1:]) * spacing
    distance = float(np.max(lengths)) / 24 if distance is None else distance
    if not 0 < np.max(lengths) / distance < 1000:
        raise InputError(
            f"Argument distance must be positive and at least a thousandth of the longer side, "
            f"{np.max(lengths):g}, but is {distance:g}."
        )
    along = [np.arange(n) * s for n, s in zip(shift.shape[1:], spacing, strict=True)]
    places = np.stack(np.meshgrid(*along, indexing="ij")) + shift
    look: dict[str, Any] = {
        "colors": style.MOVED,
        "linewidths": 0.7,
        "linestyles": "solid",  # also where the level is negative
        **options,
    }
    for axis in range(2):
        middle = 0.5 * along[axis][-1]
        low, high = (float(f(places[axis])) for f in (np.min, np.max))
        numbers = np.arange(np.ceil((low - middle) / distance), (high - middle) / distance)
        if numbers.size:
            ax.contour(*along, places[axis].T, levels=middle + distance * numbers, **look)
    ax.set_aspect("equal")
    return style.bare(ax)


def plot_determinants(
    determinants: Any,
    ax: "Axes | None" = None,
    *,
    spacing: Any = (1.0, 1.0),
    limit: float | None = None,
    bar: bool = True,
    label: str = "",
) -> "Axes":
    """Jacobian determinants on a logarithmic scale, white where volumes are kept.

    Args:
        determinants: `[a, b]`; what is not positive has no colour but black.
        ax: where to draw; a new figure if None.
        spacing: distance of neighbours along each axis.
        limit: end of the colour scale, in powers of two; from the data if None.
        bar: draw a colour bar below.
        label: what is shown, below the colour bar.
    """
    ax = style.axes_or_new(ax)
    values = _in_plane(determinants)
    change = np.log2(np.where(values > 0, values, np.nan))
    limit = log_limit(values) if limit is None else limit
    colors = style.matplotlib_module().colormaps["RdBu_r"].with_extremes(bad="black")
    _show(ax, change, spacing, cmap=colors, vmin=-limit, vmax=limit)
    if bar:
        determinant_bar([ax], limit, label=label)
    return style.bare(ax)


def determinant_bar(axes: "Sequence[Axes]", limit: float, *, label: str = "") -> None:
    """The colours of `plot_determinants`, on a bar below all axes of a figure that show them.

    Args:
        axes: where determinants are drawn, with this limit.
        limit: end of the scale, in powers of two.
        label: what is shown.
    """
    bar = axes[0].figure.colorbar(
        axes[0].images[0], ax=list(axes), orientation="horizontal", shrink=0.6, aspect=36, pad=0.02
    )
    bar.outline.set_visible(False)
    ticks = _ticks(limit)
    bar.set_ticks(list(ticks), labels=[_times(tick) for tick in ticks])
    bar.ax.tick_params(colors=style.INK, labelsize=8, width=0.6, length=3)
    bar.set_label(label, color=style.INK, fontsize=8)


def plot_determinant_histogram(
    determinants: Any, ax: "Axes | None" = None, *, bins: int = 60
) -> "Axes":
    """How often each Jacobian determinant occurs, on a logarithmic scale; folds are left out.

    Args:
        determinants: any shape.
        ax: where to draw; a new figure if None.
        bins: bars.

    Raises:
        InputError: none is positive.
    """
    ax = style.axes_or_new(ax)
    values = np.asarray(determinants, float).ravel()
    good = values[np.isfinite(values) & (values > 0)]
    if not good.size:
        raise InputError("Argument determinants must hold positive numbers, but none is.")
    change = np.log2(good)
    limit = float(max(np.ceil(4 * np.quantile(np.abs(change), 0.999)) / 4, 0.25))
    edges = np.linspace(-limit, limit, bins + 1)
    # what lies beyond counts at the ends
    counts, _ = np.histogram(np.clip(change, -limit, limit), edges)
    shares = 100 * counts / values.size
    ax.bar(edges[:-1], shares, np.diff(edges), align="edge", color=style.SOURCE, alpha=0.85)
    ax.axvline(0.0, color=style.INK, linewidth=0.8)
    ticks = _ticks(limit)
    ax.set_xticks(list(ticks), labels=[_times(tick) for tick in ticks])
    ax.set_xlabel("Jacobian determinant")
    ax.set_ylabel("% of the points")
    return ax


def log_limit(determinants: Any) -> float:
    """End of a scale of powers of two that holds nearly all determinants."""
    values = np.asarray(determinants, float)
    good = values[np.isfinite(values) & (values > 0)]
    if not good.size:
        return 0.25
    return float(max(0.25, np.ceil(4 * np.quantile(np.abs(np.log2(good)), 0.995)) / 4))


def _ticks(limit: float) -> np.ndarray:
    """Round powers of two up to a limit, at most seven."""
    step = next(s for s in (0.125, 0.25, 0.5, 1.0, 2.0, 5.0, limit) if limit < 4 * s)
    count = int(limit / step)
    return step * np.arange(-count, count + 1)


def _times(power: float) -> str:
    return f"×{2**power:.2g}"


def _in_plane(values: Any) -> np.ndarray:
    values = np.asarray(values)
    if values.ndim != 2:
        raise InputError(
            f"Argument values must be an image of the plane, [a, b], but has shape "
            f"{list(values.shape)}; see middle_slices."
        )
    return values.astype(float)


def _show(ax: "Axes", values: np.ndarray, spacing: Any, **options: Any) -> Any:
    """Pixels of the size of the spacing, with the first at the origin."""
    extent = []
    for n, s in zip(values.shape, np.asarray(spacing, float), strict=True):
        extent += [-0.5 * float(s), (n - 0.5) * float(s)]
    steps = [slice(None, None, -(-n // _MOST)) for n in values.shape]
    return ax.imshow(
        values[tuple(steps)].T,
        origin="lower",
        extent=tuple(extent),
        **{"interpolation": "none", **options},
    )
