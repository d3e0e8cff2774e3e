"""The arguments of `match`: converted, checked and given their defaults, before any compilation."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
from scipy.spatial import KDTree

from geojax._core import checks
from geojax._core.errors import InputError
from geojax._core.results import is_traced
from geojax.kernels import AbstractRadialKernel, Gaussian
from geojax.metrics import RKHS
from geojax.shapes import (
    MMD,
    AbstractFidelity,
    Combined,
    Currents,
    Landmarks,
    Sinkhorn,
    Varifold,
)
from geojax.shapes.combined import split
from geojax.shapes.meshes import AbstractMesh
from geojax.shapes.varifolds import AbstractMeasure

# Rounds at a coarser fidelity that clouds start with; more if they are far apart.
_ROUNDS = 2


def as_clouds(source, target):
    """Source and target in one dtype: the wider of the two, at least float32.

    Of curves and surfaces these are the vertices.
    """
    source, target = (x.vertices if isinstance(x, AbstractMesh) else x for x in (source, target))
    source = checks.as_points(source, "source")
    target = checks.as_points(target, "target")
    checks.same_dimension(source, target, "source", "target")
    dtype = np.result_type(source.dtype, target.dtype, np.float32)
    return source.astype(dtype), target.astype(dtype)


def seen(x):
    """The value of an array that is only being differentiated; a tracer under `jit` or `vmap`."""
    return jax.tree.map(
        lambda leaf: jax.lax.stop_gradient(leaf) if checks.is_tracer(leaf) else leaf, x
    )


def scalar(x, name: str):
    """A positive number; an array is refused, as it would be broadcast."""
    checks.positive(x, name)
    if np.ndim(x):
        raise InputError(f"Argument {name} must be one number, but has shape {list(np.shape(x))}.")
    return x


def as_times(times, count: int, t0, what: str) -> tuple[np.ndarray, float, float]:
    """When each of several things was seen, and where that begins and ends.

    Raises:
        InputError: other numbers than one for each, or none of them after `t0`.
    """
    when = checks.as_numbers(times, "times")
    if when.shape != (count,):
        raise InputError(
            f"Argument times must hold one number for each of the {count} {what}, but has shape "
            f"{list(when.shape)}."
        )
    first = np.min(when) if t0 is None else checks.as_numbers(t0, "t0")
    if np.ndim(first):
        raise InputError(f"Argument t0 must be one number, but is {t0!r}.")
    begin = float(first)
    end = float(np.max(when))
    if np.min(when) < begin or end <= begin:
        raise InputError(
            f"Argument times must not be before t0 = {begin:g} and not all be at t0, but runs "
            f"from {np.min(when):g} to {end:g}."
        )
    return when, begin, end


def as_metric(metric, source) -> RKHS:
    """The metric, by default a Gaussian of a fifth of the size of the source."""
    if metric is None:
        if checks.is_tracer(seen(source)):
            raise InputError(
                "Argument metric must be given under `jit` and `vmap`, where no default can be "
                "read off the points; pass a kernel such as `Gaussian(0.5)`."
            )
        return RKHS(Gaussian(rounded(diagonal(seen(source)) / 5)))
    if isinstance(metric, AbstractRadialKernel):
        return RKHS(metric)
    if not isinstance(metric, RKHS):
        raise InputError(
            "Argument metric must be an RKHS metric or a radial kernel such as `Gaussian(0.5)`, "
            f"but is {metric!r}."
        )
    return metric


def as_fidelity(fidelity, source, target, shapes, names=("source", "target")) -> AbstractFidelity:
    """The fidelity, by name at a scale read off the data, bound to the shapes if it needs them."""
    if not isinstance(fidelity, AbstractFidelity):
        fidelity = named_fidelity(fidelity, seen(source), seen(target))
    if isinstance(fidelity, AbstractMeasure) and any(isinstance(x, AbstractMesh) for x in shapes):
        fidelity = fidelity.between(*shapes, names=names)
    fidelity.check(seen(source), seen(target))
    return fidelity


def named_fidelity(name, source, target) -> AbstractFidelity:
    """The fidelity of a name, at a scale read off the points."""
    names = ("landmarks", "mmd", "sinkhorn", "currents", "varifold")
    if name not in names:
        raise InputError(
            f"Argument fidelity must be one of {', '.join(names)} or a fidelity such as "
            f"`MMD(0.5)`, but is {name!r}{checks.nearest_name(name, names)}."
        )
    if name == "landmarks":
        return Landmarks()
    if is_traced((source, target)):
        raise InputError(
            f"Argument fidelity must be an object such as `MMD(0.5)` under `jit` and `vmap`, but "
            f"is the name {name!r}, whose scale is read off the points."
        )
    size = max(diagonal(source), diagonal(target))
    if name == "sinkhorn":
        return Sinkhorn(rounded(size / 20))
    return {"mmd": MMD, "currents": Currents, "varifold": Varifold}[name](rounded(size / 10))


def as_control_points(control_points, source):
    """Where momenta sit; None for the source itself."""
    if control_points is None:
        return None
    if isinstance(control_points, int | np.integer):
        count = checks.count(control_points, "control_points")
        known = seen(source)
        if checks.is_tracer(known):
            raise InputError(
                "Argument control_points must be points under `jit` and `vmap`, but is a number."
            )
        if count > source.shape[0]:
            raise InputError(
                f"Argument control_points must be at most the {source.shape[0]} source points, "
                f"but is {count}."
            )
        chosen = spread(np.asarray(known), count)
        if checks.is_tracer(source):
            return source[chosen]
        return jnp.asarray(np.asarray(source)[chosen])
    if not isinstance(control_points, AbstractMesh) and np.ndim(control_points) == 0:
        raise InputError(
            "Argument control_points must be points or their number, an integer, but is "
            f"{control_points!r}."
        )
    points = checks.as_points(control_points, "control_points")
    checks.same_dimension(points, source, "control_points", "source")
    return points.astype(source.dtype)


def distinct_points(source):
    """The points of several objects, each once; None if they all differ or cannot be seen."""
    if checks.is_tracer(seen(source)):
        return None
    _, first = np.unique(np.asarray(source), axis=0, return_index=True)
    return None if len(first) == source.shape[0] else np.asarray(source)[np.sort(first)]


def as_initial(initial, base):
    """The momentum to start from; zero by default."""
    if initial is None:
        return np.zeros(base.shape, base.dtype)
    momentum = checks.finite(checks.as_float_array(initial, "initial"), "initial")
    if momentum.shape != base.shape:
        raise InputError(
            f"Argument initial must hold one momentum for each control point, shape "
            f"{list(base.shape)}, but has shape {list(momentum.shape)}."
        )
    return momentum.astype(base.dtype)


def as_rounds(multiscale, fidelity, source, target) -> int:
    """How many rounds at a coarser fidelity come first: enough that the clouds see each other."""
    if isinstance(fidelity, Combined):
        return max(as_rounds(multiscale, *part) for part in fidelity.pieces(source, target))
    if isinstance(fidelity, Landmarks):
        return 0 if multiscale is None else checks.count(multiscale, "multiscale", least=0)
    if multiscale is not None:
        rounds = checks.count(multiscale, "multiscale", least=0)
    else:
        rounds = _ROUNDS
    source, target = seen(source), seen(target)
    if not isinstance(fidelity, MMD | AbstractMeasure) or is_traced((fidelity, source, target)):
        return rounds
    # kernels vanish at a distance; half of it must lie within reach
    apart = float(np.max(_nearest(source, target)))
    scale = float(fidelity.kernel.finest_scale)
    needed = int(np.ceil(np.log2(max(apart / (2 * scale), 1.0))))
    if multiscale is None:
        return max(rounds, needed)
    if needed > rounds + 1:
        warnings.warn(
            f"Some points of the target are {apart:.3g} away from the source, but the fidelity's "
            f"scale {scale:.3g} reaches {scale * 2**rounds:.3g} in the coarsest of {rounds + 1} "
            f"rounds: they may not pull. Raise multiscale to {needed} or the scale.",
            stacklevel=3,
        )
    return rounds


def check_points(metric, fidelity, base, own: bool, name: str) -> None:
    """Refuse points that coincide, and landmarks that the kernel cannot tell apart.

    A match solves no system of the kernel matrix, so points of a cloud may be dense: they move
    together. Landmarks that must move apart cannot.

    Raises:
        InputError: momenta on coinciding points, or landmarks too close for float32.
    """
    if is_traced((metric, base)) or base.shape[0] < 2:
        return
    checks.distinct(base, name)
    if own and isinstance(fidelity, Landmarks):
        check_separation(metric.kernel, base, name)
    elif own and isinstance(fidelity, Combined):
        objects = split(base, [n for n, _ in fidelity.sizes])
        for part, points in zip(fidelity.parts, objects, strict=True):
            check_points(metric, part, points, own, name)


def check_separation(kernel, source, name: str = "source") -> None:
    """Refuse landmarks that nearly coincide in float32, and warn of them in float64.

    Raises:
        InputError: naming the closest pair and the condition number of the kernel matrix.
    """
    mend = "merge them, take a smaller scale, pass control_points"
    checks.near_duplicates(kernel, source, name, size=diagonal(source), mend=mend)


def check_scales(metric, source, target, base) -> None:
    """Warn where units or scales look mixed up."""
    if is_traced((metric, source, target, base)):
        return
    size, other = diagonal(source), diagonal(target)
    scale = float(metric.kernel.finest_scale)
    suggestion = rounded(size / 5)
    alone = min(source.shape[0], target.shape[0]) == 1
    if not alone and max(size, other) > 50 * min(size, other):
        warnings.warn(
            f"The source measures {size:.3g} and the target {other:.3g} across (kernel scale "
            f"{scale:.3g}): different units? Rescale one of them.",
            stacklevel=3,
        )
    if source.shape[0] == 1:
        return
    if scale > 10 * size:
        warnings.warn(
            f"The kernel scale {scale:.3g} is more than 10 times the source's size {size:.3g} "
            f"(target {other:.3g}): it moves rigidly. Try a scale near {suggestion:.3g}.",
            stacklevel=3,
        )
    elif base.shape[0] > 1:
        gaps = np.asarray(KDTree(np.asarray(base)).query(np.asarray(base), k=2)[0])[:, 1]
        spacing = float(np.min(gaps[gaps > 0], initial=np.inf))
        if np.isfinite(spacing) and scale < spacing / 10:
            warnings.warn(
                f"The kernel scale {scale:.3g} is less than a tenth of the smallest spacing "
                f"{spacing:.3g} of points (size {size:.3g}): each moves alone. Try a scale near "
                f"{suggestion:.3g}.",
                stacklevel=3,
            )


def diagonal(points) -> float:
    """Length of the diagonal of the bounding box (1 for a single point)."""
    return float(np.linalg.norm(np.ptp(np.asarray(points), axis=0))) or 1.0


def rounded(length: float) -> float:
    """A default length, to two digits: it is printed, and stored, and read by people."""
    return float(f"{length:.2g}")


def spread(points: np.ndarray, count: int) -> np.ndarray:
    """Indices of points chosen one after the other, each farthest from those before."""
    chosen = [int(np.argmin(np.sum((points - points.mean(axis=0)) ** 2, axis=1)))]
    nearest = np.sum((points - points[chosen[0]]) ** 2, axis=1)
    while len(chosen) < count:
        chosen.append(int(np.argmax(nearest)))
        nearest = np.minimum(nearest, np.sum((points - points[chosen[-1]]) ** 2, axis=1))
    return np.asarray(chosen)


def _nearest(source, target) -> np.ndarray:
    """Distance of each target point to the source."""
    return np.asarray(KDTree(np.asarray(source)).query(np.asarray(target))[0])
