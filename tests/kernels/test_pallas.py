"""Sums in registers: interpreted they are the tiled ones, and they lower for a GPU."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from systems.numerics import relative_error

from geojax._core.errors import InputError
from geojax.kernels import Cauchy, Gaussian, Sum, form, hamiltonian_field, kernel_sum, pallas
from geojax.kernels.pairs import pair_sums

KERNEL = Sum([Gaussian(0.6), Cauchy(1.1)], [0.4, 1.3])
RNG = np.random.default_rng(0)
X, Y = jnp.asarray(RNG.normal(size=(23, 3))), jnp.asarray(RNG.normal(size=(37, 3)))
B, P = jnp.asarray(RNG.normal(size=(37, 2))), jnp.asarray(RNG.normal(size=(23, 3)))


def other(x, y, b, kernel):
    return jnp.sum(jnp.sin(kernel_sum(kernel, x, y, b)))


def field(q, p, kernel):
    velocity, force = hamiltonian_field(kernel, q, p)
    return jnp.sum(jnp.sin(velocity) * force)


LOSSES = {"two sets": (other, (X, Y, B, KERNEL)), "one set": (field, (X, P, Gaussian(0.6)))}


def gradient(loss):
    """Value, and gradient in all arguments."""
    return lambda *a: jax.tree.leaves(jax.value_and_grad(loss, tuple(range(len(a))))(*a))


def second(loss):
    """The gradient of the size of the gradient."""
    return jax.grad(lambda *a: jnp.sum(jnp.square(jax.grad(loss)(*a))), (0, 1))


CASES = [
    ("two sets", gradient, jnp.float64, 1e-12),
    ("one set", gradient, jnp.float32, 1e-4),  # its value is a small sum of large terms
    ("one set", second, jnp.float64, 1e-12),
    pytest.param("two sets", second, jnp.float64, 1e-12, marks=pytest.mark.slow),
]


@pytest.fixture
def blocks(monkeypatch):
    """Several blocks of rows, shares and steps of columns, none of them full at its end."""
    monkeypatch.setattr(pallas, "_ROWS", 8)
    monkeypatch.setattr(pallas, "_LEAST_COLUMNS", 2)
    monkeypatch.setattr(pallas, "_MOST_COLUMNS", 4)
    monkeypatch.setattr(pallas, "_ACCUMULATORS", 16)
    monkeypatch.setattr(pallas, "_PROGRAMS", 10)


@pytest.mark.parametrize(("name", "derived", "dtype", "tolerance"), CASES)
def test_equals_the_tiled_sum_to_second_order(name, derived, dtype, tolerance, blocks):
    loss, arguments = LOSSES[name]
    arguments = jax.tree.map(lambda v: jnp.asarray(v, dtype), arguments)
    computed = jax.jit(derived(loss))
    with form("pallas"):
        found = computed(*arguments)
    with form("tiles"):
        expected = computed(*arguments)
    for part, truth in zip(found, expected, strict=True):
        assert part.dtype == dtype
        assert relative_error(part, truth) < tolerance


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (1, 300), (130, 1), (127, 65)])
def test_sizes(rows, columns):
    """Blocks as they are on a GPU; a sum that forgets its last column is seen."""
    x, y, b = (jnp.asarray(RNG.normal(size=(n, 2))) for n in (rows, columns, columns))
    with form("pallas"):
        found = kernel_sum(KERNEL, x, y, b)
    dense = KERNEL(x, y) @ b
    assert relative_error(found, dense) < 1e-13
    last = KERNEL(x, y[-1:]) @ b[-1:]
    assert relative_error(found - last, dense) > 1e-6


def test_lanes_are_solo(blocks):
    with form("pallas"):
        found = jax.vmap(lambda x: kernel_sum(KERNEL, x, Y, B))(jnp.stack([X, 2 * X]))
    for lane, x in zip(found, (X, 2 * X), strict=True):
        assert relative_error(lane, KERNEL(x, Y) @ B) < 1e-13


def on_a_gpu(function, *arguments) -> str:
    """The program of a GPU, which is not needed to write it."""
    known = [jax.export.DisabledSafetyCheck.custom_call("__gpu$xla.gpu.triton")]
    exported = jax.export.export(jax.jit(function), platforms=["cuda"], disabled_checks=known)
    return exported(*arguments).mlir_module()


def kernels_of(text: str) -> int:
    return text.count("custom_call @__gpu$xla.gpu.triton")


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_a_gpu_computes_large_sums_and_derivatives_so(dtype):
    """By itself: one kernel for the field, and one for its derivative."""
    x = jnp.zeros((2000, 3), dtype)
    kernel = jax.tree.map(lambda v: jnp.asarray(v, dtype), KERNEL)
    assert kernels_of(on_a_gpu(lambda q, p: hamiltonian_field(kernel, q, p), x, x)) == 1
    slope = jax.grad(lambda q, p: field(q, p, kernel), (0, 1))
    assert kernels_of(on_a_gpu(slope, x, x)) == 2
    with form("tiles"):
        assert kernels_of(on_a_gpu(slope, x, x)) == 0


def test_what_does_not_fit_registers_goes_by_tiles():
    """Many channels by themselves, operations that Triton has not with a word if asked for it."""
    x = jnp.zeros((2000, 3))
    wide = jnp.zeros((2000, pallas._MOST_CHANNELS + 1))
    gaussian = Gaussian(1.0)
    assert kernels_of(on_a_gpu(lambda x, b: kernel_sum(gaussian, x, x, b), x, wide[:, 1:])) == 1
    assert kernels_of(on_a_gpu(lambda x, b: kernel_sum(gaussian, x, x, b), x, wide)) == 0

    def looked_up(e, s, t, theta):
        return [jnp.take(jnp.arange(5.0), e[0].astype(int), mode="clip")]

    def sums(x):
        return pair_sums(looked_up, [(0, 0)], [x], None, [], [], [x], [])

    assert kernels_of(on_a_gpu(sums, x.T)) == 0
    with form("pallas"):
        assert float(jnp.max(jnp.abs(jnp.stack(sums(X[:5].T))))) > 0.0
        with pytest.raises(InputError, match="gather"):
            on_a_gpu(sums, x.T)


LAX = {"add_any": jax.lax.add, "and": jax.lax.bitwise_and, "or": jax.lax.bitwise_or}
LAX |= {"not": jax.lax.bitwise_not, "xor": jax.lax.bitwise_xor, "select_n": jax.lax.select_n}
TAKEN = {
    "integer_pow": lambda r: jax.lax.integer_pow(r, 5),
    "convert_element_type": lambda r: r.astype(jnp.int32).astype(r.dtype),
    "clamp": lambda r: jax.lax.clamp(0.5 * r, r, 2.0 * r),
    "select_n": lambda r: jnp.where(r < 1.0, r, 2.0 * r),
    "stop_gradient": jax.lax.stop_gradient,
    "not": lambda r: (~(r < 1.0)).astype(r.dtype),
}
TWO = {"add", "add_any", "atan2", "div", "max", "min", "mul", "pow", "rem", "sub"}
COMPARED = {"eq", "ge", "gt", "le", "lt", "ne"}
LOGICAL = {"and", "or", "xor"}


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_triton_has_every_operation_that_is_said_to_be_elementwise(dtype):
    def applied(name, r):
        function = TAKEN.get(name) or LAX.get(name) or getattr(jax.lax, name)
        if name in TWO:
            return function(r, 0.5 * r)
        if name in COMPARED:
            return function(r, 0.5 * r).astype(r.dtype)
        if name in LOGICAL:
            return function(r < 1.0, r > 0.5).astype(r.dtype)
        return function(r).astype(r.dtype)

    names = sorted(pallas.ELEMENTWISE)

    def sums(x):
        return pair_sums(
            lambda e, s, t, theta: [sum(applied(name, e[0]) for name in names)],
            [(0, 0)],
            [x],
            None,
            [],
            [],
            [x],
            [],
        )

    with form("pallas"):
        assert kernels_of(on_a_gpu(sums, jnp.zeros((3, 600), dtype))) == 1
