"""Plots of a sweep: where points lie on their axes, medians, ranks, and what is not finite."""

import math

import numpy as np
import pytest

from geojax import viz
from geojax._core.errors import InputError

pytest.importorskip("matplotlib")


def lines(ax, count):
    """Lines over all axes, from the one drawn first to the one on top."""
    found = [line for line in ax.lines if list(line.get_xdata()) == list(range(count))]
    return sorted(found, key=lambda line: line.get_zorder())


def ticks(ax):
    return {(int(text.xy[0]), text.get_text()): text.xy[1] for text in ax.texts}


def test_points_lie_where_their_scales_put_them():
    columns = {
        "rate": [1e-4, 1e-2, 1e-3],
        "kind": ["b", "a", "b"],
        "width": [10, 20, 40],
        "deep": [True, False, None],
    }
    ax = viz.plot_parallel(columns, [3.0, 1.0, 2.0], scales={"rate": "log", "kind": "category"})
    by_rank = [line.get_ydata() for line in lines(ax, 5)]
    # worst first: 3.0, 2.0, 1.0
    np.testing.assert_allclose(by_rank[0][[0, 1, 2, 4]], [0.0, 1.0, 0.0, 1.0], atol=1e-12)
    np.testing.assert_allclose(by_rank[1][[0, 1, 2, 4]], [0.5, 1.0, 1.0, 0.5], atol=1e-12)
    np.testing.assert_allclose(by_rank[2][[0, 1, 2, 4]], [1.0, 0.0, 1 / 3, 0.0], atol=1e-12)
    found = ticks(ax)
    assert found[0, "0.001"] == pytest.approx(0.5)
    assert (found[1, "a"], found[1, "b"]) == (0.0, 1.0)
    assert {text for k, text in found if k == 3} == {"yes", "no", "none"}


def test_the_best_lies_on_top_whichever_way_is_up():
    for maximise, top in ((False, 0.0), (True, 1.0)):
        ax = viz.plot_parallel({"x": [1, 2, 3]}, [5.0, 6.0, 7.0], maximise=maximise)
        best = lines(ax, 2)[-1]
        assert best.get_ydata()[1] == top
        assert best.get_color()[:3] == pytest.approx((0xE0 / 255, 0x7B / 255, 0x39 / 255), abs=1e-2)


def test_what_is_not_finite_is_dotted_and_ends_before_the_objective():
    values = [1.0, math.nan, None, math.inf, 2.0, 1e300]
    ax = viz.plot_parallel({"x": [1, 2, 3, 4, 5, None]}, values)
    drawn = lines(ax, 2)
    dotted = [line for line in drawn if line.get_linestyle() == ":"]
    assert (len(drawn), len(dotted)) == (6, 4)
    assert all(np.isnan(line.get_ydata()[1]) for line in dotted)
    assert viz.ranking(values).tolist() == [0, 4]


def test_values_far_out_do_not_flatten_the_others():
    values = [*np.linspace(-1.0, 1.0, 21), 1e6]
    ax = viz.plot_parallel({"x": range(22)}, values)
    ends = sorted(line.get_ydata()[1] for line in lines(ax, 2))
    np.testing.assert_allclose(ends, [*np.linspace(0, 1, 21), 1.0], atol=1e-12)
    effect = viz.plot_effect(range(22), values, name="x")
    assert effect.get_ylim()[1] < 2.0
    assert effect.collections[0].get_offsets()[:, 1].max() == 1.0


def test_many_points_are_drawn_in_part_and_the_best_all():
    values = np.random.default_rng(0).normal(size=1000)
    ax = viz.plot_parallel({"x": values}, values, most=80)
    drawn = [line.get_ydata()[1] for line in lines(ax, 2)]
    assert len(drawn) == 80
    shares = (np.sort(values) - values.min()) / np.ptp(values)
    np.testing.assert_allclose(sorted(drawn)[:20], shares[:20], atol=1e-12)
    assert max(drawn) == 1.0


def test_effect_has_medians_and_quartiles_by_value():
    x = [0.1, 0.1, 0.1, 10.0, 10.0, None]
    ax = viz.plot_effect(x, [1.0, 2.0, 3.0, 7.0, 9.0, 5.0], name="rate", scale="log")
    (bar,) = ax.containers
    np.testing.assert_array_equal(bar.lines[0].get_xydata(), [[0.1, 2.0], [10.0, 8.0]])
    spans = [segment[:, 1] for segment in bar.lines[2][0].get_segments()]
    np.testing.assert_allclose(spans, [[1.5, 2.5], [7.5, 8.5]])
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "linear")


def test_effect_of_many_values_has_a_median_for_each_sixth():
    x = np.linspace(0.0, 1.0, 60)
    ax = viz.plot_effect(x, 1e-3 * 100.0 ** (2 * x), name="x")
    (bar,) = ax.containers
    np.testing.assert_allclose(bar.lines[0].get_xydata()[:, 0], x.reshape(6, 10).mean(axis=1))
    assert ax.get_yscale() == "log"  # the objective spans four decades


def test_effect_of_a_category_stands_by_its_names():
    ax = viz.plot_effect([[16, 16], None, [16, 16]], [1.0, 2.0, 3.0], name="widths")
    assert [text.get_text() for text in ax.get_xticklabels()] == ["16, 16", "none"]
    np.testing.assert_array_equal(ax.containers[0].lines[0].get_xydata(), [[0, 2], [1, 2]])


@pytest.mark.parametrize("values", [[], [None, math.nan], [3.0], [2.0, 2.0]])
def test_few_or_constant_points_are_drawn(values):
    x = [1.0] * len(values)
    for ax in (
        viz.plot_parallel({"x": x, "kind": x}, values, scales={"x": "log", "kind": "category"}),
        viz.plot_effect(x, values, name="x", scale="log"),
        viz.plot_rungs([[(1, value)] for value in values]),
        viz.plot_runs({"a": values}, label="loss"),
    ):
        assert viz.to_svg(ax.figure).startswith("<svg")


def test_rungs_mark_those_that_went_to_the_end():
    trials = [[(3, 2.0), (1, 4.0)], [(1, 5.0)], [(1, 3.5), (3, 1.0)], [(1, None)]]
    ax = viz.plot_rungs(trials)
    best = ax.lines[-1]  # on top
    np.testing.assert_array_equal(best.get_xydata(), [[1.0, 3.5], [3.0, 1.0]])
    assert [line.get_color() for line in ax.lines].count(best.get_color()) == 1
    assert viz.plot_rungs(trials, maximise=True).lines[-1].get_ydata()[-1] == 2.0


def test_wrong_columns_are_refused():
    with pytest.raises(InputError, match="there are none; give at least one field"):
        viz.plot_parallel({}, [1.0])
    with pytest.raises(InputError, match="x: has 2 values for 1 points"):
        viz.plot_parallel({"x": [1, 2]}, [1.0])
    with pytest.raises(InputError, match="'logarithm' of x is unknown; use one of linear, log"):
        viz.plot_effect([1], [1.0], name="x", scale="logarithm")
