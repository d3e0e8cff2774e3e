"""Densities as flows of a normal distribution: continuous normalising flows."""

import math
from collections.abc import Sequence
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray, Real
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from geojax._core import checks
from geojax._core.errors import InputError
from geojax.fields import Neural
from geojax.flows import Path, integrate
from geojax.networks.continuous import VelocityNetwork


class PotentialNetwork(nnx.Module):
    """A velocity that is a gradient, `v(t, x) = -d phi(t, x) / dx`, as optimal ones are.

    Args:
        num_features: dimension d of the place.
        widths, activation, dtype, rngs: of the network phi, as for `VelocityNetwork`.

    Reference: [onken2021otflow]
    """

    def __init__(
        self,
        num_features: int,
        widths: Sequence[int] = (64, 64),
        *,
        activation: str = "tanh",
        dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ):
        self.network = VelocityNetwork(
            num_features, widths, activation=activation, dtype=dtype, rngs=rngs
        )

    def potential(self, t: Real[Array, ""], x: Float[Array, "*batch d"]) -> Float[Array, "*batch"]:
        """The potential phi at each place."""
        # the network's d outputs, read as one number
        return jnp.sum(self.network(t, x), axis=-1)

    def __call__(self, t: Real[Array, ""], x: Float[Array, "*batch d"]) -> Float[Array, "*batch d"]:
        return -jax.grad(lambda y: jnp.sum(self.potential(t, y)))(x)


class DensityFlow(nnx.Module):
    """A density in d dimensions: the standard normal one, carried along a velocity from 0 to 1.

    With the flow phi of the velocity v and the normal density p0,

        log p1(phi(x)) = log p0(x) - int_0^1 div v(t, phi_t(x)) dt

    Args:
        num_features: d.
        widths, activation, dtype: of the velocity, as for `VelocityNetwork`.
        potential: make the velocity the gradient of a network (`PotentialNetwork`).
        rngs: where the initial parameters are drawn from.

    Example:
        >>> import jax
        >>> from flax import nnx
        >>> flow = DensityFlow(2, (16,), rngs=nnx.Rngs(0))
        >>> points = flow.sample(jax.random.key(0), 5)
        >>> points.shape, flow.log_prob(points).shape
        ((5, 2), (5,))
        >>> noisy = flow.log_prob(points, divergence="hutchinson", key=jax.random.key(1))

    Reference: [chen2018neural], [grathwohl2019ffjord]
    """

    def __init__(
        self,
        num_features: int,
        widths: Sequence[int] = (64, 64),
        *,
        activation: str = "tanh",
        potential: bool = False,
        dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ):
        self.num_features = checks.count(num_features, "num_features")
        self.dtype = jnp.dtype(dtype)
        kind = PotentialNetwork if potential else VelocityNetwork
        self.velocity = kind(num_features, widths, activation=activation, dtype=dtype, rngs=rngs)

    @property
    def field(self) -> Neural:
        """The velocity as a field."""
        return Neural(self.velocity)

    def path(self, base: Float[Array, "n d"], **options: Any) -> Path:
        """The paths from points of the normal distribution to points of the density.

        Args:
            base: `[n, d]`.
            options: keyword arguments of `geojax.integrate`.
        """
        return integrate(self.field, self._checked(base, "base"), **options)

    def back(
        self,
        points: Float[Array, "n d"],
        *,
        divergence: Literal["exact", "hutchinson"] | None = "exact",
        **options: Any,
    ) -> tuple[Float[Array, " n"], Path]:
        """Log-density of points, and the paths back to the normal distribution.

        A training reads its likelihood and its regularisers off this one integration.

        Args:
            points: `[n, d]`.
            divergence: `"exact"`, d derivatives; `"hutchinson"`, one probe for each path drawn
                from `key`, which is right on average; None withholds the density (NaN).
            options: further arguments of `geojax.integrate`: `key`, `probe`, `costs`, `num_steps`,
                `solver`, `stepsize_controller`.
        """
        options = {"save": "end", **options, "divergence": divergence, "reverse": True}
        path = integrate(self.field, self._checked(points, "points"), **options)
        if path.log_det is None:
            return jnp.full(points.shape[:-1], jnp.nan, path.end.dtype), path
        return log_normal(path.end) + path.log_det, path

    def log_prob(self, points: Float[Array, "n d"], **options: Any) -> Float[Array, " n"]:
        """Log-density of points `[n, d]`; options as for `back`.

        Gradient: in points and parameters, as of `geojax.integrate`.
        """
        return self.back(points, **options)[0]

    def sample(self, key: PRNGKeyArray, n: int, **options: Any) -> Float[Array, "n d"]:
        """Draw n points of the density; options as for `path`."""
        shape = (checks.count(n, "n"), self.num_features)
        base = jax.random.normal(key, shape, self.dtype)
        return self.path(base, **{"save": "end", **options}).end

    def _checked(self, points, name) -> Array:
        if points.shape[-1] != self.num_features:
            raise InputError(
                f"Argument {name} must hold points of {self.num_features} coordinates, but has "
                f"shape {list(points.shape)}."
            )
        return points


