"""Image files: what is written is read back, and what is wrong is named."""

import gzip
import io
import os
import warnings
from pathlib import Path

import jax
import nibabel
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from PIL import Image as Pillow

from geojax._core.errors import InputError
from geojax.io import (
    ImageFile,
    as_image,
    encode_image,
    encode_points,
    is_labels,
    read_image,
    write_image,
)
from geojax.io.images import IMAGE_FORMATS

RANDOM = np.random.default_rng(0)
VOLUME = RANDOM.normal(size=(4, 5, 6)).astype(np.float32)
PLANE = RANDOM.normal(size=(4, 5)).astype(np.float32)
LEVELS = RANDOM.integers(0, 256, size=(9, 11)).astype(np.uint8)
TURN = np.array([[0.36, 0.48, -0.8], [-0.8, 0.6, 0], [0.48, 0.64, 0.6]])


def affine_of(axes, origin=(10.0, -20.0, 30.5)) -> np.ndarray:
    affine = np.eye(len(axes) + 1)
    affine[:-1, :-1] = axes
    affine[:-1, -1] = origin[: len(axes)]
    return affine


AFFINES = {
    "indices": np.eye(4),
    "anisotropic": affine_of(np.diag([0.5, 2.0, 3.25])),
    "rotated": affine_of(TURN * [0.5, 2.0, 3.25]),
    "left-handed": affine_of(TURN * [-0.5, 2.0, 3.25]),
    "permuted": affine_of(np.eye(3)[[2, 0, 1]] * 2),
}
IN_PLANE = affine_of([[0.6, -1.6], [0.8, 1.2]])


def put(folder: Path, name: str, data: bytes) -> Path:
    (folder / name).write_bytes(data)
    return folder / name


def nifti(array, affine=None, **fields) -> bytes:
    """A file by nibabel, its header changed afterwards, so that nibabel mends nothing."""
    affine = np.eye(4) if affine is None else affine
    data = nibabel.Nifti1Image(array, affine, dtype=array.dtype).to_bytes()
    header = nibabel.Nifti1Header(data[:348], check=False)
    for name, value in fields.items():
        header[name] = value
    return header.binaryblock + data[348:]


def picture(array, kind="PNG", mode=None, **options) -> bytes:
    image = array if isinstance(array, Pillow.Image) else Pillow.fromarray(array)
    stream = io.BytesIO()
    (image.convert(mode) if mode else image).save(stream, kind, **options)
    return stream.getvalue()


# Round trips


@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".npy", ".npz", ".NII.GZ"])
@pytest.mark.parametrize("values", [VOLUME, PLANE, VOLUME.astype(np.float64)])
def test_intensities_come_back_as_float32(tmp_path, ending, values):
    path = tmp_path / f"a{ending}"
    write_image(path, values)
    file = read_image(path)
    assert file.path == path
    assert file.values.dtype == np.float32
    np.testing.assert_array_equal(file.values, values.astype(np.float32))
    np.testing.assert_array_equal(file.affine, np.eye(values.ndim + 1))
    assert file.affine.dtype == np.float64


SPANS = [
    (0, 255, np.uint8),
    (-128, 127, np.int8),
    (-128, 128, np.int16),
    (0, 256, np.int16),
    (0, 32768, np.uint16),
    (-1, 32768, np.int32),
    (-32769, 0, np.int32),
    (0, 2**32 - 1, np.uint32),
    (-1, 2**32 - 1, np.int64),
    (0, 2**64 - 1, np.uint64),
]


@pytest.mark.parametrize(("low", "high", "dtype"), SPANS)
@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".npy", ".npz"])
def test_integers_take_the_smallest_type_that_holds_them(tmp_path, ending, low, high, dtype):
    values = np.full((2, 3, 4), low, np.uint64 if high >= 2**63 else np.int64)
    values[1, 2, 3] = high
    like = put(tmp_path, "like.nii", nifti(np.zeros((2, 3, 4), np.int16)))
    for of in (None, read_image(like)):
        write_image(tmp_path / f"a{ending}", values, like=of)
        again = read_image(tmp_path / f"a{ending}")
        assert again.values.dtype == dtype
        np.testing.assert_array_equal(again.values, values)


