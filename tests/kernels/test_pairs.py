"""Sums over pairs, tile by tile: equal to dense ones with all their derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from systems.numerics import central_difference, compilations, largest, relative_error

from geojax.kernels import (
    Cauchy,
    Gaussian,
    Laplace,
    Matern32,
    Matern52,
    Sum,
    hamiltonian_field,
    kernel_sum,
    schedule,
    sums,
    tiles,
)
from geojax.kernels.pairs import pair_sums

KERNEL = Sum([Gaussian(0.6), Matern52(1.1)], [0.4, 1.3])
RNG = np.random.default_rng(0)
X, Y = jnp.asarray(RNG.normal(size=(23, 2))), jnp.asarray(RNG.normal(size=(17, 2)))
B, P = jnp.asarray(RNG.normal(size=(17, 3))), jnp.asarray(RNG.normal(size=(23, 2)))


@pytest.fixture
def tiled(monkeypatch):
    """Run a function on tiles that are small, and not full at the ends."""

    def run(function, rows=7, columns=5):
        with monkeypatch.context() as patch:
            patch.setattr(sums, "_DENSE_PAIRS", 0)
            patch.setattr(tiles, "_ROWS", rows)
            patch.setattr(tiles, "_COLUMNS", columns)
            jax.clear_caches()
            out = function()
        jax.clear_caches()
        return out

    return run


def other(x, y, b, kernel):
    return jnp.sum(jnp.sin(kernel_sum(kernel, x, y, b)))


def own(x, b, kernel):
    return jnp.sum(jnp.sin(kernel_sum(kernel, x, x, b)))


def field(q, p, kernel):
    velocity, force = hamiltonian_field(kernel, q, p)
    return jnp.sum(jnp.sin(velocity) * force)


LOSSES = {"other": (other, (X, Y, B)), "own": (own, (X, P)), "field": (field, (X, P))}


def wave(tree):
    """A direction for every array of a tree."""
    return jax.tree.map(lambda leaf: jnp.cos(3.0 * leaf + 1.0), tree)


def size(tree):
    return sum(jnp.sum(jnp.sin(leaf)) for leaf in jax.tree.leaves(tree))


# in all arguments, the scales and weights of the kernel among them
ORDERS = {
    "value": lambda f, a: f(*a),
    "forward": lambda f, a: jax.jvp(f, a, wave(a))[1],
    "reverse": lambda f, a: jax.grad(f, tuple(range(len(a))))(*a),
    "forward over reverse": lambda f, a: jax.jvp(jax.grad(f, tuple(range(len(a)))), a, wave(a))[1],
    "reverse over forward": lambda f, a: jax.grad(lambda *b: jax.jvp(f, b, wave(a))[1])(*a),
    "reverse over reverse": lambda f, a: jax.grad(lambda *b: size(jax.grad(f)(*b)))(*a),
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("name", LOSSES)
def test_derivatives_of_every_order(name, order, tiled):
    function, arguments = LOSSES[name]
    arguments = (*arguments, KERNEL)

    def value():
        return jax.tree.leaves(jax.jit(lambda a: ORDERS[order](function, a))(arguments))

    for found, truth in zip(tiled(value), value(), strict=True):
        assert relative_error(found, truth) < 1e-11


def test_against_differences(tiled):
    """Not only as the dense sum: with the sign of a difference of values."""
    point = X, Y, B, Gaussian(0.9)
    direction = wave(point)

    def along(s):
        return other(*jax.tree.map(lambda a, d: a + s * d, point, direction))

    slope = tiled(lambda: jax.grad(along)(jnp.zeros(())))
    difference = tiled(lambda: central_difference(along, jnp.zeros(()), jnp.ones(()), 1e-5))
    assert relative_error(slope, difference) < 1e-8
    assert abs(slope + difference) > abs(slope)


@pytest.mark.parametrize(
    "kernel", [Cauchy(0.8), Laplace(0.8), Matern32(0.8), KERNEL], ids=lambda k: type(k).__name__
)
@pytest.mark.parametrize(("dtype", "tolerance"), [(jnp.float64, 1e-12), (jnp.float32, 3e-6)])
def test_every_kernel(kernel, dtype, tolerance, tiled):
    def value(dtype):
        arguments = [v.astype(dtype) for v in (X, P)]
        return [
            *hamiltonian_field(kernel, *arguments),
            kernel_sum(kernel, X.astype(dtype), *arguments),
        ]

    for found, truth in zip(tiled(lambda: value(dtype)), value(jnp.float64), strict=True):
        assert found.dtype == dtype
        assert relative_error(found, truth) < tolerance


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (23, 17), (5, 100), (100, 3)])
def test_tiles_do_not_matter(rows, columns, tiled):
    found = tiled(lambda: jax.grad(other, (0, 1, 2))(X, Y, B, KERNEL), rows, columns)
    for part, truth in zip(found, jax.grad(other, (0, 1, 2))(X, Y, B, KERNEL), strict=True):
        assert relative_error(part, truth) < 1e-12


def test_lanes_are_solo(tiled):
    def gradients():
        return jax.vmap(jax.grad(other), (0, None, 0, None))(
            jnp.stack([X, 2 * X]), Y, jnp.stack([B, -B]), KERNEL
        )

    found = tiled(gradients)
    for lane, (x, b) in enumerate([(X, B), (2 * X, -B)]):
        assert relative_error(found[lane], jax.grad(other)(x, Y, b, KERNEL)) < 1e-12


def test_of_one_set_of_points_a_derivative_is_one_pass():
    """And of two sets it is two: what the fused field saves."""

    def passes(function, *arguments):
        text = str(jax.make_jaxpr(jax.grad(function, (0, 1)))(*arguments))
        return text.count("= pair_sums[")

    x = jnp.ones((2000, 2))
    gaussian = Gaussian(1.0)
    assert passes(lambda x, b: field(x, b, gaussian), x, x) == 2
    assert passes(lambda x, b: own(x, b, gaussian), x, x) == 2
    assert passes(lambda x, b: other(x, 2 * x, b, gaussian), x, x) == 3


@pytest.mark.parametrize("value", [jnp.nan, jnp.inf])
def test_what_is_not_finite_is_not_hidden(value, tiled):
    """The polynomial works on bits, which could make a number of it."""
    x = X.astype(jnp.float32).at[3, 0].set(value)
    found = tiled(
        lambda: kernel_sum(Gaussian(0.7), x, Y.astype(jnp.float32), B.astype(jnp.float32))
    )
    expected = jnp.isnan(found[3]) if jnp.isnan(value) else jnp.abs(found[3]) < 1e-36
    assert bool(jnp.all(expected))
    assert bool(jnp.all(jnp.isfinite(jnp.delete(found, 3, axis=0))))


def test_the_fast_exponential():
    """As exact as its argument; zero and large values keep their side."""
    x = jnp.linspace(-80.0, 80.0, 100_001, dtype=jnp.float32)
    exact = np.exp(np.asarray(x, float))
    error = np.abs(np.asarray(jax.jit(schedule._exp)(x), float) / exact - 1)
    assert np.max(error / (4 + np.abs(x))) < 1.2e-7
    assert float(schedule._exp(jnp.float32(0.0))) == 1.0
    assert float(schedule._exp(jnp.float32(-1e30))) < 1e-37
    assert float(schedule._exp(jnp.float32(1e30))) > 1e37


def test_differences_of_differences():
    """A weight that looks at two differences and at the transposed inner product."""
    x, u, a, c = (jnp.asarray(RNG.normal(size=(2, 9))) for _ in range(4))

    def weights(e, s, t, theta):
        return [e[0] * jnp.cos(e[1]) * s[0] ** 2 * jnp.exp(t[0]) * theta[0]]

    found = pair_sums(weights, [(0, 0), (0, 1)], [x, u], None, [a], [c], [u], [jnp.array(2.0)])[0]
    dx, du = x[:, :, None] - x[:, None, :], u[:, :, None] - u[:, None, :]
    squared, mixed, s = jnp.sum(dx * dx, 0), jnp.sum(dx * du, 0), a.T @ c
    dense = 2.0 * squared * jnp.cos(mixed) * s**2 * jnp.exp(s.T)
    assert largest(found - u @ dense.T) < 1e-12


def test_a_second_call_compiles_nothing():
    x = jnp.asarray(RNG.normal(size=(600, 2)))
    jax.block_until_ready(kernel_sum(Gaussian(1.0), x, x, x))
    jax.block_until_ready(jax.grad(own)(x, x, Gaussian(1.0)))
    with compilations() as count:
        kernel_sum(Gaussian(0.5), x, x, x)
    assert count.value == 0
