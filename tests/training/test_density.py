"""Densities as flows: their mass, their likelihood, and prices on their paths."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from geojax._core.errors import InputError, NumericalError
from geojax._core.results import RESULTS
from geojax.actions import Points
from geojax.flows import integrate
from geojax.geodesics.equation import geodesic_field
from geojax.kernels import Diracs, Gaussian
from geojax.metrics import RKHS
from geojax.networks import DensityFlow, PotentialNetwork, transport_gap
from geojax.training import (
    TOY_DENSITIES,
    DensityMethod,
    Divergence,
    GeodesicDefect,
    HamiltonJacobi,
    JacobianNorm,
    KineticEnergy,
    Mixture,
    RKHSEnergy,
    TaylorNorm,
    density_init,
    density_steps,
    fit_density,
    toy_samples,
)

pytestmark = pytest.mark.lenient  # optax promotes inside

# a linear field in closed form
MATRIX = jnp.array([[0.3, -0.8], [0.5, -0.2]])


def linear(t, x):
    return x @ MATRIX.T


def flow(potential=False, scale=1.0):
    model = DensityFlow(2, (9,), potential=potential, dtype=jnp.float64, rngs=nnx.Rngs(2))
    network = model.velocity.network if potential else model.velocity
    for layer in network.layers:
        layer.kernel[...] = scale * layer.kernel[...]
    return model


@pytest.mark.parametrize("potential", [False, True])
def test_density_of_moved_points(potential, key):
    """L25: log p1(phi(x)) = log p0(x) - int div v."""
    model = flow(potential)
    base = jax.random.normal(key, (6, 2))
    there = model.path(base, divergence="exact", num_steps=40)
    log_normal = -0.5 * jnp.sum(base**2, axis=-1) - jnp.log(2 * jnp.pi)
    found = model.log_prob(there.end, num_steps=40)
    np.testing.assert_allclose(found, log_normal - there.log_det, atol=1e-8)
    # controls: the divergence is there, and its sign matters
    assert float(jnp.max(jnp.abs(found - (log_normal + there.log_det)))) > 1e-2


def test_density_integrates_to_one():
    """L25."""
    model = flow()
    axis = jnp.linspace(-7.0, 7.0, 141)
    grid = jnp.stack(jnp.meshgrid(axis, axis), -1).reshape(-1, 2)
    density = jnp.exp(model.log_prob(grid, num_steps=12))
    cell = float(axis[1] - axis[0]) ** 2
    assert abs(float(jnp.sum(density)) * cell - 1) < 1e-6
    still = jnp.exp(model.back(grid, divergence=None, num_steps=12)[1].end[:, 0] * 0)
    assert abs(float(jnp.sum(still)) * cell - 1) > 1


@pytest.mark.parametrize("probe", ["rademacher", "gaussian"])
def test_the_stochastic_trace_is_right_on_average(probe, key):
    model, point = flow(), jnp.array([0.7, 0.4])
    exact = model.log_prob(point[None])
    many = jnp.broadcast_to(point, (4000, 2))
    options = dict(divergence="hutchinson", key=key, probe=probe)
    draws = model.log_prob(many, **options)
    spread = float(jnp.std(draws))
    assert spread > 1e-3
    assert abs(float(jnp.mean(draws) - exact[0])) < 4 * spread / np.sqrt(4000)
    np.testing.assert_array_equal(draws, model.log_prob(many, **options))


def test_samples_are_moved_normals(key):
    model = flow()
    points = model.sample(key, 7)
    base = jax.random.normal(key, (7, 2))
    np.testing.assert_allclose(points, model.path(base).end, rtol=1e-13)
    assert float(jnp.max(jnp.abs(points - base))) > 1e-2


class TestGap:
    """The certificate of optimal transport."""

    class Move(nnx.Module):
        def __init__(self, matrix):
            self.matrix = nnx.Param(matrix)

        def __call__(self, t, x):
            return x @ self.matrix[...].T

    def test_a_stretch_is_optimal_at_constant_speed_only(self, key):
        """From N(0, I) to N(0, S^2) along the eigenvectors of S: W2^2 = |S - I|^2."""
        model = flow()

        class Straight(nnx.Module):
            def __call__(self, t, x):
                factors = jnp.array([1.0, -0.5])
                return factors / (1 + t * factors) * x  # x(t) = (1 + t factors) x(0)

        model.velocity = Straight()
        gap = transport_gap(model, key, n=256, num_batches=8, num_steps=30)
        assert abs(gap.gap) < 1e-8
        assert abs(gap.squared_distance - 1.25) < 0.1
        model.velocity = self.Move(jnp.diag(jnp.log(jnp.array([2.0, 0.5]))))
        bent = transport_gap(model, key, n=256, num_batches=8, num_steps=30)
        # x(t) = 2^(+-t) x(0), whose energy is int |v|^2
        factors, ends = np.log([2.0, 0.5]), np.array([2.0, 0.5])
        cost = float(np.sum(factors * (ends**2 - 1) / 2))
        assert abs(bent.gap - (cost - 1.25)) < 4 * bent.error
        assert bent.gap > 4 * bent.error

    def test_a_turn_is_not_optimal(self, key):
        model = flow()
        model.velocity = self.Move(jnp.array([[0.0, -1.0], [1.0, 0.0]]))
        gap = transport_gap(model, key, n=256, num_batches=4, num_steps=30)
        # all of the cost of 2 E |v|^2 / 2 is wasted: both ends are the same density
        assert abs(gap.cost - 2.0) < 0.2
        assert gap.relative > 5


class TestPrices:
    """Regularisers in closed form, along `x' = M x` from x."""

    def price(self, regulariser, field=linear, key=None, x=None, **options):
        x = jnp.array([[1.0, 0.5], [-0.3, 0.8]]) if x is None else x
        path = integrate(field, x, costs=regulariser.costs, key=key, num_steps=40, **options)
        return regulariser(path), path

    def test_jacobian_norm(self, key):
        found, _ = self.price(JacobianNorm())
        np.testing.assert_allclose(found, float(jnp.sum(MATRIX**2)), rtol=1e-12)
        many, _ = self.price(JacobianNorm(), key=key, x=jnp.ones((4000, 2)))
        assert abs(float(jnp.mean(many)) - float(jnp.sum(MATRIX**2))) < 4 * float(
            jnp.std(many)
        ) / np.sqrt(4000)
        assert float(jnp.std(many)) > 0.01

    def test_divergence(self):
        found, _ = self.price(Divergence())
        np.testing.assert_allclose(found, float(jnp.trace(MATRIX)) ** 2, rtol=1e-12)

    @pytest.mark.parametrize("order", [1, 2, 3])
    def test_taylor(self, order):
        found, path = self.price(TaylorNorm(order))
        power = jnp.linalg.matrix_power(MATRIX, order)
        rates = jnp.sum((path.states @ power.T) ** 2, axis=-1)
        simpson = np.ones(41)
        simpson[1:-1:2], simpson[2:-1:2] = 4, 2
        np.testing.assert_allclose(found, simpson @ np.asarray(rates) / 120, rtol=1e-7)
        # a field of time alone: x = t^2, so the second derivative is 2
        found, _ = self.price(TaylorNorm(2), lambda t, x: 2 * t * jnp.ones_like(x))
        np.testing.assert_allclose(found, 8.0, rtol=1e-12)

    def test_rkhs_energy_is_that_of_the_interpolating_field(self):
        kernel, x = Gaussian(1.0), jnp.array([[1.0, 0.5], [-0.3, 0.8], [0.2, -1.0]])
        found, _ = self.price(
            RKHSEnergy(kernel, 1e-12), lambda t, y: jnp.ones_like(y) * x, x=x, t1=1e-6
        )
        metric = RKHS(kernel)
        weights = jnp.linalg.solve(kernel(x, x), x)
        energy = metric.energy(metric.sharp(Diracs(x, weights)))
        np.testing.assert_allclose(jnp.sum(found) / 1e-6, energy, rtol=1e-4)

    def test_the_geodesic_defect_is_zero_for_geodesics(self):
        """Of a field that moves as a geodesic does, to the first order in time."""
        kernel, metric = Gaussian(1.0), RKHS(Gaussian(1.0))
        q = jnp.array([[1.0, 0.5], [-0.3, 0.8], [0.2, -1.0]])
        p = jnp.array([[0.5, -1.0], [1.5, 0.2], [-0.4, 0.3]])
        moved, forced = geodesic_field(metric, Points(), q, p)

        def field(turn):
            return lambda t, x: kernel(x, q + t * moved) @ (p + turn * t * forced)

        def price(turn):
            rate = field(turn)
            return GeodesicDefect(kernel, 1e-12).price(rate, jnp.array(0.0), q, rate(0.0, q), None)

        np.testing.assert_allclose(price(1.0), 0.0, atol=1e-15)
        # what is missing of dp/dt is the residual
        expected = forced @ forced.T * kernel(q, q)
        np.testing.assert_allclose(jnp.sum(price(0.0)), jnp.sum(expected), rtol=1e-8)
        assert float(jnp.sum(price(0.0))) > 0.01

    def test_hamilton_jacobi(self):
        class Quadratic(nnx.Module):
            """phi = -|x|^2 / (2 (1 + t)), of which -grad phi = x / (1 + t) moves straight."""

            def __init__(self, power):
                self.power = power

            def potential(self, t, x):
                return -0.5 * jnp.sum(x**2, axis=-1) / (1 + t) ** self.power

            def __call__(self, t, x):
                return x / (1 + t) ** self.power

        from geojax.fields import Neural

        for power, held in ((1, True), (2, False)):
            found, _ = self.price(HamiltonJacobi(), Neural(Quadratic(power)))
            bent, _ = self.price(TaylorNorm(2), Neural(Quadratic(power)))
            assert bool(jnp.all(found < 1e-10)) == held
            assert bool(jnp.all(bent < 1e-10)) == held
        with pytest.raises(InputError, match="make the network with potential=True"):
            self.price(HamiltonJacobi())

    def test_a_potential_network_is_a_gradient(self, key):
        network = PotentialNetwork(2, (7,), dtype=jnp.float64, rngs=nnx.Rngs(0))
        x, t = jax.random.normal(key, (3, 2)), jnp.array(0.3)
        jacobian = jax.vmap(jax.jacfwd(lambda y: network(t, y)))(x)
        np.testing.assert_allclose(jacobian, jnp.swapaxes(jacobian, 1, 2), atol=1e-13)
        assert float(jnp.max(jnp.abs(jacobian))) > 1e-3

    def test_a_mixture_is_the_weighted_sum(self):
        parts = [KineticEnergy(), JacobianNorm(), TaylorNorm(2), Divergence()]
        weights = [0.5, 2.0, 0.0, 1.5]
        both, _ = self.price(Mixture(parts, weights))
        alone = [self.price(part)[0] for part in parts]
        total = sum(w * value for w, value in zip(weights, alone, strict=True))
        np.testing.assert_allclose(both, total, rtol=1e-12)
        assert len(Mixture(parts, weights).costs) == 2

    @pytest.mark.parametrize(
        ("call", "message"),
        [
            (lambda: Mixture([KineticEnergy()], [1.0, 2.0]), "one number for each of 1"),
            (lambda: Mixture([KineticEnergy()], [-1.0]), "weights must be at least 0"),
            (lambda: TaylorNorm(0), "order must be an integer of at least 1"),
            (lambda: RKHSEnergy(Gaussian(1.0), 0.0), "ridge must be positive"),
            (lambda: GeodesicDefect(Gaussian(1.0), 0.0), "ridge must be positive"),
        ],
    )
    def test_refusals(self, call, message):
        with pytest.raises(InputError, match=message):
            call()


class TestTraining:
    points = toy_samples("two_moons", jax.random.key(0), 400)

    def states(self, regulariser, **options):
        method = DensityMethod(regulariser, num_steps=3, **options)
        state = density_init(flow(), jax.random.key(1), method)
        return density_steps(state, self.points, method, 32, 5)

    def test_weight_zero_is_plain_to_the_last_bit(self):
        options = dict(steps=4, report_every=4, batch_size=32, num_steps=3)
        plain, off, on = (
            fit_density(self.points, flow(), regulariser=regulariser, **options).state.variables
            for regulariser in (
                None,
                Mixture([KineticEnergy(), JacobianNorm()], [0.0, 0.0]),
                Mixture([KineticEnergy(), JacobianNorm()], [0.1, 0.1]),
            )
        )
        jax.tree.map(np.testing.assert_array_equal, plain, off)
        leaves = zip(jax.tree.leaves(plain), jax.tree.leaves(on), strict=True)
        assert any(not np.array_equal(a, b) for a, b in leaves)

    @pytest.mark.slow
    def test_steps_that_are_left_over_are_trained(self):
        seen = []
        done = fit_density(
            self.points, flow(), steps=5, report_every=3, batch_size=8, num_steps=2,
            callback=lambda number, _: seen.append(number),
        )  # fmt: skip
        assert seen == [3, 5]
        assert int(done.state.step) == 5
        with pytest.raises(InputError, match="learning_rate must be positive"):
            fit_density(self.points, flow(), learning_rate=0.0)

    @pytest.mark.slow
    def test_the_price_lowers_the_energy_and_training_the_loss(self):
        options = dict(steps=150, report_every=50, batch_size=64, num_steps=4, learning_rate=1e-2)
        plain = fit_density(self.points, flow(), **options)
        priced = fit_density(self.points, flow(), regulariser=KineticEnergy(), **options)
        history = plain.history["negative_log_likelihood"]
        assert history[-1] < history[0] - 0.1
        assert priced.history["energy"][-1] < 0.7 * plain.history["energy"][-1]

    @pytest.mark.slow
    def test_probes_change_from_step_to_step(self):
        _, first = self.states(None, divergence="hutchinson")
        _, exact = self.states(None)
        assert float(jnp.max(jnp.abs(first.loss - exact.loss))) > 1e-6

    @pytest.mark.slow
    def test_a_training_that_breaks_off_says_where(self):
        options = dict(steps=6, report_every=3, num_steps=2, batch_size=8, learning_rate=1e200)
        with pytest.raises(NumericalError, match="not finite within steps 1 to 3; lower"):
            fit_density(self.points, flow(), **options)
        done = fit_density(self.points, flow(), throw=False, **options)
        assert bool(done.result == RESULTS.diverged)
        with pytest.raises(InputError, match=r"must be \[m, 2\]"):
            fit_density(jnp.ones((4, 3)), flow())


@pytest.mark.parametrize("name", sorted(TOY_DENSITIES))
def test_toy_densities(name, key):
    points = toy_samples(name, key, 4000)
    assert points.shape == (4000, 2)
    assert float(jnp.max(jnp.abs(points))) < 6
    assert float(jnp.max(jnp.abs(jnp.mean(points, axis=0)))) < 0.15
    spread = jnp.std(points, axis=0)
    assert bool(jnp.all((spread > 0.5) & (spread < 2)))
    np.testing.assert_array_equal(points, toy_samples(name, key, 4000))


def test_the_board_has_dark_and_light_fields(key):
    points = np.floor(np.asarray(toy_samples("checkerboard", key, 2000))).astype(int)
    assert set(np.unique(points.sum(axis=1) % 2)) == {0}
    assert len({tuple(field) for field in points}) == 8


def test_an_unknown_toy_is_refused(key):
    with pytest.raises(InputError, match="did you mean 'two_moons'"):
        toy_samples("two_moon", key, 5)