@pytest.mark.parametrize("name", AFFINES)
@pytest.mark.parametrize("values", [VOLUME, VOLUME > 0])
def test_affines_are_kept_as_nibabel_sees_them(tmp_path, name, values):
    path = tmp_path / "a.nii.gz"
    write_image(path, values, affine=AFFINES[name])
    seen = nibabel.load(path)
    # Programs look at one or the other, so both say the same.
    for found, code in (seen.get_sform(coded=True), seen.get_qform(coded=True)):
        np.testing.assert_allclose(found, AFFINES[name], rtol=1e-6, atol=2e-6)
        assert code == 1
    assert seen.header.get_xyzt_units()[0] == "mm"
    np.testing.assert_allclose(
        seen.header.get_zooms(), np.linalg.norm(AFFINES[name][:3, :3], axis=0), rtol=1e-6
    )
    np.testing.assert_array_equal(np.asarray(seen.dataobj), values)
    np.testing.assert_array_equal(read_image(path).affine, seen.affine)


def test_the_world_of_an_image_is_that_of_the_file(tmp_path):
    write_image(tmp_path / "a.nii", VOLUME, affine=AFFINES["left-handed"])
    image = as_image(read_image(tmp_path / "a.nii"))
    np.testing.assert_allclose(image.spacing, [0.5, 2.0, 3.25], rtol=1e-6)
    corner = nibabel.affines.apply_affine(AFFINES["left-handed"], [1, 2, 3])
    np.testing.assert_allclose(image.to_world(np.array([[1.0, 2, 3]]))[0], corner, rtol=1e-5)


@pytest.mark.parametrize("dtype", ["u1", "i1", "<u2", ">i2", ">i4", "<i8", ">f4", "<f8", ">u4"])
def test_numbers_of_others_are_read_in_native_order(tmp_path, dtype):
    array = np.arange(24).reshape(2, 3, 4).astype(dtype)
    header = nibabel.Nifti1Header(endianness=dtype[0] if dtype[0] in "<>" else "<")
    header.set_data_dtype(array.dtype)
    data = nibabel.Nifti1Image(array, AFFINES["rotated"], header).to_bytes()
    file = read_image(put(tmp_path, "a.nii", data))
    assert file.values.dtype == array.dtype.newbyteorder("=")
    assert file.values.dtype.isnative
    np.testing.assert_array_equal(file.values, array)
    again = encode_image("b.nii", file.values, like=file)
    np.testing.assert_array_equal(read_image(put(tmp_path, "b.nii", again)).values, array)


def test_nifti_2_stays_nifti_2_and_long_axes_make_it(tmp_path):
    data = nibabel.Nifti2Image(VOLUME, AFFINES["rotated"]).to_bytes()
    file = read_image(put(tmp_path, "a.nii", data))
    np.testing.assert_array_equal(file.values, VOLUME)
    assert encode_image("b.nii", VOLUME, like=file)[4:7] == b"n+2"
    long = np.zeros((40000, 2), np.uint8)
    write_image(tmp_path / "long.nii", long)
    assert read_image(tmp_path / "long.nii").values.shape == (40000, 2)


def test_scaled_integers_are_the_values_they_stand_for(tmp_path):
    stored = np.array([[[0, 1], [2, 3]], [[4, 5], [6, 32767]]], np.int16)
    data = nifti(stored, scl_slope=0.25, scl_inter=-3)
    file = read_image(put(tmp_path, "a.nii", data))
    assert file.values.dtype == np.float32
    np.testing.assert_array_equal(file.values, stored * 0.25 - 3)
    # Steps that float32 cannot tell apart are kept in float64.
    data = nifti(stored, scl_slope=2**-10, scl_inter=1e6)
    file = read_image(put(tmp_path, "a.nii", data))
    assert file.values.dtype == np.float64
    np.testing.assert_array_equal(file.values, stored * 2.0**-10 + 1e6)
    # Written like this one, the numbers are not scaled again.
    write_image(tmp_path / "b.nii", stored, like=file)
    np.testing.assert_array_equal(read_image(tmp_path / "b.nii").values, stored)
    # A slope of 0 means none, and so does a handedness of 0.
    shifted = nibabel.Nifti1Image(stored, AFFINES["anisotropic"])
    shifted.set_qform(AFFINES["anisotropic"], 1)
    header = nibabel.Nifti1Header(shifted.to_bytes()[:348], check=False)
    header["sform_code"], header["pixdim"][0] = 0, 0
    data = header.binaryblock + shifted.to_bytes()[348:]
    np.testing.assert_array_equal(
        read_image(put(tmp_path, "a.nii", data)).affine, AFFINES["anisotropic"]
    )
    assert read_image(put(tmp_path, "a.nii", nifti(stored, scl_slope=0))).values.dtype == np.int16


