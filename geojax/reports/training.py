"""The part of a report that shows trainings beside each other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from geojax import viz
from geojax.reports.page import Picture, Quantity, Section, Table


@dataclass(frozen=True)
class TrainingView:
    """What a report shows of one training, in plain arrays.

    Attributes:
        name: what it is called, such as "plain" or "regularised".
        history: name of a quantity -> `[epochs]`.
        figures: name of a quantity -> its value after training.
        states: `[k, n, d]`, test samples on their way through the network.
        labels: `[n]`, their classes.
    """

    name: str
    history: Mapping[str, Sequence[float]]
    figures: Mapping[str, float]
    states: np.ndarray
    labels: np.ndarray
    spread: Mapping[str, float] = field(default_factory=dict)


def training_section(
    views: Sequence[TrainingView],
    *,
    title: str,
    text: str = "",
    curves: Mapping[str, str],
    bars: Mapping[str, str],
    quantities: Sequence[Quantity] = (),
    table: Table | None = None,
    note: str = "",
) -> Section:
    """Pictures of trainings: their paths in one plane, their curves, their figures as bars.

    Args:
        views: the trainings, the plain one first.
        title, text, quantities, table, note: as for `Section`.
        curves: key of a history -> label with unit; a key that ends in `energy` or `loss` is
            drawn on a logarithmic axis.
        bars: key of a figure -> label with unit.
    """
    pictures = _trajectories(views)
    pictures += [
        _curve(views, key, label) for key, label in curves.items() if key in views[0].history
    ]
    pictures += [_bars(views, {k: v for k, v in bars.items() if k in views[0].figures})]
    return Section(title, text, quantities, pictures, table, note)


def _trajectories(views: Sequence[TrainingView]) -> list[Picture]:
    """The paths of all trainings in one plane and one frame, and the last ones once more, larger.

    The same frame makes them comparable; a regularised network moves so little that only the larger
    picture shows its paths.
    """
    plane = viz.principal_plane(np.concatenate([view.states for view in views], axis=1))
    size = "half" if len(views) == 1 else "third"
    pictures = [
        Picture(
            _paths(view, plane, _box(views, plane), legend=len(views) == 1),
            f"Paths, {view.name}",
            f"Test images on their way through the {view.name} network, from where they start "
            "(hollow) to where they are classified (full), coloured by class, in the plane that "
            f"holds most ({100 * plane.explained:.0f} %) of the variance.",
            size,
        )
        for view in views
    ]
    if len(views) > 1:
        view = views[-1]
        own = viz.principal_plane(view.states)
        pictures.append(
            Picture(
                _paths(view, own, _box([view], own), legend=True),
                f"Paths, {view.name}, enlarged",
                "The same paths as in the picture before, in a frame and a plane of their own "
                f"({100 * own.explained:.0f} % of their variance).",
                size,
            )
        )
    return pictures


def _box(views: Sequence[TrainingView], plane: viz.Plane) -> np.ndarray:
    """A square `[2, 2]` around all paths, with a margin."""
    seen = np.concatenate([plane(view.states).reshape(-1, 2) for view in views])
    center = 0.5 * (seen.min(axis=0) + seen.max(axis=0))
    half = 0.53 * float(np.max(np.ptp(seen, axis=0))) or 1.0
    return np.stack([center - half, center + half])


def _paths(view: TrainingView, plane: viz.Plane, box: np.ndarray, *, legend: bool) -> str:
    figure, axes = viz.new_figure(width=4.2, height=4.2)
    ax = viz.plot_trajectories(view.states, axes[0, 0], labels=view.labels, plane=plane)
    ax.set_aspect("equal", adjustable="box")
    ax.set_xlim(*box[:, 0])
    ax.set_ylim(*box[:, 1])
    if legend:
        options = {"markerscale": 1.4, "handletextpad": 0.1, "columnspacing": 0.7}
        viz.legend(ax, loc="upper center", bbox_to_anchor=(0.5, 1.13), ncols=10, **options)
    return viz.to_svg(figure)


def _curve(views: Sequence[TrainingView], key: str, label: str) -> Picture:
    figure, axes = viz.new_figure(height=3.6)
    histories = {view.name: view.history[key] for view in views}
    positive = all(np.all(np.asarray(series) > 0) for series in histories.values())
    log = key.endswith(("energy", "loss")) and positive
    viz.plot_history(histories, axes[0, 0], label=label, log=log)
    name = label.partition(" (")[0]
    return Picture(
        viz.to_svg(figure),
        name[0].upper() + name[1:],
        f"Over the epochs of training{', on a logarithmic scale' if log else ''}.",
    )


def _bars(views: Sequence[TrainingView], bars: Mapping[str, str]) -> Picture:
    figure, axes = viz.new_figure(columns=len(bars), width=2.6, height=2.9)
    for ax, (key, label) in zip(axes.flat, bars.items(), strict=True):
        spread = {view.name: view.spread.get(key, 0.0) for view in views}
        viz.plot_comparison(
            {view.name: view.figures[key] for view in views},
            ax,
            title=label,
            form="{:.4g}",
            spread=spread if any(spread.values()) else None,
        )
    return Picture(
        viz.to_svg(figure),
        "After training",
        "The same network from the same start on the same batches; only the price of the path "
        "differs.",
        "wide",
    )
