"""Partial matching: a source that may cover a part of the target only."""

import jax.numpy as jnp

from geojax.shapes.varifolds import Varifold, lengths


class PartialVarifold(Varifold):
    """A one-sided `Varifold`: how much of the source finds no counterpart in the target.

    With `w_S(x)` and `w_T(x)`, what a cell x of the source sees of source and target,

        1/2 sum_x a_x max(0, w_S(x) - w_T(x))^2 / mean of w_T over the target

    vanishes where the source, or several parts of it, lies on the target, however much of the
    target is left over. The mean, `<T, T> / area of T`, gives it the unit of a varifold. It is not
    symmetric, and pulls nothing towards what is left over.

    Args:
        kernel, normals, width, source_weights, target_weights: as for `Varifold`.

    Gradient: forward and reverse, in the vertices, the kernel and the width; continuous, but not
    differentiable once more where a cell begins to be covered.

    Example:
        >>> import numpy as np
        >>> from geojax.shapes import Curve
        >>> line = np.stack([np.linspace(0, 4, 41), np.zeros(41)], axis=-1)
        >>> whole, part = Curve(line), Curve(line[10:20])
        >>> float(PartialVarifold(0.3).between(part, whole)(part.vertices, whole.vertices))
        0.0
        >>> float(PartialVarifold(0.3).between(whole, part)(whole.vertices, part.vertices)) > 0.5
        True

    Reference: `[antonsanti2021partial]`.
    """

    def cross(self, points, target):
        source_cells, target_cells, _ = self._bound()
        source = self.atoms(points, source_cells, self.source_weights)
        other = self.atoms(target, target_cells, self.target_weights)
        areas, mass = lengths(source[1])[0], lengths(other[1])[0]
        usual = mass @ self.density(other, other) / jnp.sum(mass)
        uncovered = jnp.maximum(self.density(source, source) - self.density(source, other), 0.0)
        return 0.5 * areas @ jnp.square(uncovered) / usual

    def target_term(self, target):
        return jnp.zeros((), target.dtype)
