"""Which points of a problem belong to which object."""

from collections.abc import Mapping
from typing import Any

import equinox as eqx
from jaxtyping import Array, Float, Int

from geojax.shapes.combined import split
from geojax.shapes.meshes import AbstractMesh, mesh_of


class Layout(eqx.Module):
    """Which points of an array belong to which object.

    Attributes:
        names: of the objects; None for a single one without a name.
        sizes: points of each.
        cells: the cells of each, None for points.
    """

    names: tuple[str, ...] | None = eqx.field(static=True)
    sizes: tuple[int, ...] = eqx.field(static=True)
    cells: tuple[Int[Array, "c k"] | None, ...]

    @classmethod
    def of(cls, shapes) -> "Layout":
        """The layout of a shape, or of a dictionary of shapes."""
        named = isinstance(shapes, Mapping)
        every = list(shapes.values()) if named else [shapes]
        return cls(
            names=tuple(shapes) if named else None,
            sizes=tuple(len(s.vertices if isinstance(s, AbstractMesh) else s) for s in every),
            cells=tuple(s.cells if isinstance(s, AbstractMesh) else None for s in every),
        )

    def shapes(self, points: Float[Array, "n d"]) -> Any:
        """The points as the shapes that they were given as."""
        pieces = [
            x if cells is None else mesh_of(x, cells)
            for x, cells in zip(split(points, list(self.sizes)), self.cells, strict=True)
        ]
        return pieces[0] if self.names is None else dict(zip(self.names, pieces, strict=True))
