"""Settings of a training: what is refused, and what comes back."""

import dataclasses
import json
import math

import numpy as np
import pytest

from geojax._core.errors import InputError
from geojax.training import TrainConfig

BAD = {
    "widths": [(), (16, 0), (16, -1), (16.0,), 16, "16"],
    "activation": ["relu", "Tanh", None],
    "num_steps": [0, -1, 2.0, True, "4"],
    "epochs": [0, -3, 1.5],
    "batch_size": [0, -1, 12.5],
    "learning_rate": [0.0, -1e-3, math.nan, math.inf, "1e-3", True, None],
    "warmup_epochs": [-1, 0.5],
    "weight_decay": [-0.1, math.nan, [0.1]],
    "clip_norm": [0.0, -1.0],
    "input_noise": [-0.1, math.inf],
    "energy_weight": [-0.05, math.nan, math.inf, True, "0.05", np.ones(2)],
    "energy_warmup_epochs": [-1, 0.5],
    "ema_decay": [-0.1, 1.0, math.nan, True],
    "validation_fraction": [-0.1, 1.0, "0.1"],
    "patience": [-1, 0.5],
    "seed": [-1, 0.5, 2**32],
}


@pytest.mark.parametrize(("name", "value"), [(n, v) for n, values in BAD.items() for v in values])
def test_impossible_values_are_refused_by_name(name, value):
    with pytest.raises(InputError, match=f"Argument {name} must ") as caught:
        TrainConfig.from_dict({name: value})
    assert "\n" not in str(caught.value)


def test_the_constructor_refuses_as_well():
    with pytest.raises(InputError, match=r"energy_weight must be a number of at least 0.*-1\.0"):
        TrainConfig(energy_weight=-1.0)


def test_patience_needs_something_to_watch():
    with pytest.raises(InputError, match="patience needs samples to validate on"):
        TrainConfig(patience=3)


def test_the_price_rises_within_the_epochs():
    assert TrainConfig(epochs=3, energy_warmup_epochs=3).energy_warmup_epochs == 3
    with pytest.raises(InputError, match="energy_warmup_epochs must be at most the 3 epochs, but"):
        TrainConfig(epochs=3, energy_warmup_epochs=4)


def test_every_field_is_checked():
    assert set(BAD) == {field.name for field in dataclasses.fields(TrainConfig)}


@pytest.mark.parametrize(
    ("key", "nearest"), [("energy_wieght", "energy_weight"), ("epoch", "epochs"), ("lr", None)]
)
def test_unknown_keys_are_refused_with_the_nearest(key, nearest):
    with pytest.raises(InputError, match=f"Unknown training setting '{key}'") as caught:
        TrainConfig.from_dict({key: 1})
    assert (f"did you mean '{nearest}'" in str(caught.value)) == (nearest is not None)


def test_round_trip_through_json():
    config = TrainConfig(widths=(3, 4), energy_weight=0.25, seed=7)
    assert TrainConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_numbers_take_one_form():
    values = {"widths": [8], "energy_weight": np.float64(1), "seed": np.int64(3), "clip_norm": 2}
    config = TrainConfig.from_dict(values)
    assert config == TrainConfig(widths=(8,), energy_weight=1.0, seed=3, clip_norm=2.0)
    assert json.dumps(config.to_dict())


def test_twin_differs_in_the_weight_alone():
    config = TrainConfig(seed=3, epochs=7)
    twin = config.replace(energy_weight=0.0)
    assert {k: v for k, v in twin.to_dict().items() if v != config.to_dict()[k]} == {
        "energy_weight": 0.0
    }


def test_configurations_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        TrainConfig().seed = 1
