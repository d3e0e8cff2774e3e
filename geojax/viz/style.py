"""One look for all plots, and figures as text for a page.

Plots draw their lines and letters in `INK`. In a page that colour is replaced by the colour of the
page's text, so that the same picture reads on white and on black.
"""

import io
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from geojax._core.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#3a3f4b"
SOURCE = "#2f7fc1"  # blue and orange stay apart for all common kinds of colour blindness
TARGET = "#e07b39"
MOVED = "#1f9e89"
SOFT = "#8b93a3"
DARK = "#23272f"  # on a light image, whatever the colour of the page
CYCLE = (SOURCE, TARGET, MOVED, "#b8527f", "#8a7fd0", "#b59a2c", SOFT)
CLASSES = (
    "#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee",
    "#aa3377", "#999999", "#dd8452", "#6b5fb5", "#2aa198",
)  # fmt: skip


def matplotlib_module(name: str = "matplotlib") -> Any:
    """Import a module of matplotlib, or say how to install it.

    Raises:
        InputError: matplotlib is not installed.
    """
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise InputError(
            "plots: need the package 'matplotlib', which is not installed; install it with: "
            "pip install 'geojax-engine[viz]'"
        ) from error


def new_figure(
    columns: int = 1, rows: int = 1, *, width: float = 5.0, height: float = 4.0, **options: Any
) -> "tuple[Figure, np.ndarray]":
    """A figure outside of pyplot, so that nothing stays behind and no screen is needed.

    Args:
        columns, rows: grid of axes.
        width, height: size of each, in inches.
        options: passed to `Figure.subplots`.

    Returns:
        The figure and its axes, `[rows, columns]`.
    """
    figure = matplotlib_module("matplotlib.figure").Figure(
        figsize=(width * columns, height * rows), layout="constrained"
    )
    axes = figure.subplots(rows, columns, squeeze=False, **options)
    for ax in axes.flat:
        plain(ax)
    return figure, axes


def axes_or_new(ax: "Axes | None") -> "Axes":
    """The axes that were given, or those of a new figure."""
    return new_figure()[1][0, 0] if ax is None else ax


def plain(ax: "Axes") -> "Axes":
    """Take away what is not data: top and right frame, heavy ticks, background."""
    ax.patch.set_alpha(0.0)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        ax.spines[side].set_color(INK)
        ax.spines[side].set_linewidth(0.8)
    ax.tick_params(colors=INK, labelsize=9, width=0.8, length=3)
    ax.xaxis.label.set_color(INK)
    ax.yaxis.label.set_color(INK)
    ax.title.set_color(INK)
    ax.title.set_fontsize(10)
    return ax


def bare(ax: "Axes") -> "Axes":
    """Equal units and no frame: for pictures of shapes."""
    ax.set_aspect("equal")
    for spine in ax.spines.values():
        spine.set_visible(False)
    ax.set_xticks([])
    ax.set_yticks([])
    return ax


def legend(ax: "Axes", **options: Any) -> "Axes":
    """A legend without a box."""
    box = ax.legend(frameon=False, fontsize=9, labelcolor=INK, **options)
    for handle in box.legend_handles:
        if handle is not None and hasattr(handle, "set_alpha"):
            handle.set_alpha(1.0)
    return ax


def scale_bar(ax: "Axes", length: float, unit: str, *, color: str = INK) -> "Axes":
    """A bar of known length in the lower left corner, in place of an axis."""
    left, right = ax.get_xlim()
    bottom, top = ax.get_ylim()
    x, y = left + 0.04 * (right - left), bottom + 0.04 * (top - bottom)
    ax.plot([x, x + length], [y, y], color=color, linewidth=2, solid_capstyle="butt")
    ax.annotate(
        f"{length:g} {unit}", (x + length / 2, y), (0, 4), textcoords="offset points",
        ha="center", va="bottom", fontsize=8, color=color,
    )  # fmt: skip
    ax.set_xlim(left, right)
    ax.set_ylim(bottom, top)
    return ax


def to_svg(figure: "Figure") -> str:
    """A figure as an SVG element: no size of its own, letters and lines in the page's colour."""
    matplotlib = matplotlib_module()
    stream = io.StringIO()
    # A fixed salt and no date: the same figure gives the same text.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "geojax"}):
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    text = stream.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    return text.strip().replace(INK, "currentColor")


def to_png(figure: "Figure", *, dpi: int = 150, colors: int | None = None) -> bytes:
    """A figure as PNG, on white.

    Args:
        figure: what is drawn.
        dpi: dots per inch.
        colors: of a palette, at most 256, which takes about a third of the bytes; None for all.
    """
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=dpi, facecolor="white")
    if colors is None:
        return stream.getvalue()
    pillow = matplotlib_module("PIL.Image")  # which matplotlib needs itself
    # of all methods the one that keeps rare colours, such as those of a colour bar
    few = pillow.open(stream).convert("RGB").quantize(colors, method=pillow.Quantize.MAXCOVERAGE)
    compact = io.BytesIO()
    few.save(compact, format="png", optimize=True)
    return compact.getvalue()
