"""Plots of measures, layer by layer, and the section of a report that shows them."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from geojax import measure
from geojax.networks import ConvolutionalNetwork
from geojax.reports import measures_section, render_page
from geojax.viz import plot_profile, plot_spectrum


def test_profile_shows_means_and_errors_of_what_is_known():
    values = np.array([[1.0, 3.0], [np.nan, np.nan], [5.0, 7.0]])
    ax = plot_profile({"one": values}, label="length (mm)")
    line = ax.containers[0].lines[0]
    np.testing.assert_array_equal(line.get_xdata(), [1, 3])
    np.testing.assert_array_equal(line.get_ydata(), [2.0, 6.0])
    segments = ax.containers[0].lines[2][0].get_segments()
    np.testing.assert_allclose(segments[0][:, 1], [1.0, 3.0])  # one standard error each way


def test_spectrum_keeps_the_ends_where_the_dimension_changes():
    values = [np.array([[4.0, 2.0, 1.0]]), np.array([[3.0, 0.5]])]
    ax = plot_spectrum(values)
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), [4.0, 3.0])
    np.testing.assert_array_equal(ax.lines[-1].get_ydata(), [1.0, 0.5])


@pytest.mark.slow
def test_section_of_a_network_whose_states_change():
    model = ConvolutionalNetwork(
        (4, 4, 1), 3, channels=2, stages=(1, 2), dtype=jnp.float64, rngs=nnx.Rngs(0)
    )
    found = measure(model, np.eye(16)[:5], np.array([0, 1, 2, 0, 1]), num_jacobians=1)
    section = measures_section({"conv": found}, title="The paths")
    assert "conv 3 of 4" in section.note
    rows = {row[0]: row[1] for row in section.table.rows}
    assert rows["length of the path"].startswith(f"{found.length.mean():.4g}")
    assert len(section.pictures) == 6
    page = render_page("t", "l", [section])
    assert page.count("<svg") == 6
    assert "nan" not in page.partition("<table>")[2].partition("</table>")[0]
