"""The noun fidelity: how far the end of a path is from its target."""

import abc
from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from geojax._core.linalg import safe_sqrt
from geojax.kernels import AbstractRadialKernel, Gaussian


class Counts(NamedTuple):
    """How many points and cells source and target have."""

    source: int
    target: int
    source_cells: int = 0
    target_cells: int = 0


class AbstractFidelity(eqx.Module):
    """Half a squared distance between shapes, to be weighed against an energy.

    Energies are half a squared length, and so is a fidelity, so the two can be added and
    `sqrt(2 fidelity)` reads as a distance.
    """

    @property
    def twice_differentiable(self) -> bool:
        """Whether second derivatives are exact; that of an optimal momentum needs them."""
        return True

    @abc.abstractmethod
    def cross(self, points: Float[Array, "n d"], target: Float[Array, "m d"]) -> Float[Array, ""]:
        """The part of the fidelity that depends on the points."""

    @abc.abstractmethod
    def target_term(self, target: Float[Array, "m d"]) -> Float[Array, ""]:
        """The part that does not; it is computed once in a minimisation."""

    @abc.abstractmethod
    def unit(self) -> Float[Array, ""]:
        """The squared length that one unit of fidelity stands for: it sets default weights."""

    @abc.abstractmethod
    def coarser(self, factor: Float[Array, ""]) -> "AbstractFidelity":
        """The same fidelity at a coarser scale, for multi-scale starts; itself if it has none."""

    @abc.abstractmethod
    def check(self, source: Float[Array, "n d"], target: Float[Array, "m d"]) -> None:
        """Raise `InputError` unless the two can be compared."""

    @abc.abstractmethod
    def padded(self, before: tuple[Counts, ...], after: tuple[Counts, ...]) -> "AbstractFidelity":
        """The same fidelity of shapes whose last points and cells are repeated to larger counts.

        Copies of a point share its weight, and copies of a cell have no size, so the value stays.
        """

    def counts(self, source: int, target: int) -> tuple["Counts", ...]:
        """What `padded` is told of shapes of so many points, for each object that is compared."""
        return (Counts(source, target),)

    def curvature(
        self, points: Float[Array, "n d"], shares: Float[Array, " n"]
    ) -> Float[Array, "n n"]:
        """Rough second derivative in the points near a target, the same for each coordinate.

        It preconditions searches; results do not depend on it. The default is that of `Landmarks`.

        Args:
            points: the points that are moved.
            shares: which part of the whole each stands for; they sum to one.
        """
        return jnp.diag(shares)

    @eqx.filter_jit
    def __call__(
        self, points: Float[Array, "n d"], target: Float[Array, "m d"]
    ) -> Float[Array, ""]:
        """Half the squared distance between two shapes."""
        return self.cross(points, target) + self.target_term(target)

    @eqx.filter_jit
    def distance(
        self, points: Float[Array, "n d"], target: Float[Array, "m d"]
    ) -> Float[Array, ""]:
        """The distance itself, with derivative zero where it vanishes."""
        return safe_sqrt(2.0 * self(points, target))


def as_kernel(kernel) -> AbstractRadialKernel:
    """A kernel; a number is a Gaussian of that scale."""
    return kernel if isinstance(kernel, AbstractRadialKernel) else Gaussian(kernel)


def coarser_kernel(kernel: AbstractRadialKernel, factor: Float[Array, ""]) -> AbstractRadialKernel:
    """The same kernel at larger scales."""

    # every leaf of a kernel but the weights of a sum is a length
    def lengths(kernel):
        kernels = getattr(kernel, "kernels", None)
        if kernels is None:
            return [kernel.scale]
        return [leaf for inner in kernels for leaf in lengths(inner)]

    return eqx.tree_at(lengths, kernel, replace_fn=lambda x: x * factor.astype(x.dtype))
