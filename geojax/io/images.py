"""Image files: read, checked, and written back in the format they came in.

Formats by ending: see `IMAGE_FORMATS`. NIfTI has its place in the world (millimetres to the right,
front and top); of all others the array's own indices are the world. Nothing is turned or resampled
on the way: axes are those of the array in the file, `[rows, columns]` for pictures.
"""

import difflib
import io
import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from geojax._core.errors import InputError
from geojax.io import files, nifti, npy, pictures

if TYPE_CHECKING:
    from geojax.shapes.images import Image

IMAGE_FORMATS: dict[str, str] = {
    ".nii": "nifti",
    ".nii.gz": "nifti",
    ".png": "png",
    ".jpg": "jpeg",
    ".jpeg": "jpeg",
    ".tif": "tiff",
    ".tiff": "tiff",
    ".npy": "npy",
    ".npz": "npz",
}
# Labels are integers of few kinds; floats are taken for them only where there are fewer still.
MOST_LABELS = 64
MOST_FLOAT_LABELS = 16
_ARRAY_NAMES = ("image", "values", "volume")
_INTEGERS = (np.uint8, np.int8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64)


@dataclass(frozen=True)
class ImageFile:
    """The numbers of an image file, and what else it takes to write the file again.

    Attributes:
        path: where it was read.
        values: `[*grid]`, d = 2 or 3 axes: float32 or float64, or the integers of the file.
        affine: `[d + 1, d + 1]`, from indices to the world, float64.
        header: what the format keeps beside: the header of a NIfTI file, the palette of a picture,
            the name of the array and the other arrays of an archive.
    """

    path: Path
    values: np.ndarray
    affine: np.ndarray
    header: Any = None

    @property
    def format(self) -> str:
        """The format, one of the values of `IMAGE_FORMATS`."""
        return image_format(self.path)


def image_format(path: str | Path) -> str:
    """The format that an ending stands for.

    Raises:
        InputError: the ending is none of the known ones.
    """
    name = Path(path).name.lower()
    for ending, kind in IMAGE_FORMATS.items():
        if name.endswith(ending):
            return kind
    ending = Path(name).suffix
    close = difflib.get_close_matches(ending, list(IMAGE_FORMATS), n=1, cutoff=0.5)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    raise InputError(
        f"{path}: the ending {ending or '(none)'!r} is no image format{hint}; use one of "
        f"{', '.join(IMAGE_FORMATS)}"
    )


def read_image(path: str | Path) -> ImageFile:
    """Read and check an image file: NIfTI, PNG, JPEG, TIFF, or an array of NumPy.

    NIfTI values are scaled as the header says; its affine is the sform, or else the qform. Trailing
    axes of length 1 are dropped, and a single slice in a plane of two axes of the world is an image
    of the plane. Colours become luminance (float32) and transparency is left out, both with a
    warning; pictures with a palette are read as its integers.

    Args:
        path: the file; `archive.npz:name` picks an array of an archive.

    Returns:
        Its values and affine.

    Raises:
        InputError: unknown ending, no such file, damaged, several frames, too large for its bytes,
            NaN or infinite values, or an affine that `geojax.shapes.Image` refuses.
        StorageError: the file is there but cannot be read.

    Example:
        >>> import pathlib, tempfile
        >>> from geojax.io import read_image, write_image
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder) / "mask.png"
        ...     write_image(path, np.array([[0, 1, 2], [3, 4, 5]]))
        ...     read_image(path).values.tolist()
        [[0, 1, 2], [3, 4, 5]]
    """
    path, key = npy.split_key(path)
    where, kind = str(path), image_format(path)
    data = files.read_bytes(path)
    if not data:
        raise InputError(f"{where}: is empty; save the image again")
    affine = header = None
    if kind == "nifti":
        values, affine, header = nifti.decode(data, where)
    elif kind == "npy":
        values = npy.read_array(io.BytesIO(data), len(data), where)
    elif kind == "npz":
        arrays = npy.read_npz_bytes(data, where)
        key = _chosen(arrays, where, key)
        values, header = arrays[key], (key, arrays)
        where = f"{where}:{key}"
    else:
        values, header = pictures.decode(data, where, kind)
    values = _checked(values, where)
    return ImageFile(path, values, nifti.checked_affine(affine, values.ndim, where), header)


