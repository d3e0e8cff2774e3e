"""`geojax transport`: what happened to one subject, carried over to another."""

from pathlib import Path
from typing import Any

import numpy as np

from geojax._core.errors import InputError, NumericalError
from geojax.cli import kinds, points as point_files
from geojax.cli.apply import deformation_dimension, displacements, in_dimension, moved_points
from geojax.cli.naming import named_options
from geojax.cli.options import Transport
from geojax.cli.run import RESULT, Run
from geojax.cli.vtp import write_deformed
from geojax.io import PointFile, encode_points, files, read_points


def run(options: Transport, run: Run) -> dict[str, Any]:
    """Read both deformations, carry one along the other, and move the other subject by it."""
    for folder in (options.run, options.to):
        files.verify(folder)
        if kinds.holds_image_match(folder):
            raise InputError(
                f"{folder}: holds a match of images, which is not transported; match meshes or "
                "points, and give the --out of that"
            )
        deformation_dimension(folder)
        run.add_input(Path(folder) / files.MANIFEST)
    file = in_dimension(_other_subject(options), options.to)
    point_files.refuse_taken_name(file)
    run.add_input(file.path)
    (points,) = point_files.to_precision([file], options.x64)
    run.check_folder(options.out)
    from geojax.matching import load_match, transport_match

    first, second = load_match(options.run), load_match(options.to)
    with named_options(options, {"deformation": options.run, "to": options.to}):
        run.claim(options.out)
        run.progress("compiling")
        try:
            found = transport_match(first, second, num_rungs=options.num_rungs)
        except NumericalError as error:
            text = f"{error} (Match {options.to} again with a larger --num-steps.)"
            raise NumericalError(text, error.result) from error
    run.progress(f"moving {len(points)} points")
    moved = moved_points(found, file, points)
    found = found.with_quality()
    assert run.folder is not None, "the folder was claimed"
    # first, because it takes away the result of an earlier run
    path = run.write(file.path.name, encode_points(file.path.name, moved, like=file))
    if point_files.cell_kind(file) is not None:
        write_deformed(
            run,
            file,
            Path(file.path.name).stem,
            start=points,
            moved=moved,
            determinants=found.determinants(points),
            base=found.problem.base,
            momentum=found.momentum,
        )
    found.save(run.folder)
    run.clear_progress()
    print(path)
    return {
        **displacements(points, moved),
        "energy": found.energy,
        "energy_before": first.energy,
        "length_of_the_way": np.sqrt(2 * np.asarray(second.energy)),
        "folds": found.folds,
        "smallest_determinant": found.smallest_determinant,
        "inverse_error": found.inverse_error,
        "file": str(path),
    }


def _other_subject(options: Transport) -> PointFile:
    """The file that is moved: what was given, or the target of the match along which to carry.

    Raises:
        InputError: the target is not known, or is not what it was.
    """
    if options.points is not None:
        return read_points(options.points)
    place = Path(options.to) / RESULT
    result = files.read_json(place) if place.exists() else None
    target, hashes = None, {}
    if isinstance(result, dict):
        target = (result.get("config") or {}).get("target")
        hashes = result.get("inputs") or {}
    if not isinstance(target, str):
        raise InputError(f"{place}: does not say what the target was; give the file as --points")
    try:
        file = read_points(target)
    except InputError as error:
        raise InputError(
            f"{error} (the target of {options.to}); give the file as --points"
        ) from error
    if files.sha256(files.read_bytes(file.path)) != hashes.get(str(file.path)):
        raise InputError(
            f"{file.path}: is not what {options.to} was matched to; give the file as --points"
        )
    return file
