"""What lies beside the images and is carried by the same deformation: landmarks, shapes, labels."""

import abc
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from geojax._core import checks
from geojax._core.errors import InputError
from geojax.matching import arguments
from geojax.matching.images.levels import Level, blocks, padded_frame
from geojax.matching.images.terms import (
    AbstractTerm,
    LabelTerm,
    Resolution,
    channels,
    points_at,
)
from geojax.shapes import AbstractFidelity, Image, Landmarks
from geojax.shapes.meshes import AbstractMesh

# Labels that a message names.
_NAMED = 8


class Unit(NamedTuple):
    """What default prices are made of.

    Attributes:
        scale: the widest of the metric, in the world of the target.
        sigma: default accuracy of points, in the world of the target.
        weight: default price of the fidelity of the images.
    """

    scale: float
    sigma: float
    weight: float


class AbstractPair(eqx.Module):
    """A thing in the source and one in the target, to be carried onto each other."""

    @property
    @abc.abstractmethod
    def kind(self) -> str:
        """What the pair is called in results if it is given no name."""

    @abc.abstractmethod
    def check(self, source: Image, target: Image) -> None:
        """Raise `InputError` where it does not go with the images."""

    @abc.abstractmethod
    def at(self, resolution: Resolution, unit: Unit) -> AbstractTerm:
        """What it adds to the objective at one resolution."""


class LandmarkPair(AbstractPair):
    """Landmarks that correspond one by one, in the worlds of source and target.

    Adds `sum_i |x_i - y_i|^2 / 2 * (scale / sigma)^2`, with the landmarks of the target carried to
    the source's world, and the widest scale of the metric. So a landmark that is off by sigma
    costs as much as a velocity that carries one point by that scale, whatever the number of other
    landmarks and the weight of the images.

    Args:
        source, target: `[n, d]`, in the units of the worlds of the images, in the same order.
        sigma: accuracy of the landmarks, in units of the source's world; by default the (geometric
            mean) spacing of the target. Smaller pulls harder.

    Raises:
        InputError: other numbers or dimensions of both, no finite points, or a sigma not positive.

    Example:
        >>> import numpy as np
        >>> marks = np.array([[3.0, 4.0], [7.0, 5.0]])
        >>> LandmarkPair(marks, marks + 1.0, sigma=2.0).sigma
        2.0

    Reference: `[joshi2000landmark]`, `[johnson2002consistent]`.
    """

    source: np.ndarray
    target: np.ndarray
    sigma: float | None

    def __init__(self, source, target, *, sigma=None):
        self.source, self.target = _as_points(source, "source"), _as_points(target, "target")
        checks.same_dimension(self.source, self.target, "source", "target")
        if len(self.source) != len(self.target):
            raise InputError(
                "Arguments source and target must correspond point by point, but hold "
                f"{len(self.source)} and {len(self.target)} landmarks; for points without partners "
                "give a `ShapePair` with the fidelity 'mmd' or 'sinkhorn'."
            )
        self.sigma = _as_number(sigma, "sigma")

    @property
    def kind(self):
        return "landmarks"

    def check(self, source, target):
        _check_points(self.source, source, "source")
        _check_points(self.target, target, "target")

    def at(self, resolution, unit):
        price = len(self.source) * _stiffness(self.sigma, resolution, unit)
        return points_at(resolution, self.source, self.target, Landmarks(), price)


class ShapePair(AbstractPair):
    """Two curves, two surfaces, or two clouds of points, in the worlds of source and target.

    Priced as if there were a landmark of accuracy sigma in each cell, of the widest scale of the
    metric, that the target's shape passes; see `LandmarkPair`. A fidelity has a unit, by which
    its value is a mean square of lengths.

    Args:
        source, target: two `Curve`, two `Surface`, or points `[n, d]` and `[m, d]`.
        fidelity: as for `match`, by name or `AbstractFidelity`; by default `"varifold"` for curves
            and surfaces. It compares the source with the carried target, and is as much coarser as
            the resolution is.
        sigma: accuracy of the shapes, as for `LandmarkPair`.

    Raises:
        InputError: shapes of different kinds or dimensions, clouds without a fidelity, or a sigma
            that is not positive.

    Example:
        >>> import numpy as np
        >>> from geojax.shapes import Curve
        >>> square = np.array([[0.0, 0.0], [4.0, 0.0], [4.0, 4.0], [0.0, 4.0]])
        >>> type(ShapePair(Curve(square), Curve(square + 1.0)).fidelity).__name__
        'Varifold'

    Reference: `[charon2013varifold]`.
    """

    source: np.ndarray
    target: np.ndarray
    fidelity: AbstractFidelity
    sigma: float | None

    def __init__(self, source, target, fidelity=None, *, sigma=None):
        shapes = source, target
        arrays = [x.vertices if isinstance(x, AbstractMesh) else x for x in shapes]
        self.source, self.target = _as_points(arrays[0], "source"), _as_points(arrays[1], "target")
        checks.same_dimension(self.source, self.target, "source", "target")
        if fidelity is None:
            if not all(isinstance(x, AbstractMesh) for x in shapes):
                raise InputError(
                    "Argument fidelity must be given for points without cells: 'mmd' or "
                    "'sinkhorn'; for points that correspond one by one give a `LandmarkPair`."
                )
            fidelity = "varifold"
        # worlds may be far apart, which says nothing of the shapes
        first, second = (jnp.asarray(x - x.mean(axis=0)) for x in (self.source, self.target))
        self.fidelity = arguments.as_fidelity(fidelity, first, second, shapes)
        self.sigma = _as_number(sigma, "sigma")

    @property
    def kind(self):
        return "shapes"

    def check(self, source, target):
        _check_points(self.source, source, "source")
        _check_points(self.target, target, "target")

    def at(self, resolution, unit):
        fidelity = self.fidelity
        if resolution.factor > 1:
            fidelity = fidelity.coarser(jnp.asarray(float(resolution.factor)))
        cells = len(np.unique(np.floor(self.target / unit.scale), axis=0))
        price = cells * float(fidelity.unit()) * _stiffness(self.sigma, resolution, unit)
        return points_at(resolution, self.source, self.target, fidelity, price)


