"""The part of a report that shows a match."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from geojax import viz
from geojax.reports.page import Picture, Quantity, Section, Table

# Points of a shape that are drawn.
DRAWN = 1500


@dataclass(frozen=True)
class MatchView:
    """What a report shows of a match, in plain arrays.

    Attributes:
        source, target: `[n, d]` and `[m, d]`.
        moved: `[n, d]`, the source after the deformation.
        paths: `[k, n, d]`, the source on its way.
        objective: name -> `[i]`, what was minimised (and its parts) at each iteration.
        move: the deformation, `[p, d] -> [p, d]`.
        unit: unit of the coordinates, if known.
        folds: number of places where the deformation folds over, if counted.
        outline: the points follow each other along one closed curve.
        cells: the faces `[f, 3]` or edges `[e, 2]` of source and target, if they have any.
        determinants: `[n]`, of the Jacobian at the vertices of a surface.
        source_name, target_name: what they are called.
    """

    source: np.ndarray
    target: np.ndarray
    moved: np.ndarray
    paths: np.ndarray
    objective: Mapping[str, Sequence[float]]
    move: Callable[[np.ndarray], Any]
    unit: str = ""
    folds: int | None = None
    outline: bool = False
    cells: tuple[np.ndarray, np.ndarray] | None = None
    determinants: np.ndarray | None = None
    source_name: str = "source"
    target_name: str = "target"

    @property
    def is_surface(self) -> bool:
        """Whether the cells are faces."""
        return self.cells is not None and self.cells[0].shape[1] == 3

    def look(self, which: Literal[0, 1]) -> dict[str, Any]:
        """How the points of the source (0) or the target (1) are drawn."""
        if self.cells is not None and not self.is_surface:
            return {"edges": self.cells[which]}
        return {"line": self.outline, "closed": self.outline}

    @property
    def bounds(self) -> np.ndarray:
        """A box `[2, d]` around all points, with a margin."""
        every = np.concatenate([self.source, self.target, self.moved])
        lower, upper = every.min(axis=0), every.max(axis=0)
        margin = 0.08 * float(np.max(upper - lower)) or 1.0
        return np.stack([lower - margin, upper + margin])


def match_section(
    view: MatchView,
    *,
    title: str,
    text: str = "",
    quantities: Sequence[Quantity] = (),
    table: Table | None = None,
    note: str = "",
) -> Section:
    """Pictures of a match: before, after, the grid, the way, and how the optimiser got there.

    Args:
        view: the arrays.
        title, text, quantities, table, note: as for `Section`.
    """
    if view.is_surface:
        pictures = [*_surface_pictures(view), _convergence(view)]
        return Section(title, text, quantities, pictures, table, note)
    seen = _in_plane(_thinned(view))
    pictures = [_before(seen), _after(seen)]
    if view.source.shape[1] == 2:
        pictures += [_grid(seen), _area(seen)]
    pictures += [_way(seen), _convergence(seen)]
    most = max(len(view.source), len(view.target))
    if most > DRAWN and view.look(0).get("line") is False:
        text += f"\n\nOf up to {most:,} points {DRAWN:,} are drawn."
    return Section(title, text, quantities, pictures, table, note)


def _thinned(view: MatchView) -> MatchView:
    """The same match with as many points as an eye can tell apart and a page can hold."""
    if view.outline or view.cells is not None:
        return view
    points = _evenly(len(view.source))
    return dataclasses.replace(
        view,
        source=view.source[points],
        moved=view.moved[points],
        paths=view.paths[:, points],
        target=view.target[_evenly(len(view.target))],
    )


def _evenly(count: int) -> np.ndarray:
    return np.unique(np.linspace(0, count - 1, min(count, DRAWN)).astype(int))


def _in_plane(view: MatchView) -> MatchView:
    """The same match, looked at along the axis in which the shapes measure least."""
    if view.source.shape[1] == 2:
        return view
    extent = np.ptp(np.concatenate([view.source, view.target]), axis=0)
    axes = np.sort(np.argsort(-extent, kind="stable")[:2])
    parts = ("source", "target", "moved", "paths")
    return dataclasses.replace(view, **{name: getattr(view, name)[..., axes] for name in parts})


def _frame(ax: Any, view: MatchView, color: str = viz.INK) -> None:
    """The same box and a scale bar in every picture, so that they can be compared."""
    (x0, y0), (x1, y1) = view.bounds
    ax.set_xlim(x0, x1)
    ax.set_ylim(y0, y1)
    viz.bare(ax)
    if view.unit:
        viz.scale_bar(ax, _round_length(0.2 * (x1 - x0)), view.unit, color=color)


def _round_length(length: float) -> float:
    """The largest of 1, 2, 5 times a power of ten below a length."""
    power = 10.0 ** np.floor(np.log10(length))
    return float(max(step * power for step in (1, 2, 5) if step * power <= length))


def _height(view: MatchView) -> float:
    """Height of a picture of width 5 that the shapes fill."""
    width, height = np.ptp(np.concatenate([view.source, view.target]), axis=0)
    return float(np.clip(5.0 * height / max(width, 1e-12), 3.2, 6.2))


def _before(view: MatchView) -> Picture:
    figure, axes = viz.new_figure(height=_height(view))
    ax = viz.plot_match(
        view.source, view.target, ax=axes[0, 0], line=view.outline, edges=view.cells
    )
    _frame(ax, view)
    return Picture(
        viz.to_svg(figure),
        "Before",
        f"In blue {view.source_name}, in orange {view.target_name}, as they are.",
    )


def _after(view: MatchView) -> Picture:
    figure, axes = viz.new_figure(height=_height(view))
    ax = viz.plot_match(
        view.source, view.target, view.moved, axes[0, 0], line=view.outline, edges=view.cells
    )
    _frame(ax, view)
    return Picture(
        viz.to_svg(figure),
        "After",
        f"In green {view.source_name}, moved by the deformation, on {view.target_name} in orange.",
    )


def _grid(view: MatchView) -> Picture:
    figure, axes = viz.new_figure(height=_height(view))
    ax = viz.plot_grid(view.move, view.bounds, axes[0, 0], lines=36)
    viz.plot_points(view.moved, ax, color=viz.MOVED, **view.look(0))
    _frame(ax, view)
    text = "A square grid, moved with the points. Where its cells are narrow, space was pressed."
    if view.folds == 0:
        text += " Nowhere does it fold over: the map can be undone."
    elif view.folds:
        text += f" It folds over at {view.folds} places of the grid on which this was counted."
    return Picture(viz.to_svg(figure), "The deformation", text)


def _area(view: MatchView) -> Picture:
    figure, axes = viz.new_figure(height=_height(view))
    ax = viz.plot_area_change(view.move, view.bounds, axes[0, 0])
    look = {"markersize": 1.5, "linewidth": 0.9, **view.look(0)}
    viz.plot_points(view.source, ax, color=viz.DARK, **look)
    _frame(ax, view, viz.DARK)
    return Picture(
        viz.to_svg(figure),
        "Change of area",
        "How many times larger (red) or smaller (blue) each place of the source becomes, on a "
        "scale of powers of two.",
    )


def _way(view: MatchView) -> Picture:
    figure, axes = viz.new_figure(height=_height(view))
    ax = viz.plot_paths(view.paths, axes[0, 0])
    look = {"markersize": 1.8, "linewidth": 0.9, **view.look(1)}
    viz.plot_points(view.target, ax, color=viz.TARGET, **look)
    _frame(ax, view)
    return Picture(
        viz.to_svg(figure),
        "The way",
        f"The path of every point, dark at its start and light at its end; {view.target_name} in "
        "orange. It is a geodesic: the momentum at the start decides all of it.",
    )


def _surface_pictures(view: MatchView) -> list[Picture]:
    """Surfaces before and after, how much volume changed, and how far each vertex went."""
    assert view.cells is not None, "surfaces have faces"
    ours, theirs = view.cells
    source, moved = _Mesh(view.source, ours), _Mesh(view.moved, ours)
    target = _Mesh(view.target, theirs)
    every = np.concatenate([view.source, view.target, view.moved])
    look: dict[str, Any] = {"bounds": every, "views": viz.principal_views(view.target)}
    unit = f" ({view.unit})" if view.unit else ""

    before = viz.plot_surfaces(
        [source, target], titles=[view.source_name, view.target_name], **look
    )
    after = viz.plot_surfaces(
        [moved, target],
        colors=(viz.MOVED, viz.TARGET),
        titles=[f"{view.source_name}, moved", view.target_name],
        **look,
    )
    shift = np.linalg.norm(view.moved - view.source, axis=1)
    way = viz.plot_surfaces([source], values=[shift], label=f"distance moved{unit}", **look)
    pictures = [
        Picture(
            viz.to_svg(before),
            "Before",
            f"{view.source_name} and {view.target_name} as they are, from their two broadest "
            "sides, at one scale.",
        ),
        Picture(
            viz.to_svg(after),
            "After",
            f"In green {view.source_name}, moved by the deformation, beside {view.target_name}.",
        ),
        Picture(viz.to_svg(way), "The way", "How far each place of the source went."),
    ]
    if view.determinants is not None:
        change = np.log2(np.where(view.determinants > 0, view.determinants, np.nan))
        limit = max(0.5, float(np.ceil(2 * np.nanquantile(np.abs(change), 0.995)) / 2))
        volume = viz.plot_surfaces(
            [moved],
            values=[change],
            colormap="RdBu_r",
            limits=(-limit, limit),
            label="change of volume, as a power of 2",
            **look,
        )
        text = "Where space was stretched (red) or pressed (blue), on the moved source."
        pictures.append(Picture(viz.to_svg(volume), "Change of volume", text))
    return pictures


class _Mesh(NamedTuple):
    vertices: np.ndarray
    faces: np.ndarray


def _convergence(view: MatchView) -> Picture:
    figure, axes = viz.new_figure(height=3.6 if view.is_surface else _height(view))
    viz.plot_convergence(view.objective, axes[0, 0], label="energy plus weighted distance")
    names = list(view.objective)
    text = (
        f"What the optimiser brings down, at each iteration: {', '.join(names)}."
        if len(names) > 1
        else "What the optimiser brings down, at each iteration: the energy of the deformation "
        "plus the weighted distance that is left to the target. A jump is a change to a finer "
        "view of that distance."
    )
    return Picture(viz.to_svg(figure), "Energy curve", text)
