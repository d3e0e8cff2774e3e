"""`geojax atlas` of images: the template, and the deformation of each subject to it."""

import time
from pathlib import Path
from typing import Any

import numpy as np

from geojax._core.errors import InputError, NumericalError
from geojax.cli import image_files, kinds, match as matching, match_image
from geojax.cli.naming import named_options
from geojax.cli.options import Atlas
from geojax.cli.run import Run
from geojax.io import ImageFile, read_image

LABELS = {
    "subjects": ("images", ""),
    "residual_before": ("mean distance to the template, after the affine maps", ""),
    "residual": ("mean distance to the template, after the deformations", ""),
    "mean_energy": ("mean energy of the deformations", ""),
    "objective": ("energies plus weighted distances", ""),
    "largest_mean_displacement": ("largest mean displacement beyond the affine maps", "u"),
    "folds": ("folds (Jacobian determinant not positive), of all", ""),
    "iterations": ("iterations, of all", ""),
    "seconds": ("seconds of the search", "s"),
}


def given_template(options: Atlas) -> list[str]:
    """The file of the template, if there is one."""
    return [] if options.template == kinds.MEAN else [options.template]


def run(options: Atlas, run: Run) -> dict[str, Any]:
    """Read, check, estimate, and write the template, the deformations and the report."""
    options = kinds.atlas_image_options(options, run)
    if len(options.subjects) < 2:
        only = ", ".join(options.subjects)
        raise InputError(
            f"SUBJECTS: there is only {only}; give at least two, or match a pair by geojax match"
        )
    subjects = [read_image(path) for path in options.subjects]
    start = [read_image(path) for path in given_template(options)]
    image_files.check_together([*start, *subjects], subjects)
    for file in (*start, *subjects):
        run.add_input(file.path)
    like = (*start, *subjects)[0]
    run.check_folder(options.out)
    called = {f"subjects[{k}]": str(file.path) for k, file in enumerate(subjects)}
    called |= {"template": str(like.path), "source": str(subjects[0].path)}
    with named_options(options, called):
        images = [image_files.to_image(file, options.x64) for file in subjects]
        template = [image_files.to_image(file, options.x64) for file in start]
        chosen = match_image.arguments(options, (*template, *images)[0])
        run.claim(options.out)
        run.progress("compiling")
        started = time.perf_counter()
        from geojax.matching import atlas_images

        found = atlas_images(
            images,
            **chosen,
            template=template[0] if template else None,
            rounds=options.rounds or 0,
            batch_size=options.batch_size,
            progress=lambda k, value, _: run.progress(f"round {k}, objective {value:.5g}"),
            throw=False,
        )
        seconds = time.perf_counter() - started
    figures = describe(found)
    timed = figures | {"seconds": round(seconds, 3)}
    if not matching.is_done(found):
        run.figures = timed
        raise NumericalError(failure(found, figures, options), found.result)
    run.progress("writing")
    for folder, match, file in zip(folders(subjects), found.matches, subjects, strict=True):
        match_image.write_deformation(match, run, file, like, folder)
    name = f"template{'.nii.gz' if like.format == 'nifti' else like.path.suffix}"
    run.write(name, match_image.encode_moved(found.template.values, like, None, like.affine))
    run.progress("drawing")
    run.write("report.html", report(found, figures, run, subjects, like))
    matching.show(timed, run, image_files.unit(like), LABELS)
    return timed


def folders(subjects: list[ImageFile]) -> list[str]:
    """Folder of each subject, by its place and name."""
    width = len(str(len(subjects) - 1))
    stems = [Path(file.path.name.removesuffix(".gz")).stem for file in subjects]
    return [f"subject-{k:0{width}}-{stem}" for k, stem in enumerate(stems)]


def describe(found: Any) -> dict[str, Any]:
    """The figures of an atlas, as they go into result.json."""
    return {
        "subjects": len(found.matches),
        "grid": list(found.template.grid),
        "spacing": found.template.spacing,
        "residual_before": np.mean([float(match.residual_before) for match in found.matches]),
        "residual": np.mean(np.asarray(found.residuals)),
        "residuals": found.residuals,
        "mean_energy": np.mean(np.asarray(found.energies)),
        "energies": found.energies,
        "objective": found.history[-1],
        "history": found.history,
        "largest_mean_displacement": np.max(np.linalg.norm(found.mean_displacement, axis=0)),
        "folds": sum(match.folds for match in found.matches),
        "affines": [match.affine for match in found.matches],
        "iterations": found.num_iterations,
    }


def failure(found: Any, figures: dict[str, Any], options: Atlas) -> str:
    """Why an atlas is not done, and what to do about it."""
    from geojax._core.results import RESULTS

    names = zip(options.subjects, found.matches, strict=True)
    name, match = next((n, m) for n, m in names if bool(m.result != RESULTS.successful))
    return f"{name}: {match_image.failure(match, match_image.describe(match), options)}"


def report(
    found: Any, figures: dict[str, Any], run: Run, subjects: list[ImageFile], like: ImageFile
) -> str:
    """The page of an atlas."""
    from geojax.cli.run import clean, versions
    from geojax.reports import (
        ImageAtlasView,
        Quantity,
        Table,
        image_atlas_section,
        render_page,
    )

    plain, unit = clean(figures), image_files.unit(like)
    view = ImageAtlasView(
        template=np.asarray(found.template.values),
        moved=[np.asarray(image.values) for image in found.moved],
        names=[file.path.name for file in subjects],
        affine=like.affine,
        picture=like.format != "nifti",
        objective=np.asarray(found.history).tolist(),
    )
    grid = " × ".join(map(str, found.template.grid))
    section = image_atlas_section(
        view,
        title="The template and the images",
        text=f"{len(subjects)} images, and a template of {grid} points in the middle of them.",
        table=Table(["figure", "value", "unit"], matching.rows(figures, unit, LABELS)),
    )
    return render_page(
        f"Atlas of {len(subjects)} images",
        "A template, and deformations of least energy to it whose mean vanishes, found with "
        "geojax.",
        [section],
        quantities=[
            Quantity(plain["residual_before"], "", "mean distance, affine maps only"),
            Quantity(plain["residual"], "", "the same, after the deformations"),
            Quantity(plain["folds"], "", "folds"),
        ],
        versions=versions(),
        config=run.config,
    )