class LabelPair(AbstractPair):
    """Label maps in the worlds of source and target, compared by their overlap.

    Adds `SoftDice` of the labels that both have, the background 0 left out: one minus their mean
    overlap. Labels may lie on other grids than their images; they are resampled there, and beyond
    their own grid there is background. Masks of the images do not concern them.

    Args:
        source, target: `Image` of integers (also as floating-point numbers).
        weight: price of a unit of one minus overlap, in units of the default weight of the images;
            so with 1 labels that overlap nowhere cost as much as images of which nothing agrees.

    Raises:
        InputError: no images, other dimensions, values that are no integers, no label in common, or
            a weight that is not positive. A warning names labels that only one of both has.

    Example:
        >>> first, second = Image([[0, 1, 1], [0, 2, 2]]), Image([[0, 0, 1], [0, 0, 2]])
        >>> LabelPair(first, second).labels
        (1, 2)

    Reference: `[milletari2016vnet]`.
    """

    source: Image
    target: Image
    weight: float
    labels: tuple[int, ...] = eqx.field(static=True)

    def __init__(self, source, target, *, weight=1.0):
        known = [_labels_of(x, name) for x, name in ((source, "source"), (target, "target"))]
        if source.dimension != target.dimension:
            raise InputError(
                "Arguments source and target must have the same dimension, but have "
                f"{source.dimension} and {target.dimension}."
            )
        common = sorted(known[0] & known[1])
        if not common:
            raise InputError(
                "Arguments source and target must have labels in common besides the background 0, "
                f"but hold {_listed(known[0])} and {_listed(known[1])}."
            )
        alone = known[0] ^ known[1]
        if alone:
            warnings.warn(
                f"Labels {_listed(alone)} are in one of the two images only, and left out.",
                stacklevel=2,
            )
        self.source, self.target, self.labels = source, target, tuple(common)
        self.weight = _as_number(weight, "weight") or 1.0

    @property
    def kind(self):
        return "labels"

    def check(self, source, target):
        images = {"source": (self.source, source), "target": (self.target, target)}
        for name, (labels, image) in images.items():
            _check_dimension(labels.dimension, image, name)
        sizes = [np.prod(padded_frame(image)[0].grid) for image in (source, target)]
        checks.memory(
            int(4 * len(self.labels) * sum(sizes) * 4),
            f"match_images: {len(self.labels)} labels beside the images",
            "merge labels, or give those that matter",
        )
        for name, (labels, image) in images.items():
            seen = channels(labels, self.labels, image, 1).reshape(len(self.labels), -1).max(1)
            lost = [k for k, most in zip(self.labels, seen, strict=True) if not most > 0]
            if lost:
                raise InputError(
                    f"Argument {name} has labels {_listed(lost)} beyond the grid of its image; "
                    "check the affine of the labels, or leave these out."
                )

    def at(self, resolution, unit):
        dtype, factor = resolution.level.target.dtype, resolution.factor
        _, pads = padded_frame(resolution.target)
        inside = blocks(np.pad(np.ones(resolution.target.grid), pads), factor)
        source, target = (
            jnp.asarray(channels(labels, self.labels, image, factor), dtype)
            for labels, image in (
                (self.source, resolution.source),
                (self.target, resolution.target),
            )
        )
        return LabelTerm(
            source=source,
            target=target,
            weights=jnp.asarray(inside / np.max(inside), dtype),
            weight=jnp.asarray(self.weight * unit.weight, dtype),
        )


