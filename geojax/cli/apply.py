"""`geojax apply`: move other points by a deformation that was saved."""

from pathlib import Path
from typing import Any

import numpy as np

from geojax._core.errors import InputError, NumericalError
from geojax.cli import points as point_files
from geojax.cli.options import Apply
from geojax.cli.run import Run
from geojax.io import PointFile, encode_points, files, read_points


def run(options: Apply, run: Run) -> dict[str, Any]:
    """Read both, move, and write the moved file in the format it came in."""
    file = read_points(options.points)
    files.verify(options.run)
    file = in_dimension(file, options.run)
    from geojax.matching import load_match

    (points,) = point_files.to_precision([file], options.x64)
    run.add_input(file.path)
    run.add_input(Path(options.run) / files.MANIFEST)
    default = Path(options.run) / (f"{file.path.stem}-{'back' if options.inverse else 'moved'}")
    found = load_match(options.run)
    run.claim(options.out if options.out is not None else default)
    run.progress(f"moving {len(points)} points")
    moved = moved_points(found, file, points, inverse=options.inverse)
    path = run.write(file.path.name, encode_points(file.path.name, moved, like=file))
    run.clear_progress()
    print(path)
    return displacements(points, moved) | {"file": str(path)}


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
        return int(arrays["source"]["shape"][1])
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise InputError(f"{folder}: holds no deformation; give the --out of a match") from error
