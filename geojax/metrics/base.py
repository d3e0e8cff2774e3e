"""The noun metric: a quadratic price of velocities, and its two musical isomorphisms."""

import abc
from typing import Any

import equinox as eqx
from jaxtyping import Array, Float

from geojax._core.trees import pairing


class AbstractMetric(eqx.Module):
    """An inner product on velocities.

    A momentum is stored so that it pairs with a velocity by the real pairing
    `sum Re(conj(m) v)`, unless the class says otherwise.
    """

    @abc.abstractmethod
    def sharp(self, momentum: Any) -> Any:
        """The velocity that a momentum drives."""

    @abc.abstractmethod
    def flat(self, velocity: Any) -> Any:
        """The momentum of a velocity: the inverse of `sharp`."""

    def energy(self, velocity: Any) -> Float[Array, ""]:
        """Half the squared norm of a velocity."""
        return 0.5 * pairing(self.flat(velocity), velocity)
