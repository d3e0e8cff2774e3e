"""NIfTI images (`.nii`, `.nii.gz`): read without trusting their headers, and written.

nibabel knows the fields of the header; the numbers are taken from the bytes here, after the claim
of the header is held against them. nibabel's own mending of headers is not asked for: it would set
a spacing of 0 to 1 without a word.
"""

import contextlib
import gzip
import importlib
import io
import re
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from geojax._core.errors import InputError
from geojax.io.npy import MAX_RATIO, MAX_UNCHECKED_BYTES

# A slice lies in a plane of two axes of the world if no edge of a pixel leaves it by more.
_TILT = 1e-3
_LARGEST_NIFTI1 = 32767
_CODES, _ALIGNED = range(6), 2
_KEPT = (
    *("descrip", "aux_file", "xyzt_units", "toffset", "srow_x", "srow_y", "srow_z"),
    *("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"),
    *("intent_code", "intent_name", "intent_p1", "intent_p2", "intent_p3"),
)
# Masks of few voxels are packed a thousandfold, so small files may swell so far.
_MAX_SWOLLEN_BYTES = 1 << 30


def decode(data: bytes, where: str) -> tuple[np.ndarray, np.ndarray, Any]:
    """Read a NIfTI image of one frame.

    Args:
        data: the bytes of the file, compressed or not.
        where: its name, for messages.

    Returns:
        Values `[*grid]` in 2 or 3 dimensions, affine `[d + 1, d + 1]`, and nibabel's header.

    Raises:
        InputError: no NIfTI, damaged, cut off, several frames, colours or complex numbers, or one
            slice that is tilted in the world.
    """
    array, affine, header = stored(data, where)
    if any(size != 1 for size in array.shape[3:]):
        vectors = int(header["intent_code"]) == 1007
        raise InputError(
            f"{where}: has shape {list(array.shape)}, "
            + (
                "vectors of a displacement; read it with read_displacement"
                if vectors
                else "several frames; save the one that is meant, such as image.slicer[..., 0] of "
                "nibabel"
            )
        )
    grid = (*array.shape[:3], 1, 1)[:3]
    if sum(size == 1 for size in grid) > 1:
        raise InputError(
            f"{where}: has shape {list(array.shape)}; an image has at least 2 entries along each "
            "of 2 or 3 axes"
        )
    if 1 not in grid:
        return array.reshape(grid), affine, header
    rows, columns = plane(grid, affine, where)
    values = array.reshape([grid[k] for k in columns])
    return values, affine[np.ix_([*rows, 3], [*columns, 3])], header


def encode(
    name: str, values: np.ndarray, affine: np.ndarray, header: Any = None, intent: int = 0
) -> bytes:
    """The bytes of a NIfTI image.

    Args:
        name: its name, of which only the ending counts: `.gz` compresses, to the same bytes always.
        values: `[*grid]` or, for vectors, `[x, y, z, 1, d]`, in the type that is written.
        affine: `[d + 1, d + 1]`.
        header: nibabel's header of a file that was read: units, codes of the transforms,
            description and extensions are kept, and the plane of a single slice.
        intent: NIfTI's code of what floats mean; integers keep that of the header.
    """
    nibabel = _nibabel(name)
    header = _kept(header, nibabel)
    shape = values.shape
    full = np.eye(4)
    if len(affine) == 4:
        full[:] = affine
    else:
        rows, columns = [0, 1], [0, 1]
        grid = (*header.get_data_shape()[:3], 1, 1)[:3]
        if values.ndim == 2 and sum(size == 1 for size in grid) == 1:
            full[:] = _best_affine(header)
            rows, columns = plane(grid, full, name)
            sizes = dict(zip(columns, values.shape))
            if 2 in columns or len(header.get_data_shape()) > 2:
                shape = tuple(sizes.get(k, 1) for k in range(3))
        full[np.ix_([*rows, 3], [*columns, 3])] = affine
    if max(shape) > _LARGEST_NIFTI1 and not isinstance(header, nibabel.Nifti2Header):
        header = nibabel.Nifti2Header.from_header(header, check=False)
    header.set_data_shape(shape)
    header.set_data_dtype(values.dtype)
    if not np.array_equal(full, _best_affine(header)):
        codes = [int(header[f"{form}form_code"]) for form in "sq"]
        # A header that says nothing gets both, as different programs look at different ones.
        header.set_qform(full, code=codes[1] if any(codes) else 1)
        header.set_sform(full, code=codes[0] or codes[1] or 1)
    spacing = np.linalg.norm(full[:3, :3], axis=0)[: len(shape)]
    if not np.allclose(header.get_zooms()[:3], spacing, rtol=1e-3, atol=0):
        header.set_zooms([*spacing, *header.get_zooms()[3:]])
    if values.dtype.kind == "f":
        header.set_intent(intent)
    second = isinstance(header, nibabel.Nifti2Header)
    kind = nibabel.Nifti2Image if second else nibabel.Nifti1Image
    data = kind(values.reshape(shape), None, header, dtype=values.dtype).to_bytes()
    return gzip.compress(data, 6, mtime=0) if name.lower().endswith(".gz") else data


