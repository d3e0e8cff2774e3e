"""How numbers drive a deformation of a grid: the models of a match of images."""

import abc
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from geojax._core import checks
from geojax._core.errors import InputError
from geojax._core.grids import differences
from geojax.fields import Neural
from geojax.flows.grids import compose, exponential, pull_back
from geojax.flows.interpolation import Ends, indices_of
from geojax.geodesics import shoot_image
from geojax.geodesics.images import check_steps
from geojax.metrics import AbstractGridMetric


class Motion(NamedTuple):
    """What unknowns drive, on the grid of the target.

    Attributes:
        displacement: `x -> x + u(x)`, `[d, *grid]`.
        energy: price of the motion.
        change: what is added to the intensities of the moved source; None if nothing.
    """

    displacement: Float[Array, "d *grid"]
    energy: Float[Array, ""]
    change: Float[Array, "*grid"] | None = None


class AbstractModel(eqx.Module):
    """A family of deformations.

    A deformation is its displacement on the grid of the target: *pull* leads from there to the
    source, so that images are pulled back by it; *push* is its inverse.
    """

    def check(self, dimension: int) -> None:
        """Raise `InputError` unless it moves grids of this dimension."""

    @abc.abstractmethod
    def at_rest(self, grid: tuple[int, ...], dtype: Any) -> Float[Array, "..."]:
        """The unknowns that a search starts from."""

    @abc.abstractmethod
    def move(
        self,
        metric: AbstractGridMetric,
        unknowns: Float[Array, "..."],
        image: Float[Array, "*grid"],
        *,
        push: bool = False,
    ) -> Motion:
        """The motion that unknowns drive.

        Args:
            metric: price of velocities on the grid.
            unknowns: like `at_rest`.
            image: the source on the grid of the target, not moved yet.
            push: the displacement from source to target instead.
        """

    @abc.abstractmethod
    def refined(
        self, unknowns: Float[Array, "..."], coarse: tuple[int, ...], fine: tuple[int, ...]
    ) -> Float[Array, "..."]:
        """Unknowns for another grid of the same place, which drive about the same motion."""


def _resized(unknowns, coarse: tuple[int, ...], fine: tuple[int, ...], power: float):
    """Fields on another grid, times a power of the ratio of the volumes of their points."""
    if coarse == fine:
        return unknowns
    lead = unknowns.shape[: unknowns.ndim - len(coarse)]
    ratio = np.prod(coarse) / np.prod(fine)
    resized = jax.image.resize(unknowns, (*lead, *fine), "linear")
    return resized * jnp.asarray(ratio**power, unknowns.dtype)


class _White(AbstractModel):
    """Models in white coordinates: numbers whose half sum of squares is the energy.

    The root of the metric's kernel makes velocities of them.
    """

    def refined(self, unknowns, coarse, fine):
        # like densities, of which each point holds the root of its volume
        return _resized(unknowns, coarse, fine, 0.5)

    def move(self, metric, unknowns, image, *, push=False):
        energy = 0.5 * jnp.sum(jnp.square(unknowns))
        return Motion(self._displacement(metric, unknowns, push), energy)

    @abc.abstractmethod
    def _displacement(self, metric: AbstractGridMetric, noise, push: bool) -> Array:
        """Where the points of the grid go."""


class Stationary(_White):
    """One velocity for all times: the deformation is its exponential.

    Its energy is that of the velocity. Inverse and roots of a deformation come for free.

    Args:
        num_squarings: of the scaling and squaring.

    Reference: `[arsigny2006logeuclidean]`, `[ashburner2007fast]`.
    """

    num_squarings: int = eqx.field(static=True, default=6)

    def __check_init__(self):
        checks.count(self.num_squarings, "num_squarings")

    def at_rest(self, grid, dtype):
        return jnp.zeros((len(grid), *grid), dtype)

    def _displacement(self, metric, noise, push):
        velocity = metric.root(noise)
        return exponential(
            velocity if push else -velocity,
            metric.spacing,
            num_squarings=self.num_squarings,
            boundary=metric.boundary,
        )


