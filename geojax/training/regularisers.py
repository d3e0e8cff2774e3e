"""Regularisers: what a path costs, read off the path that the training integrates anyway."""

import abc
from collections.abc import Callable, Mapping

import equinox as eqx
from jaxtyping import Array, Float

from geojax.flows import Path


class AbstractRegulariser(eqx.Module):
    """The price of the path of each sample."""

    @property
    def costs(self) -> Mapping[str, Callable[[Array, Array, Array], Array]]:
        """Running costs that the integration has to carry along, for `geojax.integrate`."""
        return {}

    @abc.abstractmethod
    def __call__(self, path: Path) -> Float[Array, " n"]:
        """Price of each path, at least zero."""


class KineticEnergy(AbstractRegulariser):
    """The energy `1/2 int |v|^2 dt` of each path.

    Cheap paths are straight and run at constant speed, so a solver needs few steps for them.

    Reference: [finlay2020train]
    """

    def __call__(self, path: Path) -> Float[Array, " n"]:
        return path.energy


class RunningCost(AbstractRegulariser):
    """The integral of any price along each path.

    Args:
        cost: `cost(t, x, velocity) -> [...]`, one value per sample.

    Example:
        >>> import jax.numpy as jnp
        >>> from geojax import integrate
        >>> distance_kept = RunningCost(lambda t, x, v: jnp.sum(x * v, axis=-1) ** 2)
        >>> start = jnp.ones((2, 3))
        >>> path = integrate(lambda t, x: 0 * x, start, costs=distance_kept.costs)
        >>> distance_kept(path).tolist()
        [0.0, 0.0]
    """

    cost: Callable[[Array, Array, Array], Array] = eqx.field(static=True)

    @property
    def costs(self) -> Mapping[str, Callable[[Array, Array, Array], Array]]:
        return {"regulariser": self.cost}

    def __call__(self, path: Path) -> Float[Array, " n"]:
        return path.costs["regulariser"]
