"""The verb `match_images`: the cheapest deformation that carries one image to another."""

import itertools
from typing import Any

import jax
import numpy as np

from geojax._core import checks
from geojax._core.errors import InputError
from geojax._core.results import throw_if_failed
from geojax.matching.images.affine import KINDS, fit_affine
from geojax.matching.images.beside import Unit, as_beside
from geojax.matching.images.levels import Padded, level_of, padded
from geojax.matching.images.models import AbstractModel, Stationary
from geojax.matching.images.result import ImageMatch
from geojax.matching.images.search import (
    Pair,
    Price,
    Settings,
    problem_at,
    resolutions,
)
from geojax.matching.solvers import LBFGS
from geojax.metrics import AbstractGridMetric, GaussianGrid
from geojax.shapes import LNCC, SSD, AbstractImageFidelity, Image

# Resolutions, coarse to fine, as blocks of so many points along each axis.
_FACTORS = (4, 2, 1)
# A grid of fewer points along an axis shows nothing any more.
_LEAST = 6
# Nothing can be searched on fewer.
_FEWEST = 4
# Values beyond these percentiles are outliers, and cut.
_PERCENTILES = 0.5, 99.5
# Window of the default fidelity, in units of the (geometric mean) spacing.
_CORRELATED = 4.0
# The default kernel is a mean of Gaussians: from this many spacings by this factor up to the
# largest that is below this part of the (geometric mean) size of the target.
_FINEST, _RATIO, _PART = 2.0, 3.0, 0.2
# The default weight is that many squared scales for each cell of the widest kernel. A wider window
# or a lower weight keeps less detail, but also less of what two stains or scans do not share.
_WEIGHT = 1.0
# Accuracy of points beside the images, in spacings.
_ACCURACY = 1.0


def match_images(
    source: Any,
    target: Any,
    *,
    metric: Any = None,
    fidelity: Any = None,
    weight: Any = None,
    model: Any = None,
    affine: Any = "affine",
    source_mask: Any = None,
    target_mask: Any = None,
    beside: Any = None,
    factors: Any = None,
    tolerance: Any = 1e-2,
    max_iterations: int = 100,
    minimiser: Any = None,
    progress: Any = None,
    throw: bool = True,
) -> ImageMatch:
    """Find the cheapest deformation that carries one image to another.

    First an affine map, then a deformation of the grid of the target, each from coarse to fine.
    Images may lie on different grids anywhere in the world. Brightness is cut at its outermost
    half percent and scaled to a range of one before the comparison; for `SSD` both by one range.

    Args:
        source: image that is carried.
        target: where to.
        metric: price of velocities, `GaussianGrid` or `Sobolev`; its spacing is replaced by that
            of each resolution. By default Gaussian, with scales from two points of the target,
            each three times the one before, up to a fifth of the size of the image.
        fidelity: distance of images: `LNCC` (default, with a window of four points), `SSD`, `NMI`.
            The affine map is always found by `LNCC` with a wide window.
        weight: price of a unit of fidelity; by default one squared scale for each cell of the
            widest kernel in the image, over what an unrelated image would give (1 for `LNCC` and
            `NMI`, the variance of the target for `SSD`).
        model: how a deformation is driven: `Stationary()` (default), `TimeDependent()`,
            `Shooting()`, `Metamorphosis(price)`, `NeuralVelocity(network)`.
        affine: kind of the first map (`"affine"`, `"similarity"`, `"rigid"`, `"translation"`),
            such a map itself (`[d + 1, d + 1]`, from the target's world to the source's), or None
            where the worlds agree.
        source_mask, target_mask: how much each point counts, on the grids of the images.
        beside: what lies beside the images and is carried by the same deformation: `LandmarkPair`,
            `ShapePair`, `LabelPair`, a list of such, or a dictionary that names them. Their default
            prices do not depend on `weight`. An affine map is found by the images alone.
        factors: resolutions: points per block along each axis, from coarse to fine. One that does
            not end with 1 saves most of the time; the deformation is refined to the target's grid.
        tolerance: a resolution is done when the last five iterations brought less than this part
            of what was gained there.
        max_iterations: bound on the iterations of each resolution.
        minimiser: `LBFGS()` by default.
        progress: called with iteration, objective and the norm of its gradient.
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
        >>> found = match_images(Image(disc), Image(wide), affine=None, factors=(2,))
        >>> found.folds
        0

    Reference: `[beg2005computing]`, `[ashburner2007fast]`, `[avants2008symmetric]`.
    """
    given = dict(metric=metric, fidelity=fidelity, weight=weight, model=model)
    search = dict(factors=factors, tolerance=tolerance, max_iterations=max_iterations)
    pair, price, settings = pose(
        source, target, source_mask, target_mask, given, search, minimiser, progress
    )
    lying = as_beside(beside, source, target, _unit(price.metric, pair.target))
    price = price._replace(beside=lying)
    world = as_world(affine, pair, settings.factors)
    check_overlap(pair, world)
    result = resolutions(pair, world, price, settings)
    problem = problem_at(1, pair, world, price)
    names = () if lying is None else lying.names
    found = ImageMatch.of(source, target, problem, result, world, pair, names)
    return throw_if_failed(found, found.result, what="match_images") if throw else found


