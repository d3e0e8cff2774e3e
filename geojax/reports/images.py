"""The parts of a report that show a match of images, and a template of many."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from geojax import viz
from geojax.reports.page import Picture, Quantity, Section, Table

# Subjects of an atlas that are shown.
_SHOWN = 6
_NAMES = ("from above", "from the front", "from the side")


@dataclass(frozen=True)
class ImageMatchView:
    """What a report shows of a match of images, in plain arrays.

    Attributes:
        source: `[*s]`, on its own grid.
        target: `[*grid]`.
        moved: `[*grid]`, the source on the grid of the target.
        displacement: `[d, *grid]`, where the points of the target come from, less where they are,
            beyond the affine map; along the axes of the grid, in units of the world.
        determinants: `[*grid]`, of the Jacobian from target to source.
        affines: of source and target, `[d + 1, d + 1]` each.
        pictures: whether source and target are pictures, `[rows, columns]`; otherwise their worlds
            count to the right, front and top.
        objective: what was minimised, at each iteration of the finest resolution.
        unit: unit of the world.
        folds: number of points where the deformation folds over, if counted.
        source_name, target_name: what they are called.
    """

    source: np.ndarray
    target: np.ndarray
    moved: np.ndarray
    displacement: np.ndarray
    determinants: np.ndarray
    affines: tuple[np.ndarray, np.ndarray]
    pictures: tuple[bool, bool]
    objective: Sequence[float]
    unit: str = ""
    folds: int | None = None
    source_name: str = "source"
    target_name: str = "target"


@dataclass(frozen=True)
class ImageAtlasView:
    """What a report shows of a template of many images, in plain arrays.

    Attributes:
        template: `[*grid]`.
        moved: `[*grid]` each, the subjects carried to it.
        names: what the subjects are called.
        affine: of the template, `[d + 1, d + 1]`.
        picture: whether it is a picture, as of `ImageMatchView`.
        objective: what was minimised, after each round.
    """

    template: np.ndarray
    moved: Sequence[np.ndarray]
    names: Sequence[str]
    affine: np.ndarray
    picture: bool
    objective: Sequence[float]


@dataclass(frozen=True)
class _Turn:
    """How the axes of a grid are turned so that they lead to the right, front and top."""

    order: tuple[int, ...]
    flips: tuple[bool, ...]
    spacing: np.ndarray

    @classmethod
    def of(cls, affine: np.ndarray, picture: bool) -> "_Turn":
        d = len(affine) - 1
        spacing = np.linalg.norm(affine[:-1, :-1], axis=0)
        if picture and d == 2:
            # columns lead to the right, rows down
            return cls((1, 0), (False, True), spacing[::-1])
        axes = affine[:-1, :-1] / spacing
        left, order = list(range(d)), []
        for row in axes:
            best = max(left, key=lambda k: abs(row[k]))
            left.remove(best)
            order.append(best)
        flips = tuple(bool(axes[k, a] < 0) for k, a in enumerate(order))
        return cls(tuple(order), flips, spacing[order])

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Values `[*lead, *grid]`, turned."""
        lead = values.ndim - len(self.order)
        turned = values.transpose(*range(lead), *(lead + a for a in self.order))
        steps = [slice(None, None, -1 if flip else 1) for flip in self.flips]
        return turned[(..., *steps)]

    def vectors(self, values: np.ndarray) -> np.ndarray:
        """Vectors `[d, *grid]` along the axes of the grid, turned with it."""
        signs = np.where(self.flips, -1.0, 1.0).reshape(-1, *[1] * len(self.order))
        return self(values)[list(self.order)] * signs


def image_match_section(
    view: ImageMatchView,
    *,
    title: str,
    text: str = "",
    quantities: Sequence[Quantity] = (),
    table: Table | None = None,
    note: str = "",
) -> Section:
    """Pictures of a match of images: before, after, the grid, volumes, and the way to it.

    Images in space are shown by slices through their middle, in three planes.

    Args:
        view: the arrays.
        title, text, quantities, table, note: as for `Section`.
    """
    ours, theirs = (
        _Turn.of(affine, picture)
        for affine, picture in zip(view.affines, view.pictures, strict=True)
    )
    source, target, moved = ours(view.source), theirs(view.target), theirs(view.moved)
    shades = viz.window(source), viz.window(target)
    where = ", through the middle in three planes" if source.ndim == 3 else ""
    pictures = [
        _images(source, ours, shades[0], "Source", f"{view.source_name}, as it is{where}."),
        _images(target, theirs, shades[1], "Target", f"{view.target_name}{where}."),
        _images(
            moved,
            theirs,
            shades[0],
            "Moved",
            f"{view.source_name}, moved by the deformation, on the grid of {view.target_name}.",
        ),
        _checkerboard(view, moved, target, theirs, shades),
        _grid(view, moved, theirs, shades[0]),
        _determinants(view, theirs),
        _histogram(view),
        _convergence(view),
    ]
    return Section(title, text, quantities, pictures, table, note)


def image_atlas_section(
    view: ImageAtlasView, *, title: str, text: str = "", table: Table | None = None
) -> Section:
    """Pictures of a template of many images: it, the first subjects carried to it, the rounds.

    Args:
        view: the arrays.
        title, text, table: as for `Section`.
    """
    turn = _Turn.of(view.affine, view.picture)
    template = turn(view.template)
    shades = viz.window(template)
    where = ", through the middle in three planes" if template.ndim == 3 else ""
    pictures = [_images(template, turn, shades, "Template", f"The template{where}.")]
    for name, moved in list(zip(view.names, view.moved, strict=True))[:_SHOWN]:
        values = turn(moved)
        note = f"{name}, carried to the template by its deformation."
        pictures.append(_images(values, turn, viz.window(values), name, note))
    figure, axes = viz.new_figure(height=3.2)
    label = "energy plus weighted distance"
    viz.plot_convergence(list(view.objective), axes[0, 0], label=label, log=False)
    note = "What the rounds bring down: all energies plus the weighted distances to the template."
    pictures.append(Picture(viz.to_svg(figure), "Rounds", note))
    return Section(title, text, (), pictures, table)


