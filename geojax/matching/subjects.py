"""Many targets of one source: bound, padded and stacked, so that they share one program."""

import dataclasses
import warnings
from collections.abc import Callable, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from geojax._core import checks
from geojax._core.errors import InputError
from geojax.kernels import kernel_sum
from geojax.matching import arguments
from geojax.shapes import AbstractFidelity
from geojax.shapes.meshes import AbstractMesh, elements, lengths, same_kind
from geojax.shapes.varifolds import AbstractMeasure

# Pairs of points or cells of all the subjects that are worked on at a time.
_PAIRS = 2**22


class Group(eqx.Module):
    """Targets of one size, and the fidelity of each.

    Attributes:
        targets: `[g, m, d]`.
        fidelities: one fidelity whose arrays have a leading axis of g.
    """

    targets: Float[Array, "g m d"]
    fidelities: AbstractFidelity


class Subjects(eqx.Module):
    """The targets of one source with their fidelities.

    Curves and surfaces are padded to one size with cells that have no measure; of other shapes
    those of one size form a group.

    Attributes:
        groups: the targets by their size.
        order: where in the groups, one after the other, a subject is.
        sizes: vertices and cells of each subject, without padding.
        batch_size: subjects that are worked on at a time.
    """

    groups: tuple[Group, ...]
    order: tuple[int, ...] = eqx.field(static=True)
    sizes: tuple[tuple[int, int], ...] = eqx.field(static=True)
    batch_size: int = eqx.field(static=True)

    def map(self, function: Callable[..., PyTree], *arrays: Float[Array, "s ..."]) -> PyTree:
        """`function(fidelity, target, *entries)` of each subject, along a leading axis.

        At most `batch_size` at a time; of what is worked on later nothing is kept for the
        derivative but its arguments.
        """
        places, results, begin = np.argsort(self.order), [], 0
        for group in self.groups:
            count = group.targets.shape[0]
            mine = places[begin : begin + count]
            begin += count
            leaves, rest = eqx.partition(group.fidelities, eqx.is_array)

            def one(entry, rest=rest):
                return function(eqx.combine(entry[0], rest), *entry[1:])

            entries = leaves, group.targets, *(x[mine] for x in arrays)
            if count <= self.batch_size:
                results.append(jax.vmap(one)(entries))
            else:
                size = self.batch_size if self.batch_size > 1 else None
                results.append(jax.lax.map(jax.checkpoint(one), entries, batch_size=size))
        order = np.asarray(self.order)
        return jax.tree.map(lambda *x: jnp.concatenate(x)[order], *results)

    def one(self, subject: int) -> tuple[AbstractFidelity, Float[Array, "m d"]]:
        """The fidelity and the vertices of a subject, without padding."""
        owners = [(g, k) for g in self.groups for k in range(g.targets.shape[0])]
        group, place = owners[self.order[subject]]
        leaves, rest = eqx.partition(group.fidelities, eqx.is_array)
        fidelity = eqx.combine(jax.tree.map(lambda x: x[place], leaves), rest)
        vertices, cells = self.sizes[subject]
        if isinstance(fidelity, AbstractMeasure) and fidelity.cells is not None:
            source, target = fidelity.cells
            fidelity = eqx.tree_at(lambda f: f.cells, fidelity, (source, target[:cells]))
        return fidelity, group.targets[place][:vertices]

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

        def coarse(group):
            # targets go along because some fidelities hold no array to map over
            mapped = eqx.filter_vmap(lambda fidelity, _: fidelity.coarser(factor))
            return Group(group.targets, mapped(group.fidelities, group.targets))

        return eqx.tree_at(lambda s: s.groups, self, tuple(coarse(g) for g in self.groups))

    def variance(self) -> Float[Array, ""]:
        """Sum of the squared distances of the targets from their mean.

        From those between pairs, `sum_ij d_ij^2 / (2 s)`, which is the same in every space that
        a fidelity other than Sinkhorn's measures in.
        """

        def row(fidelity, target):
            def pair(other, points):
                if isinstance(other, AbstractMeasure):
                    # the other target takes the place of the source
                    other = eqx.tree_at(lambda f: f.cells[0], other, fidelity.cells[1])
                return other(target, points)

            return jnp.sum(self.map(pair))

        # row by row: all pairs at a time would be too many
        return jnp.sum(dataclasses.replace(self, batch_size=1).map(row)) / len(self.order)


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
    fidelity,
    given,
    source,
    shapes,
    targets: list,
    names: tuple[str, str],
    batch_size: int | None,
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
    name = names[1]
    if not isinstance(fidelity, AbstractFidelity):
        together = jnp.concatenate([arguments.seen(x) for x in targets])
        fidelity = arguments._named(fidelity, arguments.seen(source), together)
    meshes = [isinstance(x, AbstractMesh) for x in (given, *shapes)]
    measured = isinstance(fidelity, AbstractMeasure) and any(meshes)
    cells = [x.cells.shape[0] if isinstance(x, AbstractMesh) else 0 for x in shapes]
    sizes = [(x.shape[0], c if measured else 0) for x, c in zip(targets, cells, strict=True)]
    if batch_size is None:
        own = given.cells.shape[0] if measured else source.shape[0]
        batch_size = _PAIRS // max(own, *(max(pair) for pair in sizes)) ** 2
        batch_size = min(max(batch_size, 1), len(targets))
    checks.count(batch_size, "batch_size")
    if measured:
        groups, places = [_measures(fidelity, given, shapes, targets, names)], range(len(targets))
    else:
        for k, target in enumerate(targets):
            try:
                fidelity.check(arguments.seen(source), arguments.seen(target))
            except InputError as error:
                raise InputError(f"{name}[{k}] (the target): {error}") from error
        groups, places = _by_size(fidelity, targets)
    order = tuple(int(k) for k in np.argsort(np.asarray(places), kind="stable"))
    return Subjects(tuple(groups), order, tuple(sizes), batch_size)


