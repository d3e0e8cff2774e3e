"""`geojax match`: the cheapest deformation from the points or mesh of one file to another's.

Images go to `geojax.cli.match_image`.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from geojax._core.errors import InputError, NumericalError
from geojax.cli import kinds, points as point_files
from geojax.cli.naming import named_options
from geojax.cli.options import Atlas, Match, Regress
from geojax.cli.run import Run
from geojax.cli.vtp import write_deformed
from geojax.io import PointFile, as_mesh, encode_points


def run(options: Match, run: Run) -> dict[str, Any]:
    """Read, check, match, and write the deformation, the moved source and the report."""
    if kinds.are_images(options.source, options.target):
        from geojax.cli import match_image

        return match_image.run(options, run)
    options = kinds.point_options(options, run)
    source, target = point_files.read_pair(options.source, options.target)
    point_files.refuse_taken_name(source)
    fidelity = point_files.default_fidelity(source, target, options.fidelity)
    on_meshes = fidelity in point_files.MEASURES
    if on_meshes and point_files.cell_kind(source) == "faces":
        source, target = source.lifted(), target.lifted()
    every, goal = point_files.to_precision([source, target], options.x64)
    start: Any = every
    _check_tolerance(options)
    if on_meshes:
        start = as_mesh(
            point_files.merged_mesh(replace(source, points=every), options.merge_duplicates)
        )
        goal = as_mesh(target, goal)
    elif options.merge_duplicates is not None:
        start, goal = _merged(options.merge_duplicates, start, goal, fidelity)
    elif options.control_points is None:
        point_files.refuse_duplicates(source)
    run.config["fidelity"] = fidelity
    for file in (source, target):
        run.add_input(file.path)
    run.check_folder(options.out)

    with named_options(options, {"source": str(source.path), "target": str(target.path)}):
        found = solve(
            start,
            goal,
            fidelity=fidelity,
            options=options,
            run=run,
            claim=lambda: run.claim(options.out),
        )
    count = len(found.problem.source)
    if options.control_points is None and len(found.problem.base) < count:
        point_files.warn_of_fewer(len(found.problem.base), count, source)
    figures = describe(found)
    if not is_done(found):
        # A result that was not reached is withheld; its numbers say how far it came.
        run.figures = figures
        raise NumericalError(failure(found, figures), found.result)
    run.progress("writing")
    found.save(run.folder)
    moved = np.asarray(found.apply(every))
    name = source.path.name
    run.write(name, encode_points(name, moved, like=source))
    determinants = None
    if on_meshes:
        determinants = np.asarray(found.determinants(every))
        write_deformed(
            run,
            source,
            Path(name).stem,
            start=every,
            moved=moved,
            determinants=determinants,
            base=found.problem.base,
            momentum=found.momentum,
        )
    run.progress("drawing")
    run.write("report.html", report(found, figures, run, source, target, determinants))
    show(figures, run)
    return figures


def solve(
    start: Any,
    goal: Any,
    *,
    fidelity: str,
    options: Match,
    run: Run,
    claim: Callable[[], Any],
) -> Any:
    """Put the problem together from the options, claim the folder, and solve it.

    Start and goal are points, or the curves or surfaces that a fidelity of measures takes.
    """
    from geojax.matching import match

    chosen = geometry(getattr(start, "vertices", start), fidelity, options)
    names = ("weight", "tolerance", "max_iterations", "num_steps")
    numbers: dict[str, Any] = {name: getattr(options, name) for name in names}
    claim()
    run.progress("compiling")

    return match(
        start,
        goal,
        **chosen,
        **numbers,
        progress=run.iteration,
        throw=False,
    )


def geometry(points: Any, fidelity: str, options: Match | Atlas | Regress) -> dict[str, Any]:
    """Metric, fidelity and control points, as the verbs take them, for points that are moved."""
    import jax.numpy as jnp

    from geojax.kernels import by_name
    from geojax.matching.arguments import check_separation, diagonal
    from geojax.shapes import MMD, Currents, Sinkhorn, Varifold

    points = jnp.asarray(points)
    scales = options.scale or (float(f"{diagonal(points) / 5:.2g}"),)
    kernel = by_name(
        options.kernel or "gaussian", scales[0] if len(scales) == 1 else np.asarray(scales)
    )
    count = options.control_points
    if count is None:
        if fidelity == "landmarks":
            # Before any point is left out: the mistake would go with it.
            check_separation(kernel, points)
        count = enough_points(kernel, points)
    measure: Any = fidelity
    if options.fidelity_scale is not None and fidelity != "landmarks":
        kinds = {"mmd": MMD, "sinkhorn": Sinkhorn, "varifold": Varifold, "currents": Currents}
        measure = kinds[fidelity](options.fidelity_scale)
    return {"metric": kernel, "fidelity": measure, "control_points": count}


def enough_points(kernel: Any, points: Any) -> int | None:
    """How many control points a cloud needs where its points are far closer than the kernel scale.

    Such points move together, and their kernel matrix cannot be inverted in the precision at hand.
    The largest number is taken, spread evenly, for which it can; None if all points are good.
    """
    from geojax.matching.match import spread

    limit = 1e5 if points.dtype == np.float32 else 1e11
    if len(points) > 2000 or len(points) < 2 or _condition(kernel, points) <= limit:
        return None
    order = np.asarray(spread(np.asarray(points), len(points)))
    low, high = 1, len(points)
    while high - low > 1:
        middle = (low + high) // 2
        good = _condition(kernel, points[order[:middle]]) <= limit
        low, high = (middle, high) if good else (low, middle)
    return low


def _condition(kernel: Any, points: Any) -> float:
    values = np.linalg.eigvalsh(np.asarray(kernel(points, points), np.float64))
    return float(values[-1] / values[0]) if values[0] > 0 else np.inf


def _check_tolerance(options: Match) -> None:
    tolerance = options.merge_duplicates
    if tolerance is not None and (not np.isfinite(tolerance) or tolerance < 0):
        raise InputError(f"--merge-duplicates: {tolerance} is no distance; give one of at least 0")


def _merged(
    tolerance: float, start: np.ndarray, goal: np.ndarray, fidelity: str
) -> tuple[np.ndarray, np.ndarray]:
    """Source (and for landmarks the partners in the target) with close points merged."""
    groups = point_files.merge_groups(start, tolerance)
    if fidelity == "landmarks":
        goal = point_files.group_means(goal, groups)
    return point_files.group_means(start, groups), goal


def is_done(found: Any) -> bool:
    """Whether a match reached what it was asked for."""
    from geojax._core.results import RESULTS

    return bool(found.result == RESULTS.successful)


def failure(found: Any, figures: dict[str, Any]) -> str:
    """Why a match is not done, with the numbers, and what to do about it."""
    from geojax._core.results import RESULTS, message

    if bool(found.result == RESULTS.not_converged):
        return (
            f"the match did not reach its tolerance: gradient {figures['gradient_norm']:.1e} of "
            f"that at rest after {figures['iterations']} iterations; raise --max-iterations or "
            "--tolerance, or lower --weight"
        )
    mend = f"raise --num-steps, which is {found.problem.num_steps}, or lower --weight"
    if bool(found.result == RESULTS.energy_drift):
        return (
            "the match failed: the energy, which the equation conserves, drifted by "
            f"{float(found.path.energy_drift):.1e} of itself along the path; {mend}"
        )
    if bool(found.result == RESULTS.not_finite):
        return f"the match failed: the path left the finite numbers (NaN or infinity); {mend}"
    return f"the match failed: {message(found.result)}"


def describe(found: Any) -> dict[str, Any]:
    """The figures of a match, as they go into result.json."""
    problem = found.problem
    moved, target = np.asarray(found.moved), np.asarray(problem.target)
    before = point_files.nearest_distances(np.asarray(problem.source), target)
    after = point_files.nearest_distances(moved, target)
    return {
        "points": len(problem.source),
        "target_points": len(target),
        "control_points": len(problem.base),
        "scale": problem.metric.kernel.finest_scale,
        "weight": problem.weight,
        "energy": found.energy,
        "objective": found.objective,
        "residual": found.residual,
        "distance_before": np.mean(before),
        "distance_after": np.mean(after),
        "largest_distance_after": np.max(after),
        "iterations": found.num_iterations,
        "gradient_norm": found.gradient_norm,
        "energy_drift": found.path.energy_drift,
        "folds": found.folds,
        "smallest_determinant": found.smallest_determinant,
        "inverse_error": found.inverse_error,
    }


# Figure -> what it is called on the page and on the screen; "u" stands for the unit of the points.
LABELS = {
    "shapes": ("shapes", ""),
    "outline_distance_before": ("mean distance to the other outline, before", "u"),
    "outline_distance_after": ("mean distance to the other outline, after", "u"),
    "distance_before": ("mean distance to the nearest point, before", "u"),
    "distance_after": ("mean distance to the nearest point, after", "u"),
    "largest_distance_after": ("largest distance to the nearest point, after", "u"),
    "residual": ("residual, in the terms of the fidelity", ""),
    "explained": ("part of the variance that is explained", ""),
    "energy": ("energy of the deformation", "u²"),
    "mean_energy": ("energy of a deformation, mean", "u²"),
    "folds": ("folds (Jacobian determinant not positive)", ""),
    "smallest_determinant": ("smallest Jacobian determinant", ""),
    "inverse_error": ("largest error of moving there and back", "u"),
    "energy_drift": ("relative drift of the energy along the path", ""),
    "scale": ("kernel scale", "u"),
    "weight": ("weight of the fidelity", ""),
    "control_points": ("control points", ""),
    "iterations": ("iterations", ""),
    "gradient_norm": ("gradient, relative to that at rest", ""),
}


def show(
    figures: dict[str, Any],
    run: Run,
    unit: str = "",
    labels: Mapping[str, tuple[str, str]] = LABELS,
) -> None:
    """Print the figures and where the results are."""
    from geojax.cli.run import clean
    from geojax.reports import form

    run.clear_progress()
    plain = clean(figures)
    for key, (label, symbol) in labels.items():
        if key not in plain:
            continue
        tail = f" {symbol.replace('u', unit)}" if symbol and unit else ""
        print(f"{label:48} {form(plain.get(key))}{tail}")
    print(f"{'report':48} {run.folder}/report.html" if run.folder else "")


def view(found: Any, **options: Any) -> Any:
    """What a report shows of a match."""
    from geojax.matching.problem import moved_source
    from geojax.reports import MatchView

    history = np.asarray(found.history)
    cells = getattr(found.problem.fidelity, "cells", None)
    dtype = np.asarray(found.problem.source).dtype
    return MatchView(
        source=np.asarray(found.problem.source),
        target=np.asarray(found.problem.target),
        moved=np.asarray(found.moved),
        paths=np.asarray(moved_source(found.path)),
        objective={"objective": history[np.isfinite(history)].tolist()},
        folds=found.folds,
        cells=None if cells is None else (np.asarray(cells[0]), np.asarray(cells[1])),
        move=lambda points: np.asarray(found.apply(np.asarray(points, dtype))),
        **options,
    )


def rows(
    figures: dict[str, Any],
    unit: str = "",
    labels: Mapping[str, tuple[str, str]] = LABELS,
) -> list[list[Any]]:
    """The table of figures: name, value, unit."""
    from geojax.cli.run import clean

    plain = clean(figures)
    return [
        [label, plain[key], symbol.replace("u", unit or "unit of the points")]
        for key, (label, symbol) in labels.items()
        if key in plain
    ]


def report(
    found: Any,
    figures: dict[str, Any],
    run: Run,
    source: PointFile,
    target: PointFile,
    determinants: np.ndarray | None = None,
) -> str:
    """The page of a match."""
    from geojax.cli.run import clean, versions
    from geojax.reports import Quantity, Table, match_section, render_page

    plain = clean(figures)
    # With the name of the array, where several lie in one file.
    names = [Path(str(run.config[key])).name for key in ("source", "target")]
    shown: dict[str, Any] = {"source_name": names[0], "target_name": names[1]}
    text = f"{names[0]} has {len(source.points)} points, {names[1]} has {len(target.points)}."
    if determinants is not None and len(determinants) == len(found.problem.source):
        shown["determinants"] = determinants
    section = match_section(
        view(found, **shown),
        title="The match",
        text=text,
        table=Table(["figure", "value", "unit"], rows(figures)),
    )
    return render_page(
        f"{names[0]} to {names[1]}",
        "The deformation of least energy that carries one file to the other, found with geojax.",
        [section],
        quantities=[
            Quantity(plain["distance_before"], "", "mean distance to the nearest point, before"),
            Quantity(plain["distance_after"], "", "the same, after"),
            Quantity(plain["folds"], "", "folds"),
            Quantity(plain["inverse_error"], "", "largest error of moving there and back"),
        ],
        versions=versions(),
        config=run.config,
    )
