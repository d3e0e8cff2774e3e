"""How good a registration is: overlap and surface distance of labels, and folds of a deformation.

These measure results in NumPy and are not differentiated; `SoftDice` is the overlap to minimise.
"""

import numpy as np

from geojax._core import checks
from geojax._core.errors import InputError

# Logarithms are taken of determinants within these bounds, so that folds count, but finitely.
_LEAST, _LARGEST = 1e-9, 1e9


def dice(labels, target) -> dict[int, float]:
    """The Dice overlap of each label, `2 |A and B| / (|A| + |B|)`, from 0 (apart) to 1 (equal).

    Args:
        labels: `[*grid]`, integers (also as floating-point numbers); 0 is background.
        target: labels on the same grid.

    Returns:
        The overlap of each label that is in either of the two, in rising order, without 0.

    Raises:
        InputError: other shapes, or values that are no integers.

    Example:
        >>> dice([[0, 1, 1], [2, 0, 0]], [[0, 0, 1], [0, 0, 0]])
        {1: 0.6666666666666666, 2: 0.0}
    """
    labels, target = _pair(labels, target)
    found, codes = np.unique(np.stack([labels, target]), return_inverse=True)
    first, second = codes.reshape(2, -1)
    sizes = [np.bincount(c, minlength=len(found)) for c in (first, second)]
    both = np.bincount(first[first == second], minlength=len(found))
    overlaps = 2.0 * both / (sizes[0] + sizes[1])
    return {int(k): float(x) for k, x in zip(found, overlaps) if k != 0}


def hausdorff95(labels, target, spacing) -> dict[int, float]:
    """The 95 % Hausdorff distance of the surfaces of each label, in the units of the spacing.

    The surface of a label is its voxels with a neighbour across a face that lies in another label
    or beyond the border of the grid. From each surface voxel of one image the distance to the
    nearest one of the other is taken, from centre to centre; the value is the larger of the 95th
    percentiles (interpolated linearly) of both directions. Some tools take one percentile of both
    directions together, which is never larger.

    Args:
        labels: `[*grid]`, integers (also as floating-point numbers); 0 is background.
        target: labels on the same grid.
        spacing: `[d]`, distance of neighbours along each axis.

    Returns:
        The distance for each label that is in either of the two, in rising order, without 0;
        infinite where one of them lacks it.

    Raises:
        InputError: other shapes, values that are no integers, or a spacing that is not positive.

    Example:
        >>> hausdorff95([[1, 0, 0], [1, 0, 0]], [[0, 0, 1], [0, 0, 1]], [1.0, 2.5])
        {1: 5.0}

    Reference: `[huttenlocher1993comparing]`.
    """
    from scipy.ndimage import find_objects
    from scipy.spatial import KDTree

    labels, target = _pair(labels, target)
    spacing = np.asarray(checks.positive(spacing, "spacing"), np.float64)
    if spacing.shape != (labels.ndim,):
        raise InputError(
            f"Argument spacing must hold one number for each of the {labels.ndim} axes of the "
            f"labels, but has shape {list(spacing.shape)}."
        )
    found, codes = np.unique(np.stack([labels, target]), return_inverse=True)
    pair = codes.reshape(2, *labels.shape) + 1
    boxes = [find_objects(image, max_label=len(found)) for image in pair]
    distances = {}
    for k, label in enumerate(found):
        if label == 0:
            continue
        if boxes[0][k] is None or boxes[1][k] is None:
            distances[int(label)] = np.inf
            continue
        first, second = (
            _surface(image[box[k]] == k + 1, box[k]) * spacing for image, box in zip(pair, boxes)
        )
        ways = KDTree(second).query(first)[0], KDTree(first).query(second)[0]
        distances[int(label)] = float(max(np.percentile(way, 95) for way in ways))
    return distances


