"""The verb `fit`: what it learns, what repeats, what compiles, and how it breaks off."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from geojax._core.errors import InputError, NumericalError
from geojax._core.results import RESULTS
from geojax.networks import ContinuousClassifier
from geojax.training import (
    RunningCost,
    create_model,
    evaluate,
    fit,
    step as steps,
)

pytestmark = pytest.mark.lenient  # optax promotes inside


def parameters(trained):
    return jax.tree.leaves(trained.state.variables)


@pytest.fixture(scope="module")
def trained(data, config):
    with jax.numpy_dtype_promotion("standard"):
        return fit(data, config)


def test_it_learns(trained, data, held_out):
    assert trained.result == RESULTS.successful
    assert trained.history["loss"][-1] < 0.5 * trained.history["loss"][0]
    assert trained.seconds > 0
    assert np.isnan([trained.accuracy_in_steps, trained.accuracy_of_flow]).all()
    assert evaluate(trained.model, data, chunk_size=60).accuracy > 0.9
    assert evaluate(trained.model, held_out).accuracy > 0.8


def test_history_is_the_loss_in_its_parts(trained, config):
    history = trained.history
    assert {len(series) for series in history.values()} == {config.epochs}
    np.testing.assert_allclose(
        history["loss"], history["cross_entropy"] + config.energy_weight * history["energy"]
    )


def test_the_same_seed_gives_the_same_bits(data, config):
    config = config.replace(epochs=4)
    first, again = fit(data, config), fit(data, config)
    for one, other in zip(parameters(first), parameters(again), strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(first.history["loss"], again.history["loss"])


def test_another_seed_differs(data, config):
    first, other = (fit(data, config.replace(epochs=2, seed=seed)) for seed in (0, 1))
    assert first.history["loss"][0] != other.history["loss"][0]


def test_a_twin_starts_from_the_same_network_on_the_same_batches(data, config):
    """Vanishing steps keep both where they start: all that they see must then be equal."""
    still = config.replace(epochs=2, learning_rate=1e-30)
    first, twin = fit(data, still), fit(data, still.replace(energy_weight=0.0))
    for one, other in zip(parameters(first), parameters(twin), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-28)
    for name in ("cross_entropy", "energy", "accuracy"):
        np.testing.assert_allclose(first.history[name], twin.history[name], rtol=1e-13)


def test_weight_zero_is_plain_training_to_the_last_bit(data, config):
    """A price that is NaN would poison all that it touches, were it in the program."""
    plain = config.replace(energy_weight=0.0, epochs=4)
    poison = RunningCost(lambda t, x, v: jnp.nan * jnp.sum(v, axis=-1))
    first, other = fit(data, plain), fit(data, plain, regulariser=poison)
    for one, two in zip(parameters(first), parameters(other), strict=True):
        np.testing.assert_array_equal(one, two)
    with pytest.raises(NumericalError):
        fit(data, plain.replace(energy_weight=1e-30), regulariser=poison)


def test_energy_falls_as_its_weight_grows(data, config):
    """Down to the minimum, which is zero: what costs infinitely much does not move."""
    energies, accuracies = [], []
    for weight in (0.0, 0.02, 0.2, 2.0, 2e3):
        trained = fit(data, config.replace(energy_weight=weight))
        measured = evaluate(trained.model, data, chunk_size=60)
        energies.append(float(np.mean(measured.energy)))
        accuracies.append(measured.accuracy)
    assert np.all(np.diff(energies) < 0)
    assert energies[-1] < 1e-3 * energies[0]
    # a linear read-out alone cannot tell a ball from the shells around it
    assert accuracies[-1] < accuracies[0] - 0.1


class TestTraces:
    """How often a velocity is traced: a compile costs seconds, an epoch milliseconds."""

    @pytest.fixture
    def traced(self, monkeypatch):
        calls = []
        inner = steps.loss

        def counted(*arguments):
            calls.append(1)
            return inner(*arguments)

        monkeypatch.setattr(steps, "loss", counted)
        return calls

    def test_one_program_for_all_epochs_and_numbers_and_one_for_plain(self, traced, data, config):
        small = config.replace(widths=(5,), epochs=3)
        fit(data, small)
        assert len(traced) == 1
        for change in (
            {"epochs": 5},
            {"energy_weight": 0.3, "energy_warmup_epochs": 2},
            {"learning_rate": 1e-3, "warmup_epochs": 1},
            {"weight_decay": 0.1, "clip_norm": 3.0, "input_noise": 0.0},
            {"seed": 8},
        ):
            fit(data, small.replace(**change))
        assert len(traced) == 1
        for seed in (0, 1):
            fit(data, small.replace(energy_weight=0.0, seed=seed))
        assert len(traced) == 2


class TestBreakingOff:
    def test_epoch_and_step_are_named(self, data, config):
        wild = config.replace(learning_rate=1e300, warmup_epochs=0)
        with pytest.raises(
            NumericalError, match=r"fit: .* at epoch 1, step 2 of 2; lower"
        ) as caught:
            fit(data, wild)
        assert caught.value.result == RESULTS.diverged
        assert caught.value.exit_code == 3

    def test_without_throwing_the_last_good_state_comes_back(self, data, config, monkeypatch):
        good = []

        def third_breaks(state, *arguments, epoch=steps.epoch):
            after, info = epoch(state, *arguments)
            if len(good) == 2:
                info = eqx.tree_at(lambda i: i.finite, info, jnp.array([True, False]))
            else:
                good.append(after)
            return after, info

        monkeypatch.setattr(steps, "epoch", third_breaks)
        broken = fit(data, config, throw=False)
        assert broken.result == RESULTS.diverged
        assert {len(series) for series in broken.history.values()} == {2}
        assert broken.state is good[-1]


def test_callback_sees_every_epoch(data, config):
    seen = {}
    trained = fit(data, config.replace(epochs=3), callback=seen.__setitem__)
    assert list(seen) == [1, 2, 3]
    for name, series in trained.history.items():
        np.testing.assert_array_equal([seen[k][name] for k in seen], series)


def test_more_than_the_samples_in_a_batch(data, config):
    with pytest.raises(
        InputError, match="batch_size must be at most the number of samples, but is 129"
    ):
        fit(data, config.replace(batch_size=129))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda: ContinuousClassifier(4, 3, widths=(4,), rngs=nnx.Rngs(0)), "num_features 4"),
        (lambda: ContinuousClassifier(3, 2, widths=(4,), rngs=nnx.Rngs(0)), "num_classes 2"),
        (lambda: nnx.Linear(3, 3, rngs=nnx.Rngs(0)), "a Linear has no path"),
    ],
)
def test_models_that_do_not_fit(data, config, model, message):
    with pytest.raises(InputError, match=message):
        fit(data, config, model=model())


def test_a_given_model_is_trained_and_left_as_it_was(data, config, key):
    model = create_model(config, 3, 3, key=key, dtype=np.float64)
    before = np.array(model.head.kernel[...])
    after = fit(data, config.replace(epochs=1), model=model).model
    np.testing.assert_array_equal(model.head.kernel[...], before)
    assert not np.array_equal(after.head.kernel[...], before)


def test_single_precision_stays_single(data, config, key):
    model = create_model(config, 3, 3, key=key, dtype=np.float32)
    state = steps.init(model, key)
    hyper = steps.Hyperparameters.of(config, 2, np.float32)
    inputs, labels = jnp.asarray(data.inputs, jnp.float32), jnp.asarray(data.labels)
    after, info = eqx.filter_eval_shape(
        steps.epoch, state, inputs, labels, hyper, steps.Method(64, 4)
    )
    single = {leaf.dtype for leaf in jax.tree.leaves(after.variables)} | {info.loss.dtype}
    assert single == {jnp.dtype(jnp.float32)}


def test_prices_of_the_field_are_stochastic_in_training(data, config):
    """One probe for each path and step: cheaper than all derivatives, and another number."""
    from geojax.networks import PlainNetwork
    from geojax.training import JacobianNorm, KineticEnergy, Mixture

    config = config.replace(epochs=2, energy_weight=0.2)
    seen = []

    class Seen(JacobianNorm):
        def price(self, field, t, x, velocity, probe):
            seen.append(probe is not None)
            return super().price(field, t, x, velocity, probe)

    found = fit(data, config, regulariser=Mixture([KineticEnergy(), Seen()], [1.0, 0.1]))
    assert seen
    assert all(seen)
    energy = fit(data, config).history
    assert found.history["loss"][0] > energy["loss"][0] + 1e-3
    free = fit(data, config, regulariser=Mixture([KineticEnergy()], [0.0]))
    plain = fit(data, config.replace(energy_weight=0.0))
    for one, other in zip(parameters(free), parameters(plain), strict=True):
        np.testing.assert_array_equal(one, other)
    layered = PlainNetwork(3, 3, depth=2, width=4, rngs=nnx.Rngs(0))
    with pytest.raises(InputError, match="PlainNetwork has layers and no field"):
        fit(data, config, model=layered, regulariser=JacobianNorm())
