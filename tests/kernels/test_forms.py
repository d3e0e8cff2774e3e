"""The choice of a form: heard, kept by derivatives, and never mixed up between calls."""

import jax
import jax.numpy as jnp
import pytest
from systems.numerics import compilations, relative_error

from geojax._core.errors import InputError
from geojax.kernels import Gaussian, Ring, form, kernel_sum, sums
from geojax.kernels.pairs import pair_sums

GAUSSIAN = Gaussian(1.0)
X = jnp.linspace(0.0, 3.0, 40).reshape(20, 2)


def total(x):
    return jnp.sum(kernel_sum(GAUSSIAN, x, x, x))


def mesh(**kwargs):
    return jax.make_mesh((1,), ("points",), **kwargs)


AUTO = (jax.sharding.AxisType.Auto,)


def test_one_function_compiled_in_several_forms():
    """The choice is part of the key of what was compiled, and ends with its block."""
    compiled = jax.jit(total)
    for choice in ("auto", "dense", "tiles", Ring(mesh(axis_types=AUTO))):
        with form(choice):
            traced = str(jax.make_jaxpr(compiled)(X))
            value = compiled(X)
        assert ("pair_sums[" in traced) == (choice not in ("auto", "dense"))
        assert relative_error(value, total(X)) < 1e-13
    with compilations() as count:
        with form("tiles"):
            compiled(X)
        compiled(X)
    assert count.value == 0


def test_by_itself_small_sums_are_dense_and_large_ones_are_not():
    wide = jax.ShapeDtypeStruct((513, 2), float)
    assert "pair_sums[" not in str(jax.make_jaxpr(total)(X))
    assert "pair_sums[" in str(jax.make_jaxpr(total)(wide))
    with form("dense"):
        assert "pair_sums[" not in str(jax.make_jaxpr(total)(wide))
    with form("tiles"):
        empty = kernel_sum(GAUSSIAN, X, X[:0], X[:0])
    assert not jnp.any(empty)


def test_a_derivative_has_the_form_of_what_it_derives():
    with form("tiles"):
        _, pull = jax.vjp(total, X)
    assert "form=tiles" in str(jax.make_jaxpr(pull)(1.0))
    with form("pallas"):
        text = str(jax.make_jaxpr(pull)(1.0))
    assert "form=tiles" in text
    assert "form=pallas" not in text


def test_the_ring_of_one_device():
    """In several lanes and to second order, in any form within."""
    second = jax.jit(jax.grad(lambda x: jnp.sum(jax.grad(total)(x) ** 2)))
    with form("dense"):
        expected = second(X)
    with form(Ring(mesh(axis_types=AUTO), within="pallas")):
        assert relative_error(kernel_sum(GAUSSIAN, X, X, X), GAUSSIAN(X, X) @ X) < 1e-13
    with form(Ring(mesh(axis_types=AUTO))):
        assert relative_error(second(X), expected) < 1e-12
        lanes = jax.vmap(total)(jnp.stack([X, 2 * X]))
    assert relative_error(lanes[1], total(2 * X)) < 1e-13


def test_refusals():
    with pytest.raises(InputError, match="did you mean 'tiles'"), form("tilse"):
        total(X)
    with pytest.raises(InputError, match="type Explicit"):
        Ring(mesh(axis_types=(jax.sharding.AxisType.Explicit,)))
    two = jax.make_mesh((1, 1), ("a", "b"), axis_types=AUTO * 2)
    with pytest.raises(InputError, match="one axis of type Auto"):
        Ring(two)
    with pytest.raises(InputError, match="within must be"):
        Ring(mesh(axis_types=AUTO), within="dense")


def test_an_eager_call_compiles_once():
    """Weights are written anew in each call; others, by the last digit, are not taken for them."""
    x = X.T

    def call(scale):
        weights = lambda e, s, t, theta: [jnp.exp(-e[0]) * scale]  # noqa: E731
        return pair_sums(weights, [(0, 0)], [x], None, [], [], [x], [])[0]

    call(1.0)
    with compilations() as count:
        first = call(1.0)
    assert count.value == 0
    assert jnp.any(call(1.0 + 4e-16) != first)


def test_sums_tell_whether_pairs_are_stored():
    assert sums.stores_pairs(512, 512)
    assert not sums.stores_pairs(513, 512)
