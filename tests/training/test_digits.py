"""The figure of the digits: as accurate by a far cheaper path.

Two seeds, for time. The claim is made over five, with their spread:
`experiments/regularised_digits` measures and records it.
"""

import numpy as np
import pytest

from geojax.training import TrainConfig, evaluate, fit, load_digits_split

pytestmark = [pytest.mark.lenient, pytest.mark.slow]  # optax promotes inside


@pytest.fixture(scope="module")
def split():
    return load_digits_split()


@pytest.mark.parametrize("seed", [0, 1])
def test_a_price_on_the_path_keeps_the_accuracy(split, seed):
    config = TrainConfig(seed=seed)
    measured = {}
    for name, chosen in (("plain", config.replace(energy_weight=0.0)), ("regularised", config)):
        fitted = fit(split.train, chosen)
        assert len(fitted.history["loss"]) == config.epochs
        measured[name] = evaluate(fitted.model, split.test).figures()
    plain, regularised = measured["plain"], measured["regularised"]
    assert plain["accuracy"] >= 0.975
    assert regularised["accuracy"] >= 0.975
    assert regularised["accuracy"] >= plain["accuracy"] - 0.005
    assert regularised["energy"] <= 0.05 * plain["energy"]
    assert regularised["num_evaluations"] <= 0.7 * plain["num_evaluations"]
    assert regularised["length_over_chord"] < plain["length_over_chord"]


def test_plain_training_finds_no_short_path_by_itself(split):
    """Negative control: it is the price that shortens the path, not the length of the training."""
    config = TrainConfig(energy_weight=0.0, epochs=20)
    energy = fit(split.train, config).history["energy"]
    assert np.min(energy[5:]) > 20.0