def test_the_header_of_like_is_kept(tmp_path):
    image = nibabel.Nifti1Image(VOLUME, AFFINES["rotated"])
    image.set_sform(AFFINES["rotated"], 4)
    image.set_qform(AFFINES["rotated"], 2)
    image.header.set_xyzt_units("micron", "sec")
    image.header["descrip"] = b"scanned on a Sunday"
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension(6, b"a comment"))
    image.header.set_intent("t test", (3,))
    image.header["cal_max"] = 7
    file = read_image(put(tmp_path, "a.nii", image.to_bytes()))
    moved = affine_of(np.diag([1.0, 1, 2]))
    for affine in (None, moved):
        grid = (3, 3, 3) if affine is not None else VOLUME.shape
        write_image(tmp_path / "b.nii.gz", np.ones(grid), like=file, affine=affine)
        seen = nibabel.load(tmp_path / "b.nii.gz")
        assert (int(seen.header["sform_code"]), int(seen.header["qform_code"])) == (4, 2)
        assert seen.header.get_xyzt_units() == ("micron", "sec")
        assert seen.header["descrip"].item() == b"scanned on a Sunday"
        assert seen.header.extensions[0].get_content() == b"a comment"
        assert int(seen.header["intent_code"]) == 0
        assert float(seen.header["cal_max"]) == 0
        wanted = AFFINES["rotated"] if affine is None else affine
        np.testing.assert_allclose(seen.get_sform(), wanted, rtol=1e-6, atol=2e-6)
        np.testing.assert_allclose(seen.get_qform(), wanted, rtol=1e-6, atol=2e-6)
        np.testing.assert_allclose(
            seen.header.get_zooms(), np.linalg.norm(wanted[:3, :3], axis=0), rtol=1e-6
        )
    # What was read is not changed by writing.
    assert int(file.header["intent_code"]) == 3


def test_the_qform_counts_where_there_is_no_sform(tmp_path):
    image = nibabel.Nifti1Image(VOLUME, None)
    image.set_qform(AFFINES["left-handed"], 1)
    image.set_sform(None, 0)
    file = read_image(put(tmp_path, "a.nii", image.to_bytes()))
    np.testing.assert_allclose(file.affine, AFFINES["left-handed"], rtol=1e-5, atol=1e-5)
    write_image(tmp_path / "b.nii", VOLUME, like=file)
    header = nibabel.load(tmp_path / "b.nii").header
    assert (int(header["sform_code"]), int(header["qform_code"])) == (0, 1)
    np.testing.assert_array_equal(read_image(tmp_path / "b.nii").affine, file.affine)


def test_spacings_that_contradict_the_affine_are_mended(tmp_path):
    rows = {f"srow_{x}": AFFINES["anisotropic"][k] for k, x in enumerate("xyz")}
    data = nifti(VOLUME, sform_code=1, qform_code=0, pixdim=[1, 9, 9, 0, 1, 1, 1, 1], **rows)
    file = read_image(put(tmp_path, "a.nii", data))
    np.testing.assert_array_equal(file.affine, AFFINES["anisotropic"])
    write_image(tmp_path / "b.nii", VOLUME, like=file)
    header = nibabel.load(tmp_path / "b.nii").header
    np.testing.assert_array_equal(header.get_zooms(), [0.5, 2, 3.25])
    np.testing.assert_array_equal(header.get_sform(), AFFINES["anisotropic"])


