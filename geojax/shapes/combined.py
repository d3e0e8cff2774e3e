"""Several objects at once: each with a fidelity of its own, one deformation for all."""

from functools import reduce
from operator import add

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from geojax._core import checks
from geojax._core.errors import InputError
from geojax.shapes.base import AbstractFidelity


class Combined(AbstractFidelity):
    """The weighted sum of the fidelities of several objects whose points follow one another.

    `match` builds it from dictionaries of shapes; its value is in the unit of an energy, so that
    its own weight in a match is 1.

    Attributes:
        names: of the objects.
        parts: the fidelity of each.
        weights: the price of a unit of each.
        sizes: points of each in the source and in the target.

    Example:
        >>> import jax.numpy as jnp
        >>> from geojax.shapes import Landmarks
        >>> both = Combined(("a", "b"), (Landmarks(), Landmarks()), (1.0, 3.0), ((1, 1), (1, 1)))
        >>> points = jnp.array([[0.0, 0.0], [1.0, 0.0]])
        >>> float(both(points, points + jnp.array([[2.0, 0.0]])))
        8.0
    """

    names: tuple[str, ...] = eqx.field(static=True)
    parts: tuple[AbstractFidelity, ...]
    weights: tuple[Float[Array, ""], ...] = eqx.field(
        converter=lambda ws: tuple(checks.as_float_array(w, "weights") for w in ws)
    )
    sizes: tuple[tuple[int, int], ...] = eqx.field(static=True)

    def __check_init__(self):
        counts = {len(self.names), len(self.parts), len(self.weights), len(self.sizes)}
        if len(counts) != 1:
            raise InputError(
                f"Arguments names, parts, weights and sizes must have one entry per object, but "
                f"have {len(self.names)}, {len(self.parts)}, {len(self.weights)} and "
                f"{len(self.sizes)}."
            )

    @property
    def twice_differentiable(self):
        return all(part.twice_differentiable for part in self.parts)

    def pieces(
        self, source: Float[Array, "n d"], target: Float[Array, "m d"]
    ) -> list[tuple[AbstractFidelity, Float[Array, "k d"], Float[Array, "l d"]]]:
        """The fidelity of each object with its points."""
        sources = split(source, [n for n, _ in self.sizes])
        targets = split(target, [m for _, m in self.sizes])
        return list(zip(self.parts, sources, targets, strict=True))

    def of_parts(
        self, source: Float[Array, "n d"], target: Float[Array, "m d"]
    ) -> dict[str, Float[Array, ""]]:
        """The fidelity of each object, without its weight."""
        values = [part(x, y) for part, x, y in self.pieces(source, target)]
        return dict(zip(self.names, values, strict=True))

    def cross(self, points, target):
        pieces = self.pieces(points, target)
        return self._weighted([part.cross(x, y) for part, x, y in pieces])

    def target_term(self, target):
        targets = split(target, [m for _, m in self.sizes])
        terms = zip(self.parts, targets, strict=True)
        return self._weighted([part.target_term(y) for part, y in terms])

    def unit(self):
        return jnp.ones(())

    def coarser(self, factor):
        parts = tuple(part.coarser(factor) for part in self.parts)
        # a weight keeps its meaning: the price of a unit of length
        weights = tuple(
            w * (new.unit() / old.unit()).astype(w.dtype)
            for w, new, old in zip(self.weights, parts, self.parts, strict=True)
        )
        return Combined(self.names, parts, weights, self.sizes)

    def counts(self, source, target):
        return tuple(
            row
            for part, (n, m) in zip(self.parts, self.sizes, strict=True)
            for row in part.counts(n, m)
        )

    def padded(self, before, after):
        parts = tuple(
            part.padded((b,), (a,)) for part, b, a in zip(self.parts, before, after, strict=True)
        )
        sizes = tuple((row.source, row.target) for row in after)
        return Combined(self.names, parts, self.weights, sizes)

    def check(self, source, target):
        wanted = tuple(sum(column) for column in zip(*self.sizes, strict=True))
        if (source.shape[0], target.shape[0]) != wanted:
            raise InputError(
                f"Arguments source and target must hold {wanted[0]} and {wanted[1]} points, those "
                f"of the objects {', '.join(self.names)}, but hold {source.shape[0]} and "
                f"{target.shape[0]}."
            )
        for name, (part, x, y) in zip(self.names, self.pieces(source, target), strict=True):
            try:
                part.check(x, y)
            except InputError as error:
                raise InputError(f"Object {name!r}: {error}") from error

    def curvature(self, points, shares):
        # points that carry momenta belong to no object in particular
        return self._weighted([part.curvature(points, shares) for part in self.parts])

    def _weighted(self, terms):
        return reduce(
            add, [w.astype(t.dtype) * t for w, t in zip(self.weights, terms, strict=True)]
        )


def split(points: Float[Array, "n d"], sizes: list[int]) -> list[Float[Array, "k d"]]:
    """Consecutive pieces of an array."""
    ends = [sum(sizes[: k + 1]) for k in range(len(sizes))]
    return [points[end - size : end] for end, size in zip(ends, sizes, strict=True)]