def as_image(file: ImageFile, dtype: Any = None) -> "Image":
    """The image of a file that was read.

    Args:
        file: what `read_image` read.
        dtype: a type to cast the values to, such as float32; that of the file by default.

    Raises:
        InputError: the type, or JAX without 64 bits, does not hold the values.

    Example:
        >>> from geojax.io import ImageFile, as_image
        >>> from pathlib import Path
        >>> file = ImageFile(Path("a.png"), np.ones((4, 5), np.uint8), np.eye(3))
        >>> as_image(file, np.float32).values.dtype
        dtype('float32')
    """
    import jax

    from geojax.shapes.images import Image

    values = file.values
    wanted = np.dtype(values.dtype if dtype is None else dtype)
    if wanted.kind in "iu":
        wanted = np.dtype(jax.dtypes.canonicalize_dtype(wanted))
        low, high = values.min(), values.max()
        if low < np.iinfo(wanted).min or high > np.iinfo(wanted).max:
            raise InputError(
                f"{file.path}: {wanted} does not hold its values {low} to {high}; give another "
                "dtype, or use `--x64`"
            )
        if values.dtype.kind == "f" and np.any(values != np.rint(values)):
            raise InputError(f"{file.path}: holds fractions; give a floating dtype")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            image = Image(values.astype(wanted), file.affine)
        except InputError as error:
            raise InputError(_named(error, file)) from error
    for note in caught:
        warnings.warn(_named(note.message, file), note.category, stacklevel=2)
    return image


