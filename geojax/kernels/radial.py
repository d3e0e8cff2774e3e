"""Radial kernels `k(x, y) = profile(|x - y|^2)`.

A kernel is a function of the *squared* distance, so that its value and derivatives at coincident
points need no square root. The Matern family still has one inside; its derivatives are written
out in closed form (each is a lower member of the family), which keeps them exact at distance
zero, where automatic differentiation of the square root would give NaN.
"""

import abc
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from geojax._core.checks import as_real, nearest_name, positive
from geojax._core.errors import InputError
from geojax._core.linalg import safe_sqrt


class AbstractRadialKernel(eqx.Module):
    """A positive-definite radial kernel. Calling it gives the dense Gram matrix.

    `profile` must be differentiable at zero wherever the kernel is.
    """

    @abc.abstractmethod
    def profile(self, squared_distance: Float[Array, "*pairs"]) -> Float[Array, "*pairs"]:
        """Kernel value as a function of the squared distance, elementwise."""

    @property
    @abc.abstractmethod
    def finest_scale(self) -> Float[Array, ""]:
        """The smallest length scale: what a grid has to resolve."""

    @property
    @abc.abstractmethod
    def smoothness(self) -> float:
        """How many times the kernel is continuously differentiable (`inf` for analytic ones).

        Below 2 the geodesics of its landmark space may run into collisions.
        """

    def derivative(self, squared_distance: Float[Array, "*pairs"]) -> Float[Array, "*pairs"]:
        """Derivative of `profile` with respect to the squared distance, elementwise."""
        return jax.jvp(self.profile, (squared_distance,), (jnp.ones_like(squared_distance),))[1]

    def __call__(self, x: Float[Array, "n d"], y: Float[Array, "m d"]) -> Float[Array, "n m"]:
        """Dense Gram matrix; for many points use `kernel_sum`, which never forms it."""
        return self.profile(squared_distances(x, y))


def squared_distances(x: Float[Array, "n d"], y: Float[Array, "m d"]) -> Float[Array, "n m"]:
    """Pairwise squared distances by differences, coordinate by coordinate.

    The usual `|x|^2 + |y|^2 - 2 x.y` cancels badly in float32; an `[n, m, d]` array of
    differences would not fit the cache.
    """
    total = jnp.zeros((x.shape[0], y.shape[0]), x.dtype)
    for k in range(x.shape[1]):
        total = total + jnp.square(x[:, k, None] - y[None, :, k])
    return total


def _as_scale(value) -> Float[Array, ""]:
    value = as_real(positive(value, "scale"))
    if value.ndim:
        raise InputError(
            f"Argument scale must be one number, but has shape {list(value.shape)}; for several "
            "scales use `Sum` or `by_name`."
        )
    return value


class _Scaled(AbstractRadialKernel):
    """Shared field of the kernels that have one length scale."""

    scale: eqx.AbstractVar[Float[Array, ""]]

    @property
    def finest_scale(self):
        return self.scale

    def _over_scale(self, squared_distance):
        # a product with one reciprocal: a division for each pair would cost as much as the kernel
        return squared_distance * (
            1.0 / jnp.square(jnp.asarray(self.scale, squared_distance.dtype))
        )


class Gaussian(_Scaled):
    """`exp(-r^2 / (2 scale^2))`.

    Example:
        >>> import jax.numpy as jnp
        >>> from geojax.kernels import Gaussian
        >>> float(Gaussian(1.0)(jnp.zeros((1, 2)), jnp.ones((1, 2)))[0, 0])  # doctest: +ELLIPSIS
        0.3678...
    """

    scale: Float[Array, ""] = eqx.field(converter=_as_scale)

    def profile(self, squared_distance):
        return jnp.exp(-0.5 * self._over_scale(squared_distance))

    @property
    def smoothness(self):
        return np.inf


class Cauchy(_Scaled):
    """`1 / (1 + r^2 / scale^2)`: heavy tails, so far points feel each other."""

    scale: Float[Array, ""] = eqx.field(converter=_as_scale)

    def profile(self, squared_distance):
        return 1.0 / (1.0 + self._over_scale(squared_distance))

    @property
    def smoothness(self):
        return np.inf


class Laplace(_Scaled):
    """`exp(-r / scale)`: not differentiable at zero; in 1-D its geodesics are the peakons."""

    scale: Float[Array, ""] = eqx.field(converter=_as_scale)

    def profile(self, squared_distance):
        return _laplace(self._over_scale(squared_distance))

    @property
    def smoothness(self):
        return 0.0


class Matern32(_Scaled):
    """`(1 + a) exp(-a)` with `a = sqrt(3) r / scale`: twice differentiable."""

    scale: Float[Array, ""] = eqx.field(converter=_as_scale)

    def profile(self, squared_distance):
        return _matern32(3.0 * self._over_scale(squared_distance))

    @property
    def smoothness(self):
        return 2.0


class Matern52(_Scaled):
    """`(1 + a + a^2 / 3) exp(-a)` with `a = sqrt(5) r / scale`: four times differentiable."""

    scale: Float[Array, ""] = eqx.field(converter=_as_scale)

    def profile(self, squared_distance):
        return _matern52(5.0 * self._over_scale(squared_distance))

    @property
    def smoothness(self):
        return 4.0


