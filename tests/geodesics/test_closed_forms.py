"""Geodesics, distances and curvatures against closed forms and independent solvers."""

from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from systems.groups import (
    BergerSphere,
    IsotropicLinear,
    Milnor,
    RigidBody,
    hamiltonian_of,
    pauli_string,
    pauli_triples,
)
from systems.numerics import largest, relative_error
from systems.particles import TwoLandmarks, TwoPeakons

from geojax.actions import Matrices, Points, Rotations, Unitaries
from geojax.geodesics import log, momentum_of, ricci_curvature, sectional_curvature, shoot
from geojax.kernels import Gaussian, Laplace, Sum
from geojax.metrics import RKHS, Isotropic, PauliPenalty, locality


class TestOneLandmark:
    """L13: a straight line, of length `|q1 - q0| / sqrt(k(0))`."""

    @pytest.mark.parametrize("weight", [1.0, 4.0])
    def test_straight_line(self, weight):
        kernel = Sum([Gaussian(1.3)], [weight])
        start, end = jnp.array([[0.2, -0.4]]), jnp.array([[1.1, 0.9]])
        momentum = momentum_of(RKHS(kernel), Points(), start, end - start)
        path = shoot(RKHS(kernel), Points(), start, momentum)
        line = start[None] + path.times[:, None, None] * (end - start)[None]
        assert largest(path.states - line) < 1e-14
        assert largest(path.costates - momentum[None]) < 1e-14
        chord = float(jnp.linalg.norm(end - start))
        assert abs(path.length - chord / np.sqrt(weight)) < 1e-14
        assert abs(path.energy - 0.5 * chord**2 / weight) < 1e-14
        # controls: a second landmark bends the line; a kernel of another size has another length
        pair, pull = jnp.concatenate([start, start + 0.4]), jnp.concatenate([momentum, -momentum])
        bent = shoot(RKHS(kernel), Points(), pair, pull)
        assert largest(bent.states[:, :1] - line) > 1e-2
        other = shoot(RKHS(Sum([Gaussian(1.3)], [2.0 * weight])), Points(), start, momentum)
        assert abs(other.length - chord / np.sqrt(weight)) > 0.1


