"""Densities in the plane that have no formula for their flow: eight Gaussians and the like."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from geojax._core import checks
from geojax._core.errors import InputError

Points = Float[Array, "n 2"]


def eight_gaussians(key: PRNGKeyArray, n: int) -> Points:
    """Eight round Gaussians of deviation 0.2 on a circle of radius 2."""
    which, spread = jax.random.split(key)
    angle = jax.random.randint(which, (n,), 0, 8) * (jnp.pi / 4)
    return 2.0 * _circle(angle) + 0.2 * jax.random.normal(spread, (n, 2), angle.dtype)


def checkerboard(key: PRNGKeyArray, n: int) -> Points:
    """The eight dark fields of a 4 x 4 board over `[-2, 2]^2`, uniformly."""
    place, row = jax.random.split(key)
    x = jax.random.uniform(place, (n, 2)) * jnp.array([4.0, 1.0]) - jnp.array([2.0, 0.0])
    # every other field of the column that x lies in
    lower = 2.0 * jax.random.bernoulli(row, shape=(n,)).astype(x.dtype) - 2.0
    return jnp.stack([x[:, 0], x[:, 1] + lower + jnp.floor(x[:, 0]) % 2], axis=-1)


def two_moons(key: PRNGKeyArray, n: int) -> Points:
    """Two half circles of radius 1.5 that reach into each other, with noise of 0.15."""
    which, along, spread = jax.random.split(key, 3)
    side = 2.0 * jax.random.bernoulli(which, shape=(n,)).astype(float) - 1.0
    arc = _circle(jnp.pi * jax.random.uniform(along, (n,), side.dtype))
    centre = jnp.array([0.75, 0.375], side.dtype)
    moons = side[:, None] * (1.5 * arc - centre[None])
    return moons + 0.15 * jax.random.normal(spread, (n, 2), side.dtype)


def pinwheel(key: PRNGKeyArray, n: int) -> Points:
    """Five arms that turn as they go outwards."""
    which, spread = jax.random.split(key)
    arm = jax.random.randint(which, (n,), 0, 5) * (2 * jnp.pi / 5)
    noise = jax.random.normal(spread, (n, 2), arm.dtype)
    radial, across = 1.0 + 0.3 * noise[:, 0], 0.1 * noise[:, 1]
    angle = arm + 0.25 * jnp.exp(radial)
    away = _circle(angle)
    aside = jnp.stack([-away[:, 1], away[:, 0]], axis=-1)
    return 2.0 * (radial[:, None] * away + across[:, None] * aside)


TOY_DENSITIES: dict[str, Callable[[PRNGKeyArray, int], Array]] = {
    "eight_gaussians": eight_gaussians,
    "checkerboard": checkerboard,
    "two_moons": two_moons,
    "pinwheel": pinwheel,
}


def toy_samples(name: str, key: PRNGKeyArray, n: int) -> Points:
    """Draw points of a density of the plane.

    Args:
        name: of an entry of `TOY_DENSITIES`: "eight_gaussians", "checkerboard", "two_moons" or
            "pinwheel". Each lies within about 4 of the origin.
        key: typed key, as `jax.random.key` makes them.
        n: number of points.

    Raises:
        InputError: an unknown name.

    Example:
        >>> import jax
        >>> toy_samples("pinwheel", jax.random.key(0), 5).shape
        (5, 2)
    """
    checks.count(n, "n")
    if name not in TOY_DENSITIES:
        raise InputError(
            f"Argument name must be one of {', '.join(TOY_DENSITIES)}, but is {name!r}"
            f"{checks.nearest_name(name, TOY_DENSITIES)}."
        )
    return TOY_DENSITIES[name](key, n)


def _circle(angle: Float[Array, " n"]) -> Points:
    return jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=-1)
