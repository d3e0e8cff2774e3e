"""The Fisher metric of answers and parameters, against explicit matrices and arc lengths."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.test_util import check_grads

from geojax import measure
from geojax._core.errors import InputError
from geojax.complexity import fisher_distance, fisher_length, fisher_norm, reinitialised
from geojax.networks import ContinuousClassifier, Layers, PlainNetwork, ResidualNetwork


@pytest.fixture
def x(key):
    return jax.random.normal(key, (6, 3))


def metric(logits):
    """`diag(p) - p p^T`, written out."""
    p = np.exp(logits) / np.exp(logits).sum()
    return np.diag(p) - np.outer(p, p)


def bernoulli(slopes):
    """Logits `[k, 1, 2]` of one coin that falls on the second side with probability s."""
    s = jnp.asarray(slopes)
    return jnp.stack([jnp.log(1 - s), jnp.log(s)], axis=-1)[:, None]


class TestNorm:
    def test_of_a_linear_softmax_model_is_that_of_the_explicit_matrix(self, x):
        model = nnx.Linear(3, 4, param_dtype=jnp.float64, rngs=nnx.Rngs(0))
        variation = nnx.state(nnx.Linear(3, 4, param_dtype=jnp.float64, rngs=nnx.Rngs(1)))
        found = fisher_norm(model, variation, x)
        matrices = [np.kron(np.outer(y, y), metric(z)) for y, z in zip(x, model(x), strict=True)]
        v = np.ravel(variation["kernel"][...])
        np.testing.assert_allclose(found, [np.sqrt(v @ g @ v) for g in matrices], rtol=1e-12)
        # the Euclidean metric of the logits is another one
        other = np.linalg.norm(x @ variation["kernel"][...], axis=-1)
        assert np.abs(found - other).min() > 1e-2

    def test_is_the_speed_of_the_distance(self, x):
        """Against central differences, for a network of layers."""
        model = ResidualNetwork(3, 4, depth=3, width=5, dtype=jnp.float64, rngs=nnx.Rngs(0))
        graph, parameters = nnx.split(model)
        ahead = nnx.state(
            ResidualNetwork(3, 4, depth=3, width=5, dtype=jnp.float64, rngs=nnx.Rngs(1))
        )
        step = 1e-4

        @jax.jit
        def at(t):
            return nnx.merge(graph, jax.tree.map(lambda p, v: p + t * v, parameters, ahead))(x)

        ends = at(step), at(-step)
        wanted = fisher_distance(*ends) / (2 * step)
        np.testing.assert_allclose(fisher_norm(model, ahead, x), wanted, rtol=1e-6)

    def test_of_a_continuous_network(self, x):
        model = ContinuousClassifier(3, 2, widths=(4,), dtype=jnp.float64, rngs=nnx.Rngs(0))
        moving = jax.tree.map(jnp.ones_like, nnx.state(model, nnx.Param))
        options = {"num_steps": 2, "solver": diffrax.Heun(), "adjoint": diffrax.ForwardMode()}
        assert float(fisher_norm(model, moving, x, **options).min()) > 1e-3

    def test_parameters_without_effect_cost_nothing(self, x):
        model = nnx.Linear(3, 4, param_dtype=jnp.float64, rngs=nnx.Rngs(0))
        variation = jax.tree.map(jnp.ones_like, nnx.state(model))
        np.testing.assert_allclose(fisher_norm(model, variation, x), 0.0, atol=1e-14)

    def test_derivative(self, x):
        model = nnx.Linear(3, 4, param_dtype=jnp.float64, rngs=nnx.Rngs(0))
        variation = nnx.state(nnx.Linear(3, 4, param_dtype=jnp.float64, rngs=nnx.Rngs(1)))
        check_grads(lambda y: fisher_norm(model, variation, y), (x,), 1, modes=["rev"])


class TestDistance:
    def test_of_coins(self):
        ends = bernoulli([0.2, 0.9])
        wanted = 2 * (np.arcsin(np.sqrt(0.9)) - np.arcsin(np.sqrt(0.2)))
        np.testing.assert_allclose(fisher_distance(ends[0], ends[1]), [wanted], rtol=1e-14)

    def test_small_ones_keep_their_digits(self, key):
        z, v = jax.random.normal(key, (2, 4))
        wanted = np.sqrt(v @ metric(z) @ v)
        found = fisher_distance(z - 5e-9 * v, z + 5e-9 * v) / 1e-8
        np.testing.assert_allclose(found, wanted, rtol=1e-6)

    def test_derivative_is_zero_where_nothing_moves(self, key):
        z, w = jax.random.normal(key, (2, 3, 4))
        np.testing.assert_array_equal(jax.grad(lambda z: fisher_distance(z, z + 0.0).sum())(z), 0)
        check_grads(fisher_distance, (z, w), 1)


class TestLength:
    def test_of_a_coin_is_the_arc(self):
        """One parameter in equal steps: distances of coins add up, however many there are."""
        for count in (2, 5, 50):
            logits = jnp.linspace(-1.0, 2.0, count)
            path = jnp.stack([jnp.zeros_like(logits), logits], axis=-1)[:, None]
            p = jax.nn.sigmoid(logits)
            wanted = 2 * (np.arcsin(np.sqrt(p[-1])) - np.arcsin(np.sqrt(p[0])))
            np.testing.assert_allclose(fisher_length(path), wanted, rtol=1e-13)

    def test_of_a_coin_that_turns_back(self):
        found = fisher_length(bernoulli([0.2, 0.9, 0.2]))
        wanted = 4 * (np.arcsin(np.sqrt(0.9)) - np.arcsin(np.sqrt(0.2)))
        np.testing.assert_allclose(found, wanted, rtol=1e-14)
        np.testing.assert_allclose(fisher_length(bernoulli([0.2, 0.2])), 0.0, atol=1e-15)

    def test_is_the_integral_of_the_norm_of_the_parameters(self, x):
        """In the second order, from below, and whatever the times that were saved."""
        options = {"depth": 2, "width": 5, "dtype": jnp.float64}
        graph, start = nnx.split(PlainNetwork(3, 4, **options, rngs=nnx.Rngs(0)))
        end = nnx.state(PlainNetwork(3, 4, **options, rngs=nnx.Rngs(1)))
        speed = jax.tree.map(lambda a, b: 2.0 * (b - a), start, end)

        def at(t):
            return nnx.merge(graph, jax.tree.map(lambda a, v: a + t * v, start, speed))

        nodes, weights = np.polynomial.legendre.leggauss(100)
        speeds = jax.jit(jax.vmap(lambda t: fisher_norm(at(t), speed, x)))((nodes + 1) / 2)
        wanted = weights @ np.sqrt(np.mean(speeds**2, axis=1)) / 2
        answers = jax.jit(jax.vmap(lambda t: at(t)(x)))
        every = answers(jnp.linspace(0.0, 1.0, 1601))

        def length(rows):
            return float(fisher_length(every[rows]))

        found = [length(slice(None, None, step)) for step in (80, 40)]
        assert found[0] < found[1] < wanted
        np.testing.assert_allclose((wanted - found[0]) / (wanted - found[1]), 4.0, rtol=0.05)
        slow_start = length(np.arange(41) ** 2)
        np.testing.assert_allclose(slow_start, wanted, rtol=5e-3)
        # the distance of the ends is no length of the path
        assert length(np.array([0, 1600])) < 0.9 * wanted

    def test_parts_add_up(self, key):
        path = jax.random.normal(key, (7, 3, 4))
        parts = fisher_length(path[:4]) + fisher_length(path[3:])
        np.testing.assert_allclose(parts, fisher_length(path), rtol=1e-14)
        check_grads(fisher_length, (path,), 1)


class TestSensitivity:
    def test_is_that_of_the_explicit_metric(self, x):
        a, b = np.diag([2.0, 1.0, 0.5]), np.array([[1.0, 0.4, 0.0], [0.0, 1.0, 0.0], [0.1, 0, 1.0]])
        model = Layers([lambda y, m=m: y @ jnp.asarray(m).T for m in (a, b)])
        found = measure(model, x[:2], group_size=0, num_jacobians=2)
        for n in range(2):
            g = metric(b @ a @ np.asarray(x[n]))
            for k, jacobian in enumerate([b @ a, b, np.eye(3)]):
                wanted = np.sqrt(np.trace(jacobian.T @ g @ jacobian))
                np.testing.assert_allclose(found.fisher_sensitivity[k, n], wanted, rtol=1e-12)
        assert "fisher_sensitivity" in found.profiles()


class TestReinitialised:
    def networks(self):
        return [
            PlainNetwork(3, 2, depth=3, width=4, dtype=jnp.float64, rngs=nnx.Rngs(k))
            for k in (0, 1)
        ]

    def test_one_part_alone_is_changed(self, x):
        model, donor = self.networks()
        before = model(x)
        changed = reinitialised(model, donor, "generators.1")
        states = model.states(x)
        state = donor.layers(x)[1](states[1])
        np.testing.assert_allclose(changed(x), model.read(model.layers(x)[2](state)), rtol=1e-12)
        np.testing.assert_array_equal(model(x), before)
        assert np.abs(changed(x) - before).max() > 1e-2
        back = reinitialised(changed, model, "generators.1")
        np.testing.assert_array_equal(back(x), before)

    def test_all_parts_make_the_donor(self, x):
        model, donor = self.networks()
        for part in ("lift", "generators", "head"):
            model = reinitialised(model, donor, part)
        np.testing.assert_array_equal(model(x), donor(x))

    def test_the_copy_shares_no_number(self, x):
        model, donor = self.networks()
        changed = reinitialised(model, donor, "head")
        before = changed(x)
        donor.head.bias[...] = model.lift.bias[...] = jnp.ones_like(donor.head.bias[...])[0]
        np.testing.assert_array_equal(changed(x), before)

    @pytest.mark.parametrize(
        ("part", "width", "message"),
        [
            ("generators.3", 4, "no 'generators.3'; its parts are generators, head, lift"),
            ("gen", 4, "no 'gen'"),
            ("head", 5, r"\[5,2\] where the model holds float64\[2\], float64\[4,2\]\."),
            ("head", 4, r"holds float32\[2\], float32\[4,2\] where the model holds float64\[2\]"),
        ],
    )
    def test_refusals(self, part, width, message):
        donor = PlainNetwork(3, 2, depth=3, width=width, rngs=nnx.Rngs(0))
        with pytest.raises(InputError, match=message):
            reinitialised(self.networks()[0], donor, part)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda z: fisher_distance(z, z[:1]), "must have the shape"),
        (lambda z: fisher_distance(z[:, :1], z[:, :1]), "two classes"),
        (lambda z: fisher_distance(z, z * jnp.nan), "other must be finite"),
        (lambda z: fisher_length(z), "two times"),
        (lambda z: fisher_length(z[None]), "two times"),
        (lambda z: fisher_norm(nnx.Linear(4, 2, rngs=nnx.Rngs(0)), {}, z), "structure and shapes"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(InputError, match=message):
        call(jnp.ones((3, 4)))
