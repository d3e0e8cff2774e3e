"""Many searches at once for geodesics of SU(2^n) that end at a target.

Every lane starts from one logarithm of the target, where all penalties are one and geodesics are
exponentials, and follows it while the penalties grow to theirs (Dowling and Nielsen's
deformation), by damped Newton steps whose derivative is the Jacobi field.
"""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Complex, Float, Key

from geojax._core.linalg import dagger, hermitian_log
from geojax.quantum import lax

# The penalties grow in stages; each lets its Newton steps settle, the last one converge.
_STAGES = 10
_STEPS_PER_STAGE = 4
_LAST_STEPS = 24
_MOST_DAMPING = 1e6


class Lanes(eqx.Module):
    """What each start of a search found.

    Attributes:
        momenta: initial momenta in Pauli coefficients, `[S, 4^n - 1]`.
        lengths: of their geodesics, `[S]`.
        residuals: isotropic distance from their ends to the target, `[S]`.
        derivatives: of the ends in the momenta (body frame), `[S, 4^n - 1, 4^n - 1]`.
        centres: which `exp(2 pi i c / 2^n) U` was sought, `[S]`.
    """

    momenta: Float[Array, "S P"]
    lengths: Float[Array, " S"]
    residuals: Float[Array, " S"]
    derivatives: Float[Array, "S P P"]
    centres: Float[Array, " S"]

    def converged(self, tolerance: float) -> Bool[Array, " S"]:
        return self.residuals <= tolerance


def error(unitary: Complex[Array, "N N"], target: Complex[Array, "N N"]) -> Float[Array, " P"]:
    """Pauli coefficients of Z with `U = target exp(-i Z)`: zero only at the target."""
    return lax.coefficients(hermitian_log(dagger(target) @ unitary, traceless=False))


def length(momentum: Float[Array, " P"], inverse_prices: Float[Array, " P"]) -> Float[Array, ""]:
    """Length of the geodesic of a momentum, for unit time."""
    square = jnp.sum(jnp.square(momentum) * inverse_prices)
    return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1.0)), 0.0)


def starts(
    target: Complex[Array, "N N"], num_starts: int, key: Key[Array, ""]
) -> tuple[Complex[Array, "S N N"], Float[Array, "S P"], Float[Array, " S"]]:
    """Targets, momenta of isotropic geodesics to them, and their centres, one of each per lane.

    The lanes go round the centre of the group. The first round takes the shortest logarithms; later
    ones turn eigenvalues by whole turns, in random bases where eigenvalues agree, and add noise.
    """
    size = target.shape[-1]
    real = jnp.finfo(target.dtype).dtype
    lanes = jnp.arange(num_starts)
    centres = lanes % size
    phases = jnp.exp(2j * jnp.pi * centres / size).astype(target.dtype)
    targets = phases[:, None, None] * target

    def logarithm(lane, goal, key):
        first, second, third, fourth = jax.random.split(key, 4)
        later = (lane >= size).astype(real)
        # so slight a turn tells equal eigenvalues apart at random, and is undone by the search
        draw = lax.matrix(1e-3 * jax.random.normal(first, (size**2 - 1,), real))
        shortest = hermitian_log(goal @ lax.exponential(-1j * later * draw), traceless=True)
        vectors = jnp.linalg.eigh(shortest)[1]
        # every third later lane stays on the shortest branch, and only the noise moves it
        up, down = jax.random.choice(second, size, (2,), replace=False)
        turns = jnp.zeros(size, real).at[up].add(1.0).at[down].add(-1.0)
        turns = 2 * jnp.pi * later * (lane // size % 3 > 0) * turns
        branch = shortest + (vectors * turns.astype(target.dtype)) @ dagger(vectors)
        noise = jax.random.normal(third, (size**2 - 1,), real) / math.sqrt(size**2 - 1)
        return lax.coefficients(branch) + later * jax.random.uniform(fourth, (), real) * noise

    momenta = jax.vmap(logarithm)(lanes, targets, jax.random.split(key, num_starts))
    return targets, momenta, centres.astype(real)


def search(
    target: Complex[Array, "N N"],
    inverse_prices: Float[Array, " P"],
    key: Key[Array, ""],
    *,
    num_starts: int,
    num_steps: int,
) -> Lanes:
    """Follow every start to the penalties; all lanes in one program.

    Args:
        target: special unitary.
        inverse_prices: one over the penalties, zero for forbidden strings.
        key: of the random starts.
        num_starts: lanes.
        num_steps: of each geodesic; even.
    """
    targets, momenta, centres = starts(target, num_starts, key)
    found = jax.vmap(lambda goal, m: _follow(goal, m, inverse_prices, num_steps))(targets, momenta)
    momenta, residuals, derivatives = found
    lengths = jax.vmap(lambda m: length(m, inverse_prices))(momenta)
    return Lanes(momenta, lengths, residuals, derivatives, centres)


def _follow(target, momentum, inverse_prices, num_steps):
    """One lane: continuation in the penalties."""

    def look(momentum, prices):
        unitaries, _ = lax.geodesic(momentum, prices, num_steps=num_steps)
        return error(unitaries[-1], target), lax.jacobi(unitaries, momentum, prices)[-1]

    def newton(carry, plan):
        momentum, gap, derivative, damping = carry
        share, fresh = plan
        prices = inverse_prices + (1 - inverse_prices) * share
        normal = derivative.T @ derivative
        scale = damping * jnp.eye(gap.shape[0], dtype=gap.dtype)
        # (D^T D + damping)^-1 D^T is close to D^-1 where D is far from singular
        step = -jnp.linalg.solve(normal + scale, derivative.T @ gap)
        # far steps leave the basin; dear momenta are large
        longest = 1.0 + 0.3 * jnp.linalg.norm(momentum)
        trial = momentum + step * longest / jnp.maximum(jnp.linalg.norm(step), longest)
        new_gap, new_derivative = look(trial, prices)
        better = jnp.linalg.norm(new_gap) < jnp.linalg.norm(gap)
        accept = (fresh | better) & jnp.all(jnp.isfinite(new_gap))
        damping = jnp.where(accept, 0.1 * damping, jnp.maximum(10 * damping, 1e-8))
        damping = jnp.where(fresh, 0.0, jnp.clip(damping, 0.0, _MOST_DAMPING))
        new = trial, new_gap, new_derivative
        kept = jax.tree.map(lambda a, b: jnp.where(accept, a, b), new, (momentum, gap, derivative))
        return (*kept, damping), None

    # slow at the end, where the penalties' inverses change by the largest factors
    shares = jnp.square(1 - jnp.arange(1, _STAGES + 1, dtype=momentum.dtype) / _STAGES)
    shares = jnp.concatenate(
        [jnp.ones(3, momentum.dtype), jnp.repeat(shares, _STEPS_PER_STAGE), jnp.zeros(_LAST_STEPS)]
    ).astype(momentum.dtype)
    fresh = jnp.diff(shares, prepend=1.0) != 0
    gap, derivative = look(momentum, jnp.ones_like(inverse_prices))
    start = momentum, gap, derivative, jnp.zeros((), momentum.dtype)
    (momentum, gap, derivative, _), _ = jax.lax.scan(newton, start, (shares, fresh))
    return momentum, jnp.linalg.norm(gap), derivative