@pytest.mark.parametrize(
    ("shape", "columns"),
    [((4, 5, 1), [0, 1]), ((4, 1, 5), [0, 2]), ((1, 4, 5), [1, 2]), ((4, 5), [0, 1])],
)
@pytest.mark.parametrize("name", ["anisotropic", "permuted"])
def test_a_single_slice_is_an_image_of_its_plane(tmp_path, shape, columns, name):
    affine = AFFINES[name]
    data = nibabel.Nifti1Image(PLANE.reshape(shape), affine).to_bytes()
    file = read_image(put(tmp_path, "a.nii", data))
    np.testing.assert_array_equal(file.values, PLANE)
    # The plane is spanned by two axes of the world: a pixel has their coordinates.
    rows = sorted(int(np.argmax(np.abs(affine[:3, k]))) for k in columns)
    index = np.zeros(3)
    index[columns] = [2, 3]
    world = nibabel.affines.apply_affine(affine, index)[rows]
    np.testing.assert_allclose((file.affine @ [2, 3, 1])[:2], world, rtol=1e-6)
    # Written again it lies where it lay, also where it is cut.
    write_image(tmp_path / "b.nii", PLANE, like=file)
    seen = nibabel.load(tmp_path / "b.nii")
    assert seen.shape == shape
    np.testing.assert_allclose(seen.affine, affine, rtol=1e-6)
    finer = file.affine @ np.diag([0.5, 0.5, 1])
    write_image(tmp_path / "b.nii", np.ones((7, 9)), like=file, affine=finer)
    seen = nibabel.load(tmp_path / "b.nii")
    np.testing.assert_allclose(read_image(tmp_path / "b.nii").affine, finer, rtol=1e-6)
    np.testing.assert_allclose(seen.affine[:3, 3], affine[:3, 3], rtol=1e-6)


def test_a_slice_turned_in_its_plane_is_taken_and_a_tilted_one_refused(tmp_path):
    write_image(tmp_path / "a.nii", PLANE, affine=IN_PLANE)
    np.testing.assert_allclose(read_image(tmp_path / "a.nii").affine, IN_PLANE, rtol=1e-6)
    data = nifti(PLANE[..., None], AFFINES["rotated"])
    with pytest.raises(InputError, match=r"tilted\.nii: has a single slice, which is tilted in"):
        read_image(put(tmp_path, "tilted.nii", data))


def test_trailing_axes_of_length_one_are_dropped_and_frames_refused(tmp_path):
    data = nifti(VOLUME[..., None, None])
    np.testing.assert_array_equal(read_image(put(tmp_path, "a.nii", data)).values, VOLUME)
    with pytest.raises(InputError, match=r"a\.nii: has shape \[4, 5, 3, 2\], several frames; save"):
        read_image(put(tmp_path, "a.nii", nifti(VOLUME.reshape(4, 5, 3, 2))))
    for shape in ((120,), (1, 1, 120), (120, 1, 1)):
        with pytest.raises(InputError, match=r"a\.nii: has shape .* at least 2 entries"):
            read_image(put(tmp_path, "a.nii", nifti(VOLUME.reshape(shape))))


# What formats do not hold


def test_values_out_of_range_are_refused_and_never_cut_off(tmp_path):
    for values in (np.array([[0, 256], [1, 2]]), np.array([[-1, 3], [1, 2]]), LEVELS * 1.5 + 0.25):
        with pytest.raises(
            InputError, match=r"a\.png: the values .* of 8 bits; write a 16-bit TIF"
        ):
            write_image(tmp_path / "a.png", values)
    with pytest.raises(InputError, match="values between 0 and 1 would be rounded"):
        write_image(tmp_path / "a.png", LEVELS / 255.0)
    with pytest.raises(InputError, match=r"a\.tif: TIFF does not hold the values -1 to 2147483648"):
        write_image(tmp_path / "a.tif", np.array([[-1, 2**31], [0, 0]]))
    with pytest.raises(InputError, match=r"a\.tif: TIFF holds no volumes; write \.nii\.gz"):
        write_image(tmp_path / "a.tif", VOLUME)
    with pytest.raises(InputError, match=r"a\.nii: float32 does not hold 0 to 1e\+39"):
        write_image(tmp_path / "a.nii", np.array([[0, 1e39], [0, 0]]))
    assert list(tmp_path.iterdir()) == []
    # Floats of a moved picture are rounded, in the depth of the picture.
    write_image(tmp_path / "a.png", LEVELS - 0.25 * (LEVELS > 0))
    np.testing.assert_array_equal(read_image(tmp_path / "a.png").values, LEVELS)
    deep = read_image(put(tmp_path, "deep.png", picture(LEVELS.astype(np.uint16) * 200)))
    write_image(tmp_path / "b.png", deep.values + 0.3, like=deep)
    np.testing.assert_array_equal(read_image(tmp_path / "b.png").values, deep.values)


