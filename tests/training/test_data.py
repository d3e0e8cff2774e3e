"""Labelled samples: the fixed split of the digits, files, and what is refused."""

import hashlib

import numpy as np
import pytest

from geojax._core.errors import InputError
from geojax.training import (
    Samples,
    Split,
    load_digits_split,
    load_idx_split,
    load_samples,
    stratified_split,
)


@pytest.fixture(scope="module")
def split() -> Split:
    return load_digits_split()


class TestDigits:
    def test_every_digit_is_on_one_side(self, split):
        from sklearn.datasets import load_digits

        rows = np.concatenate([split.train.inputs, split.test.inputs])
        labels = np.concatenate([split.train.labels, split.test.labels])
        theirs = load_digits()
        ours = np.unique(np.column_stack([rows * 16, labels]), axis=0)
        np.testing.assert_array_equal(
            ours, np.unique(np.column_stack([theirs.data, theirs.target]), axis=0)
        )
        assert len(ours) == len(split.train) + len(split.test) == 1797

    def test_a_quarter_of_each_class_is_tested_on(self, split):
        train, test = np.bincount(split.train.labels), np.bincount(split.test.labels)
        np.testing.assert_allclose(test / (train + test), 0.25, atol=0.003)

    def test_the_split_is_the_one_of_the_figures(self, split):
        """A change here makes all reported figures those of another split."""
        digest = hashlib.sha256(split.test.inputs.astype("<f4").tobytes()).hexdigest()
        assert digest.startswith("807f11f155907495")

    def test_pixels_are_between_zero_and_one(self, split):
        assert split.train.inputs.dtype == np.float32
        assert (split.train.inputs.min(), split.train.inputs.max()) == (0.0, 1.0)


class TestIdx:
    def folder(self, place, counts=(5, 3), name="{}-{}-ubyte"):
        """Images of 2 x 2 pixels in the files of MNIST."""
        for part, count in zip(("train", "t10k"), counts, strict=True):
            images = np.arange(4 * count, dtype=np.uint8).reshape(count, 2, 2)
            for kind, array in (("images-idx3", images), ("labels-idx1", np.arange(count) % 3)):
                head = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
                data = head + array.astype(np.uint8).tobytes()
                (place / name.format(part, kind)).write_bytes(data)
        return place

    @pytest.mark.parametrize("dotted", [False, True])
    def test_files(self, tmp_path, dotted):
        split = load_idx_split(self.folder(tmp_path))
        if dotted:
            for file in list(tmp_path.iterdir()):
                file.rename(file.with_name(file.name.replace("-idx", ".idx")))
            split = load_idx_split(tmp_path)
        assert (len(split.train), len(split.test), split.test.num_classes) == (5, 3, 3)
        np.testing.assert_allclose(split.train.inputs, np.arange(20.0).reshape(5, 4) / 255)

    def test_empty_files(self, tmp_path):
        with pytest.raises(InputError, match=r"t10k has images of shape \[0, 2, 2\]"):
            load_idx_split(self.folder(tmp_path, counts=(5, 0)))


class TestSplit:
    def test_seeds(self, data):
        splits = [stratified_split(data, seed=seed).test.inputs for seed in (0, 0, 1)]
        np.testing.assert_array_equal(splits[0], splits[1])
        assert not np.array_equal(splits[0], splits[2])

    def test_each_class_is_on_both_sides(self):
        samples = Samples(np.arange(7.0)[:, None], [0, 0, 0, 0, 0, 1, 1])
        split = stratified_split(samples, test_fraction=0.1)
        assert set(split.train.labels) == set(split.test.labels) == {0, 1}
        assert split.test.num_classes == 2

    @pytest.mark.parametrize("fraction", [0.0, 1.0, -0.5, 2.0])
    def test_bad_fractions(self, data, fraction):
        with pytest.raises(InputError, match="test_fraction must lie between 0 and 1"):
            stratified_split(data, test_fraction=fraction)

    def test_a_class_of_one_sample(self):
        samples = Samples(np.eye(3), [0, 0, 1])
        with pytest.raises(InputError, match=r"class 1 has one sample \(row 2\)"):
            stratified_split(samples)


