"""The same `shoot` gives landmarks, SU(8), gl(4) and SO(3) to the promised figures."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from systems import laws
from systems.groups import hamiltonian_of
from systems.numerics import largest
from systems.spaces import space

from geojax.actions import Unitaries
from geojax.geodesics import shoot
from geojax.metrics import PauliPenalty

PROMISED = (
    "gaussian-2d",
    pytest.param("su8-penalty", marks=pytest.mark.slow),
    "gl4-locality",
    "so3-inertia",
)
ENERGY, NOETHER = 1e-10, 1e-9


def shot(geometry, **options):
    """A geodesic whose momentum turns."""
    momentum = geometry.covector(1, 1.2)
    options = {**geometry.options, **options}
    return shoot(geometry.metric, geometry.action, geometry.state, momentum, **options)


@pytest.mark.parametrize("name", PROMISED)
def test_energy_and_noether_quantities(name):
    geometry = space(name)
    path = shot(geometry)
    assert path.states.dtype in (jnp.float64, jnp.complex128)
    assert laws.energy_change(geometry, path) < ENERGY
    assert float(path.energy_drift) < ENERGY
    assert laws.noether_change(geometry, path) < NOETHER
    # neither state nor momentum stands still
    assert largest(path.end - path.start) > 0.1
    assert largest(path.costates[-1] - path.costates[0]) > 1e-3
    # control: coarse Euler steps keep neither
    coarse = shot(geometry, num_steps=4, solver=diffrax.Euler(), throw=False)
    assert laws.energy_change(geometry, coarse) > 1e5 * ENERGY
    assert laws.noether_change(geometry, coarse) > 1e5 * NOETHER


@pytest.mark.slow
def test_su8_over_a_long_time():
    metric, action = PauliPenalty(3, 3.0), Unitaries(3)
    draws = 0.25 * np.random.default_rng(4).normal(size=63)
    identity, hamiltonian = jnp.eye(8, dtype=complex), hamiltonian_of(draws)
    momentum = action.lift(identity, metric.flat(hamiltonian))
    path = shoot(metric, action, identity, momentum, t1=10.0, num_steps=400)
    states, costates = np.asarray(path.states), np.asarray(path.costates)
    lax = np.asarray(jax.vmap(action.momentum)(states, costates))
    # the momentum moves, its spectrum does not
    assert largest(lax[-1] - lax[0]) > 0.5 * largest(lax[0])
    spectra = np.linalg.eigvalsh(lax)
    assert largest(spectra - spectra[0]) < 1e-11
    energies = np.asarray(jax.vmap(metric.energy)(jax.vmap(metric.sharp)(lax)))
    assert largest(energies / energies[0] - 1) < 1e-12
    pulled = np.conj(np.swapaxes(states, 1, 2)) @ lax @ states
    assert largest(pulled - pulled[0]) < 1e-11
    unitary = np.conj(np.swapaxes(states, 1, 2)) @ states
    assert largest(unitary - np.eye(8)) < 1e-12
    assert largest(np.linalg.det(states) - 1) < 1e-12
    # negative control: an ordinary solver at the same steps leaves the group
    loose = shoot(
        metric,
        action,
        identity,
        momentum,
        t1=10.0,
        num_steps=400,
        solver=diffrax.Heun(),
        throw=False,
    )
    assert largest(np.conj(np.asarray(loose.end).T) @ np.asarray(loose.end) - np.eye(8)) > 1e-6
