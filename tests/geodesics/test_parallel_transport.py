"""Parallel transport: against ladders of geodesics, and on spaces where it is known (L22)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from systems.groups import RigidBody
from systems.numerics import central_difference, largest, observed_order, relative_error
from systems.particles import TwoLandmarks

from geojax._core.errors import InputError
from geojax.actions import Points, Rotations
from geojax.geodesics import (
    cometric,
    hamiltonian,
    jacobi_field,
    log,
    momentum_of,
    parallel_transport,
    shoot,
)
from geojax.kernels import Gaussian
from geojax.metrics import RKHS, Isotropic


def schild_ladder(metric, action, state, momentum, carried, rungs, **options):
    """Transport by a ladder of geodesic parallelograms: their diagonals meet in the middle."""
    options = {**options, "throw": False}

    def step(_, carry):
        q, p, w = carry
        rail = shoot(metric, action, q, p / rungs, **options, save="end")
        corner = shoot(metric, action, q, w / rungs, **options, save="end").end
        across = log(metric, action, corner, rail.end, **options).momentum
        middle = shoot(metric, action, corner, across / 2, **options, save="end").end
        along = log(metric, action, q, middle, **options).momentum
        opposite = shoot(metric, action, q, 2 * along, **options, save="end").end
        up = log(metric, action, rail.end, opposite, **options).momentum
        return rail.end, rungs * rail.costates[-1], rungs * up

    return jax.lax.fori_loop(0, jnp.asarray(rungs, int), step, (state, momentum, carried))[2]


def fanning(metric, action, state, momentum, carried, steps, **options):
    """Transport by Jacobi fields: one short one for each step [louis2018fanning]."""
    options = {**options, "save": "end", "throw": False}

    def step(_, carry):
        q, p, w = carry
        path, field = jacobi_field(metric, action, q, p / steps, w, **options)
        along = momentum_of(metric, action, path.end, field[-1])
        return path.end, steps * path.costates[-1], along

    return jax.lax.fori_loop(0, jnp.asarray(steps, int), step, (state, momentum, carried))[2]


class TestLandmarks:
    """A curved space: two landmarks on a line."""

    metric, action = RKHS(Gaussian(1.0)), Points()
    state = TwoLandmarks.state(0.8)
    momentum = jnp.array([[-0.5], [0.9]])
    carried = jnp.array([[0.6], [0.3]])

    def transported(self):
        path, rows = parallel_transport(
            self.metric, self.action, self.state, self.momentum, self.carried, num_steps=40
        )
        return path, rows

    @pytest.mark.slow
    def test_ladders_converge_to_it(self):
        path, rows = self.transported()
        where = self.metric, self.action, self.state, self.momentum, self.carried
        fan = jax.jit(lambda n: fanning(*where, n, num_steps=4))
        schild = jax.jit(lambda n: schild_ladder(*where, n, num_steps=6))
        sides = [largest(schild(float(n)) - rows[-1]) for n in (4, 8, 16)]
        assert abs(observed_order((4, 8, 16), sides, floor=1e-9) - 1) < 0.3, sides
        fans = [largest(fan(float(n)) - rows[-1]) for n in (8, 16, 32)]
        assert abs(observed_order((8, 16, 32), fans, floor=1e-9) - 1) < 0.3, fans
        # control: carrying nothing along is no transport
        assert largest(self.carried - rows[-1]) > 0.05
        assert path.states.shape == rows.shape

    @pytest.mark.slow
    def test_pole_ladder_has_order_two(self):
        path, rows = self.transported()
        where = self.metric, self.action, self.state, self.momentum, self.carried
        counts, errors, gains = (1, 2, 4, 8), [], []
        start = hamiltonian(self.metric, self.action, self.state, self.carried)
        for n in counts:
            short, ladder = parallel_transport(*where, num_rungs=n, num_steps=12 * n)
            errors.append(largest(ladder[-1] - rows[-1]))
            end = hamiltonian(self.metric, self.action, short.end, ladder[-1])
            gains.append(abs(float(end - start)))
        assert abs(observed_order(counts, errors, floor=1e-9) - 2) < 0.3, errors
        # the norm is kept as well as the vector
        assert abs(observed_order(counts, gains, floor=1e-9) - 2) < 0.3, gains
        # control: on a curved space one rung is not exact
        assert errors[0] > 1e-3
        # at the ends of the rungs, of the same geodesic
        assert ladder.shape == short.states.shape == (9, 2, 1)
        np.testing.assert_allclose(short.times, np.arange(9) / 8)
        assert largest(ladder[4] - rows[20]) < 2 * errors[-1]
        assert largest(short.costates[4] - path.costates[20]) < 1e-8
        ends, pair = parallel_transport(*where, num_rungs=8, num_steps=96, save="end")
        assert ends.states.shape == (2, 2, 1)
        assert largest(pair - ladder[jnp.array([0, -1])]) == 0
        # linear in the vector up to its length, and so exactly
        _, triple = parallel_transport(
            *where[:-1], 3 * self.carried, num_rungs=1, num_steps=12, save="end"
        )
        _, single = parallel_transport(*where, num_rungs=1, num_steps=12, save="end")
        assert largest(triple - 3 * single) < 1e-12

    @pytest.mark.slow
    def test_ladder_along_a_short_way(self):
        """Its rungs are not as short as the way, which round-off would fill."""
        for way in (1e-4, 1e-10):
            where = self.metric, self.action, self.state, way * self.momentum, self.carried
            truth = parallel_transport(*where, num_steps=4)[1][-1]
            ladder = parallel_transport(*where, num_rungs=2, num_steps=8)[1][-1]
            assert relative_error(ladder, truth) < 1e-3

    @pytest.mark.slow
    def test_ladder_at_rest(self):
        """Along a geodesic that stays where it is, nothing changes."""
        where = self.metric, self.action, self.state, jnp.zeros((2, 1))
        _, rows = parallel_transport(*where, self.carried, num_rungs=2, num_steps=24)
        assert largest(rows - self.carried[None]) < 1e-9
        _, rows = parallel_transport(*where[:3], self.momentum, where[3], num_rungs=2, num_steps=24)
        assert largest(rows) < 1e-12

    @pytest.mark.slow
    def test_ladder_under_transformations(self):
        """One program under `jit`, and its derivative there."""
        where = self.metric, self.action, self.state, self.momentum

        def end(w):
            return parallel_transport(*where, w, num_rungs=2, num_steps=24)[1][-1]

        assert largest(jax.jit(end)(self.carried) - end(self.carried)) < 1e-12
        direction = jnp.array([[0.2], [-0.7]])
        _, slope = jax.jvp(end, (self.carried,), (direction,))
        assert relative_error(slope, central_difference(end, self.carried, direction, 1e-5)) < 1e-6
        weights = jnp.array([[1.0], [2.0]])
        gradient = jax.grad(lambda w: jnp.sum(weights * end(w)))(self.carried)
        assert abs(jnp.sum(gradient * direction) - jnp.sum(weights * slope)) < 1e-9

    def test_bad_rungs(self):
        where = self.metric, self.action, self.state, self.momentum, self.carried
        with pytest.raises(InputError, match="num_rungs must be an integer of at least 1"):
            parallel_transport(*where, num_rungs=0)

    def test_there_and_back(self):
        path, rows = self.transported()
        _, back = parallel_transport(
            self.metric, self.action, path.end, -path.costates[-1], rows[-1], num_steps=40
        )
        assert largest(back[-1] - self.carried) < 1e-12

    def test_ends_alone(self):
        path, rows = self.transported()
        where = self.metric, self.action, self.state, self.momentum, self.carried
        ends, carried = parallel_transport(*where, num_steps=40, save="end")
        assert carried.shape == ends.states.shape == (2, 2, 1)
        assert largest(carried - rows[jnp.array([0, -1])]) < 1e-14
        # backwards along the same geodesic, as `shoot` runs it
        _, back = parallel_transport(
            self.metric,
            self.action,
            path.end,
            path.costates[-1],
            rows[-1],
            num_steps=40,
            save="end",
            reverse=True,
        )
        assert largest(back - rows[jnp.array([-1, 0])]) < 1e-12

    @pytest.mark.slow
    def test_order_is_that_of_the_solver(self):
        _, truth = self.transported()
        errors = []
        for n in (1, 2, 3):
            _, rows = parallel_transport(
                self.metric,
                self.action,
                self.state,
                self.momentum,
                self.carried,
                num_steps=n,
                throw=False,
            )
            errors.append(largest(rows[-1] - truth[-1]))
        assert observed_order((1, 2, 3), errors, floor=1e-13) > 7


@pytest.mark.slow
def test_rotations_with_isotropic_prices():
    """On a symmetric space the ladder is exact; there the vector turns at half speed."""
    action, metric, eye = Rotations(3), Isotropic(), jnp.eye(3)
    turn, other = (
        RigidBody.hat(np.array([0.9, -0.4, 0.5])),
        RigidBody.hat(np.array([0.2, 1.0, 0.3])),
    )
    momentum, carried = action.lift(eye, turn), action.lift(eye, other)
    path, rows = parallel_transport(metric, action, eye, momentum, carried, num_steps=30)
    # a velocity W stays parallel along exp(t V) as exp(t V / 2) W exp(-t V / 2)
    half = action.exponential(0.5 * turn)
    truth = half @ other @ half.T
    found = metric.sharp(action.momentum(path.end, rows[-1]))
    assert largest(found - truth) < 1e-10
    _, ladder = parallel_transport(metric, action, eye, momentum, carried, num_rungs=1, num_steps=8)
    assert largest(action.momentum(path.end, ladder[-1]) - truth) < 1e-9
    # control: a left translate of the vector is not parallel
    assert largest(other - truth) > 1e-2
    # the velocity of the geodesic itself is parallel
    _, own = parallel_transport(metric, action, eye, momentum, momentum, num_steps=30)
    tangent = cometric(metric, action, path.end, own[-1])
    assert largest(tangent - cometric(metric, action, path.end, path.costates[-1])) < 1e-10
