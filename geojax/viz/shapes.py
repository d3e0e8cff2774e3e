"""Plots of points and of what a deformation does to the plane."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from geojax._core.errors import InputError
from geojax.viz import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def as_plane(points: Any, name: str = "points") -> np.ndarray:
    """Points `[n, 2]` for a plot; of `[n, 3]` the two coordinates with the largest extent.

    Raises:
        InputError: another shape.
    """
    points = np.asarray(points)
    if points.ndim != 2 or points.shape[1] not in (2, 3):
        raise InputError(f"{name}: has shape {list(points.shape)}; a plot takes [n, 2] or [n, 3]")
    if points.shape[1] == 3:
        points = points[:, np.sort(np.argsort(-np.ptp(points, axis=0), kind="stable")[:2])]
    return points


def plot_points(
    points: Any,
    ax: "Axes | None" = None,
    *,
    closed: bool = False,
    line: bool = False,
    edges: Any = None,
    **options: Any,
) -> "Axes":
    """Points of the plane, as dots or joined by a line.

    Args:
        points: `[n, 2]` (of `[n, 3]` the two widest coordinates).
        ax: where to draw; a new figure if None.
        closed: join the last point to the first (with `line`).
        line: a line in place of dots.
        edges: `[e, 2]`, which points are joined; a line in place of dots.
        options: passed to `Axes.plot`: color, label, alpha and so on.

    Returns:
        The axes.

    Example:
        >>> import numpy as np
        >>> from geojax.viz import plot_points
        >>> ax = plot_points(np.eye(2), label="two")
        >>> len(ax.lines)
        1
    """
    ax = style.axes_or_new(ax)
    points = as_plane(points)
    if closed:
        points = np.concatenate([points, points[:1]])
    if edges is not None:
        # Lines end where a number is missing.
        pieces = np.full((len(edges), 3, 2), np.nan)
        pieces[:, :2] = points[np.asarray(edges)]
        points, line = pieces.reshape(-1, 2), True
    look = {"linewidth": 1.4} if line else {"linestyle": "none", "marker": "o", "markersize": 2.6}
    ax.plot(points[:, 0], points[:, 1], **{"color": style.SOURCE, **look, **options})
    ax.set_aspect("equal")
    return ax


def plot_match(
    source: Any,
    target: Any,
    moved: Any = None,
    ax: "Axes | None" = None,
    *,
    paths: Any = None,
    line: bool = False,
    edges: tuple[Any, Any] | None = None,
) -> "Axes":
    """Source and target, and where the source went.

    Args:
        source, target: `[n, d]` and `[m, d]`.
        moved: `[n, d]`, the source after the deformation.
        ax: where to draw; a new figure if None.
        paths: `[k, n, d]`, positions on the way, drawn as thin lines.
        line: closed lines in place of dots.
        edges: which points of the source and which of the target are joined, `[e, 2]` each.
    """
    ax = style.axes_or_new(ax)
    if paths is not None:
        flat = np.asarray(paths)
        tracks = as_plane(flat.reshape(-1, flat.shape[-1])).reshape(*flat.shape[:2], 2)
        ax.plot(tracks[:, :, 0], tracks[:, :, 1], color=style.SOFT, linewidth=0.6, alpha=0.8)
    look: dict[str, Any] = {"line": line, "closed": line}
    ours, theirs = edges if edges is not None else (None, None)
    plot_points(target, ax, color=style.TARGET, label="target", edges=theirs, **look)
    if moved is None or paths is not None:
        plot_points(source, ax, color=style.SOURCE, label="source", edges=ours, **look)
    if moved is not None:
        plot_points(moved, ax, color=style.MOVED, label="source, moved", edges=ours, **look)
    style.bare(ax)
    return style.legend(ax, loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=3)


def plot_grid(
    move: Callable[[np.ndarray], Any],
    bounds: Any,
    ax: "Axes | None" = None,
    *,
    lines: int = 28,
    resolution: int = 6,
    **options: Any,
) -> "Axes":
    """A square grid after a map of the plane: what the deformation does everywhere.

    Args:
        move: map of points, `[n, 2] -> [n, 2]`; called once.
        bounds: `[[x0, y0], [x1, y1]]`, the corners of the grid.
        ax: where to draw; a new figure if None.
        lines: grid lines along the longer side.
        resolution: points on each line between two crossings.
        options: passed to the line collection: color, linewidth and so on.
    """
    ax = style.axes_or_new(ax)
    lower, upper = np.asarray(bounds, float)
    spacing = float(np.max(upper - lower)) / max(lines - 1, 1)
    counts = np.maximum(np.round((upper - lower) / spacing).astype(int), 1)
    segments = []
    for axis in range(2):
        across = np.linspace(lower[1 - axis], upper[1 - axis], counts[1 - axis] + 1)
        along = np.linspace(lower[axis], upper[axis], counts[axis] * resolution + 1)
        for value in across:
            segment = np.empty((len(along), 2))
            segment[:, axis], segment[:, 1 - axis] = along, value
            segments.append(segment)
    ends = np.cumsum([len(segment) for segment in segments])
    moved = np.asarray(move(np.concatenate(segments)))
    collection = style.matplotlib_module("matplotlib.collections").LineCollection(
        np.split(moved, ends[:-1]),
        **{"colors": style.SOFT, "linewidths": 0.6, "alpha": 0.9, **options},
    )
    ax.add_collection(collection)
    ax.autoscale_view()
    return style.bare(ax)


def plot_paths(states: Any, ax: "Axes | None" = None, *, colormap: str = "viridis") -> "Axes":
    """The way of each point, coloured by time from dark to light.

    Args:
        states: `[k, n, d]`, n points at k times.
        ax: where to draw; a new figure if None.
        colormap: name of a matplotlib colormap.
    """
    ax = style.axes_or_new(ax)
    states = np.asarray(states)
    if states.ndim != 3:
        raise InputError(f"states: have shape {list(states.shape)}; paths take [k, n, d]")
    tracks = as_plane(states.reshape(-1, states.shape[-1])).reshape(*states.shape[:2], 2)
    pieces = np.stack([tracks[:-1], tracks[1:]], axis=2).reshape(-1, 2, 2)
    times = np.repeat(np.linspace(0.0, 1.0, max(len(tracks) - 1, 1)), tracks.shape[1])
    collection = style.matplotlib_module("matplotlib.collections").LineCollection(
        pieces, array=times[: len(pieces)], cmap=colormap, linewidths=0.9, capstyle="round"
    )
    ax.add_collection(collection)
    ax.autoscale_view()
    return style.bare(ax)


def plot_area_change(
    move: Callable[[np.ndarray], Any],
    bounds: Any,
    ax: "Axes | None" = None,
    *,
    cells: int = 90,
    limit: float | None = None,
    label: str = "",
) -> "Axes":
    """Where a map of the plane enlarges and where it shrinks: log2 of the ratio of areas.

    Args:
        move: map of points, `[n, 2] -> [n, 2]`; called once.
        bounds: `[[x0, y0], [x1, y1]]`.
        ax: where to draw; a new figure if None.
        cells: cells along the longer side.
        limit: end of the colour scale, in powers of two; from the data if None. Cells that fold
            over have no colour.
        label: what is shown, below the colour bar.
    """
    ax = style.axes_or_new(ax)
    lower, upper = np.asarray(bounds, float)
    size = float(np.max(upper - lower)) / cells
    counts = np.maximum(np.round((upper - lower) / size).astype(int), 1)
    x, y = (np.linspace(lower[k], upper[k], counts[k] + 1) for k in range(2))
    grid = np.stack(np.meshgrid(x, y), axis=-1)
    moved = np.asarray(move(grid.reshape(-1, 2))).reshape(grid.shape).astype(float)
    # The area of a moved cell from its diagonals; signed, so a fold shows as negative.
    first, second = moved[1:, 1:] - moved[:-1, :-1], moved[1:, :-1] - moved[:-1, 1:]
    area = 0.5 * (first[..., 0] * second[..., 1] - first[..., 1] * second[..., 0])
    ratio = area / ((x[1] - x[0]) * (y[1] - y[0]))
    change = np.log2(np.where(ratio > 0, ratio, np.nan))
    if limit is None:
        limit = max(0.5, float(np.ceil(2 * np.nanquantile(np.abs(change), 0.995)) / 2))
    image = ax.imshow(
        change,
        origin="lower",
        extent=(lower[0], upper[0], lower[1], upper[1]),
        cmap="RdBu_r",
        vmin=-limit,
        vmax=limit,
        alpha=0.85,
        interpolation="bilinear",
    )
    bar = ax.figure.colorbar(
        image, ax=ax, orientation="horizontal", shrink=0.6, aspect=36, pad=0.02
    )
    bar.outline.set_visible(False)
    ticks = np.linspace(-limit, limit, 5)
    bar.set_ticks(list(ticks), labels=[f"×{2**tick:.2g}" for tick in ticks])
    bar.ax.tick_params(colors=style.INK, labelsize=8, width=0.6, length=3)
    bar.set_label(label, color=style.INK, fontsize=8)
    return style.bare(ax)