def test_a_place_in_the_world_is_lost_with_a_warning(tmp_path):
    for ending in (".png", ".npy", ".tif"):
        with pytest.warns(UserWarning, match=r"holds no affine, so the image loses its place"):
            encode_image(f"a{ending}", LEVELS, affine=IN_PLANE)
    like = ImageFile(tmp_path / "a.npy", PLANE, np.eye(3))
    with pytest.raises(InputError, match=r"b\.npy: values \[2, 2\] cannot take the place of the"):
        encode_image(tmp_path / "b.npy", np.ones((2, 2)), like=like)


# Archives


def test_arrays_of_an_archive_are_picked_and_the_others_kept(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, moving=VOLUME, fixed=VOLUME + 1, age=np.array(3.0))
    with pytest.raises(InputError, match=r"a\.npz: holds several arrays .*a\.npz:moving"):
        read_image(path)
    with pytest.raises(InputError, match=r"a\.npz: has no array 'fix'; it has moving"):
        read_image(f"{path}:fix")
    file = read_image(f"{path}:fixed")
    np.testing.assert_array_equal(file.values, VOLUME + 1)
    write_image(tmp_path / "b.npz", VOLUME * 2, like=file)
    with np.load(tmp_path / "b.npz") as again:
        assert set(again) == {"moving", "fixed", "age"}
        np.testing.assert_array_equal(again["fixed"], VOLUME * 2)
        np.testing.assert_array_equal(again["moving"], VOLUME)
    write_image(f"{tmp_path / 'c.npz'}:mine", PLANE)
    np.testing.assert_array_equal(read_image(tmp_path / "c.npz").values, PLANE)
    np.savez(path, image=PLANE, mask=PLANE > 0)
    np.testing.assert_array_equal(read_image(path).values, PLANE)
    assert read_image(f"{path}:mask").values.dtype == np.uint8
    np.savez(path, table=VOLUME[0, 0], name=np.array("a"))
    with pytest.raises(InputError, match=r"a\.npz:table: has shape \[6\]"):
        read_image(put(tmp_path, "a.npz", _archive(table=VOLUME[0, 0])))


def _archive(**arrays) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


# Labels


def test_labels_are_told_from_intensities():
    assert is_labels(np.arange(64).reshape(8, 8))
    assert not is_labels(np.arange(65).reshape(5, 13))
    assert is_labels(np.arange(16.0).reshape(4, 4) * 100)
    assert not is_labels(np.arange(17.0).reshape(1, 17))
    assert not is_labels(np.array([[0, 1, 2.5]]))
    assert is_labels(VOLUME > 0)
    assert not is_labels(LEVELS)
    # One odd value in many is found.
    odd = np.zeros((200, 200))
    odd[151, 77] = 0.5
    assert not is_labels(odd)
    odd[151, 77] = 3
    assert is_labels(ImageFile(Path("a.npy"), odd, np.eye(3)))


def test_images_have_the_type_that_is_asked_for(tmp_path):
    file = ImageFile(tmp_path / "a.nii", LEVELS, IN_PLANE)
    assert as_image(file).values.dtype == np.uint8
    image = as_image(file, np.float32)
    assert image.values.dtype == np.float32
    np.testing.assert_array_equal(image.affine, IN_PLANE)
    with pytest.raises(InputError, match=r"a\.nii: int8 does not hold its values \d+ to 255"):
        as_image(file, np.int8)
    with pytest.raises(InputError, match=r"a\.nii: holds fractions; give a floating dtype"):
        as_image(ImageFile(tmp_path / "a.nii", PLANE, np.eye(3)), np.int32)
    big = ImageFile(tmp_path / "a.nii", np.array([[0, 1], [2, 2**40]]), np.eye(3))
    wide = ImageFile(tmp_path / "a.nii", np.full((2, 2), 1 / 3), np.eye(3))
    with jax.enable_x64(False):
        with pytest.raises(InputError, match="int32 does not hold its values 0 to 1099511627776"):
            as_image(big)
        with pytest.warns(UserWarning, match=r"a\.nii: is float64 but JAX runs in float32"):
            as_image(wide)
        assert as_image(wide, np.float32).values.dtype == np.float32
    with jax.enable_x64(True):
        assert as_image(big).values.dtype == np.int64


