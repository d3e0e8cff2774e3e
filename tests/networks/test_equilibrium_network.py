"""Networks that answer at rest: the energy falls, its minimum is where the sweeps stop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from geojax._core.errors import InputError, NumericalError
from geojax._core.results import RESULTS
from geojax.networks import RESPONSES, Convolution, EquilibriumNetwork


def network(response="clip", layers=(7, 6), feedback=0.1, num_features=5, **options):
    return EquilibriumNetwork(
        num_features, layers, 3, response=response, feedback=feedback, dtype=jnp.float64,
        rngs=nnx.Rngs(3), **options,
    )  # fmt: skip


def convolutional(response="clip"):
    layers = (Convolution(3, 3, 2), Convolution(4, 2), 6)
    return network(response, layers, num_features=(8, 7, 2))


def drawn(key, count=4, size=5):
    return jax.random.uniform(key, (count, size))


@pytest.mark.parametrize("name", sorted(RESPONSES))
def test_a_response_is_the_minimum_of_its_energy(name):
    response = RESPONSES[name]
    drive = jnp.linspace(0.05, 0.95, 9)
    state = response.value(drive)
    slope = jax.grad(lambda s: jnp.sum(response.energy(s)))(state)
    np.testing.assert_allclose(slope, drive, rtol=1e-12)
    assert bool(jnp.all(jnp.diff(response.value(jnp.linspace(-5.0, 5.0, 99))) >= 0))


@pytest.mark.parametrize(
    ("make", "response"),
    [
        (network, "clip"),
        (network, "logistic"),
        (network, "tanh"),
        pytest.param(convolutional, "clip", marks=pytest.mark.slow),
    ],
)
def test_rest_is_where_the_energy_is_stationary(make, response, key):
    model = make(response)
    inputs = drawn(key, size=model.num_features)
    rest = model.settle(inputs, tolerance=1e-13)
    assert bool(rest.result == RESULTS.successful)
    slope = jax.grad(lambda s: jnp.sum(model.energy(inputs, s)))(rest.states)
    for k, (state, part) in enumerate(zip(rest.states, slope, strict=True)):
        # a clipped unit is held at its bound against the slope
        low, high = (
            (state <= 0, state >= 1)
            if response == "clip" and k < len(slope) - 1
            else (False, False)
        )
        free = ~(low | high)
        assert float(jnp.max(jnp.abs(jnp.where(free, part, 0)))) < 1e-10
        assert bool(jnp.all(jnp.where(low, part >= -1e-10, True)))
        assert bool(jnp.all(jnp.where(high, part <= 1e-10, True)))
    # control: where the sweeps begin it is not stationary
    start = jax.grad(lambda s: jnp.sum(model.energy(inputs, s)))(model.feed_forward(inputs))
    assert float(jnp.max(jnp.abs(start[-2]))) > 1e-3


def test_every_sweep_lowers_the_energy(key):
    model, inputs = network(layers=(7, 6, 5, 4), feedback=1.0), drawn(key)
    drive, none = model.input_drive(inputs), jnp.zeros((4, 3))
    states, before = model.feed_forward(inputs), None
    states = (*(jnp.clip(s, 0, 1) for s in states[:-1]), states[-1])
    for _ in range(6):
        energy = model.energy(inputs, states)
        assert before is None or bool(jnp.all(energy <= before + 1e-12))
        before = energy
        states, change = model.sweep(drive, states, none, jnp.zeros(()))
    assert float(change) > 0


def test_feedback_one_is_hopfields_energy(key):
    """With the clip: |u|^2 / 2 - rho(u) W rho(u) / 2 - b rho(u), written out densely."""
    model, inputs = network(feedback=1.0), drawn(key)
    for coupling in model.couplings:
        coupling.bias[...] = jax.random.normal(key, coupling.bias.shape)
    states = model.settle(inputs, tolerance=1e-12).states
    one, two, three = (c.kernel[...] for c in model.couplings)
    dense = jnp.zeros((21, 21))
    for block, at, to in ((one, 0, 5), (two, 5, 12), (three, 12, 18)):
        rows, columns = block.shape
        dense = dense.at[at : at + rows, to : to + columns].set(block)
    dense = dense + dense.T
    units = jnp.concatenate([inputs, *states], axis=1)
    bias = jnp.concatenate([jnp.zeros(5), *(c.bias[...] for c in model.couplings)])
    hopfield = (
        0.5 * jnp.sum(units[:, 5:] ** 2, axis=1)
        - 0.5 * jnp.einsum("ni,ij,nj->n", units, dense, units)
        - units @ bias
    )
    np.testing.assert_allclose(model.energy(inputs, states), hopfield, rtol=1e-12)


@pytest.mark.parametrize("make", [network, pytest.param(convolutional, marks=pytest.mark.slow)])
def test_the_way_down_is_the_transpose_of_the_way_up(make, key):
    for number, coupling in enumerate(make().couplings):
        keys = jax.random.split(jax.random.fold_in(key, number), 3)
        below = jax.random.normal(keys[0], (2, 3, *coupling.below))
        above = jax.random.normal(keys[1], (2, 3, *coupling.above))
        left = jnp.sum(above * coupling.up(below))
        np.testing.assert_allclose(left, jnp.sum(coupling.down(above) * below), rtol=1e-12)
        whole = jax.lax.complex(below, jax.random.normal(keys[2], below.shape))
        np.testing.assert_allclose(coupling.up(whole).real, coupling.up(below), rtol=1e-12)


def test_a_pull_draws_the_output_to_its_target(key):
    model, inputs = network(), drawn(key)
    targets = jax.nn.one_hot(jnp.array([0, 1, 2, 0]), 3, dtype=jnp.float64)
    free = model.settle(inputs, tolerance=1e-12)
    betas = jnp.array([0.0, 0.5, -0.5, 50.0])
    pulled = model.settle(inputs, targets=targets, beta=betas, start=free.states, tolerance=1e-12)
    distance = jnp.linalg.norm(pulled.outputs - targets[None], axis=(1, 2))
    np.testing.assert_allclose(pulled.outputs[0], free.outputs, atol=1e-12)
    assert float(distance[3]) < float(distance[1]) < float(distance[0]) < float(distance[2])
    # all at once is one at a time
    alone = model.settle(inputs, targets=targets, beta=0.5, tolerance=1e-12)
    for state, other in zip(alone.states, pulled.states, strict=True):
        np.testing.assert_allclose(state, other[1], atol=1e-11)


def test_without_a_way_back_it_is_the_feed_forward_network(key):
    model, inputs = network(feedback=1e-15), drawn(key)
    rest = model.settle(inputs)
    for state, other in zip(rest.states, model.feed_forward(inputs)[:-1], strict=False):
        np.testing.assert_allclose(state, jnp.clip(other, 0, 1), atol=1e-12)
    strong = network().settle(inputs)
    assert float(jnp.max(jnp.abs(strong.outputs - rest.outputs))) > 1e-3


def test_unrest_is_reported_with_its_residual(key):
    model, inputs = network(), drawn(key)
    rest = model.settle(inputs, tolerance=1e-12, max_sweeps=3, throw=False)
    assert bool(rest.result == RESULTS.not_converged)
    assert int(rest.num_sweeps) == 3
    assert float(rest.residual) > 1e-12
    with pytest.raises(NumericalError, match="settle failed"):
        model.settle(inputs, tolerance=1e-12, max_sweeps=3)


def test_float32_stays_float32(key):
    model = EquilibriumNetwork(5, (7, 6), 3, response="logistic", rngs=nnx.Rngs(0))
    rest = model.settle(drawn(key).astype(jnp.float32))
    assert {state.dtype for state in rest.states} == {jnp.dtype("float32")}
    turned = model.settle(drawn(key).astype(jnp.float32), beta=jnp.array([0.1j]))
    assert {state.dtype for state in turned.states} == {jnp.dtype("complex64")}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: network("clipp"), "did you mean 'clip'"),
        (lambda: network(layers=()), "at least one hidden layer"),
        (lambda: network(layers=(0,)), "layers must be an integer of at least 1"),
        (lambda: network(layers=(Convolution(3),)), "convolution of 3 x 3 pixels over a layer of"),
        (lambda: network(feedback=0.0), "feedback must be positive"),
        (lambda: network().settle(jnp.ones((4, 6))), "with 5 numbers each"),
        (lambda: network().settle(jnp.ones((4, 5)), beta=1j), "complex derivative"),
        (lambda: network().settle(jnp.ones((4, 5)), targets=jnp.ones((4, 2))), r"must be \[4, 3\]"),
    ],
)
def test_what_cannot_be_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()
