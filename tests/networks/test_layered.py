"""Networks of layers: that each is the path and has the symmetries that it says."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from geojax import integrate
from geojax._core.errors import InputError, NumericalError
from geojax.fields import PiecewiseConstant
from geojax.networks import (
    ContinuousClassifier,
    ConvolutionalLift,
    ConvolutionalNetwork,
    ConvolutionalVelocity,
    FractalNetwork,
    Layers,
    MeanReadout,
    MomentumNetwork,
    PlainNetwork,
    RecurrentNetwork,
    RecursiveNetwork,
    ResidualNetwork,
    ShootingNetwork,
)

F64 = {"dtype": jnp.float64}


def rngs() -> nnx.Rngs:
    return nnx.Rngs(3)


MODELS = {
    "plain": lambda: PlainNetwork(8, 3, depth=3, width=5, rngs=rngs(), **F64),
    "residual": lambda: ResidualNetwork(8, 3, depth=3, rngs=rngs(), **F64),
    "convolutional": lambda: ConvolutionalNetwork(
        (2, 4, 1), 3, channels=2, stages=(1, 1), rngs=rngs(), **F64
    ),
    "recurrent": lambda: RecurrentNetwork(4, 2, 3, width=5, cell="plain", rngs=rngs(), **F64),
    "gated": lambda: RecurrentNetwork(4, 2, 3, width=5, rngs=rngs(), **F64),
    "recursive": lambda: RecursiveNetwork(2, 2, 3, width=5, rngs=rngs(), **F64),
    "fractal": lambda: FractalNetwork(8, 3, width=5, rngs=rngs(), **F64),
    "shooting": lambda: ShootingNetwork(8, 3, points=4, depth=2, scale=3.0, rngs=rngs(), **F64),
    "momenta": lambda: MomentumNetwork(8, 3, points=4, depth=2, scale=3.0, rngs=rngs(), **F64),
}


@pytest.fixture
def x(key):
    return jax.random.normal(key, (5, 8))


LONG = ("shooting", "momenta", "convolutional")


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow if n in LONG else ()) for n in MODELS]
)
def test_every_network_is_a_path(name, x):
    model = MODELS[name]()
    states, path = model.states(x), model.path(x, save="end")
    assert len(states) == len(model.layers(x)) + 1
    assert all(state.ndim == 2 and state.dtype == jnp.float64 for state in states)
    np.testing.assert_allclose(path.end, states[-1], atol=1e-12)
    np.testing.assert_allclose(model(x), model.read(states[-1]), atol=1e-12)
    for k, layer in enumerate(model.layers(x)):
        np.testing.assert_allclose(layer(states[k]), states[k + 1], atol=1e-12)
    # one sample at a time, without an axis of samples
    np.testing.assert_allclose(jax.jit(jax.vmap(model))(x), model(x), atol=1e-12)
    assert path.energy.shape == path.length.shape == (5,)
    # and differentiable
    direction, step, logits = jnp.cos(jnp.arange(40.0)).reshape(5, 8), 1e-5, jax.jit(model)
    _, slope = jax.jvp(logits, (x,), (direction,))
    central = (logits(x + step * direction) - logits(x - step * direction)) / (2 * step)
    np.testing.assert_allclose(slope, central, rtol=1e-6, atol=1e-8)


def test_length_and_energy_of_the_polygon(x):
    model = MODELS["plain"]()
    steps = jnp.linalg.norm(jnp.diff(jnp.stack(model.states(x)), axis=0), axis=-1)
    path = model.path(x, costs={"fourth": lambda t, x, v: jnp.sum(v**2, axis=-1) ** 2})
    np.testing.assert_allclose(path.length, jnp.sum(steps, axis=0), rtol=1e-13)
    np.testing.assert_allclose(path.energy, 1.5 * jnp.sum(steps**2, axis=0), rtol=1e-13)
    np.testing.assert_allclose(path.costs["fourth"], 27 * jnp.sum(steps**4, axis=0), rtol=1e-13)


def test_steps_that_change_the_dimension_have_no_displacement(x):
    model = MODELS["convolutional"]()
    states = model.states(x)
    assert [state.shape[-1] for state in states] == [16, 16, 4, 4]
    kept = [jnp.linalg.norm(states[k + 1] - states[k], axis=-1) for k in (0, 2)]
    path = model.path(x, save="end")
    np.testing.assert_allclose(path.length, kept[0] + kept[1], rtol=1e-13)
    assert bool(jnp.all(jnp.isnan(path.start)))  # withheld
    with pytest.raises(InputError, match=r"\[16, 16, 4, 4\]"):
        model.path(x)


def test_options_of_a_path():
    model = MODELS["residual"]()
    with pytest.raises(InputError, match="'save'"):
        model.path(jnp.ones((2, 8)), saved="end")
    with pytest.raises(NumericalError, match="finite"):
        model.path(jnp.full((2, 8), jnp.inf))


class TestDepth:
    """Finer residual layers converge to a flow; finer plain layers converge to nothing."""

    def test_residual_layers_converge_to_their_flow(self, x):
        model = MODELS["residual"]()

        class Flow(nnx.Module):
            def __call__(self, t, y):
                weights = jnp.stack([g.kernel[...] for g in model.generators])
                velocity = PiecewiseConstant(weights)(t, None)
                bias = PiecewiseConstant(jnp.stack([g.bias[...] for g in model.generators]))
                return jnp.tanh(y @ velocity + bias(t, None)[None])

        limit, depth = x, 3
        for k in range(depth):
            times = {"t0": k / depth, "t1": (k + 1) / depth - 1e-12}
            limit = integrate(Flow(), limit, num_steps=40, **times).end
        errors = []
        for factor in (8, 16, 32):
            path = model.refined(factor).path(x)
            errors.append(float(jnp.max(jnp.abs(path.end - limit))))
        rates = np.log2(np.divide(errors[:-1], errors[1:]))
        np.testing.assert_allclose(rates, 1.0, atol=0.1)
        assert errors[-1] < 2e-2

    def test_energies_converge_in_the_first_order(self, x):
        model = MODELS["residual"]()
        energies = [float(jnp.sum(model.refined(f).path(x).energy)) for f in (8, 16, 32)]
        first, second = np.diff(energies)
        np.testing.assert_allclose(first / second, 2.0, atol=0.2)

    def test_plain_layers_have_no_limit(self, x):
        """Negative control: each repetition of a layer is one more jump."""
        model = MODELS["plain"]()
        ends = []
        for factor in (4, 16):
            layers = [layer for layer in model.layers(x) for _ in range(factor)]
            ends.append(Layers(layers).path(model.start(x)).energy)
        assert float(ends[1].min() / ends[0].max()) > 2


class TestTranslations:
    def shifted(self, x, shape):
        return jnp.roll(x.reshape(-1, *shape), (1, 2), axis=(1, 2)).reshape(len(x), -1)

    @pytest.mark.parametrize("residual", [True, False])
    def test_states_move_with_the_image(self, residual, key):
        x = jax.random.normal(key, (3, 24))
        model = ConvolutionalNetwork(
            (4, 6, 1), 3, channels=2, stages=(3,), residual=residual, rngs=rngs(), **F64
        )
        for here, there in zip(
            model.states(x), model.states(self.shifted(x, (4, 6, 1))), strict=True
        ):
            np.testing.assert_allclose(self.shifted(here, (4, 6, 2)), there, atol=1e-13)
        np.testing.assert_allclose(model(self.shifted(x, (4, 6, 1))), model(x), atol=1e-13)

    def test_not_with_a_border(self, key):
        """Negative control: zeros around the image."""
        x = jax.random.normal(key, (3, 24))
        model = ConvolutionalNetwork(
            (4, 6, 1), 3, channels=2, stages=(3,), periodic=False, rngs=rngs(), **F64
        )
        assert float(jnp.max(jnp.abs(model(self.shifted(x, (4, 6, 1))) - model(x)))) > 1e-3

    def test_not_when_the_pixels_are_permuted(self, key):
        """Negative control: the shift of a permuted image is no shift."""
        x = jax.random.normal(key, (3, 24))
        order = jax.random.permutation(jax.random.key(1), 24)
        model = ConvolutionalNetwork((4, 6, 1), 3, channels=2, stages=(3,), rngs=rngs(), **F64)
        shifted = self.shifted(x, (4, 6, 1))
        assert float(jnp.max(jnp.abs(model(shifted[:, order]) - model(x[:, order])))) > 1e-3

    def test_layers_are_local(self):
        model = ConvolutionalNetwork((7, 7, 1), 3, channels=1, stages=(2,), rngs=rngs(), **F64)
        layer, x = model.layers(jnp.zeros(49))[0], jnp.linspace(-1.0, 1.0, 49)
        change = jnp.abs(layer(x.at[24].add(1.0)) - layer(x)).reshape(7, 7)
        assert set(zip(*np.nonzero(np.asarray(change)), strict=True)) == {
            (i, j) for i in (2, 3, 4) for j in (2, 3, 4)
        }

    @pytest.mark.slow
    def test_in_continuous_depth(self, key):
        x = jax.random.normal(key, (3, 24))
        velocity = ConvolutionalVelocity((4, 6, 1), 3, rngs=rngs(), **F64)
        model = ContinuousClassifier(24, 3, velocity=velocity, rngs=rngs(), **F64)
        end = model.path(x, num_steps=4).end
        shifted = model.path(self.shifted(x, (4, 6, 1)), num_steps=4).end
        np.testing.assert_allclose(self.shifted(end, (4, 6, 1)), shifted, atol=1e-13)
        assert float(jnp.max(jnp.abs(end - x))) > 1e-2


class TestSignals:
    """Images of height 1, whose kernels and halvings know of one axis alone."""

    def model(self, **options):
        options = dict(channels=2, stages=(1, 1), kernel_size=(1, 3), periodic=False) | options
        return ConvolutionalNetwork((1, 8, 1), 3, rngs=rngs(), **options, **F64)

    def test_layers_by_hand(self, x):
        model = self.model(head="flat", residual=False)

        def convolved(signals, layer):
            padded = np.pad(signals, ((0, 0), (1, 1), (0, 0)))
            windows = np.stack([padded[:, k : k + signals.shape[1]] for k in range(3)], axis=2)
            kernel, bias = np.asarray(layer.kernel[...])[0], np.asarray(layer.bias[...])
            return np.einsum("bwkc,kco->bwo", windows, kernel) + bias

        first, second = model.generators
        state = np.tanh(convolved(convolved(np.asarray(x)[..., None], model.lift), first))
        state = 0.5 * (state[:, ::2] + state[:, 1::2])
        state = np.tanh(convolved(state, second)).reshape(5, 8)
        np.testing.assert_allclose(model.states(x)[-1], state, atol=1e-13)
        logits = state @ np.asarray(model.head.kernel[...]) + np.asarray(model.head.bias[...])
        np.testing.assert_allclose(model(x), logits, atol=1e-13)

    def test_a_square_kernel_is_its_middle_row(self, x):
        """What is above and below a signal is zero."""
        square, row = self.model(kernel_size=3), self.model()
        for big, small in zip(
            (square.lift, *square.generators), (row.lift, *row.generators), strict=True
        ):
            assert small.kernel.shape[:2] == (1, 3)
            small.kernel[...] = big.kernel[...][1:2]
        np.testing.assert_allclose(row(x), square(x), atol=1e-13)

    def test_a_flat_head_sees_the_place(self, x):
        """The mean does not, on a ring."""
        for head, moved in (("mean", False), ("flat", True)):
            model = self.model(head=head, stages=(2,), periodic=True)
            change = jnp.max(jnp.abs(model(jnp.roll(x, 3, axis=1)) - model(x)))
            assert bool(change > 1e-3) == moved
            assert moved or float(change) < 1e-13

    def test_a_flow_may_be_read_by_the_mean(self, x):
        head = MeanReadout(2, 3, rngs=rngs(), param_dtype=jnp.float64)
        model = ContinuousClassifier(8, 3, widths=(2,), head=head, rngs=rngs(), **F64)
        means = np.asarray(x).reshape(5, 4, 2).mean(axis=1)
        logits = means @ np.asarray(head.kernel[...]) + np.asarray(head.bias[...])
        np.testing.assert_allclose(model.read(x), logits, atol=1e-14)

    def test_a_lift_halves_the_length_alone(self, x):
        lift = ConvolutionalLift((1, 8, 1), (2, 3), kernel_size=(1, 3), rngs=rngs(), **F64)
        assert lift.lifted_shape == (1, 2, 3)
        assert lift(x).shape == (5, 6)
        velocity = ConvolutionalVelocity(lift.lifted_shape, kernel_size=(1, 3), rngs=rngs(), **F64)
        assert velocity.spread.kernel.shape[:2] == (1, 3)
        assert velocity(jnp.array(0.5), lift(x)).shape == (5, 6)


class TestRecurrent:
    def test_cells_by_hand(self, key):
        x = jax.random.normal(key, (2, 6))
        for cell in ("plain", "gated"):
            model = RecurrentNetwork(3, 2, 2, width=4, cell=cell, rngs=rngs(), **F64)
            h = jnp.zeros((2, 4))
            for u in (x[:, :2], x[:, 2:4], x[:, 4:]):
                both = jnp.concatenate([h, u], axis=1)
                c = jnp.tanh(model.candidate(both))
                z = 1.0 if model.gate is None else jax.nn.sigmoid(model.gate(both))
                h = z * c + (1 - z) * h
            np.testing.assert_allclose(model.states(x)[-1], h, atol=1e-14)

    def test_gates_begin_at_one_over_the_length(self):
        model = RecurrentNetwork(9, 2, 2, width=4, rngs=rngs(), **F64)
        np.testing.assert_allclose(jax.nn.sigmoid(model.gate.bias[...]), 1 / 9, rtol=1e-12)


class TestRecursive:
    def test_equal_leaves_are_an_orbit_of_one_generator(self, key):
        """The tree of equal leaves is a residual network of one layer repeated."""
        model = RecursiveNetwork(3, 2, 2, width=4, rngs=rngs(), **F64)
        leaf = jax.random.normal(key, (5, 2))
        state = model.lift(leaf)
        for _ in range(3):
            state = state + jnp.tanh(model.generator(jnp.concatenate([state, state], axis=1))) / 3
        np.testing.assert_allclose(model.states(jnp.tile(leaf, (1, 8)))[-1], state, atol=1e-14)

    def test_a_tree_is_the_merge_of_its_halves(self, key):
        """The generator is the same at every node and in every depth, but for the step."""
        x = jax.random.normal(key, (5, 16))
        model = RecursiveNetwork(3, 2, 2, width=4, rngs=rngs(), **F64)
        left, right = model.start(x)[:, :16], model.start(x)[:, 16:]
        merge = model.layers(x)[0]
        halves = [merge(merge(half)) for half in (left, right)]
        np.testing.assert_allclose(
            model.states(x)[-1], merge(jnp.concatenate(halves, axis=1)), atol=1e-14
        )

    @pytest.mark.parametrize("symmetric", [True, False])
    def test_twins_may_change_places_in_a_symmetric_tree_alone(self, symmetric, key):
        x = jax.random.normal(key, (5, 8, 2))
        model = RecursiveNetwork(3, 2, 2, width=4, symmetric=symmetric, rngs=rngs(), **F64)
        swapped = x[:, jnp.array([6, 7, 5, 4, 0, 1, 2, 3])]  # an automorphism of the tree
        error = float(jnp.max(jnp.abs(model(swapped.reshape(5, 16)) - model(x.reshape(5, 16)))))
        assert error < 1e-14 if symmetric else error > 1e-3
        torn = x[:, jnp.array([0, 2, 1, 3, 4, 5, 6, 7])]  # none: twins are torn apart
        assert float(jnp.max(jnp.abs(model(torn.reshape(5, 16)) - model(x.reshape(5, 16))))) > 1e-6


class TestFractal:
    def constant(self, shared=True):
        model = FractalNetwork(3, 2, depth=2, columns=3, shared=shared, rngs=rngs(), **F64)
        for block in model.generators:
            for k, generator in enumerate(block):
                generator.kernel[...] = jnp.zeros((3, 3))
                generator.bias[...] = jnp.array([0.3, -0.1, 0.2]) * (1 + (0 if shared else k))
        return model

    def test_columns_agree_where_the_velocity_is_constant(self, key):
        x = jax.random.normal(key, (4, 3))
        model = self.constant()
        end = x + jnp.tanh(jnp.array([[0.3, -0.1, 0.2]]))
        for column in range(3):
            np.testing.assert_allclose(model.column(x, column), end, atol=1e-14)
        np.testing.assert_allclose(model.path(x).end, end, atol=1e-14)

    def test_columns_do_not_agree_otherwise(self, key):
        """Negative control: generators of their own."""
        x, model = jax.random.normal(key, (4, 3)), self.constant(shared=False)
        assert float(jnp.max(jnp.abs(model.column(x, 0) - model.column(x, 2)))) > 1e-2

    def test_columns_are_eulers_method_at_finer_steps(self, key):
        """So they come closer to each other by half from one column to the next."""
        x = jax.random.normal(key, (4, 3))
        model = FractalNetwork(3, 2, depth=1, columns=6, shared=True, rngs=rngs(), **F64)
        step, (block,) = 1.0, model.generators
        ends = [model.column(x, j) for j in range(6)]
        for j, end in enumerate(ends):
            y = x
            for _ in range(2**j):
                y = y + step / 2**j * jnp.tanh(block[0](y))
            np.testing.assert_allclose(end, y, atol=1e-13)
        gaps = [float(jnp.max(jnp.abs(a - b))) for a, b in itertools.pairwise(ends)]
        np.testing.assert_allclose(np.log2(gaps[-2] / gaps[-1]), 1.0, atol=0.1)

    def test_rule_by_hand(self, key):
        """`T_2 = 1/2 (T_1 o T_1 + T_1)`, of three generators."""
        x = jax.random.normal(key, (4, 3))
        model = FractalNetwork(3, 2, depth=1, columns=2, rngs=rngs(), **F64)
        ((long, first, second),) = model.generators
        half = x + 0.5 * jnp.tanh(first(x))
        wanted = 0.5 * (x + jnp.tanh(long(x)) + half + 0.5 * jnp.tanh(second(half)))
        np.testing.assert_allclose(model.path(x).end, wanted, atol=1e-14)

    def test_column_that_is_not_there(self):
        with pytest.raises(InputError, match="less than the 3 columns"):
            self.constant().column(jnp.ones((1, 3)), 3)


class TestShooting:
    def model(self, depth=6):
        model = ShootingNetwork(2, 2, points=5, depth=depth, scale=1.5, rngs=rngs(), **F64)
        model.momenta[...] = 0.5 * jax.random.normal(jax.random.key(2), (5, 2))
        return model

    def energies(self, model, path):
        kernel = model.metric.kernel
        return jax.vmap(lambda q, p: 0.5 * jnp.sum(p * (kernel(q, q) @ p)))(
            path.states, path.costates
        )

    @pytest.mark.slow
    def test_energy_is_kept_to_the_order_of_the_solver(self):
        drifts = []
        for depth in (6, 12):
            model = self.model(depth)
            energies = self.energies(model, model.geodesic(throw=False))
            drifts.append(float(jnp.max(jnp.abs(energies / energies[0] - 1))))
        assert drifts[1] < 1e-6
        assert np.log2(drifts[0] / drifts[1]) > 4

    def test_inputs_at_the_control_points_move_with_them(self):
        model = self.model()
        states = model.path(model.points[...]).states
        np.testing.assert_allclose(states, model.carriers(), atol=1e-12)
        assert float(jnp.max(jnp.abs(states[-1] - states[0]))) > 0.1

    @pytest.mark.slow
    def test_free_momenta_that_follow_the_equation_are_the_geodesic(self, key):
        """Free layers hold each momentum for a step, so they come close in the first order."""
        x, gaps = jax.random.normal(key, (6, 2)), []
        for depth in (8, 16):
            shooting = self.model(depth)
            free = MomentumNetwork(2, 2, points=5, depth=depth, scale=1.5, rngs=rngs(), **F64)
            free.points[...] = shooting.points[...]
            free.momenta[...] = shooting.geodesic().costates[:-1]
            gaps.append(float(jnp.max(jnp.abs(free.path(x).end - shooting.path(x).end))))
        np.testing.assert_allclose(np.log2(gaps[0] / gaps[1]), 1.0, atol=0.2)

    def test_control_points_of_another_dimension(self):
        with pytest.raises(InputError, match="must have 2 coordinates"):
            ShootingNetwork(2, 2, points=np.ones((4, 3)), rngs=rngs())


class TestLayers:
    class Existing(nnx.Module):
        def __init__(self):
            options = {"param_dtype": jnp.float64, "rngs": rngs()}
            self.blocks = nnx.List(nnx.Linear(4, 4, **options) for _ in range(2))
            self.norm = nnx.BatchNorm(4, use_running_average=True, **options)
            self.out = nnx.Linear(4, 3, **options)

        def __call__(self, x):
            for block in self.blocks:
                x = jnp.sin(block(x))
            return self.out(self.norm(x))

    @pytest.mark.lenient  # flax keeps its statistics in float32
    def test_parts_by_name_and_by_themselves(self, key):
        module, x = self.Existing(), jax.random.normal(key, (5, 4))
        named = Layers(
            ["blocks.0", jnp.sin, "blocks.1", jnp.sin, "norm"], module=module, head="out"
        )
        parts = [*module.blocks, module.norm]
        itself = Layers([parts[0], jnp.sin, parts[1], jnp.sin, parts[2]], head=module.out)
        for network in (named, itself):
            np.testing.assert_allclose(network(x), module(x), atol=1e-14)
            assert network.path(x).states.shape == (6, 5, 4)
            np.testing.assert_allclose(jax.vmap(network)(x), module(x), atol=1e-14)

    @pytest.mark.parametrize(
        ("layers", "message"),
        [([], "empty"), (["blocks.7"], "'blocks.7'"), (["block"], "no such part"), ([3.5], "3.5")],
    )
    def test_refusals(self, layers, message):
        with pytest.raises(InputError, match=message):
            Layers(layers, module=self.Existing())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ResidualNetwork(3, 2, step=-1.0, rngs=rngs()), "step must be positive"),
        (lambda: PlainNetwork(3, 2, depth=0, rngs=rngs()), "depth"),
        (lambda: ConvolutionalNetwork((3, 4, 1), 2, stages=(1, 1), rngs=rngs()), "be halved"),
        (lambda: ConvolutionalNetwork((3, 4), 2, rngs=rngs()), "height, width, channels"),
        (lambda: ConvolutionalNetwork((1, 1, 4), 2, stages=(1, 1), rngs=rngs()), "be halved"),
        (lambda: ConvolutionalLift((1, 6, 1), (2, 2), rngs=rngs()), "1 x 6 pixels are halved"),
        (
            lambda: ConvolutionalNetwork((4, 4, 1), 2, kernel_size=(1, 2, 3), rngs=rngs()),
            r"one number or \(height, width\)",
        ),
        (lambda: FractalNetwork(3, 2, activation="tanhh", rngs=rngs()), "did you mean 'tanh'"),
        (lambda: ShootingNetwork(3, 2, scale=0.0, rngs=rngs()), "scale must be positive"),
    ],
)
def test_impossible_networks(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_unknown_head():
    with pytest.raises(Exception, match="head"):  # the type checker of the tests may be first
        ConvolutionalNetwork((4, 4, 1), 2, head="max", rngs=rngs())


def test_unknown_cell():
    with pytest.raises(Exception, match="cell"):  # the type checker of the tests may be first
        RecurrentNetwork(3, 2, 2, cell="lstm", rngs=rngs())


@pytest.mark.slow
def test_a_lifted_flow_starts_after_the_lift():
    """The path, its energy and its layers are those of the flow alone."""
    lift = ConvolutionalLift((8, 8, 1), (2, 3), rngs=nnx.Rngs(0), dtype=jnp.float64)
    assert lift.lifted_shape == (2, 2, 3)
    options = dict(rngs=nnx.Rngs(1), dtype=jnp.float64)
    velocity = ConvolutionalVelocity(lift.lifted_shape, 4, **options)
    model = ContinuousClassifier(64, 10, velocity=velocity, lift=lift, **options)
    x = jax.random.normal(jax.random.key(0), (5, 64), jnp.float64)
    path = model.path(x, num_steps=20)
    np.testing.assert_array_equal(path.start, lift(x))
    assert path.end.shape == (5, 12)
    assert path.energy.shape == (5,)
    states = model.states(x)
    np.testing.assert_allclose(states[-1], path.end, atol=1e-6)
    assert model(x).shape == (5, 10)
    with pytest.raises(InputError, match="one entry for each time that the 6 x 8 pixels"):
        ConvolutionalLift((6, 8, 1), (2, 3), rngs=nnx.Rngs(0))
