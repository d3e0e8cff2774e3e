"""Files of a command: read in pairs, merged, and cut to the precision of the run."""

import warnings
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from geojax._core.errors import InputError
from geojax.io import PointFile, read_points

# Fidelities of surfaces and curves.
MEASURES = ("varifold", "currents")

# A list of pairs in an error message is for finding the mistake, not for working through it.
_LISTED = 3


def read_pair(source: str, target: str) -> tuple[PointFile, PointFile]:
    """Read two files that are to be matched; see `read_together`."""
    first, second = read_together([source, target])
    return first, second


def read_together(paths: Sequence[str]) -> list[PointFile]:
    """Read files that are compared; flat meshes become 2-D only if all are flat.

    Raises:
        InputError: as `read_points`, or one is 2-D and another 3-D.
    """
    read = [read_points(path) for path in paths]
    if len({file.flat for file in read}) > 1:
        read = [file.lifted() for file in read]
    first = read[0]
    for file in read[1:]:
        if file.points.shape[1] != first.points.shape[1]:
            raise InputError(
                f"{first.path} is {first.points.shape[1]}-D and {file.path} is "
                f"{file.points.shape[1]}-D; give both the same number of coordinates"
            )
    return read


def warn_of_fewer(control_points: int, count: int, file: PointFile) -> None:
    """Say that fewer control points than points were taken."""
    warnings.warn(
        f"{control_points} control points are taken, spread over the {count} of {file.path}, "
        "which lie too densely for the kernel scale to tell all of them apart; give "
        "--control-points, or a smaller --scale",
        stacklevel=3,
    )


def refuse_taken_name(file: PointFile) -> None:
    """Raise where the moved file would take the place of the saved deformation."""
    if file.path.name == "deformation.npz":
        raise InputError(
            f"{file.path}: the file that is moved must have another name than the deformation; "
            "save its points under one"
        )


def default_fidelity(source: PointFile, target: PointFile, chosen: str | None) -> str:
    """The fidelity of a match: what was chosen, else what the files hold.

    That is varifold where both hold faces or both hold lines, or landmarks where the numbers of
    points agree.

    Raises:
        InputError: a fidelity that the files are not fit for.
    """
    ours, theirs = (cell_kind(file) for file in (source, target))
    if chosen in MEASURES and (ours is None or ours != theirs):
        raise InputError(
            f"--fidelity {chosen}: {source.path} holds {ours or 'points only'} and {target.path} "
            f"{theirs or 'points only'}; give two surfaces or two curves, or --fidelity mmd"
        )
    if chosen is None and ours is not None and ours == theirs:
        return "varifold"
    n, m = len(source.points), len(target.points)
    if n != m and chosen in (None, "landmarks"):
        raise InputError(
            f"{source.path} has {n} points and {target.path} has {m}, so they cannot correspond "
            "one by one; for unlabelled points give --fidelity mmd or --fidelity sinkhorn"
        )
    return chosen or "landmarks"


def cell_kind(file: PointFile) -> str | None:
    """What joins the points of a file: faces, lines or nothing."""
    if file.faces is not None:
        return "faces"
    return None if file.edges is None else "lines"


def merged_mesh(file: PointFile, tolerance: float | None) -> PointFile:
    """The same mesh with close vertices merged; without a tolerance those at exactly one place.

    Coinciding vertices would make the kernel matrix singular. To merge them changes no fidelity of
    measures; cells that vanish with them measured nothing.
    """
    groups = merge_groups(file.points, tolerance or 0.0)
    count = len(file.points) - (int(np.max(groups)) + 1)
    if not count:
        return file
    cells, lost = [], 0
    for old in (file.faces, file.edges):
        new = None
        if old is not None:
            joined = groups[old]
            ordered = np.sort(joined, axis=1)
            new = joined[np.all(ordered[:, 1:] != ordered[:, :-1], axis=1)]
            lost += len(old) - len(new)
        cells.append(new)
    if tolerance is None:
        also = f"; {lost} cells vanish with that" if lost else ""
        warnings.warn(
            f"{file.path}: {count} vertices lie exactly on others and are merged for the match"
            f"{also}. The moved file keeps them",
            stacklevel=2,
        )
    return replace(
        file,
        points=group_means(file.points, groups),
        faces=cells[0],
        decoded=file.decoded._replace(edges=cells[1]),
    )


def close_pairs(points: np.ndarray, tolerance: float) -> np.ndarray:
    """Pairs `[k, 2]` of points at most `tolerance` apart, in order."""
    from scipy.spatial import KDTree

    pairs = KDTree(points).query_pairs(tolerance, output_type="ndarray").astype(np.int64)
    pairs = np.sort(pairs, axis=1)
    return pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]


def refuse_duplicates(file: PointFile) -> None:
    """Raise if points of a file coincide: their kernel matrix is singular.

    Raises:
        InputError: naming the pairs, and the option that merges them.
    """
    pairs = close_pairs(file.points, 0.0)
    if not len(pairs):
        return
    listed = ", ".join(
        f"{file.place(int(i))} and {file.place(int(j))} at {file.points[i].tolist()}"
        for i, j in pairs[:_LISTED]
    )
    more = f" and {len(pairs) - _LISTED} more pairs" if len(pairs) > _LISTED else ""
    raise InputError(
        f"{file.path}: points coincide (distance 0): {listed}{more}; remove them, or give "
        "--merge-duplicates TOL"
    )


def merge_groups(points: np.ndarray, tolerance: float) -> np.ndarray:
    """Number `[n]` of the group of each point; points at most `tolerance` apart share one.

    Groups are numbered by their first point, so points without neighbours keep their order.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    pairs = close_pairs(points, tolerance)
    links = coo_array((np.ones(len(pairs)), pairs.T), shape=(len(points), len(points)))
    return connected_components(links, directed=False)[1]


def group_means(points: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Mean of each group of points."""
    counts = np.bincount(groups)
    columns = [np.bincount(groups, column) / counts for column in points.T]
    return np.stack(columns, axis=1).astype(points.dtype)


def to_precision(files: Sequence[PointFile], x64: bool) -> list[np.ndarray]:
    """Points in the precision of the run, with one warning for what that loses."""
    if x64:
        return [file.points.astype(np.float64) for file in files]
    cut, worst, names = [], 0.0, []
    for file in files:
        single = file.points.astype(np.float32)
        if not np.all(np.isfinite(single)):
            raise InputError(
                f"{file.path}: has values beyond single precision "
                f"({np.max(np.abs(file.points)):.3g}); give --x64, or rescale the points"
            )
        size = float(np.max(np.abs(file.points))) or 1.0
        loss = float(np.max(np.abs(file.points - single))) / size
        if loss > 0:
            names.append(str(file.path))
            worst = max(worst, loss)
        cut.append(single)
    if names:
        warnings.warn(
            f"{' and '.join(names)}: float64 points are computed in float32 (relative loss "
            f"{worst:.1e}); --x64 keeps all digits",
            stacklevel=2,
        )
    return cut


def nearest_distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Distance of each point of either set to the nearest one of the other, `[n + m]`."""
    from scipy.spatial import KDTree

    there = KDTree(second).query(first)[0]
    back = KDTree(first).query(second)[0]
    return np.concatenate([there, back])