def _kept(header: Any, nibabel: Any) -> Any:
    """A new header with what is kept of one that was read, and nothing that nibabel would refuse.

    The range of display, for one, belongs to the old values.
    """
    if header is None:
        new = nibabel.Nifti1Header()
        new.set_xyzt_units("mm")
        return new
    second = isinstance(header, nibabel.Nifti2Header)
    new = (nibabel.Nifti2Header if second else nibabel.Nifti1Header)()
    for name in _KEPT:
        new[name] = header[name]
    for name in ("qform_code", "sform_code"):
        code = int(header[name])
        new[name] = code if code in _CODES else _ALIGNED
    spacings = np.array(header["pixdim"])
    spacings[~(np.isfinite(spacings) & (spacings > 0))] = 1
    spacings[0] = -1 if header["pixdim"][0] == -1 else 1
    new.set_data_shape(header.get_data_shape())
    new["pixdim"] = spacings
    new.extensions.extend(header.extensions)
    return new


def stored(data: bytes, where: str) -> tuple[np.ndarray, np.ndarray, Any]:
    """The array of a NIfTI file with all its axes, the affine `[4, 4]` and nibabel's header."""
    with _named(where):
        data, header, shape, dtype, start = _unpacked(data, where)
        count = int(np.prod(shape, dtype=object))
        array = np.frombuffer(data, dtype, count, start).reshape(shape, order="F")
        if dtype.kind == "f" and dtype.itemsize > 8:
            array = array.astype(np.float64)
        array = np.ascontiguousarray(array, array.dtype.newbyteorder("="))
        return _scaled(array, *header.get_slope_inter()), _best_affine(header), header


def checked_affine(affine: Any, dimension: int, where: str) -> np.ndarray:
    """An affine `[d + 1, d + 1]` that an `Image` takes, or its error with the file's name."""
    from geojax.shapes.images import Image

    try:
        return Image(np.zeros((2,) * dimension, np.uint8), affine).affine
    except InputError as error:
        text = re.sub(r"^Argument affine\b", f"{where}: its affine", str(error))
        raise InputError(text) from error


def plane(grid: tuple[int, ...], affine: np.ndarray, where: str) -> tuple[list[int], list[int]]:
    """The axes of the world (rows of the affine) and of the grid (columns) of a single slice.

    Raises:
        InputError: the slice is tilted in the world, or the affine is not finite.
    """
    columns = [k for k in range(3) if grid[k] != 1]
    axes = affine[:3, columns]
    lengths = np.linalg.norm(axes, axis=0)
    if not np.all(np.isfinite(affine)):
        raise InputError(f"{where}: its affine is not finite; repair the header")
    tilts = np.max(np.abs(axes) / np.where(lengths > 0, lengths, 1.0), axis=1)
    normal = int(np.argmin(tilts))
    if tilts[normal] > _TILT:
        raise InputError(
            f"{where}: has a single slice, which is tilted in the world; give the whole volume, or "
            "save the slice with an affine along the axes"
        )
    return [k for k in range(3) if k != normal], columns


def _nibabel(where: str):
    try:
        return importlib.import_module("nibabel")
    except ImportError as error:
        raise InputError(
            f"{where}: NIfTI files need the package 'nibabel', which is not installed; install it "
            "with: pip install 'geojax-engine[io]'"
        ) from error


