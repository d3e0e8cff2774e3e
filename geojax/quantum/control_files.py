"""Controls in files: what a `.npz` or `.json` of them holds, checked as it is read."""

import io
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from geojax._core import checks, pauli
from geojax._core.errors import InputError
from geojax.io.files import checked_path, read_json
from geojax.io.npy import read_npz
from geojax.quantum.strings import check_labels, indices

_KIND = "geojax controls"
_VERSION = 1


class Content(NamedTuple):
    """The numbers of controls; `drift` holds the coefficients of all 4^n strings, or is None."""

    coefficients: np.ndarray
    durations: np.ndarray
    labels: tuple[str, ...]
    drift: np.ndarray | None


def ending(path: str | Path) -> str:
    """`.npz` or `.json`.

    Raises:
        InputError: another ending.
    """
    found = checked_path(path, "controls").suffix.lower()
    if found not in (".npz", ".json"):
        raise InputError(f"{path}: controls are kept in .npz or .json files; rename it.")
    return found


def to_json(content: Content) -> dict[str, Any]:
    """Plain values, the drift by string."""
    drift = None
    if content.drift is not None:
        names = pauli.labels(len(content.labels[0]))
        drift = {name: float(v) for name, v in zip(names, content.drift) if v}
    return {
        "kind": _KIND,
        "version": _VERSION,
        "labels": list(content.labels),
        "durations": content.durations.tolist(),
        "coefficients": content.coefficients.tolist(),
        "drift": drift,
    }


def to_npz(content: Content) -> bytes:
    """An archive of plain arrays."""
    arrays = {
        "kind": np.array(_KIND),
        "version": np.array(_VERSION),
        "labels": np.array(content.labels),
        "durations": content.durations,
        "coefficients": content.coefficients,
    }
    if content.drift is not None:
        arrays["drift"] = content.drift
    stream = io.BytesIO()
    np.savez(stream, allow_pickle=False, **arrays)
    return stream.getvalue()


def read(path: str | Path) -> Content:
    """Read a file of controls.

    Raises:
        InputError: not a file of controls, or numbers in it that do not fit.
    """
    found: Any = read_json(path) if ending(path) == ".json" else read_npz(path)
    if not isinstance(found, dict) or str(found.get("kind")) != _KIND:
        raise InputError(f"{path}: holds no controls; give a file that Controls.save wrote.")
    if str(found.get("version")) != str(_VERSION):
        raise InputError(
            f"{path}: has version {found.get('version')!s} of the controls, but this geojax reads "
            f"version {_VERSION}; read it with the version of geojax that wrote it."
        )
    missing = [name for name in ("labels", "durations", "coefficients") if name not in found]
    if missing:
        raise InputError(f"{path}: has no {missing[0]!r}; save the controls again.")
    labels = check_labels([str(label) for label in found["labels"]], f"{path}: labels")
    return Content(
        _numbers(found["coefficients"], f"{path}: coefficients"),
        _numbers(found["durations"], f"{path}: durations"),
        labels,
        _drift(found.get("drift"), len(labels[0]), f"{path}: drift"),
    )


def _drift(found: Any, num_qubits: int, where: str) -> np.ndarray | None:
    if found is None:
        return None
    if not isinstance(found, dict):
        values = _numbers(found, where)
        if values.shape != (4**num_qubits,):
            raise InputError(
                f"{where} must hold {4**num_qubits} numbers, but has shape {list(values.shape)}."
            )
        return values
    values = np.zeros(4**num_qubits)
    if found:
        labels = check_labels(tuple(found), where, num_qubits)
        values[indices(labels)] = _numbers([found[label] for label in labels], where)
    return values


def _numbers(values: Any, where: str) -> np.ndarray:
    array = checks.as_numbers(values, where)
    # single precision stays what it was
    return np.asarray(values) if isinstance(values, np.ndarray) else array