class Sum(AbstractRadialKernel):
    """Weighted sum of kernels, most often one family at several scales.

    Args:
        kernels: the summands.
        weights: one positive weight per summand (default: equal weights that sum to one).

    Raises:
        InputError: no kernels, what is no kernel, or weights of the wrong number or sign.
    """

    kernels: tuple[AbstractRadialKernel, ...]
    weights: Float[Array, " k"]

    def __init__(self, kernels: Sequence[Any], weights=None):
        self.kernels = tuple(kernels)
        if not self.kernels:
            raise InputError("Argument kernels must hold at least one kernel, but is empty.")
        for place, kernel in enumerate(self.kernels):
            if not isinstance(kernel, AbstractRadialKernel):
                raise InputError(
                    "Argument kernels must hold radial kernels such as `Gaussian(0.5)`, but entry "
                    f"{place} is {kernel!r}."
                )
        if weights is None:
            weights = np.full(len(self.kernels), 1.0 / len(self.kernels))
        self.weights = as_real(positive(weights, "weights"))
        if self.weights.shape != (len(self.kernels),):
            raise InputError(
                f"Argument weights must have one entry for each of the {len(self.kernels)} "
                f"kernels, but has shape {list(self.weights.shape)}."
            )

    def profile(self, squared_distance):
        total = jnp.zeros_like(squared_distance)
        for weight, kernel in zip(self.weights, self.kernels, strict=True):
            total = total + weight.astype(squared_distance.dtype) * kernel.profile(squared_distance)
        return total

    @property
    def finest_scale(self):
        return jnp.min(jnp.stack([kernel.finest_scale for kernel in self.kernels]))

    @property
    def smoothness(self):
        return min(kernel.smoothness for kernel in self.kernels)


_FAMILIES: dict[str, Any] = {
    "gaussian": Gaussian,
    "cauchy": Cauchy,
    "laplace": Laplace,
    "matern32": Matern32,
    "matern52": Matern52,
}


def by_name(name: str, scales, weights=None) -> AbstractRadialKernel:
    """A kernel of a named family at one scale, or the weighted sum over several scales.

    Args:
        name: `gaussian`, `cauchy`, `laplace`, `matern32` or `matern52`.
        scales: one length, or a strictly decreasing or increasing sequence of lengths.
        weights: one per scale; equal by default.

    Raises:
        InputError: unknown name (the nearest one is named), or scales that are not positive,
            not sorted or repeated.
    """
    if name not in _FAMILIES:
        raise InputError(
            f"Argument kernel must be one of {', '.join(_FAMILIES)}, but is {name!r}"
            f"{nearest_name(name, _FAMILIES)}."
        )
    family = _FAMILIES[name]
    if not isinstance(scales, list | tuple) and np.ndim(scales) == 0:
        return family(scales)
    values = np.asarray(positive(scales, "scales"))
    steps = np.diff(values)
    if values.size == 0 or not (np.all(steps > 0) or np.all(steps < 0)):
        raise InputError(
            f"Argument scales must be sorted without repeats, but is {values.tolist()}; "
            "list each length once, in order."
        )
    if values.size == 1:
        return family(float(values[0]))
    return Sum([family(float(value)) for value in values], weights)


# The Matern profiles as functions of t = a^2. Each derivative is the next lower one:
# M52' = -M32 / 6, M32' = -L / 2 and L' = -L / (2 sqrt t), singular at 0 where it is set to 0:
# it only ever appears there times a zero difference of points.


@jax.custom_jvp
def _laplace(t):
    return jnp.exp(-safe_sqrt(t))


@_laplace.defjvp
def _laplace_jvp(primals, tangents):
    (t,), (dt,) = primals, tangents
    value = _laplace(t)
    inverse_root = jnp.where(t > 0, 1.0 / safe_sqrt(jnp.where(t > 0, t, 1.0)), 0.0)
    return value, -0.5 * inverse_root * value * dt


@jax.custom_jvp
def _matern32(t):
    a = safe_sqrt(t)
    return (1.0 + a) * jnp.exp(-a)


@_matern32.defjvp
def _matern32_jvp(primals, tangents):
    (t,), (dt,) = primals, tangents
    return _matern32(t), -0.5 * _laplace(t) * dt


@jax.custom_jvp
def _matern52(t):
    a = safe_sqrt(t)
    return (1.0 + a + jnp.square(a) / 3.0) * jnp.exp(-a)


@_matern52.defjvp
def _matern52_jvp(primals, tangents):
    (t,), (dt,) = primals, tangents
    return _matern52(t), -_matern32(t) / 6.0 * dt


def describe(kernel: Any) -> dict:
    """A kernel as JSON values, from which `from_description` rebuilds it.

    Raises:
        InputError: a kernel of a class that geojax does not know.
    """
    if isinstance(kernel, Sum):
        kernels = [describe(inner) for inner in kernel.kernels]
        return {"family": "sum", "kernels": kernels, "weights": kernel.weights.tolist()}
    for name, family in _FAMILIES.items():
        if type(kernel) is family:
            return {"family": name, "scale": float(kernel.scale)}
    raise InputError(
        f"Argument kernel must be one of geojax.kernels to be saved, but is a "
        f"{type(kernel).__name__}."
    )


def from_description(description: dict) -> AbstractRadialKernel:
    """The kernel that `describe` wrote down."""
    if description["family"] == "sum":
        kernels = [from_description(inner) for inner in description["kernels"]]
        return Sum(kernels, description["weights"])
    return by_name(description["family"], description["scale"])