def is_labels(file: ImageFile | np.ndarray) -> bool:
    """Whether values look like labels: integers with few distinct values.

    Integers count with at most 64 distinct values, floats that are all integers with at most 16.

    Args:
        file: what `read_image` read, or its values.

    Example:
        >>> is_labels(np.array([[0.0, 1.0], [2.0, 2.0]])), is_labels(np.array([[0.0, 0.5]]))
        (True, False)
    """
    values = file.values if isinstance(file, ImageFile) else np.asarray(file)
    most = MOST_FLOAT_LABELS if values.dtype.kind == "f" else MOST_LABELS
    # Most images are told from a few of their values, without sorting them all.
    flat = values.reshape(-1)
    for part in (flat[:: 1 + flat.size // 4096], flat):
        if part.dtype.kind == "f" and np.any(part != np.rint(part)):
            return False
        if len(np.unique(part)) > most:
            return False
    return True


def encode_image(
    name: str | Path,
    values: Any,
    *,
    like: ImageFile | None = None,
    affine: np.ndarray | None = None,
) -> bytes:
    """The bytes of an image file, in the format of the ending of `name`; see `write_image`."""
    path, key = npy.split_key(name)
    where, kind = str(path), image_format(path)
    values = _checked(np.asarray(values), where)
    if affine is None and like is not None:
        if values.shape != like.values.shape:
            raise InputError(
                f"{where}: values {list(values.shape)} cannot take the place of the "
                f"{list(like.values.shape)} of {like.path}; give their affine"
            )
        affine = like.affine
    affine = nifti.checked_affine(affine, values.ndim, where)
    header = like.header if like is not None and like.format == kind else None
    if kind != "nifti" and np.any(affine != np.eye(len(affine))):
        warnings.warn(
            f"{where}: {kind.upper()} holds no affine, so the image loses its place in the world; "
            "write .nii.gz to keep it",
            stacklevel=2,
        )
    if kind in _PICTURES:
        if kind == "jpeg" and values.dtype.kind != "f" and is_labels(values):
            raise InputError(
                f"{where}: JPEG changes values, which spoils labels; write .png or .nii.gz"
            )
        deep = np.uint16 in (values.dtype, None if like is None else like.values.dtype)
        return pictures.encode(where, values, kind, header, deep)
    values = _narrow(values, where)
    if kind == "nifti":
        return nifti.encode(where, values, affine, header)
    stream = io.BytesIO()
    if kind == "npy":
        np.save(stream, values, allow_pickle=False)
    else:
        old, others = header if header is not None else ("image", {})
        np.savez(stream, allow_pickle=False, **{**others, key or old: values})
    return stream.getvalue()


def write_image(
    path: str | Path,
    values: Any,
    *,
    like: ImageFile | None = None,
    affine: np.ndarray | None = None,
) -> None:
    """Write an image whole or not at all; the same values give the same bytes.

    Floats are written as float32, integers in the smallest type that holds them. PNG (8 bits, or 16
    if `like` or the values are uint16) and JPEG (8 bits) hold integers, to which floats are
    rounded; nothing is cut off.

    Args:
        path: the file; its ending says the format. `archive.npz:name` names the array.
        values: `[*grid]` in 2 or 3 dimensions, floats or integers.
        like: an image that was read; of the same format its units, codes of the transforms,
            description, palette or other arrays are kept.
        affine: `[d + 1, d + 1]`; that of `like` by default (then the grids must be the same), or
            else the indices. Formats other than NIfTI do not hold it, which is warned about.

    Raises:
        InputError: unknown ending, values that are not finite or that the format does not hold, or
            an affine that `geojax.shapes.Image` refuses.
        StorageError: the place cannot be written.

    Example:
        >>> import pathlib, tempfile
        >>> from geojax.io import read_image, write_image
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder) / "image.npy"
        ...     write_image(path, np.eye(2))
        ...     read_image(path).values.dtype
        dtype('float32')
    """
    data = encode_image(path, values, like=like, affine=affine)
    files.write_bytes(npy.split_key(path)[0], data)


_PICTURES = frozenset({"png", "jpeg", "tiff"})


def _chosen(arrays: dict[str, np.ndarray], where: str, key: str | None) -> str:
    """The name of the array that holds the image."""
    if key is not None:
        if key not in arrays:
            raise InputError(f"{where}: has no array {key!r}; it has {', '.join(arrays) or 'none'}")
        return key
    named = [name for name in _ARRAY_NAMES if name in arrays]
    grids = [name for name, array in arrays.items() if array.ndim in (2, 3)]
    for names in (named, grids, list(arrays)):
        if len(names) == 1:
            return names[0]
    if not arrays:
        raise InputError(f"{where}: holds no arrays; save one named 'image'")
    raise InputError(
        f"{where}: holds several arrays ({', '.join(arrays)}); say which one, as "
        f"{where}:{next(iter(named or grids or arrays))}, or name it 'image'"
    )


def _checked(values: np.ndarray, where: str) -> np.ndarray:
    """Values of a type that JAX has, after checks of type, shape and content."""
    if values.dtype.kind not in "biuf":
        raise InputError(f"{where}: has dtype {values.dtype}; an image holds real numbers")
    if values.ndim not in (2, 3) or min(values.shape) < 2:
        raise InputError(
            f"{where}: has shape {list(values.shape)}; an image has at least 2 entries along each "
            "of 2 or 3 axes"
        )
    if values.dtype.kind != "f":
        kind = np.dtype(np.uint8) if values.dtype.kind == "b" else values.dtype.newbyteorder("=")
        return values.astype(kind, copy=False)
    bad = ~np.isfinite(values)
    count = int(np.sum(bad))
    if count:
        first = [int(k) for k in np.argwhere(bad)[0]]
        raise InputError(
            f"{where}: {count:,} of {values.size:,} voxels are NaN or infinite (the first is "
            f"{first}); give them a value, such as 0 for the background: numpy.nan_to_num"
        )
    return values.astype(np.float64 if values.dtype.itemsize >= 8 else np.float32, copy=False)


def _narrow(values: np.ndarray, where: str) -> np.ndarray:
    """Floats as float32, integers in the smallest type that holds them."""
    low, high = values.min(), values.max()
    if values.dtype.kind == "f":
        limit = np.finfo(np.float32).max
        if low < -limit or high > limit:
            raise InputError(f"{where}: float32 does not hold {low:g} to {high:g}; rescale them")
        return values.astype(np.float32)
    low, high = int(low), int(high)
    fitting = (t for t in _INTEGERS if np.iinfo(t).min <= low and high <= np.iinfo(t).max)
    return values.astype(next(fitting))


def _named(message: object, file: ImageFile) -> str:
    """The file in place of an argument."""
    return re.sub(r"^Argument values\b", f"{file.path}:", str(message))
