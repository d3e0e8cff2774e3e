"""Training asks of a network of layers what it asks of a flow: a path and a read-out."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from geojax.networks import Layers, ResidualNetwork
from geojax.training import evaluate, fit

pytestmark = pytest.mark.lenient  # optax promotes inside


@pytest.mark.slow
def test_residual_layers_learn_and_the_price_shortens_their_path(data, held_out, config):
    energies = []
    for weight in (0.0, 0.02):
        options = {"width": 16, "step": 1.0, "dtype": jnp.float64}
        model = ResidualNetwork(3, 3, depth=4, **options, rngs=nnx.Rngs(0))
        settings = config.replace(epochs=60, energy_weight=weight)
        found = evaluate(fit(data, settings, model=model).model, held_out)
        assert found.accuracy > 0.65
        energies.append(found.figures()["energy"])
    assert energies[1] < 0.5 * energies[0]


def test_no_chord_where_the_dimension_changes(held_out):
    network = Layers([lambda x: x[:, :2], lambda x: 2 * x], head=lambda x: x @ jnp.ones((2, 3)))
    found = evaluate(network, held_out)
    assert np.isnan(found.chord).all()
    assert np.isnan(found.length_over_chord).all()
    np.testing.assert_allclose(found.length, np.linalg.norm(held_out.inputs[:, :2], axis=1))
