"""Fidelities and layouts as JSON and named arrays, and back."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from geojax._core.errors import InputError
from geojax.kernels import AbstractRadialKernel, describe, from_description
from geojax.matching.layout import Layout
from geojax.shapes import (
    MMD,
    Combined,
    Currents,
    Landmarks,
    NormalCycles,
    PartialVarifold,
    Sinkhorn,
    Varifold,
)

# What can be written down, and what it is called in a file.
_FAMILIES = {
    "combined": Combined,
    "currents": Currents,
    "landmarks": Landmarks,
    "layout": Layout,
    "mmd": MMD,
    "normal cycles": NormalCycles,
    "partial varifold": PartialVarifold,
    "sinkhorn": Sinkhorn,
    "varifold": Varifold,
}


def write_down(value: Any, key: str, arrays: dict[str, Any]) -> Any:
    """A value as JSON; its arrays are added to `arrays` under names that begin with `key`.

    Raises:
        InputError: a fidelity or a kernel that is not one of geojax.
    """
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, tuple):
        return [write_down(v, f"{key}_{k}", arrays) for k, v in enumerate(value)]
    if isinstance(value, AbstractRadialKernel):
        return {"kernel": describe(value)}
    if isinstance(value, jax.Array | np.ndarray):
        arrays[key] = value
        return {"array": key}
    for name, family in _FAMILIES.items():
        if type(value) is family:
            fields = {
                field.name: write_down(getattr(value, field.name), f"{key}_{field.name}", arrays)
                for field in dataclasses.fields(value)
            }
            return {"name": name, "fields": fields}
    raise InputError(
        f"Argument {key} must be one of geojax.shapes to be saved, but is a {type(value).__name__}."
    )


def read_back(written: Any, array: Callable[[str], Any]) -> Any:
    """The value that `write_down` wrote; `array` gives an array by its name."""
    if isinstance(written, list):
        return tuple(read_back(w, array) for w in written)
    if not isinstance(written, dict):
        return written
    if "kernel" in written:
        return from_description(written["kernel"])
    if "array" in written:
        return array(written["array"])
    fields = {key: read_back(w, array) for key, w in written["fields"].items()}
    return _FAMILIES[written["name"]](**fields)
