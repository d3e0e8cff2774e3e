"""Fields: values, jumps, what they refuse, and that they are pytrees."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from systems.numerics import largest

from geojax._core.errors import InputError
from geojax.fields import ControlPoints, Neural, PiecewiseConstant, Stationary, SumOf
from geojax.kernels import Gaussian, kernel_sum

ZERO = jnp.zeros(())


def test_control_points():
    rng = np.random.default_rng(0)
    points, momenta = jnp.asarray(rng.normal(size=(2, 5, 2)))
    x = jnp.asarray(rng.normal(size=(3, 4, 2)))
    field = ControlPoints(Gaussian(0.8), points, momenta)
    truth = kernel_sum(Gaussian(0.8), x.reshape(-1, 2), points, momenta).reshape(3, 4, 2)
    assert largest(field(ZERO, x) - truth) < 1e-15
    assert largest(field(ZERO + 1, x) - truth) < 1e-15
    assert field.jumps is None


def test_stationary():
    assert Stationary(jnp.ones(2))(ZERO, None).tolist() == [1.0, 1.0]
    assert Stationary(jnp.sin)(ZERO, jnp.ones(2)).tolist() == pytest.approx([np.sin(1.0)] * 2)


class TestPiecewiseConstant:
    field = PiecewiseConstant(jnp.array([1.0, 2.0, 3.0]), [0.0, 0.5, 0.75, 2.0])

    @pytest.mark.parametrize(
        ("t", "value"),
        [(-1, 1), (0, 1), (0.49, 1), (0.5, 2), (0.7, 2), (0.75, 3), (2.0, 3), (9.0, 3)],
    )
    def test_values(self, t, value):
        assert float(self.field(jnp.asarray(float(t)), None)) == value

    def test_jumps(self):
        assert self.field.jumps.tolist() == [0.5, 0.75]
        assert largest(PiecewiseConstant(jnp.ones(4)).jumps - jnp.array([0.25, 0.5, 0.75])) == 0
        assert SumOf([self.field, PiecewiseConstant(jnp.ones(4))]).jumps.tolist() == [
            0.25,
            0.5,
            0.5,
            0.75,
            0.75,
        ]
        assert SumOf([Stationary(jnp.sin)]).jumps is None

    def test_a_stacked_module_is_called(self):
        layers = jax.vmap(lambda s: Scaled(s))(jnp.array([1.0, 5.0]))
        field = PiecewiseConstant(layers)
        assert field(jnp.array(0.2), jnp.ones(2)).tolist() == [1.0, 1.0]
        assert field(jnp.array(0.7), jnp.ones(2)).tolist() == [5.0, 5.0]

    @pytest.mark.parametrize(
        ("edges", "message"),
        [
            ([0.0, 1.0], r"must hold 4 times for 3 pieces, but has shape \[2\]"),
            ([0.0, 0.5, 0.5, 1.0], "must increase"),
            ([0.0, 0.6, 0.5, 1.0], "must increase"),
            ([0.0, 0.5, np.nan, 1.0], r"entry \[2\] is nan"),
        ],
    )
    def test_bad_edges(self, edges, message):
        with pytest.raises(InputError, match=message):
            PiecewiseConstant(jnp.ones(3), edges)


class Scaled(eqx.Module):
    factor: jax.Array

    def __call__(self, x):
        return self.factor * x


class TestSumOf:
    def test_values(self):
        field = SumOf([lambda t, x: x, lambda t, x: t * jnp.ones_like(x)], [2.0, -1.0])
        assert field(jnp.array(3.0), jnp.ones(2)).tolist() == [-1.0, -1.0]
        # Hamiltonians are summed too, with real weights
        pulses = SumOf([Stationary(jnp.eye(2, dtype=complex))] * 2, [0.5, 1.0])
        assert largest(np.asarray(pulses(ZERO, None)) - 1.5 * np.eye(2)) == 0

    def test_bad_input(self):
        with pytest.raises(InputError, match="at least one field"):
            SumOf([])
        with pytest.raises(InputError, match=r"each of the 1 fields, but has shape \[2\]"):
            SumOf([jnp.sin], [1.0, 2.0])


@pytest.mark.lenient
class TestNeural:
    class Linear(nnx.Module):
        def __init__(self, rngs):
            self.layer = nnx.Linear(2, 2, rngs=rngs)

        def __call__(self, t, x):
            return t * self.layer(x)

    def test_is_a_tree_and_merges_back(self):
        field = Neural(self.Linear(nnx.Rngs(0)))
        x = jnp.ones((3, 2), jnp.float32)
        value = field(jnp.float32(2.0), x)
        assert largest(value - field.module(jnp.float32(2.0), x)) == 0
        assert field.num_parameters() == 6
        doubled = jax.tree.map(lambda leaf: 2 * leaf, field)
        assert largest(doubled(jnp.float32(2.0), x) - 2 * value) == 0
        gradient = eqx.filter_grad(lambda f: jnp.sum(f(jnp.float32(2.0), x)))(field)
        assert jax.tree.structure(gradient) == jax.tree.structure(field)

    def test_statistics_are_no_parameters(self):
        class Normed(nnx.Module):
            def __init__(self, rngs):
                self.layer = nnx.Linear(2, 3, rngs=rngs)
                self.norm = nnx.BatchNorm(3, use_running_average=True, rngs=rngs)

            def __call__(self, t, x):
                return self.norm(self.layer(x))

        field = Neural(Normed(nnx.Rngs(0)))
        assert len(jax.tree.leaves(field)) == 6
        # weights, biases, and the scale and shift of the norm, but not its mean and variance
        assert field.num_parameters() == (2 * 3 + 3) + (3 + 3)

    def test_refuses_what_is_no_module(self):
        with pytest.raises(InputError, match="must be a flax nnx module, but is a function"):
            Neural(lambda t, x: x)
