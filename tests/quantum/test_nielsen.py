"""Nielsen's complexity: closed forms, an independent solver's equation, bounds, derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import expm
from scipy.stats import unitary_group
from systems.groups import BergerSphere

from geojax import shoot
from geojax._core.errors import InputError, NumericalError
from geojax.actions import Unitaries
from geojax.metrics import PauliPenalty
from geojax.quantum import (
    conjugate_points,
    cut_time,
    gate,
    isotropic_distance,
    lax,
    nielsen_complexity,
)
from geojax.quantum.search import length

LEAN = {"num_starts": 32, "num_steps": 16}


@jax.jit
def _solved(targets, prices):
    return jax.vmap(lambda u, p: nielsen_complexity(u, PauliPenalty(1, p), **LEAN, throw=False))(
        targets, prices
    )


def solved(targets, prices):
    """What is found for up to four targets of one qubit: one program for all tests."""
    targets, prices = np.stack(targets), np.stack(prices)
    rows = np.arange(4) % len(targets)
    found = _solved(jnp.asarray(targets[rows]), jnp.asarray(prices[rows]))
    return jax.tree.map(lambda x: x[: len(targets)], found)


def inverse_prices(metric):
    return 1.0 / metric.penalties[1:]


def random_momentum(num_qubits, norm, seed=0):
    draw = np.random.default_rng(seed).normal(size=4**num_qubits - 1)
    return jnp.asarray(norm * draw / np.linalg.norm(draw))


class TestLax:
    """The geodesic over commutators, held to the generic one."""

    @pytest.mark.parametrize(
        "num_qubits",
        [pytest.param(1, marks=pytest.mark.slow), 2, pytest.param(3, marks=pytest.mark.slow)],
    )
    def test_agrees_with_the_generic_core(self, num_qubits):
        metric = PauliPenalty(num_qubits, [3.0, 1.0, 6.0] if num_qubits == 1 else 3.0)
        if num_qubits == 2:
            metric = PauliPenalty(2, [1.0, 3.0])
        momentum = random_momentum(num_qubits, 2.0)
        size = 2**num_qubits
        action, identity = Unitaries(num_qubits), jnp.eye(size, dtype=complex)
        path = shoot(metric, action, identity, action.lift(identity, lax.matrix(momentum) / size))
        errors = []
        for num_steps in (20, 40):
            found = lax.geodesic(momentum, inverse_prices(metric), num_steps=num_steps)
            errors.append(float(jnp.max(jnp.abs(found[-1] - path.end))))
            products = found @ jnp.conj(jnp.swapaxes(found, -1, -2))
            assert jnp.max(jnp.abs(products - identity[None])) < 1e-13
        assert errors[0] < 1e-5
        assert 3.5 < np.log2(errors[0] / errors[1]) < 4.5
        assert abs(length(momentum, inverse_prices(metric)) - path.length) < 1e-12
        # negative control: other penalties, another geodesic
        other = lax.geodesic(momentum, jnp.ones(size**2 - 1), num_steps=40)
        assert jnp.max(jnp.abs(other[-1] - path.end)) > 1e-2

    @pytest.mark.slow
    def test_jacobi_fields_are_the_derivative(self):
        metric, momentum = PauliPenalty(2, [1.0, 3.0]), random_momentum(2, 2.0)
        prices = inverse_prices(metric)

        def body(m):
            return lax.geodesic(m, prices, num_steps=64)[-1]

        tangents = jax.jacfwd(body)(momentum)
        products = jnp.einsum("ba,bcp->acp", jnp.conj(body(momentum)), tangents)
        truth = jax.vmap(lambda t: lax.coefficients(1j * t), in_axes=2, out_axes=1)(products)
        errors = []
        for num_steps in (16, 32):
            unitaries = lax.geodesic(momentum, prices, num_steps=num_steps)
            found = lax.jacobi(unitaries, momentum, prices)
            errors.append(float(jnp.max(jnp.abs(found - truth))))
        assert errors[1] < 2e-5
        assert 3.5 < np.log2(errors[0] / errors[1]) < 4.7


class TestIsotropic:
    """All penalties one: the norm of the shortest logarithm, phase and centre included."""

    @pytest.mark.parametrize(
        ("name", "truth"),
        [
            ("x", np.pi / 2),
            ("h", np.pi / 2),
            ("s", np.pi / 4),
            ("t", np.pi / 8),
            ("cx", np.pi * np.sqrt(3) / 4),
            ("cz", np.pi * np.sqrt(3) / 4),
            ("swap", np.pi * np.sqrt(3) / 4),
            ("iswap", np.pi / np.sqrt(8)),
            ("ccx", np.pi * np.sqrt(7) / 8),
            ("identity", 0.0),
        ],
    )
    def test_gates(self, name, truth):
        unitary = gate(name)
        angles = -np.angle(np.linalg.eigvals(unitary))
        size = len(angles)
        # the best phase, by brute force over roots and whole turns of the traceless logarithm
        best = np.inf
        for root in range(size):
            turned = angles - np.angle(np.linalg.det(unitary)) * -1 / size + 2 * np.pi * root / size
            turned = (turned + np.pi) % (2 * np.pi) - np.pi
            turns = round(turned.sum() / (2 * np.pi))
            order = np.argsort(-np.sign(turns) * turned)
            turned[order[: abs(turns)]] -= 2 * np.pi * np.sign(turns)
            best = min(best, np.linalg.norm(turned) / np.sqrt(size))
        assert abs(best - truth) < 1e-8
        assert abs(float(isotropic_distance(unitary)) - truth) < 1e-8

    @pytest.mark.slow
    def test_search_finds_them(self):
        found = nielsen_complexity("cx", PauliPenalty(2), num_starts=4, num_steps=8)
        truth = np.pi * np.sqrt(3) / 4
        for value in (found.distance, found.lower_bound, found.upper_bound):
            assert abs(float(value) - truth) < 1e-8
        assert found.residual < 1e-12


class TestBergerSphere:
    """One qubit with one dear or cheap axis, in closed form."""

    @pytest.mark.parametrize("epsilon", [0.6, 2.0])
    def test_distances_along_the_fibre(self, epsilon):
        sphere = BergerSphere(epsilon)
        angles = (0.5, 1.0, 2.0)
        prices = [[epsilon**2, 1.0, 1.0]] * len(angles)
        found = solved([sphere.fibre(angle) for angle in angles], prices)
        for k, angle in enumerate(angles):
            # a phase of -1 turns the fibre by half of its length
            truth = min(sphere.fibre_distance(angle), sphere.fibre_distance(np.pi - angle))
            assert abs(float(found.distance[k]) - truth) < 1e-8
            assert found.residual[k] < 1e-8
            assert found.lower_bound[k] <= truth + 1e-12
            # a bound up to the error of the steps
            assert truth - 1e-9 <= found.upper_bound[k] <= truth + 1e-6
            # geodesics that leave the fibre come back to it at its conjugate points
            leaves = abs(truth - epsilon * min(angle, np.pi - angle)) > 1e-6
            assert bool(jnp.isfinite(found.conjugate_time[k])) == leaves
            if leaves:
                assert abs(float(found.conjugate_time[k]) - 1) < 1e-6

    @pytest.mark.parametrize("squared", [1.44, pytest.param(2.0, marks=pytest.mark.slow)])
    def test_conjugate_points(self, squared):
        metric = PauliPenalty(1, [squared, 1.0, 1.0])
        momentum = jnp.array([np.pi * squared, 0.0, 0.0])
        found = conjugate_points(metric, momentum, t1=0.9, num_steps=128)
        assert abs(float(found.lengths[0]) - np.pi / np.sqrt(squared)) < 1e-6
        assert found.multiplicities[0] == 2
        assert not np.isfinite(found.times[1])

    def test_no_conjugate_points_where_there_are_none(self):
        momentum = jnp.array([np.pi, 0.0, 0.0])
        isotropic = conjugate_points(PauliPenalty(1), momentum, t1=0.99, num_steps=128)
        assert not np.any(np.isfinite(isotropic.times))
        assert not np.any(isotropic.multiplicities)

    def test_fields_that_never_grow_are_no_conjugate_points(self):
        """Dear and forbidden strings leave singular values small all along."""
        momentum = jnp.zeros(15).at[3].set(0.3)
        for price in (1e6, np.inf):
            found = conjugate_points(PauliPenalty(2, [1.0, price]), momentum, num_steps=64)
            assert not np.any(np.isfinite(found.times))

    def test_the_unit_of_the_prices_does_not_matter(self):
        targets = [unitary_group.rvs(2, random_state=7)] * 2
        found = solved(targets, [[1.0, 2.0, 4.0], [0.01, 0.02, 0.04]])
        assert abs(float(found.distance[1] / found.distance[0]) - 0.1) < 1e-8
        assert found.num_agreed[0] == found.num_agreed[1]

    def test_sub_riemannian_limit(self):
        """Along the forbidden axis: `sqrt(phi (2 pi - phi))`."""
        angle = 1.0
        target = expm(-1j * angle * np.array([[0, 1], [1, 0]]))
        found = solved([target], [[np.inf, 1.0, 1.0]])
        truth = np.sqrt(angle * (2 * np.pi - angle))
        assert abs(float(found.distance[0]) - truth) < 1e-7
        assert found.lower_bound[0] <= truth


class TestBounds:
    def test_monotone_and_between(self):
        """`d` grows with each penalty; `d_1 <= d_w <= sqrt(max w) d_1`."""
        target = unitary_group.rvs(2, random_state=3)
        prices = [[1.0, 1.0, 1.0], [1.0, 2.0, 1.0], [1.0, 2.0, 5.0]]
        found = solved([target] * 3, prices)
        distances = np.asarray(found.distance)
        assert np.all(np.diff(distances) > 1e-4)
        assert np.all(distances >= found.lower_bound - 1e-10)
        assert np.all(distances <= np.sqrt([1.0, 2.0, 5.0]) * distances[0] + 1e-10)

    def test_triangle_and_right_invariance(self):
        u, v, w = (unitary_group.rvs(2, random_state=k) for k in range(3))
        pairs = [v @ u.conj().T, w @ v.conj().T, w @ u.conj().T, (w @ u) @ (v @ u).conj().T]
        d = solved(pairs, [[1.0, 3.0, 2.0]] * 4).distance
        assert d[2] <= d[0] + d[1] + 1e-9
        assert abs(d[3] - d[1]) < 1e-9


@pytest.mark.slow
def test_gradients():
    """Of the distance in target and penalties, against differences."""
    target = jnp.asarray(unitary_group.rvs(2, random_state=5))
    generator = lax.matrix(jnp.array([0.3, -0.5, 0.8]))

    @jax.jit
    def distance(prices, angle):
        moved = lax.exponential(-1j * angle * generator) @ target
        return nielsen_complexity(moved, PauliPenalty(1, prices), **LEAN, throw=False).distance

    prices = jnp.array([1.0, 2.0, 4.0])
    found = jax.jit(jax.grad(distance, (0, 1)))(prices, 0.0)
    h = 1e-5
    for k in range(3):
        shift = jnp.zeros(3).at[k].set(h)
        slope = (distance(prices + shift, 0.0) - distance(prices - shift, 0.0)) / (2 * h)
        assert abs(found[0][k] - slope) < 1e-7
    slope = (distance(prices, h) - distance(prices, -h)) / (2 * h)
    assert abs(found[1] - slope) < 1e-7
    assert np.all(np.asarray(found[0]) >= 0)


@pytest.mark.slow
def test_most_starts_come_back():
    """A third of the starts and more agree on random gates of two qubits."""
    for seed in range(2):
        target = unitary_group.rvs(4, random_state=seed)
        found = nielsen_complexity(target, PauliPenalty(2, [1.0, 8.0]), num_steps=16)
        assert found.num_converged >= 20
        assert found.num_agreed >= 5


class TestBadInput:
    def test_targets(self):
        metric = PauliPenalty(1)
        for bad, message in (
            (np.diag([1.0, 2.0]), "unitary"),
            (np.eye(3), "2\\^n"),
            (np.eye(4), "metric's 1 qubit"),
            (np.array([[np.nan, 0], [0, 1]]), "nan"),
            ("toffol", "toffoli"),
        ):
            with pytest.raises(InputError, match=message):
                nielsen_complexity(bad, metric)

    def test_counts_and_memory(self):
        for options in ({"num_starts": 0}, {"num_steps": 1}, {"tolerance": -1.0}):
            with pytest.raises(InputError):
                nielsen_complexity(np.eye(2), PauliPenalty(1), **options)
        with pytest.raises(InputError, match=r"GB|TB"):
            nielsen_complexity(np.eye(32), PauliPenalty(5), num_starts=10**6)
        with pytest.raises(InputError, match=r"GB|TB"):
            conjugate_points(PauliPenalty(6), jnp.ones(4**6 - 1), num_steps=10**6)
        with pytest.raises(InputError, match="determinant one"):
            nielsen_complexity(np.diag([1.0, 1j]), PauliPenalty(1), phase_free=False)
        with pytest.raises(InputError, match="momentum"):
            conjugate_points(PauliPenalty(1), jnp.zeros(3))
        with pytest.raises(InputError, match="momentum"):
            conjugate_points(PauliPenalty(1), jnp.ones(4))

    @pytest.mark.slow
    def test_an_unreachable_target(self):
        """Two qubits whose strings of weight two are forbidden make no CNOT."""
        metric = PauliPenalty(2, [1.0, np.inf])
        with pytest.raises(NumericalError):
            nielsen_complexity("cx", metric, num_starts=4, num_steps=8)
        found = nielsen_complexity("cx", metric, num_starts=4, num_steps=8, throw=False)
        assert np.isnan(found.distance)
        assert found.num_converged == 0


@pytest.mark.slow
class TestCutPoints:
    def test_of_a_berger_sphere(self):
        """The cheap axis is cut at half of the fibre, long before its neighbours come back."""
        epsilon = 0.6
        metric = PauliPenalty(1, [epsilon**2, 1.0, 1.0])
        momentum = np.pi * jnp.array([epsilon, 0.0, 0.0])
        cut = cut_time(metric, momentum, num_bisections=12, **LEAN)
        assert abs(float(cut) - epsilon) < 1e-3
        # up to a phase, -1 is 1 again, and half of that is the end
        cut = cut_time(metric, momentum, num_bisections=12, phase_free=True, **LEAN)
        assert abs(float(cut) - epsilon / 2) < 1e-3

    def test_never_after_the_first_conjugate_point(self):
        metric = PauliPenalty(1, [0.64, 1.0, 1.0])
        momentum = np.pi * jnp.array([0.0, 1.0, 0.0])
        cut = cut_time(metric, momentum, num_bisections=12, num_starts=24, num_steps=32)
        conjugate = conjugate_points(metric, momentum).times[0]
        assert 0 <= float(cut) - float(conjugate) < 1e-2
        assert np.isinf(cut_time(PauliPenalty(1), momentum, t1=0.99, num_bisections=8, **LEAN))

    @pytest.mark.parametrize("epsilon", [0.5, 0.8, 1.3])
    def test_minus_one_is_a_point_of_the_group(self, epsilon):
        sphere = BergerSphere(epsilon)
        found = nielsen_complexity(-np.eye(2), sphere.metric, phase_free=False)
        assert abs(float(found.distance) - sphere.fibre_distance(np.pi)) < 1e-8
        same = nielsen_complexity(-np.eye(2), sphere.metric)
        assert float(same.distance) < 1e-12