# Determinism


@pytest.mark.parametrize("ending", IMAGE_FORMATS)
def test_the_same_image_gives_the_same_bytes(ending, monkeypatch):
    values = LEVELS.astype(float)
    first = encode_image(f"a{ending}", values)
    monkeypatch.setattr("time.time", lambda: 1e9)
    monkeypatch.setattr("time.localtime", lambda *_: (2001, 9, 9, 1, 46, 40, 6, 252, 0))
    assert encode_image(f"other{ending}", values) == first
    if ending == ".nii.gz":
        assert first[4:8] == bytes(4)
        assert gzip.decompress(first) == encode_image("a.nii", values)


# What is wrong with a file


def test_endings_that_are_unknown_are_named_with_the_nearest(tmp_path):
    for name, message in (
        ("a.niii", r"a\.niii: the ending '\.niii' is no image format \(did you mean '\.nii'\?\)"),
        ("a.gz", r"'\.gz' is no image format \(did you mean '\.nii\.gz'\?\); use one of \.nii, "),
        ("a", r"'\(none\)' is no image format; use one of \.nii, \.nii\.gz, \.png"),
    ):
        with pytest.raises(InputError, match=message):
            read_image(tmp_path / name)
        with pytest.raises(InputError, match=message):
            write_image(tmp_path / name, PLANE)


@pytest.mark.parametrize("ending", IMAGE_FORMATS)
def test_missing_and_empty_files_and_others_are_named(tmp_path, ending):
    path = tmp_path / f"a{ending}"
    with pytest.raises(InputError, match=rf"a{ending}: no such file"):
        read_image(path)
    for content in (b"", b"not an image", encode_points("a.vtk", VOLUME[0, :, :3])):
        path.write_bytes(content)
        with pytest.raises(InputError, match=rf"a{ending}: is ") as caught:
            read_image(path)
        assert "\n" not in str(caught.value)


def test_nan_in_the_background_is_counted(tmp_path):
    holes = VOLUME.copy()
    holes[1, 2, 3:] = np.nan
    data = {".nii": nifti(holes), ".tif": picture(holes[1], "TIFF"), ".npz": _archive(a=holes)}
    for ending, content in data.items():
        with pytest.raises(InputError, match=r"3 of \d+ voxels are NaN or .* numpy\.nan_to_num"):
            read_image(put(tmp_path, f"a{ending}", content))
    with pytest.raises(InputError, match="3 of 120 voxels"):
        write_image(tmp_path / "b.nii", holes)


SHEARED = affine_of([[1.0, 0.1, 0], [0, 1, 0], [0, 0, 1]])


def test_bad_affines_are_refused_with_the_name_of_the_file(tmp_path):
    zero, infinite = np.diag([1.0, 1, 0, 1]), AFFINES["rotated"].copy()
    infinite[0, 3] = np.inf
    for affine, message in (
        (SHEARED, "its affine must have axes at right angles"),
        (zero, "its affine gives axis 2 the spacing 0"),
        (infinite, "its affine must be finite"),
    ):
        image = nibabel.Nifti1Image(VOLUME, np.eye(4))
        rows = {f"srow_{x}": affine[k] for k, x in enumerate("xyz")}
        data = nifti(VOLUME, sform_code=1, **rows)
        with pytest.raises(InputError, match=rf"a\.nii: {message}"):
            read_image(put(tmp_path, "a.nii", data))
        with pytest.raises(InputError, match=rf"b\.nii: {message}"):
            write_image(tmp_path / "b.nii", VOLUME, affine=affine)
    assert image.shape == VOLUME.shape
    # nibabel would make a spacing of 0 into 1.
    spacings = [1, 1, 2, 0, 1, 1, 1, 1]
    for codes in ({"qform_code": 1}, {"qform_code": 0}):
        data = nifti(VOLUME, sform_code=0, pixdim=spacings, **codes)
        with pytest.raises(InputError, match=r"a\.nii: its affine gives axis 2 the spacing 0"):
            read_image(put(tmp_path, "a.nii", data))
    with pytest.raises(InputError, match=r"b\.nii: its affine must have shape \[4, 4\]"):
        write_image(tmp_path / "b.nii", VOLUME, affine=IN_PLANE)


