"""One step of training: the gradient of its loss, and plain training to the last bit."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from geojax.training import (
    KineticEnergy,
    RunningCost,
    TrainConfig,
    create_model,
    step as steps,
)

pytestmark = pytest.mark.lenient  # optax promotes inside


@pytest.fixture
def model(config, data, key):
    return create_model(config, 3, 3, key=key, dtype=data.inputs.dtype)


def method_of(config, **changes) -> steps.Method:
    options = {"batch_size": config.batch_size, "num_steps": config.num_steps, **changes}
    return steps.Method(**options)


def run_epochs(model, data, config, method, count=3):
    hyper = steps.Hyperparameters.of(config, len(data) // config.batch_size, data.inputs.dtype)
    state = steps.init(model, jax.random.key(5), optimiser=method.optimiser)
    inputs, labels = jnp.asarray(data.inputs), jnp.asarray(data.labels)
    for _ in range(count):
        state, info = steps.epoch(state, inputs, labels, hyper, method)
    return state, info


def assert_same_bits(first, second):
    jax.tree.map(np.testing.assert_array_equal, first, second)


class TestGradient:
    """Backpropagation through the steps against central differences, in float64."""

    STEP = 1e-6

    @pytest.fixture
    def along(self, model, data, config):
        """Loss along a line through the parameters, for a regulariser and a weight."""
        graph, variables = nnx.split(model)
        draws = np.random.default_rng(0)
        direction = jax.tree.map(lambda leaf: jnp.asarray(draws.normal(size=leaf.shape)), variables)
        inputs, labels = jnp.asarray(data.inputs[:16]), jnp.asarray(data.labels[:16])

        def prepared(regulariser, weight):
            method = method_of(config, regulariser=regulariser)

            @jax.jit
            def value(s):
                moved = jax.tree.map(lambda leaf, d: leaf + s * d, variables, direction)
                return steps.loss(moved, graph, inputs, labels, jnp.asarray(weight), method)[0]

            @jax.jit
            def slope():
                gradient = jax.grad(
                    lambda v: steps.loss(v, graph, inputs, labels, jnp.asarray(weight), method)[0]
                )(variables)
                return optax.tree.vdot(gradient, direction)

            return value, slope

        return prepared

    def central(self, value):
        return float(value(self.STEP) - value(-self.STEP)) / (2 * self.STEP)

    @pytest.mark.parametrize(
        ("regulariser", "weight"),
        [
            (None, 0.0),
            (KineticEnergy(), 0.3),
            (RunningCost(lambda t, x, v: jnp.sum(v**4, axis=-1) * (1 + t)), 0.3),
        ],
    )
    def test_with_its_sign(self, along, regulariser, weight):
        value, slope = along(regulariser, weight)
        np.testing.assert_allclose(float(slope()), self.central(value), rtol=1e-7)

    def test_of_another_weight_differs(self, along):
        """Negative control: the price is really in the gradient."""
        value, _ = along(KineticEnergy(), 0.3)
        _, slope = along(KineticEnergy(), 0.31)
        assert abs(float(slope()) / self.central(value) - 1) > 1e-4


@pytest.mark.parametrize(
    "regulariser", [KineticEnergy(), RunningCost(lambda t, x, v: 0.5 * jnp.sum(v**2, axis=-1))]
)
def test_energy_in_the_loss_is_that_of_the_path(model, data, config, regulariser):
    graph, variables = nnx.split(model)
    inputs, labels = jnp.asarray(data.inputs), jnp.asarray(data.labels)
    method = method_of(config, regulariser=regulariser)
    priced, parts = jax.jit(
        lambda v: steps.loss(v, graph, inputs, labels, jnp.asarray(0.7), method)
    )(variables)
    path = model.path(inputs, num_steps=config.num_steps, solver=diffrax.Heun())
    np.testing.assert_allclose(parts["energy"], jnp.mean(path.energy), rtol=1e-13)
    np.testing.assert_allclose(priced - parts["cross_entropy"], 0.7 * parts["energy"], rtol=1e-12)
    entropy = optax.softmax_cross_entropy_with_integer_labels(model.read(path.end), labels)
    np.testing.assert_allclose(parts["cross_entropy"], jnp.mean(entropy), rtol=1e-13)


class TestPlain:
    """Without regulariser a training is that of the cross-entropy and of nothing else."""

    def test_the_weight_is_not_even_read(self, model, data, config):
        plain = method_of(config)
        first, _ = run_epochs(model, data, config, plain)
        for weight in (0.0, 1e6):
            again, _ = run_epochs(model, data, config.replace(energy_weight=weight), plain)
            assert_same_bits(first.variables, again.variables)

    def test_is_gradient_descent_on_the_cross_entropy(self, model, data, config):
        """An independent program that never computes an energy takes the same steps."""
        method = method_of(config, optimiser=optax.sgd(0.1), batch_size=len(data))
        config = config.replace(input_noise=0.0, batch_size=len(data))
        state, _ = run_epochs(model, data, config, method)

        def cross_entropy(model):
            end = model.path(jnp.asarray(data.inputs), num_steps=4, solver=diffrax.Heun()).end
            labels = jnp.asarray(data.labels)
            return jnp.mean(
                optax.softmax_cross_entropy_with_integer_labels(model.head(end), labels)
            )

        @jax.jit
        def descend(model):
            return jax.tree.map(lambda p, g: p - 0.1 * g, model, jax.grad(cross_entropy)(model))

        for _ in range(3):
            model = descend(model)
        ours, theirs = (jax.tree.leaves(nnx.state(m)) for m in (state.model, model))
        for mine, other in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(mine, other, rtol=1e-11, atol=1e-13)

    def test_a_price_changes_the_steps(self, model, data, config):
        """Negative control of both."""
        plain, _ = run_epochs(model, data, config, method_of(config))
        priced, _ = run_epochs(model, data, config, method_of(config, regulariser=KineticEnergy()))
        kernels = [s.model.velocity.layers[0].kernel[...] for s in (plain, priced)]
        assert not np.array_equal(*kernels)


def test_schedule_warms_up_and_cools_down():
    config = TrainConfig(epochs=10, warmup_epochs=2, learning_rate=0.5)
    hyper = steps.Hyperparameters.of(config, 5, np.float64)
    rates = np.array([hyper.learning_rate_at(jnp.array(k)) for k in range(51)])
    np.testing.assert_allclose(rates[:10], 0.05 * np.arange(1, 11), rtol=1e-12)
    assert np.argmax(rates) in (9, 10)
    assert np.all(np.diff(rates[10:]) < 0)
    np.testing.assert_allclose(rates[50], 0.005, rtol=1e-12)


def test_the_price_warms_up():
    config = TrainConfig(epochs=10, energy_warmup_epochs=2, energy_weight=0.5)
    for warm, expected in ((2, 0.05 * np.arange(1, 11)), (0, np.full(10, 0.5))):
        hyper = steps.Hyperparameters.of(config.replace(energy_warmup_epochs=warm), 5, np.float64)
        weights = np.array([hyper.energy_weight_at(jnp.array(k)) for k in range(51)])
        np.testing.assert_allclose(weights[:10], expected, rtol=1e-12)
        assert np.all(weights[10:] == 0.5)


def test_no_sample_is_seen_twice_in_an_epoch(model, config, data):
    """The order is a permutation, drawn anew each epoch."""
    orders = []

    class Spy(nnx.Module):
        def __init__(self, model):
            self.model = model

        def path(self, inputs, **options):
            jax.debug.callback(lambda x: orders.append(np.asarray(x)), inputs)
            return self.model.path(inputs, **options)

        def read(self, states):
            return self.model.read(states)

    config = config.replace(input_noise=0.0)
    run_epochs(Spy(model), data, config, method_of(config), count=2)
    jax.effects_barrier()
    seen = np.concatenate(orders)
    half = len(data)
    assert len(seen) == 2 * half
    for part in (seen[:half], seen[half:]):
        np.testing.assert_array_equal(np.unique(part, axis=0), np.unique(data.inputs, axis=0))
    assert not np.array_equal(seen[:half], seen[half:])
