"""Points or images: what a file holds by its ending, and the options that a match of each takes."""

import dataclasses
from pathlib import Path
from typing import Any

from geojax._core.errors import InputError
from geojax.cli.options import Match
from geojax.cli.run import Run
from geojax.io import files

# Arrays of NumPy are points here, as they were before there were images.
IMAGE_ENDINGS = (".nii", ".nii.gz", ".png", ".jpg", ".jpeg", ".tif", ".tiff")

IMAGE_FIDELITIES = ("lncc", "ssd", "nmi")
_IMAGES_ONLY = (
    *("model", "affine", "source_mask", "target_mask"),
    *("landmarks", "surfaces", "labels", "accuracy"),
)
_POINTS_ONLY = ("control_points", "merge_duplicates")
_POINTS: dict[str, Any] = {
    "kernel": "gaussian",
    "num_steps": 5,
    "max_iterations": 200,
    "tolerance": 1e-3,
}
_IMAGES: dict[str, Any] = {
    "fidelity": "lncc",
    "kernel": "gaussian",
    "model": "stationary",
    "affine": "affine",
    "max_iterations": 100,
    "tolerance": 1e-2,
}
_TIMES = 8


def is_image(path: str | Path) -> bool:
    """Whether a file is taken for an image, by its ending."""
    return Path(path).name.lower().endswith(IMAGE_ENDINGS)


def are_images(source: str, target: str) -> bool:
    """Whether both files of a pair are images.

    Raises:
        InputError: one is, and the other not.
    """
    first, second = is_image(source), is_image(target)
    if first != second:
        image, other = (source, target) if first else (target, source)
        raise InputError(
            f"{image} is an image and {other} is none; give two images "
            f"({', '.join(IMAGE_ENDINGS)}), or two files of points or meshes"
        )
    return first


def holds_image_match(folder: str | Path) -> bool:
    """Whether a folder holds a saved match of images, by its manifest.

    Raises:
        InputError, StorageError: no such folder, no manifest, or a damaged one.
    """
    return files.read_manifest(folder).get("kind") == "geojax image match"


def point_options(options: Match, run: Run | None = None) -> Match:
    """The options of a match of points or meshes, with its defaults; kept in the run's `config`.

    Raises:
        InputError: an option of images.
    """
    given = _first_given(options, _IMAGES_ONLY)
    if given is not None:
        raise InputError(
            f"{given} is for images, but {options.source} and {options.target} hold points; leave "
            "it away"
        )
    if options.fidelity in IMAGE_FIDELITIES:
        raise InputError(
            f"--fidelity {options.fidelity} compares images, but {options.source} and "
            f"{options.target} hold points; give landmarks, mmd, sinkhorn, varifold or currents"
        )
    return _filled(options, _POINTS, _IMAGES_ONLY, run)


def image_options(options: Match, run: Run | None = None) -> Match:
    """The options of a match of images, with its defaults; kept in the run's `config`.

    Raises:
        InputError: an option of points, or options that do not go together.
    """
    given = _first_given(options, _POINTS_ONLY)
    if given is not None:
        raise InputError(
            f"{given} is for points and meshes, but {options.source} and {options.target} are "
            "images; leave it away"
        )
    if options.fidelity is not None and options.fidelity not in IMAGE_FIDELITIES:
        raise InputError(
            f"--fidelity {options.fidelity} compares points or meshes, but {options.source} and "
            f"{options.target} are images; give {', '.join(IMAGE_FIDELITIES)}"
        )
    if options.kernel not in (None, "gaussian"):
        raise InputError(f"--kernel {options.kernel}: images are matched with gaussian; give that")
    options = _filled(options, _IMAGES, _POINTS_ONLY, run)
    if options.fidelity_scale is not None and options.fidelity != "lncc":
        raise InputError(
            f"--fidelity-scale is the window of lncc; --fidelity {options.fidelity} has none, so "
            "leave it away"
        )
    if options.model == "time-dependent":
        return _filled(options, {"num_steps": _TIMES}, (), run)
    if options.num_steps is not None:
        raise InputError(
            "--num-steps: a stationary velocity has no time steps; leave it away, or give --model "
            "time-dependent"
        )
    return options


def option(name: str) -> str:
    """The name of a field as it is typed."""
    return f"--{name.replace('_', '-')}"


def _first_given(options: Match, names: tuple[str, ...]) -> str | None:
    return next((option(name) for name in names if getattr(options, name) is not None), None)


def _filled(
    options: Match, defaults: dict[str, Any], unused: tuple[str, ...], run: Run | None
) -> Match:
    """Options with the defaults of their kind, as which they are written down."""
    values = {k: v for k, v in defaults.items() if getattr(options, k) is None}
    if run is not None:
        run.config |= values
        for name in unused:
            run.config.pop(name, None)
    return dataclasses.replace(options, **values)
