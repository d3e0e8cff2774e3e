"""Many targets of one source: bound, padded and stacked, so that they share one program."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from geojax._core import checks
from geojax._core.buckets import filled
from geojax._core.errors import InputError
from geojax.matching import arguments
from geojax.shapes import AbstractFidelity
from geojax.shapes.base import Counts
from geojax.shapes.meshes import AbstractMesh
from geojax.shapes.varifolds import AbstractMeasure

# Pairs of points or cells of all the subjects that are worked on at a time.
_PAIRS = 2**22


class Subjects(eqx.Module):
    """The targets of one source with their fidelities, padded to one size.

    Attributes:
        targets: `[s, m, d]`.
        fidelities: one fidelity whose arrays have a leading axis of s.
        batch_size: subjects that are worked on at a time.
    """

    targets: Float[Array, "s m d"]
    fidelities: AbstractFidelity
    batch_size: int = eqx.field(static=True)

    def __len__(self) -> int:
        return self.targets.shape[0]

    def map(self, function: Callable[..., PyTree], *arrays: Float[Array, "s ..."]) -> PyTree:
        """`function(fidelity, target, *entries)` of each subject, along a leading axis.

        At most `batch_size` at a time; of what is worked on later nothing is kept for the
        derivative but its arguments.
        """
        leaves, rest = eqx.partition(self.fidelities, eqx.is_array)

        def one(entry):
            return function(eqx.combine(entry[0], rest), *entry[1:])

        entries = leaves, self.targets, *arrays
        if len(self) <= self.batch_size:
            return jax.vmap(one)(entries)
        size = self.batch_size if self.batch_size > 1 else None
        return jax.lax.map(jax.checkpoint(one), entries, batch_size=size)

    def one(self, subject: int) -> tuple[AbstractFidelity, Float[Array, "m d"]]:
        """The fidelity and the padded target of a subject."""
        leaves, rest = eqx.partition(self.fidelities, eqx.is_array)
        fidelity = eqx.combine(jax.tree.map(lambda x: x[subject], leaves), rest)
        return fidelity, self.targets[subject]

    def constant(self) -> Float[Array, ""]:
        """The part of all fidelities that only the targets decide."""
        return jnp.sum(self.map(lambda fidelity, target: fidelity.target_term(target)))

    def pulls(self, source: Float[Array, "n d"]) -> Float[Array, "s n d"]:
        """Derivative of each fidelity in the points of the source at rest."""
        return self.map(lambda fidelity, target: jax.grad(fidelity.cross)(source, target))

    def unit(self) -> Float[Array, ""]:
        """The mean of the units of the fidelities."""
        return jnp.mean(self.map(lambda fidelity, target: fidelity.unit()))

    def coarser(self, factor: Float[Array, ""]) -> "Subjects":
        """The same fidelities at a coarser scale."""
        # targets go along because some fidelities hold no array to map over
        mapped = eqx.filter_vmap(lambda fidelity, _: fidelity.coarser(factor))
        return dataclasses.replace(self, fidelities=mapped(self.fidelities, self.targets))

    def variance(self) -> Float[Array, ""]:
        """Sum of the squared distances of the targets from their mean.

        From those between pairs, `sum_ij d_ij^2 / (2 s)`, which is the same in every space that
        a fidelity measures in; for Sinkhorn and `PartialVarifold` it is a name only.
        """

        def row(fidelity, target):
            def pair(other, points):
                return _from_target(fidelity, other)(target, points)

            return jnp.sum(self.map(pair))

        # row by row: all pairs at a time would be too many
        return jnp.sum(dataclasses.replace(self, batch_size=1).map(row)) / len(self)


def as_points(
    source, shapes, source_name: str, name: str
) -> tuple[Float[Array, "n d"], list[Float[Array, "m d"]]]:
    """A source and its targets in one dtype: the widest, at least float32.

    Raises:
        InputError: no targets, or points that are none or of another dimension.
    """
    if not isinstance(shapes, Sequence | np.ndarray | jax.Array):
        raise InputError(
            f"Argument {name} must be a list of shapes, but is a {type(shapes).__name__}."
        )
    if len(shapes) == 0:
        raise InputError(f"Argument {name} must hold at least one shape, but is empty.")

    def convert(x, name):
        return checks.as_points(x.vertices if isinstance(x, AbstractMesh) else x, name)

    source = convert(source, source_name)
    targets = [convert(x, f"{name}[{k}]") for k, x in enumerate(shapes)]
    for k, target in enumerate(targets):
        checks.same_dimension(source, target, source_name, f"{name}[{k}]")
    dtype = np.result_type(*(x.dtype for x in (source, *targets)), np.float32)
    return source.astype(dtype), [x.astype(dtype) for x in targets]


def bind(
    fidelity, given, source, shapes, targets: list, names: tuple[str, str], batch_size: int | None
) -> Subjects:
    """The targets with a fidelity that is bound to each.

    Args:
        fidelity: a fidelity, or its name.
        given, source: the shape that is carried, and its vertices.
        shapes, targets: those that it is compared with, and their vertices.
        names: of the carried shape and of the others, for messages.
        batch_size: how many are worked on at a time; read off their sizes by default.

    Raises:
        InputError: a target that cannot be compared with the source.
    """
    fidelities, counts = [], []
    if not isinstance(fidelity, AbstractFidelity):
        together = jnp.concatenate([arguments.seen(x) for x in targets])
        fidelity = arguments.named_fidelity(fidelity, arguments.seen(source), together)
    if isinstance(fidelity, AbstractMeasure) and isinstance(given, AbstractMesh):
        fidelity.check_shape(given, names[0])
    for k, (shape, target) in enumerate(zip(shapes, targets, strict=True)):
        name = f"{names[1]}[{k}]"
        try:
            bound = arguments.as_fidelity(fidelity, source, target, (given, shape), (None, name))
        except InputError as error:
            text = str(error)
            raise InputError(text if name in text else f"{name} (the target): {text}") from error
        fidelities.append(bound)
        counts.append(bound.counts(source.shape[0], target.shape[0]))
    largest = Counts(*(max(column) for column in zip(*(row for (row, *_) in counts), strict=True)))
    if len(set(counts)) > 1:
        if len(counts[0]) > 1:
            raise InputError(
                f"Argument {names[1]} must hold objects of the same sizes throughout, where the "
                "fidelity compares several objects."
            )
        pairs = zip(fidelities, counts, strict=True)
        fidelities = [bound.padded(own, (largest,)) for bound, own in pairs]
        targets = [filled(x, largest.target, "edge") for x in targets]
    if batch_size is None:
        batch_size = min(max(_PAIRS // max(largest) ** 2, 1), len(targets))
    checks.count(batch_size, "batch_size")
    leaves, rest = zip(*(eqx.partition(bound, eqx.is_array) for bound in fidelities), strict=True)
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *leaves)
    return Subjects(jnp.stack(targets), eqx.combine(stacked, rest[0]), batch_size)


def _from_target(fidelity: Any, other: Any) -> AbstractFidelity:
    """The fidelity of one target to another, from those of the source to both."""
    changes: dict[str, Any] = {}
    if hasattr(other, "source_weights"):
        changes["source_weights"] = getattr(fidelity, "target_weights", None)
    cells = getattr(other, "cells", None)
    if cells is not None:
        changes["cells"] = (fidelity.cells[1], cells[1])
    return dataclasses.replace(other, **changes)
