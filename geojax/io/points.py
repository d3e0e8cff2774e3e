"""Point files: read, checked, and written back in the format they came in.

Formats by ending: see `FORMATS`. A file that is written `like` one that was read keeps all of it
but the coordinates: the faces and data of a mesh, the header and other columns of a table, the
other arrays of an archive.
"""

import io
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from geojax._core.errors import InputError
from geojax.io import delimited, files, neuroimaging, npy, ply, stl, text_meshes, vtk, vtp
from geojax.io.decoded import Content, Decoded, as_float, check_cells, row

FORMATS: dict[str, str] = {
    ".npy": "npy",
    ".npz": "npz",
    ".csv": "csv",
    ".txt": "csv",
    ".tsv": "csv",
    ".dat": "csv",
    ".xyz": "csv",
    ".vtk": "vtk",
    ".vtp": "vtp",
    ".ply": "ply",
    ".obj": "obj",
    ".off": "off",
    ".stl": "stl",
    ".gii": "gifti",
    ".pial": "freesurfer",
    ".white": "freesurfer",
    ".orig": "freesurfer",
    ".smoothwm": "freesurfer",
    ".inflated": "freesurfer",
    ".sphere": "freesurfer",
}
_READERS: dict[str, Callable[[bytes, str], Decoded]] = {
    "csv": delimited.decode,
    "vtk": vtk.decode,
    "vtp": vtp.decode,
    "ply": ply.decode,
    "obj": text_meshes.decode_obj,
    "off": text_meshes.decode_off,
    "stl": stl.decode,
    "gifti": neuroimaging.decode_gifti,
    "freesurfer": neuroimaging.decode_freesurfer,
}
_WRITERS: dict[str, Callable[[Content], bytes]] = {
    "vtk": vtk.encode_new,
    "vtp": vtp.encode_new,
    "ply": ply.encode_new,
    "obj": text_meshes.encode_new_obj,
    "off": text_meshes.encode_new_off,
    "stl": stl.encode_new,
    "gifti": neuroimaging.encode_new_gifti,
    "freesurfer": neuroimaging.encode_new_freesurfer,
}
# What the formats of meshes hold beside points and faces.
WITH_EDGES = frozenset({"vtk", "vtp", "ply", "obj", "npz"})
WITH_DATA = frozenset({"vtk", "vtp", "ply"})


@dataclass(frozen=True)
class PointFile:
    """The points of a file, and what else it takes to write the file again.

    Attributes:
        path: where it was read.
        points: `[n, d]`, d = 2 or 3, finite, float32 or float64. A `flat` mesh has d = 2.
        faces: `[f, 3]` triangles, or None.
        flat: the file has three coordinates, of which the third is zero throughout.
        decoded: what the reader handed back.
    """

    path: Path
    points: np.ndarray
    faces: np.ndarray | None
    flat: bool
    decoded: Decoded

    @property
    def format(self) -> str:
        """The format, one of the values of `FORMATS`."""
        return file_format(self.path)

    @property
    def edges(self) -> np.ndarray | None:
        """The pieces of lines in the file."""
        return self.decoded.edges

    def place(self, index: int) -> str:
        """Where point `index` stands in the file, for messages."""
        return self.decoded.rows(index)

    def lifted(self) -> "PointFile":
        """The same file with all three coordinates of a flat mesh."""
        if not self.flat:
            return self
        zeros = np.zeros((len(self.points), 1), self.points.dtype)
        return replace(self, points=np.concatenate([self.points, zeros], axis=1), flat=False)