Draw = Callable[[Any, list[np.ndarray], np.ndarray], Any]


def _figure(arrays: Sequence[np.ndarray], turn: _Turn, draw: Draw, extra: float = 0.0) -> Any:
    """A figure with an image, or with three planes side by side at one scale.

    Args:
        arrays: `[*lead, *grid]`, turned.
        turn: of their grid.
        draw: draws slices of all arrays on axes, given their spacing.
        extra: height below the images, in inches.
    """
    slices = [viz.middle_slices(values, turn.spacing) for values in arrays]
    planes = list(zip(*slices, strict=True))
    lengths = [np.asarray(p[0][0].shape[-2:]) * p[0][1] for p in planes]
    widths, tall = [float(size[0]) for size in lengths], max(float(size[1]) for size in lengths)
    titles = 0.25 * (len(planes) > 1)
    height = float(np.clip(5.0 * tall / sum(widths), 1.2, 6.5)) + titles + extra
    figure, axes = viz.new_figure(
        len(planes), width=5.0 / len(planes), height=height, width_ratios=widths
    )
    for k, (ax, plane) in enumerate(zip(axes[0], planes, strict=True)):
        draw(ax, [values for values, _ in plane], plane[0][1])
        # the same height for all, so that they have one scale
        (low, high), size = ax.get_ylim(), lengths[k]
        middle = 0.5 * (low + high)
        ax.set_xlim(-0.5 * plane[0][1][0], size[0] - 0.5 * plane[0][1][0])
        ax.set_ylim(middle - 0.5 * tall, middle + 0.5 * tall)
        if titles:
            ax.set_title(_NAMES[k], fontsize=8)
    return figure


def _images(
    values: np.ndarray, turn: _Turn, shades: tuple[float, float], title: str, text: str
) -> Picture:
    figure = _figure(
        [values],
        turn,
        lambda ax, planes, spacing: viz.plot_image(planes[0], ax, spacing=spacing, limits=shades),
    )
    return Picture(viz.to_svg(figure), title, text)


def _checkerboard(
    view: ImageMatchView, moved: np.ndarray, target: np.ndarray, turn: _Turn, shades: Any
) -> Picture:
    figure = _figure(
        [moved, target],
        turn,
        lambda ax, planes, spacing: viz.plot_checkerboard(
            planes[0], planes[1], ax, spacing=spacing, limits=shades
        ),
    )
    return Picture(
        viz.to_svg(figure),
        "Checkerboard",
        f"{view.source_name}, moved, and {view.target_name} in alternating squares. Where they "
        "agree, edges run on from square to square.",
    )


def _grid(
    view: ImageMatchView, moved: np.ndarray, turn: _Turn, shades: tuple[float, float]
) -> Picture:
    shift = turn.vectors(view.displacement)
    # of the vectors of space, the two that lie in each plane
    planes = iter([(0, 1), (0, 2), (1, 2)])

    def draw(ax: Any, arrays: list[np.ndarray], spacing: np.ndarray) -> None:
        viz.plot_image(arrays[0], ax, spacing=spacing, limits=shades, alpha=0.45)
        vectors = arrays[1][list(next(planes))]
        viz.plot_moved_grid(vectors, ax, spacing=spacing)

    figure = _figure([moved, shift], turn, draw)
    text = (
        "A square grid, carried with the source beyond the affine map. Where its cells are narrow, "
        "space was pressed."
    )
    if view.folds == 0:
        text += " Nowhere does it fold over: the map can be undone."
    elif view.folds:
        text += f" It folds over at {view.folds} points."
    return Picture(viz.to_svg(figure), "The deformation", text)


def _determinants(view: ImageMatchView, turn: _Turn) -> Picture:
    values = turn(view.determinants)
    limit = viz.log_limit(values)
    figure = _figure(
        [values],
        turn,
        lambda ax, planes, spacing: viz.plot_determinants(
            planes[0], ax, spacing=spacing, limit=limit, bar=False
        ),
        extra=0.55,
    )
    axes = list(figure.axes)
    viz.determinant_bar(axes, limit)
    return Picture(
        viz.to_svg(figure),
        "Jacobian",
        "How many times the volume of each place of the target came from the source: red places "
        "were pressed together on their way, blue ones were stretched, by the affine map as well.",
    )


def _histogram(view: ImageMatchView) -> Picture:
    figure, axes = viz.new_figure(height=3.2)
    viz.plot_determinant_histogram(view.determinants, axes[0, 0])
    return Picture(
        viz.to_svg(figure),
        "Determinants",
        "How often each determinant occurs on the grid of the target, on a scale of powers of two.",
    )


def _convergence(view: ImageMatchView) -> Picture:
    figure, axes = viz.new_figure(height=3.2)
    label = "energy plus weighted distance"
    viz.plot_convergence(list(view.objective), axes[0, 0], label=label, log=False)
    return Picture(
        viz.to_svg(figure),
        "Energy curve",
        "What the optimiser brings down, at each iteration of the finest resolution: the energy of "
        "the deformation plus the weighted distance that is left to the target.",
    )
