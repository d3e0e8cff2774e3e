"""Curves and surfaces for pyvista: windows and notebooks in which they can be turned."""

import importlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from geojax._core.errors import InputError
from geojax.shapes import Curve, Surface


def to_pyvista(shape: Any, point_data: Mapping[str, Any] | None = None) -> Any:
    """A curve or a surface as pyvista draws it.

    Args:
        shape: a `Curve`, also of the plane, or a `Surface`.
        point_data: arrays with one entry for each vertex, `[n]` or `[n, k]`, by name.

    Returns:
        A `pyvista.PolyData`; `to_pyvista(surface).plot()` opens a window.

    Raises:
        InputError: another shape, data of another length, or pyvista is not installed.

    Gradient: none.
    """
    if not isinstance(shape, Curve | Surface):
        raise InputError(
            f"Argument shape must be a `Curve` or a `Surface`, but is a {type(shape).__name__}."
        )
    try:
        pyvista = importlib.import_module("pyvista")
    except ImportError as error:
        raise InputError(
            "to_pyvista: needs the package 'pyvista', which is not installed; install it with: "
            "pip install 'geojax-engine[pyvista]'"
        ) from error
    vertices = np.asarray(shape.vertices)
    vertices = np.pad(vertices, ((0, 0), (0, 3 - vertices.shape[1])))
    cells = np.asarray(shape.cells)
    flat = np.insert(cells, 0, cells.shape[1], axis=1).reshape(-1)
    kind = "faces" if isinstance(shape, Surface) else "lines"
    mesh = pyvista.PolyData(vertices, **{kind: flat})
    for name, values in (point_data or {}).items():
        array = np.asarray(values)
        if array.ndim == 0 or len(array) != len(vertices):
            raise InputError(
                f"Argument point_data must have one entry for each of the {len(vertices)} "
                f"vertices, but {name!r} has shape {list(array.shape)}."
            )
        mesh.point_data[name] = array
    return mesh
