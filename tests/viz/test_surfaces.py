"""Pictures of surfaces: what is in front hides what is behind, and colours are those of values."""

import sys

import numpy as np
import pytest

from geojax import viz
from geojax._core.errors import InputError
from geojax.shapes import Surface

pytest.importorskip("matplotlib")


def ball(rows: int = 9, columns: int = 16, axes=(1.0, 0.6, 0.3)) -> Surface:
    """An ellipsoid, its faces outwards."""
    up, round = np.linspace(0, np.pi, rows)[1:-1], np.arange(columns) * 2 * np.pi / columns
    rings = [[np.sin(u) * np.cos(r), np.sin(u) * np.sin(r), np.cos(u)] for u in up for r in round]
    vertices = np.array([*rings, [0, 0, 1.0], [0, 0, -1.0]]) * axes
    faces, last = [], len(rings) - columns
    for k in range(columns):
        after = (k + 1) % columns
        faces += [[len(rings), k, after], [len(rings) + 1, last + after, last + k]]
        for ring in range(0, last, columns):
            a, b, c, d = ring + k, ring + after, ring + columns + after, ring + columns + k
            faces += [[a, d, c], [a, c, b]]
    return Surface(vertices, np.array(faces))


def new_axes():
    from matplotlib.figure import Figure

    return Figure().add_subplot(projection="3d")


def pixels(figure) -> np.ndarray:
    """The picture, `[height, width, 3]`."""
    import io

    from matplotlib import image

    return image.imread(io.BytesIO(viz.to_png(figure, dpi=60)))[..., :3]


def test_surface_is_drawn_on_the_axes_that_are_given():
    ax = new_axes()
    assert viz.plot_surface(ball(), ax) is ax
    assert len(ax.collections) == 1
    assert ax.collections[0].get_rasterized()


def test_surface_needs_no_pyplot():
    before = "matplotlib.pyplot" in sys.modules
    ax = viz.plot_surface(ball())
    assert ax.name == "3d"
    assert before or "matplotlib.pyplot" not in sys.modules


def test_other_axes_and_other_values_are_refused():
    with pytest.raises(InputError, match="ax must be 3-D axes"):
        viz.plot_surface(ball(), viz.new_figure()[1][0, 0])
    with pytest.raises(InputError, match=r"each of 114 vertices or 224 faces, .* shape \[5\]"):
        viz.plot_surface(ball(), values=np.zeros(5))


def test_what_is_in_front_hides_what_is_behind():
    """A large sheet before a small one: only its colour is seen, from the other side both are."""
    square = np.array([[-1.0, -1], [1, -1], [1, 1], [-1, 1]])
    sheets = np.concatenate([
        np.concatenate([size * square, np.full((4, 1), height)], axis=1)
        for size, height in ((1.0, 0.2), (0.5, -0.2))
    ])  # fmt: skip
    pair = Surface(sheets, np.array([[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]]))
    seen = {}
    for name, elevation in (("above", 90.0), ("below", -90.0)):
        ax = viz.plot_surface(
            pair, values=[0, 0, 1, 1], colormap="bwr", view=(elevation, 0.0), bar=False
        )
        picture = pixels(ax.figure)
        seen[name] = np.sum(picture[..., 0] > picture[..., 2] + 0.3)
    assert seen["above"] == 0
    assert seen["below"] > 1000


def test_light_falls_on_what_faces_it_and_not_on_what_turns_away():
    shading = viz.surfaces._shading(
        np.asarray(ball().vertices), np.asarray(ball().faces), (0.0, 0.0), 0.4
    )
    normals = np.asarray(ball().normals)
    facing = normals / np.linalg.norm(normals, axis=1, keepdims=True)
    front = facing[:, 0] > 0.2
    assert np.all((shading >= 0.4) & (shading <= 1.0))
    above, below = (shading[front & (sign * facing[:, 2] > 0.5)] for sign in (1, -1))
    assert above.mean() > below.mean() + 0.3


def test_turned_faces_look_the_same():
    mesh = ball()
    turned = Surface(mesh.vertices, np.asarray(mesh.faces)[:, ::-1])
    first, second = (pixels(viz.plot_surface(m).figure) for m in (mesh, turned))
    np.testing.assert_allclose(first, second, atol=0.05)


def test_values_are_coloured_on_the_scale_and_missing_ones_grey():
    values = np.zeros(224)
    values[0], values[1] = np.nan, 10.0
    ax = viz.plot_surface(ball(), values=values, limits=(0.0, 10.0), label="height")
    colors = ax.collections[0].get_facecolor()
    hue = colors[:, :3] / colors[:, :3].max(axis=1, keepdims=True)
    assert len(ax.figure.axes) == 2  # with a colour bar
    # in the order in which they are painted
    grey, yellow = np.ptp(hue, axis=1) < 0.1, hue[:, 2] < 0.3
    violet = (hue[:, 2] == 1) & (hue[:, 1] < 0.1)
    assert [np.sum(grey), np.sum(yellow), np.sum(violet)] == [1, 1, 222]


def test_first_view_is_on_the_broadest_side():
    (up, _), (second, round) = viz.principal_views(ball().vertices)
    assert up == pytest.approx(90.0, abs=1e-6)
    assert second == pytest.approx(0.0, abs=1e-6)
    assert abs(round) == pytest.approx(90.0, abs=1e-6)


def test_surfaces_stand_side_by_side_at_one_scale():
    small = ball(axes=(0.5, 0.3, 0.15))
    figure = viz.plot_surfaces([ball(), small], titles=["one", "two"])
    assert [ax.name for ax in figure.axes] == ["3d"] * 4
    assert len({ax.get_xlim() for ax in figure.axes}) == 1
    picture = pixels(figure)
    filled = np.any(picture < 0.95, axis=2)
    half = filled.shape[1] // 2
    assert 3 < filled[:, :half].sum() / filled[:, half:].sum() < 5  # four times the area
    for edge in (filled[0], filled[-1], filled[:, 0], filled[:, -1]):
        assert not np.any(edge)  # nothing is cut off


def test_values_share_their_scale():
    vertices = np.asarray(ball().vertices)
    figure = viz.plot_surfaces([ball(), ball()], values=[vertices[:, 0], 2 * vertices[:, 0]])
    assert len(figure.axes) == 5
    first, second = (figure.axes[k].collections[0].get_facecolor() for k in (1, 2))
    assert not np.allclose(first, second)
    assert viz.to_svg(figure).startswith("<svg")


def test_a_palette_is_smaller_and_keeps_every_colour():
    """Also the rare ones: the picture differs nowhere by more than a few of 255 levels."""
    import io

    from matplotlib import image

    figure = viz.plot_surface(ball(), values=np.arange(114.0), colormap="RdBu_r").figure
    whole, few = viz.to_png(figure, dpi=60), viz.to_png(figure, dpi=60, colors=256)
    assert len(few) < 0.7 * len(whole)
    seen, kept = (image.imread(io.BytesIO(png))[..., :3] for png in (whole, few))
    assert np.max(np.abs(seen - kept)) < 16 / 255
