"""Sums over pairs, tile by tile: equal to dense ones with all their derivatives."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from systems.numerics import central_difference, compilations, largest, relative_error

from geojax._core.errors import InputError
from geojax.kernels import (
    AbstractRadialKernel,
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
            patch.setattr(sums, "DENSE_PAIRS", 0)
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


SLOW = "forward over reverse"  # two other orders are second derivatives as well


@pytest.mark.parametrize(
    "order", [pytest.param(o, marks=pytest.mark.slow) if o == SLOW else o for o in ORDERS]
)
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


class Written(AbstractRadialKernel):
    """A kernel of a user's own, however its profile is written."""

    function: Callable = eqx.field(static=True)
    table: jax.Array
    power: jax.Array
    finest_scale = jnp.ones(())
    smoothness = np.inf

    def profile(self, squared_distance):
        return self.function(squared_distance, self.table, self.power)


@jax.custom_jvp
def bump(r):
    return jnp.exp(-r)


bump.defjvp(lambda primals, tangents: (bump(*primals), -tangents[0] * bump(*primals)))

WRITTEN = {
    "where": lambda r, c, n: jnp.where(r < 1.0, (1.0 - r) ** 2, 0.0 * r),
    "polynomial": lambda r, c, n: jnp.exp(-r) * jnp.polyval(c, r),
    "loop": lambda r, c, n: jax.lax.fori_loop(0, 3, lambda _, v: v / (1.0 + r), 1.0 + 0.0 * r),
    "its own derivative": lambda r, c, n: bump(2.0 * r),
    "integers": lambda r, c, n: jnp.exp(-r) * (((3.0 * r).astype(int) // 2 + n) % 5).astype(float),
    "table": lambda r, c, n: c[n] * jnp.exp(-c[0] * r),
    "sign": lambda r, c, n: jnp.copysign(r, 0.0) + 2.0 * jnp.copysign(r, -0.0) * jnp.exp(-r),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_kernels_a_user_may_write(name, tiled):
    kernel = Written(WRITTEN[name], jnp.array([0.7, -0.2, 1.1]), jnp.array(2))

    def values():
        def loss(x, table):
            changed = eqx.tree_at(lambda k: k.table, kernel, table)
            return jnp.sum(jnp.sin(kernel_sum(changed, x, Y, B)))

        return [kernel_sum(kernel, X, Y, B), *jax.grad(loss, (0, 1))(X, kernel.table)]

    for found, truth in zip(tiled(values), values(), strict=True):
        assert largest(found - truth) < 1e-11 * (1 + largest(truth))


def test_a_profile_that_hides_a_traced_value_is_refused(tiled):
    def loss(scale):
        kernel = Written(lambda r, c, n: jnp.exp(-r * scale), jnp.ones(1), jnp.array(0))
        return jnp.sum(kernel_sum(kernel, X, Y, B))

    with pytest.raises(InputError, match="a field of the kernel"):
        tiled(lambda: jax.grad(loss)(1.0))


def test_sixteen_bits_do_not_stagnate(tiled):
    ones = jnp.ones((5000, 1), jnp.bfloat16)
    found = tiled(lambda: kernel_sum(Gaussian(1.0), jnp.zeros((2, 1), jnp.bfloat16), ones, ones))
    assert found.dtype == jnp.bfloat16
    assert relative_error(np.asarray(found, float), 5000 * np.exp(-0.5)) < 5e-3


@pytest.mark.lenient
def test_mixed_dtypes_are_the_wider(tiled):
    found = tiled(lambda: kernel_sum(KERNEL, X.astype(jnp.float32), Y, B.astype(jnp.float32)))
    assert found.dtype == jnp.float64
    assert relative_error(found, KERNEL(X, Y) @ B) < 1e-6


def test_points_over_many_scales(tiled):
    """What float32 loses there is as the page says."""
    rng = np.random.default_rng(3)
    x = jnp.asarray(100.0 * rng.normal(size=(60, 1, 2)) + rng.normal(size=(60, 5, 2)))
    x, p = x.reshape(-1, 2), jnp.asarray(rng.normal(size=(300, 2)))
    truth = jax.grad(own)(x, p, Gaussian(1.0))
    single = [v.astype(jnp.float32) for v in (x, p)]
    exact = jax.grad(own)(*(v.astype(jnp.float64) for v in single), Gaussian(1.0))
    found = tiled(lambda: jax.grad(own)(*single, Gaussian(1.0)))
    assert relative_error(exact, truth) < 1e-3
    assert relative_error(found, exact) < 1e-4


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
