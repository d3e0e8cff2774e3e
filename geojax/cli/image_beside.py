"""What lies beside the images of a match: landmarks, surfaces and labels, read in pairs."""

from typing import Any

import numpy as np

from geojax._core.errors import InputError
from geojax.cli.naming import named_options
from geojax.cli.options import Match
from geojax.cli.run import Run
from geojax.io import ImageFile, PointFile, as_image, as_mesh, read_image, read_points

# Option -> what its distance is called in tables; "u" stands for the unit of the world.
TERMS = {
    "landmarks": ("distance of the landmarks, root mean square", "u"),
    "surfaces": ("distance of the surfaces, by their varifolds", ""),
    "labels": ("one minus the overlap of the labels", ""),
}

Files = dict[str, tuple[Any, Any]]


def read(options: Match, dimension: int, run: Run) -> Files:
    """The files of each option that is given.

    Raises:
        InputError: not two files, or some of another dimension than the images.
    """
    read: Files = {}
    for name in TERMS:
        paths = getattr(options, name)
        if paths is None:
            continue
        if len(paths) != 2:
            raise InputError(
                f"--{name}: takes a file of the source and one of the target, but is given "
                f"{len(paths)}"
            )
        reader = _labels if name == "labels" else _points
        read[name] = reader(paths[0], dimension), reader(paths[1], dimension)
        for path in paths:
            run.add_input(path)
    if options.accuracy is not None and not read.keys() - {"labels"}:
        raise InputError("--accuracy is that of --landmarks or --surfaces; give one of them")
    return read


def pairs(read: Files, options: Match, images: dict[str, Any]) -> dict[str, Any]:
    """What `match_images` takes beside the images, which it was checked against.

    Raises:
        InputError: files of a pair that do not go together, or with the images.
    """
    found = {}
    for name, (source, target) in read.items():
        files = {"source": str(source.path), "target": str(target.path)}
        with named_options(options, files):
            pair = _pair(name, source, target, options)
            pair.check(images["source"], images["target"])
        found[name] = pair
    return found


def figures(found: Any) -> dict[str, Any]:
    """Distances before and after, by the names of the options."""
    told = {}
    for name, before, after in found.beside:
        told |= {f"{name}_before": before, f"{name}_after": after}
    return told


def labels() -> dict[str, tuple[str, str]]:
    """What the figures are called."""
    told = {}
    for name, (text, symbol) in TERMS.items():
        told[f"{name}_before"] = f"{text}, before", symbol
        told[f"{name}_after"] = f"{text}, after", symbol
    return told


def _pair(name: str, source: Any, target: Any, options: Match) -> Any:
    from geojax.matching import LabelPair, LandmarkPair, ShapePair

    if name == "labels":
        # labels of floating-point files are integers by now
        known = (file.values.astype(np.int64) for file in (source, target))
        images = (ImageFile(f.path, k, f.affine) for f, k in zip((source, target), known))
        return LabelPair(*map(as_image, images))
    if name == "landmarks":
        points = (file.points.astype(np.float64) for file in (source, target))
        return LandmarkPair(*points, sigma=options.accuracy)
    dtype = np.float64 if options.x64 else np.float32
    meshes = (as_mesh(file, file.points.astype(dtype)) for file in (source, target))
    return ShapePair(*meshes, sigma=options.accuracy)


def _points(path: str, dimension: int) -> PointFile:
    file = read_points(path)
    if file.flat and dimension == 3:
        file = file.lifted()
    _check(file.path, file.points.shape[1], dimension)
    return file


def _labels(path: str, dimension: int) -> ImageFile:
    file = read_image(path)
    _check(file.path, file.values.ndim, dimension)
    broken = file.values[file.values != np.rint(file.values)]
    if broken.size:
        raise InputError(f"{file.path}: holds {broken[0]:g}, and labels are integers; give labels")
    return file


def _check(path: Any, given: int, dimension: int) -> None:
    if given != dimension:
        raise InputError(f"{path} is {given}-D, but the images are {dimension}-D")
