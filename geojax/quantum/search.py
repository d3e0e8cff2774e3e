"""Many searches at once for geodesics of SU(2^n) that end at a target.

Every lane starts from one logarithm of the target, where all penalties are one and geodesics are
exponentials, and follows it while the penalties grow to theirs (Dowling and Nielsen's
deformation), by damped Newton steps whose derivative is the Jacobi field.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Complex, Float, Int, Key

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
    centres: Int[Array, " S"]

    def converged(self, tolerance: float) -> Bool[Array, " S"]:
        return self.residuals <= tolerance


def error(unitary: Complex[Array, "N N"], target: Complex[Array, "N N"]) -> Float[Array, " P"]:
    """Pauli coefficients of Z with `U = target exp(-i Z)`: zero only at the target."""
    return lax.coefficients(hermitian_log(dagger(target) @ unitary, traceless=False))


def roots_of_unity(unitary: Complex[Array, "N N"]) -> Complex[Array, " N"]:
    """What the centre of SU(N) multiplies by."""
    size = unitary.shape[-1]
    return jnp.asarray(np.exp(2j * np.pi * np.arange(size) / size), unitary.dtype)


def length(momentum: Float[Array, " P"], inverse_prices: Float[Array, " P"]) -> Float[Array, ""]:
    """Length of the geodesic of a momentum, for unit time."""
    square = jnp.sum(jnp.square(momentum) * inverse_prices)
    return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1.0)), 0.0)


class Starts(eqx.Module):
    """Where each lane begins, and how it goes; one row per lane.

    Attributes:
        targets: the target times a root of unity.
        momenta: of isotropic geodesics to it, or near one.
        shakes: by how much the target is turned while the penalties grow: a symmetric geodesic
            would stay symmetric beyond the point where others become shorter.
        deformed: 1 where the penalties grow, 0 where Newton's steps begin at the full ones.
        centres: which root of unity.
    """

    targets: Complex[Array, "S N N"]
    momenta: Float[Array, "S P"]
    shakes: Float[Array, "S P"]
    deformed: Float[Array, " S"]
    centres: Int[Array, " S"]


def starts(target: Complex[Array, "N N"], num_starts: int, key: Key[Array, ""]) -> Starts:
    """The lanes go round the centre of the group.

    The first round takes the shortest logarithms and follows them; later ones turn eigenvalues by
    whole turns, in random bases where eigenvalues agree, shake the target, and every fourth round
    begins at the full penalties, with noise.
    """
    size = target.shape[-1]
    real = jnp.finfo(target.dtype).dtype
    lanes = jnp.arange(num_starts)
    centres = lanes % size
    rounds = lanes // size
    targets = roots_of_unity(target)[centres][:, None, None] * target[None]
    later = (rounds > 0).astype(real)
    deformed = (rounds % 4 != 3).astype(real)

    def logarithm(lane, goal, key):
        first, second, third = jax.random.split(key, 3)
        shake, noise = later[lane] * jax.random.normal(first, (2, size**2 - 1), real) / size
        # so slight a turn tells equal eigenvalues apart at random, and is undone by the search
        shortest = hermitian_log(goal @ lax.exponential(-1e-3j * lax.matrix(shake)), traceless=True)
        vectors = jnp.linalg.eigh(shortest)[1]
        # every other round stays on the shortest branch
        up, down = jax.random.choice(second, size, (2,), replace=False)
        turned = jnp.where(rounds[lane] % 2 == 0, later[lane], 0.0)
        turns = jnp.zeros(size, real).at[up].add(turned).at[down].add(-turned)
        turns = (2 * jnp.pi * turns).astype(target.dtype)
        branch = shortest + (vectors * turns[None, :]) @ dagger(vectors)
        momentum = lax.coefficients(branch) + (1 - deformed[lane]) * noise
        return momentum, jax.random.uniform(third, (), real) * shake

    keys = jax.random.split(key, num_starts)
    momenta, shakes = jax.vmap(logarithm)(lanes, targets, keys)
    return Starts(targets, momenta, shakes, deformed, centres)


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
    begin = starts(target, num_starts, key)
    found = jax.vmap(lambda start: _follow(start, inverse_prices, num_steps))(begin)
    momenta, residuals, derivatives = found
    lengths = jax.vmap(lambda m: length(m, inverse_prices))(momenta)
    return Lanes(momenta, lengths, residuals, derivatives, begin.centres)


def _follow(start, inverse_prices, num_steps):
    """One lane: continuation in the penalties."""

    def look(momentum, share):
        share = share * start.deformed
        prices = inverse_prices + (1 - inverse_prices) * share
        shake = lax.matrix(start.shakes * jnp.sqrt(share))
        target = start.targets @ lax.exponential(-1j * shake)
        unitaries = lax.geodesic(momentum, prices, num_steps=num_steps)
        return error(unitaries[-1], target), lax.jacobi(unitaries, momentum, prices)

    def newton(carry, plan):
        momentum, gap, derivative, damping = carry
        share, fresh = plan
        normal = derivative.T @ derivative
        scale = damping * jnp.eye(gap.shape[0], dtype=gap.dtype)
        # (D^T D + damping)^-1 D^T is close to D^-1 where D is far from singular
        step = -jnp.linalg.solve(normal + scale, derivative.T @ gap)
        # far steps leave the basin; dear momenta are large
        longest = 1.0 + 0.3 * jnp.linalg.norm(momentum)
        trial = momentum + step * longest / jnp.maximum(jnp.linalg.norm(step), longest)
        new_gap, new_derivative = look(trial, share)
        better = jnp.linalg.norm(new_gap) < jnp.linalg.norm(gap)
        accept = (fresh | better) & jnp.all(jnp.isfinite(new_gap))
        damping = jnp.where(accept, 0.1 * damping, jnp.maximum(10 * damping, 1e-8))
        damping = jnp.where(fresh, 0.0, jnp.clip(damping, 0.0, _MOST_DAMPING))
        new = trial, new_gap, new_derivative
        kept = jax.tree.map(lambda a, b: jnp.where(accept, a, b), new, (momentum, gap, derivative))
        return (*kept, damping), None

    momentum = start.momenta
    # slow at the end, where the penalties' inverses change by the largest factors
    shares = jnp.square(1 - jnp.arange(1, _STAGES + 1, dtype=momentum.dtype) / _STAGES)
    shares = jnp.concatenate(
        [jnp.ones(4, momentum.dtype), jnp.repeat(shares, _STEPS_PER_STAGE), jnp.zeros(_LAST_STEPS)]
    ).astype(momentum.dtype)
    fresh = jnp.diff(shares, prepend=2.0) != 0
    # the first pass takes no step, and looks
    gap, damping = jnp.zeros_like(momentum), jnp.zeros((), momentum.dtype)
    carry = momentum, gap, jnp.eye(momentum.shape[0], dtype=momentum.dtype), damping
    (momentum, gap, derivative, _), _ = jax.lax.scan(newton, carry, (shares, fresh))
    return momentum, jnp.linalg.norm(gap), derivative