class TimeDependent(_White):
    """A velocity for each of several times: large deformation diffeomorphic metric mapping.

    Args:
        num_steps: times; each velocity moves for an equal part of the whole.

    Reference: `[beg2005computing]`.
    """

    num_steps: int = eqx.field(static=True, default=8)

    def __check_init__(self):
        checks.count(self.num_steps, "num_steps")

    def at_rest(self, grid, dtype):
        return jnp.zeros((self.num_steps, len(grid), *grid), dtype)

    def _displacement(self, metric, noise, push):
        spacing, boundary = metric.spacing, metric.boundary
        sign = 1.0 if push else -1.0

        def step(displacement, white):
            # the energy of a constant speed over all times is half the sum of squares
            way = sign * metric.root(white) / jnp.sqrt(jnp.asarray(self.num_steps, white.dtype))
            # the midpoint rule: of second order in the length of the step
            ends: Ends = "wrap" if boundary == "periodic" else "zero"
            middle = pull_back(way, 0.5 * way, spacing, ends=ends)
            return compose(displacement, middle, spacing, boundary=boundary), None

        # the map back from later times goes first
        start = jnp.zeros_like(noise[0])
        return jax.lax.scan(jax.checkpoint(step), start, noise[::-1] if push else noise)[0]


class _Geodesic(AbstractModel):
    """Geodesics of the source, whose unknowns are a scaled scalar momentum."""

    num_steps: eqx.AbstractVar[int]
    num_checkpoints: eqx.AbstractVar[int | None]

    def __check_init__(self):
        check_steps(self.num_steps, self.num_checkpoints)

    def at_rest(self, grid, dtype):
        return jnp.zeros(grid, dtype)

    def refined(self, unknowns, coarse, fine):
        return _resized(unknowns, coarse, fine, 1.0)

    def _geodesic(self, metric, unknowns, image, push: bool, price: Any) -> Motion:
        path = shoot_image(
            metric,
            image,
            scalar_momentum(metric, unknowns, image, price),
            num_steps=self.num_steps,
            num_checkpoints=self.num_checkpoints,
            intensity_price=price,
            pull=not push,
            push=push,
        )
        displacement = path.pushed if path.displacements is None else path.displacements[-1]
        assert displacement is not None, "one of the two was asked for"
        change = None if path.changes is None else path.changes[-1]
        return Motion(displacement, path.energies[-1], change)


class Shooting(_Geodesic):
    """The geodesic of the source that a scalar momentum drives: EPDiff.

    Few unknowns, one number for each point, and what is found is a geodesic for all times. Suits
    `SSD`; for `LNCC`, which weak edges count for as much as strong ones, the search is slow.

    Args:
        num_steps: of the semi-Lagrangian scheme.
        num_checkpoints: as of `shoot_image`.

    Reference: `[vialard2012diffeomorphic]`.
    """

    num_steps: int = eqx.field(static=True, default=10)
    num_checkpoints: int | None = eqx.field(static=True, default=None)

    def move(self, metric, unknowns, image, *, push=False):
        return self._geodesic(metric, unknowns, image, push, None)


class Metamorphosis(_Geodesic):
    """A geodesic of the source whose intensities change too, at a price.

    As the price grows, it becomes `Shooting`. Suits `SSD`: where something is there in one image
    only, intensities change instead of a far deformation.

    Args:
        price: c, of `c / 2` times the integral of the squared rate of change, over space and time;
            for intensities in a range of one.
        num_steps, num_checkpoints: as of `Shooting`.

    Reference: `[trouve2005metamorphoses]`.
    """

    price: Any
    num_steps: int = eqx.field(static=True, default=10)
    num_checkpoints: int | None = eqx.field(static=True, default=None)

    def __check_init__(self):
        if np.ndim(checks.positive(self.price, "price")):
            raise InputError(f"Argument price must be one number, but is {self.price!r}.")

    def move(self, metric, unknowns, image, *, push=False):
        return self._geodesic(metric, unknowns, image, push, self.price)


# Squared slope below which images count as flat, as part of its mean.
_FLAT = 0.1


def scalar_momentum(
    metric: AbstractGridMetric,
    unknowns: Float[Array, "*grid"],
    image: Float[Array, "*grid"],
    intensity_price: Any = None,
) -> Float[Array, "*grid"]:
    """The momentum of unknowns in which the energy is nearly round.

    Scaled by the diagonal of its second derivative: weak edges are found as soon as strong ones.
    """
    spacing = metric.spacing.astype(image.dtype)
    steep = jnp.sum(jnp.square(differences(image, spacing, metric.boundary)), axis=0)
    diagonal = steep + _FLAT * jnp.mean(steep) + jnp.finfo(image.dtype).tiny
    if intensity_price is not None:
        price = jnp.asarray(intensity_price, image.dtype) * jnp.prod(spacing)
        diagonal = diagonal + 1 / price
    return unknowns / jnp.sqrt(diagonal)


