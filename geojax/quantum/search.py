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

from geojax._core.linalg import dagger, hermitian_log, safe_sqrt
from geojax.quantum import lax
from geojax.quantum.gates import roots_of_unity

# The penalties grow in stages, then the shaken target is brought back in stages; each lets its
# Newton steps settle, the last one converge.
_STAGES = 10
_RETURNS = 5
_STEPS_PER_STAGE = 4
_LAST_STEPS = 20
_MOST_DAMPING = 1e6


class Lanes(eqx.Module):
    """What each start of a search found.

    Attributes:
        momenta: initial momenta in Pauli coefficients, `[S, 4^n - 1]`.
        lengths: of their geodesics, `[S]`.
        residuals: isotropic distance from their ends to the target, `[S]`.
        derivatives: of the ends in the momenta (body frame), `[S, 4^n - 1, 4^n - 1]`.
        centres: which `exp(2 pi i c / 2^n) U` is nearest to their ends, `[S]`.
    """

    momenta: Float[Array, "S P"]
    lengths: Float[Array, " S"]
    residuals: Float[Array, " S"]
    derivatives: Float[Array, "S P P"]
    centres: Int[Array, " S"]

    def converged(self, tolerance: float) -> Bool[Array, " S"]:
        return self.residuals <= tolerance


def error(unitary: Complex[Array, "N N"], target: Complex[Array, "N N"]) -> Float[Array, " P"]:
    """Pauli coefficients of Z with `U = target exp(-i Z)`: zero where U is the target.

    Or that times a root of unity, whose logarithm is a multiple of the identity.
    """
    return lax.coefficients(hermitian_log(dagger(target) @ unitary, traceless=False))


def length(momentum: Float[Array, " P"], inverse_prices: Float[Array, " P"]) -> Float[Array, ""]:
    """Length of the geodesic of a momentum, for unit time."""
    return safe_sqrt(jnp.sum(jnp.square(momentum) * inverse_prices))


class Starts(eqx.Module):
    """Where each lane begins, and how it goes; one row per lane.

    Attributes:
        targets: the target times a root of unity.
        momenta: of isotropic geodesics to it, or near one.
        shakes: by how much the target is turned until the penalties have grown. Geodesics to a
            target with symmetries would keep them where others become shorter; those to one beside
            it find these, and are followed back.
        deformed: 1 where the penalties grow, 0 where Newton's steps begin at the full ones.
        centres: which root of unity.
    """

    targets: Complex[Array, "S N N"]
    momenta: Float[Array, "S P"]
    shakes: Float[Array, "S P"]
    deformed: Float[Array, " S"]
    centres: Int[Array, " S"]


def starts(
    target: Complex[Array, "N N"],
    inverse_prices: Float[Array, " P"],
    num_starts: int,
    key: Key[Array, ""],
    phase_free: bool,
) -> Starts:
    """The lanes go round the centre of the group, where phases are free.

    The first round takes the shortest logarithms and follows them; later ones shake the target,
    which tells equal eigenvalues apart at random, every fourth begins at the full penalties, with a
    random geodesic, and every eighth turns eigenvalues by whole turns, which seldom leads anywhere.
    """
    size = target.shape[-1]
    real = jnp.finfo(target.dtype).dtype
    lanes = jnp.arange(num_starts)
    every = size if phase_free else 1
    centres = lanes % every
    rounds = lanes // every
    targets = roots_of_unity(target)[centres][:, None, None] * target[None]
    later = (rounds > 0).astype(real)
    deformed = (rounds % 4 != 3).astype(real)

    def logarithm(lane, goal, key):
        first, second, third = jax.random.split(key, 3)
        shake, wish = later[lane] * jax.random.normal(first, (2, size**2 - 1), real) / size
        drawn = jax.random.uniform(third, (2,), real)
        # most shakes are small: far ones seldom come back, the less the more qubits there are
        far, long = 2 * drawn[0] ** 3, 2 * drawn[1]
        shake = far * shake
        shortest = hermitian_log(goal @ lax.exponential(-1j * lax.matrix(shake)), traceless=True)
        vectors = jnp.linalg.eigh(shortest)[1]
        # most rounds stay on the shortest branch
        up, down = jax.random.choice(second, size, (2,), replace=False)
        turned = (rounds[lane] % 8 == 4).astype(real)
        turns = jnp.zeros(size, real).at[up].add(turned).at[down].add(-turned)
        turns = (2 * jnp.pi * turns).astype(target.dtype)
        branch = shortest + (vectors * turns[None, :]) @ dagger(vectors)
        # of a velocity in the metric's own units, so that dear strings are driven as well
        guess = long * wish * jnp.sqrt(1.0 / jnp.where(inverse_prices > 0, inverse_prices, 1.0))
        return jnp.where(deformed[lane] > 0, lax.coefficients(branch), guess), shake

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
    phase_free: bool,
) -> Lanes:
    """Follow every start to the penalties; all lanes in one program.

    Args:
        target: special unitary.
        inverse_prices: one over the penalties, zero for forbidden strings.
        key: of the random starts.
        num_starts: lanes.
        num_steps: of each geodesic; even.
        phase_free: whether the target times a root of unity will do.
    """
    begin = starts(target, inverse_prices, num_starts, key, phase_free)
    found = jax.vmap(lambda start: _follow(start, inverse_prices, num_steps))(begin)
    momenta, residuals, derivatives = found
    lengths = jax.vmap(lambda m: length(m, inverse_prices))(momenta)
    # the error does not tell roots of unity apart: a lane may end at another one than it sought

    def end(momentum):
        return lax.geodesic(momentum, inverse_prices, num_steps=num_steps)[-1]

    overlaps = jnp.einsum("ij,sij->s", target.conj(), jax.vmap(end)(momenta))
    roots = roots_of_unity(target).conj()
    centres = jnp.argmax((roots[None] * overlaps[:, None]).real, axis=1)
    if not phase_free:
        residuals = jnp.where(centres == 0, residuals, jnp.maximum(residuals, 1.0))
    return Lanes(momenta, lengths, residuals, derivatives, centres)


