"""Deformed meshes with what deformed them, as ParaView reads them."""

from typing import Any

import numpy as np

from geojax.cli.run import Run
from geojax.io import PointFile, encode_mesh, encode_points


def write_deformed(
    run: Run,
    file: PointFile,
    stem: str,
    *,
    start: Any,
    moved: Any,
    determinants: Any,
    base: Any,
    momentum: Any,
) -> None:
    """Write a moved mesh with the Jacobian and the initial momentum at its vertices.

    Momenta that do not sit on the vertices get a file of their own.

    Args:
        run: whose folder is written to.
        file: whose cells are kept.
        stem: of the names, STEM-data.vtp and STEM-momentum.vtp.
        start: vertices before, `[n, d]`.
        moved: vertices after, `[n, d]`.
        determinants: Jacobian determinant at each, `[n]`.
        base: points with momenta, `[c, d]`.
        momentum: of these, `[c, d]`.
    """
    start, moved, base = np.asarray(start), np.asarray(moved), np.asarray(base)
    # not as a shape: a cell may have collapsed, of the file's before the match or by it
    faces, edges = file.faces, file.edges if file.faces is None else None
    data, arrows = {"jacobian": np.asarray(determinants)}, _in_space(np.asarray(momentum))
    if base.shape == start.shape and np.array_equal(base, start):
        data["momentum"] = arrows
    else:
        name = f"{stem}-momentum.vtp"
        run.write(name, encode_mesh(name, base, point_data={"momentum": arrows}))
    name = f"{stem}-data.vtp"
    run.write(
        name, encode_points(name, _in_space(moved), faces=faces, edges=edges, point_data=data)
    )


def _in_space(vectors: np.ndarray) -> np.ndarray:
    """Vectors `[n, 3]`; ParaView draws no arrows for those of the plane."""
    return np.pad(vectors, ((0, 0), (0, 3 - vectors.shape[1])))
