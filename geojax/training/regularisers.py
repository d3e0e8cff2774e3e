"""Regularisers: what a path costs, read off the path that the training integrates anyway."""

import abc
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from geojax._core import checks
from geojax._core.errors import InputError
from geojax.actions import Points
from geojax.flows import AbstractFieldCost, Path
from geojax.geodesics.equation import geodesic_field
from geojax.kernels import AbstractRadialKernel
from geojax.metrics import RKHS


class AbstractRegulariser(eqx.Module):
    """The price of the path of each sample."""

    @property
    def costs(self) -> Mapping[str, Any]:
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


class AbstractFieldRegulariser(AbstractRegulariser):
    """The integral of a price that differentiates the velocity."""

    @abc.abstractmethod
    def price(
        self,
        field: Callable[[Array, Array], Array],
        t: Float[Array, ""],
        x: Float[Array, "*batch d"],
        velocity: Float[Array, "*batch d"],
        probe: Float[Array, "*batch d"] | None,
    ) -> Float[Array, "*batch"]:
        """The rate; arguments as for `geojax.flows.AbstractFieldCost`."""

    @property
    def costs(self) -> Mapping[str, Any]:
        return {"regulariser": _Rate(self)}

    def __call__(self, path: Path) -> Float[Array, " n"]:
        return path.costs["regulariser"]


class _Rate(AbstractFieldCost):
    """The price of a regulariser as a running cost."""

    regulariser: AbstractFieldRegulariser

    def __call__(self, field, t, x, velocity, probe):
        return self.regulariser.price(field, t, x, velocity, probe)


class JacobianNorm(AbstractFieldRegulariser):
    """The squared Frobenius norm of the velocity's Jacobian, `int |dv/dx|^2 dt`.

    With a probe e (a `key` given to the integration) it is estimated by `|dv/dx e|^2`, one
    derivative; without, it is exact, d derivatives.

    Reference: [finlay2020train]
    """

    def price(self, field, t, x, velocity, probe):
        _, push = jax.linearize(lambda y: field(t, y), x)
        if probe is not None:
            return _squared(push(probe))
        return sum((_squared(push(e)) for e in _directions(x)), jnp.zeros(x.shape[:-1], x.dtype))


class Divergence(AbstractFieldRegulariser):
    """The squared divergence of the velocity, `int (div v)^2 dt`: small where volumes are kept.

    With a probe it is estimated by `(e dv/dx e)^2`, which also counts the rest of the Jacobian's
    symmetric part (its mean is above the exact price).
    """

    def price(self, field, t, x, velocity, probe):
        _, push = jax.linearize(lambda y: field(t, y), x)
        if probe is not None:
            return jnp.square(jnp.sum(probe * push(probe), axis=-1))
        zero = jnp.zeros(x.shape[:-1], x.dtype)
        trace = sum((jnp.sum(e * push(e), axis=-1) for e in _directions(x)), zero)
        return jnp.square(trace)


class TaylorNorm(AbstractFieldRegulariser):
    """The squared k-th total derivative of the path, `int |d^k x / dt^k|^2 dt`.

    An adaptive solver of order k takes the longer steps the smaller it is; at order 2 it prices
    the acceleration, which is zero for straight paths of constant speed. The derivatives are
    nested forward ones, whose cost doubles with each order.

    Args:
        order: k, at least 1.

    Reference: [kelly2020learning]
    """

    order: int = eqx.field(static=True, default=2)

    def __check_init__(self):
        checks.count(self.order, "order")

    def price(self, field, t, x, velocity, probe):
        t = jnp.asarray(t, x.dtype)
        derivative = field
        for _ in range(self.order - 1):
            derivative = _along(field, derivative)
        return _squared(derivative(t, x))


class HamiltonJacobi(AbstractFieldRegulariser):
    """How far a potential is from the equation of optimal transport, `int |r| dt`.

    With the velocity `-d phi / dx`, optimal potentials have `r = d phi / dt - |d phi / dx|^2 / 2`
    equal to zero. Needs a network with a `potential` (`geojax.networks.PotentialNetwork`).

    Reference: [onken2021otflow]
    """

    def price(self, field, t, x, velocity, probe):
        potential = getattr(getattr(field, "module", None), "potential", None)
        if potential is None:
            raise InputError(
                "Regulariser HamiltonJacobi needs a velocity that is the gradient of a potential; "
                "make the network with potential=True, or take TaylorNorm(2)."
            )
        t = jnp.asarray(t, x.dtype)
        _, rate = jax.jvp(lambda s: potential(s, x), (t,), (jnp.ones_like(t),))
        return jnp.abs(rate - 0.5 * _squared(velocity))


class _Coupled(AbstractFieldRegulariser):
    """A price of the momenta that a kernel gives to the motion of the batch as a whole."""

    kernel: AbstractRadialKernel
    ridge: float = eqx.field(static=True, default=1e-3)

    def __check_init__(self):
        checks.positive(self.ridge, "ridge")

    def _matrix(self, x):
        return self.kernel(x, x) + self.ridge * jnp.eye(len(x), dtype=x.dtype)

    def _momenta(self, x, velocity):
        return jax.scipy.linalg.solve(self._matrix(x), velocity, assume_a="pos")


