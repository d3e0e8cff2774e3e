"""`geojax regress`: the geodesic through shapes that were seen at different times."""

from typing import Any

import numpy as np

from geojax._core.errors import InputError
from geojax.cli import population
from geojax.cli.match import show
from geojax.cli.naming import named_options
from geojax.cli.options import Regress
from geojax.cli.run import Run
from geojax.io import save_arrays

KIND = "geojax regression"
# Shapes that are written, if no times are given.
_WRITTEN = 5


def run(options: Regress, run: Run) -> dict[str, Any]:
    """Read, check, estimate, and write the geodesic and its shapes at a few times."""
    times = np.asarray(options.times, float)
    if len(options.shapes) < 2:
        raise InputError("SHAPES: give at least two files, seen at different times")
    if len(times) != len(options.shapes):
        raise InputError(
            f"--times: has {len(times)} numbers for {len(options.shapes)} files; give one for each"
        )
    for option, values in (("times", options.times), ("at", options.at)):
        if not np.all(np.isfinite(values)):
            raise InputError(f"--{option}: {values} are not all finite; give numbers")
    if np.ptp(times) == 0:
        raise InputError(f"--times: all are {times[0]:g}; give at least two different times")
    shapes = population.read_shapes(options.shapes, int(np.argmin(times)), 0, options, run)
    run.check_folder(options.out)
    with named_options(options, {"baseline": str(shapes.file.path), **shapes.called("shapes")}):
        given = population.arguments(shapes, options, run)
        from geojax.matching import regress

        found = regress(
            shapes.targets,
            times,
            baseline=shapes.start,
            estimate_baseline=options.estimate_baseline,
            **given,
        )
    figures = population.describe(found, found.fitted, shapes)
    figures |= {"energy": found.energy, "explained": found.explained}
    population.refuse_unfinished(found, figures, run)
    run.progress("writing")
    at = options.at or np.linspace(np.min(times), np.max(times), _WRITTEN).tolist()
    for t in at:
        stem, shape = f"at-{t:.10g}", found.at(t)
        name, moved = shapes.named(stem), getattr(shape, "vertices", shape)
        run.write(name, shapes.written(name, moved))
        if shapes.on_meshes:
            shapes.write_deformed(
                run,
                stem,
                start=found.vertices,
                moved=moved,
                determinants=found.determinants(found.vertices, t),
                base=found.problem.base_of(found.vertices),
                momentum=found.momentum,
            )
    save(found, shapes, times, run)
    run.progress("drawing")
    from geojax.matching.problem import moved_source

    look = {"paths": np.asarray(moved_source(found.path)), "start_name": "baseline"}
    run.write("report.html", population.report(found, found.fitted, figures, shapes, run, **look))
    show(figures, run)
    return figures


def save(found: Any, shapes: population.Shapes, times: np.ndarray, run: Run) -> None:
    """Write what it takes to shoot the geodesic again."""
    from geojax.kernels import describe

    assert run.folder is not None, "claim the folder first"
    arrays = {
        "baseline": found.vertices,
        "control_points": found.problem.base_of(found.vertices),
        "momentum": found.momentum,
        "times": times,
        "fitted": found.fitted,
        "residuals": found.residuals,
        "history": found.history,
    }
    metadata = {
        "kernel": describe(found.problem.metric.kernel),
        "fidelity": shapes.fidelity,
        "weight": float(found.problem.weight),
        "num_steps": found.problem.num_steps * len(found.problem.gaps),
        "shapes": [str(file.path) for file in shapes.others],
    }
    save_arrays(run.folder, "regression", arrays, metadata, kind=KIND)
