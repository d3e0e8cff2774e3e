"""Measurements of a trained network: counted by hand, and held to what is known."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from geojax._core.errors import InputError, NumericalError
from geojax._core.results import RESULTS
from geojax.flows import integrate
from geojax.networks import ContinuousClassifier
from geojax.training import Samples, evaluate, predict, trajectories


def network(seed):
    return ContinuousClassifier(
        3, 3, widths=(16,), activation="tanh", dtype=jnp.float64, rngs=nnx.Rngs(seed)
    )


@pytest.fixture(scope="module")
def model():
    return network(2)


@pytest.fixture(scope="module")
def measured(model, held_out):
    return evaluate(model, held_out)


def controller(tolerance=1e-5):
    return diffrax.PIDController(rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("row", [0, 7])
def test_evaluations_are_the_calls_counted_by_hand(model, held_out, measured, row):
    calls = []

    def counted(t, x):
        jax.debug.callback(lambda t: calls.append(float(t)), t)
        return model.velocity(t, x)

    x = jnp.asarray(held_out.inputs[row])
    path = integrate(counted, x, stepsize_controller=controller(), save="end")
    jax.effects_barrier()
    assert len(calls) == int(path.num_evaluations) == int(measured.num_evaluations[row])
    assert len(set(calls)) > 6


def test_evaluations_depend_on_the_sample_alone(model, held_out):
    """A lane is not charged for what its neighbours need."""
    options = {"stepsize_controller": controller(1e-8)}
    together = evaluate(model, held_out, **options).num_evaluations
    for row in (3, 11):
        alone = evaluate(model, held_out.take([row] * 60), **options)
        assert set(alone.num_evaluations.tolist()) == {together[row]}
    assert len(set(together.tolist())) > 1


@pytest.mark.slow
def test_a_tighter_tolerance_costs_more(model, held_out, measured):
    tight = evaluate(model, held_out, stepsize_controller=controller(1e-9))
    assert np.all(tight.num_evaluations >= measured.num_evaluations)
    assert tight.num_evaluations.mean() > 1.5 * measured.num_evaluations.mean()
    np.testing.assert_allclose(tight.energy, measured.energy, rtol=1e-3)


def test_geometry_is_that_of_a_fine_path(model, held_out, measured):
    fine = model.path(jnp.asarray(held_out.inputs), num_steps=200)
    np.testing.assert_allclose(measured.energy, fine.energy, rtol=1e-3)
    np.testing.assert_allclose(measured.chord, fine.chord, rtol=1e-3)
    # where a path all but stops its speed has a kink, which no quadrature likes
    np.testing.assert_allclose(measured.length, fine.length, rtol=0.05)
    np.testing.assert_allclose(np.median(measured.length / fine.length), 1.0, rtol=1e-4)
    assert np.all(measured.length_over_chord >= 1 - 1e-3)


def test_constant_velocity_has_known_figures(held_out):
    model = network(0)
    last = model.velocity.layers[-1]
    last.kernel[...] = jnp.zeros_like(last.kernel[...])
    last.bias[...] = jnp.array([0.0, 0.6, 0.8])
    figures = evaluate(model, held_out).figures()
    np.testing.assert_allclose(figures["energy"], 0.5, rtol=1e-12)
    np.testing.assert_allclose(figures["length"], 1.0, rtol=1e-12)
    np.testing.assert_allclose(figures["length_over_chord"], 1.0, rtol=1e-12)
    np.testing.assert_allclose(figures["energy_stderr"], 0.0, atol=1e-12)


def test_a_path_that_rests_is_straight(held_out):
    model = network(0)
    last = model.velocity.layers[-1]
    last.kernel[...] = jnp.zeros_like(last.kernel[...])
    measured = evaluate(model, held_out)
    np.testing.assert_array_equal(measured.length_over_chord, 1.0)


def test_figures_are_means_with_their_standard_errors(measured):
    figures = measured.figures()
    counts = measured.num_evaluations
    assert figures["num_evaluations"] == pytest.approx(counts.mean())
    assert figures["num_evaluations_stderr"] == pytest.approx(counts.std(ddof=1) / 60**0.5)
    assert figures["accuracy"] == measured.accuracy == np.mean(measured.correct)
    assert all(type(value) is float for value in figures.values())


@pytest.mark.parametrize("chunk_size", [7, 1000])
def test_chunks_change_nothing(model, held_out, measured, chunk_size):
    other = evaluate(model, held_out, chunk_size=chunk_size)
    np.testing.assert_array_equal(other.num_evaluations, measured.num_evaluations)
    np.testing.assert_allclose(other.energy, measured.energy, rtol=1e-12)
    np.testing.assert_allclose(other.probabilities, measured.probabilities, rtol=1e-11)
    assert other.result._value.shape == (60,)


def test_prediction_is_the_softmax_of_the_model(model, held_out, measured):
    probabilities = predict(model, held_out.inputs)
    np.testing.assert_array_equal(probabilities, measured.probabilities)
    logits = model(jnp.asarray(held_out.inputs), num_steps=100)
    np.testing.assert_allclose(probabilities, jax.nn.softmax(logits), rtol=1e-3)
    np.testing.assert_allclose(probabilities.sum(axis=-1), 1.0, rtol=1e-12)


@pytest.mark.slow
def test_trajectories_lead_from_the_input_to_the_end(model, held_out):
    path = trajectories(model, held_out.inputs[:5], num_steps=8)
    assert path.states.shape == (9, 5, 3)
    np.testing.assert_allclose(path.times, np.linspace(0, 1, 9), atol=1e-15)
    np.testing.assert_array_equal(path.states[0], held_out.inputs[:5])
    logits = model.read(path.states[-1])
    np.testing.assert_allclose(
        jax.nn.softmax(logits), predict(model, held_out.inputs[:5]), rtol=1e-3
    )


class TestFailures:
    # enough for some of the samples
    options = {"max_steps": 6, "stepsize_controller": controller(1e-8)}  # noqa: RUF012

    def test_a_path_without_enough_steps_is_told(self, model, held_out):
        with pytest.raises(NumericalError, match="lanes failed, the first is lane"):
            evaluate(model, held_out, **self.options)

    def test_or_withheld_by_lane(self, model, held_out):
        measured = evaluate(model, held_out, **self.options, throw=False)
        failed = np.asarray(measured.result != RESULTS.successful)
        assert failed.any()
        assert not failed.all()
        np.testing.assert_array_equal(np.isnan(measured.chord), failed)

    def test_prediction_raises(self, model, held_out):
        with pytest.raises(NumericalError, match="predict failed"):
            predict(model, held_out.inputs, **self.options)

    @pytest.mark.parametrize(
        ("inputs", "message"),
        [
            (
                np.ones((2, 4)),
                r"must have 3 features, as the model was made for, but has shape \[2, 4\]",
            ),
            (np.ones(3), r"shape \[n, d\]"),
            (np.array([[0.0, np.nan, 0.0]]), r"entry \[0, 1\] is nan"),
        ],
    )
    def test_inputs_that_do_not_fit(self, model, inputs, message):
        for function in (predict, trajectories):
            with pytest.raises(InputError, match=message):
                function(model, inputs)

    def test_more_classes_than_the_model_has(self, model):
        with pytest.raises(InputError, match="has 4 classes, but the model tells 3 apart"):
            evaluate(model, Samples(np.eye(4, 3), [0, 1, 2, 3]))

    def test_impossible_chunks(self, model, held_out):
        with pytest.raises(InputError, match="chunk_size must be an integer of at least 1"):
            evaluate(model, held_out, chunk_size=0)
