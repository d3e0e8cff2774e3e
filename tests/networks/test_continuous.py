"""The classifier of continuous depth: that it is a path, and the path is the right one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from geojax._core.errors import InputError
from geojax.fields import Neural
from geojax.flows import Path
from geojax.networks import ACTIVATIONS, ContinuousClassifier, VelocityNetwork


@pytest.fixture
def model() -> ContinuousClassifier:
    return ContinuousClassifier(3, 4, widths=(8, 5), dtype=jnp.float64, rngs=nnx.Rngs(1))


def constant(model: ContinuousClassifier, velocity) -> ContinuousClassifier:
    """The model with the same velocity at all times and places."""
    last = model.velocity.layers[-1]
    last.kernel[...] = jnp.zeros_like(last.kernel[...])
    last.bias[...] = jnp.asarray(velocity)
    return model


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
@pytest.mark.parametrize("batch", [(), (2,), (2, 3)])
def test_velocity_has_the_shape_of_the_place(activation, batch, key):
    network = VelocityNetwork(3, (8,), activation=activation, dtype=jnp.float64, rngs=nnx.Rngs(0))
    x = jax.random.normal(key, (*batch, 3))
    velocity = network(jnp.array(0.3), x)
    assert velocity.shape == x.shape
    assert velocity.dtype == x.dtype


def test_velocity_depends_on_time_and_place(model, key):
    x = jax.random.normal(key, (5, 3))
    early, late = model.velocity(jnp.array(0.0), x), model.velocity(jnp.array(1.0), x)
    assert float(jnp.min(jnp.abs(early - late))) > 1e-6
    assert float(jnp.max(jnp.abs(early[0] - early[1]))) > 1e-3


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_dtype_of_the_input_is_kept(dtype, key):
    model = ContinuousClassifier(3, 2, widths=(4,), dtype=dtype, rngs=nnx.Rngs(0))
    x = jax.random.normal(key, (5, 3), dtype)
    path = model.path(x, num_steps=3)
    leaves = (path.end, path.energy, path.length, model.read(path.end))
    assert {leaf.dtype for leaf in leaves} == {jnp.dtype(dtype)}


def test_path_starts_at_the_input_and_is_read_at_its_end(model, key):
    x = jax.random.normal(key, (5, 3))
    path = model.path(x)
    assert isinstance(path, Path)
    np.testing.assert_array_equal(path.start, x)
    np.testing.assert_allclose(model(x), model.head(path.end), rtol=1e-14)


def test_constant_velocity_moves_straight(model, key):
    x, velocity = jax.random.normal(key, (5, 3)), np.array([3.0, 0.0, -4.0])
    path = constant(model, velocity).path(x)
    np.testing.assert_allclose(path.end, x + velocity[None], rtol=1e-13)
    np.testing.assert_allclose(path.energy, 12.5, rtol=1e-13)
    np.testing.assert_allclose(path.length, 5.0, rtol=1e-13)
    np.testing.assert_allclose(path.length_over_chord, 1.0, rtol=1e-13)


def test_a_trained_velocity_is_not_straight(model, key):
    """Negative control of the one above."""
    path = model.path(jax.random.normal(key, (5, 3)))
    assert float(jnp.max(path.length_over_chord)) > 1 + 1e-4


def test_samples_do_not_see_each_other(model, key):
    x = jax.random.normal(key, (5, 3))
    np.testing.assert_allclose(model(x)[2:3], model(x[2:3]), rtol=1e-13)


def test_vmap_is_the_batch(model, key):
    x = jax.random.normal(key, (5, 3))
    np.testing.assert_allclose(jax.vmap(model)(x), model(x), rtol=1e-13)


def test_the_way_back_leads_to_the_input(model, key):
    x = jax.random.normal(key, (5, 3))
    there = model.path(x, num_steps=40).end
    np.testing.assert_allclose(model.path(there, num_steps=40, reverse=True).end, x, atol=1e-9)


def test_gradient_of_the_logits_with_its_sign(model, key):
    x = jax.random.normal(key, (2, 3))
    direction = jax.random.normal(jax.random.fold_in(key, 1), x.shape)
    step = 1e-6

    def total(x):
        return jnp.sum(jnp.sin(model(x)))

    slope = jnp.sum(jax.grad(total)(x) * direction)
    central = (total(x + step * direction) - total(x - step * direction)) / (2 * step)
    np.testing.assert_allclose(slope, central, rtol=1e-7)


def test_field_is_a_field(model, key):
    field, x = model.field, jax.random.normal(key, (5, 3))
    assert isinstance(field, Neural)
    assert field.num_parameters() == (4 * 8 + 8) + (8 * 5 + 5) + (5 * 3 + 3)
    np.testing.assert_array_equal(field(jnp.array(0.2), x), model.velocity(jnp.array(0.2), x))


def test_the_same_seed_draws_the_same_network():
    first, again, other = (
        nnx.state(ContinuousClassifier(3, 2, widths=(4,), rngs=nnx.Rngs(seed)))
        for seed in (0, 0, 1)
    )
    jax.tree.map(np.testing.assert_array_equal, first, again)
    kernels = [state["velocity"]["layers"][0]["kernel"][...] for state in (first, other)]
    assert not np.array_equal(*kernels)


@pytest.mark.parametrize(
    ("sizes", "options", "message"),
    [
        ((3, 2), {"activation": "tanhh"}, "did you mean 'tanh'"),
        ((3, 2), {"widths": (8, 0)}, "widths must be an integer of at least 1, but is 0"),
        ((3, 1), {}, "num_classes must be an integer of at least 2, but is 1"),
        ((0, 2), {}, "num_features must be an integer of at least 1, but is 0"),
    ],
)
def test_impossible_networks_are_refused(sizes, options, message):
    with pytest.raises(InputError, match=message):
        ContinuousClassifier(*sizes, **options, rngs=nnx.Rngs(0))


@pytest.mark.parametrize(
    ("velocity", "message"),
    [
        (lambda x: x[:, :2], r"must give \[1, 5\] at states \[1, 5\].* gives \[1, 2\]"),
        (lambda x: x @ jnp.ones((3, 5)), r"velocity must take .* \[1, 5\], but fails .*Type"),
        (lambda x: (x, x), "must give an array .* gives a tuple"),
        (lambda x: x.no_such, "AttributeError.*no_such"),
    ],
)
def test_a_velocity_of_another_dimension_is_refused(velocity, message):
    class Given(nnx.Module):
        def __call__(self, t, x):
            return velocity(x)

    with pytest.raises(InputError, match=message):
        ContinuousClassifier(5, 3, velocity=Given(), rngs=nnx.Rngs(0))


def test_a_head_of_other_classes_is_refused():
    head = nnx.Linear(5, 4, rngs=nnx.Rngs(0))
    with pytest.raises(InputError, match=r"head must give \[1, 3\].* gives \[1, 4\]"):
        ContinuousClassifier(5, 3, head=head, rngs=nnx.Rngs(0))


class Counting(nnx.Module):
    """Changes a variable of its own, which a path may not do."""

    def __init__(self):
        self.calls = nnx.Variable(jnp.zeros(()))

    def __call__(self, *arguments):
        self.calls[...] += 1.0
        return arguments[-1]


@pytest.mark.parametrize("part", ["lift", "velocity", "head"])
def test_a_part_that_changes_itself_is_refused(part):
    with pytest.raises(InputError, match=rf"Argument {part} must take .*TraceContextError"):
        ContinuousClassifier(3, 3, widths=(4,), rngs=nnx.Rngs(0), **{part: Counting()})
