"""What the models of many shapes search for at once, and coordinates for it."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from geojax.kernels import kernel_sum
from geojax.matching.coordinates import Searched
from geojax.metrics import RKHS


class Unknowns(eqx.Module):
    """Momenta, and what else is estimated.

    Attributes:
        momenta: one momentum, or one for each subject.
        template: weights w of the template `start + K(start, start) w`; None if it stays.
        control_points: where momenta sit; None if they stay.
    """

    momenta: Float[Array, "*s c d"]
    template: Float[Array, "n d"] | None = None
    control_points: Float[Array, "c d"] | None = None


def moved_template(
    metric: RKHS, start: Float[Array, "n d"], unknowns: Unknowns
) -> Float[Array, "n d"]:
    """The template: its start, shifted by a smooth field.

    The gradient in the weights of the field is that of Sobolev in the field itself, so neighbours
    move together, as far as the kernel sees.
    """
    if unknowns.template is None:
        return start
    return start + kernel_sum(metric.kernel, start, start, unknowns.template)


class JointCoordinates(eqx.Module):
    """Coordinates of all unknowns, one after the other: round in each, as far as is known.

    Where the template moves, all momenta give way, as far as they can: a shift of both that leaves
    the shapes where they are costs energy only, and would be a long flat valley otherwise.

    Attributes:
        momenta: of each momentum.
        template: of the template's weights; None if it stays.
        length: by how far control points move in a coordinate of one; None if they stay.
        unravel: puts the coordinates apart.
        yielding: the momentum that undoes the template's weights; None where none does.
    """

    momenta: Searched
    template: Searched | None
    length: Float[Array, ""] | None
    unravel: Callable[[Array], Unknowns] = eqx.field(static=True)
    yielding: Float[Array, "c n"] | None = None

    @classmethod
    def of(
        cls,
        like: Unknowns,
        momenta: Searched,
        template: Searched | None = None,
        length: Float[Array, ""] | None = None,
        yielding: Float[Array, "c n"] | None = None,
    ) -> "JointCoordinates":
        """Those of unknowns like these."""
        return cls(momenta, template, length, ravel_pytree(like)[1], yielding)

    def momentum(self, a: Float[Array, " k"]) -> Unknowns:
        """The unknowns with coordinates a."""
        found = self._each(
            self.unravel(a), lambda c, x: c.momentum(x), lambda length, x: length * x
        )
        return self._yield(found, -1.0)

    def coordinates(self, momentum: Unknowns) -> Float[Array, " k"]:
        """The coordinates of unknowns."""
        each = self._each(
            self._yield(momentum, 1.0), lambda c, x: c.coordinates(x), lambda length, x: x / length
        )
        return ravel_pytree(each)[0]

    def gradient(self, gradient: Unknowns) -> Float[Array, " k"]:
        """A derivative in the unknowns as a derivative in the coordinates."""
        if self.yielding is not None and gradient.template is not None:
            template = gradient.template - self.yielding.T @ jnp.sum(gradient.momenta, axis=0)
            gradient = eqx.tree_at(lambda u: u.template, gradient, template)
        each = self._each(gradient, lambda c, x: c.gradient(x), lambda length, x: length * x)
        return ravel_pytree(each)[0]

    def _yield(self, unknowns, sign) -> Unknowns:
        if self.yielding is None:
            return unknowns
        shift = sign * (self.yielding @ unknowns.template)
        return eqx.tree_at(lambda u: u.momenta, unknowns, unknowns.momenta + shift[None])

    def _each(self, unknowns, apply, scale) -> Unknowns:
        momenta, template, points = unknowns.momenta, unknowns.template, unknowns.control_points
        # all momenta side by side, so that they share one solve
        rows = jnp.moveaxis(momenta, -2, 0)
        solved = apply(self.momenta, rows.reshape(rows.shape[0], -1)).reshape(rows.shape)
        return Unknowns(
            jnp.moveaxis(solved, 0, -2),
            None if self.template is None else apply(self.template, template),
            None if self.length is None else scale(self.length, points),
        )


def stopped(x):
    """A pytree of constants for the derivative."""
    arrays, rest = eqx.partition(x, eqx.is_inexact_array)
    return eqx.combine(jax.lax.stop_gradient(arrays), rest)