def pose(
    source,
    target,
    source_mask,
    target_mask,
    price: dict[str, Any],
    search: dict[str, Any],
    minimiser=None,
    progress=None,
    grids: tuple[tuple[int, ...] | None, tuple[int, ...] | None] = (None, None),
    lanes: int = 1,
) -> tuple[Pair, Price, Settings]:
    """The arguments of `match_images`, checked, with its defaults; for lanes side by side."""
    _check_pair(source, target)
    minimiser = LBFGS() if minimiser is None else minimiser
    metric, fidelity, weight, model = (price[k] for k in Price._fields[:4])
    model = Stationary() if model is None else model
    _check_kinds(metric, fidelity, model, minimiser, source.dimension)
    checks.count(search["max_iterations"], "max_iterations")
    tolerance = checks.as_real(checks.positive(search["tolerance"], "tolerance"))
    if tolerance.ndim or not float(tolerance) < 1:
        raise InputError(f"Argument tolerance must be a number below 1, but is {tolerance}.")
    if progress is not None and not callable(progress):
        raise InputError(f"Argument progress must be a function, but is {progress!r}.")
    step = mean_spacing(target.spacing)
    metric = GaussianGrid(target.spacing, _scales(target, step)) if metric is None else metric
    fidelity = LNCC(_CORRELATED * step) if fidelity is None else fidelity
    given = {"source": (source, source_mask), "target": (target, target_mask)}
    dtype = np.result_type(*(floating(image.values.dtype) for image in (source, target)))
    ranges = {name: range_of(image, mask, name) for name, (image, mask) in given.items()}
    if isinstance(fidelity, SSD):
        # one scale of grey for both
        lows, highs = zip(*ranges.values(), strict=True)
        ranges = dict.fromkeys(ranges, (min(lows), max(highs)))
    padded_images = [
        padded(scaled(image, *ranges[name], dtype), mask, grid)
        for (name, (image, mask)), grid in zip(given.items(), grids, strict=True)
    ]
    low, high = ranges["source"]
    pair = Pair(padded_images[0], padded_images[1], high - low)
    if weight is None:
        weight = default_weight(metric, fidelity, pair.target)
    if np.ndim(checks.positive(weight, "weight")):
        raise InputError(f"Argument weight must be one number, but is {weight!r}.")
    factors = _as_factors(search["factors"], pair)
    grid = tuple(n // factors[-1] for n in pair.target.frame.grid)
    checks.memory(
        lanes * _bytes(model, grid, pair.target.values.dtype, minimiser),
        f"match_images: {lanes} on a grid of {' x '.join(map(str, grid))} at a time",
        "give factors that do not end with 1, such as (4, 2), an `LBFGS` with less memory, or, of "
        "many, a smaller batch_size",
    )
    settings = Settings(
        factors,
        search["tolerance"],
        search["max_iterations"],
        minimiser,
        progress,
    )
    return pair, Price(metric, fidelity, weight, model), settings


def mean_spacing(spacing: np.ndarray) -> float:
    """Geometric mean."""
    return float(np.exp(np.mean(np.log(spacing))))


def check_overlap(pair: Pair, world: np.ndarray) -> None:
    """Raise where the images do not lie over each other at the start of the deformation."""
    seen = float(level_of(pair.source, pair.target, world).overlap)
    if not seen > 0.01 * float(np.sum(pair.target.weights)):
        raise InputError(
            "Arguments source and target do not overlap in the world (or their masks do not): at "
            f"most {seen:.3g} of {float(np.sum(pair.target.weights)):.3g} points; check their "
            "affines, or give the affine map between them."
        )


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
        (model, AbstractModel, "model", "model such as `Stationary()` or `Shooting()`"),
        (minimiser, LBFGS, "minimiser", "`LBFGS`"),
    ):
        if value is not None and not isinstance(value, kind):
            raise InputError(f"Argument {name} must be a {known}, but is {value!r}.")
    if model is not None:
        model.check(dimension)
    if metric is not None and metric.boundary != "zero":
        raise InputError(
            f"Argument metric must have the boundary 'zero', but has {metric.boundary!r}: images "
            "of the world end somewhere."
        )
    if metric is not None and metric.spacing.shape[0] != dimension:
        raise InputError(
            f"Argument metric must have {dimension} spacings, but has {metric.spacing.shape[0]}."
        )


def floating(dtype: np.dtype) -> np.dtype:
    """The precision that an image is matched in: its own, or single for integers and halves."""
    return np.result_type(dtype, np.float32) if dtype.kind == "f" else np.dtype(np.float32)


