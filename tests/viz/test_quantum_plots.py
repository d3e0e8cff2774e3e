"""Plots of controls and of what they do to a qubit, and the sections of a report that show them."""

import numpy as np
import pytest

from geojax import viz
from geojax._core.errors import InputError
from geojax.quantum import Controls
from geojax.reports import controls_section, gates_section, render_page

pytest.importorskip("matplotlib")

# of one shape each, so that they share programs
ROWS = np.array([[0.5, -2.0, 1e-12, 1.0], [0.5, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
TWO = Controls(ROWS, ["XI", "ZZ", "YI", "IX"], [0.25, 0.25, 0.5])
ONE = Controls(np.full((6, 1), np.pi / 4), ["X"])  # a quarter turn about x


def names(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_pulses_hold_over_their_slices():
    controls = Controls(ROWS, TWO.labels, TWO.durations, drift={"IY": 0.25})
    ax = viz.plot_pulses(controls, most=3)
    assert names(ax) == ["ZZ", "IX", "XI", "other strings"]  # rounding is not drawn
    steps = {patch.get_label(): patch.get_data() for patch in ax.patches}
    np.testing.assert_array_equal(steps["ZZ"].edges, [0.0, 0.25, 0.5, 1.0])
    np.testing.assert_allclose(steps["ZZ"].values, [-2.0, 1.0, 0.0], atol=1e-15)
    others = [patch for patch in ax.patches if patch.get_label() not in names(ax)]
    np.testing.assert_allclose([patch.get_data().values for patch in others], [[0.25] * 3])
    with pytest.raises(InputError, match="most must not be negative, but is -1"):
        viz.plot_pulses(controls, most=-1)
    assert viz.plot_pulses(Controls(np.zeros((6, 1)), ["X"])).get_legend() is None


def test_weights_are_shares_of_the_squared_norm():
    ax = viz.plot_pauli_weights(TWO)
    assert names(ax) == ["1 qubit", "2 qubits"]
    # top of the lower band in the middle of each slice
    lower = ax.collections[0].get_paths()[0]
    for time, share in ((0.1, 1.25 / 5.25), (0.4, 0.25 / 1.25)):
        assert lower.contains_point((time, share - 1e-3))
        assert not lower.contains_point((time, share + 1e-3))
    upper = ax.collections[1].get_paths()[0]
    assert upper.contains_point((0.1, 0.99))
    assert not upper.contains_point((0.8, 0.5))  # at rest


def test_axes_move_on_the_bloch_sphere():
    turn = ONE.unitaries()
    ax = viz.plot_bloch(turn)
    ends = {
        line.get_label(): np.array(line.get_data_3d())
        for line in ax.lines
        if line.get_label() in ("x", "y", "z")
    }
    np.testing.assert_allclose(ends["x"], np.repeat([[1.0], [0], [0]], 7, axis=1), atol=1e-12)
    np.testing.assert_allclose(ends["y"][:, [0, -1]].T, [[0, 1, 0], [0, 0, 1]], atol=1e-12)
    np.testing.assert_allclose(ends["z"][:, [0, -1]].T, [[0, 0, 1], [0, -1, 0]], atol=1e-12)
    middle = ends["y"][:, 3]
    np.testing.assert_allclose(middle, [0, np.sqrt(0.5), np.sqrt(0.5)], atol=1e-12)
    assert viz.to_svg(ax.figure).startswith("<svg")
    with pytest.raises(
        InputError, match=r"shape \[k, 2, 2\] \(one qubit\), but has shape \[2, 2\]"
    ):
        viz.plot_bloch(turn[0])
    with pytest.raises(InputError, match="3-D axes"):
        viz.plot_bloch(turn, viz.new_figure()[1][0, 0])


def test_sections_show_what_there_is():
    one, two = controls_section(ONE, title="One"), controls_section(TWO, title="Two")
    assert [picture.title for picture in one.pictures] == ["Pulses", "On the Bloch sphere"]
    assert [picture.title for picture in two.pictures] == ["Pulses", "Qubits that act together"]
    resting = controls_section(ONE, title="One", states=np.stack([np.eye(2, dtype=complex)] * 3))
    assert resting.pictures[1].image != one.pictures[1].image
    gates = gates_section({"h": 2, "cx": 5}, title="Gates")
    assert gates.table.rows == [("cx", 5), ("h", 2)]
    page = render_page("t", "l", [one, two, gates])
    assert page.count("<svg") == 4
    assert "<td>cx</td><td>5</td>" in page