class TestTwoLandmarks:
    """Distances and curvature on a line, where everything is an integral of the kernel."""

    options: ClassVar = dict(num_steps=60)

    def test_quadrature_gives_the_reference_values(self):
        gaussian = TwoLandmarks(Gaussian(1.0))
        laplace = TwoLandmarks(Laplace(1.0))
        assert abs(gaussian.distance(1.0, 2.0) - 0.886962068449) < 1e-12
        assert abs(gaussian.distance(0.5, 1.0) - 0.740578528348) < 1e-12
        assert abs(laplace.distance(1.0, 2.0) - 0.809518402927) < 1e-12
        assert abs(laplace.distance(0.0, 1.0) - 1.534476165152) < 1e-12

    @pytest.mark.filterwarnings("ignore:The kernel Laplace is not C")
    @pytest.mark.parametrize("kernel", [Gaussian(1.0), Laplace(1.0)], ids=["gaussian", "laplace"])
    def test_log(self, kernel):
        system = TwoLandmarks(kernel)
        for near, far in ((1.0, 2.0), (0.5, 1.0)):
            start, end = system.state(near), system.state(far)
            found = log(system.metric, Points(), start, end, **self.options)
            back = log(system.metric, Points(), end, start, **self.options)
            truth = system.distance(near, far)
            assert abs(float(found.distance) - truth) < 1e-9
            assert abs(float(found.distance) / truth - 1) < 1e-12
            assert abs(float(found.distance - back.distance)) < 1e-12
            # the centre does not move
            assert largest(jnp.sum(found.momentum)) < 1e-12
        # negative control: a scale that is off by one in a thousand is seen
        wrong = RKHS(type(kernel)(1.001))
        found = log(wrong, Points(), system.state(1.0), system.state(2.0), **self.options)
        assert abs(float(found.distance) - system.distance(1.0, 2.0)) > 1e-5

    def test_gaussian_landmarks_never_collide(self):
        system = TwoLandmarks(Gaussian(1.0))
        start = system.state(1.0)
        momentum = jnp.array([[3.0], [-3.0]])
        path = shoot(system.metric, Points(), start, momentum, num_steps=200)
        assert jnp.all(jnp.diff(path.states[:, :, 0], axis=1) > 0)
        # they spend their whole length on coming closer
        gap = float(path.end[1, 0] - path.end[0, 0])
        assert gap < 0.1
        assert abs(float(path.length) - system.distance(gap, 1.0)) < 1e-9

    @pytest.mark.parametrize("scale", [1.0, 0.7])
    def test_curvature(self, scale):
        system = TwoLandmarks(Gaussian(scale))
        first, second = jnp.array([[1.0], [0.3]]), jnp.array([[0.2], [-1.0]])

        @jax.jit
        def both(r):
            state = 0.5 * r * jnp.array([[-1.0], [1.0]])
            found = sectional_curvature(system.metric, Points(), state, first, second)
            return found, system.curvature(r)

        found, truth = jax.vmap(both)(jnp.array([0.5, 0.953902, 1.0, 1.5349, 2.0, 2.198278, 3.0]))
        assert largest(found - truth) < 1e-8
        assert largest(found + truth) > 0.1
        if scale == 1.0:
            known = jnp.array([-0.1986208789, 0.2032290879, 0.0847583464])
            assert largest(truth[jnp.array([2, 4, 6])] - known) < 1e-10

    def test_curvature_of_the_laplace_kernel(self):
        system = TwoLandmarks(Laplace(1.0))
        for r in (0.7, 2.0):
            momenta = jnp.eye(2)[:, :, None]
            found = sectional_curvature(system.metric, Points(), system.state(r), *momenta)
            assert abs(found - system.curvature(r)) < 1e-8


@pytest.mark.filterwarnings("ignore:The kernel Laplace is not C")
class TestPeakons:
    """A two-body problem with a nonlinear closed form."""

    def test_positions_and_momenta(self):
        system = TwoPeakons()
        start, momentum = system.state(0.0)
        path = shoot(system.metric, Points(), start, momentum, t1=3.0, num_steps=300)
        for k in (100, 200, 300):
            positions, momenta = system.state(float(path.times[k]))
            assert largest(path.states[k] - positions) < 1e-12
            assert largest(path.costates[k] - momenta) < 1e-12
            found = system.lax_eigenvalues(path.states[k], path.costates[k])
            assert largest(found - np.sort(1 / system.lambdas)) < 1e-12
        assert abs(float(path.energy) / 3.0 / system.energy - 1) < 1e-13
        # the faster one takes over most of the momentum
        assert float(path.costates[0, 0, 0]) > 1.5 * float(path.costates[-1, 0, 0])

    def test_another_kernel_has_other_solutions(self):
        system = TwoPeakons()
        start, momentum = system.state(0.0)
        path = shoot(RKHS(Gaussian(1.0)), Points(), start, momentum, t1=3.0, num_steps=300)
        assert largest(path.end - system.state(3.0)[0]) > 1e-2


