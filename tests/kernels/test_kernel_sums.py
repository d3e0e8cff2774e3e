"""Matrix-free sums: equal to dense ones, whatever the blocks, in linear memory."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from systems.numerics import largest, relative_error
from systems.particles import random_particles

from geojax.kernels import (
    Diracs,
    Gaussian,
    KernelExpansion,
    Laplace,
    Matern32,
    Sum,
    hamiltonian_field,
    kernel_sum,
)

KERNEL = Sum([Gaussian(0.6), Matern32(1.1)], [0.4, 1.3])


def data(n, m, d=2, c=3, dtype=jnp.float64):
    rng = np.random.default_rng(0)
    return tuple(jnp.asarray(rng.normal(size=s), dtype) for s in ((n, d), (m, d), (m, c)))


def dense_field(kernel, q, p):
    """Both right-hand sides by differentiating the Hamiltonian."""

    def energy(q, p):
        return 0.5 * jnp.sum((p @ p.T) * kernel(q, q))

    force, velocity = jax.grad(energy, argnums=(0, 1))(q, p)
    return velocity, -force


@pytest.mark.parametrize(("n", "m"), [(1, 1), (7, 5), (5, 7), (1, 40), (40, 1)])
def test_equals_the_dense_sum(n, m):
    x, y, b = data(n, m)
    assert largest(kernel_sum(KERNEL, x, y, b) - KERNEL(x, y) @ b) < 1e-13


@pytest.mark.parametrize("kernel", [Gaussian(0.7), KERNEL, Laplace(1.0)])
def test_hamiltonian_field_is_the_gradient(kernel):
    q, p = random_particles(1, 9, 2)
    for found, truth in zip(
        hamiltonian_field(kernel, q, p), dense_field(kernel, q, p), strict=True
    ):
        assert relative_error(found, truth) < 1e-13
    # far from the origin the force does not cancel away
    single = [x.astype(jnp.float32) for x in (q + 1000.0, p)]
    moved = hamiltonian_field(kernel, *single)
    truth = dense_field(kernel, single[0].astype(float) - 1000.0, p)
    for found, exact in zip(moved, truth, strict=True):
        assert relative_error(np.asarray(found), exact) < 1e-5


class TestMemory:
    """No n-by-n matrix, in values or in derivatives."""

    @staticmethod
    def temporary_bytes(function, n):
        x = jax.ShapeDtypeStruct((n, 2), jnp.float32)
        b = jax.ShapeDtypeStruct((n, 2), jnp.float32)
        analysis = jax.jit(function).lower(x, b).compile().memory_analysis()
        return analysis.temp_size_in_bytes

    @staticmethod
    def total(x, b):
        return jnp.sum(kernel_sum(Gaussian(jnp.float32(1.0)), x, x, b) ** 2)

    @staticmethod
    def field(q, p):
        return hamiltonian_field(Gaussian(jnp.float32(1.0)), q, p)

    @pytest.mark.parametrize("kind", ["sum", "gradient", "field", "gradient of field", "second"])
    def test_grows_linearly(self, kind):
        function = {
            "sum": self.total,
            "gradient": jax.grad(self.total, argnums=(0, 1)),
            "field": self.field,
            "gradient of field": jax.grad(lambda q, p: jnp.sum(self.field(q, p)[1] ** 2)),
            "second": jax.grad(lambda x, b: jnp.sum(jax.grad(self.total)(x, b) ** 2)),
        }[kind]
        small, large = (self.temporary_bytes(function, n) for n in (4096, 16384))
        assert large < 5 * small
        # far below the matrix alone
        assert large < 16384**2 * 4 / 20

    def test_the_dense_sum_grows_quadratically(self):
        def dense(x, b):
            return jnp.sum((Gaussian(jnp.float32(1.0))(x, x) @ b) ** 2)

        small, large = (self.temporary_bytes(jax.grad(dense), n) for n in (4096, 16384))
        assert large > 12 * small
        assert large >= 16384**2 * 4


class TestExpansion:
    def test_evaluates_at_points_of_any_shape(self):
        _, y, b = data(1, 5)
        field = KernelExpansion(KERNEL, y, b)
        points = jnp.asarray(np.random.default_rng(1).normal(size=(2, 3, 2)))
        values = field(points)
        assert values.shape == (2, 3, 3)
        assert largest(values[1, 2] - field(points[1, 2])) < 1e-15
        assert largest(values[1, 2] - (KERNEL(points[1, 2][None], y) @ b)[0]) < 1e-14

    def test_reproduces(self):
        """`<K delta_x a, f> = a . f(x)`: the inner product with a kernel is evaluation."""
        x, y, b = data(1, 5, c=2)
        pairs = Diracs(x, jnp.ones((1, 2)))
        inner = jnp.sum(pairs.weights * kernel_sum(KERNEL, pairs.points, y, b))
        other = jnp.sum(b * KernelExpansion(KERNEL, pairs.points, pairs.weights)(y))
        assert relative_error(inner, other) < 1e-14
