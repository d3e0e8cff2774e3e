"""Image files of a command: read in pairs, with their masks, and made ready for writing."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from geojax._core.errors import InputError
from geojax.io import ImageFile, as_image, is_labels, read_image

# What a match of images writes beside the moved source.
TAKEN = ("deformation.npz", "displacement.nii.gz", "jacobian.nii.gz", "jacobian.npy")

_PICTURES = ("png", "jpeg", "tiff")


def read_pair(source: str, target: str) -> tuple[ImageFile, ImageFile]:
    """Read two images that are to be matched; labels are told that they are taken for intensities.

    Raises:
        InputError: as `read_image`; a 2-D and a 3-D image; or a source whose name is taken.
    """
    first, second = read_image(source), read_image(target)
    check_together([first, second], [first])
    return first, second


def check_together(files: Sequence[ImageFile], moved: Sequence[ImageFile]) -> None:
    """Raise unless images have one dimension, and those that are moved names of their own.

    Labels are told that they are taken for intensities.

    Raises:
        InputError: a 2-D and a 3-D image; or a name that is taken.
    """
    first = files[0]
    for file in files[1:]:
        if first.values.ndim != file.values.ndim:
            raise InputError(
                f"{first.path} is {first.values.ndim}-D and {file.path} is {file.values.ndim}-D; "
                "give images of the same dimension"
            )
    for file in moved:
        if file.path.name in TAKEN:
            raise InputError(
                f"{file.path}: the moved source is written under its own name, but "
                f"{file.path.name} is that of another result; rename the file"
            )
    for file in files:
        if is_labels(file):
            warnings.warn(
                f"{file.path}: looks like labels, which are compared as intensities; match the "
                "images themselves, and move their labels by geojax apply",
                stacklevel=3,
            )


def read_mask(path: str | None, image: ImageFile, name: str) -> ImageFile | None:
    """Read the mask of an image.

    Raises:
        InputError: it lies on another grid than the image.
    """
    if path is None:
        return None
    mask = read_image(path)
    check_grid(mask, image.values.shape, image.affine, f"{name} {image.path}")
    return mask


def check_grid(file: ImageFile, grid: tuple[int, ...], affine: np.ndarray, where: str) -> None:
    """Raise unless an image lies on a grid, up to a hundredth of a voxel.

    Raises:
        InputError: another shape, or another place in the world.
    """
    if file.values.shape != tuple(grid):
        raise InputError(
            f"{file.path}: has the grid {list(file.values.shape)}, but the {where} has "
            f"{list(grid)}; resample it on that grid"
        )
    corners = np.array(np.meshgrid(*((0, n - 1) for n in grid), indexing="ij"), float)
    corners = corners.reshape(len(grid), -1)
    shift = (file.affine - affine)[:-1, :-1] @ corners + (file.affine - affine)[:-1, -1:]
    least = float(np.min(np.linalg.norm(affine[:-1, :-1], axis=0)))
    far = float(np.max(np.linalg.norm(shift, axis=0)))
    if far > 0.01 * least:
        raise InputError(
            f"{file.path}: lies elsewhere in the world than the {where} (corners are up to "
            f"{far:.3g} apart); resample it on that grid, or mend its affine"
        )


def to_image(file: ImageFile, x64: bool) -> Any:
    """The intensities of a file in the precision of the run."""
    return as_image(file, np.float64 if x64 else np.float32)


def storable(values: Any, file: ImageFile) -> np.ndarray:
    """Intensities as a file of this kind holds them: pictures of integers are rounded and cut."""
    values = np.asarray(values)
    if file.format not in _PICTURES:
        return values
    if file.format == "jpeg" or (file.format == "png" and file.values.dtype.kind == "f"):
        # those in colour are read as brightness
        return np.clip(np.rint(values), 0, 255)
    if file.values.dtype.kind == "f":
        return values
    limits = np.iinfo(file.values.dtype)
    return np.clip(np.rint(values), limits.min, limits.max).astype(file.values.dtype)


def unit(file: ImageFile) -> str:
    """Unit of the world of an image."""
    return "mm" if file.format == "nifti" else "px"