class TestOneParameterSubgroups:
    """Geodesics that are exponentials: isotropic prices, commuting generators."""

    @pytest.mark.parametrize("action", [Unitaries(2), Rotations(4)], ids=["SU(4)", "SO(4)"])
    def test_isotropic(self, action):
        draw = np.random.default_rng(0).normal(size=(4, 4))
        identity = jnp.eye(4)
        if isinstance(action, Unitaries):
            identity, draw = identity.astype(complex), draw.astype(complex)
        velocity = 0.4 * action.project(jnp.asarray(draw))
        metric = Isotropic(2.0)
        path = shoot(metric, action, identity, action.lift(identity, metric.flat(velocity)))
        truth = np.stack([action.exponential(float(t) * velocity) for t in path.times])
        # twenty products of rounded matrices; 1e-14 for each
        assert largest(path.states - truth) < 2e-14
        assert relative_error(path.length, jnp.sqrt(2 * metric.energy(velocity))) < 1e-14

    @pytest.mark.parametrize(
        ("names", "stays"), [(("XXX", "IXX", "XII"), True), (("XXX", "IZI"), False)]
    )
    def test_commuting_generators(self, names, stays):
        metric, action = PauliPenalty(3, 4.0), Unitaries(3)
        hamiltonian = sum(0.3 * pauli_string(name) for name in names)
        # [H, G(H)] = 0 exactly where the exponential is a geodesic
        priced = metric.flat(hamiltonian)
        commutator = hamiltonian @ priced - priced @ hamiltonian
        assert (largest(commutator) < 1e-14) == stays
        identity = jnp.eye(8, dtype=complex)
        path = shoot(metric, action, identity, action.lift(identity, priced))
        error = largest(path.end - action.exponential(hamiltonian))
        assert error < 1e-13 if stays else error > 1e-2


class TestLinearNetworks:
    """gl(n), with all prices one: `exp(t (A - A^T)) exp(t A^T)`."""

    def test_geodesic(self):
        velocity = jnp.asarray(0.5 * np.random.default_rng(1).normal(size=(4, 4)))
        identity, action = jnp.eye(4), Matrices()
        path = shoot(Isotropic(), action, identity, action.lift(identity, velocity))
        for k in (0, 7, 20):
            truth = IsotropicLinear.geodesic(velocity, float(path.times[k]))
            assert largest(path.states[k] - truth) < 1e-12
        # negative control: the exponential is another curve
        assert largest(path.end - action.exponential(velocity)) > 1e-2
        priced = shoot(locality(4, 1, 3.0), action, identity, action.lift(identity, velocity))
        assert largest(priced.end - path.end) > 1e-2


class TestRigidBody:
    """SO(3) with moments of inertia, against elliptic functions and an independent solver."""

    def test_free_rotation(self):
        body = RigidBody()
        start = body.velocity(0.0)
        path = shoot(
            body.metric, body.action, body.identity, body.momentum(start), t1=8.0, num_steps=120
        )
        momenta = jax.vmap(body.action.momentum)(path.states, path.costates)
        velocities = body.vee(np.asarray(jax.vmap(body.metric.sharp)(momenta)))
        times = np.asarray(path.times)
        assert largest(velocities - body.velocity(times)) < 1e-10
        rotations, angular = body.integrate(start, times)
        assert largest(velocities - angular) < 1e-10
        assert largest(path.states - rotations) < 1e-9
        # the momentum seen from the body
        seen = np.einsum("kji,kjl,klm->kim", path.states, momenta, path.states)
        assert largest(seen - seen[0]) < 1e-12
        # negative control: the velocity itself is not conserved
        assert largest(velocities - velocities[0]) > 0.5


