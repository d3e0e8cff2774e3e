"""Plots of images show each value where it lies, and of grids what is carried."""

import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from geojax import viz
from geojax._core.errors import InputError

pytest.importorskip("matplotlib")

RAMP = np.arange(12.0).reshape(3, 4)
GENERATOR = np.random.default_rng(0)


@pytest.mark.parametrize(
    "draw",
    [
        lambda ax: viz.plot_image(RAMP, ax, spacing=(1.0, 2.0)),
        lambda ax: viz.plot_checkerboard(RAMP, RAMP + 9, ax),
        lambda ax: viz.plot_moved_grid(GENERATOR.normal(size=(2, 9, 8)) * 0.1, ax),
        lambda ax: viz.plot_determinants(2.0 ** (RAMP / 4), ax, label="volume"),
        lambda ax: viz.plot_determinant_histogram(2.0 ** GENERATOR.normal(size=(5, 6, 7)), ax),
    ],
)
def test_plots_return_the_axes_they_are_given(draw):
    figure, axes = viz.new_figure()
    assert draw(axes[0, 0]) is axes[0, 0]
    assert axes[0, 0].has_data()
    ElementTree.fromstring(viz.to_svg(figure))


def test_an_image_stands_as_the_world_does():
    """The first axis leads to the right and the second up, at the distances of the spacing."""
    (image,) = viz.plot_image(RAMP, spacing=(1.0, 2.0)).images
    assert image.origin == "lower"
    assert tuple(image.get_extent()) == (-0.5, 2.5, -1.0, 7.0)
    np.testing.assert_array_equal(image.get_array(), RAMP.T)
    assert image.get_interpolation() == "none"


def test_outliers_do_not_dim_an_image():
    values = np.linspace(0, 1, 10_000).reshape(100, 100)
    values[0, 0], values[5, 5] = -50, 50
    low, high = viz.window(values)
    assert -0.1 < low < 0.1
    assert 0.9 < high < 1.1
    assert viz.window(np.full((3, 3), 2.0)) == (2.0, 3.0)
    # rare labels count, where nothing else is there
    rare = np.zeros((100, 100))
    rare[0, 0] = 4
    assert viz.window(rare) == (0.0, 4.0)


def test_large_images_are_thinned_but_fill_the_same_place():
    (image,) = viz.plot_image(np.zeros((1500, 40))).images
    assert image.get_array().shape == (40, 500)
    assert tuple(image.get_extent()) == (-0.5, 1499.5, -0.5, 39.5)


def test_a_checkerboard_alternates():
    first, second = np.zeros((8, 4)), np.full((8, 4), 10.0)
    limits = ((0.0, 1.0), (0.0, 10.0))
    board = viz.plot_checkerboard(first, second, tiles=4, limits=limits).images[0].get_array()
    expected = np.kron([[0, 1, 0, 1], [1, 0, 1, 0]], np.ones((2, 2)))
    np.testing.assert_array_equal(board, expected)
    # squares of the world: half as many pixels where these are twice as long
    wide = viz.plot_checkerboard(first, second, tiles=4, limits=limits, spacing=(1.0, 2.0))
    expected = np.kron([[0, 1, 0, 1], [1, 0, 1, 0]] * 2, np.ones((1, 2)))
    np.testing.assert_array_equal(wide.images[0].get_array(), expected)
    with pytest.raises(InputError, match=r"one shape, but have \[8, 4\] and \[4, 8\]"):
        viz.plot_checkerboard(first, second.T)


def test_middle_slices_are_the_three_planes():
    values = np.arange(3 * 4 * 5).reshape(3, 4, 5)
    planes = viz.middle_slices(values, [1.0, 2.0, 3.0])
    for (plane, spacing), (expected, kept) in zip(
        planes,
        ((values[:, :, 2], [1, 2]), (values[:, 2, :], [1, 3]), (values[1], [2, 3])),
        strict=True,
    ):
        np.testing.assert_array_equal(plane, expected)
        np.testing.assert_array_equal(spacing, kept)
    vectors = viz.middle_slices(np.stack([values, -values]), [1.0, 2.0, 3.0])
    np.testing.assert_array_equal(vectors[2][0], np.stack([values[1], -values[1]]))
    (flat,) = viz.middle_slices(RAMP, [1.0, 2.0])
    assert flat[0] is RAMP
    with pytest.raises(InputError, match="2 or 3 dimensions"):
        viz.middle_slices(RAMP, [1.0])


def lines_of(ax) -> list[np.ndarray]:
    """The vertices of all contour lines."""
    found = [path.vertices for c in ax.collections for path in c.get_paths() if len(path.vertices)]
    return [np.asarray(vertices) for vertices in found]


def test_lines_are_carried_with_the_image():
    """A pull by -1.5 carries the grid 1.5 further, and one by x a grid half as wide."""
    still = viz.plot_moved_grid(np.zeros((2, 9, 7)), distance=2.0)
    across = {round(float(v[0, 0]), 6) for v in lines_of(still) if np.ptp(v[:, 0]) < 1e-9}
    assert across == {0.0, 2.0, 4.0, 6.0}
    pull = np.zeros((2, 9, 7))
    pull[0] = -1.5
    moved = viz.plot_moved_grid(pull, distance=2.0)
    across = {round(float(v[0, 0]), 6) for v in lines_of(moved) if np.ptp(v[:, 0]) < 1e-9}
    assert across == {1.5, 3.5, 5.5, 7.5}
    pull[0] = np.arange(9.0)[:, None]  # x comes from 2 x
    half = viz.plot_moved_grid(pull, distance=2.0)
    across = {round(float(v[0, 0]), 6) for v in lines_of(half) if np.ptp(v[:, 0]) < 1e-9}
    assert across == {0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0}


def test_grids_that_make_no_sense_are_refused():
    with pytest.raises(InputError, match=r"shape \[2, a, b\], but has \[3, 4, 5\]"):
        viz.plot_moved_grid(np.zeros((3, 4, 5)))
    with pytest.raises(InputError, match="at least a thousandth of the longer side"):
        viz.plot_moved_grid(np.zeros((2, 4, 5)), distance=1e-4)
    with pytest.raises(InputError, match=r"image of the plane, \[a, b\]"):
        viz.plot_image(np.zeros((3, 4, 5)))


def test_determinants_are_on_a_scale_about_one():
    values = np.array([[1.0, 2.0], [0.5, -1.0]])
    ax = viz.plot_determinants(values, limit=2.0)
    (image,) = ax.images
    assert image.get_clim() == (-2.0, 2.0)
    shown = image.get_array()
    np.testing.assert_array_equal(np.ma.filled(shown, np.nan), [[0, -1], [1, np.nan]])
    bar = ax.figure.axes[-1]
    assert [t.get_text() for t in bar.get_xticklabels()] == ["×0.25", "×0.5", "×1", "×2", "×4"]
    assert len(viz.plot_determinants(values, bar=False).figure.axes) == 1
    assert viz.log_limit([0.9, 1.1]) == 0.25
    assert viz.log_limit([8.0] * 9 + [-1.0]) == 3.0
    assert viz.log_limit([-1.0]) == 0.25


def test_histogram_counts_shares_of_all_points():
    values = np.array([1.0, 1.0, 4.0, -1.0])
    ax = viz.plot_determinant_histogram(values, bins=4)
    shares = [patch.get_height() for patch in ax.patches]
    assert shares == [0.0, 0.0, 50.0, 25.0]  # the fold is in none of them
    with pytest.raises(InputError, match="none is"):
        viz.plot_determinant_histogram([-1.0, np.nan])
