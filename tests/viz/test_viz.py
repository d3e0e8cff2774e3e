"""Plots take axes and give them back, draw what they are given, and need no screen."""

import sys
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from geojax import viz
from geojax._core.errors import InputError

pytest.importorskip("matplotlib")

POINTS = np.random.default_rng(0).normal(size=(12, 2))


@pytest.mark.parametrize(
    "draw",
    [
        lambda ax: viz.plot_points(POINTS, ax),
        lambda ax: viz.plot_points(POINTS, ax, line=True, closed=True),
        lambda ax: viz.plot_match(
            POINTS, POINTS + 1, POINTS + 0.5, ax, paths=np.stack([POINTS] * 3)
        ),
        lambda ax: viz.plot_match(POINTS, POINTS + 1, POINTS + 0.5, ax, line=True),
        lambda ax: viz.plot_match(POINTS, POINTS, POINTS, ax, edges=([[0, 1]], [[2, 3], [4, 0]])),
        lambda ax: viz.plot_grid(lambda x: 2 * x, [[0, 0], [1, 2]], ax),
        lambda ax: viz.plot_paths(np.random.default_rng(1).normal(size=(5, 9, 2)), ax),
        lambda ax: viz.plot_area_change(lambda x: 2 * x, [[0, 0], [1, 2]], ax),
        lambda ax: viz.plot_convergence([3.0, 2.0, 1.0], ax),
        lambda ax: viz.plot_convergence({"a": [1.0, 0.0], "b": [2.0, np.nan]}, ax),
        lambda ax: viz.plot_history({"plain": [1, 2], "regularised": [2, 3]}, ax, label="accuracy"),
        lambda ax: viz.plot_comparison({"plain": 3.0, "regularised": 1.0}, ax, title="energy"),
        lambda ax: viz.plot_trajectories(np.random.default_rng(1).normal(size=(5, 9, 4)), ax),
        lambda ax: viz.plot_trajectories(np.ones((5, 9, 2)), ax, labels=np.arange(9)),
    ],
)
def test_plots_return_the_axes_they_are_given(draw):
    figure, axes = viz.new_figure()
    assert draw(axes[0, 0]) is axes[0, 0]
    assert axes[0, 0].has_data()
    assert viz.to_png(figure, dpi=40).startswith(b"\x89PNG")
    ElementTree.fromstring(viz.to_svg(figure))


def test_plots_make_axes_of_their_own_without_pyplot():
    sys.modules.pop("matplotlib.pyplot", None)
    assert viz.plot_points(POINTS).has_data()
    assert "matplotlib.pyplot" not in sys.modules


def test_points_land_where_they_are():
    ax = viz.plot_points(POINTS, closed=True, line=True)
    np.testing.assert_array_equal(ax.lines[0].get_xydata(), np.concatenate([POINTS, POINTS[:1]]))
    space = np.stack([POINTS[:, 0], np.zeros(12), 9 * POINTS[:, 1]], axis=1)
    flat = viz.plot_points(space).lines[0].get_xydata()
    np.testing.assert_array_equal(flat, space[:, [0, 2]])


def test_edges_are_lines_of_their_own():
    (line,) = viz.plot_points(POINTS, edges=[[3, 1], [0, 2]]).lines
    drawn = line.get_xydata()
    np.testing.assert_array_equal(drawn[[0, 1, 3, 4]], POINTS[[3, 1, 0, 2]])
    assert np.all(np.isnan(drawn[[2, 5]]))


def test_grid_is_square_and_moved():
    calls = []

    def move(points):
        calls.append(points)
        return points + np.array([10.0, 0.0])

    ax = viz.plot_grid(move, [[0, 0], [1, 2]], lines=5)
    assert len(calls) == 1
    segments = ax.collections[0].get_segments()
    assert len(segments) == 3 + 5  # spacing 0.5
    every = np.concatenate(segments)
    np.testing.assert_allclose([every.min(0), every.max(0)], [[10, 0], [11, 2]])


def test_area_change_is_that_of_the_map():
    matrix = np.array([[2.0, 0.5], [0.0, 1.0]])
    ax = viz.plot_area_change(lambda x: x @ matrix.T, [[0, 0], [1, 1]], cells=8)
    np.testing.assert_allclose(ax.images[0].get_array(), 1.0)  # doubled
    mirror = np.array([-1.0, 1.0])
    folded = viz.plot_area_change(lambda x: x * mirror, [[0, 0], [1, 1]], limit=1.0)
    assert np.all(np.ma.getmaskarray(folded.images[0].get_array()))


def test_paths_are_coloured_by_time():
    states = np.random.default_rng(1).normal(size=(5, 9, 2))
    collection = viz.plot_paths(states).collections[0]
    segments, times = collection.get_segments(), np.asarray(collection.get_array())
    np.testing.assert_array_equal(segments[0], states[:2, 0])
    np.testing.assert_array_equal(segments[-1], states[-2:, -1])
    assert times[0] == 0
    assert times[-1] == 1
    assert np.all(np.diff(times) >= 0)


def test_principal_plane_shows_what_varies():
    rng = np.random.default_rng(2)
    basis = np.linalg.qr(rng.normal(size=(6, 6)))[0][:, :2]
    states = rng.normal(size=(50, 2)) @ basis.T + 3.0
    plane = viz.principal_plane(states)
    assert plane.explained == pytest.approx(1)
    seen = plane(states)
    np.testing.assert_allclose(
        np.linalg.norm(seen[1:] - seen[:-1], axis=1),
        np.linalg.norm(states[1:] - states[:-1], axis=1),
    )
    with pytest.raises(InputError, match="takes"):
        viz.principal_plane(np.ones((3, 1)))


def test_wrong_shapes_are_refused():
    with pytest.raises(InputError, match=r"points: has shape \[4, 5\]"):
        viz.plot_points(np.ones((4, 5)))
    with pytest.raises(InputError, match=r"trajectories take \[k, n, d\]"):
        viz.plot_trajectories(np.ones((4, 5)))


def test_svg_is_the_same_twice_and_takes_the_colour_of_the_page():
    def once():
        figure, axes = viz.new_figure()
        viz.plot_points(POINTS, axes[0, 0])
        return viz.to_svg(figure)

    text = once()
    assert text == once()
    assert text.startswith("<svg")
    assert "currentColor" in text
    assert "#3a3f4b" not in text


def test_missing_matplotlib_names_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(InputError, match=r"pip install 'geojax-engine\[viz\]'"):
        viz.new_figure()


def test_scale_bar_keeps_the_view():
    ax = viz.plot_points(POINTS)
    limits = ax.get_xlim(), ax.get_ylim()
    viz.scale_bar(ax, 0.5, "mm")
    assert (ax.get_xlim(), ax.get_ylim()) == limits
    assert ax.texts[0].get_text() == "0.5 mm"
