"""Controls shortened without geodesics, and what they say of complexity."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import unitary_group
from systems.groups import BergerSphere

from geojax._core.errors import InputError, NumericalError
from geojax.metrics import PauliPenalty
from geojax.quantum import gate, nielsen_complexity, shortest_controls


def test_never_below_the_closed_form_and_close():
    sphere, angle = BergerSphere(2.0), 1.0
    target = sphere.fibre(angle)
    truth = sphere.fibre_distance(angle)
    found = shortest_controls(target, sphere.metric, num_slices=16, num_starts=8)
    assert 0 <= float(found.length) - truth < 1e-2
    assert found.infidelity < 1e-12
    assert found.change < 1e-8
    controls = found.controls
    assert abs(float(controls.length(sphere.metric)) - found.length) < 1e-12
    overlap = jnp.trace(jnp.conj(target.T) @ controls.unitary()) / 2
    assert abs(abs(overlap) - 1) < 1e-12
    # shorter than straight along the fibre, which is where a local search could stop
    assert found.length < 2.0 * angle
    with pytest.raises(InputError, match="order"):
        shortest_controls(target, sphere.metric, order=3)


@pytest.mark.slow
def test_single_precision():
    found = shortest_controls(
        gate("s").astype(np.complex64), PauliPenalty(1, [1.0, 4.0, 1.0]), num_slices=4, num_starts=4
    )
    assert found.length.dtype == jnp.float32
    assert abs(float(found.length) - np.pi / 4) < 1e-4
    assert found.infidelity < 1e-5


@pytest.mark.slow
def test_traced_targets():
    metric, options = PauliPenalty(1, [1.0, 1.0, 4.0]), {"num_slices": 4, "num_starts": 4}

    @jax.jit
    def length(target, tolerance):
        return shortest_controls(target, metric, tolerance=tolerance, **options).length

    # straight along the dear axis
    np.testing.assert_allclose(length(jnp.asarray(gate("rz", 0.5)), 1e-10), 0.5, atol=1e-9)
    with pytest.raises(InputError, match="must not be traced"):
        jax.jit(lambda p: shortest_controls("h", PauliPenalty(1, p)).length)(jnp.ones(3))
    with pytest.raises(InputError, match="forbids all strings"):
        shortest_controls("h", PauliPenalty(1, [np.inf] * 3))


@pytest.mark.slow
class TestAgainstGeodesics:
    def test_second_order_in_the_slices(self):
        target, metric = unitary_group.rvs(2, random_state=1), PauliPenalty(1, [1.0, 2.0, 4.0])
        truth = float(nielsen_complexity(target, metric).distance)
        errors = [
            float(shortest_controls(target, metric, num_slices=k).length) - truth for k in (16, 32)
        ]
        assert errors[1] > 0
        assert 1.8 < np.log2(errors[0] / errors[1]) < 2.2

    def test_forbidden_strings_are_not_used(self):
        metric = PauliPenalty(1, {"X": np.inf})
        found = shortest_controls("x", metric, num_slices=64)
        assert found.controls.labels == ("Y", "Z")
        truth = float(nielsen_complexity("x", metric).distance)
        assert 0 < float(found.length) - truth < 1e-3
        with pytest.raises(NumericalError):
            shortest_controls("cx", PauliPenalty(2, [1.0, np.inf]), num_slices=4, num_starts=2)

    def test_other_costs(self):
        """F2 is the isotropic distance; F1 is at least that, and Fp at least F1."""
        target, metric = unitary_group.rvs(2, random_state=2), PauliPenalty(1, [1.0, 2.0, 4.0])
        costs = {
            (order, priced): float(
                shortest_controls(target, metric, order=order, priced=priced).length
            )
            for order in (1, 2)
            for priced in (False, True)
        }
        isotropic = float(nielsen_complexity(target, PauliPenalty(1)).distance)
        assert abs(costs[2, False] - isotropic) < 1e-8
        assert isotropic < costs[1, False] < costs[1, True]
        assert isotropic < costs[2, True] < costs[1, True]