def _by_size(fidelity, targets) -> tuple[list[Group], list[int]]:
    """Groups of targets of one size, and the subjects in them, one after the other."""
    groups, places = [], []
    for size in sorted({x.shape[0] for x in targets}):
        mine = [k for k, x in enumerate(targets) if x.shape[0] == size]
        places += mine
        groups.append(Group(jnp.stack([targets[k] for k in mine]), _repeated(fidelity, len(mine))))
    return groups, places


def _measures(fidelity, given, shapes, targets, names) -> Group:
    """One group of curves or surfaces, padded to the largest."""
    own_name, name = names
    same_kind(given, given)
    fidelity.check_shape(given, own_name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it was said just now, by its name
        bound = fidelity.between(given, given)
    for k, shape in enumerate(shapes):
        try:
            same_kind(given, shape)
        except InputError as error:
            raise InputError(f"{name}[{k}] (the target): {error}") from error
        bound.check_shape(shape, f"{name}[{k}]")
    vertices = max(x.shape[0] for x in targets)
    count = max(x.cells.shape[0] for x in shapes)
    padded = jnp.stack([_pad(x, vertices, mode="edge") for x in targets])
    # cells of one vertex have no measure, so no fidelity sees them
    cells = jnp.stack([_pad(x.cells, count, mode="constant") for x in shapes])
    together = _repeated(bound, len(shapes))
    together = eqx.tree_at(lambda f: f.cells[1], together, cells)
    mass = _masses(bound.kernel, padded, cells)
    return Group(padded, eqx.tree_at(lambda f: f.mass, together, mass))


def _pad(x, count, **options):
    missing = count - x.shape[0]
    pad = jnp.pad if checks.is_tracer(x) else np.pad
    return jnp.asarray(pad(x, ((0, missing), (0, 0)), **options)) if missing else x


def _repeated(fidelity, count):
    leaves, rest = eqx.partition(fidelity, eqx.is_array)
    leaves = jax.tree.map(lambda x: jnp.broadcast_to(x, (count, *x.shape)), leaves)
    return eqx.combine(leaves, rest)


@eqx.filter_jit
def _masses(kernel, targets, cells):
    """`sum_ij k(c_i, c_j) a_i a_j` of each target."""

    def mass(entry):
        centres, vectors = elements(*entry)
        areas = lengths(vectors)[0][:, None]
        return jnp.sum(areas * kernel_sum(kernel, centres, centres, areas))

    return jax.lax.map(mass, (targets, cells))