class Beside(NamedTuple):
    """All pairs of a match, checked, with their names."""

    names: tuple[str, ...]
    pairs: tuple[AbstractPair, ...]
    source: Image
    target: Image
    unit: Unit

    def at(self, factor: int, level: Level, world: np.ndarray) -> tuple[AbstractTerm, ...]:
        """What they add to the objective at one resolution."""
        resolution = Resolution(self.source, self.target, factor, level, world)
        return tuple(pair.at(resolution, self.unit) for pair in self.pairs)


def as_beside(beside: Any, source: Image, target: Image, unit: Unit) -> Beside | None:
    """The argument `beside` of `match_images`, checked; None where there is nothing.

    Args:
        beside: a pair, a sequence of pairs, or a dictionary from names to pairs.
        source, target: the images.
        unit: of the default prices.
    """
    if isinstance(beside, AbstractPair):
        beside = [beside]
    if beside is None or (isinstance(beside, Mapping | Sequence) and not len(beside)):
        return None
    if not isinstance(beside, Mapping | Sequence) or isinstance(beside, str):
        raise InputError(
            "Argument beside must be a `LandmarkPair`, `ShapePair` or `LabelPair`, a list of such "
            f"or a dictionary that names them, but is {beside!r}."
        )
    named = dict(beside) if isinstance(beside, Mapping) else _numbered(beside)
    for name, pair in named.items():
        if not isinstance(name, str):
            raise InputError(f"Argument beside must have strings for keys, but has {name!r}.")
        if not isinstance(pair, AbstractPair):
            raise InputError(
                "Argument beside must hold `LandmarkPair`, `ShapePair` or `LabelPair`, but "
                f"{name!r} is {type(pair).__name__}."
            )
        try:
            pair.check(source, target)
        except InputError as error:
            raise InputError(f"Beside {name!r}: {error}") from error
    return Beside(tuple(named), tuple(named.values()), source, target, unit)


def _numbered(pairs: Sequence[Any]) -> dict[str, Any]:
    """Pairs by their kinds: landmarks, landmarks 2, labels."""
    named: dict[str, Any] = {}
    for place, pair in enumerate(pairs):
        kind = pair.kind if isinstance(pair, AbstractPair) else f"beside[{place}]"
        count = 1 + sum(isinstance(p, AbstractPair) and p.kind == kind for p in named.values())
        named[kind if count == 1 else f"{kind} {count}"] = pair
    return named


def _stiffness(sigma: float | None, resolution: Resolution, unit: Unit) -> float:
    """Price of half a square of lengths in the source's world."""
    return (unit.scale / (unit.sigma * resolution.zoom if sigma is None else sigma)) ** 2


def _as_points(points, name: str) -> np.ndarray:
    """Points in full precision, which JAX without 64 bits would cut."""
    array = np.asarray(points) if checks.is_regular(points) else points
    if isinstance(array, np.ndarray) and array.dtype == np.float64:
        # the checks are those of all points
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            checks.as_points(array, name)
        return array
    return np.asarray(checks.as_points(points, name), np.float64)


def _as_number(value, name: str) -> float | None:
    if value is None:
        return None
    if np.ndim(checks.positive(value, name)):
        raise InputError(f"Argument {name} must be one number, but is {value!r}.")
    return float(value)


def _check_dimension(dimension: int, image: Image, name: str) -> None:
    if dimension != image.dimension:
        raise InputError(
            f"Argument {name} must have {image.dimension} dimensions as its image, but has "
            f"{dimension}."
        )


def _check_points(points: np.ndarray, image: Image, name: str) -> None:
    _check_dimension(points.shape[1], image, name)
    indices = image.to_indices(points)
    outside = np.any((indices < -0.5) | (indices > np.asarray(image.grid) - 0.5), axis=1)
    if np.all(outside):
        raise InputError(
            f"Argument {name} has all its {len(points)} points beyond the grid of its image, the "
            f"first at {points[0].tolist()} with index {np.round(indices[0], 1).tolist()} in "
            f"{list(image.grid)}; give them in the world of the image, as its affine says."
        )
    if np.any(outside):
        warnings.warn(
            f"Argument {name} has {int(np.sum(outside))} of its {len(points)} points beyond the "
            "grid of its image, where the deformation ends.",
            stacklevel=5,
        )


def _labels_of(image, name: str) -> set[int]:
    if not isinstance(image, Image):
        raise InputError(f"Argument {name} must be an `Image`, but is {type(image).__name__}.")
    found = np.unique(np.asarray(image.values))
    broken = found[found != np.round(found)]
    if broken.size:
        raise InputError(
            f"Argument {name} must hold integers, one for each label, but holds {broken[0]}; give "
            "labels, not intensities."
        )
    return {int(k) for k in found} - {0}


def _listed(labels) -> str:
    shown = [str(k) for k in sorted(labels)]
    more = f" and {len(shown) - _NAMED} more" if len(shown) > _NAMED else ""
    return (", ".join(shown[:_NAMED]) or "none") + more