@contextlib.contextmanager
def _named(where: str) -> Iterator[None]:
    """What damage makes of a reader, as one error that names the file."""
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except InputError:
        raise
    except Exception as error:  # gzip, struct and nibabel raise many kinds on damaged files
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise InputError(f"{where}: is no readable NIfTI file ({reason}); save it again") from error


def _unpacked(data: bytes, where: str) -> tuple[bytes, Any, tuple[int, ...], np.dtype, int]:
    """The bytes as far as they are needed, the header, and shape, type and place of the numbers."""
    packed = data[:2] == b"\x1f\x8b"
    stream = gzip.GzipFile(fileobj=io.BytesIO(data)) if packed else io.BytesIO(data)
    head = _read(stream, 544)
    kind = _header_class(head, where)
    size = kind.template_dtype.itemsize
    header = kind(head[:size], check=False)
    dtype = header.get_data_dtype()
    if dtype.kind not in "iuf":
        what = "colours" if dtype.names else f"numbers of type {dtype}"
        raise InputError(f"{where}: holds {what}; save one real number for each voxel")
    # The standard says: not set means 1.
    if header["pixdim"][0] == 0:
        header["pixdim"][0] = 1
    shape = tuple(int(k) for k in header.get_data_shape())
    start = header.get_data_offset()
    if min(shape, default=0) < 1 or not size <= start < 1 << 31:
        raise InputError(
            f"{where}: its header claims shape {list(shape)}, from byte {start} on; save it again"
        )
    claimed = start + int(np.prod(shape, dtype=object)) * dtype.itemsize
    if packed and claimed > max(_MAX_SWOLLEN_BYTES, MAX_RATIO * len(data)):
        raise InputError(
            f"{where}: claims shape {list(shape)}, {claimed:,} bytes in {len(data):,} compressed "
            "ones; save it uncompressed, as .nii"
        )
    if packed:
        data = head + _read(stream, claimed - len(head))
        _read(stream, MAX_UNCHECKED_BYTES, keep=False)  # to the check sum at the end
    if len(data) < claimed:
        raise InputError(
            f"{where}: its header claims shape {list(shape)} of {dtype} ({claimed:,} bytes), but "
            f"the file holds {len(data):,}; it is cut off or damaged, save it again"
        )
    header.extensions = kind.from_fileobj(io.BytesIO(data[:start]), check=False).extensions
    return data, header, shape, dtype, start


def _header_class(head: bytes, where: str):
    """nibabel's class for a header, told from its size and magic."""
    nibabel = _nibabel(where)
    sizes = [int.from_bytes(head[:4], order) for order in ("little", "big")]
    if 348 in sizes and head[344:348] == b"n+1\0":
        return nibabel.Nifti1Header
    if 540 in sizes and head[4:8] == b"n+2\0":
        return nibabel.Nifti2Header
    if 348 in sizes or 540 in sizes:
        raise InputError(
            f"{where}: is an Analyze image or half of a pair (.hdr, .img); save it as one .nii"
        )
    raise InputError(f"{where}: is no NIfTI file; give one, or save the image as NIfTI")


def _read(stream: Any, size: int, keep: bool = True) -> bytes:
    """At most so many bytes, without taking the memory before they are there."""
    parts = []
    while size > 0 and (part := stream.read(min(size, 1 << 20))):
        size -= len(part)
        if keep:
            parts.append(part)
    return b"".join(parts)


def _scaled(array: np.ndarray, slope: float | None, inter: float | None) -> np.ndarray:
    """The values that the stored numbers stand for, in float32 where it tells them apart."""
    if slope is None or inter is None or (slope, inter) == (1.0, 0.0):
        return array
    wide = array.astype(np.float64) * slope + inter
    if array.dtype.kind == "f":
        return wide.astype(array.dtype)
    narrow = wide.astype(np.float32)
    exact = array.dtype.itemsize <= 2 and np.max(np.abs(narrow - wide)) <= abs(slope) / 8
    return narrow if exact else wide


def _best_affine(header: Any) -> np.ndarray:
    return np.asarray(header.get_best_affine(), np.float64)
