"""Metrics: prices, norms, bad prices. Their laws in a geometry are in tests/geodesics."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from systems.groups import hamiltonian_of, pauli_string
from systems.numerics import largest

from geojax._core import pauli
from geojax._core.errors import InputError
from geojax.kernels import Diracs, Gaussian
from geojax.metrics import RKHS, Entrywise, Isotropic, PauliPenalty, locality


class TestPauliPenalty:
    def test_nielsens_prices(self):
        metric = PauliPenalty(3, 16.0)
        for name, price in (("XII", 1), ("IZY", 1), ("XYZ", 16)):
            assert float(metric.energy(pauli_string(name))) == pytest.approx(price / 2, abs=1e-13)

    def test_every_form_of_prices(self):
        weight = pauli.weights(2)
        by_weight = PauliPenalty(2, [2.0, 5.0]).penalties
        assert by_weight[1:].tolist() == [{1: 2.0, 2: 5.0}[w] for w in weight[1:]]
        assert largest(PauliPenalty(2, lambda k: [2.0, 5.0][k - 1]).penalties - by_weight) == 0
        assert largest(PauliPenalty(2, by_weight[1:]).penalties - by_weight) == 0
        assert largest(PauliPenalty(2, np.asarray(by_weight[1:])).penalties - by_weight) == 0
        # three numbers for one qubit are X, Y and Z
        assert PauliPenalty(1, (1.0, 2.0, 3.0)).penalties.tolist() == [1.0, 1.0, 2.0, 3.0]

    @pytest.mark.parametrize(
        ("penalties", "message"),
        [
            (0.0, "penalties must be positive, but is 0.0"),
            (-1.0, "penalties must be positive"),
            ([1.0, 0.0], r"entry \[1\] is 0.0"),
            (lambda k: np.nan, r"entry \[0\] is nan"),
            ([1.0, 2.0, 3.0], r"2 numbers \(one per weight\) or 15 numbers.*shape \[3\]"),
            (np.ones((2, 2)), r"shape \[2, 2\]"),
            ({"XQ": 2.0}, "'XQ', which is no Pauli string of 2 qubits"),
            ({"XX": -2.0}, "positive"),
        ],
    )
    def test_bad_prices(self, penalties, message):
        with pytest.raises(InputError, match=message):
            PauliPenalty(2, penalties)

    def test_too_many_qubits(self):
        with pytest.raises(InputError, match="GB"):
            PauliPenalty(30)

    def test_norm_is_the_priced_sum_of_squares(self):
        prices = np.random.default_rng(0).uniform(0.5, 4, 15)
        coefficients = np.random.default_rng(1).normal(size=15)
        energy = PauliPenalty(2, prices).energy(hamiltonian_of(coefficients))
        assert abs(float(energy) - 0.5 * np.sum(prices * coefficients**2)) < 1e-13

    def test_prices_by_label_and_forbidden_strings(self):
        metric = PauliPenalty(2, {"XX": 4.0, "ZZ": np.inf})
        assert metric.penalties[metric.labels.index("XX")] == 4.0
        allowed, forbidden = pauli_string("XX") + pauli_string("YI"), pauli_string("ZZ")
        assert float(metric.energy(allowed)) == pytest.approx(2.5, abs=1e-13)
        assert np.isinf(metric.norm(forbidden))
        assert np.isinf(metric.energy(forbidden))
        # rounding is not forbidden
        nearly = allowed + 1e-16 * forbidden
        assert abs(float(metric.energy(nearly)) - 2.5) < 1e-13
        assert abs(float(metric.norm(nearly)) - np.sqrt(5.0)) < 1e-13
        # a real matrix has the coefficients that it has as a complex one
        real = jnp.real(pauli_string("YY"))
        assert float(PauliPenalty(2).energy(real)) == pytest.approx(0.5, abs=1e-13)
        assert largest(metric.sharp(metric.flat(allowed)) - allowed) < 1e-14
        assert largest(metric.sharp(forbidden)) == 0

    def test_weights_on_a_coupling_graph(self):
        """On a chain, the ends are joined by way of the middle."""
        metric = PauliPenalty(3, [1.0, 2.0, 3.0], coupling=[(0, 1), (1, 2)])
        price = dict(zip(metric.labels, np.asarray(metric.penalties), strict=True))
        assert [price[name] for name in ("XII", "XYI", "IZZ", "XIZ", "XYZ")] == [1, 2, 2, 3, 3]
        every = [(0, 1), (1, 2), (0, 2)]
        complete = PauliPenalty(3, [1.0, 2.0, 3.0], coupling=every).penalties
        assert largest(complete - PauliPenalty(3, [1.0, 2.0, 3.0]).penalties) == 0
        for bad in ([(0, 1)], [(0, 3), (1, 2)], [(0, 0), (1, 2)], [0, 1], [(0, 1), (1,)], "ab"):
            with pytest.raises(InputError, match="coupling"):
                PauliPenalty(3, 2.0, coupling=bad)
        with pytest.raises(InputError, match="coupling"):
            PauliPenalty(1, 2.0, coupling=[(0, 1)])

    def test_finsler_norms(self):
        metric = PauliPenalty(2, {"XX": 4.0})
        h = 3.0 * pauli_string("XX") - 2.0 * pauli_string("YI")
        for (order, priced), truth in {
            (1, False): 5.0,
            (1, True): 8.0,
            (2, False): np.sqrt(13.0),
            (2, True): np.sqrt(40.0),
        }.items():
            assert abs(float(metric.norm(h, order=order, priced=priced)) - truth) < 1e-13
        assert abs(float(metric.norm(h)) - np.sqrt(2 * metric.energy(h))) < 1e-13
        with pytest.raises(InputError, match="order"):
            metric.norm(h, order=3)


class TestEntrywise:
    def test_prices_entries(self):
        weights = np.random.default_rng(0).uniform(0.5, 2, (3, 3))
        matrix = np.random.default_rng(1).normal(size=(3, 3))
        energy = Entrywise(weights).energy(jnp.asarray(matrix))
        assert abs(float(energy) - 0.5 * np.sum(weights * matrix**2)) < 1e-14
        assert Entrywise([[1, 2], [2, 1]]).weights.dtype == jnp.float64

    @pytest.mark.parametrize(
        ("weights", "message"),
        [
            ([[1.0, 0.0], [1.0, 1.0]], r"entry \[0, 1\] is 0.0"),
            ([1.0, 2.0], r"square matrix, but has shape \[2\]"),
            (np.ones((2, 3)), r"square matrix, but has shape \[2, 3\]"),
            ([[1.0], [1.0, 2.0]], "rows have different lengths"),
        ],
    )
    def test_bad_weights(self, weights, message):
        with pytest.raises(InputError, match=message):
            Entrywise(weights)

    def test_locality(self):
        weights = locality(4, 1, 9.0).weights
        assert weights[0].tolist() == [1, 1, 9, 9]
        assert weights[3].tolist() == [9, 9, 1, 1]
        for bad in ((0, 1, 9.0), (4, -1, 9.0), (4, 1, 0.0)):
            with pytest.raises(InputError):
                locality(*bad)

    def test_isotropic(self):
        assert float(Isotropic(3).energy(jnp.array([1.0, 2.0]))) == 7.5
        for bad in (0.0, -1.0, np.nan, "x"):
            with pytest.raises(InputError, match="weight must be positive"):
                Isotropic(bad)


def test_rkhs_norm_of_two_diracs():
    metric, r = RKHS(Gaussian(2.0)), 1.5
    points, weights = jnp.array([[0.0, 0.0], [r, 0.0]]), jnp.array([[1.0, 2.0], [-3.0, 0.5]])
    velocity = metric.sharp(Diracs(points, weights))
    squared = 5.0 + 9.25 + 2 * (-3.0 + 1.0) * np.exp(-0.5 * (r / 2) ** 2)
    assert abs(float(metric.energy(velocity)) - 0.5 * squared) < 1e-14
    assert largest(metric.flat(velocity).weights - weights) == 0


def test_metrics_are_trees():
    """Their prices are leaves: batched by `vmap`, differentiated by `grad`, in either precision."""

    def energy(prices):
        return PauliPenalty(1, prices).energy(hamiltonian_of([1.0, 2.0, 3.0]))

    assert jax.grad(energy)(jnp.ones(3)).tolist() == pytest.approx([0.5, 2.0, 4.5])
    batch = jax.vmap(energy)(jnp.array([[1.0, 1.0, 1.0], [2.0, 1.0, 1.0]]))
    assert batch.tolist() == pytest.approx([7.0, 7.5])
    single = PauliPenalty(1, 2.0).sharp(jnp.eye(2, dtype=jnp.complex64))
    assert single.dtype == jnp.complex64
    assert Entrywise(np.ones((2, 2))).sharp(jnp.ones((2, 2), jnp.float32)).dtype == jnp.float32
