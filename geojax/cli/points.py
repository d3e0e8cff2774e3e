"""Point files of a command: read in pairs, merged, and cut to the precision of the run."""

import warnings
from collections.abc import Sequence

import numpy as np

from geojax._core.errors import InputError
from geojax.io import PointFile, read_points

# A list of pairs in an error message is for finding the mistake, not for working through it.
_LISTED = 3


def read_pair(source: str, target: str) -> tuple[PointFile, PointFile]:
    """Read two files that are to be matched; flat meshes become 2-D only if both are flat.

    Raises:
        InputError: as `read_points`, or one is 2-D and the other 3-D.
    """
    first, second = read_points(source), read_points(target)
    if first.flat != second.flat:
        first, second = first.lifted(), second.lifted()
    if first.points.shape[1] != second.points.shape[1]:
        raise InputError(
            f"{first.path} is {first.points.shape[1]}-D and {second.path} is "
            f"{second.points.shape[1]}-D; give both the same number of coordinates"
        )
    return first, second


def default_fidelity(source: PointFile, target: PointFile, chosen: str | None) -> str:
    """The fidelity of a match: what was chosen, else landmarks where the numbers agree.

    Raises:
        InputError: landmarks, but the files hold different numbers of points.
    """
    n, m = len(source.points), len(target.points)
    if n != m and chosen in (None, "landmarks"):
        raise InputError(
            f"{source.path} has {n} points and {target.path} has {m}, so they cannot correspond "
            "one by one; for unlabelled points give --fidelity mmd or --fidelity sinkhorn"
        )
    return chosen or "landmarks"


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
