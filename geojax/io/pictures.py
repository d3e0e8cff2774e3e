"""Pictures (PNG, JPEG, TIFF) by Pillow, as numbers `[rows, columns]`."""

import importlib
import io
import warnings
from typing import Any

import numpy as np

from geojax._core.errors import InputError
from geojax.io.npy import MAX_RATIO, MAX_UNCHECKED_BYTES

MAX_PIXELS = 1 << 27
# Luminance of red, green and blue (ITU-R BT.601), as Pillow and most programs have it.
_LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)
_GREY = frozenset({"1", "L", "I", "F", "I;16", "I;16B", "I;16L", "I;16N"})
_INDEXED = frozenset({"P", "PA"})
_BITS_PER_SAMPLE, _SAMPLE_FORMAT = 258, 339


def decode(data: bytes, where: str, kind: str) -> tuple[np.ndarray, Any]:
    """Read a picture.

    Args:
        data: the bytes of the file.
        where: its name, for messages.
        kind: "png", "jpeg" or "tiff"; a file of another kind is refused.

    Returns:
        Grey levels, the luminance of colours (float32), or the entries of a palette as integers
        (labels); and the palette, if there is one.

    Raises:
        InputError: no such picture, damaged, cut off, several frames, or too many pixels.
    """
    pillow = _pillow(where)
    notes: list[str] = []
    try:
        # The limit on pixels is looked at below; notes on odd metadata change no number.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with pillow.open(io.BytesIO(data), formats=[kind.upper()]) as image:
                _check_size(image, len(data), where)
                # A second frame of a JPEG is a preview or a gain map of phones.
                frames = 1 if kind == "jpeg" else getattr(image, "n_frames", 1)
                if frames > 1:
                    raise InputError(
                        f"{where}: holds {frames} frames; save the one that is meant, or stack "
                        "them in a NIfTI or .npy file"
                    )
                values = _values(image, notes)
                palette = image.getpalette("RGB") if image.mode in _INDEXED else None
                header = None if palette is None else bytes(palette)
    except InputError:
        raise
    except Exception as error:  # Pillow raises many kinds on damaged files
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        reason = "not recognised" if "cannot identify" in reason else reason
        raise InputError(
            f"{where}: is no readable {kind.upper()} file ({reason}); save it again"
        ) from error
    for note in notes:
        warnings.warn(f"{where}: {note}", stacklevel=4)
    return values, header


def encode(
    name: str, values: np.ndarray, kind: str, header: Any = None, deep: bool = False
) -> bytes:
    """The bytes of a picture.

    Args:
        name: its name, for messages.
        values: `[rows, columns]`, floats or integers. TIFF holds both; the floats are rounded for
            PNG and JPEG.
        kind: "png", "jpeg" or "tiff".
        header: the palette of a picture that was read, for integers.
        deep: 16 bits for PNG.

    Raises:
        InputError: values that the format does not hold.
    """
    pillow = _pillow(name)
    if values.ndim != 2:
        raise InputError(f"{name}: {kind.upper()} holds no volumes; write .nii.gz or .npy")
    labels = values.dtype.kind != "f"
    if kind == "tiff" and not labels:
        array = values.astype(np.float32)
    elif kind == "tiff":
        array = values.astype(_tiff_type(values, name))
    else:
        array = _rounded(values, name, deep and kind == "png")
    image = pillow.fromarray(array)
    if header is not None and labels and array.dtype == np.uint8 and kind != "jpeg":
        image.putpalette(header, "RGB")
    stream = io.BytesIO()
    image.save(stream, kind.upper(), **({"quality": 95} if kind == "jpeg" else {}))
    return stream.getvalue()


def _pillow(where: str):
    try:
        return importlib.import_module("PIL.Image")
    except ImportError as error:
        raise InputError(
            f"{where}: pictures need the package 'pillow', which is not installed; install it "
            "with: pip install 'geojax-engine[viz]'"
        ) from error


def _check_size(image: Any, size: int, where: str) -> None:
    width, height = image.size
    pixels = width * height
    if pixels > MAX_PIXELS:
        raise InputError(
            f"{where}: claims {height} x {width} pixels, {pixels:,} in all, but the limit is "
            f"{MAX_PIXELS:,}; save it smaller"
        )
    claimed = pixels * len(image.getbands())
    if claimed > max(MAX_UNCHECKED_BYTES, MAX_RATIO * size):
        raise InputError(
            f"{where}: claims {height} x {width} pixels in {size:,} bytes; save it smaller or "
            "uncompressed"
        )


def _values(image: Any, notes: list[str]) -> np.ndarray:
    """The numbers of a picture; what is lost is added to the notes."""
    if "A" in image.mode or "a" in image.mode or "transparency" in image.info:
        notes.append("its transparency is left out")
    if image.mode in _GREY:
        array = np.asarray(image)
    elif image.mode in _INDEXED or image.mode in ("LA", "La"):
        return np.array(image.getchannel(0))
    else:
        notes.append("its colours are read as luminance; save it in grey to choose another")
        colours = np.asarray(image.convert("RGB"), np.float32)
        # Sums of products, not a matrix product: those differ between machines.
        return np.asarray(np.sum(colours * _LUMINANCE, axis=-1))
    array = np.array(array, array.dtype.newbyteorder("="))
    if array.dtype.kind == "b":
        return array.astype(np.uint8)
    # Pillow takes every TIFF of 8 bits for unsigned and of 32 bits for signed.
    tags = getattr(image, "tag_v2", {})
    bits, sign = (
        int(np.ravel(tags.get(tag, default))[0])
        for tag, default in ((_BITS_PER_SAMPLE, 0), (_SAMPLE_FORMAT, 1))
    )
    if (image.mode, bits, sign) == ("L", 8, 2):
        return array.view(np.int8)
    if (image.mode, bits, sign) == ("I", 32, 1):
        return array.view(np.uint32)
    return array


def _tiff_type(values: np.ndarray, name: str) -> np.dtype:
    low, high = int(values.min()), int(values.max())
    for dtype in (np.uint8, np.uint16, np.int32):
        if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
            return np.dtype(dtype)
    raise InputError(f"{name}: TIFF does not hold the values {low} to {high}; write .nii.gz")


def _rounded(values: np.ndarray, name: str, deep: bool) -> np.ndarray:
    """Integers of 8 or 16 bits, nothing cut off."""
    low, high, limit = values.min(), values.max(), 65535 if deep else 255
    if values.dtype.kind == "f":
        if low >= 0 and high <= 1 and np.any(values != np.rint(values)):
            raise InputError(
                f"{name}: values between 0 and 1 would be rounded to 0 and 1; multiply them by "
                f"{limit}, or write .tif, which holds them as they are"
            )
        values = np.rint(values)
    if values.min() < 0 or values.max() > limit:
        raise InputError(
            f"{name}: the values {low:g} to {high:g} are out of the range 0 to {limit} of "
            f"{16 if deep else 8} bits; write a 16-bit TIFF (.tif) or NIfTI (.nii.gz)"
        )
    return values.astype(np.uint16 if deep else np.uint8)
