"""Pictures: grey levels, colours and palettes as they are read and written."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from geojax._core.errors import InputError
from geojax.io import is_labels, read_image, write_image

LEVELS = np.random.default_rng(0).integers(0, 256, size=(9, 11)).astype(np.uint8)


def put(folder: Path, name: str, data: bytes) -> Path:
    (folder / name).write_bytes(data)
    return folder / name


def picture(array, kind="PNG", **options) -> bytes:
    image = array if isinstance(array, Pillow.Image) else Pillow.fromarray(array)
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float32])
def test_grey_levels_come_back(tmp_path, kind, dtype):
    ending = {"PNG": "png", "TIFF": "tif"}[kind]
    if kind == "PNG" and dtype in (np.int32, np.float32):
        return
    levels = LEVELS.astype(dtype) * dtype(1 if dtype == np.uint8 else 200)
    file = read_image(put(tmp_path, f"a.{ending}", picture(levels, kind)))
    assert file.values.dtype == dtype
    np.testing.assert_array_equal(file.values, levels)
    write_image(tmp_path / f"b.{ending}", file.values, like=file)
    again = read_image(tmp_path / f"b.{ending}").values
    np.testing.assert_array_equal(again, levels)
    assert again.dtype == (np.uint16 if dtype == np.int32 else dtype)  # the smallest that holds


def test_tiffs_of_signed_bytes_and_unsigned_words_are_not_misread(tmp_path):
    # Pillow reads both with the other sign; the tag SampleFormat (339) tells.
    def tiff(array: np.ndarray, sign: int) -> bytes:
        rows, columns = array.shape
        tags = [(256, columns), (257, rows), (258, 8 * array.itemsize), (259, 1), (262, 1)]
        tags += [(273, 8), (277, 1), (278, rows), (279, array.nbytes), (339, sign)]
        entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
        start = 8 + array.nbytes
        head = b"II*\0" + struct.pack("<I", start) + array.tobytes()
        return head + struct.pack("<H", len(tags)) + entries + bytes(4)

    for array, sign in (
        (np.array([[-128, -1, 0], [1, 5, 127]], np.int8), 2),
        (np.array([[0, 1], [2**31, 2**32 - 1]], np.uint32), 1),
        (np.array([[-5, 1], [2**31 - 1, 0]], np.int32), 2),
        (np.array([[-5, 1], [2**15 - 1, 0]], np.int16), 2),
    ):
        values = read_image(put(tmp_path, "a.tif", tiff(array, sign))).values
        np.testing.assert_array_equal(values, array)
        assert values.dtype.kind == array.dtype.kind


def test_jpeg_holds_grey_levels_nearly(tmp_path):
    ramp = np.add.outer(np.arange(32), np.arange(40)).astype(np.float32) * 3
    write_image(tmp_path / "a.jpg", ramp)
    file = read_image(tmp_path / "a.jpg")
    assert file.values.dtype == np.uint8
    assert 0 < np.abs(file.values - ramp).max() < 6
    with pytest.raises(InputError, match=r"b\.jpeg: JPEG changes values, which spoils labels"):
        write_image(tmp_path / "b.jpeg", np.eye(5, dtype=int))


@pytest.mark.parametrize(("kind", "ending"), [("PNG", "png"), ("JPEG", "jpg"), ("TIFF", "tiff")])
def test_colours_become_luminance_with_a_warning(tmp_path, kind, ending):
    colours = np.zeros((16, 16, 3), np.uint8)
    colours[:] = [200, 100, 50]
    path = put(tmp_path, f"a.{ending}", picture(colours, kind))
    with pytest.warns(UserWarning, match=r"a\.\w+: its colours are read as luminance"):
        file = read_image(path)
    assert file.values.shape == (16, 16)
    assert file.values.dtype == np.float32
    np.testing.assert_allclose(file.values, 0.299 * 200 + 0.587 * 100 + 0.114 * 50, atol=1.5)


def test_transparency_is_left_out_with_a_warning(tmp_path):
    grey = Pillow.merge("LA", [Pillow.fromarray(LEVELS), Pillow.fromarray(255 - LEVELS)])
    path = put(tmp_path, "a.png", picture(grey))
    with pytest.warns(UserWarning, match=r"a\.png: its transparency is left out"):
        np.testing.assert_array_equal(read_image(path).values, LEVELS)
    path = put(tmp_path, "c.png", picture(LEVELS, transparency=7))
    with pytest.warns(UserWarning, match=r"c\.png: its transparency is left out"):
        np.testing.assert_array_equal(read_image(path).values, LEVELS)
    clear = np.concatenate([np.full((4, 4, 3), 80), np.zeros((4, 4, 1))], -1).astype(np.uint8)
    with pytest.warns(UserWarning, match="colours|transparency") as notes:
        values = read_image(put(tmp_path, "b.png", picture(clear))).values
    assert len(notes) == 2
    np.testing.assert_allclose(values, 80, rtol=1e-6)


@pytest.mark.parametrize(("kind", "ending"), [("PNG", "png"), ("TIFF", "tif")])
def test_entries_of_a_palette_are_labels_and_keep_their_colours(tmp_path, kind, ending):
    labels = np.arange(12, dtype=np.uint8).reshape(3, 4) % 5
    image = Pillow.fromarray(labels)
    image.putpalette([v for k in range(5) for v in (40 * k, 255 - 40 * k, 7)])
    file = read_image(put(tmp_path, f"a.{ending}", picture(image, kind)))
    np.testing.assert_array_equal(file.values, labels)
    assert is_labels(file)
    write_image(tmp_path / f"b.{ending}", labels[::-1], like=file)
    again = Pillow.open(tmp_path / f"b.{ending}")
    np.testing.assert_array_equal(np.asarray(again), labels[::-1])
    assert again.convert("RGB").getpixel((0, 2)) == (0, 255, 7)
    assert again.convert("RGB").getpixel((1, 2)) == (40, 215, 7)


def test_bits_are_read_as_numbers(tmp_path):
    data = picture(Pillow.fromarray(LEVELS > 100).convert("1"))
    np.testing.assert_array_equal(read_image(put(tmp_path, "a.png", data)).values, LEVELS > 100)


def test_pictures_of_several_frames_are_refused(tmp_path):
    other = Pillow.fromarray(LEVELS[::-1].copy())
    for kind, name in (("PNG", "a.png"), ("TIFF", "a.tif")):
        data = picture(LEVELS, kind, save_all=True, append_images=[other])
        with pytest.raises(InputError, match=r"holds 2 frames; save the one"):
            read_image(put(tmp_path, name, data))


def png(width: int, height: int, rows: bytes) -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + body + chunk(b"IEND", b"")


def test_pictures_that_swell_are_refused(tmp_path):
    assert read_image(put(tmp_path, "a.png", png(2, 2, b"\0\1\2\0\3\4"))).values.tolist() == [
        [1, 2],
        [3, 4],
    ]
    for side, message in (
        (10_000, r"a\.png: claims 10000 x 10000 pixels in \d+ bytes"),
        (12_000, r"a\.png: claims 12000 x 12000 pixels, 144,000,000 in all, but the limit is"),
        (60_000, r"a\.png: is no readable PNG file .*decompression bomb"),
    ):
        with pytest.raises(InputError, match=message):
            read_image(put(tmp_path, "a.png", png(side, side, bytes(100))))
