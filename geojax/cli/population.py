"""What `geojax atlas` and `geojax regress` have in common: their files, figures and pages."""

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from geojax._core.errors import InputError, NumericalError
from geojax.cli import points as point_files
from geojax.cli.match import geometry, is_done, rows
from geojax.cli.options import Atlas, Regress
from geojax.cli.run import Run, clean, versions
from geojax.cli.vtp import write_deformed
from geojax.io import PointFile, as_mesh, encode_points


class Shapes(NamedTuple):
    """What was read.

    Attributes:
        file: where the carried shape comes from.
        start: it, as the verbs take it.
        groups: for each point of its file the vertex of `start`.
        others: the files that it is compared with.
        targets: they, as the verbs take them.
        fidelity: name of the fidelity.
    """

    file: PointFile
    start: Any
    groups: np.ndarray
    others: list[PointFile]
    targets: list[Any]
    fidelity: str

    def written(self, name: str, vertices: Any) -> bytes:
        """Vertices of the carried shape in the format of its file."""
        return encode_points(name, np.asarray(vertices)[self.groups], like=self.file)

    @property
    def on_meshes(self) -> bool:
        """Whether surfaces or curves are compared."""
        return self.fidelity in point_files.MEASURES

    def write_deformed(self, run: Run, stem: str, **deformed: Any) -> None:
        """Write the carried mesh with momentum and Jacobian, as `vtp.write_deformed`."""
        for name in ("start", "moved", "determinants"):
            deformed[name] = np.asarray(deformed[name])[self.groups]
        write_deformed(run, self.file, stem, **deformed)

    def called(self, argument: str) -> dict[str, str]:
        """Of each shape in an argument of the verbs the file."""
        return {f"{argument}[{k}]": str(file.path) for k, file in enumerate(self.others)}

    def named(self, stem: str) -> str:
        """A file name with the ending of that of the carried shape."""
        return f"{stem}{self.file.path.suffix}"


def read_shapes(
    paths: Sequence[str], start: int, skip: int, options: Atlas | Regress, run: Run
) -> Shapes:
    """Read, check and cut to the precision of the run.

    Args:
        paths: the files.
        start: which of them is carried.
        skip: how many of the first are not compared with.
        options: of the command.
        run: to note the files and the fidelity in.
    """
    files = point_files.read_together(paths)
    first = files[start]
    found = {
        point_files.default_fidelity(first, file, options.fidelity): file
        for k, file in enumerate(files)
        if k != start
    }
    if len(found) > 1:
        (one, a), (other, b) = list(found.items())[:2]
        raise InputError(
            f"{a.path} is fit for {one}, {b.path} for {other}; give files of one kind, or "
            "--fidelity"
        )
    (fidelity,) = found
    on_meshes = fidelity in point_files.MEASURES
    if on_meshes and point_files.cell_kind(first) == "faces":
        files = [file.lifted() for file in files]
        first = files[start]
    targets: list[Any] = point_files.to_precision(files, options.x64)
    carried: Any = targets[start]
    groups = np.arange(len(carried))
    if on_meshes:
        groups = point_files.merge_groups(carried, 0.0)
        carried = as_mesh(point_files.merged_mesh(replace(first, points=carried), None))
        with warnings.catch_warnings():
            if skip == 0:
                warnings.simplefilter("ignore")  # of the first file it was said already
                targets[start] = as_mesh(first, targets[start])
        pairs = zip(files, targets, strict=True)
        targets = [x if k == start else as_mesh(file, x) for k, (file, x) in enumerate(pairs)]
    run.config["fidelity"] = fidelity
    for file in files:
        run.add_input(file.path)
    return Shapes(first, carried, groups, files[skip:], targets[skip:], fidelity)