def range_of(image: Image, mask, name: str) -> tuple[float, float]:
    """Brightness between the outliers, where the image counts."""
    values = np.asarray(image.values)
    if mask is not None:
        _check_mask(image, mask, name)
        values = values[np.asarray(mask.values) > 0]
    low, high = np.percentile(values.astype(np.float64), _PERCENTILES)
    if not high > low:
        low, high = float(values.min()), float(values.max())
    if not high > low:
        raise InputError(f"Argument {name} has the same value everywhere; give an image.")
    return float(low), float(high)


def _check_mask(image: Image, mask, name: str) -> None:
    if not isinstance(mask, Image):
        raise InputError(f"Argument {name}_mask must be an `Image`, but is {type(mask).__name__}.")
    if mask.grid != image.grid or not np.allclose(
        mask.affine, image.affine, 1e-4, 1e-3 * np.min(image.spacing)
    ):
        raise InputError(
            f"Argument {name}_mask must have the grid of the {name}, {list(image.grid)}, and its "
            f"place in the world, but has {list(mask.grid)} and affine {mask.affine.tolist()}."
        )
    values = np.asarray(mask.values)
    if np.any(values < 0) or not np.any(values > 0):
        raise InputError(
            f"Argument {name}_mask must be non-negative and positive somewhere; give 1 where the "
            "image counts."
        )


def scaled(image: Image, low: float, high: float, dtype: np.dtype) -> Image:
    """An image with its values in a range of one."""
    scaled = (np.asarray(image.values).astype(np.float64) - low) / (high - low)
    return Image(np.clip(scaled, 0.0, 1.0).astype(dtype), image.affine)


def _bytes(model: AbstractModel, grid: tuple[int, ...], dtype, minimiser: LBFGS) -> int:
    """Memory that a search holds, about: pairs of steps, and what a derivative keeps."""
    unknowns = jax.eval_shape(lambda: model.at_rest(grid, dtype)).size
    return (2 * minimiser.memory + 30) * unknowns * dtype.itemsize


def _as_factors(factors, pair: Pair) -> tuple[int, ...]:
    if factors is None:
        least = min(min(image.frame.grid) for image in (pair.source, pair.target))
        return tuple(f for f in _FACTORS if f == 1 or least // f >= _LEAST)
    given = tuple(factors) if isinstance(factors, list | tuple) else ()
    whole = all(isinstance(f, int) and f in (1, 2, 4, 8) for f in given)
    falling = whole and all(a > b for a, b in itertools.pairwise(given))
    if not given or not falling:
        raise InputError(
            f"Argument factors must fall among 8, 4, 2 and 1, such as (4, 2, 1), but is {factors}."
        )
    finest = tuple(n // given[-1] for n in pair.target.frame.grid)
    if min(finest) < _FEWEST:
        raise InputError(
            f"Argument factors leaves {' x '.join(map(str, finest))} points of the target, and a "
            f"search needs {_FEWEST} along each axis; end it with a smaller block than {given[-1]}."
        )
    return given


def _scales(target: Image, step: float) -> list[float]:
    """Scales of the default kernel, from fine to coarse."""
    size = step * float(np.exp(np.mean(np.log(target.grid))))
    scales = [_FINEST * step]
    while _RATIO * scales[-1] <= _PART * size:
        scales.append(_RATIO * scales[-1])
    return scales


def default_weight(
    metric: AbstractGridMetric, fidelity: AbstractImageFidelity, target: Padded
) -> float:
    """A squared scale for each cell of the widest kernel, over what an unrelated image gives."""
    return _cells(metric, target) / fidelity.unit(target.values, target.weights)


def _cells(metric: AbstractGridMetric, target: Padded) -> float:
    scale = float(np.max(np.asarray(metric.scale)))
    volume = float(np.sum(target.weights)) * float(np.prod(target.frame.spacing))
    d = len(target.frame.grid)
    return _WEIGHT * scale**2 * volume / scale**d


def _unit(metric: AbstractGridMetric, target: Padded) -> Unit:
    """What the default prices of things beside the images are made of."""
    return Unit(
        scale=float(np.max(np.asarray(metric.scale))),
        sigma=_ACCURACY * mean_spacing(target.frame.spacing),
        weight=_cells(metric, target),
    )


def as_world(affine, pair: Pair, factors: tuple[int, ...]) -> np.ndarray:
    """The affine part, found where it is not given."""
    d = len(pair.source.frame.grid)
    if affine is None:
        return np.eye(d + 1)
    if not isinstance(affine, str):
        matrix = checks.as_numbers(affine, "affine")
        last = np.eye(d + 1)[-1]
        if matrix.shape != (d + 1, d + 1) or np.any(matrix[-1] != last):
            raise InputError(
                f"Argument affine must be a matrix [{d + 1}, {d + 1}] that ends with "
                f"{last.tolist()}, but is {affine!r}."
            )
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