class RKHSEnergy(_Coupled):
    """The energy of the smoothest field of a kernel that moves the whole batch as it moves.

    With the kernel matrix K of the batch at a time and its velocities v, this is
    `int v^T (K + ridge I)^(-1) v / 2 dt`, split over the samples: `RKHS.energy` of the
    interpolating expansion. It is the cost of a deformation that carries the batch; it couples
    its samples, and a batch of n takes time `n^3` at each evaluation.

    Args:
        kernel: radial kernel, whose scale is the length over which points move together.
        ridge: added to the diagonal of the kernel matrix.

    Reference: [younes2010shapes]
    """

    def price(self, field, t, x, velocity, probe):
        return 0.5 * jnp.sum(self._momenta(x, velocity) * velocity, axis=-1)


class GeodesicDefect(_Coupled):
    """How far the motion of the batch is from a geodesic of a kernel's metric, `int |r|^2 dt`.

    The momenta p of `RKHSEnergy` have the residual `r = dp/dt + (Dv)^T p` of the momentum
    equation; its squared norm `r^T (K + ridge I) r` is split over the samples (at least zero in
    sum), and is zero for geodesics. It grows with the fourth power of the speed:
    `geojax.complexity.geodesic_defect` measures the same residual over the length, without a unit.
    It couples the samples as `RKHSEnergy` does, and takes a derivative along the path.

    Args:
        kernel: radial kernel, whose scale is the length over which points move together.
        ridge: added to the diagonal of the kernel matrix.

    Reference: [younes2010shapes]
    """

    def price(self, field, t, x, velocity, probe):
        def momenta(t, x):
            return self._momenta(x, field(t, x))

        t = jnp.asarray(t, x.dtype)
        p, rate = jax.jvp(momenta, (t, x), (jnp.ones_like(t), velocity))
        residual = rate - geodesic_field(RKHS(self.kernel), Points(), x, p)[1]
        return jnp.sum(residual * (self._matrix(x) @ residual), axis=-1)


class Mixture(AbstractRegulariser):
    """A weighted sum of regularisers, all from one integration; those of weight zero are left out.

    Args:
        regularisers: what to add.
        weights: of each, at least zero; a traced one is never left out.

    Example:
        >>> import jax.numpy as jnp
        >>> from geojax import integrate
        >>> price = Mixture([KineticEnergy(), JacobianNorm(), TaylorNorm(2)], [1.0, 0.5, 0.0])
        >>> path = integrate(lambda t, x: 0 * x + 2, jnp.ones((1, 3)), costs=price.costs)
        >>> round(float(price(path)[0]), 6), sorted(price.costs)
        (6.0, ['1 regulariser'])
    """

    regularisers: tuple[AbstractRegulariser, ...]
    weights: tuple[float | Float[Array, ""], ...]

    def __init__(
        self,
        regularisers: Sequence[AbstractRegulariser],
        weights: Sequence[float | Float[Array, ""]],
    ):
        if len(regularisers) != len(weights):
            raise InputError(
                f"Argument weights must hold one number for each of {len(regularisers)} "
                f"regularisers, but holds {len(weights)}."
            )
        for weight in weights:
            checks.non_negative(weight, "weights")
        kept = [
            (regulariser, weight if checks.is_tracer(weight) else float(weight))
            for regulariser, weight in zip(regularisers, weights, strict=True)
            if checks.is_tracer(weight) or weight > 0
        ]
        self.regularisers = tuple(regulariser for regulariser, _ in kept)
        self.weights = tuple(weight for _, weight in kept)

    @property
    def costs(self) -> Mapping[str, Any]:
        return {
            f"{k} {name}": cost
            for k, regulariser in enumerate(self.regularisers)
            for name, cost in regulariser.costs.items()
        }

    def __call__(self, path: Path) -> Float[Array, " n"]:
        total = jnp.zeros_like(path.energy)
        for k, (regulariser, weight) in enumerate(
            zip(self.regularisers, self.weights, strict=True)
        ):
            own = {name: path.costs[f"{k} {name}"] for name in regulariser.costs}
            total = total + weight * regulariser(dataclasses.replace(path, costs=own))
        return total


def differentiates(costs: Mapping[str, Any] | None) -> bool:
    """Whether one of some running costs takes derivatives of the velocity."""
    return any(isinstance(cost, AbstractFieldCost) for cost in (costs or {}).values())


def _squared(v: Float[Array, "*batch d"]) -> Float[Array, "*batch"]:
    return jnp.sum(jnp.square(v), axis=-1)


def _directions(x: Float[Array, "*batch d"]) -> list[Array]:
    """The unit vectors at each point."""
    return [jnp.broadcast_to(e, x.shape) for e in jnp.eye(x.shape[-1], dtype=x.dtype)]


def _along(field: Callable, function: Callable) -> Callable:
    """The derivative of a function of time and place along the paths of a field."""

    def derivative(t, x):
        return jax.jvp(function, (t, x), (jnp.ones_like(t), field(t, x)))[1]

    return derivative
