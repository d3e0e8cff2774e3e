"""A small problem that is learnt in seconds, and the settings to learn it by."""

import numpy as np
import pytest

from geojax.training import Samples, TrainConfig


def blobs(count: int, seed: int, dtype=np.float64) -> Samples:
    """Three classes in three dimensions: a ball inside two half shells."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(count, 3))
    radius = np.linalg.norm(x, axis=1)
    labels = np.where(radius < 1.4, 0, np.where(x[:, 0] > 0, 1, 2))
    return Samples(x.astype(dtype), labels, 3, "blobs")


@pytest.fixture(scope="session")
def data() -> Samples:
    return blobs(128, 0)


@pytest.fixture(scope="session")
def held_out() -> Samples:
    return blobs(60, 1)


@pytest.fixture(scope="session")
def config() -> TrainConfig:
    return TrainConfig(
        widths=(16,),
        activation="tanh",
        epochs=150,
        batch_size=64,
        learning_rate=5e-2,
        warmup_epochs=2,
        input_noise=0.05,
        energy_weight=0.05,
    )
