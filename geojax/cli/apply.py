"""`geojax apply`: move other points by a deformation that was saved.

Deformations of images go to `geojax.cli.apply_image`.
"""

from pathlib import Path
from typing import Any

import numpy as np

from geojax._core.errors import InputError, NumericalError
from geojax.cli import kinds, points as point_files
from geojax.cli.options import Apply
from geojax.cli.run import Run
from geojax.io import PointFile, encode_points, files, read_points


def run(options: Apply, run: Run) -> dict[str, Any]:
    """Read both, move, and write the moved file in the format it came in."""
    if kinds.is_image(options.points):
        from geojax.cli import apply_image

        return apply_image.run(options, run)
    refuse_image_options(options)
    file = read_points(options.points)
    files.verify(options.run)
    if kinds.holds_image_match(options.run):
        from geojax.cli import apply_image

        return apply_image.run_points(options, run, in_dimension(file, options.run))
    file = in_dimension(file, options.run)
    from geojax.matching import load_match

    (points,) = point_files.to_precision([file], options.x64)
    run.add_input(file.path)
    run.add_input(Path(options.run) / files.MANIFEST)
    found = load_match(options.run)
    run.claim(folder_of(options, file.path.stem))
    run.progress(f"moving {len(points)} points")
    moved = moved_points(found, file, points, inverse=options.inverse)
    path = run.write(file.path.name, encode_points(file.path.name, moved, like=file))
    run.clear_progress()
    print(path)
    return displacements(points, moved) | {"file": str(path)}


def folder_of(options: Apply, stem: str) -> str | Path:
    """Where the moved file goes: what was said, or else into the folder of the match."""
    if options.out is not None:
        return options.out
    return Path(options.run) / f"{stem}-{'back' if options.inverse else 'moved'}"


def refuse_image_options(options: Apply) -> None:
    """Raise where options of images are given for points.

    Raises:
        InputError: naming the option.
    """
    if options.order is not None or options.labels:
        given = f"--order {options.order}" if options.order is not None else "--labels"
        raise InputError(
            f"{given} is for images, but {options.points} is taken for points; leave it away"
        )


def displacements(points: np.ndarray, moved: np.ndarray) -> dict[str, Any]:
    """The figures of points that were moved."""
    shift = np.linalg.norm(moved - points, axis=1)
    return {
        "points": len(points),
        "mean_displacement": np.mean(shift),
        "largest_displacement": np.max(shift),
    }


def moved_points(
    found: Any, file: PointFile, points: np.ndarray, *, inverse: bool = False
) -> np.ndarray:
    """Points of a file, moved by a deformation.

    Raises:
        NumericalError: some are nowhere afterwards.
    """
    moved = np.asarray(found.apply(points, inverse=inverse))
    bad = np.flatnonzero(~np.all(np.isfinite(moved), axis=1))
    if bad.size:
        raise NumericalError(
            f"{file.path}: {file.place(int(bad[0]))} left the finite numbers on its way "
            f"({bad.size} such points); the deformation does not reach there"
        )
    return moved


def in_dimension(file: PointFile, folder: str) -> PointFile:
    """A file of points in the space of a saved deformation, to which a flat file is lifted.

    Raises:
        InputError: it is of another dimension.
    """
    dimension = deformation_dimension(folder)
    if file.flat and dimension == 3:
        file = file.lifted()
    if file.points.shape[1] != dimension:
        raise InputError(
            f"{file.path} is {file.points.shape[1]}-D, but the deformation in {folder} is "
            f"{dimension}-D; give points with {dimension} coordinates"
        )
    return file


def deformation_dimension(folder: str) -> int:
    """Dimension of the space that a saved deformation moves, from its manifest.

    Raises:
        InputError: the folder holds something else.
    """
    arrays = files.read_manifest(folder).get("arrays", {})
    try:
        if "source_values" in arrays:  # of images
            return len(arrays["source_values"]["shape"])
        return int(arrays["source"]["shape"][1])
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise InputError(f"{folder}: holds no deformation; give the --out of a match") from error
