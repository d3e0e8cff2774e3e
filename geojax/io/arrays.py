"""Named arrays with their metadata, saved so that damage is noticed.

`save_arrays(folder, "deformation", arrays, metadata)` writes `deformation.npz` and `manifest.json`
(the metadata, and hash, shape and dtype of what was saved). `load_arrays` checks all of it. Nothing
is pickled, so a file from a stranger cannot run code.
"""

import io
from pathlib import Path
from typing import Any

import numpy as np

from geojax._core.errors import InputError, StorageError
from geojax.io import files
from geojax.io.npy import read_npz_bytes


def save_arrays(
    folder: str | Path,
    name: str,
    arrays: dict[str, Any],
    metadata: dict[str, Any],
    *,
    kind: str = "arrays",
    version: int = 1,
) -> Path:
    """Save named arrays and JSON metadata as `name.npz` and `manifest.json`.

    Args:
        folder: folder to write in; made if it is not there.
        name: name of the archive, without the ending.
        arrays: name -> array (NumPy or JAX), numbers or booleans.
        metadata: JSON values.
        kind: what this is, so that one kind is not read as another.
        version: version of the layout of `arrays` and `metadata`.

    Returns:
        The path of the archive.

    Raises:
        InputError: an array holds objects or text, or the metadata is not JSON.
        StorageError: the folder cannot be written.

    Example:
        >>> import tempfile, numpy as np
        >>> from geojax.io import load_arrays, save_arrays
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = save_arrays(folder, "state", {"points": np.eye(2)}, {"scale": 0.5})
        ...     arrays, metadata = load_arrays(folder, "state")
        >>> arrays["points"].tolist(), metadata
        ([[1.0, 0.0], [0.0, 1.0]], {'scale': 0.5})
    """
    plain = {key: np.asarray(value) for key, value in arrays.items()}
    for key, array in plain.items():
        if array.dtype.kind not in "biufc":
            raise InputError(f"{name}: array {key!r} has dtype {array.dtype}; save numbers only")
    stream = io.BytesIO()
    np.savez(stream, allow_pickle=False, **plain)
    content = {
        "kind": kind,
        "version": version,
        "metadata": metadata,
        "arrays": {
            key: {"shape": list(array.shape), "dtype": str(array.dtype)}
            for key, array in plain.items()
        },
    }
    try:
        files.json.dumps(content, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name}: metadata is not JSON ({error}); give plain values") from error
    folder = Path(folder)
    with files.storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    archive = f"{name}.npz"
    # The old manifest goes first: a crash in between leaves a folder that says it is incomplete.
    with files.storage_errors(folder):
        (folder / files.MANIFEST).unlink(missing_ok=True)
    files.write_bytes(folder / archive, stream.getvalue())
    files.write_manifest(folder, [archive], content)
    return folder / archive


def load_arrays(
    folder: str | Path, name: str, *, kind: str = "arrays", version: int = 1
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Load what `save_arrays` saved, after checking its hash, kind and version.

    Args:
        folder: folder that holds `name.npz` and `manifest.json`.
        name: name of the archive, without the ending.
        kind: what it must be.
        version: the newest version of the layout that the caller can read.

    Returns:
        The arrays by name, and the metadata.

    Raises:
        InputError: no such folder, another kind, or a newer version.
        StorageError: a file is missing, cut off or changed.
    """
    manifest = files.read_manifest(folder)
    path = Path(folder) / files.MANIFEST
    if manifest.get("kind") != kind:
        raise InputError(
            f"{path}: holds {manifest.get('kind')!r}, not {kind!r}; give another folder"
        )
    found = manifest.get("version")
    if isinstance(found, bool) or not isinstance(found, int) or not 1 <= found <= version:
        raise InputError(
            f"{path}: has version {found!r} of {kind!r}, but this geojax reads up to {version}; "
            "read it with the version of geojax that wrote it"
        )
    archive = f"{name}.npz"
    data = files.read_verified(folder, archive, manifest)
    arrays = read_npz_bytes(data, str(Path(folder) / archive))
    for key, entry in manifest.get("arrays", {}).items():
        if key not in arrays or list(arrays[key].shape) != entry.get("shape"):
            raise StorageError(f"{path}: array {key!r} is not as listed; restore the folder")
    return arrays, manifest.get("metadata", {})