def _follow(start, inverse_prices, num_steps):
    """One lane: continuation in the penalties."""

    def look(momentum, share, shaken):
        prices = inverse_prices + (1 - inverse_prices) * share * start.deformed
        shake = lax.matrix(start.shakes * shaken)
        target = start.targets @ lax.exponential(-1j * shake)
        unitaries = lax.geodesic(momentum, prices, num_steps=num_steps)
        return error(unitaries[-1], target), lax.jacobi(unitaries, momentum, prices)

    def newton(carry, plan):
        momentum, gap, derivative, damping = carry
        share, shaken, fresh = plan
        normal = derivative.T @ derivative
        scale = damping * jnp.eye(gap.shape[0], dtype=gap.dtype)
        # (D^T D + damping)^-1 D^T is close to D^-1 where D is far from singular
        step = -jnp.linalg.solve(normal + scale, derivative.T @ gap)
        # far steps leave the basin; dear momenta are large
        longest = 1.0 + 0.3 * jnp.linalg.norm(momentum)
        trial = momentum + step * longest / jnp.maximum(jnp.linalg.norm(step), longest)
        new_gap, new_derivative = look(trial, share, shaken)
        better = jnp.linalg.norm(new_gap) < jnp.linalg.norm(gap)
        accept = (fresh | better) & jnp.all(jnp.isfinite(new_gap))
        damping = jnp.where(accept, 0.1 * damping, jnp.maximum(10 * damping, 1e-8))
        damping = jnp.where(fresh, 0.0, jnp.clip(damping, 0.0, _MOST_DAMPING))
        new = trial, new_gap, new_derivative
        kept = jax.tree.map(lambda a, b: jnp.where(accept, a, b), new, (momentum, gap, derivative))
        return (*kept, damping), None

    momentum = start.momenta
    dtype = momentum.dtype
    # slow at the end, where the penalties' inverses change by the largest factors
    shares = np.square(1 - np.arange(_STAGES + 1) / _STAGES)
    shares = np.concatenate([shares, np.zeros(_RETURNS)])
    shaken = np.concatenate([np.ones(_STAGES + 1), 0.4 ** np.arange(1, _RETURNS), [0.0]])
    steps = np.full(shares.shape, _STEPS_PER_STAGE)
    steps[-1] = _LAST_STEPS
    fresh = np.concatenate([np.arange(count) == 0 for count in steps])
    plan = (*(jnp.asarray(np.repeat(x, steps), dtype) for x in (shares, shaken)), fresh)
    # the first pass takes no step, and looks
    gap, damping = jnp.zeros_like(momentum), jnp.zeros((), dtype)
    carry = momentum, gap, jnp.eye(momentum.shape[0], dtype=dtype), damping
    (momentum, gap, derivative, _), _ = jax.lax.scan(newton, carry, plan)
    return momentum, jnp.linalg.norm(gap), derivative
