"""Geodesics of SU(2^n) from the identity, written over commutators: the inner loop of a search.

With L the momentum and H = F(L) the Hamiltonian that it drives, Nielsen's equation is

    dL/dt = i [L, H],    dU/dt = -i H U,    so that U^H L U stays what it was.

The equation for L needs no exponential: a Runge-Kutta step predicts it, a Magnus expansion of
order 4 turns it into one exponential, and that moves both U and L. So U stays unitary, L keeps its
eigenvalues, and a step costs some twenty products of 2^n x 2^n matrices: 8^n, where structure
constants would take 16^n. `geojax.shoot` solves the same equation for any group to higher order;
a test holds the two together.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Complex, Float

from geojax._core import pauli
from geojax._core.linalg import dagger

# of the exponential's Taylor series, for steps of norm at most about one
_DEGREE = 11
_COEFFICIENTS = [1.0 / math.factorial(k) for k in range(_DEGREE + 1)]


def matrix(coefficients: Float[Array, " P"]) -> Complex[Array, "N N"]:
    """The traceless Hermitian matrix of `4^n - 1` Pauli coefficients."""
    return pauli.from_coefficients(jnp.pad(coefficients, (1, 0)))


def coefficients(hermitian: Complex[Array, "N N"]) -> Float[Array, " P"]:
    """The `4^n - 1` Pauli coefficients of a Hermitian matrix, the identity's left out."""
    return pauli.to_coefficients(hermitian)[1:]


def velocity(
    momentum: Complex[Array, "N N"], inverse_prices: Float[Array, " P"]
) -> Complex[Array, "N N"]:
    """`H = F(L)`: each Pauli coefficient divided by its price."""
    return matrix(coefficients(momentum) * inverse_prices)


def _commutator(left, right):
    """`[A, B]` of Hermitian matrices, by one product."""
    product = left @ right
    return product - dagger(product)


def _rate(momentum, inverse_prices):
    return 1j * _commutator(momentum, velocity(momentum, inverse_prices))


def exponential(generator: Complex[Array, "N N"]) -> Complex[Array, "N N"]:
    """`exp(A)` for skew-Hermitian A of norm up to about one: unitary to round-off."""
    square = generator @ generator
    cube = square @ generator
    eye = jnp.eye(generator.shape[-1], dtype=generator.dtype)

    def block(start):
        c = _COEFFICIENTS[start : start + 3]
        return c[0] * eye + c[1] * generator + c[2] * square

    total = block(9)
    for start in (6, 3, 0):
        total = total @ cube + block(start)
    return total


def step(
    momentum: Complex[Array, "N N"],
    inverse_prices: Float[Array, " P"],
    h: Float[Array, ""],
) -> Complex[Array, "N N"]:
    """The unitary that a geodesic multiplies by in a time h, to order 4."""
    h = h.astype(momentum.dtype)
    k1 = _rate(momentum, inverse_prices)
    k2 = _rate(momentum + 0.5 * h * k1, inverse_prices)
    k3 = _rate(momentum + 0.5 * h * k2, inverse_prices)
    k4 = _rate(momentum + h * k3, inverse_prices)
    end = momentum + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    # Hermite's cubic at the middle; its slope at the end is k4 to the order that counts
    middle = 0.5 * (momentum + end) + h / 8 * (k1 - k4)
    first, centre, last = (velocity(m, inverse_prices) for m in (momentum, middle, end))
    omega = -1j * h / 6 * (first + 4 * centre + last)
    return exponential(omega + jnp.square(h) / 12 * _commutator(first, last))


def geodesic(
    momentum: Float[Array, " P"],
    inverse_prices: Float[Array, " P"],
    *,
    num_steps: int,
    time: float | Float[Array, ""] = 1.0,
    start: Complex[Array, "N N"] | None = None,
) -> Complex[Array, "k N N"]:
    """Unitaries at the ends of the steps, `[num_steps + 1, N, N]`.

    Args:
        momentum: Pauli coefficients of L at the identity, `[4^n - 1]`.
        inverse_prices: one over the penalties, zero for forbidden strings, `[4^n - 1]`.
        num_steps: equal steps.
        time: that they take.
        start: a unitary of this geodesic to go on from; the identity by default.

    Gradient: forward and reverse, any order.
    """
    body = matrix(momentum)
    if start is None:
        start = jnp.eye(body.shape[-1], dtype=body.dtype)
    h = jnp.asarray(time, momentum.dtype) / num_steps

    def move(unitary, _):
        current = unitary @ body @ dagger(unitary)
        unitary = step(current, inverse_prices, h) @ unitary
        return unitary, unitary

    return jnp.concatenate([start[None], jax.lax.scan(move, start, length=num_steps)[1]])


def conjugation(unitaries: Complex[Array, "k N N"]) -> Float[Array, "k P P"]:
    """`R[b, a]`: the coefficient of string b in `U sigma_a U^H`; orthogonal, one for each U."""
    size = unitaries.shape[-1]
    strings = jax.vmap(matrix)(jnp.eye(size**2 - 1, dtype=jnp.finfo(unitaries.dtype).dtype))

    def columns(unitary):
        return jax.vmap(lambda s: coefficients(unitary @ s @ dagger(unitary)))(strings).T

    return jax.vmap(columns)(unitaries)


def turned(momentum: Float[Array, " P"]) -> Float[Array, "P P"]:
    """T with `(T w)_b` the coefficients of `-i [W, L]`: antisymmetric."""
    start = matrix(momentum)
    strings = jax.vmap(matrix)(jnp.eye(momentum.shape[0], dtype=momentum.dtype))
    return jax.vmap(lambda s: coefficients(-1j * _commutator(s, start)))(strings).T


def body_metrics(
    unitaries: Complex[Array, "k N N"], inverse_prices: Float[Array, " P"]
) -> Float[Array, "k P P"]:
    """The inverse metric seen from the body, `R^T F R` for each unitary."""
    rotations = conjugation(unitaries)
    return jnp.einsum("kba,b,kbc->kac", rotations, inverse_prices, rotations)


def jacobi(
    unitaries: Complex[Array, "k N N"],
    momentum: Float[Array, " P"],
    inverse_prices: Float[Array, " P"],
) -> Float[Array, "P P"]:
    """How the end of a geodesic moves: D with `U^H dU = -i sum_b (D dm)_b sigma_b`.

    In the body's frame, `W = i U^H dU` obeys the linear equation

        dW/dt = U^H F(U (dL - i [W, L]) U^H) U    with L and its variation dL at the start.

    Solved by Runge-Kutta steps of order 4 over two steps of the geodesic each, as real matrices of
    Pauli coefficients: some twenty times faster than the derivative of `geodesic`, and less exact,
    which Newton's steps bear.

    Args:
        unitaries: of `geodesic` up to time one, an odd number of nodes.
        momentum, inverse_prices: as for `geodesic`.
    """
    turn, metrics = turned(momentum), body_metrics(unitaries, inverse_prices)
    h = 2 / (unitaries.shape[0] - 1)
    eye = jnp.eye(momentum.shape[0], dtype=momentum.dtype)

    def move(fields, nodes):
        first, middle, last = nodes
        k1 = first @ (eye + turn @ fields)
        k2 = middle @ (eye + turn @ (fields + 0.5 * h * k1))
        k3 = middle @ (eye + turn @ (fields + 0.5 * h * k2))
        k4 = last @ (eye + turn @ (fields + h * k3))
        return fields + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4), None

    nodes = metrics[:-2:2], metrics[1:-1:2], metrics[2::2]
    return jax.lax.scan(move, jnp.zeros_like(eye), nodes)[0]
