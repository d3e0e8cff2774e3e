"""Labelled samples: the digits with their fixed split, or the user's own arrays."""

import re
from pathlib import Path
from typing import Any

import equinox as eqx
import numpy as np

from geojax import io
from geojax._core import checks
from geojax._core.errors import InputError
from geojax.io import delimited, npy
from geojax.io.files import read_bytes

# The split of the digits is part of every figure that is reported on them.
DIGITS_SPLIT_SEED = 0
DIGITS_TEST_FRACTION = 0.25


class Samples(eqx.Module):
    """Inputs with their classes.

    Args:
        inputs: `[n, d]`, finite; float32 or float64.
        labels: `[n]`, whole numbers from 0.
        num_classes: number of classes; one more than the largest label if None.
        name: where they come from, for messages.

    Raises:
        InputError: shapes that do not fit, values that are not finite, labels that are no classes.

    Example:
        >>> import numpy as np
        >>> samples = Samples(np.eye(3, dtype=np.float32), [0, 1, 1])
        >>> len(samples), samples.num_features, samples.num_classes
        (3, 3, 2)
    """

    inputs: np.ndarray
    labels: np.ndarray
    num_classes: int = eqx.field(static=True)
    name: str = eqx.field(static=True)

    def __init__(self, inputs: Any, labels: Any, num_classes: int | None = None, name="samples"):
        self.name = name
        self.inputs = _inputs(inputs, name)
        self.labels = _labels(labels, name)
        if len(self.inputs) != len(self.labels):
            raise InputError(
                f"{name}: {len(self.inputs)} inputs have {len(self.labels)} labels; give one label "
                "for each input"
            )
        found = int(self.labels.max()) + 1
        classes = found if num_classes is None else checks.count(num_classes, "num_classes")
        if found > classes:
            raise InputError(
                f"{name}: row {int(np.argmax(self.labels))} has label {found - 1}, but there are "
                f"{classes} classes, numbered from 0"
            )
        if classes < 2:
            raise InputError(f"{name}: all labels are 0; a classifier needs at least two classes")
        self.num_classes = classes

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def num_features(self) -> int:
        """Dimension d of the inputs."""
        return self.inputs.shape[1]

    def take(self, rows: Any) -> "Samples":
        """Some of the samples, of as many classes."""
        return Samples(self.inputs[rows], self.labels[rows], self.num_classes, self.name)


class Split(eqx.Module):
    """Samples to train on and samples to test on, disjoint."""

    train: Samples
    test: Samples


def stratified_split(samples: Samples, *, test_fraction: float = 0.25, seed: int = 0) -> Split:
    """Split samples so that each class is tested on the same fraction of its samples.

    Args:
        samples: what to split.
        test_fraction: between 0 and 1.
        seed: of the choice; the same seed gives the same split on every machine.

    Raises:
        InputError: a class with fewer than two samples, or a fraction that leaves a part empty.
    """
    if not 0 < test_fraction < 1:
        raise InputError(
            f"Argument test_fraction must lie between 0 and 1, but is {test_fraction!r}."
        )
    random = np.random.default_rng(checks.count(seed, "seed", least=0))
    chosen = []
    for label in range(samples.num_classes):
        rows = random.permutation(np.flatnonzero(samples.labels == label))
        if len(rows) == 1:
            raise InputError(
                f"{samples.name}: class {label} has one sample (row {int(rows[0])}), which cannot "
                "be both trained and tested on; add samples or remove the class"
            )
        # at least one on either side
        chosen.append(rows[: min(max(1, round(test_fraction * len(rows))), len(rows) - 1)])
    tested = np.zeros(len(samples), bool)
    tested[np.concatenate(chosen)] = True
    return Split(samples.take(~tested), samples.take(tested))


def load_digits_split() -> Split:
    """The 1,797 handwritten digits of scikit-learn (8 x 8 pixels in 0 to 1), split for good.

    Returns:
        1,347 samples to train on and 450 to test on, a quarter of each class.

    Raises:
        InputError: scikit-learn is not installed.

    Example:
        >>> split = load_digits_split()
        >>> len(split.train), len(split.test), split.train.num_features
        (1347, 450, 64)

    Reference: [alpaydin1998optical]
    """
    digits = io.digits()
    samples = Samples(digits.images.reshape(len(digits.images), -1), digits.labels, 10, "digits")
    return stratified_split(samples, test_fraction=DIGITS_TEST_FRACTION, seed=DIGITS_SPLIT_SEED)


