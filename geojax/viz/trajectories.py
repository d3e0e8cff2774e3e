"""Plots of paths in many dimensions, seen in a plane."""

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from geojax._core.errors import InputError
from geojax.viz import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class Plane(NamedTuple):
    """A plane to look at: `center [d]`, `directions [d, 2]`, and the share of variance it shows."""

    center: np.ndarray
    directions: np.ndarray
    explained: float

    def __call__(self, states: Any) -> np.ndarray:
        """Coordinates `[..., 2]` of states `[..., d]` in the plane."""
        return (np.asarray(states, float) - self.center) @ self.directions


def principal_plane(states: Any) -> Plane:
    """The plane that shows most of the variance of some states.

    Args:
        states: `[..., d]`, d at least 2.

    Raises:
        InputError: fewer than two dimensions.

    Example:
        >>> import numpy as np
        >>> from geojax.viz import principal_plane
        >>> plane = principal_plane(np.diag([3.0, 2.0, 0.0]))
        >>> round(plane.explained, 6), plane(np.zeros((5, 3))).shape
        (1.0, (5, 2))
    """
    states = np.asarray(states, float)
    if states.ndim < 1 or states.shape[-1] < 2:
        raise InputError(f"states: have shape {list(states.shape)}; a plane takes [..., d], d >= 2")
    flat = states.reshape(-1, states.shape[-1])
    center = flat.mean(axis=0)
    _, scales, directions = np.linalg.svd(flat - center, full_matrices=False)
    directions = np.concatenate([directions, np.zeros((2, flat.shape[1]))])[:2]
    # A direction and its negative are as good; this makes the choice the same each time.
    signs = np.sign(directions[np.arange(2), np.argmax(np.abs(directions), axis=1)])
    total = float(np.sum(scales**2))
    explained = float(np.sum(scales[:2] ** 2)) / total if total > 0 else 1.0
    return Plane(center, (directions * np.where(signs == 0, 1, signs)[:, None]).T, explained)


def plot_trajectories(
    states: Any,
    ax: "Axes | None" = None,
    *,
    labels: Any = None,
    plane: Plane | None = None,
    limit: int = 240,
) -> "Axes":
    """Paths from their start (hollow) to their end (full), coloured by class.

    Args:
        states: `[k, n, d]`, n paths of k states each.
        ax: where to draw; a new figure if None.
        labels: `[n]` integers, or None for one colour.
        plane: the plane to look at; that of these states if None and d is above 2. Give the same
            plane to plots that are to be compared.
        limit: draw at most so many paths, evenly chosen.
    """
    ax = style.axes_or_new(ax)
    states = np.asarray(states, float)
    if states.ndim != 3:
        raise InputError(f"states: have shape {list(states.shape)}; trajectories take [k, n, d]")
    keep = np.unique(np.linspace(0, states.shape[1] - 1, min(limit, states.shape[1])).astype(int))
    if plane is None and states.shape[-1] != 2:
        plane = principal_plane(states)
    tracks = states[:, keep] if plane is None else plane(states[:, keep])
    classes = np.zeros(len(keep), int) if labels is None else np.asarray(labels)[keep]
    collections = style.matplotlib_module("matplotlib.collections")
    for k in np.unique(classes):
        color = style.SOURCE if labels is None else style.CLASSES[int(k) % len(style.CLASSES)]
        mine = tracks[:, classes == k]
        lines = list(np.moveaxis(mine, 1, 0))
        ax.add_collection(
            collections.LineCollection(lines, colors=color, linewidths=0.7, alpha=0.55)
        )
        ax.scatter(*mine[0].T, s=5, facecolors="none", edgecolors=color, linewidths=0.5, alpha=0.7)
        label = None if labels is None else str(k)
        ax.scatter(*mine[-1].T, s=9, color=color, linewidths=0, label=label)
    ax.autoscale_view()
    ax.set_aspect("equal", adjustable="datalim")
    ax.set_xlabel("first principal axis")
    ax.set_ylabel("second principal axis")
    return ax