class TestBerger:
    """A squeezed three-sphere: one qubit with a price on X."""

    @pytest.mark.parametrize("epsilon", [0.5, 1.0, 1.6])
    def test_geodesics_and_fibres(self, epsilon):
        sphere = BergerSphere(epsilon)

        def end(v, **options):
            momentum = sphere.momentum(v)
            return shoot(
                sphere.metric, sphere.action, sphere.identity, momentum, num_steps=40, **options
            )

        v = np.array([0.7, -0.4, 0.9])
        path = end(v)
        assert largest(path.end - sphere.geodesic(v, 1.0)) < 7e-13
        assert abs(float(path.length) - sphere.speed(v)) < 1e-13
        assert largest(path.states[20] - sphere.geodesic(v, 0.5)) < 7e-13
        # shortest geodesics to the fibre, straight or around
        for phi in (0.6, 2.0, 3.0):
            path = end(sphere.fibre_velocity(phi))
            assert largest(path.end - sphere.fibre(phi)) < 1e-12
            assert abs(float(path.length) - sphere.fibre_distance(phi)) < 1e-12
        # the fibre closes after a turn, as does a great circle across it
        assert largest(end(np.array([2 * np.pi, 0, 0])).end - sphere.identity) < 1e-9
        if epsilon == 1.0:
            assert largest(end(2 * np.pi * v / np.linalg.norm(v)).end - sphere.identity) < 1e-9
        else:
            # negative control: the round sphere's great circles do not close on this one
            assert largest(end(2 * np.pi * v / np.linalg.norm(v)).end - sphere.identity) > 1e-2

    def test_distance_along_the_fibre(self):
        for epsilon in (0.5, 1.6):
            sphere = BergerSphere(epsilon)
            found = log(
                sphere.metric, sphere.action, sphere.identity, sphere.fibre(0.9), num_steps=8
            )
            assert abs(float(found.distance) - sphere.fibre_distance(0.9)) < 1e-10

    @pytest.mark.parametrize("epsilon", [0.5, 0.8, 1.3])
    def test_diameter(self, epsilon):
        sphere = BergerSphere(epsilon)
        # the two angles that the symmetry about the fibre leaves of a group element
        cosines = np.linspace(-1, 1, 241)
        velocities = np.stack(
            [cosines / epsilon, np.sqrt(1 - cosines**2), np.zeros_like(cosines)], axis=1
        )
        momenta = jnp.stack([sphere.momentum(v) for v in velocities])
        longest = 1.05 * np.pi

        def states(momentum):
            return shoot(
                sphere.metric,
                sphere.action,
                sphere.identity,
                momentum,
                t1=longest,
                num_steps=160,
                throw=False,
            ).states

        ends = np.asarray(jax.vmap(states)(momenta))
        # X is the fibre, so its eigenvectors diagonalise the symmetry
        plus = 0.5 * (ends[..., 0, 0] + ends[..., 1, 1] + ends[..., 0, 1] + ends[..., 1, 0])
        latitude, turn = np.abs(plus) ** 2, np.abs(np.angle(plus))
        cells = 24
        rows = np.minimum((latitude * cells).astype(int), cells - 1)
        columns = np.minimum((turn / np.pi * cells).astype(int), cells - 1)
        nearest = np.full((cells, cells), np.inf)
        lengths = np.broadcast_to(np.linspace(0, longest, 161), rows.shape)
        np.minimum.at(nearest, (rows.reshape(-1), columns.reshape(-1)), lengths.reshape(-1))
        # in the first row, about |plus| = 0, the angle says nothing
        found = np.max(nearest[1:])
        assert found < sphere.diameter + np.pi / cells
        if epsilon < 1:
            assert found > sphere.diameter - np.pi / cells
        else:
            # the farthest point is -1, in a cell that is long: look about the point itself
            gap = np.max(np.abs(ends + np.eye(2)), axis=(-2, -1))
            assert np.any(gap < 0.05)
            shortest = np.min(np.where(gap < 0.05, lengths, np.inf))
            assert abs(shortest - sphere.diameter) < 2 * epsilon * 0.05

    def test_curvature_agrees_with_milnor(self):
        identity, action = BergerSphere.identity, BergerSphere.action

        @jax.jit
        def curvatures(prices):
            metric = PauliPenalty(1, prices)
            velocities = jnp.stack([hamiltonian_of(row) for row in jnp.eye(3)])
            p = jax.vmap(lambda h: action.lift(identity, metric.flat(h)))(velocities)
            planes = [(1, 2), (2, 0), (0, 1)]
            return jnp.stack(
                [sectional_curvature(metric, action, identity, p[a], p[b]) for a, b in planes]
            )

        @jax.jit
        def riccis(prices):
            metric = PauliPenalty(1, prices)
            velocities = jnp.stack([hamiltonian_of(row) for row in jnp.eye(3)])
            p = jax.vmap(lambda h: action.lift(identity, metric.flat(3.0 * h)))(velocities)
            return jax.lax.map(lambda m: ricci_curvature(metric, action, identity, m), p)

        for prices in ([1.0, 1.0, 1.0], [0.25, 1.0, 1.0], [2.56, 1.0, 1.0], [0.5, 1.3, 2.2]):
            milnor = Milnor.of_prices(prices)
            found = curvatures(jnp.array(prices))
            truth = np.array(
                [milnor.sectional(1, 2), milnor.sectional(2, 0), milnor.sectional(0, 1)]
            )
            assert largest(found - truth) < 1e-8
            ricci = np.sum(found) - np.asarray(found)
            assert largest(riccis(jnp.array(prices)) - ricci) < 1e-8
            assert largest(ricci - milnor.ricci()) < 1e-8
            if prices[1] == prices[2] == 1.0:
                squared = prices[0]
                assert largest(found - np.array([4 - 3 * squared, squared, squared])) < 1e-8
                berger = [2 * squared, 4 - 2 * squared, 4 - 2 * squared]
                assert largest(ricci - np.array(berger)) < 1e-8

    def test_signs_of_the_ricci_curvature(self):
        """Milnor 1976: on SU(2) they are (+, +, +), (+, 0, 0) or (+, -, -)."""
        for prices, signs in (
            ([1.0, 1.0, 1.0], {(1, 1, 1)}),
            ([1.0, 1.0, 2.0], {(0, 0, 1)}),
            ([1.0, 1.0, 6.0], {(-1, -1, 1)}),
        ):
            ricci = Milnor.of_prices(prices).ricci()
            assert tuple(sorted(np.sign(np.round(ricci, 12)).astype(int))) in signs


