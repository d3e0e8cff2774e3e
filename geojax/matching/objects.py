"""What is matched: points, curves and surfaces, one or several, as one array of points."""

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np

from geojax._core import checks
from geojax._core.errors import InputError
from geojax.matching import arguments
from geojax.matching.layout import Layout
from geojax.shapes import AbstractFidelity, Combined
from geojax.shapes.meshes import AbstractMesh


def gather(source, target, fidelity, weight):
    """The points of source and target, what compares them, and its price.

    Args:
        source, target: shapes, or dictionaries of shapes with the same keys.
        fidelity: one for all, or a dictionary; with its default in place of None.
        weight: a number, a dictionary or None.

    Returns:
        `(source, target, fidelity, weight, layout)`; the layout is that of the source.
    """
    if isinstance(source, Mapping) != isinstance(target, Mapping):
        raise InputError(
            "Arguments source and target must both be dictionaries of objects, or both one shape."
        )
    if not isinstance(source, Mapping):
        for value, name in ((fidelity, "fidelity"), (weight, "weight")):
            if isinstance(value, Mapping):
                raise InputError(
                    f"Argument {name} is a dictionary, which names objects, but source is one "
                    "shape: pass source and target as dictionaries as well."
                )
        x, y = arguments.as_clouds(source, target)
        compared = arguments.as_fidelity(fidelity, x, y, (source, target))
        shape = source if isinstance(source, AbstractMesh) else x
        return x, y, compared, _price(weight, compared), Layout.of(shape)
    return _gather_several(source, target, fidelity, weight)


def _gather_several(source, target, fidelity, weight):
    names = _names(source, target)
    pairs = {name: _named(name, arguments.as_clouds, source[name], target[name]) for name in names}
    dimensions = {name: x.shape[1] for name, (x, _) in pairs.items()}
    if len(set(dimensions.values())) > 1:
        raise InputError(f"The objects must have one dimension, but have {dimensions}.")
    dtype = np.result_type(*(x.dtype for x, _ in pairs.values()))
    pairs = {name: (x.astype(dtype), y.astype(dtype)) for name, (x, y) in pairs.items()}
    parts, weights = [], []
    for name in names:
        chosen = _chosen(fidelity, name, names, "fidelity")
        if isinstance(fidelity, Mapping) and chosen is None:
            raise InputError(f"Argument fidelity has no entry for the object {name!r}.")
        shapes = source[name], target[name]
        part = _named(name, arguments.as_fidelity, chosen, *pairs[name], shapes)
        parts.append(part)
        weights.append(_named(name, _price, _chosen(weight, name, names, "weight"), part))
    combined = Combined(
        names=names,
        parts=tuple(parts),
        weights=tuple(jnp.asarray(w).astype(dtype) for w in weights),
        sizes=tuple((x.shape[0], y.shape[0]) for x, y in pairs.values()),
    )
    points = [jnp.concatenate([pair[k] for pair in pairs.values()]) for k in range(2)]
    shapes = {n: s if isinstance(s, AbstractMesh) else pairs[n][0] for n, s in source.items()}
    return *points, combined, 1.0, Layout.of({name: shapes[name] for name in names})


def _names(source, target) -> tuple[str, ...]:
    if not source:
        raise InputError("Argument source must hold at least one object, but is empty.")
    if set(source) != set(target):
        raise InputError(
            "Arguments source and target must hold the same objects, but hold "
            f"{', '.join(map(str, source))} and {', '.join(map(str, target))}."
        )
    for name in source:
        if not isinstance(name, str):
            raise InputError(f"Objects are named by strings, but one is named {name!r}.")
    return tuple(source)


def _chosen(value, name, names, argument):
    """The entry of an object, or the one value for all."""
    if not isinstance(value, Mapping):
        return value
    for key in value:
        if key not in names:
            raise InputError(
                f"Argument {argument} has an entry for {key!r}, but the objects are "
                f"{', '.join(names)}{checks.nearest_name(str(key), names)}."
            )
    return value.get(name)


def _named(name, function, *args):
    """Call; what is wrong is wrong with that object."""
    try:
        return function(*args)
    except InputError as error:
        raise InputError(f"Object {name!r}: {error}") from error


def _price(weight, fidelity: AbstractFidelity):
    """The price of a unit of fidelity; by default that of 1000 units of length, squared."""
    return 1e3 * fidelity.unit() if weight is None else arguments.scalar(weight, "weight")
