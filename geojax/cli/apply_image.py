"""`geojax apply` by a deformation of images: moves images, labels, points and meshes."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from geojax._core.errors import InputError
from geojax.cli import apply, image_files, kinds
from geojax.cli.match_image import encode_moved
from geojax.cli.options import Apply
from geojax.cli.run import Run
from geojax.io import ImageFile, PointFile, as_image, encode_image, encode_points, files
from geojax.io.images import is_labels, read_image

_ORDERS = {"nearest": 0, "linear": 1, "cubic": 3}


def run(options: Apply, run: Run) -> dict[str, Any]:
    """Read an image, move it to the other grid, and write it in the format it came in."""
    if options.labels and options.order not in (None, "nearest"):
        raise InputError(
            f"--labels: labels are moved by --order nearest, not {options.order}; leave one away"
        )
    file = read_image(options.points)
    found = load(options.run)
    d = found.source.dimension
    if file.values.ndim != d:
        raise InputError(
            f"{file.path} is {file.values.ndim}-D, but the deformation in {options.run} is {d}-D; "
            f"give an image with {d} axes"
        )
    labels = options.labels
    if options.order is None and not labels and is_labels(file):
        labels = True
        run.clear_progress()
        print(
            f"{file.path}: looks like labels, which are moved by the nearest voxel; --order linear "
            "takes it for intensities"
        )
    order = "nearest" if labels else options.order or "linear"
    run.config["order"] = order
    run.config["labels"] = labels
    run.add_input(file.path)
    run.add_input(Path(options.run) / files.MANIFEST)
    name = file.path.name
    stem = name[: -len(".nii.gz")] if name.lower().endswith(".nii.gz") else file.path.stem
    if labels:
        check_labels(file)
    image = None if labels else image_files.to_image(file, options.x64)
    run.claim(apply.folder_of(options, stem))
    run.progress(f"moving {name}")
    if image is None:
        values, affine = moved_labels(found, file, inverse=options.inverse)
        data = encode_image(name, values, like=file, affine=affine)
    else:
        moved = found.warp(image, inverse=options.inverse, order=_ORDERS[order])
        values, affine = np.asarray(moved.values), moved.affine
        data = encode_moved(values, file, None, affine)
    if np.any(file.values) and not np.any(values):
        warnings.warn(
            f"{file.path}: nothing of it lies on the grid of the "
            f"{'source' if options.inverse else 'target'} after the move; is it in the world of "
            f"the {'target' if options.inverse else 'source'}?",
            stacklevel=2,
        )
    path = run.write(name, data)
    run.clear_progress()
    print(path)
    return {"grid": list(values.shape), "order": order, "labels": labels, "file": str(path)}


def run_points(options: Apply, run: Run, file: PointFile) -> dict[str, Any]:
    """Move the points of a file, which are coordinates of the world."""
    found = load(options.run)
    run.add_input(file.path)
    run.add_input(Path(options.run) / files.MANIFEST)
    run.claim(apply.folder_of(options, file.path.stem))
    run.progress(f"moving {len(file.points)} points")
    points = file.points.astype(np.float64)
    moved = apply.moved_points(found, file, points, inverse=options.inverse)
    data = encode_points(file.path.name, moved.astype(file.points.dtype), like=file)
    path = run.write(file.path.name, data)
    run.clear_progress()
    print(path)
    return apply.displacements(points, moved) | {"file": str(path)}


def load(folder: str) -> Any:
    """Load a deformation of images.

    Raises:
        InputError: the folder holds something else.
        StorageError: it is damaged.
    """
    files.verify(folder)
    if not kinds.holds_image_match(folder):
        raise InputError(
            f"{folder}: holds no match of images; give the --out of geojax match on two images"
        )
    from geojax.matching import load_image_match

    return load_image_match(folder)


def check_labels(file: ImageFile) -> None:
    """Raise unless all values are integers.

    Raises:
        InputError: naming the first that is none.
    """
    values = file.values
    bad = np.argwhere(values != np.rint(values))
    if len(bad):
        index = tuple(int(i) for i in bad[0])
        raise InputError(
            f"{file.path}: holds {values[index]:g} at {list(index)}, and labels are integers; give "
            "--order linear for intensities"
        )


def moved_labels(
    found: Any, file: ImageFile, *, inverse: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Labels on the other grid, and its affine; 0 where the image does not reach."""
    # Numbers of labels may be too large for single precision; their places in a list are not.
    known = np.unique(file.values)
    known = known if 0 in known else np.unique(np.append(known, known.dtype.type(0)))
    codes = np.searchsorted(known, file.values).astype(np.int32)
    background = float(np.searchsorted(known, 0))
    image = as_image(ImageFile(file.path, codes, file.affine))
    moved = found.warp(image, inverse=inverse, order=0, fill=background)
    return known[np.asarray(moved.values)], moved.affine
