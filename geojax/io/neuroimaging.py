"""Surfaces of neuroimaging: GIFTI (by nibabel) and FreeSurfer's triangle files.

Coordinates are taken as they stand; transforms and the centre of the volume, which such files may
carry along, are not applied but kept when a file is written again. Both formats hold float32.
"""

import importlib
import re

import numpy as np

from geojax._core.errors import InputError
from geojax.io.decoded import Content, Decoded, check_cells, some, vertex
from geojax.io.npy import MAX_RATIO, MAX_UNCHECKED_BYTES

_FREESURFER = b"\xff\xff\xfe"


def _nibabel(where: str):
    try:
        importlib.import_module("nibabel")
        return importlib.import_module("nibabel.gifti")
    except ImportError as error:
        raise InputError(
            f"{where}: GIFTI files need the package 'nibabel', which is not installed; install it "
            "with: pip install 'geojax-engine[io]'"
        ) from error


def decode_gifti(data: bytes, where: str) -> Decoded:
    """Read a GIFTI surface.

    Args:
        data: the bytes of the file.
        where: its name, for messages.

    Raises:
        InputError: no GIFTI, damaged, not one set of points, or faces that refer to vertices that
            are not there.
    """
    image = _gifti(data, where)
    points = _only(image, "NIFTI_INTENT_POINTSET", where)
    if points is None:
        raise InputError(f"{where}: has no points; give a surface file (.surf.gii)")
    if points.ndim != 2 or points.shape[1] != 3:
        raise InputError(f"{where}: its points have shape {list(points.shape)}; save [n, 3]")
    faces = _only(image, "NIFTI_INTENT_TRIANGLE", where)
    if faces is not None:
        if faces.ndim != 2 or faces.shape[1] != 3 or faces.dtype.kind not in "iu":
            raise InputError(
                f"{where}: its triangles have shape {list(faces.shape)} and dtype {faces.dtype}; "
                "save integers [f, 3]"
            )
        faces = faces.astype(np.int64)
        check_cells(np.full(len(faces), 3), faces.reshape(-1), len(points), where)
        faces = some(faces)

    def encode(moved: np.ndarray) -> bytes:
        again = _gifti(data, where)
        (array,) = again.get_arrays_from_intent("NIFTI_INTENT_POINTSET")
        array.data = moved.astype(np.float32)
        array.datatype = 16  # float32, if it was another
        return again.to_bytes()

    return Decoded(points, faces, encode, vertex)


def encode_new_gifti(content: Content) -> bytes:
    """A GIFTI surface, compressed."""
    gifti = _nibabel("points.gii")
    parts = {"NIFTI_INTENT_POINTSET": content.points.astype(np.float32)}
    if content.faces is not None:
        parts |= {"NIFTI_INTENT_TRIANGLE": content.faces.astype(np.int32)}
    arrays = [gifti.GiftiDataArray(array, intent=intent) for intent, array in parts.items()]
    return gifti.GiftiImage(darrays=arrays).to_bytes()


def _gifti(data: bytes, where: str):
    """The file as nibabel reads it, if it refers to nothing outside and does not swell."""
    gifti = _nibabel(where)
    for mark, what in (
        (b"<!ENTITY", "XML entities"),
        (b"ExternalFileBinary", "data in other files"),
    ):
        if mark in data:
            raise InputError(f"{where}: has {what}, which geojax does not follow; save it as one")
    if b"\0" in data:
        raise InputError(f"{where}: has NUL bytes, so it is no GIFTI; save it as XML in UTF-8")
    claimed = 0
    for tag in re.findall(rb"<DataArray\b[^>]*>", data):
        size = 8
        for length in re.findall(rb"\bDim\d\s*=\s*[\"'](\d+)", tag):
            size *= int(length[:18])
        claimed += size
    if claimed > max(MAX_UNCHECKED_BYTES, MAX_RATIO * len(data)):
        raise InputError(
            f"{where}: claims {claimed:,} bytes of numbers in {len(data):,} bytes; save it again"
        )
    try:
        image = gifti.GiftiImage.from_bytes(data)
        if image is None:
            raise ValueError("no GIFTI element")
        return image
    except Exception as error:  # nibabel raises many kinds on damaged files
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise InputError(f"{where}: is no readable GIFTI file ({reason}); save it again") from error


def _only(image, intent: str, where: str) -> np.ndarray | None:
    arrays = image.get_arrays_from_intent(intent)
    if len(arrays) > 1:
        raise InputError(f"{where}: has {len(arrays)} arrays of {intent}; keep one")
    return np.asarray(arrays[0].data) if arrays else None


def decode_freesurfer(data: bytes, where: str) -> Decoded:
    """Read a surface of FreeSurfer (`lh.pial`, `rh.white`, ...).

    Args:
        data: the bytes of the file.
        where: its name, for messages.

    Raises:
        InputError: another kind of file, cut off, or faces that refer to vertices that are not
            there.
    """
    if data[:3] != _FREESURFER:
        raise InputError(
            f"{where}: is no triangle surface of FreeSurfer (it begins with {data[:3].hex(' ')}, "
            "not ff ff fe); give a surface such as lh.pial, not a map of values"
        )
    # Two lines of comment, then counts, coordinates and triangles, all big-endian.
    start = data.find(b"\n", data.find(b"\n", 3) + 1) + 1
    if start < 4 or len(data) < start + 8:
        raise InputError(f"{where}: ends within its header; the file is cut off, save it again")
    num_points, num_faces = (int(k) for k in np.frombuffer(data, ">i4", 2, start))
    start += 8
    end = start + 12 * num_points
    if min(num_points, num_faces) < 0 or end + 12 * num_faces > len(data):
        raise InputError(
            f"{where}: claims {num_points:,} vertices and {num_faces:,} faces, but "
            f"{len(data) - start:,} bytes follow; the file is cut off, save it again"
        )
    points = np.frombuffer(data, ">f4", 3 * num_points, start).reshape(-1, 3)
    faces = np.frombuffer(data, ">i4", 3 * num_faces, end).reshape(-1, 3).astype(np.int64)
    check_cells(np.full(num_faces, 3), faces.reshape(-1), num_points, where)

    def encode(moved: np.ndarray) -> bytes:
        return data[:start] + moved.astype(">f4").tobytes() + data[end:]

    return Decoded(points, some(faces), encode, vertex)


def encode_new_freesurfer(content: Content) -> bytes:
    """A surface of FreeSurfer."""
    faces = np.empty((0, 3), int) if content.faces is None else content.faces
    counts = np.asarray([len(content.points), len(faces)], ">i4").tobytes()
    numbers = content.points.astype(">f4").tobytes() + faces.astype(">i4").tobytes()
    return _FREESURFER + b"written by geojax\n\n" + counts + numbers