def test_colours_and_complex_numbers_are_refused(tmp_path):
    colours = np.zeros((3, 4, 5), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    with pytest.raises(InputError, match=r"a\.nii: holds colours; save one real number"):
        read_image(put(tmp_path, "a.nii", nifti(colours)))
    with pytest.raises(InputError, match=r"a\.nii: holds numbers of type complex64"):
        read_image(put(tmp_path, "a.nii", nifti(VOLUME.astype(np.complex64))))
    for values in (VOLUME.astype(complex), np.array([["a", "b"], ["c", "d"]])):
        with pytest.raises(InputError, match=r"a\.npy: has dtype .* holds real numbers"):
            write_image(tmp_path / "a.npy", values)
    pair = nifti(VOLUME, magic=b"ni1")
    with pytest.raises(InputError, match=r"a\.nii: is an Analyze image or half of a pair"):
        read_image(put(tmp_path, "a.nii", pair))


def test_claims_are_held_against_the_bytes(tmp_path):
    for dims in ([3, 30000, 30000, 30000], [7, *[32767] * 7], [3, 4, 5, 7]):
        data = nifti(VOLUME, dim=[*dims, *[1] * (8 - len(dims))])
        for name, content in (("a.nii", data), ("a.nii.gz", gzip.compress(data))):
            with pytest.raises(InputError, match=r"claims shape \[\d+") as caught:
                read_image(put(tmp_path, name, content))
            assert str(caught.value).startswith(str(tmp_path / name))
    for fields in ({"vox_offset": 0}, {"vox_offset": 1e9}, {"vox_offset": np.nan}):
        with pytest.raises(InputError, match=r"a\.nii: "):
            read_image(put(tmp_path, "a.nii", nifti(VOLUME, **fields)))
    with pytest.raises(InputError, match=r"its header claims shape \[4, -5, 6\]"):
        read_image(put(tmp_path, "a.nii", nifti(VOLUME, dim=[3, 4, -5, 6, 1, 1, 1, 1])))
    many = nifti(VOLUME, dim=[3, 2000, 1000, 1000, 1, 1, 1, 1])
    with pytest.raises(InputError, match=r"8,000,000,352 bytes in [\d,]+ compressed ones; save it"):
        read_image(put(tmp_path, "a.nii.gz", gzip.compress(many)))


def test_masks_that_are_nearly_empty_are_read(tmp_path):
    mask = np.zeros((500, 500, 300), np.uint8)
    mask[10, 20, 30] = 1
    write_image(tmp_path / "a.nii.gz", mask)
    assert mask.nbytes > 900 * (tmp_path / "a.nii.gz").stat().st_size
    assert read_image(tmp_path / "a.nii.gz").values.sum() == 1


def test_a_wrong_check_sum_is_found(tmp_path):
    data = bytearray(encode_image("a.nii.gz", VOLUME))
    data[-6] ^= 1
    with pytest.raises(InputError, match=r"a\.nii\.gz: is no readable NIfTI file \(CRC check"):
        read_image(put(tmp_path, "a.nii.gz", bytes(data)))


GREY = (LEVELS // 2).astype(float)
SAMPLES = [
    *((ending, encode_image(f"a{ending}", GREY)) for ending in IMAGE_FORMATS),
    (".nii", nifti((VOLUME * 9).astype(np.int16), AFFINES["rotated"], scl_slope=2)),
    (".nii", nibabel.Nifti2Image(VOLUME, AFFINES["rotated"]).to_bytes()),
    (".png", picture(LEVELS, mode="P")),
    (".png", picture(LEVELS, mode="RGBA")),
    (".tif", picture(LEVELS, "TIFF", compression="tiff_lzw")),
    (".tif", picture(LEVELS, "TIFF", mode="RGB", compression="tiff_adobe_deflate")),
]


def result_or_refusal(call):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return call()
        except InputError as error:
            return str(error)


def read_or_name(path: Path) -> ImageFile | None:
    """What is in a file; or nothing, if an error of one line names it."""
    file = result_or_refusal(lambda: read_image(path))
    if isinstance(file, str):
        assert file.startswith(str(path))
        assert "\n" not in file
        return None
    assert file.values.ndim in (2, 3)
    assert np.all(np.isfinite(file.values))
    assert np.all(np.isfinite(file.affine))
    return file


@pytest.mark.parametrize(("ending", "data"), SAMPLES)
def test_files_that_are_cut_off_are_named(tmp_path, ending, data):
    path = tmp_path / f"a{ending}"
    path.write_bytes(data)
    whole = read_or_name(path)
    assert whole is not None
    ends = sorted(
        {*range(0, len(data), max(1, len(data) // 150)), *range(len(data) - 12, len(data))}
    )
    for end in ends:
        path.write_bytes(data[:end])
        cut = read_or_name(path)
        # What follows the numbers may be missing, but no number.
        assert cut is None or np.array_equal(cut.values, whole.values)
        assert cut is None or end > len(data) // 2


@pytest.mark.parametrize(("ending", "data"), SAMPLES)
@settings(max_examples=120)
@given(
    edits=st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=5
    ),
    near=st.booleans(),
)
def test_flipped_bytes_are_survived_or_named(tmp_path_factory, ending, data, edits, near):
    damaged = bytearray(data)
    for place, value in edits:
        damaged[int(place * (min(352, len(data)) if near else len(data)))] = value
    path = tmp_path_factory.getbasetemp() / f"damaged{ending}"
    path.write_bytes(bytes(damaged))
    file = read_or_name(path)
    if file is not None:
        again = result_or_refusal(lambda: encode_image(path, file.values, like=file))
        assert isinstance(again, bytes) or again.startswith(str(path))


# Real data

needs_data = pytest.mark.skipif(
    "GEOJAX_DATA" not in os.environ, reason="GEOJAX_DATA names no folder of real data"
)


@needs_data
def test_real_volumes_and_their_labels(tmp_path):
    folder = Path(os.environ["GEOJAX_DATA"]) / "hippocampus_mri"
    paths = sorted((folder / "images").glob("*.nii.gz"))
    assert len(paths) >= 40
    for path in paths[::8]:
        file, labels = read_image(path), read_image(folder / "labels" / path.name)
        seen = nibabel.load(path)
        np.testing.assert_array_equal(file.values, seen.get_fdata())
        np.testing.assert_array_equal(file.affine, seen.affine)
        assert labels.values.shape == file.values.shape
        assert is_labels(labels)
        assert not is_labels(file)
        assert set(np.unique(labels.values)) == {0, 1, 2}
        np.testing.assert_array_equal(as_image(file, np.float32).spacing, [1, 1, 1])
        write_image(tmp_path / "a.nii.gz", labels.values.astype(int), like=labels)
        again = read_image(tmp_path / "a.nii.gz")
        assert again.values.dtype == np.uint8
        np.testing.assert_array_equal(again.values, labels.values)
        np.testing.assert_array_equal(again.affine, labels.affine)


@needs_data
def test_real_stains_are_read_as_luminance(tmp_path):
    folder = Path(os.environ["GEOJAX_DATA"]) / "histology"
    for path in sorted(folder.glob("*.jpg")):
        with pytest.warns(UserWarning, match="luminance"):
            file = read_image(path)
        with Pillow.open(path) as seen:
            assert file.values.shape == seen.size[::-1]
            np.testing.assert_allclose(file.values, np.asarray(seen.convert("L")), atol=0.51)
        write_image(tmp_path / "a.png", file.values, like=file)
        np.testing.assert_array_equal(read_image(tmp_path / "a.png").values, np.rint(file.values))
