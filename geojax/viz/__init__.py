"""Plots that take and return matplotlib axes.

matplotlib is imported when a plot is drawn, not before; figures are made outside of pyplot, so no
screen is needed and nothing stays open.
"""

from geojax.viz.curves import (
    plot_comparison as plot_comparison,
    plot_convergence as plot_convergence,
    plot_history as plot_history,
)
from geojax.viz.images import (
    determinant_bar as determinant_bar,
    log_limit as log_limit,
    middle_slices as middle_slices,
    plot_checkerboard as plot_checkerboard,
    plot_determinant_histogram as plot_determinant_histogram,
    plot_determinants as plot_determinants,
    plot_image as plot_image,
    plot_moved_grid as plot_moved_grid,
    window as window,
)
from geojax.viz.interactive import to_pyvista as to_pyvista
from geojax.viz.measures import (
    plot_profile as plot_profile,
    plot_spectrum as plot_spectrum,
)
from geojax.viz.quantum import (
    plot_bloch as plot_bloch,
    plot_pauli_weights as plot_pauli_weights,
    plot_pulses as plot_pulses,
)
from geojax.viz.scales import ranking as ranking
from geojax.viz.shapes import (
    as_plane as as_plane,
    plot_area_change as plot_area_change,
    plot_grid as plot_grid,
    plot_match as plot_match,
    plot_paths as plot_paths,
    plot_points as plot_points,
)
from geojax.viz.style import (
    DARK as DARK,
    INK as INK,
    MOVED as MOVED,
    SOURCE as SOURCE,
    TARGET as TARGET,
    bare as bare,
    legend as legend,
    new_figure as new_figure,
    scale_bar as scale_bar,
    to_png as to_png,
    to_svg as to_svg,
)
from geojax.viz.surfaces import (
    plot_surface as plot_surface,
    plot_surfaces as plot_surfaces,
    principal_views as principal_views,
)
from geojax.viz.sweeps import (
    plot_effect as plot_effect,
    plot_parallel as plot_parallel,
    plot_rungs as plot_rungs,
    plot_runs as plot_runs,
)
from geojax.viz.trajectories import (
    Plane as Plane,
    plot_trajectories as plot_trajectories,
    principal_plane as principal_plane,
)
