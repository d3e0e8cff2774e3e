"""What a geodesic that fails still says, and what it withholds."""

import diffrax
import jax.numpy as jnp
from systems.numerics import relative_error
from systems.particles import random_particles

from geojax._core.results import RESULTS
from geojax.actions import Points
from geojax.geodesics import shoot
from geojax.kernels import Gaussian
from geojax.metrics import RKHS

METRIC = RKHS(Gaussian(1.0))


def shot(momentum=1.0, **options):
    q, p = random_particles(0, 6, 2)
    return shoot(METRIC, Points(), q, momentum * p, throw=False, **options)


def test_measures_of_a_path_that_was_not_finished_are_withheld():
    controller = diffrax.PIDController(rtol=1e-9, atol=1e-9)
    path = shot(stepsize_controller=controller, max_steps=3)
    assert bool(path.result == RESULTS.max_steps_reached)
    assert bool(jnp.all(jnp.isnan(path.end)))
    for value in (path.energy, path.length, path.energy_drift):
        assert bool(jnp.isnan(value))
    # control: with enough steps nothing is withheld
    whole = shot(stepsize_controller=controller)
    assert relative_error(whole.energy, shot(num_steps=100).energy) < 1e-12


def test_measures_of_a_path_that_left_the_finite_numbers_are_withheld():
    path = shot(momentum=1e200)
    assert bool(path.result == RESULTS.not_finite)
    assert bool(jnp.isnan(path.energy) & jnp.isnan(path.length))


def test_a_path_that_drifted_keeps_its_measures():
    path = shot(momentum=30.0, num_steps=2)
    assert bool(path.result == RESULTS.energy_drift)
    assert float(path.energy_drift) > 1e-2
    assert relative_error(path.energy, shot(momentum=30.0, num_steps=400).energy) < 1e-12