class NeuralVelocity(AbstractModel):
    """A velocity that a network computes from time and place.

    The unknowns are its parameters, the same at all resolutions. What it costs is summed along
    the trajectories of the points of the grid: `1/2 |v|^2 + l^2/2 |Dv|^2`, with l the largest
    scale of the metric, in units of `l^d`, and the slopes of the velocity between points that were
    neighbours at the start; the metric's kernel itself is not used.

    Args:
        network: an `nnx.Module`, called as `network(t, x)` with x `[..., d]` in half sizes of the
            target's grid with its margin, from its middle; its velocity is in the same unit.
        num_steps: equal steps of the midpoint rule.

    Example:
        >>> from flax import nnx
        >>> from geojax.networks import VelocityNetwork
        >>> model = NeuralVelocity(VelocityNetwork(2, (16, 16), rngs=nnx.Rngs(0)))
        >>> model.at_rest((8, 8), "float32").shape
        (370,)

    Reference: `[wolterink2022implicit]`.
    """

    field: Neural
    num_steps: int = eqx.field(static=True)

    def __init__(self, network: Any, *, num_steps: int = 8):
        self.field = Neural(network)
        self.num_steps = checks.count(num_steps, "num_steps")

    def check(self, dimension):
        try:
            module, place = self.field.module, jnp.zeros((1, dimension))
            found = jax.eval_shape(lambda x: module(jnp.zeros(()), x), place).shape
        except Exception as error:
            raise InputError(
                f"Argument network cannot be called as `network(t, x)` with x [1, {dimension}], "
                f"as images in {dimension} dimensions need it: {error}"
            ) from error
        if found != (1, dimension):
            raise InputError(
                f"Argument network must give a velocity of shape [1, {dimension}] for x of that "
                f"shape, but gives {list(found)}."
            )

    def at_rest(self, grid, dtype):
        parameters, _ = eqx.partition(self.field, eqx.is_inexact_array)
        return ravel_pytree(parameters)[0].astype(dtype)

    def refined(self, unknowns, coarse, fine):
        return unknowns

    def move(self, metric, unknowns, image, *, push=False):
        parameters, rest = eqx.partition(self.field, eqx.is_inexact_array)
        field = eqx.combine(ravel_pytree(parameters)[1](unknowns), rest)
        d, grid, spacing = image.ndim, image.shape, metric.spacing.astype(unknowns.dtype)
        half = 0.5 * spacing * jnp.asarray(grid, spacing.dtype)
        scale = jnp.max(metric.scale).astype(spacing.dtype)
        start = jnp.moveaxis(indices_of(grid, spacing.dtype), 0, -1) * spacing.reshape(
            (1,) * d + (d,)
        )
        half_row = half.reshape((1,) * d + (d,))
        # index zero is the middle of a block, which is elsewhere at each resolution
        middle = (half - 0.5 * spacing).reshape((1,) * d + (d,))
        length = jnp.asarray((1.0 if push else -1.0) / self.num_steps, spacing.dtype)
        price = 0.5 * jnp.prod(spacing) / scale**d / self.num_steps

        def velocity(t, x):
            return half_row * field(t, (x - middle) / half_row).astype(x.dtype)

        def step(carry, k):
            x, energy = carry
            # pulled points go back in time
            t = length * k + (0.0 if push else 1.0)
            v = velocity(t, x)
            v = velocity(t + 0.5 * length, x + 0.5 * length * v)
            slopes = differences(jnp.moveaxis(v, -1, 0), spacing, "zero")
            rate = jnp.sum(jnp.square(v)) + jnp.square(scale) * jnp.sum(jnp.square(slopes))
            return (x + length * v, energy + price * rate), None

        zero = jnp.zeros((), spacing.dtype)
        times = jnp.arange(self.num_steps, dtype=spacing.dtype)
        (end, energy), _ = jax.lax.scan(jax.checkpoint(step), (start, zero), times)
        return Motion(jnp.moveaxis(end - start, -1, 0), energy)