def log_normal(x: Float[Array, "*batch d"]) -> Float[Array, "*batch"]:
    """Log-density of the standard normal distribution."""
    squared = jnp.sum(jnp.square(x), axis=-1)
    return -0.5 * squared - 0.5 * x.shape[-1] * math.log(2 * math.pi)


class TransportGap(eqx.Module):
    """How far a flow is from the cheapest one between its own ends, in squared length.

    Attributes:
        cost: `E int |v|^2 dt` over the samples.
        squared_distance: the squared 2-Wasserstein distance between the two ends.
        gap: `cost - squared_distance`, at least zero up to the steps of the solver.
        error: standard error of the gap.
    """

    cost: float
    squared_distance: float
    gap: float
    error: float

    @property
    def relative(self) -> float:
        """The gap as a share of the squared distance."""
        return self.gap / self.squared_distance


def transport_gap(
    flow: DensityFlow,
    key: PRNGKeyArray,
    *,
    n: int = 512,
    num_batches: int = 8,
    **options: Any,
) -> TransportGap:
    """Certify how near the paths of a flow are to optimal transport, from samples.

    Paths are followed from drawn points; the distance between their two ends is that of the best
    assignment of all ends to all starts. Both are of the same points, so nothing is left of the
    bias of sampling where the flow is optimal: it then is its own best assignment, and the gap
    is zero. Where it is not, a finite n sees part of the gap only; it grows to the true one.

    Args:
        flow: the density.
        key: draws the starts.
        n: points in an assignment (time grows like its cube).
        num_batches: independent assignments, at least 2, from whose spread the error is taken.
        options: keyword arguments of `geojax.integrate`.

    Example:
        >>> import jax
        >>> from flax import nnx
        >>> flow = DensityFlow(2, (16,), rngs=nnx.Rngs(0))
        >>> certificate = transport_gap(flow, jax.random.key(0), n=32, num_batches=2)
        >>> certificate.gap >= -1e-6
        True

    Reference: [benamou2000computational], [onken2021otflow]
    """
    checks.count(n, "n", least=2)
    checks.count(num_batches, "num_batches", least=2)
    base = jax.random.normal(key, (num_batches * n, flow.num_features), flow.dtype)
    path = flow.path(base, **{"save": "end", **options})
    starts, ends = (
        np.asarray(x, np.float64).reshape(num_batches, n, -1) for x in (path.start, path.end)
    )
    costs = 2 * np.asarray(path.energy, np.float64).reshape(num_batches, n).mean(axis=1)
    distances = np.empty(num_batches)
    for number, (start, end) in enumerate(zip(starts, ends, strict=True)):
        table = cdist(start, end, "sqeuclidean")
        distances[number] = table[linear_sum_assignment(table)].mean()
    gaps = costs - distances
    error = float(np.std(gaps, ddof=1) / num_batches**0.5)
    return TransportGap(float(costs.mean()), float(distances.mean()), float(gaps.mean()), error)
