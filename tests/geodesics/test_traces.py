"""Other values of the same shapes compile nothing again."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from systems.groups import hamiltonian_of
from systems.numerics import compilations
from systems.particles import random_particles

from geojax._core.errors import InputError
from geojax.actions import Points, Unitaries
from geojax.fields import ControlPoints, PiecewiseConstant
from geojax.flows import integrate
from geojax.geodesics import log, mean, shoot, shooting
from geojax.kernels import Gaussian
from geojax.metrics import RKHS, PauliPenalty

SU2, IDENTITY = Unitaries(1), jnp.eye(2, dtype=complex)


def draws(seed):
    """Values that differ from seed to seed in every argument."""
    q, p = random_particles(seed, 4, 2)
    return q, 0.3 * p, RKHS(Gaussian(1.0 + 0.1 * seed))


def shoot_landmarks(seed, **options):
    q, p, metric = draws(seed)
    return shoot(
        metric, Points(), q, p, t1=1.0 + 0.1 * seed, energy_tolerance=0.1 + 0.1 * seed, **options
    )


def test_numbers_of_points_in_one_bucket_share_a_program():
    metric, sizes = RKHS(Gaussian(1.0)), (34, 40, 36, 42)
    draws = [[np.asarray(x) for x in random_particles(0, n, 2)] for n in sizes]

    def shot(q, p, **options):
        return shoot(metric, Points(), q, p / len(q), carried=q[:-1] + 0.1, **options)

    found, programs = [], []
    for draw in draws:
        found.append(shot(*draw, buckets=True))
        programs.append(shooting._shoot._cached._cache_size())
    assert programs[0] == programs[1] == programs[2] == programs[3] - 1  # 42 is in the next bucket
    for path, draw in zip(found, draws, strict=True):
        alone = shot(*draw)
        np.testing.assert_allclose(path.states, alone.states, atol=1e-12)
        np.testing.assert_allclose(path.carried, alone.carried, atol=1e-12)
        np.testing.assert_allclose(path.energy, alone.energy, rtol=1e-12)


def test_buckets_are_for_points():
    with pytest.raises(InputError, match="buckets needs the action on points"):
        shoot(PauliPenalty(1, [1.0, 1.0, 2.0]), SU2, IDENTITY, 0.1j * IDENTITY, buckets=True)


def shoot_unitaries(seed):
    metric = PauliPenalty(1, [1.0 + seed, 1.0, 2.0])
    momentum = SU2.lift(IDENTITY, hamiltonian_of([0.1 * seed, 0.2, 0.3]))
    return shoot(metric, SU2, IDENTITY, momentum)


def shoot_adaptively(seed):
    # the tolerances of a controller are numbers, which are compiled in
    controller = diffrax.PIDController(rtol=1e-4, atol=1e-4)
    return shoot_landmarks(seed, stepsize_controller=controller)


def log_landmarks(seed):
    q, p, metric = draws(seed)
    return log(metric, Points(), q, q + 0.3 * p, tolerance=1e-6 * (1 + seed))


def mean_of_landmarks(seed):
    q, p, metric = draws(seed)
    states = jnp.stack([q, q + 0.3 * p])
    weights = [1.0, 1.0 + seed]
    tolerance = 1e-6 * (1 + seed)
    return mean(metric, Points(), states, weights=weights, tolerance=tolerance, num_steps=4)


def integrate_points(seed):
    q, p, metric = draws(seed)
    field = ControlPoints(metric.kernel, q, p)
    return integrate(field, q + 0.1, t0=0.1 * seed, t1=2.0 + seed, divergence="exact")


def integrate_pulses(seed):
    pulses = jnp.stack([hamiltonian_of(row) for row in (1.0 + seed) * np.eye(3)])
    return integrate(PiecewiseConstant(pulses), IDENTITY, action=SU2, num_steps=6)


CALLS = [
    shoot_landmarks,
    shoot_unitaries,
    shoot_adaptively,
    log_landmarks,
    pytest.param(mean_of_landmarks, marks=pytest.mark.slow),
    integrate_points,
    integrate_pulses,
]


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.__name__)
def test_a_second_call_compiles_nothing(call):
    jax.block_until_ready(call(1))
    with compilations() as count:
        jax.block_until_ready(call(2))
    assert count.value == 0


def test_another_number_of_steps_is_another_program():
    """Control: the count sees a compilation."""
    shoot_landmarks(1)
    with compilations() as count:
        shoot_landmarks(1, num_steps=21)
    assert count.value > 0
