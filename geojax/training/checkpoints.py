"""Where a training stands, on the disk: saved between epochs, verified before it goes on."""

import hashlib
import itertools
import re
import shutil
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from geojax import io
from geojax._core.errors import InputError, StorageError
from geojax.io.files import MANIFEST, storage_errors
from geojax.training.state import TrainState

KIND, VERSION, NAME = "training", 1, "state"
# How many are kept: the newest, and one to fall back on where that is damaged.
_KEPT = 2


class Standing(NamedTuple):
    """Where a training stands after an epoch.

    Attributes:
        epoch: epochs done.
        state: what goes on.
        history: means of each epoch.
        best: parameters of the epoch with the lowest validation loss; None without validation.
        best_epoch: its number.
        seconds: that all of these epochs took, whichever process ran them.
    """

    epoch: int
    state: TrainState
    history: list[dict[str, float]]
    best: PyTree = None
    best_epoch: int = 0
    seconds: float = 0.0


class Checkpoints:
    """The standings of one training in a folder, `epoch-00012` and the like.

    Args:
        folder: where; made if it is not there.
        identity: JSON values that say which training this is; one that differs is not gone on with.
        every: epochs from one to the next.
    """

    def __init__(self, folder: str | Path, identity: dict[str, Any], every: int):
        self.folder, self.identity, self.every = Path(folder), identity, every
        self._last = 0

    def save(self, standing: Standing, *, last: bool = False) -> None:
        """Save a standing if it is time for it, or if it is the last, and drop those before it.

        Raises:
            StorageError: the folder cannot be written.
        """
        due = last or standing.epoch % self.every == 0
        if not due or standing.epoch == self._last:
            return
        metadata = {
            "identity": self.identity,
            "epoch": standing.epoch,
            # JSON knows no NaN
            "history": [
                {name: value if np.isfinite(value) else str(value) for name, value in means.items()}
                for means in standing.history
            ],
            "best_epoch": standing.best_epoch,
            "seconds": standing.seconds,
        }
        arrays = {f"{k:05d}": leaf for k, leaf in enumerate(_leaves(standing))}
        place = self.folder / f"epoch-{standing.epoch:05d}"
        io.save_arrays(place, NAME, arrays, metadata, kind=KIND, version=VERSION)
        self._last = standing.epoch
        whole = [place for place in self._places() if (place / MANIFEST).exists()]
        with storage_errors(self.folder):
            for old in set(self._places()) - set(whole[:_KEPT]):
                shutil.rmtree(old)

    def latest(self, like: Standing) -> Standing | None:
        """The newest standing that is whole, or None.

        One that is cut off (its manifest is the last file to be written) is left out. One whose
        content has changed is put aside as `damaged-epoch-...`, with a warning.

        Args:
            like: a standing of the same training, for its structure.

        Raises:
            InputError: the folder holds another training, or one of another precision or structure.
        """
        for place in self._places():
            if not (place / MANIFEST).exists():
                continue
            try:
                arrays, metadata = io.load_arrays(place, NAME, kind=KIND, version=VERSION)
            except StorageError as error:
                names = (f"damaged-{place.name}{'-again' * k}" for k in itertools.count())
                aside = next(x for x in map(place.with_name, names) if not x.exists())
                with storage_errors(self.folder):
                    place.rename(aside)
                warnings.warn(
                    f"{place}: is damaged ({error}), and put aside as {aside.name}; the training "
                    "goes on from the checkpoint before it, if there is one.",
                    stacklevel=3,
                )
                continue
            self._check(place, metadata["identity"])
            standing = _filled(like, [arrays[k] for k in sorted(arrays)], metadata, place)
            self._last = standing.epoch
            return standing
        return None

    def _places(self) -> list[Path]:
        found = [place for place in self.folder.glob("epoch-*") if place.name[6:].isdigit()]
        return sorted(found, key=lambda place: int(place.name[6:]), reverse=True)

    def _check(self, place: Path, found: dict[str, Any]) -> None:
        differs = [
            f"{part} {name}: {there.get(name)!r} there, {here.get(name)!r} here"
            for part, here in self.identity.items()
            for there in [found.get(part, {})]
            for name in {**here, **there}
            if there.get(name) != here.get(name)
        ]
        if differs:
            raise InputError(
                f"{place}: is of another training ({'; '.join(differs[:4])}); give another folder, "
                "or the settings and samples of that training"
            )


def identity_of(arrays: tuple[Any, ...], setting: dict[str, Any], **parts: Any) -> dict[str, Any]:
    """What tells one training from another: its settings, its samples, and what else matters."""
    samples = {"sha256": _digest(arrays), "dtype": str(arrays[0].dtype)}
    others = {name: _digest(value) for name, value in parts.items()}
    return {"setting": setting, "samples": samples, "choice": others}


def _digest(tree: PyTree) -> str:
    """Hash of the structure and the numbers of anything."""
    leaves, structure = jax.tree.flatten(tree)
    # addresses differ from process to process
    digest = hashlib.sha256(re.sub(r" at 0x[0-9a-f]+", "", str(structure)).encode())
    for leaf in leaves:
        if eqx.is_array_like(leaf):
            array = np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf)
            digest.update(f"{array.dtype}{array.shape}".encode() + array.tobytes())
    return digest.hexdigest()[:16]


def _is_key(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _leaves(standing: Standing) -> list[np.ndarray]:
    leaves = jax.tree.leaves((standing.state, standing.best))
    return [np.asarray(jax.random.key_data(x) if _is_key(x) else x) for x in leaves]


def _filled(
    like: Standing, arrays: list[np.ndarray], metadata: dict[str, Any], place: Path
) -> Standing:
    """A standing with other numbers.

    Raises:
        InputError: arrays that do not fit.
    """
    leaves, structure = jax.tree.flatten((like.state, like.best))
    known = _leaves(like)
    shapes, expected = ([(x.shape, x.dtype) for x in each] for each in (arrays, known))
    if shapes != expected:
        raise InputError(
            f"{place}: holds the parameters of another network or another precision; give another "
            "folder, or the model, optimiser and precision of that training"
        )
    found = []
    for leaf, array in zip(leaves, arrays, strict=True):
        value = jnp.asarray(array)
        if _is_key(leaf):
            value = jax.random.wrap_key_data(value, impl=jax.random.key_impl(leaf))
        found.append(value)
    state, best = jax.tree.unflatten(structure, found)
    history = [
        {name: float(value) for name, value in means.items()} for means in metadata["history"]
    ]
    epoch, best_epoch = int(metadata["epoch"]), int(metadata["best_epoch"])
    # checkpoints of before have no seconds
    seconds = float(metadata.get("seconds", 0.0))
    return Standing(epoch, state, history, best, best_epoch, seconds)