def test_curvature_of_rotations_agrees_with_milnor():
    body = RigidBody()
    # both entries of a skew matrix are priced
    milnor = Milnor.of_prices(2 * body.inertia, bracket=1.0)
    for a, b in ((0, 1), (1, 2), (2, 0)):
        p, w = body.momentum(np.eye(3)[a]), body.momentum(np.eye(3)[b])
        found = sectional_curvature(body.metric, body.action, body.identity, p, w)
        assert abs(found - milnor.sectional(a, b)) < 1e-8


class TestCurvatureOfCircuits:
    """Theory 1.A: planes of Pauli strings whose product is cheap or dear."""

    # how many of two strings are dear, whether their product is, and the curvature at a price q
    FORMULAS: ClassVar = {
        (0, True): lambda q: 4 - 3 * q,
        (1, False): lambda q: q,
        (1, True): lambda q: 1 / q**2,
        (0, False): lambda q: 1.0,
    }

    @pytest.mark.parametrize("num_qubits", [2, 3])
    def test_formula(self, num_qubits):
        n, size = num_qubits, 2**num_qubits
        action, identity = Unitaries(n), jnp.eye(size, dtype=complex)
        names = {name: k for k, name in enumerate(PauliPenalty(n).labels[1:])}
        # for two qubits no weight is dear by itself, so some strings are made so
        dear = {name for name in names if name.count("I") == 0} if n == 3 else {"XX", "YX"}

        @jax.jit
        def curvature(penalties, first, second):
            metric = PauliPenalty(n, penalties)
            p, w = (action.lift(identity, metric.flat(h)) for h in (first, second))
            return sectional_curvature(metric, action, identity, p, w)

        chosen = {}
        for a, b, c in pauli_triples(n):
            chosen.setdefault(((a in dear) + (b in dear), c in dear), (a, b, c))
        assert set(self.FORMULAS) <= set(chosen)
        for q in (1.0, 2.0, 4.0, 16.0):
            penalties = jnp.array([q if name in dear else 1.0 for name in names])
            for kind, triple in chosen.items():
                found = float(curvature(penalties, *map(pauli_string, triple[:2])))
                prices = [q if name in dear else 1.0 for name in triple]
                assert abs(found - Milnor.of_prices(prices).sectional(0, 1)) < 1e-8
                if kind in self.FORMULAS:
                    assert abs(found - self.FORMULAS[kind](q)) < 1e-8
            # strings that commute span a flat plane
            commuting = pauli_string("X" + "I" * (n - 1)), pauli_string("I" * (n - 1) + "Z")
            assert abs(float(curvature(penalties, *commuting))) < 1e-8