class TestSamples:
    @pytest.mark.parametrize(
        ("inputs", "labels", "message"),
        [
            (np.ones((3, 2)), [0, 1], "3 inputs have 2 labels"),
            (np.ones(3), [0, 1, 0], r"inputs have shape \[3\]"),
            (np.ones((0, 2)), [], r"inputs have shape \[0, 2\]"),
            (np.ones((2, 2)), np.ones((2, 1), int), r"labels have shape \[2, 1\]"),
            (np.array([[1.0], [np.nan]]), [0, 1], "row 1, feature 0 is nan"),
            (np.array([["a"], ["b"]]), [0, 1], "inputs have dtype <U1"),
            (np.array([[1j], [2j]]), [0, 1], "inputs have dtype complex128"),
            (np.ones((2, 2)), [0.0, 0.5], "row 1 has label 0.5; number the classes"),
            (np.ones((2, 2)), [0, -1], "row 1 has label -1"),
            (np.ones((2, 2)), [0.0, np.nan], "row 1 has label nan"),
            (np.ones((2, 2)), ["a", "b"], "dtype <U1"),
            (np.ones((2, 2)), [0, 0], "at least two classes"),
        ],
    )
    def test_what_is_refused(self, inputs, labels, message):
        with pytest.raises(InputError, match=f"mine: .*{message}"):
            Samples(inputs, labels, name="mine")

    def test_a_label_too_many(self):
        with pytest.raises(InputError, match="row 1 has label 5, but there are 3 classes"):
            Samples(np.ones((2, 2)), [0, 5], 3)

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_dtype_is_kept(self, dtype):
        assert Samples(np.eye(2, dtype=dtype), [0, 1]).inputs.dtype == dtype

    def test_integers_become_floats(self):
        assert Samples(np.eye(2, dtype=np.uint8), [0, 1]).inputs.dtype == np.float32


class TestFiles:
    def test_npz(self, tmp_path):
        images = np.random.default_rng(0).normal(size=(6, 2, 3)).astype(np.float32)
        np.savez(tmp_path / "mine.npz", x=images, y=[0, 1, 2, 0, 1, 2])
        samples = load_samples(tmp_path / "mine.npz")
        np.testing.assert_array_equal(samples.inputs, images.reshape(6, 6))
        assert samples.num_classes == 3

    def test_csv(self, tmp_path):
        (tmp_path / "mine.csv").write_text("width,height,class\n1,2.5,0\n3,4,1\n")
        samples = load_samples(tmp_path / "mine.csv")
        np.testing.assert_array_equal(samples.inputs, [[1, 2.5], [3, 4]])
        np.testing.assert_array_equal(samples.labels, [0, 1])

    @pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
    def test_columns_named_x_and_y_are_features_like_others(self, tmp_path, mark):
        (tmp_path / "mine.csv").write_bytes(mark + b'"x",y,z,w,class\r\n1,2,3,4,0\r\n5,6,7,8,1\r\n')
        samples = load_samples(tmp_path / "mine.csv")
        np.testing.assert_array_equal(samples.inputs, [[1, 2, 3, 4], [5, 6, 7, 8]])
        np.testing.assert_array_equal(samples.labels, [0, 1])

    @pytest.mark.parametrize(
        ("name", "content", "message"),
        [
            ("a.csv", b"1,2,0\n3,4,1.5\n", "row 1 has label 1.5"),
            ("a.csv", b"1,2,0\n3,nan,1\n", "row 1, feature 1 is nan"),
            ("a.csv", b"1\n2\n", "one column"),
            ("a.xlsx", b"", "unknown ending '.xlsx'"),
            ("a.npz", b"no archive", "not a readable npz"),
        ],
    )
    def test_bad_files_are_named(self, tmp_path, name, content, message):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=message) as caught:
            load_samples(tmp_path / name)
        assert name in str(caught.value)

    def test_missing_file(self, tmp_path):
        with pytest.raises(InputError, match=r"gone\.csv: no such file"):
            load_samples(tmp_path / "gone.csv")

    def test_npz_without_labels(self, tmp_path):
        np.savez(tmp_path / "mine.npz", x=np.eye(2))
        with pytest.raises(InputError, match="has no array 'y'; it has x; save it with"):
            load_samples(tmp_path / "mine.npz")

    def test_pickled_labels_are_not_loaded(self, tmp_path):
        np.savez(tmp_path / "mine.npz", x=np.eye(2), y=np.array(["a", None], object))
        with pytest.raises(InputError, match="holds Python objects"):
            load_samples(tmp_path / "mine.npz")
