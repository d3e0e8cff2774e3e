"""Padding: problems of many sizes in few shapes, so that they share a program, or a batch.

The last point of an object is repeated, and shares its weight with its copies; cells are filled up
with such that have no size, control points with such that hold no momentum. Values, gradients and
minima are those of the problem itself.
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from geojax._core.buckets import bucket
from geojax._core.errors import InputError
from geojax.matching.problem import Problem
from geojax.matching.result import Match
from geojax.shapes.base import Counts


class Sizes(NamedTuple):
    """Points and cells of each object, and control points (0 where momenta sit on the source)."""

    objects: tuple[Counts, ...]
    controls: int


def common_sizes(problems: Sequence[Problem]) -> Sizes:
    """The buckets that hold every one of several problems.

    Raises:
        InputError: problems with different numbers of objects, or only some with control points.
    """
    sizes = [_sizes(problem) for problem in problems]
    if len({(len(s.objects), s.controls == 0) for s in sizes}) > 1:
        raise InputError(
            "Problems that are solved together must have the same objects, and all or none of them "
            "control points."
        )
    objects = tuple(
        Counts(*(bucket(max(column)) for column in zip(*rows, strict=True)))
        for rows in zip(*(s.objects for s in sizes), strict=True)
    )
    return Sizes(objects, bucket(max(s.controls for s in sizes)))


def pad(problem: Problem, momentum, sizes: Sizes):
    """A problem and a momentum, filled up to larger sizes, in NumPy."""
    own = _sizes(problem)
    source = _indices([o.source for o in own.objects], [o.source for o in sizes.objects])
    target = _indices([o.target for o in own.objects], [o.target for o in sizes.objects])
    if problem.control_points is None:
        base, controls = source, None
    else:
        base = _indices([own.controls], [sizes.controls])
        controls = jnp.asarray(np.asarray(problem.control_points)[base])
    active = _first(base)
    filled = np.where(active[:, None], np.asarray(momentum)[base], 0)
    padded = dataclasses.replace(
        problem,
        fidelity=problem.fidelity.padded(own.objects, sizes.objects),
        source=jnp.asarray(np.asarray(problem.source)[source]),
        target=jnp.asarray(np.asarray(problem.target)[target]),
        control_points=controls,
        active=jnp.asarray(active),
        layout=None,
    )
    return padded, filled


def trim(found: Match, problem: Problem, sizes: Sizes) -> Match:
    """The match of a problem from that of the same problem filled up to larger sizes."""
    own = _sizes(problem)
    source = _first(_indices([o.source for o in own.objects], [o.source for o in sizes.objects]))
    base = source
    if problem.control_points is not None:
        base = _first(_indices([own.controls], [sizes.controls]))

    def kept(array, which):
        return None if array is None else jnp.asarray(np.asarray(array)[..., which, :])

    path = dataclasses.replace(
        found.path,
        states=kept(found.path.states, base),
        costates=kept(found.path.costates, base),
        carried=kept(found.path.carried, source),
    )
    return dataclasses.replace(
        found, problem=problem, momentum=kept(found.momentum, base), path=path
    )


def _sizes(problem: Problem) -> Sizes:
    objects = problem.fidelity.counts(problem.source.shape[0], problem.target.shape[0])
    return Sizes(objects, 0 if problem.control_points is None else problem.base.shape[0])


def _indices(counts: Sequence[int], sizes: Sequence[int]) -> np.ndarray:
    """Which point stands where: the last of each object is repeated up to its size."""
    starts = np.cumsum([0, *counts])
    rows = [
        start + np.minimum(np.arange(size), count - 1)
        for start, count, size in zip(starts, counts, sizes, strict=False)
    ]
    return np.concatenate(rows)


def _first(indices: np.ndarray) -> np.ndarray:
    """Where a point stands for the first time."""
    return np.diff(indices, prepend=-1) > 0
