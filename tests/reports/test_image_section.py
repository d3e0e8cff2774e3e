"""The section of a match of images, from plain arrays."""

import dataclasses

import numpy as np
import pytest

from geojax import viz
from geojax.reports import ImageMatchView, Table, image_match_section, render_page
from geojax.reports.images import _Turn

pytest.importorskip("matplotlib")


def image_view(grid: tuple[int, ...], *, picture: bool = False, **options) -> ImageMatchView:
    generator = np.random.default_rng(0)
    d = len(grid)
    affine = np.eye(d + 1) if picture else np.diag([*[-1.0, 1.5, 2.0][:d], 1.0])
    return ImageMatchView(
        source=generator.normal(size=[n + 1 for n in grid]),
        target=generator.normal(size=grid),
        moved=generator.normal(size=grid),
        displacement=0.1 * generator.normal(size=(d, *grid)),
        determinants=2.0 ** generator.normal(size=grid),
        affines=(affine, affine),
        pictures=(picture, picture),
        objective=[3.0, 2.0, 1.0],
        unit="mm",
        **options,
    )


@pytest.mark.parametrize(("grid", "picture"), [((8, 9), True), ((8, 9), False), ((6, 7, 8), False)])
def test_all_is_shown(check_page, grid, picture):
    view = image_view(grid, picture=picture, source_name="a<b", folds=0)
    table = Table(["figure"], [["residual"]])
    section = image_match_section(view, title="A match", text="Words.", table=table)
    titles = [shown.title for shown in section.pictures]
    assert titles == [
        *("Source", "Target", "Moved", "Checkerboard", "The deformation", "Jacobian"),
        *("Determinants", "Energy curve"),
    ]
    text = render_page("Title", "Lead", [section])
    check_page(text)
    assert "a&lt;b" in text
    assert "Nowhere does it fold over" in text
    assert ("three planes" in text) == ("from the side" in text) == (len(grid) == 3)


def test_folds_are_told():
    view = dataclasses.replace(image_view((8, 9)), folds=3)
    section = image_match_section(view, title="A match")
    assert "It folds over at 3 points" in section.pictures[4].caption


def test_pictures_stand_upright():
    """Rows lead down and columns to the right."""
    turn = _Turn.of(np.eye(3), True)
    values = np.arange(6).reshape(2, 3)
    np.testing.assert_array_equal(turn(values), [[3, 0], [4, 1], [5, 2]])
    down = np.zeros((2, 2, 3))
    down[0] = 1  # towards higher rows
    turned = turn.vectors(down)
    assert np.all(turned[0] == 0)
    assert np.all(turned[1] == -1)


def test_volumes_are_turned_to_right_front_and_top():
    # axis 0 leads down, 1 to the left, 2 to the front
    affine = np.zeros((4, 4))
    affine[2, 0], affine[0, 1], affine[1, 2], affine[3, 3] = -3.0, -1.0, 2.0, 1.0
    turn = _Turn.of(affine, False)
    np.testing.assert_array_equal(turn.spacing, [1, 2, 3])
    values = np.arange(2 * 3 * 4).reshape(2, 3, 4)
    expected = values.transpose(1, 2, 0)[::-1, :, ::-1]
    np.testing.assert_array_equal(turn(values), expected)
    vectors = np.stack([values, 100 + values, 200 + values])
    turned = turn.vectors(vectors)
    np.testing.assert_array_equal(turned[0], -(100 + expected))
    np.testing.assert_array_equal(turned[1], 200 + expected)
    np.testing.assert_array_equal(turned[2], -expected)


def test_planes_have_one_scale(monkeypatch):
    figures = []
    monkeypatch.setattr(viz, "to_svg", lambda figure: figures.append(figure) or "<svg></svg>")
    image_match_section(image_view((6, 7, 8)), title="A match")
    figure = figures[1]
    figure.draw_without_rendering()
    scales = []
    for ax in figure.axes:
        box = ax.get_window_extent()
        scales += [box.width / np.ptp(ax.get_xlim()), box.height / np.ptp(ax.get_ylim())]
    np.testing.assert_allclose(scales, scales[0], rtol=0.03)
