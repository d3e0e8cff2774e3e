"""`geojax atlas`: a template of many shapes or images, and its deformations to them."""

from pathlib import Path
from typing import Any

import numpy as np

from geojax._core.errors import InputError
from geojax.cli import atlas_image, kinds, population
from geojax.cli.match import show
from geojax.cli.naming import named_options
from geojax.cli.options import Atlas
from geojax.cli.run import Run
from geojax.io import save_arrays

KIND = "geojax atlas"


def run(options: Atlas, run: Run) -> dict[str, Any]:
    """Read, check, estimate, and write the template, what it becomes, and the momenta."""
    if not options.subjects:
        raise InputError("SUBJECTS: there are none; give the files of the shapes after TEMPLATE")
    if kinds.all_images([*options.subjects, *atlas_image.given_template(options)]):
        return atlas_image.run(options, run)
    options = kinds.atlas_point_options(options, run)
    if options.estimate_control_points and options.control_points is None:
        raise InputError(
            "--estimate-control-points: give --control-points too, how many there are to be"
        )
    paths = [options.template, *options.subjects]
    shapes = population.read_shapes(paths, 0, 1, options, run)
    run.check_folder(options.out)
    with named_options(options, {"template": str(shapes.file.path), **shapes.called("subjects")}):
        given = population.arguments(shapes, options, run)
        from geojax.matching import atlas

        found = atlas(
            shapes.start,
            shapes.targets,
            **given,
            estimate_template=not options.keep_template,
            estimate_control_points=options.estimate_control_points,
        )
    figures = population.describe(found, found.moved, shapes)
    figures |= {"mean_energy": np.mean(np.asarray(found.energies)), "energies": found.energies}
    population.refuse_unfinished(found, figures, run)
    run.progress("writing")
    name = shapes.named("template")
    run.write(name, shapes.written(name, found.vertices))
    width = len(str(len(shapes.others) - 1))
    for k, file in enumerate(shapes.others):
        stem = f"reconstruction-{k:0{width}}-{Path(file.path.name).stem}"
        name = shapes.named(stem)
        run.write(name, shapes.written(name, found.moved[k]))
        if shapes.on_meshes:
            one = found.match(k)
            shapes.write_deformed(
                run,
                stem,
                start=found.vertices,
                moved=found.moved[k],
                determinants=one.determinants(found.vertices),
                base=one.problem.base,
                momentum=one.momentum,
            )
    save(found, shapes, run)
    run.progress("drawing")
    run.write("report.html", population.report(found, found.moved, figures, shapes, run))
    show(figures, run)
    return figures


def save(found: Any, shapes: population.Shapes, run: Run) -> None:
    """Write what it takes to shoot the template to each subject again."""
    from geojax.kernels import describe

    assert run.folder is not None, "claim the folder first"
    base = found.vertices if found.control_points is None else found.control_points
    arrays = {
        "template": found.vertices,
        "control_points": base,
        "momenta": found.momenta,
        "moved": found.moved,
        "energies": found.energies,
        "residuals": found.residuals,
        "history": found.history,
    }
    metadata = {
        "kernel": describe(found.problem.metric.kernel),
        "fidelity": shapes.fidelity,
        "weight": float(found.problem.weight),
        "num_steps": found.problem.num_steps,
        "subjects": [str(file.path) for file in shapes.others],
    }
    save_arrays(run.folder, "atlas", arrays, metadata, kind=KIND)
