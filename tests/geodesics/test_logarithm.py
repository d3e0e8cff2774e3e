"""Logarithms and distances: their laws in double and single precision, gradients, failures."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from systems.groups import hamiltonian_of
from systems.numerics import central_difference, largest, relative_error
from systems.particles import TwoLandmarks, random_particles

from geojax._core.errors import InputError, NumericalError
from geojax._core.results import RESULTS
from geojax.actions import Points, Rotations, Unitaries
from geojax.geodesics import distance, log, mean, momentum_of, shoot
from geojax.kernels import Gaussian, Laplace
from geojax.metrics import RKHS, Isotropic, PauliPenalty

METRIC = RKHS(Gaussian(1.0))


class TestLandmarks:
    """L16 to L18 on six landmarks in the plane."""

    q, p = random_particles(1, 6, 2)

    def shot(self, dtype, **options):
        q, p = self.q.astype(dtype), 0.4 * self.p.astype(dtype)
        return shoot(METRIC, Points(), q, p, num_steps=40, **options)

    @pytest.mark.slow
    def test_with_a_step_size_controller(self):
        path = self.shot(jnp.float64)
        controller = diffrax.PIDController(rtol=1e-9, atol=1e-11)
        options = dict(num_steps=1, stepsize_controller=controller, tolerance=1e-7)
        found = log(METRIC, Points(), path.start, path.end, **options)
        assert relative_error(found.momentum, path.costates[0]) < 1e-5

    @pytest.mark.parametrize(
        ("dtype", "tolerance"),
        [(jnp.float64, 1e-9), pytest.param(jnp.float32, 1e-4, marks=pytest.mark.slow)],
        ids=["64", "32"],
    )
    def test_inverse_of_shoot(self, dtype, tolerance):
        path = self.shot(dtype)
        found = log(METRIC, Points(), path.start, path.end, num_steps=40)
        assert float(found.residual) < tolerance
        assert relative_error(found.momentum, path.costates[0]) < 10 * tolerance
        assert found.momentum.dtype == dtype
        assert bool(found.result == RESULTS.successful)
        assert int(found.num_iterations) > 0
        if dtype == jnp.float64:
            assert relative_error(found.momentum, path.costates[0]) < tolerance
            # on from the middle, back from the end
            middle = path.states[20]
            there, on = (
                log(METRIC, Points(), a, b, num_steps=40)
                for a, b in ((path.start, middle), (middle, path.end))
            )
            assert abs(float(there.distance + on.distance - found.distance)) < 1e-10
            assert abs(float(there.distance - on.distance)) < 1e-10
            back = log(METRIC, Points(), path.end, path.start, num_steps=40)
            assert abs(float(back.distance - found.distance)) < 1e-10
            assert relative_error(back.momentum, -path.costates[-1]) < 1e-10
            # control: the first guess is not the answer
            chord = momentum_of(METRIC, Points(), path.start, path.end - path.start)
            assert relative_error(chord, found.momentum) > 1e-2
            # and the momentum turns on the way; a detour is longer
            assert relative_error(back.momentum, -found.momentum) > 1e-2
            astray = middle.at[0].add(0.1)
            there, on = (
                log(METRIC, Points(), a, b, num_steps=40)
                for a, b in ((path.start, astray), (astray, path.end))
            )
            assert float(there.distance + on.distance - found.distance) > 1e-4

    @pytest.mark.slow
    def test_gradient_is_exact(self):
        target = self.shot(jnp.float64).end

        @jax.jit
        @jax.value_and_grad
        def length(point):
            scale, source, target = point
            metric = RKHS(Gaussian(scale))
            return distance(metric, Points(), source, target, num_steps=25, throw=False)

        point = jnp.array(1.1), self.q, target
        rng = np.random.default_rng(0)
        direction = jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape)), point)
        gradient = length(point)[1]
        slope = sum(jax.tree.leaves(jax.tree.map(lambda g, d: jnp.sum(g * d), gradient, direction)))

        def along(s):
            return length(jax.tree.map(lambda x, d: x + s * d, point, direction))[0]

        difference = central_difference(along, jnp.zeros(()), jnp.ones(()), 1e-5)
        assert relative_error(slope, difference) < 1e-7

    def test_gradient_of_the_distance_is_the_unit_momentum(self):
        """First variation: the derivative in the target is the unit momentum at the end."""
        system = TwoLandmarks(Gaussian(1.0))

        def length(target):
            start = system.state(1.0)
            return distance(METRIC, Points(), start, target, num_steps=40, throw=False)

        target = system.state(1.7, centre=0.3)
        gradient = jax.jit(jax.grad(length))(target)
        found = log(METRIC, Points(), system.state(1.0), target, num_steps=40)
        assert relative_error(gradient, found.path.costates[-1] / found.distance) < 1e-8

    def test_lanes(self):
        targets = jnp.stack([TwoLandmarks.state(r) for r in (0.7, 1.5, 2.0)])

        def one(target):
            return log(METRIC, Points(), TwoLandmarks.state(1.0), target, num_steps=40, throw=False)

        lanes = jax.vmap(one)(targets)
        solo = one(targets[1])
        assert abs(float(lanes.distance[1] / solo.distance) - 1) < 1e-12
        assert largest(lanes.path.end - targets) < 1e-9


class TestRefusals:
    """Bad input, before anything is compiled."""

    square = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])

    @pytest.mark.parametrize(
        ("source", "target", "message"),
        [
            (square, square[:3], "hold 4 and 3 points"),
            (square, np.zeros((4, 3)), "source is 2-D and target is 3-D"),
            (square, square * np.nan, r"target must be finite, but entry \[0, 0\] is nan"),
            (np.concatenate([square, square[1:2]]), np.ones((5, 2)), "points 1 and 4 coincide"),
            (square, np.zeros((4, 2)), "target must hold distinct points, but points 0 and 1"),
            (square[:0], square, "source must hold at least 1 point"),
            (square.astype(complex), square, "source must be real"),
        ],
    )
    def test_points(self, source, target, message):
        with pytest.raises(InputError, match=message):
            log(METRIC, Points(), source, target)

    def test_near_duplicates(self):
        close = np.concatenate([self.square, self.square[:1] + 1e-8])
        target = np.concatenate([self.square, [[3.0, 3.0]]])
        with pytest.raises(InputError, match=r"0 and 4 are .* apart"):
            log(METRIC, Points(), close.astype(np.float32), target.astype(np.float32))

    def test_groups(self):
        action, metric = Unitaries(1), PauliPenalty(1, 1.0)
        with pytest.raises(InputError, match=r"target must be special unitary.*det U = -1"):
            log(metric, action, np.eye(2), np.diag([1.0, -1.0]))
        with pytest.raises(InputError, match=r"target must have shape \[2, 2\] for 1 qubit"):
            log(metric, action, np.eye(2), np.eye(4))

    def test_metrics_that_do_not_fit(self):
        identity = np.eye(2)
        for metric, action, message in (
            (Isotropic(), Points(), "points are moved by velocity fields, priced by `RKHS`"),
            (METRIC, Rotations(2), "but is RKHS"),
            (PauliPenalty(2), Unitaries(1), "PauliPenalty of 2 qubits"),
            (PauliPenalty(1), Rotations(2), "PauliPenalty of 1 qubit"),
        ):
            with pytest.raises(InputError, match=message):
                log(metric, action, identity, identity)

    def test_options(self):
        target = self.square + 0.1
        for options, message in (
            ({"max_iterations": 0}, "max_iterations must be an integer of at least 1"),
            ({"tolerance": -1.0}, "tolerance must be positive"),
            ({"initial": np.ones(3)}, "initial must have the shape of the state"),
            ({"num_steps": 0}, "num_steps must be an integer"),
        ):
            with pytest.raises(InputError, match=message):
                log(METRIC, Points(), self.square, target, **options)


def test_a_target_out_of_reach_is_a_code_and_a_withheld_distance():
    source = TwoLandmarks.state(1.0)
    # landmarks that would have to change places cannot
    target = source[::-1]
    found = log(METRIC, Points(), source, target, throw=False, max_iterations=15)
    assert bool(found.result != RESULTS.successful)
    assert not float(found.residual) < 1e-3
    assert jnp.isnan(distance(METRIC, Points(), source, target, throw=False, max_iterations=15))
    with pytest.raises(NumericalError, match="log failed"):
        log(METRIC, Points(), source, target, max_iterations=15)


class TestCircuits:
    """What prices do to distances of unitaries (invariants 2.3)."""

    action = Unitaries(1)

    @staticmethod
    def element(v):
        return Unitaries(1).exponential(hamiltonian_of(v))

    def distances(self):
        """A function of two unitaries and three prices; one compilation."""
        identity = jnp.eye(2, dtype=complex)

        @jax.jit
        def between(source, target, prices):
            return distance(
                PauliPenalty(1, prices), self.action, source, target, num_steps=8, throw=False
            )

        return identity, between

    @pytest.mark.slow
    def test_bounds_and_monotony(self):
        identity, between = self.distances()
        rng = np.random.default_rng(0)
        ones = jnp.ones(3)
        for v in 0.4 * rng.normal(size=(3, 3)):
            target = self.element(v)
            plain = float(between(identity, target, ones))
            # bi-invariant: the norm of the logarithm, at most pi
            assert abs(plain - np.linalg.norm(v)) < 1e-10
            values = []
            for weight in (1.0, 1.5, 2.5):
                priced = float(between(identity, target, jnp.array([1.0, weight, 1.0])))
                values.append(priced)
                assert plain <= priced + 1e-12
                assert priced <= np.sqrt(weight) * plain + 1e-12
            assert values[0] < values[1] < values[2]
            # control: the lower bound is no equality
            assert values[2] > 1.001 * plain

    @pytest.mark.slow
    def test_right_invariance_and_triangles(self):
        identity, between = self.distances()
        prices = jnp.array([1.0, 2.5, 0.7])
        rng = np.random.default_rng(1)
        u, v, w = (self.element(x) for x in 0.4 * rng.normal(size=(3, 3)))
        direct = float(between(u, v, prices))
        assert abs(float(between(u @ w, v @ w, prices)) - direct) < 1e-10
        # control: translations from the other side are no isometries
        assert abs(float(between(w @ u, w @ v, prices)) - direct) > 1e-4
        assert abs(float(between(w @ u, w @ v, jnp.ones(3)) - between(u, v, jnp.ones(3)))) < 1e-10
        assert abs(float(between(v, u, prices)) - direct) < 1e-10
        corner = float(between(u, w, prices) + between(w, v, prices))
        assert direct < corner
        assert float(between(identity, identity, prices)) < 1e-12


class TestMean:
    """Frechet means, where they are known."""

    @pytest.mark.slow
    def test_rotations_about_an_axis(self):
        action = Rotations(3)
        angles = np.array([0.2, 0.5, 1.1])
        skew = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
        states = jnp.stack([action.exponential(jnp.asarray(a * skew)) for a in angles])
        weights = np.array([1.0, 2.0, 3.0]) / 6
        found = mean(Isotropic(), action, states, weights=weights, num_steps=4)
        centre = float(weights @ angles)
        assert largest(found.state - action.exponential(jnp.asarray(centre * skew))) < 1e-9
        # each unit of angle has length sqrt(2) in the norm of matrices
        assert abs(float(found.variance) - 2 * weights @ (angles - centre) ** 2) < 1e-9
        assert float(found.residual) < 1e-9

    def test_bad_input(self):
        states = np.stack([np.eye(3)] * 2)
        for arguments, message in (
            ({"states": states[:0]}, "at least one state"),
            ({"states": 2 * states}, r"states\[0\] must be a rotation"),
            (
                {"states": states, "weights": [1.0, -1.0]},
                r"at least 0.*entry \[1\]",
            ),
            ({"states": states, "weights": [1.0]}, r"each of the 2 states, but has shape \[1\]"),
            ({"states": states, "weights": [0.0, 0.0]}, "must not all be zero"),
            ({"states": states, "max_iterations": 0}, "max_iterations"),
            ({"states": states, "tolerance": -1.0}, "tolerance must be positive"),
            ({"states": states, "initial": np.eye(2)}, r"initial must have shape \[3, 3\]"),
            ({"states": 1.0}, "must be a stack of states, but is array"),
            ({"states": "ab"}, "must be a stack of states"),
            ({"states": [np.eye(3), "ab"]}, r"states\[1\] must hold numbers"),
            ({"states": [np.eye(3), [[1.0], [0.0, 1.0]]]}, r"states\[1\].*different lengths"),
            ({"states": [np.eye(3), np.full((3, 3), np.nan)]}, r"states\[1\] must be finite"),
        ):
            with pytest.raises(InputError, match=message):
                mean(Isotropic(), Rotations(3), **arguments)

    def test_bad_landmarks(self):
        square = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
        twice = np.concatenate([square[:3], square[1:2]])
        for arguments, message in (
            ({"states": [square, twice]}, r"states\[1\] must hold distinct .* 1 and 3 coincide"),
            ({"states": [square], "initial": twice}, "initial must hold distinct points"),
            ({"states": [square, square[:3]]}, r"states\[0\] has shape \[4, 2\] and states\[1\]"),
            ({"states": [square], "initial": square[:3]}, "initial must have the shape of a state"),
        ):
            with pytest.raises(InputError, match=message):
                mean(METRIC, Points(), **arguments)
        with pytest.raises(InputError, match="but is RKHS"):
            mean(METRIC, Rotations(2), np.eye(2)[None])

    @pytest.mark.slow
    def test_a_list_is_a_stack(self):
        states = [np.array([[0.0, 0.0]]), np.array([[1.0, 2.0]])]
        found = mean(METRIC, Points(), states, num_steps=4)
        assert largest(found.state - jnp.array([[0.5, 1.0]])) < 1e-9

    @pytest.mark.slow
    def test_truncation_is_told_of(self):
        states = np.array([[[0.1, 0.3]], [[1.1, 2.3]]])
        with jax.enable_x64(False):
            metric = RKHS(Gaussian(1.0))
            with pytest.warns(UserWarning, match="states is float64 but JAX runs in float32"):
                found = mean(metric, Points(), states, num_steps=4)
            assert found.state.dtype == jnp.float32
            # control: nothing is lost, nothing is said
            mean(metric, Points(), states.astype(np.float32), num_steps=4)

    @pytest.mark.filterwarnings("ignore:The kernel Laplace is not C")
    def test_collisions_are_possible_for_rough_kernels(self):
        """Two landmarks of a Laplace kernel meet at a finite distance."""
        system = TwoLandmarks(Laplace(1.0))
        start = system.state(1.0)
        momentum = jnp.array([[1.0], [-1.0]])
        path = shoot(system.metric, Points(), start, momentum, t1=1.3, num_steps=400, throw=False)
        gap = float(path.end[1, 0] - path.end[0, 0])
        assert gap < 0.06
        # of the finite distance to the collision most is behind them
        assert abs(float(path.length) - system.distance(gap, 1.0)) < 1e-9
        assert float(path.length) < system.distance(0.0, 1.0) < float(path.length) + 0.5
