"""Points or images: what a file holds by its ending, and the options that a match of each takes."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from geojax._core.errors import InputError
from geojax.cli.options import Atlas, Match
from geojax.cli.run import Run
from geojax.io import files

# Arrays of NumPy are points here, as they were before there were images.
IMAGE_ENDINGS = (".nii", ".nii.gz", ".png", ".jpg", ".jpeg", ".tif", ".tiff")

# What stands for a template that starts as the mean of the subjects.
MEAN = "-"

IMAGE_FIDELITIES = ("lncc", "ssd", "nmi")
_IMAGES_ONLY = (
    *("model", "intensity_price", "factors", "affine", "source_mask", "target_mask"),
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
# Time steps of the models that have them.
_TIMES = {"time-dependent": 8, "shooting": 10, "metamorphosis": 10}
# Options of an atlas: of images only, of points only, and the defaults of each kind.
_ATLAS_IMAGES_ONLY = ("rounds", "model", "intensity_price", "factors", "affine")
_ATLAS_POINTS_ONLY = ("control_points", "estimate_control_points", "keep_template")
_ATLAS_POINTS: dict[str, Any] = {"max_iterations": 1000, "num_steps": 5, "tolerance": 1e-3}
_ATLAS_IMAGES: dict[str, Any] = {
    "fidelity": "lncc",
    "model": "stationary",
    "affine": "affine",
    "rounds": 4,
    "max_iterations": 100,
    "tolerance": 1e-2,
}

AnyOptions = TypeVar("AnyOptions", Match, Atlas)


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


def all_images(paths: Sequence[str]) -> bool:
    """Whether all files are images.

    Raises:
        InputError: one is, and another not.
    """
    for path in paths[1:]:
        are_images(paths[0], path)
    return is_image(paths[0])


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
    names = f"{options.source} and {options.target}"
    return _image_options(options, names, _POINTS_ONLY, _IMAGES, run)


def atlas_point_options(options: Atlas, run: Run | None = None) -> Atlas:
    """The same for an atlas of points or meshes.

    Raises:
        InputError: an option of images.
    """
    if options.template == MEAN:
        raise InputError(
            f"{MEAN}: the mean of the subjects is a template of images only; give a file as "
            "TEMPLATE"
        )
    given = _first_given(options, _ATLAS_IMAGES_ONLY)
    if given is None and options.fidelity in IMAGE_FIDELITIES:
        given = f"--fidelity {options.fidelity}"
    if given is not None:
        raise InputError(f"{given} is for images, but {options.template} is none; leave it away")
    return _filled(options, _ATLAS_POINTS, _ATLAS_IMAGES_ONLY, run)


def atlas_image_options(options: Atlas, run: Run | None = None) -> Atlas:
    """The same for an atlas of images.

    Raises:
        InputError: an option of points, or options that do not go together.
    """
    return _image_options(
        options, " and ".join(options.subjects[:2]), _ATLAS_POINTS_ONLY, _ATLAS_IMAGES, run
    )


def _image_options(
    options: AnyOptions,
    names: str,
    points_only: tuple[str, ...],
    defaults: dict[str, Any],
    run: Run | None,
) -> AnyOptions:
    given = _first_given(options, points_only)
    if given is not None:
        raise InputError(f"{given} is for points and meshes, but {names} are images; leave it away")
    if options.fidelity is not None and options.fidelity not in IMAGE_FIDELITIES:
        raise InputError(
            f"--fidelity {options.fidelity} compares points or meshes, but {names} are images; "
            f"give {', '.join(IMAGE_FIDELITIES)}"
        )
    if options.kernel not in (None, "gaussian"):
        raise InputError(f"--kernel {options.kernel}: images are matched with gaussian; give that")
    options = _filled(options, defaults, points_only, run)
    if options.fidelity_scale is not None and options.fidelity != "lncc":
        raise InputError(
            f"--fidelity-scale is the window of lncc; --fidelity {options.fidelity} has none, so "
            "leave it away"
        )
    if (options.model == "metamorphosis") != (options.intensity_price is not None):
        raise InputError(
            "--intensity-price goes with --model metamorphosis, and that needs it; give both or "
            "neither"
        )
    assert options.model is not None, "there is a default"
    if options.model in _TIMES:
        return _filled(options, {"num_steps": _TIMES[options.model]}, (), run)
    if options.num_steps is not None:
        raise InputError(
            "--num-steps: a stationary velocity has no time steps; leave it away, or give --model "
            "time-dependent"
        )
    return options


def option(name: str) -> str:
    """The name of a field as it is typed."""
    return f"--{name.replace('_', '-')}"


def _first_given(options: Match | Atlas, names: tuple[str, ...]) -> str | None:
    # flags and lists are never None
    given = (name for name in names if getattr(options, name) not in (None, False, ()))
    return next(map(option, given), None)


def _filled(
    options: AnyOptions, defaults: dict[str, Any], unused: tuple[str, ...], run: Run | None
) -> AnyOptions:
    """Options with the defaults of their kind, as which they are written down."""
    values = {k: v for k, v in defaults.items() if getattr(options, k) is None}
    if run is not None:
        run.config |= values
        for name in unused:
            run.config.pop(name, None)
    return dataclasses.replace(options, **values)
