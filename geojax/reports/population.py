"""The part of a report that shows an atlas or a regression."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from geojax import viz
from geojax.reports.page import Picture, Quantity, Section, Table

# Shapes whose fit is shown, and points of each that are drawn.
SHOWN, DRAWN = 6, 1500


@dataclass(frozen=True)
class PopulationView:
    """What a report shows of a model of many shapes, in plain arrays.

    Attributes:
        start: the template or baseline, `[n, d]`.
        shapes: those that were given, `[m, d]` each.
        fitted: the start, carried to each shape, `[s, n, d]`.
        names: what the shapes are called.
        objective: `[i]`, what was minimised at each iteration.
        cells: faces `[f, 3]` or edges `[e, 2]` of the start, then of each shape; None for points.
        paths: `[k, n, d]`, the start on its way, if there is one way only.
        start_name: what the start is called.
    """

    start: np.ndarray
    shapes: Sequence[np.ndarray]
    fitted: np.ndarray
    names: Sequence[str]
    objective: Sequence[float]
    cells: Sequence[np.ndarray] | None = None
    paths: np.ndarray | None = None
    start_name: str = "template"

    @property
    def is_surface(self) -> bool:
        """Whether the cells are faces."""
        return self.cells is not None and self.cells[0].shape[1] == 3


class _Mesh(NamedTuple):
    vertices: np.ndarray
    faces: np.ndarray


def population_section(
    view: PopulationView,
    *,
    title: str,
    text: str = "",
    quantities: Sequence[Quantity] = (),
    table: Table | None = None,
    note: str = "",
) -> Section:
    """Pictures of a model of many shapes: all of them, how they are fitted, and the search.

    Args:
        view: the arrays.
        title, text, quantities, table, note: as for `Section`.
    """
    pictures = _surfaces(view) if view.is_surface else _plane(view)
    return Section(title, text, quantities, [*pictures, _convergence(view)], table, note)


def _some(view: PopulationView, most: int) -> list[int]:
    """Numbers of shapes that are shown, evenly from first to last."""
    count = len(view.shapes)
    return sorted({int(k) for k in np.linspace(0, count - 1, min(count, most)).round()})


def _plane(view: PopulationView) -> list[Picture]:
    """Points and curves, looked at along the axis in which they measure least."""
    every = np.concatenate([view.start, *view.shapes, *view.fitted])
    axes = np.sort(np.argsort(-np.ptp(every, axis=0), kind="stable")[:2])
    lower, upper = every[:, axes].min(axis=0), every[:, axes].max(axis=0)
    margin = 0.06 * float(np.max(upper - lower)) or 1.0

    def draw(ax: Any, points: np.ndarray, cell: int, **look: Any) -> None:
        if view.cells is not None:
            look["edges"] = view.cells[cell]
        else:
            points = points[_evenly(len(points))]
        viz.plot_points(points[:, axes], ax, **look)

    def frame(ax: Any) -> None:
        ax.set_xlim(lower[0] - margin, upper[0] + margin)
        ax.set_ylim(lower[1] - margin, upper[1] + margin)
        viz.bare(ax)

    figure, grid = viz.new_figure()
    for k, shape in enumerate(view.shapes):
        draw(grid[0, 0], shape, k + 1, color=viz.TARGET, alpha=0.5, linewidth=0.8)
    draw(grid[0, 0], view.start, 0, color=viz.DARK)
    frame(grid[0, 0])
    text = f"All shapes in orange, and over them the {view.start_name}."
    pictures = [Picture(viz.to_svg(figure), "The shapes", text)]

    shown = _some(view, SHOWN)
    columns = min(3, len(shown))
    rows = -(-len(shown) // columns)
    figure, grid = viz.new_figure(columns, rows, width=2.6, height=2.6)
    for ax in grid.flat:
        ax.set_axis_off()
    for ax, k in zip(grid.flat, shown, strict=False):
        draw(ax, view.shapes[k], k + 1, color=viz.TARGET)
        draw(ax, view.fitted[k], 0, color=viz.MOVED)
        frame(ax)
        ax.set_title(view.names[k], fontsize=8)
    text = f"In green the {view.start_name}, carried to each shape, on the shape in orange."
    if len(shown) < len(view.shapes):
        text += f" Of {len(view.shapes)} shapes {len(shown)} are shown."
    pictures.append(Picture(viz.to_svg(figure), "The fit", text, "wide"))

    if view.paths is not None:
        figure, grid = viz.new_figure()
        points = _evenly(view.paths.shape[1])
        viz.plot_paths(view.paths[:, points][..., axes], grid[0, 0])
        frame(grid[0, 0])
        text = "The path of every point along the geodesic, dark at its start and light at its end."
        pictures.append(Picture(viz.to_svg(figure), "The way", text))
    return pictures


def _surfaces(view: PopulationView) -> list[Picture]:
    """Surfaces side by side, as they are and fitted."""
    assert view.cells is not None, "surfaces have faces"
    shown = _some(view, 3)
    every = np.concatenate([view.start, *view.shapes, *view.fitted])
    look: dict[str, Any] = {"bounds": every, "views": viz.principal_views(view.start)}
    given = [_Mesh(view.shapes[k], view.cells[k + 1]) for k in shown]
    names = [view.names[k] for k in shown]
    before = viz.plot_surfaces(
        [_Mesh(view.start, view.cells[0]), *given],
        colors=(viz.SOURCE, *[viz.TARGET] * len(shown)),
        titles=[view.start_name, *names],
        **look,
    )
    after = viz.plot_surfaces(
        [_Mesh(view.fitted[k], view.cells[0]) for k in shown],
        colors=[viz.MOVED] * len(shown),
        titles=names,
        **look,
    )
    some = "" if len(shown) == len(view.shapes) else f" (of {len(view.shapes)} shapes {len(shown)})"
    return [
        Picture(
            viz.to_svg(before),
            "The shapes",
            f"The {view.start_name} beside the shapes{some}.",
            "wide",
        ),
        Picture(viz.to_svg(after), "The fit", f"The {view.start_name}, carried to each.", "wide"),
    ]


def _evenly(count: int) -> np.ndarray:
    return np.unique(np.linspace(0, count - 1, min(count, DRAWN)).astype(int))


def _convergence(view: PopulationView) -> Picture:
    figure, axes = viz.new_figure()
    curve: Mapping[str, Sequence[float]] = {"objective": view.objective}
    viz.plot_convergence(curve, axes[0, 0], label="energies plus weighted distances")
    text = (
        "What the optimiser brings down, at each iteration: energies plus the weighted distances "
        "that are left. A jump is a change to a finer view of those distances."
    )
    return Picture(viz.to_svg(figure), "Energy curve", text)