def arguments(shapes: Shapes, options: Atlas | Regress, run: Run) -> dict[str, Any]:
    """The arguments that the verbs have in common; claims the folder."""
    points = np.asarray(getattr(shapes.start, "vertices", shapes.start))
    chosen = geometry(points, shapes.fidelity, options)
    run.claim(options.out)
    count = chosen["control_points"]
    if options.control_points is None and count is not None:
        point_files.warn_of_fewer(count, len(points), shapes.file)
    run.progress("compiling")

    return {
        **chosen,
        "weight": options.weight,
        "batch_size": options.batch_size,
        "tolerance": options.tolerance,
        "max_iterations": options.max_iterations,
        "num_steps": options.num_steps,
        "progress": run.iteration,
        "throw": False,
    }


def describe(found: Any, fitted: Any, shapes: Shapes) -> dict[str, Any]:
    """The figures of an atlas or a regression, as they go into result.json."""
    problem, start = found.problem, np.asarray(found.problem.source)

    def distance(carried: Any) -> float:
        pairs = zip(carried, shapes.targets, strict=True)
        gaps = [
            point_files.nearest_distances(np.asarray(x), np.asarray(getattr(y, "vertices", y)))
            for x, y in pairs
        ]
        return float(np.mean([np.mean(gap) for gap in gaps]))

    return {
        "shapes": len(shapes.targets),
        "points": len(start),
        "control_points": len(problem.base),
        "scale": problem.metric.kernel.finest_scale,
        "weight": problem.weight,
        "objective": found.objective,
        "residuals": found.residuals,
        "distance_before": distance([start] * len(shapes.targets)),
        "distance_after": distance(fitted),
        "iterations": found.num_iterations,
        "gradient_norm": found.gradient_norm,
    }


def refuse_unfinished(found: Any, figures: dict[str, Any], run: Run) -> None:
    """Raise if what was asked for was not reached: it is withheld.

    Raises:
        NumericalError: with the numbers, and what to do about it.
    """
    from geojax._core.results import RESULTS, message

    if is_done(found):
        return
    run.figures = figures
    if bool(found.result == RESULTS.not_converged):
        text = (
            f"geojax {run.command} did not reach its tolerance: gradient "
            f"{float(found.gradient_norm):.1e} of that at rest after {int(found.num_iterations)} "
            "iterations; raise --max-iterations or --tolerance, or lower --weight"
        )
    else:
        text = (
            f"geojax {run.command} failed: {message(found.result)}; raise --num-steps, which is "
            f"{run.config['num_steps']}, or lower --weight"
        )
    raise NumericalError(text, found.result)


def report(
    found: Any, fitted: Any, figures: dict[str, Any], shapes: Shapes, run: Run, **look: Any
) -> str:
    """The page of an atlas or a regression.

    Args:
        found, fitted, figures, shapes, run: what there is to show.
        look: further attributes of the `PopulationView`.
    """
    from geojax.reports import PopulationView, Quantity, Table, population_section, render_page

    names = [Path(file.path).name for file in shapes.others]
    history = np.asarray(found.history)
    meshes = [shapes.start, *shapes.targets]
    cells = None
    if hasattr(shapes.start, "vertices"):
        cells = [np.asarray(getattr(m, "faces", getattr(m, "edges", None))) for m in meshes]
    section = population_section(
        PopulationView(
            start=np.asarray(found.vertices),
            shapes=[np.asarray(getattr(m, "vertices", m)) for m in shapes.targets],
            fitted=np.asarray(fitted),
            names=names,
            objective=history[np.isfinite(history)].tolist(),
            cells=cells,
            **look,
        ),
        title=f"The {look.get('start_name', 'template')} and the shapes",
        text=f"{len(names)} shapes, compared by {shapes.fidelity}.",
        table=Table(["figure", "value", "unit"], rows(figures)),
    )
    plain = clean(figures)
    return render_page(
        f"{run.command.capitalize()} of {len(names)} shapes",
        "Deformations of least energy, found with geojax.",
        [section],
        quantities=[
            Quantity(plain["distance_before"], "", "mean distance to the nearest point, before"),
            Quantity(plain["distance_after"], "", "the same, after"),
            Quantity(plain["iterations"], "", "iterations"),
        ],
        versions=versions(),
        config=run.config,
    )
