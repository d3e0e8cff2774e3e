"""Pictures of surfaces: shaded triangles, painted from the back to the front."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from geojax._core.errors import InputError
from geojax.viz import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from mpl_toolkits.mplot3d import Axes3D

# At this zoom a cube of matplotlib, seen from the front, fills its axes.
_ZOOM = 1.66
# Where the light stands, seen by the viewer: to the left, above and behind them.
_LIGHT = np.array([-0.35, 0.5, 0.8]) / np.linalg.norm([-0.35, 0.5, 0.8])
_AMBIENT = 0.38

View = tuple[float, float]


def principal_views(vertices: Any, count: int = 2) -> list[View]:
    """Elevations and azimuths from which a shape is widest: first the broadest side.

    Args:
        vertices: `[n, 3]`.
        count: how many views, at most 3.

    Returns:
        Pairs of angles in degrees, as `Axes3D.view_init` takes them.
    """
    vertices = np.asarray(vertices, float)
    _, _, axes = np.linalg.svd(vertices - vertices.mean(axis=0), full_matrices=False)
    views = []
    for direction in axes[::-1][:count]:
        # Of the two sides the one that is seen from above, or else from the front.
        direction = direction * (-1 if (direction[2], -direction[1]) < (0, 0) else 1)
        elevation = np.degrees(np.arcsin(np.clip(direction[2], -1, 1)))
        views.append((float(elevation), float(np.degrees(np.arctan2(*direction[1::-1])))))
    return views


def plot_surface(
    surface: Any,
    ax: "Axes3D | None" = None,
    *,
    values: Any = None,
    color: Any = style.SOURCE,
    colormap: str = "viridis",
    limits: tuple[float, float] | None = None,
    label: str = "",
    view: View | None = None,
    bounds: Any = None,
    bar: bool = True,
) -> "Axes3D":
    """A triangulated surface, shaded, in one colour or coloured by values.

    Args:
        surface: a `Surface`, or what else has `vertices` `[n, 3]` and `faces` `[f, 3]`.
        ax: 3-D axes to draw on; those of a new figure if None.
        values: numbers at the vertices `[n]` or the faces `[f]`. Where they are not finite, the
            surface is grey.
        color: colour of a surface without values.
        colormap: name of a matplotlib colormap, for values.
        limits: ends of the colour scale; those of the values if None.
        label: what the values are, below the colour bar.
        view: elevation and azimuth in degrees; on the broadest side if None.
        bounds: points `[k, 3]` that the picture takes in, the vertices if None; the same for
            pictures that are to be compared.
        bar: draw a colour bar for values.

    Returns:
        The axes.

    Raises:
        InputError: axes that are not 3-D, or values that are neither of the vertices nor the faces.

    Example:
        >>> import numpy as np
        >>> from geojax.shapes import Surface
        >>> from geojax.viz import plot_surface
        >>> faces = [[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]]
        >>> tetrahedron = Surface(np.concatenate([np.zeros((1, 3)), np.eye(3)]), faces)
        >>> ax = plot_surface(tetrahedron, values=np.arange(4.0))
        >>> len(ax.collections[0].get_facecolor())
        4
    """
    axes: Any = _new_axes(1, 1)[1][0, 0] if ax is None else ax
    if getattr(axes, "name", "") != "3d":
        raise InputError(
            "Argument ax must be 3-D axes, such as those of "
            "`figure.add_subplot(projection='3d')`, but is 2-D."
        )
    vertices, faces = np.asarray(surface.vertices, float), np.asarray(surface.faces)
    bounds = vertices if bounds is None else np.asarray(bounds, float)
    view = principal_views(bounds, 1)[0] if view is None else view
    if values is None:
        base = style.matplotlib_module("matplotlib.colors").to_rgba(color)
        colors = np.tile(np.asarray(base), (len(faces), 1))
    else:
        found = _of_faces(values, vertices, faces)
        mappable = _scale(found, colormap, limits)
        colors = np.asarray(mappable.to_rgba(found))
        if bar:
            _bar(axes.figure, mappable, label, ax=axes, shrink=0.6, aspect=36, pad=0.0)
    # Less shade over values, so that their colours can be read off the scale.
    ambient = _AMBIENT if values is None else _AMBIENT + 0.25
    colors[:, :3] *= _shading(vertices, faces, view, ambient)[:, None]
    collection = style.matplotlib_module("mpl_toolkits.mplot3d.art3d").Poly3DCollection(
        vertices[faces], facecolors=colors, linewidths=0.3, edgecolors=colors, rasterized=True
    )
    axes.add_collection3d(collection)
    _frame(axes, bounds, view)
    return axes


def plot_surfaces(
    surfaces: Sequence[Any],
    *,
    values: Sequence[Any] | None = None,
    colors: Sequence[Any] = (style.SOURCE, style.TARGET, style.MOVED),
    colormap: str = "viridis",
    limits: tuple[float, float] | None = None,
    label: str = "",
    titles: Sequence[str] = (),
    views: Sequence[View] | int = 2,
    bounds: Any = None,
    width: float = 3.0,
) -> "Figure":
    """Surfaces side by side at one scale, each row of pictures from another side.

    A single surface is shown from its sides in one row.

    Args:
        surfaces: one for each column.
        values: numbers for each of them, on one colour scale; see `plot_surface`.
        colors: a colour for each of them, without values.
        colormap, limits, label: of the values, as for `plot_surface`.
        titles: a title for each column.
        views: elevations and azimuths, one for each row, or their number.
        bounds: points `[k, 3]` that the pictures take in, all vertices if None.
        width: width of each picture, in inches.

    Returns:
        The figure; its axes are 3-D, row by row.
    """
    vertices = [np.asarray(surface.vertices, float) for surface in surfaces]
    bounds = np.concatenate(vertices) if bounds is None else np.asarray(bounds, float)
    angles = principal_views(bounds, views) if isinstance(views, int) else list(views)
    # A row is as high as what is seen in it; the axes are squares that reach beyond.
    radius = _radius(bounds)
    heights = [
        width * min(1.0, 0.04 + float(np.ptp(bounds @ _screen(view)[1])) / (2 * radius))
        for view in angles
    ]
    look: dict[str, Any] = {"width": width, "bar": values is not None, "titles": bool(titles)}
    if len(surfaces) == 1:
        figure, axes = _new_axes(len(angles), 1, heights=[max(heights)], **look)
        axes = axes.T
    else:
        figure, axes = _new_axes(len(surfaces), len(angles), heights=heights, **look)
    found = []
    if values is not None:
        found = [
            _of_faces(value, vertices, np.asarray(surface.faces))
            for value, vertices, surface in zip(values, vertices, surfaces, strict=True)
        ]
        mappable = _scale(np.concatenate(found), colormap, limits)
        limits = mappable.get_clim()
        low = 0.42 / figure.get_figheight()
        _bar(figure, mappable, label, cax=figure.add_axes((0.3, low, 0.4, 0.08 * low / 0.42)))
    for row, view in zip(axes, angles, strict=True):
        for k, ax in enumerate(row):
            plot_surface(
                surfaces[k],
                ax,
                values=found[k] if found else None,
                color=colors[k % len(colors)],
                colormap=colormap,
                limits=limits,
                view=view,
                bounds=bounds,
                bar=False,
            )
    for k, title in enumerate(titles):
        figure.text(
            (k + 0.5) / len(surfaces), 1 - 0.06 / figure.get_figheight(), title,
            ha="center", va="top", color=style.INK, fontsize=9,
        )  # fmt: skip
    return figure


def _new_axes(
    columns: int,
    rows: int,
    *,
    width: float = 5.0,
    heights: Sequence[float] | None = None,
    bar: bool = False,
    titles: bool = False,
) -> "tuple[Figure, np.ndarray]":
    """A figure with square 3-D axes, centred in rows of given heights."""
    style.matplotlib_module("mpl_toolkits.mplot3d")
    heights = [width] * rows if heights is None else heights
    top, bottom = 0.25 * titles, 0.65 * bar
    total = sum(heights) + top + bottom
    # The triangles are pixels in an SVG as well: dense ones, for dense screens.
    figure = style.matplotlib_module("matplotlib.figure").Figure((width * columns, total), dpi=200)
    axes = np.empty((rows, columns), object)
    below = total - top
    for row, height in enumerate(heights):
        below -= height
        for column in range(columns):
            corner = column / columns, (below + height / 2 - width / 2) / total
            box = (*corner, 1 / columns, width / total)
            axes[row, column] = figure.add_axes(box, projection="3d")
    return figure, axes


def _screen(view: View) -> np.ndarray:
    """The directions to the right, up and towards the viewer, `[3, 3]`."""
    up, round = np.radians(view)
    right = np.array([-np.sin(round), np.cos(round), 0.0])
    back = np.array([np.cos(up) * np.cos(round), np.cos(up) * np.sin(round), np.sin(up)])
    return np.stack([right, np.cross(back, right), back])


def _shading(vertices: np.ndarray, faces: np.ndarray, view: View, ambient: float) -> np.ndarray:
    """Brightness of each face, from the mean of the normals at its vertices; both sides count."""
    corners = vertices[faces]
    spans = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    at = np.zeros_like(vertices)
    for k in range(3):
        np.add.at(at, faces[:, k], spans)
    normals = _unit(_unit(at)[faces].mean(axis=1))
    normals = normals * np.where(np.sum(normals * spans, axis=1) < 0, -1.0, 1.0)[:, None]
    screen = normals @ _screen(view).T
    # What shows its back is lit as if it were its front.
    screen = screen * np.where(screen[:, 2] < 0, -1.0, 1.0)[:, None]
    return ambient + (1 - ambient) * np.clip(screen @ _LIGHT, 0.0, 1.0)


def _unit(vectors: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.where(length > 0, length, 1.0)


def _of_faces(values: Any, vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    values = np.asarray(values, float)
    if values.shape == (len(faces),):
        return values
    if values.shape != (len(vertices),):
        raise InputError(
            f"Argument values must hold a number for each of {len(vertices)} vertices or "
            f"{len(faces)} faces, but has shape {list(values.shape)}."
        )
    return values[faces].mean(axis=1)


def _scale(values: np.ndarray, colormap: str, limits: tuple[float, float] | None) -> Any:
    finite = values[np.isfinite(values)]
    if limits is None:
        limits = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    maps = style.matplotlib_module().colormaps
    mappable = style.matplotlib_module("matplotlib.cm").ScalarMappable(
        cmap=maps[colormap].with_extremes(bad="#b8bcc4")
    )
    mappable.set_array(np.ma.masked_invalid(values))
    mappable.set_clim(*limits)
    return mappable


def _bar(figure: Any, mappable: Any, label: str, **place: Any) -> None:
    bar = figure.colorbar(mappable, orientation="horizontal", **place)
    bar.outline.set_visible(False)
    bar.ax.tick_params(colors=style.INK, labelsize=8, width=0.6, length=3)
    bar.set_label(label, color=style.INK, fontsize=8)


def _radius(bounds: np.ndarray) -> float:
    centre = (bounds.min(axis=0) + bounds.max(axis=0)) / 2
    return float(np.max(np.linalg.norm(bounds - centre, axis=1))) or 1.0


def _frame(ax: Any, bounds: np.ndarray, view: View) -> None:
    """Equal units, no frame, no perspective, and a cube that holds all from every side."""
    centre = (bounds.min(axis=0) + bounds.max(axis=0)) / 2
    radius = _radius(bounds)
    for name, middle in zip("xyz", centre, strict=True):
        getattr(ax, f"set_{name}lim")(middle - radius, middle + radius)
    ax.set_proj_type("ortho")
    ax.set_box_aspect((1, 1, 1), zoom=_ZOOM)
    ax.view_init(*view)
    ax.patch.set_alpha(0.0)
    ax.set_axis_off()
