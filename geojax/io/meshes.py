"""Mesh files to curves and surfaces, and back."""

import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from geojax._core.errors import InputError
from geojax.io import files
from geojax.io.points import PointFile, encode_points, read_points

if TYPE_CHECKING:
    from geojax.shapes import Curve, Surface


def read_mesh(path: str | Path) -> "Surface | Curve":
    r"""Read a surface or a curve: VTK, VTP, PLY, OBJ, STL, OFF, GIFTI, FreeSurfer, or an archive.

    Triangles make a `Surface`, lines a `Curve`; of a curve whose third coordinate is zero
    throughout it is dropped. Larger polygons are cut into triangles, with a warning. The formats
    and what they hold: see the page on meshes.

    Args:
        path: the file; its ending says the format.

    Returns:
        The mesh, in the precision of the file where JAX has it.

    Raises:
        InputError: no such file, damaged, without cells, not finite, or with cells that refer to
            vertices that are not there or measure nothing. The message names the file and the
            vertex or face.
        StorageError: the file is there but cannot be read.

    Example:
        >>> import pathlib, tempfile
        >>> from geojax.io import read_mesh
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder) / "triangle.off"
        ...     _ = path.write_text("OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n")
        ...     read_mesh(path).measure.tolist()
        [0.5]
    """
    return as_mesh(read_points(path))


def as_mesh(file: PointFile, points: np.ndarray | None = None) -> "Surface | Curve":
    """The curve or surface of a file that was read.

    Args:
        file: what `read_points` read.
        points: `[n, d]` to take the place of its points, such as the same in another precision.

    Raises:
        InputError: it holds neither faces nor lines, or cells that measure nothing.
    """
    from geojax.shapes import Curve, Surface

    given = file.points if points is None else points
    if file.faces is None and file.edges is None:
        raise InputError(
            f"{file.path}: holds points without faces or lines; give a mesh, or match it as points"
        )
    if file.faces is not None and given.shape[1] == 2:
        given = np.concatenate([given, np.zeros((len(given), 1), given.dtype)], axis=1)
    if file.decoded.polygons:
        warnings.warn(
            f"{file.path}: {file.decoded.polygons} faces have more than three vertices and are cut "
            f"into triangles, {len(file.faces if file.faces is not None else ())} in all",
            stacklevel=3,
        )
    if file.faces is not None and file.edges is not None:
        warnings.warn(
            f"{file.path}: holds {len(file.edges)} pieces of lines beside its faces, which are "
            "left out",
            stacklevel=3,
        )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            if file.faces is not None:
                mesh = Surface(given, file.faces)
            else:
                mesh = Curve(given, file.edges)
        except InputError as error:
            raise InputError(_named(error, file)) from error
    for note in caught:
        warnings.warn(_named(note.message, file), note.category, stacklevel=3)
    return mesh


def _named(message: object, file: PointFile) -> str:
    """The file in place of an argument."""
    text, count = re.subn(r"^Argument (?:faces|edges|vertices):?", f"{file.path}:", str(message))
    return text if count else f"{file.path}: {text}"


def encode_mesh(
    path: str | Path,
    mesh: "Surface | Curve | np.ndarray",
    *,
    point_data: Mapping[str, np.ndarray] | None = None,
    cell_data: Mapping[str, np.ndarray] | None = None,
) -> bytes:
    """The bytes of a mesh file; see `write_mesh`."""
    points = np.asarray(getattr(mesh, "vertices", mesh))
    faces, edges = getattr(mesh, "faces", None), getattr(mesh, "edges", None)
    return encode_points(
        path,
        points,
        faces=None if faces is None else np.asarray(faces),
        edges=None if edges is None else np.asarray(edges),
        point_data=point_data,
        cell_data=cell_data,
    )


def write_mesh(
    path: str | Path,
    mesh: "Surface | Curve | np.ndarray",
    *,
    point_data: Mapping[str, np.ndarray] | None = None,
    cell_data: Mapping[str, np.ndarray] | None = None,
) -> None:
    """Write a surface, a curve or bare points, whole or not at all.

    Args:
        path: the file; its ending says the format. VTK, VTP and PLY hold data; ParaView shows those
            of VTK and VTP.
        mesh: a `Surface`, a `Curve`, or points `[n, d]`. Points of the plane get z = 0.
        point_data: values at the vertices by name, `[n]` or `[n, k]`.
        cell_data: values of the faces or edges by name, `[c]` or `[c, k]`.

    Raises:
        InputError: unknown ending, a format that does not hold what is given, or data of another
            length.
        StorageError: the place cannot be written.

    Example:
        >>> import pathlib, tempfile
        >>> import numpy as np
        >>> from geojax.io import read_mesh, write_mesh
        >>> from geojax.shapes import Curve
        >>> square = Curve(np.array([[0.0, 0], [1, 0], [1, 1], [0, 1]]))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder) / "square.vtp"
        ...     write_mesh(path, square, point_data={"height": np.arange(4.0)})
        ...     read_mesh(path).edges.tolist()
        [[0, 1], [1, 2], [2, 3]]
    """
    files.write_bytes(path, encode_mesh(path, mesh, point_data=point_data, cell_data=cell_data))
