"""The verb `match_images`: the cheapest deformation that carries one image to another."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from geojax._core import checks
from geojax._core.errors import InputError
from geojax._core.results import throw_if_failed
from geojax.matching.images.affine import KINDS, fit_affine
from geojax.matching.images.levels import Padded, padded
from geojax.matching.images.models import AbstractModel, Stationary
from geojax.matching.images.result import ImageMatch
from geojax.matching.images.search import (
    Pair,
    Price,
    Progress,
    Settings,
    problem_at,
    resolutions,
)
from geojax.matching.solvers import LBFGS
from geojax.metrics import AbstractGridMetric, GaussianGrid
from geojax.shapes import LNCC, AbstractImageFidelity, Image

# Resolutions, coarse to fine, as blocks of so many points along each axis.
_FACTORS = (4, 2, 1)
# A grid of fewer points along an axis shows nothing any more.
_LEAST = 6
# Values beyond these percentiles are outliers, and cut.
_PERCENTILES = 0.5, 99.5
# Window of the default fidelity, in units of the (geometric mean) spacing.
_CORRELATED = 2.0
# The default kernel is a mean of Gaussians: from this many spacings by this factor up to the
# largest that is below this part of the (geometric mean) size of the target.
_FINEST, _RATIO, _PART = 2.0, 3.0, 0.2
# The default weight is that many squared scales for each cell of the widest kernel.
_WEIGHT = 2.0


def match_images(
    source,
    target,
    *,
    metric=None,
    fidelity=None,
    weight=None,
    model=None,
    affine="affine",
    source_mask: Image | None = None,
    target_mask: Image | None = None,
    factors: tuple[int, ...] | None = None,
    tolerance: float = 1e-2,
    max_iterations: int = 100,
    minimiser=None,
    progress: Progress | None = None,
    throw: bool = True,
) -> ImageMatch:
    """Find the cheapest deformation that carries one image to another.

    First an affine map, then a deformation of the grid of the target, each from coarse to fine.
    Images may lie on different grids anywhere in the world. Brightness is cut at its outermost
    half percent and scaled to a range of one before the comparison.

    Args:
        source: image that is carried.
        target: where to.
        metric: price of velocities, `GaussianGrid` or `Sobolev`; its spacing is replaced by that
            of each resolution. By default Gaussian, with scales from two points of the target,
            each three times the one before, up to a fifth of the size of the image.
        fidelity: distance of images: `LNCC` (default, with a window of two points), `SSD`, `NMI`.
        weight: price of a unit of fidelity; by default two squared scales for each cell of the
            widest kernel in the image.
        model: how a deformation is driven: `Stationary()` (default), `TimeDependent()`.
        affine: kind of the first map (`"affine"`, `"similarity"`, `"rigid"`, `"translation"`),
            such a map itself (`[d + 1, d + 1]`, from the target's world to the source's), or None
            where the worlds agree.
        source_mask, target_mask: how much each point counts, on the grids of the images.
        factors: resolutions: points per block along each axis, from coarse to fine. One that does
            not end with 1 saves most of the time; the deformation is refined to the target's grid.
        tolerance: a resolution is done when the last five iterations brought less than this part
            of what was gained there.
        max_iterations: bound on the iterations of each resolution.
        minimiser: `LBFGS()` by default.
        progress: called with iteration, objective and the norm of the gradient relative to that
            at rest.
        throw: raise if the finest resolution did not meet the tolerance; otherwise `result` says
            so.

    Returns:
        The deformation, which moves images, labels and points both ways.

    Raises:
        InputError: arguments that do not fit together, or an image without contrast.
        NumericalError: not converged or not finite (only if `throw`).

    Gradient: none through the search; `ImageProblem.objective` is differentiable in every part.

    Example:
        >>> import numpy as np
        >>> x = np.linspace(-3.0, 3.0, 24, dtype=np.float32)
        >>> disc = np.exp(-x[:, None]**2 - x[None]**2)
        >>> wide = np.exp(-0.5 * x[:, None]**2 - x[None]**2)
        >>> found = match_images(Image(disc), Image(wide), affine=None)
        >>> found.folds
        0

    Reference: `[beg2005computing]`, `[ashburner2007fast]`, `[avants2008symmetric]`.
    """
    given = dict(metric=metric, fidelity=fidelity, weight=weight, model=model)
    search = dict(factors=factors, tolerance=tolerance, max_iterations=max_iterations)
    pair, price, settings = pose(
        source, target, source_mask, target_mask, given, search, minimiser, progress
    )
    world = as_world(affine, pair, settings.factors)
    result = resolutions(pair, world, price, settings)
    problem = problem_at(1, pair, world, price)
    found = ImageMatch.of(source, target, problem, result, world, pair.target.frame)
    return throw_if_failed(found, found.result, what="match_images") if throw else found


def pose(
    source,
    target,
    source_mask: Image | None,
    target_mask: Image | None,
    price: dict[str, Any],
    search: dict[str, Any],
    minimiser=None,
    progress: Progress | None = None,
    grids: tuple[tuple[int, ...] | None, tuple[int, ...] | None] = (None, None),
) -> tuple[Pair, Price, Settings]:
    """The arguments of `match_images`, checked, with its defaults."""
    _check_pair(source, target)
    minimiser = LBFGS() if minimiser is None else minimiser
    metric, fidelity, weight, model = (price[k] for k in Price._fields)
    model = Stationary() if model is None else model
    _check_kinds(metric, fidelity, model, minimiser, source.dimension)
    checks.count(search["max_iterations"], "max_iterations")
    checks.positive(search["tolerance"], "tolerance")
    step = mean_spacing(target.spacing)
    metric = GaussianGrid(target.spacing, _scales(target, step)) if metric is None else metric
    fidelity = LNCC(_CORRELATED * step) if fidelity is None else fidelity
    pair = Pair(
        _prepared(source, source_mask, "source", grids[0]),
        _prepared(target, target_mask, "target", grids[1]),
    )
    if weight is None:
        weight = _default_weight(metric, pair.target)
    checks.positive(weight, "weight")
    settings = Settings(
        _as_factors(search["factors"], pair),
        search["tolerance"],
        search["max_iterations"],
        minimiser,
        progress,
    )
    return pair, Price(metric, fidelity, weight, model), settings


def mean_spacing(spacing: np.ndarray) -> float:
    """Geometric mean."""
    return float(np.exp(np.mean(np.log(spacing))))


def _check_pair(source, target) -> None:
    for image, name in ((source, "source"), (target, "target")):
        if not isinstance(image, Image):
            raise InputError(f"Argument {name} must be an `Image`, but is {type(image).__name__}.")
    if source.dimension != target.dimension:
        raise InputError(
            f"Arguments source and target must have the same dimension, but have "
            f"{source.dimension} and {target.dimension}."
        )


def _check_kinds(metric, fidelity, model, minimiser, dimension: int) -> None:
    for value, kind, name, known in (
        (metric, AbstractGridMetric, "metric", "`GaussianGrid` or `Sobolev`"),
        (fidelity, AbstractImageFidelity, "fidelity", "`LNCC`, `SSD` or `NMI`"),
        (model, AbstractModel, "model", "`Stationary` or `TimeDependent`"),
        (minimiser, LBFGS, "minimiser", "`LBFGS`"),
    ):
        if value is not None and not isinstance(value, kind):
            raise InputError(f"Argument {name} must be a {known}, but is {value!r}.")
    if metric is not None and metric.spacing.shape[0] != dimension:
        raise InputError(
            f"Argument metric must have {dimension} spacings, but has {metric.spacing.shape[0]}."
        )


def _prepared(image: Image, mask: Image | None, name: str, grid: tuple[int, ...] | None) -> Padded:
    """An image on its padded grid, its values in a range of one."""
    if mask is not None and mask.grid != image.grid:
        raise InputError(
            f"Argument {name}_mask must have the grid of the {name}, {list(image.grid)}, but has "
            f"{list(mask.grid)}."
        )
    values = np.asarray(image.values)
    dtype = values.dtype if values.dtype.kind == "f" else np.dtype(jnp.zeros(()).dtype)
    counted = values if mask is None else values[np.asarray(mask.values) > 0]
    if mask is not None and (np.any(np.asarray(mask.values) < 0) or not counted.size):
        raise InputError(
            f"Argument {name}_mask must be non-negative and positive somewhere; give 1 where the "
            "image counts."
        )
    low, high = np.percentile(counted.astype(np.float64), _PERCENTILES)
    if not high > low:
        low, high = float(counted.min()), float(counted.max())
    if not high > low:
        raise InputError(f"Argument {name} has the same value everywhere; give an image.")
    scaled = np.clip((values.astype(np.float64) - low) / (high - low), 0.0, 1.0)
    return padded(Image(scaled.astype(dtype), image.affine), mask, grid)


def _as_factors(factors, pair: Pair) -> tuple[int, ...]:
    if factors is None:
        least = min(min(image.frame.grid) for image in pair)
        return tuple(f for f in _FACTORS if f == 1 or least // f >= _LEAST)
    given = tuple(checks.count(f, "factors") for f in factors)
    if not given or any(f not in (1, 2, 4, 8) for f in given) or sorted(given)[::-1] != list(given):
        raise InputError(
            f"Argument factors must fall among 8, 4, 2 and 1, such as (4, 2, 1), but is {factors}."
        )
    return given


def _scales(target: Image, step: float) -> list[float]:
    """Scales of the default kernel, from fine to coarse."""
    size = step * float(np.exp(np.mean(np.log(target.grid))))
    scales = [_FINEST * step]
    while _RATIO * scales[-1] <= _PART * size:
        scales.append(_RATIO * scales[-1])
    return scales


def _default_weight(metric: AbstractGridMetric, target: Padded) -> float:
    scale = float(np.max(np.asarray(metric.scale)))
    volume = float(np.sum(target.weights)) * float(np.prod(target.frame.spacing))
    d = len(target.frame.grid)
    return _WEIGHT * scale**2 * volume / scale**d


def as_world(affine, pair: Pair, factors: tuple[int, ...]) -> np.ndarray:
    """The affine part, found where it is not given."""
    d = len(pair.source.frame.grid)
    if affine is None:
        return np.eye(d + 1)
    if not isinstance(affine, str):
        matrix = np.asarray(affine, float)
        last = np.eye(d + 1)[-1]
        if matrix.shape != (d + 1, d + 1) or np.any(matrix[-1] != last):
            raise InputError(
                f"Argument affine must be a matrix [{d + 1}, {d + 1}] that ends with "
                f"{last.tolist()}, but is {affine!r}."
            )
        checks.finite(matrix, "affine")
        if not np.linalg.det(matrix) > 0:
            raise InputError(
                "Argument affine must keep the orientation of space, but its determinant is "
                f"{np.linalg.det(matrix):.3g}."
            )
        return matrix
    if affine not in KINDS:
        raise InputError(
            f"Argument affine must be one of {', '.join(KINDS)}, a matrix or None, but is "
            f"{affine!r}{checks.nearest_name(affine, KINDS)}."
        )
    # a wide window sees further than a narrow one
    wide = LNCC(6 * mean_spacing(pair.target.frame.spacing))
    return fit_affine(pair.source, pair.target, wide, affine, factors[:-1] or factors)
