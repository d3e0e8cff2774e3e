"""Coordinates in which matching problems are searched: there they are nearly round."""

from typing import Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PyTree

from geojax.metrics import RKHS
from geojax.shapes import AbstractFidelity

# Control points up to which a matrix over pairs of them is factored to precondition the search.
LARGEST_FACTOR = 2000
# Of more of them, as many stand for all.
_CHOSEN = 300
# The diagonal of that is raised by this part of its trace. Directions that the kernel hardly sees
# at the start are seen later on, so less is no better (measured), and float32 could not factor it.
_RIDGE = 1e-3
# Directions of the chosen points that the kernel sees by less than this part of the best are noise.
_NOISE = 1e-6


@runtime_checkable
class Searched(Protocol):
    """Coordinates of a search: one array of numbers for an unknown of any structure."""

    def momentum(self, a: Float[Array, "..."], /) -> PyTree:
        """The unknown with coordinates a."""
        ...

    def coordinates(self, momentum: PyTree, /) -> Float[Array, "..."]:
        """The coordinates of an unknown."""
        ...

    def gradient(self, gradient: PyTree, /) -> Float[Array, "..."]:
        """A derivative in the unknown as a derivative in the coordinates."""
        ...


class Coordinates(eqx.Module):
    """Momenta in coordinates in which the objective is nearly round: `p = L^-T a`.

    `L L' = K + weight K G K` is the Hessian of the objective if points moved by `K p` (which they
    do to first order) and the fidelity had the curvature G. It serves as a preconditioner only:
    the minimum does not depend on it.

    Attributes:
        factor: Cholesky factor L.
    """

    factor: Float[Array, "c c"]

    @classmethod
    def of(
        cls,
        metric: RKHS,
        fidelity: AbstractFidelity,
        weight: Float[Array, ""],
        base: Float[Array, "c d"],
        active: Bool[Array, " c"] | None = None,
    ) -> Searched:
        """The coordinates of momenta on points, of a metric and a weighted fidelity.

        Points that are not active are padding. Of more points than `LARGEST_FACTOR` it is
        `LowRank`.
        """
        # not all leaves are arrays: a fidelity may hold names
        arrays, rest = eqx.partition((metric, fidelity, weight, base), eqx.is_inexact_array)
        metric, fidelity, weight, base = eqx.combine(jax.lax.stop_gradient(arrays), rest)
        if base.shape[0] > LARGEST_FACTOR:
            return LowRank.of(metric, fidelity, weight, base, active)
        kernel = metric.kernel(base, base)
        if active is None:
            shares = jnp.full(base.shape[0], 1.0 / base.shape[0], base.dtype)
            return cls.round(kernel + weight * kernel @ fidelity.curvature(base, shares) @ kernel)
        shares = active.astype(base.dtype) / jnp.sum(active).astype(base.dtype)
        # padding neither sees nor is seen
        kernel = jnp.where(active[:, None] & active[None], kernel, 0.0)
        data = weight * kernel @ fidelity.curvature(base, shares) @ kernel
        return cls.round(kernel + data, ~active)

    @classmethod
    def round(
        cls, hessian: Float[Array, "c c"], idle: Bool[Array, " c"] | None = None
    ) -> "Coordinates":
        """The coordinates in which a Hessian, one where idle, is nearly the identity."""
        ridge = _RIDGE * jnp.trace(hessian)
        if idle is not None:
            hessian = hessian + jnp.diag(idle.astype(hessian.dtype))
        identity = jnp.eye(hessian.shape[0], dtype=hessian.dtype)
        return cls(jnp.linalg.cholesky(hessian + ridge * identity))

    def momentum(self, a: Float[Array, "c d"]) -> Float[Array, "c d"]:
        """The momentum with coordinates a."""
        return jax.scipy.linalg.solve_triangular(self.factor, a, lower=True, trans=1)

    def coordinates(self, momentum: Float[Array, "c d"]) -> Float[Array, "c d"]:
        """The coordinates of a momentum."""
        return self.factor.T @ momentum

    def gradient(self, gradient: Float[Array, "c d"]) -> Float[Array, "c d"]:
        """A derivative in the momentum as a derivative in the coordinates."""
        return jax.scipy.linalg.solve_triangular(self.factor, gradient, lower=True)


class LowRank(eqx.Module):
    """The same for many points: `p = (U D U' + r (1 - U U'))^-1/2 a`.

    Nystrom's approximation `K ~ B B'` of the kernel matrix by some of its columns, with the
    curvature G at their points, makes the Hessian `B (1 + weight C G C') B'`, where `C' C` is the
    kernel matrix of the chosen points. Its singular vectors are U.

    Attributes:
        modes: U, orthonormal columns.
        roots: the roots of D.
        floor: the root of r.

    Reference: `[williams2001nystrom]`.
    """

    modes: Float[Array, "c m"]
    roots: Float[Array, " m"]
    floor: Float[Array, ""]

    @classmethod
    def of(
        cls, metric, fidelity, weight, base, active=None, chosen: int | None = None
    ) -> "LowRank":
        """As `Coordinates.of`; of each point as the few that are chosen see it."""
        seen = jnp.ones(base.shape[0], base.dtype) if active is None else active.astype(base.dtype)
        # in no order that a mesh may have, and the same at each call
        some = np.random.default_rng(0).permutation(base.shape[0])[: chosen or _CHOSEN]
        few, weights = base[some], seen[some]
        shares = weights / jnp.maximum(jnp.sum(weights), 1.0)
        values, vectors = jnp.linalg.eigh(
            metric.kernel(few, few) * weights[:, None] * weights[None]
        )
        kept = values > _NOISE * values[-1]
        scale = jnp.sqrt(jnp.where(kept, values, 0.0))
        inverse = jnp.where(kept, 1.0 / jnp.where(kept, scale, 1.0), 0.0)
        columns = metric.kernel(base, few) * seen[:, None] * weights[None]
        half = vectors * scale[None]
        inner = weight * half.T @ fidelity.curvature(few, shares) @ half
        sizes, axes = jnp.linalg.eigh(inner + jnp.eye(len(few), dtype=base.dtype))
        sketch = columns @ (vectors * inverse[None])
        sketch = sketch @ (axes * jnp.sqrt(jnp.maximum(sizes, 0.0))[None])
        modes, singular, _ = jnp.linalg.svd(sketch, full_matrices=False)
        squares = jnp.square(singular)
        ridge = _RIDGE * jnp.sum(squares)
        return cls(modes, jnp.sqrt(squares + ridge), jnp.sqrt(ridge))

    def momentum(self, a: Float[Array, "c d"]) -> Float[Array, "c d"]:
        """The momentum with coordinates a."""
        return self._scaled(a, 1.0 / self.roots, 1.0 / self.floor)

    def coordinates(self, momentum: Float[Array, "c d"]) -> Float[Array, "c d"]:
        """The coordinates of a momentum."""
        return self._scaled(momentum, self.roots, self.floor)

    def gradient(self, gradient: Float[Array, "c d"]) -> Float[Array, "c d"]:
        """A derivative in the momentum as a derivative in the coordinates."""
        return self.momentum(gradient)  # the root is symmetric

    def _scaled(self, x, roots, floor):
        return floor * x + self.modes @ ((roots - floor)[:, None] * (self.modes.T @ x))