def load_idx_split(folder: str | Path) -> Split:
    """Read MNIST, Fashion-MNIST or anything like them, with the split that they come with.

    Args:
        folder: holds `train-images-idx3-ubyte`, `train-labels-idx1-ubyte` and the same of `t10k`,
            plain or with `.gz`.

    Returns:
        Images flattened to `[n, d]`, bytes as 0 to 1.

    Raises:
        InputError: a file is missing, or holds something else.
        StorageError: a file is cut off or damaged.

    Reference: [lecun1998gradient]
    """
    folder = Path(folder)
    parts = []
    for name in ("train", "t10k"):
        images, labels = (
            io.read_idx(_idx_file(folder, f"{name}-{kind}"))
            for kind in ("images-idx3", "labels-idx1")
        )
        if images.ndim < 2 or labels.ndim != 1 or not images.size or not labels.size:
            raise InputError(
                f"{folder}: {name} has images of shape {list(images.shape)} and labels of shape "
                f"{list(labels.shape)}; give [n, ...] and [n], at least one of them"
            )
        values = images.reshape(len(images), -1)
        values = values.astype(np.float32) / (255 if values.dtype.kind in "ui" else 1)
        parts.append((values.astype(np.float32), labels))
    classes = 1 + max(int(labels.max()) for _, labels in parts)
    return Split(*(Samples(x, y, classes, folder.name) for x, y in parts))


def _idx_file(folder: Path, name: str) -> Path:
    # some tools unpack train-images-idx3-ubyte as train-images.idx3-ubyte
    for stem in (name, name.replace("-idx", ".idx")):
        for ending in ("-ubyte.gz", "-ubyte"):
            if (path := folder / f"{stem}{ending}").exists():
                return path
    raise InputError(f"{folder}: has no {name}-ubyte.gz; give a folder as MNIST comes in")


def load_samples(path: str | Path) -> Samples:
    """Read labelled samples from a file.

    Args:
        path: `.npz` with arrays x `[n, ...]` (flattened to `[n, d]`) and y `[n]`, or `.csv` (also
            `.txt`, `.tsv`, `.dat`) with the label in the last column.

    Raises:
        InputError: no such file, or what it holds is no labelled samples.
        StorageError: the file cannot be read.
    """
    path, name = Path(path), str(path)
    if path.suffix == ".npz":
        arrays = npy.read_npz(path)
        for key in ("x", "y"):
            if key not in arrays:
                raise InputError(
                    f"{name}: has no array {key!r}; it has {', '.join(arrays) or 'none'}; save it "
                    "with numpy.savez(path, x=inputs, y=labels)"
                )
        inputs = arrays["x"]
        return Samples(inputs.reshape(len(inputs), -1) if inputs.ndim > 2 else inputs,
                       arrays["y"], name=name)  # fmt: skip
    if path.suffix in (".csv", ".txt", ".tsv", ".dat"):
        table = delimited.decode(_all_columns(read_bytes(path)), name).points
        if table.shape[1] < 2:
            raise InputError(f"{name}: has one column; give features and then the label")
        return Samples(table[:, :-1].astype(np.float32), table[:, -1], name=name)
    raise InputError(f"{name}: unknown ending {path.suffix!r}; give .npz (x and y) or .csv")


def _all_columns(data: bytes) -> bytes:
    """The table with a header that names x and y made a comment.

    In a point file these names say which columns are the points; here all columns count.
    """
    first = re.search(rb"^(?:\xef\xbb\xbf)?[ \t]*()([^#\s].*)$", data, re.M)
    if first is None:
        return data
    names = {field.strip(b' "').lower() for field in re.split(rb"[;,\t\r ]", first[2])}
    if not {b"x", b"y"} <= names:
        return data
    return data[: first.start(1)] + b"#" + data[first.start(1) :]


def _inputs(values: Any, name: str) -> np.ndarray:
    array = np.asarray(values)
    if array.dtype.kind not in "fiub":
        raise InputError(f"{name}: inputs have dtype {array.dtype}; give real numbers")
    if array.ndim != 2 or 0 in array.shape:
        raise InputError(
            f"{name}: inputs have shape {list(array.shape)}; give [n, d], one row per sample"
        )
    if array.dtype not in (np.float32, np.float64):
        array = array.astype(np.float32)
    bad = np.argwhere(~np.isfinite(array))
    if bad.size:
        row, column = (int(k) for k in bad[0])
        raise InputError(
            f"{name}: row {row}, feature {column} is {array[row, column]} ({len(bad)} such "
            "entries); remove or repair them"
        )
    return array


def _labels(values: Any, name: str) -> np.ndarray:
    array = np.asarray(values)
    if array.dtype.kind not in "fiu" or array.ndim != 1 or not array.size:
        raise InputError(
            f"{name}: labels have shape {list(array.shape)} and dtype {array.dtype}; give [n] "
            "whole numbers"
        )
    whole = np.round(array)
    bad = np.flatnonzero(~np.isfinite(array) | (array != whole) | (array < 0) | (array >= 2**31))
    if bad.size:
        raise InputError(
            f"{name}: row {int(bad[0])} has label {array[bad[0]]}; number the classes 0, 1, 2, ..."
        )
    return whole.astype(np.int32)
