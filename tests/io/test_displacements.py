"""Displacement files: the signs and shapes by which ITK and ANTs know them."""

import nibabel
import numpy as np
import pytest

from geojax._core.errors import InputError
from geojax.io import encode_displacement, read_displacement, read_image, write_displacement

RANDOM = np.random.default_rng(1)
TURN = np.array([[0.36, 0.48, -0.8], [-0.8, 0.6, 0], [0.48, 0.64, 0.6]])
AFFINE = np.eye(4)
AFFINE[:3, :3] = TURN * [0.5, -2.0, 3.25]
AFFINE[:3, 3] = [10, -20, 30]
PLANE = np.array([[0.6, -1.6, 5.0], [0.8, 1.2, -7.0], [0, 0, 1.0]])


def itk(vectors: np.ndarray, affine: np.ndarray, intent: int = 1007) -> bytes:
    """A file of ITK by hand: vectors `[*grid, d]` in its axes, left and back."""
    grid, d = vectors.shape[:-1], vectors.shape[-1]
    array = vectors.reshape(*grid, *[1] * (4 - len(grid)), d).astype(np.float32)
    image = nibabel.Nifti1Image(array, affine)
    image.header.set_intent(intent, allow_unknown=True)
    return image.to_bytes()


def test_vectors_are_written_to_the_left_and_back():
    displacement = np.zeros((3, 4, 5, 6))
    displacement[:, 1, 2, 3] = [1.5, -2.5, 3.5]  # to the right, back, top
    image = nibabel.Nifti1Image.from_bytes(encode_displacement("a.nii", displacement, AFFINE))
    assert image.shape == (4, 5, 6, 1, 3)
    assert image.get_data_dtype() == np.float32
    assert int(image.header["intent_code"]) == 1007
    assert image.header["dim"].tolist() == [5, 4, 5, 6, 1, 3, 1, 1]
    vectors = np.asarray(image.dataobj)
    np.testing.assert_array_equal(vectors[1, 2, 3, 0], [-1.5, 2.5, 3.5])
    assert np.sum(vectors != 0) == 3
    np.testing.assert_allclose(image.affine, AFFINE, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(image.get_qform(coded=True)[0], AFFINE, rtol=1e-6, atol=2e-6)


def test_vectors_of_the_plane():
    displacement = np.zeros((2, 4, 5))
    displacement[:, 1, 2] = [1.5, -2.5]
    image = nibabel.Nifti1Image.from_bytes(encode_displacement("a.nii", displacement, PLANE))
    assert image.header["dim"].tolist() == [5, 4, 5, 1, 1, 2, 1, 1]
    np.testing.assert_array_equal(np.asarray(image.dataobj)[1, 2, 0, 0], [-1.5, 2.5])
    np.testing.assert_allclose(image.affine[np.ix_([0, 1, 3], [0, 1, 3])], PLANE, rtol=1e-6)
    np.testing.assert_array_equal(image.affine[2], [0, 0, 1, 0])


def test_files_of_itk_are_read_in_axes_of_the_world(tmp_path):
    # A point at world y - x = (3, 4, 5) in RAS is (-3, -4, 5) in LPS.
    vectors = np.broadcast_to([-3.0, -4.0, 5.0], (4, 5, 6, 3))
    (tmp_path / "a.nii").write_bytes(itk(vectors, AFFINE))
    displacement, affine = read_displacement(tmp_path / "a.nii")
    assert displacement.shape == (3, 4, 5, 6)
    np.testing.assert_array_equal(displacement[:, 0, 0, 0], [3, 4, 5])
    assert np.ptp(displacement, axis=(1, 2, 3)).max() == 0
    np.testing.assert_allclose(affine, AFFINE, rtol=1e-6)
    flat = np.eye(4)
    flat[np.ix_([0, 1, 3], [0, 1, 3])] = PLANE
    (tmp_path / "b.nii").write_bytes(itk(np.broadcast_to([-3.0, -4.0], (4, 5, 2)), flat))
    displacement, affine = read_displacement(tmp_path / "b.nii")
    np.testing.assert_array_equal(displacement[:, 3, 4], [3, 4])
    np.testing.assert_allclose(affine, PLANE, rtol=1e-6)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("affine", [AFFINE, PLANE])
def test_displacements_come_back(tmp_path, name, affine):
    d = len(affine) - 1
    displacement = RANDOM.normal(size=(d, 4, 5, 6)[: d + 1])
    write_displacement(tmp_path / name, displacement, affine)
    again, found = read_displacement(tmp_path / name)
    np.testing.assert_array_equal(again, displacement.astype(np.float32))
    np.testing.assert_allclose(found, affine, rtol=1e-6, atol=1e-6)
    assert encode_displacement(name, displacement, affine) == (tmp_path / name).read_bytes()
    with pytest.raises(InputError, match=r"vectors of a displacement; read it with read_displace"):
        read_image(tmp_path / name)


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "a.nii"
    vectors = np.zeros((4, 5, 6, 3))
    tilted = np.eye(4)
    tilted[:3, :3] = TURN
    for data, message in (
        (itk(vectors, AFFINE, 1006), r"has the intent code 1006, but .* has 1007"),
        (itk(vectors, AFFINE, 0), r"has the intent code 0, but"),
        (itk(vectors[..., :2], AFFINE), r"has shape \[4, 5, 6, 1, 2\]; a displacement has"),
        (itk(vectors[:, :, :1], AFFINE), r"has shape \[4, 5, 1, 1, 3\]; a displacement has"),
        (itk(vectors[:, :, 0, :2], tilted), r"has a single slice, which is tilted"),
        (itk(vectors[:, :, 0, :2], np.eye(4)[[2, 0, 1, 3]]), r"its plane is not that of the first"),
        (itk(vectors + np.nan, AFFINE), r"360 numbers of the displacement are not finite"),
        (itk(vectors, AFFINE)[:1000], r"its header claims shape \[4, 5, 6, 1, 3\]"),
        (b"", r"is no NIfTI file"),
    ):
        path.write_bytes(data)
        with pytest.raises(InputError, match=rf"a\.nii: {message}"):
            read_displacement(path)
    with pytest.raises(InputError, match=r"a\.npy: displacements are NIfTI files"):
        read_displacement(tmp_path / "a.npy")


def test_other_arrays_are_not_written(tmp_path):
    good = np.zeros((3, 4, 5, 6))
    for name, values, affine, message in (
        ("a.npy", good, AFFINE, r"a\.npy: displacements are written as NIfTI; give \.nii"),
        ("a.nii", good[:2], AFFINE, r"has shape \[d, \*grid\] .* this has \[2, 4, 5, 6\]"),
        ("a.nii", np.moveaxis(good, 0, -1), AFFINE, r"this has \[4, 5, 6, 3\]"),
        ("a.nii", good, PLANE, r"a\.nii: its affine must have shape \[4, 4\]"),
        ("a.nii", good + 1e39, AFFINE, r"360 numbers of the displacement are not finite in floa"),
        ("a.nii", good.astype(complex), AFFINE, r"holds real numbers, not complex128"),
        ("a.nii", np.array(1.0), AFFINE, r"this has \[\]"),
    ):
        with pytest.raises(InputError, match=message):
            write_displacement(tmp_path / name, values, affine)
    assert list(tmp_path.iterdir()) == []