def jacobian_figures(determinants, mask=None) -> dict[str, int | float]:
    """How regular a deformation is, from the determinants of its Jacobian.

    Args:
        determinants: any shape; 1 keeps volumes. One that is not above 0 is a fold, and so is NaN.
        mask: true (or not zero) where determinants count, of the same shape; all by default.

    Returns:
        `folds` (how many are not positive) and `share_of_folds` (from 0 to 1); `sd_log`, the
        standard deviation of the logarithms of the determinants, clipped to 1e-9 and 1e9 (SDlogJ;
        scripts that add 3 to the determinants first find smaller numbers); `min`, `max`, `p05` and
        `p95` (5th and 95th percentile) of those that are finite, NaN if none is.

    Raises:
        InputError: no numbers, a mask of another shape, or nothing in the mask.

    Example:
        >>> figures = jacobian_figures([0.5, 1.0, 2.0, -0.1])
        >>> figures["folds"], figures["share_of_folds"], figures["min"]
        (1, 0.25, -0.1)

    Reference: `[hering2023learntoreg]`.
    """
    values = _numbers(determinants, "determinants")
    if mask is not None:
        mask = _numbers(mask, "mask")
        if mask.shape != values.shape:
            raise InputError(
                f"Argument mask must have the shape of the determinants, {list(values.shape)}, but "
                f"has {list(mask.shape)}."
            )
        if np.any(np.isnan(mask)):
            raise InputError("Argument mask must not hold NaN; fill it with 0 or 1.")
        values = values[mask != 0]
    values = values.astype(np.float64).ravel()
    if not values.size:
        raise InputError(
            "Argument determinants must hold at least one number"
            f"{' in the mask' if mask is not None else ''}, but none is left."
        )
    folded = ~(values > 0)  # so NaN counts
    logs = np.log(np.clip(np.where(folded, _LEAST, values), _LEAST, _LARGEST))
    known = values[np.isfinite(values)]
    least, most, low, high = (
        (known.min(), known.max(), *np.percentile(known, [5, 95])) if known.size else [np.nan] * 4
    )
    return {
        "folds": int(np.sum(folded)),
        "share_of_folds": float(np.mean(folded)),
        "sd_log": float(np.std(logs)),
        "min": float(least),
        "max": float(most),
        "p05": float(low),
        "p95": float(high),
    }


def _numbers(values, name: str) -> np.ndarray:
    """An array of real numbers."""
    if not checks.is_regular(values):
        raise InputError(
            f"Argument {name} must be an array of numbers, but its rows have different lengths."
        )
    array = np.asarray(values)
    if array.dtype.kind not in "fiub":
        raise InputError(f"Argument {name} must hold real numbers, but has dtype {array.dtype}.")
    return array


def _pair(labels, target) -> tuple[np.ndarray, np.ndarray]:
    """Two arrays of integers of one shape."""
    labels, target = _labels(labels, "labels"), _labels(target, "target")
    if labels.shape != target.shape:
        raise InputError(
            f"Arguments labels and target must lie on the same grid, but have shapes "
            f"{list(labels.shape)} and {list(target.shape)}; resample one with nearest neighbours."
        )
    if not labels.ndim or not labels.size:
        raise InputError(
            f"Argument labels must be a grid with at least one voxel, but has shape "
            f"{list(labels.shape)}."
        )
    return labels, target


def _labels(values, name: str) -> np.ndarray:
    array = _numbers(values, name)
    if array.dtype.kind != "f":
        return array.astype(np.int64)
    # NaN and infinity are none, and beyond what the dtype counts exactly labels may be rounded
    whole = np.abs(array) < 2.0 ** np.finfo(array.dtype).nmant
    bad = np.argwhere(~whole | (np.where(whole, array, 0.0) % 1 != 0))
    if len(bad):
        index = tuple(int(i) for i in bad[0])
        raise InputError(
            f"Argument {name} must hold integers, but entry {list(index)} is {array[index]} "
            f"({len(bad)} such entries); resample labels with nearest neighbours."
        )
    return array.astype(np.int64)


def _surface(inside: np.ndarray, box: tuple[slice, ...]) -> np.ndarray:
    """Indices `[n, d]` of the voxels of a label that erosion removes; `box` is its place."""
    from scipy.ndimage import binary_erosion

    # beyond its own box there is none of the label, so what lies there counts as outside
    surface = inside & ~binary_erosion(inside)
    return np.argwhere(surface) + np.array([part.start for part in box])
