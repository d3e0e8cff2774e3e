"""Displacements on a grid, in the files that ITK, ANTs and 3D Slicer read.

geojax counts millimetres to the right, front and top (RAS, as NIfTI); ITK counts to the left, back
and top (LPS) and writes vectors so. The first two components change their sign on the way.
"""

from pathlib import Path
from typing import Any

import numpy as np

from geojax._core.errors import InputError
from geojax.io import files, nifti
from geojax.io.images import image_format

# NIFTI_INTENT_VECTOR, by which ITK knows vectors in its own axes.
INTENT = 1007
_SIGNS = np.array([-1.0, -1.0, 1.0])


def encode_displacement(name: str | Path, displacement: Any, affine: np.ndarray) -> bytes:
    """The bytes of a displacement file; see `write_displacement`."""
    where = str(name)
    if image_format(where) != "nifti":
        raise InputError(f"{where}: displacements are written as NIfTI; give .nii or .nii.gz")
    displacement = np.asarray(displacement)
    dimension, *grid = displacement.shape or (0,)
    if dimension not in (2, 3) or len(grid) != dimension or min(grid) < 2:
        raise InputError(
            f"{where}: a displacement has shape [d, *grid] with d = 2 or 3 and at least 2 points "
            f"along each axis, but this has {list(displacement.shape)}"
        )
    if displacement.dtype.kind not in "fiu":
        raise InputError(f"{where}: a displacement holds real numbers, not {displacement.dtype}")
    affine = nifti.checked_affine(affine, dimension, where)
    with np.errstate(over="ignore"):
        vectors = (np.moveaxis(displacement, 0, -1) * _SIGNS[:dimension]).astype(np.float32)
    _check_finite(vectors, where)
    vectors = vectors.reshape([*grid, *[1] * (4 - dimension), dimension])
    return nifti.encode(where, vectors, affine, intent=INTENT)


def write_displacement(path: str | Path, displacement: Any, affine: np.ndarray) -> None:
    """Write a displacement as the NIfTI file that ITK and ANTs take, whole or not at all.

    Args:
        path: a file that ends with .nii or .nii.gz.
        displacement: `[d, *grid]`, d = 2 or 3: where each point of the grid goes, less where it is,
            in units and axes of the world (right, front, top); written as float32.
        affine: `[d + 1, d + 1]`, from indices to the world.

    Raises:
        InputError: another ending or shape, values that are not finite in float32, or an affine
            that `geojax.shapes.Image` refuses.
        StorageError: the place cannot be written.

    Reference:
        The intent NIFTI_INTENT_VECTOR of the NIfTI-1 standard, in the axes of ITK.

    Example:
        >>> from geojax.io import encode_displacement
        >>> len(encode_displacement("field.nii", np.zeros((2, 4, 5)), np.eye(3)))
        512
    """
    files.write_bytes(path, encode_displacement(path, displacement, affine))


def read_displacement(path: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """Read a displacement that geojax, ITK or ANTs has written.

    Args:
        path: a NIfTI file `[x, y, z, 1, 3]` or `[x, y, 1, 1, 2]` of vectors (intent 1007).

    Returns:
        The displacement `[d, *grid]` in axes of the world (right, front, top) and the affine
        `[d + 1, d + 1]`.

    Raises:
        InputError: no such file, damaged, another intent or shape, or values that are not finite.
        StorageError: the file is there but cannot be read.
    """
    path = files.checked_path(path, "file")
    where = str(path)
    if image_format(where) != "nifti":
        raise InputError(f"{where}: displacements are NIfTI files; give .nii or .nii.gz")
    array, affine, header = nifti.stored(files.read_bytes(path), where)
    intent = int(header["intent_code"])
    if intent != INTENT:
        raise InputError(
            f"{where}: has the intent code {intent}, but a displacement of ITK or ANTs has "
            f"{INTENT} (vectors); give such a file"
        )
    shape = array.shape
    dimension = shape[4] if len(shape) == 5 else 0
    if dimension not in (2, 3) or set(shape[dimension:4]) != {1} or min(shape[:dimension]) < 2:
        raise InputError(
            f"{where}: has shape {list(shape)}; a displacement has [x, y, z, 1, 3] or "
            "[x, y, 1, 1, 2]"
        )
    if array.dtype.kind != "f":
        array = array.astype(np.float64)
    _check_finite(array, where)
    vectors = array.reshape([*shape[:dimension], dimension])
    if dimension == 2:
        if nifti.plane(shape[:3], affine, where) != ([0, 1], [0, 1]):
            raise InputError(
                f"{where}: its plane is not that of the first two axes of the world, in which a "
                "displacement of the plane lies; turn it"
            )
        affine = affine[np.ix_([0, 1, 3], [0, 1, 3])]
    signs = _SIGNS[:dimension].astype(array.dtype)
    displacement = np.ascontiguousarray(np.moveaxis(vectors * signs, -1, 0))
    return displacement, nifti.checked_affine(affine, dimension, where)


def _check_finite(vectors: np.ndarray, where: str) -> None:
    count = int(np.sum(~np.isfinite(vectors)))
    if count:
        raise InputError(
            f"{where}: {count:,} numbers of the displacement are not finite in {vectors.dtype}; "
            "repair them"
        )
