"""The measures of paths, against closed forms and with networks that must fail them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from geojax import integrate, measure, shoot
from geojax._core.errors import InputError
from geojax.actions import Points
from geojax.complexity import Measures, geodesic_defect
from geojax.complexity.measures import stretches
from geojax.kernels import Gaussian
from geojax.metrics import RKHS
from geojax.networks import Layers, MomentumNetwork, ResidualNetwork, ShootingNetwork

ONLY_GEOMETRY = {"group_size": 0, "num_jacobians": 0, "robustness": False}


@pytest.fixture
def x(key):
    return jax.random.normal(key, (6, 3))


def linear(*matrices) -> Layers:
    return Layers([lambda y, a=a: y @ jnp.asarray(a).T for a in matrices])


A, B = np.diag([2.0, 1.0, 0.5]), np.diag([1.0, 3.0, 0.25])
C = np.array([[1.0, 0.4, 0.0], [0.0, 1.0, 0.0], [0.1, 0.0, 1.0]])


class TestLinearLayers:
    def test_spectrum_of_the_product(self, x):
        found = measure(linear(A, C, B), x, group_size=0, num_jacobians=2)
        for k, product in enumerate([np.eye(3), A, C @ A, B @ C @ A]):
            wanted = np.linalg.svd(product, compute_uv=False)
            np.testing.assert_allclose(
                found.singular_values[k], np.tile(wanted, (2, 1)), rtol=1e-12
            )
        condition = np.linalg.cond(B @ C @ A)
        np.testing.assert_allclose(found.figures()["log_condition"], np.log10(condition))

    def test_a_condition_beyond_the_largest_number(self):
        one = np.ones(1)
        extreme = Measures((2, 2), one, one, one, np.ones((1, 1)), singular_values=(
            np.ones((1, 2)), np.array([[1e200, 1e-200]])
        ))  # fmt: skip
        np.testing.assert_allclose(extreme.figures()["log_condition"], 400.0)

    def test_sensitivity_is_the_norm_of_what_follows(self, x):
        found = measure(linear(A, C, B), x, group_size=0, num_jacobians=2)
        for k, product in enumerate([B @ C @ A, B @ C, B, np.eye(3)]):
            np.testing.assert_allclose(found.sensitivity[k], np.linalg.norm(product), rtol=1e-12)

    def test_layers_that_commute(self, x):
        found = measure(linear(A, B), x, group_size=0)
        np.testing.assert_allclose(found.commutator, 0.0, atol=1e-15)
        np.testing.assert_allclose(found.change(found.swapped), 0.0, atol=1e-14)
        assert found.figures()["swap_answers"] == 0.0

    def test_layers_that_do_not(self, x):
        """Negative control, in closed form."""
        found = measure(linear(A, C), x, group_size=0)
        y = np.asarray(x)
        steps = np.linalg.norm(y @ A.T - y, axis=1) + np.linalg.norm(y @ (C @ A - A).T, axis=1)
        wanted = np.linalg.norm(y @ (C @ A - A @ C).T, axis=1) / steps
        np.testing.assert_allclose(found.commutator[0], wanted, rtol=1e-12)
        np.testing.assert_allclose(found.swapped[0], y @ (A @ C).T, rtol=1e-12)
        assert found.figures()["swap"] > 1e-2

    def test_a_permutation_of_the_coordinates_does_not_commute(self, x):
        permutation = np.eye(3)[[1, 2, 0]]
        found = measure(linear(A, permutation), x, group_size=0)
        assert found.figures()["commutator"] > 0.1
        assert found.figures()["swap"] > 0.1

    def test_deletion(self, x):
        found = measure(linear(A, np.eye(3), C), x, np.argmax(x @ (C @ A).T, axis=1), group_size=0)
        y = np.asarray(x)
        np.testing.assert_allclose(found.deleted[0], y @ C.T, rtol=1e-12)
        np.testing.assert_allclose(found.change(found.deleted)[1], 0.0, atol=1e-14)
        np.testing.assert_allclose(found.deleted[2], y @ A.T, rtol=1e-12)
        assert found.figures()["accuracy"] == 1.0
        wrong = np.argmax(y @ C.T, axis=1) != np.argmax(y @ (C @ A).T, axis=1)
        np.testing.assert_array_equal(found.changed(found.deleted)[0], wrong)
        np.testing.assert_array_equal(found.right(found.deleted)[0], ~wrong)


class TestStraightLines:
    SHIFT = np.array([3.0, 0.0, 4.0])

    def shifts(self, *factors) -> Layers:
        return Layers([lambda y, f=f: y + f * self.SHIFT[None] for f in factors])

    def test_equal_steps(self, x):
        found = measure(self.shifts(0.25, 0.25, 0.25, 0.25), x, num_jacobians=0)
        np.testing.assert_allclose(found.length, 5.0)
        np.testing.assert_allclose(found.length_over_chord, 1.0)
        np.testing.assert_allclose(found.energy, 12.5)
        np.testing.assert_allclose(found.step_size[0], 1.25 / np.linalg.norm(x, axis=1))

    def test_unequal_steps_cost_more_on_the_same_line(self, x):
        found = measure(self.shifts(0.7, 0.1, 0.2), x, **ONLY_GEOMETRY)
        np.testing.assert_allclose(found.length_over_chord, 1.0)
        np.testing.assert_allclose(found.energy, 0.5 * 3 * 25 * (0.49 + 0.01 + 0.04))

    def test_there_and_back_is_not_straight(self, x):
        found = measure(self.shifts(1.0, -0.5), x, **ONLY_GEOMETRY)
        np.testing.assert_allclose(found.length_over_chord, 3.0)

    def test_a_closed_path_has_no_ratio_and_a_resting_one_is_straight(self, x):
        closed = measure(self.shifts(1.0, -1.0), jnp.zeros((2, 3)), **ONLY_GEOMETRY)
        assert np.isnan(closed.length_over_chord).all()
        assert np.isnan(closed.figures()["length_over_chord"])
        resting = measure(self.shifts(0.0, 0.0), x, **ONLY_GEOMETRY)
        np.testing.assert_array_equal(resting.length_over_chord, 1.0)
        np.testing.assert_array_equal(resting.commutator, 0.0)


class TestChangingDimension:
    def network(self) -> Layers:
        fold = np.array([[1.0, 1.0, 0.0], [0.0, 0.0, 2.0]])
        return linear(A, fold, 2 * np.eye(2), np.eye(2))

    def test_only_steps_of_one_dimension_count(self, x):
        found = measure(self.network(), x)
        states = [np.asarray(state) for state in self.network().states(x)]
        kept = [np.linalg.norm(states[k + 1] - states[k], axis=1) for k in (0, 2, 3)]
        assert (found.dimensions, found.num_steps_measured) == ((3, 3, 2, 2, 2), 3)
        np.testing.assert_allclose(found.length, sum(kept))
        np.testing.assert_allclose(found.length_over_chord, 1.0)  # each stretch is straight
        assert np.isnan(found.step_size[1]).all()
        assert np.isnan(found.commutator[:2]).all()
        assert np.isnan(found.deleted[1]).all()
        assert not np.isnan(found.deleted[[0, 2, 3]]).any()
        assert found.defect is None
        assert [values.shape[1] for values in found.singular_values] == [3, 3, 2, 2, 2]

    @pytest.mark.parametrize(
        ("dimensions", "wanted"),
        [
            ((3, 3, 3), [(0, 2)]),
            ((3, 2, 2, 5, 5, 5), [(1, 2), (3, 5)]),
            ((8, 4, 2), []),
        ],
    )
    def test_stretches(self, dimensions, wanted):
        assert stretches(dimensions) == wanted


class TestJacobians:
    def test_against_central_differences(self, x):
        model = ResidualNetwork(3, 2, depth=3, width=4, dtype=jnp.float64, rngs=nnx.Rngs(0))
        found = measure(model, x[:2], group_size=0, robustness=False)
        step, layers, start = 1e-6, model.layers(x), model.start(x[:1])[0]

        def end(y, first=0):
            for layer in layers[first:]:
                y = layer(y)
            return y

        sides = [end(start[None] + sign * step * jnp.eye(4)) for sign in (1, -1)]
        wanted = np.linalg.svd((sides[0] - sides[1]) / (2 * step), compute_uv=False)
        np.testing.assert_allclose(found.singular_values[-1][0], wanted, rtol=1e-7)
        middle = model.states(x)[2][0]
        sides = [model.read(end(middle[None] + sign * step * jnp.eye(4), 2)) for sign in (1, -1)]
        wanted = np.linalg.norm((sides[0] - sides[1]) / (2 * step))
        np.testing.assert_allclose(found.sensitivity[2, 0], wanted, rtol=1e-7)


class TestNearIdentity:
    def test_deletion_is_of_first_and_swap_of_second_order_in_the_step(self, x):
        model = ResidualNetwork(3, 3, depth=4, step=0.1, dtype=jnp.float64, rngs=nnx.Rngs(0))
        deletions, swaps = [], []
        for step in (0.02, 0.01):
            model.step = step
            found = measure(model, x, group_size=0, num_jacobians=0).figures()
            deletions.append(found["deletion"])
            swaps.append(found["swap"])
        np.testing.assert_allclose(np.log2(deletions[0] / deletions[1]), 1.0, atol=0.05)
        np.testing.assert_allclose(np.log2(swaps[0] / swaps[1]), 2.0, atol=0.05)


class TestGeodesicDefect:
    METRIC = RKHS(Gaussian(jnp.asarray(1.5)))

    def geodesic(self, num_steps):
        q, p = jax.random.normal(jax.random.key(3), (2, 6, 2))
        return shoot(self.METRIC, Points(), q, p, num_steps=num_steps)

    def test_vanishes_in_the_second_order_along_geodesics(self):
        found = [geodesic_defect(self.geodesic(n).states, self.METRIC) for n in (20, 40)]
        assert float(found[1]) < 0.02
        np.testing.assert_allclose(np.log2(found[0] / found[1]), 2.0, atol=0.15)

    def test_not_in_another_metric(self):
        other = RKHS(Gaussian(jnp.asarray(0.75)))
        found = [float(geodesic_defect(self.geodesic(n).states, other)) for n in (20, 40)]
        assert min(found) > 0.3
        np.testing.assert_allclose(found[0], found[1], rtol=0.1)  # and no error of the steps

    @pytest.mark.slow
    def test_points_that_are_carried_hold_no_momentum(self):
        q, p = jax.random.normal(jax.random.key(3), (2, 6, 2))
        others = jax.random.normal(jax.random.key(4), (3, 2))
        path = shoot(self.METRIC, Points(), q, p, carried=others, num_steps=40)
        both = jnp.concatenate([path.states, path.carried], axis=1)
        assert float(geodesic_defect(both, self.METRIC)) < 0.03
        # without what carries them, they are no geodesic
        assert float(geodesic_defect(path.carried, self.METRIC)) > 0.1

    def test_one_particle_that_speeds_up(self):
        """Alone in the space, `K = 1`: the defect of `x = t^2` is 2, its speed 1 on average."""
        t = jnp.linspace(0.0, 1.0, 101)
        states = jnp.stack([t**2, 0 * t], axis=-1)[:, None]
        np.testing.assert_allclose(geodesic_defect(states, self.METRIC), 2.0, rtol=1e-8)
        uniform = jnp.stack([3 * t, -t], axis=-1)[:, None]
        np.testing.assert_allclose(geodesic_defect(uniform, self.METRIC), 0.0, atol=1e-10)

    @pytest.mark.slow
    def test_has_no_unit(self):
        states = self.geodesic(20).states.at[10:].multiply(1.1)
        scaled = RKHS(Gaussian(jnp.asarray(15.0)))
        wanted = geodesic_defect(states, self.METRIC)
        np.testing.assert_allclose(geodesic_defect(10 * states, scaled), wanted, rtol=1e-6)

    @pytest.mark.slow
    def test_shooting_networks_have_none_and_free_momenta_do(self, key):
        x = jax.random.normal(key, (8, 2))
        options = {"points": 5, "depth": 8, "scale": 1.5, "dtype": jnp.float64}
        model = ShootingNetwork(2, 2, **options, rngs=nnx.Rngs(0))
        model.momenta[...] = 0.5 * jax.random.normal(jax.random.key(2), (5, 2))
        free = MomentumNetwork(2, 2, **options, rngs=nnx.Rngs(0))
        free.momenta[...] = jax.random.normal(jax.random.key(2), (8, 5, 2))
        only = {"group_size": 4, "num_jacobians": 0, "robustness": False}
        shooting, other = measure(model, x, **only), measure(free, x, **only)
        assert shooting.defect.shape == (2,)
        assert shooting.scale == 1.5
        assert shooting.defect.max() < 0.05
        assert other.defect.min() > 1.0

    def test_too_few_times(self):
        with pytest.raises(InputError, match="three times"):
            geodesic_defect(jnp.ones((2, 3, 2)), self.METRIC)


class TestPaths:
    def test_of_a_flow(self, x):
        path = integrate(lambda t, y: jnp.ones_like(y), x)
        found = measure(path)
        np.testing.assert_allclose(found.length, np.sqrt(3.0))
        np.testing.assert_allclose(found.energy, 1.5)
        np.testing.assert_allclose(found.length_over_chord, 1.0)
        # a common motion is no geodesic: particles that move alike push each other
        assert found.defect[0] > 0.05
        assert found.singular_values is None

    @pytest.mark.slow
    def test_of_a_geodesic(self):
        metric = RKHS(Gaussian(jnp.asarray(1.5)))
        q, p = jax.random.normal(jax.random.key(3), (2, 6, 2))
        path = shoot(metric, Points(), q, p, num_steps=40)
        found = measure(path, metric=metric)
        steps = np.linalg.norm(np.diff(path.states, axis=0), axis=-1)
        np.testing.assert_allclose(found.length, steps.sum(axis=0))
        assert found.defect[0] < 0.02

    def test_ends_alone_are_no_path(self, x):
        path = integrate(lambda t, y: y, x, save="end")
        assert measure(path).defect is None
        assert measure(path).num_layers == 1


def test_figures_and_their_errors(x):
    found = measure(linear(A, B), x, np.zeros(6, int), group_size=3, num_jacobians=2)
    figures = found.figures()
    np.testing.assert_allclose(figures["length"], found.length.mean())
    np.testing.assert_allclose(
        figures["length_stderr"], found.length.std(ddof=1) / np.sqrt(6), rtol=1e-12
    )
    assert set(figures) == {name + end for name in found.samples() for end in ("", "_stderr")}
    assert [row[1:] for row in found.table()] == [
        (figures[name], figures[f"{name}_stderr"]) for name in found.samples()
    ]
    assert found.defect.shape == (2,)


def test_numbers_are_those_of_now(x):
    """A network that is trained between two measurements is measured anew."""
    model = ResidualNetwork(3, 3, depth=2, dtype=jnp.float64, rngs=nnx.Rngs(0))
    before = measure(model, x, group_size=0)
    model.generators[0].bias[...] = jnp.ones(3)
    model.head.bias[...] = jnp.ones(3)
    after = measure(model, x, group_size=0)
    np.testing.assert_allclose(after.logits, model(x), rtol=1e-12)
    for name in ("logits", "deleted", "swapped", "sensitivity", "commutator", "length"):
        assert np.abs(getattr(before, name) - getattr(after, name)).max() > 1e-6, name


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((nnx.Linear(3, 3, rngs=nnx.Rngs(0)), np.ones((2, 3))), "wrap it in"),
        ((linear(A),), "inputs must be given"),
        ((linear(A), np.ones((2, 3)), np.ones(3, int)), "2 whole numbers"),
        ((ResidualNetwork(4, 2, rngs=nnx.Rngs(0)), np.ones((2, 3))), "must have 4 features"),
    ],
)
def test_refusals(arguments, message):
    with pytest.raises(InputError, match=message):
        measure(*arguments)
