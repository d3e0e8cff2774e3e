"""Equilibrium propagation: its gradient is the gradient, to the order in beta that it promises."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from geojax._core.errors import InputError, NumericalError
from geojax._core.results import RESULTS
from geojax.networks import Convolution, EquilibriumNetwork
from geojax.training import (
    BackPropagation,
    EquilibriumMethod,
    Holomorphic,
    Implicit,
    OneSided,
    Samples,
    Symmetric,
    cosine,
    equilibrium_accuracy,
    equilibrium_epoch,
    equilibrium_init,
    equilibrium_step,
    fit_equilibrium,
)

pytestmark = pytest.mark.lenient  # optax promotes inside

TIGHT = dict(tolerance=1e-14, max_sweeps=400)
TARGETS = jax.nn.one_hot(jnp.array([0, 1, 2, 0]), 3, dtype=jnp.float64)


def network(response="logistic", layers=(7, 6), num_features=5, feedback=0.1):
    return EquilibriumNetwork(
        num_features, layers, 3, response=response, feedback=feedback, dtype=jnp.float64,
        rngs=nnx.Rngs(3),
    )  # fmt: skip


def convolutional(response="logistic"):
    return network(response, (Convolution(3, 3, 2), 6), (6, 6, 1))


def drawn(model, key):
    return jax.random.uniform(key, (4, model.num_features), jnp.float64)


def relative(gradient, truth):
    return float(optax.tree.norm(optax.tree.sub(gradient, truth)) / optax.tree.norm(truth))


@pytest.mark.parametrize("make", [network, pytest.param(convolutional, marks=pytest.mark.slow)])
def test_implicit_gradient_against_differences(make, key):
    model = make()
    inputs = drawn(model, key)
    graph, variables = nnx.split(model)
    gradient, phases = Implicit(**TIGHT)(model, inputs, TARGETS)
    draws = np.random.default_rng(0)
    direction = jax.tree.map(lambda leaf: jnp.asarray(draws.normal(size=leaf.shape)), variables)

    @jax.jit
    def loss(s):
        moved = jax.tree.map(lambda leaf, d: leaf + s * d, variables, direction)
        outputs = nnx.merge(graph, moved).settle(inputs, throw=False, **TIGHT).outputs
        return 0.5 * jnp.mean(jnp.sum((outputs - TARGETS) ** 2, axis=-1))

    np.testing.assert_allclose(phases.loss, loss(0.0), rtol=1e-13)
    central = (loss(1e-5) - loss(-1e-5)) / 2e-5
    np.testing.assert_allclose(optax.tree.vdot(gradient, direction), central, rtol=1e-7)


def errors(estimators, model, inputs):
    """Relative errors of some estimates, in one compiled program."""
    graph, variables = nnx.split(model)

    @jax.jit
    def gradients(variables):
        model = nnx.merge(graph, variables)
        return [e(model, inputs, TARGETS)[0] for e in (Implicit(**TIGHT), *estimators)]

    truth, *found = gradients(variables)
    return [relative(gradient, truth) for gradient in found]


@pytest.mark.parametrize(
    ("make", "kind", "options", "betas", "order"),
    [
        (network, OneSided, {}, (1e-3, 5e-4), 1),
        (network, Symmetric, {}, (1e-2, 5e-3), 2),
        (network, Holomorphic, {"num_points": 4}, (0.1, 0.05), 4),
        (network, Holomorphic, {"num_points": 6}, (0.2, 0.1), 6),
        pytest.param(convolutional, Symmetric, {}, (2e-3, 1e-3), 2, marks=pytest.mark.slow),
        pytest.param(
            convolutional, Holomorphic, {"num_points": 4}, (0.02, 0.01), 4, marks=pytest.mark.slow
        ),
        (lambda: network("clip"), OneSided, {}, (1e-3, 5e-4), 1),
        (lambda: network("clip"), Symmetric, {}, (1e-3, 5e-4), 2),
    ],
)
def test_order_of_the_error_in_beta(make, kind, options, betas, order, key):
    """The bounds of the clip are far enough from all units for these pulls."""
    model = make()
    inputs = drawn(model, key)
    large, small = errors([kind(beta, **options, **TIGHT) for beta in betas], model, inputs)
    assert abs(np.log2(large / small) - order) < 0.02 * order, (large, small)


@pytest.mark.slow
def test_two_points_of_the_circle_are_the_symmetric_estimate(key):
    model = network()
    inputs = drawn(model, key)
    both = (Symmetric(0.3, **TIGHT), Holomorphic(0.3, num_points=2, **TIGHT))
    first, second = (estimator(model, inputs, TARGETS)[0] for estimator in both)
    assert relative(first, second) < 1e-11


@pytest.mark.slow
def test_a_phase_that_is_not_at_rest_spoils_the_gradient(key):
    """Negative control: the free phase must be converged, and the residual says when it is not."""
    model = network(feedback=1.0)
    inputs = drawn(model, key)
    truth = Implicit(**TIGHT)(model, inputs, TARGETS)[0]
    good, settled = OneSided(1e-3, **TIGHT)(model, inputs, TARGETS)
    bad, loose = OneSided(1e-3, tolerance=1e-2)(model, inputs, TARGETS)
    assert float(settled.residual) <= 1e-14
    assert relative(good, truth) < 1e-2
    assert float(loose.residual) > 1e-6
    assert relative(bad, truth) > 0.1
    assert float(cosine(good, truth)) > 0.9999


def test_a_weak_way_back_gives_the_gradient_of_back_propagation(key):
    inputs = drawn(network(), key)
    models = [network(feedback=g) for g in (1e-4, 0.1)]
    apart = [
        relative(Implicit(**TIGHT)(m, inputs, TARGETS)[0],
                 BackPropagation()(m, inputs, TARGETS)[0])
        for m in models
    ]  # fmt: skip
    assert apart[0] < 1e-3
    assert apart[1] > 1e-2


def test_cosine():
    tree = {"a": jnp.array([3.0, 0.0]), "b": jnp.array([4.0])}
    assert float(cosine(tree, jax.tree.map(lambda x: 2 * x, tree))) == pytest.approx(1)
    assert float(cosine(tree, jax.tree.map(lambda x: -x, tree))) == pytest.approx(-1)
    other = {"a": jnp.array([0.0, 1.0]), "b": jnp.array([0.0])}
    assert float(cosine(tree, other)) == 0


class TestSteps:
    """Training: a step is a pure function, an epoch a scan of them."""

    def method(self, **changes):
        return EquilibriumMethod(Symmetric(0.1, 1e-8), optax.sgd(0.2), **changes)

    def batch(self, model, key):
        return drawn(model, key), jnp.array([0, 1, 2, 0])

    @pytest.mark.slow
    def test_a_step_descends_along_the_estimate(self, key):
        model = network()
        method = self.method(cosine_every=2)
        state = equilibrium_init(model, key, method)
        batch = self.batch(model, key)
        after, info = jax.jit(lambda s: equilibrium_step(s, batch, method))(state)
        gradient = method.estimator(model, batch[0], TARGETS)[0]
        expected = jax.tree.map(lambda p, g: p - 0.2 * g, state.variables, gradient)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), after.variables, expected
        )
        assert int(after.step) == 1
        assert float(info.cosine) > 0.9999
        assert float(info.residual) <= 1e-8
        assert float(info.pulled_residual) <= 1e-8
        _, info = equilibrium_step(after, batch, method)
        assert np.isnan(float(info.cosine))

    def test_an_epoch_lowers_the_loss_and_can_be_repeated(self, data, key):
        model = EquilibriumNetwork(
            data.num_features, (12,), data.num_classes, dtype=jnp.float64, rngs=nnx.Rngs(0)
        )
        method = self.method(cosine_every=0)
        start = equilibrium_init(model, key, method)
        inputs, labels = jnp.asarray(data.inputs), jnp.asarray(data.labels)
        state, info = equilibrium_epoch(start, inputs, labels, method, 32)
        again, _ = equilibrium_epoch(start, inputs, labels, method, 32)
        jax.tree.map(np.testing.assert_array_equal, state.variables, again.variables)
        assert info.loss.shape == (4,)
        assert bool(jnp.all(jnp.isnan(info.cosine)))
        _, later = equilibrium_epoch(state, inputs, labels, method, 32)
        assert float(jnp.mean(later.loss)) < float(jnp.mean(info.loss))


def test_it_learns_and_keeps_to_the_gradient(data, held_out):
    model = EquilibriumNetwork(3, (24, 24), 3, dtype=jnp.float64, rngs=nnx.Rngs(0))
    before = equilibrium_accuracy(model, held_out)
    done = fit_equilibrium(
        data, model, epochs=60, batch_size=32, learning_rate=1e-2, cosine_every=20
    )
    assert bool(done.result == RESULTS.successful)
    assert np.nanmin(done.history["cosine"]) > 0.99
    assert done.history["residual"].max() <= 1e-4
    assert equilibrium_accuracy(done.model, held_out, chunk_size=25) > max(0.85, before + 0.3)


def test_a_training_that_breaks_off_says_where(data):
    model = EquilibriumNetwork(3, (8,), 3, dtype=jnp.float64, rngs=nnx.Rngs(0))
    options = dict(epochs=3, batch_size=32, learning_rate=1e200, cosine_every=0)
    with pytest.raises(NumericalError, match="not finite at epoch 1; lower learning_rate"):
        fit_equilibrium(data, model, **options)
    done = fit_equilibrium(data, model, throw=False, **options)
    assert bool(done.result == RESULTS.diverged)
    assert done.history["loss"].shape == (0,)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Symmetric(1.0), "beta must be below 1"),
        (lambda: OneSided(-0.1), "beta must be positive"),
        (lambda: Symmetric(0.1, tolerance=0.0), "tolerance must be positive"),
        (lambda: Holomorphic(0.1, num_points=3), "must be even"),
        (
            lambda: fit_equilibrium(
                Samples(np.eye(5), [0, 1, 2, 0, 1]), network("clip"), estimator=Holomorphic(),
                batch_size=5,
            ),
            "make it with response='logistic'",
        ),
        (
            lambda: fit_equilibrium(Samples(np.eye(5), [0, 1, 2, 0, 1]), network()),
            "batch_size must be at most the number of samples",
        ),
        (
            lambda: fit_equilibrium(Samples(np.eye(4), [0, 1, 2, 0]), network(), batch_size=4),
            "has num_features 5, but samples has 4",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()