def file_format(path: str | Path) -> str:
    """The format that an ending stands for.

    Raises:
        InputError: the ending is none of the known ones.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in FORMATS:
        raise InputError(
            f"{path}: the ending {suffix or '(none)'!r} is no point format; use one of "
            f"{', '.join(FORMATS)}"
        )
    return FORMATS[suffix]


def read_points(path: str | Path, *, key: str | None = None) -> PointFile:
    r"""Read and check a point file.

    Args:
        path: the file; `archive.npz:name` picks an array of an archive.
        key: the name of that array, if it is not in `path`.

    Returns:
        Its points, of shape `[n, 2]` or `[n, 3]`.

    Raises:
        InputError: no such file, damaged, empty, not finite, not 2-D or 3-D, or faces that refer to
            vertices that are not there. The message names the file and the line, row or vertex.
        StorageError: the file is there but cannot be read.

    Example:
        >>> import tempfile, pathlib
        >>> from geojax.io import read_points
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder) / "two.csv"
        ...     _ = path.write_text("x,y\n0,0\n1.5,2\n")
        ...     read_points(path).points.tolist()
        [[0.0, 0.0], [1.5, 2.0]]
    """
    path, key = npy.split_key(path, key)
    kind = file_format(path)
    if kind in ("npy", "npz"):
        decoded = _decode_numpy(path, kind, key)
    else:
        data = files.read_bytes(path)
        if not data:
            raise InputError(f"{path}: is empty; write at least one point")
        decoded = _READERS[kind](data, str(path))
    points = _checked(decoded, str(path))
    flat = kind in _WRITERS and points.shape[1] == 3 and not np.any(points[:, 2])
    return PointFile(path, points[:, :2] if flat else points, decoded.faces, flat, decoded)


def encode_points(
    path: str | Path,
    points: np.ndarray,
    *,
    faces: np.ndarray | None = None,
    edges: np.ndarray | None = None,
    point_data: Mapping[str, np.ndarray] | None = None,
    cell_data: Mapping[str, np.ndarray] | None = None,
    like: PointFile | None = None,
) -> bytes:
    """The bytes of a point file, in the format of the ending of `path`.

    Args:
        path: where it will be written; only its ending counts here.
        points: `[n, d]`.
        faces: `[f, 3]` triangles, for the mesh formats.
        edges: `[e, 2]` pieces of lines, for those that hold them.
        point_data, cell_data: name -> `[n]` or `[n, k]`, for those that hold them.
        like: a file of the same format and number of points: all but the coordinates is kept.

    Raises:
        InputError: unknown ending, a format that does not hold what is given, or `like` has
            another number of points.
    """
    kind = file_format(path)
    points = np.asarray(points)
    if like is not None and len(points) != len(like.points):
        raise InputError(
            f"{path}: {len(points)} points cannot take the place of the {len(like.points)} of "
            f"{like.path}; write them without `like`"
        )
    if like is not None and like.flat and points.shape[1] == 2:
        points = np.concatenate([points, np.zeros((len(points), 1), points.dtype)], axis=1)
    if like is not None and like.format == kind:
        return like.decoded.encode(points)
    if like is not None and faces is None and edges is None:
        faces = like.faces
        edges = like.edges if kind in WITH_EDGES and faces is None else None
    if edges is not None and kind not in WITH_EDGES:
        raise InputError(f"{path}: {kind.upper()} holds no lines; write .vtp, .vtk, .ply or .obj")
    if (point_data or cell_data) and kind not in WITH_DATA:
        raise InputError(f"{path}: {kind.upper()} holds no data; write .vtp, .vtk or .ply")
    if kind == "csv":
        return delimited.encode_new(points, "," if Path(path).suffix.lower() == ".csv" else " ")
    if kind in _WRITERS:
        if points.shape[1] == 2:
            points = np.concatenate([points, np.zeros((len(points), 1), points.dtype)], axis=1)
        cells = next((cells for cells in (faces, edges) if cells is not None), points)
        content = Content(
            as_float(points),
            faces,
            edges,
            _data(point_data, len(points), f"{path}: point_data"),
            _data(cell_data, len(cells), f"{path}: cell_data"),
        )
        return _WRITERS[kind](content)
    stream = io.BytesIO()
    if kind == "npy":
        np.save(stream, points, allow_pickle=False)
    else:
        cells = {"faces": faces, "edges": edges}
        arrays = {key: array for key, array in cells.items() if array is not None}
        np.savez(stream, allow_pickle=False, points=points, **arrays)
    return stream.getvalue()


def _data(data: Mapping[str, np.ndarray] | None, count: int, where: str) -> dict[str, np.ndarray]:
    """Data as all formats hold them: float32, float64 or int32, one row for each element."""
    found = {}
    for name, values in (data or {}).items():
        values = np.asarray(values)
        if not name.strip() or not name.isprintable():
            raise InputError(f"{where}: {name!r} is no name; give one of letters")
        if values.ndim not in (1, 2) or len(values) != count or values.dtype.kind not in "biuf":
            raise InputError(
                f"{where}: {name} has shape {list(values.shape)} and dtype {values.dtype}; give "
                f"numbers [{count}] or [{count}, d]"
            )
        found[name] = as_float(values) if values.dtype.kind == "f" else values.astype(np.int32)
    return found


def write_points(
    path: str | Path,
    points: np.ndarray,
    *,
    faces: np.ndarray | None = None,
    edges: np.ndarray | None = None,
    like: PointFile | None = None,
) -> None:
    """Write a point file whole or not at all; see `encode_points`.

    Raises:
        InputError: as `encode_points`.
        StorageError: the place cannot be written.
    """
    files.write_bytes(path, encode_points(path, points, faces=faces, edges=edges, like=like))


def _decode_numpy(path: Path, kind: str, key: str | None) -> Decoded:
    """Points of a NumPy file, and of an archive its faces and edges."""
    if kind == "npy":
        array = npy.read_npy(path)
        return Decoded(array, None, _encode_npy, row)
    arrays = npy.read_npz(path)
    name = npy.choose_points(arrays, str(path), key)
    cells: dict[str, np.ndarray | None] = {"faces": None, "edges": None}
    for noun, size in (("faces", 3), ("edges", 2)):
        if name not in ("points", "vertices") or noun not in arrays:
            continue
        table = arrays[noun]
        if table.ndim != 2 or table.shape[1] != size or table.dtype.kind not in "iu":
            raise InputError(
                f"{path}: {noun} has shape {list(table.shape)} and dtype {table.dtype}; give an "
                f"integer array [n, {size}]"
            )
        sizes = np.full(len(table), size)
        flat = table.reshape(-1).astype(np.int64)
        check_cells(sizes, flat, len(arrays[name]), str(path), name=noun[:-1])
        cells[noun] = table.astype(np.int64)

    def encode(points: np.ndarray) -> bytes:
        stream = io.BytesIO()
        np.savez(stream, allow_pickle=False, **{**arrays, name: points})
        return stream.getvalue()

    return Decoded(arrays[name], cells["faces"], encode, row, cells["edges"])


def _encode_npy(points: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, points, allow_pickle=False)
    return stream.getvalue()


def _checked(decoded: Decoded, where: str) -> np.ndarray:
    """The points as floats, after checks of dtype, shape and values."""
    points = decoded.points
    if points.dtype.kind not in "iuf":
        raise InputError(f"{where}: has dtype {points.dtype}; save the points as real numbers")
    if points.ndim != 2:
        raise InputError(
            f"{where}: has shape {list(points.shape)}; give [n, 2] or [n, 3], one row per point"
        )
    count, dimension = points.shape
    if points.size == 0:
        raise InputError(
            f"{where}: holds no points (shape {[count, dimension]}); give at least one"
        )
    if dimension not in (2, 3):
        mend = (
            f"transpose it to [{dimension}, {count}]?"
            if count in (2, 3)
            else "give 2 or 3 columns, one row per point"
        )
        raise InputError(f"{where}: has {dimension} coordinates per point; {mend}")
    if points.dtype.kind in "iu":
        if where.lower().endswith((".npy", ".npz")):
            warnings.warn(f"{where}: {points.dtype} is cast to floating point", stacklevel=3)
        return points.astype(np.float64)
    bad = np.argwhere(~np.isfinite(points))
    if bad.size:
        i, j = (int(k) for k in bad[0])
        raise InputError(
            f"{where}: {decoded.rows(i)}, {'xyz'[j]}={points[i, j]} ({len(bad)} such value"
            f"{'s' if len(bad) > 1 else ''}); remove the point or give its value"
        )
    return as_float(points)
