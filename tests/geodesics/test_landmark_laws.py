"""The conservation laws and symmetries of landmark geodesics, in double and single precision."""

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from systems.numerics import central_difference, largest, relative_error, unit_directions
from systems.particles import angular_momentum, random_particles

from geojax._core.errors import NumericalError
from geojax._core.results import RESULTS
from geojax.actions import Points
from geojax.flows import ImplicitMidpoint, jacobian_determinants, jacobians
from geojax.geodesics import hamiltonian, log, shoot
from geojax.kernels import Cauchy, Gaussian, KernelExpansion, hamiltonian_field
from geojax.metrics import RKHS, AbstractMetric

METRIC = RKHS(Gaussian(1.0))
N, D = 20, 2


def particles(dtype=jnp.float64, momentum=0.3):
    """Twenty landmarks whose momenta carry them about one scale in unit time."""
    positions, momenta = random_particles(0, N, D, dtype)
    return positions, momentum * momenta


def energies(metric, path):
    return jax.vmap(lambda q, p: hamiltonian(metric, Points(), q, p))(path.states, path.costates)


class Anisotropic(AbstractMetric):
    """A kernel that is longer in one direction, so that rotations are no symmetry."""

    stretch: jax.Array

    def _stretched(self, points):
        return points * self.stretch[None].astype(points.dtype)

    def sharp(self, momentum):
        inner = KernelExpansion(Gaussian(1.0), self._stretched(momentum.points), momentum.weights)
        return lambda x: inner(self._stretched(x))

    def flat(self, velocity):
        raise NotImplementedError


@pytest.mark.parametrize(
    ("dtype", "energy", "linear", "angular", "reversal"),
    [
        (jnp.float64, 1e-12, 1e-13, 1e-12, 1e-11),
        (jnp.float32, 2e-6, 2e-6, 2e-6, 1e-5),
    ],
    ids=["float64", "float32"],
)
def test_conservation_and_reversal(dtype, energy, linear, angular, reversal):
    """L1 energy, L2 linear and L3 angular momentum, L5 reversal."""
    q, p = particles(dtype)
    path = shoot(METRIC, Points(), q, p, num_steps=100)
    assert path.states.dtype == dtype
    assert path.energy.dtype == dtype
    values = energies(METRIC, path)
    assert largest(values / values[0] - 1) < energy
    assert float(path.energy_drift) < energy
    total = jnp.sum(path.costates, axis=1)
    assert largest(total - total[:1]) < linear
    moments = angular_momentum(path.states, path.costates)
    # relative to the moments that add up (and here nearly cancel)
    size = float(jnp.sum(jnp.linalg.norm(q, axis=1) * jnp.linalg.norm(p, axis=1)))
    assert largest(moments - moments[:1]) < angular * size
    # they moved, and so did every single momentum
    assert largest(path.end - q) > 0.3
    assert largest(path.costates[-1] - p) > 0.1

    back = shoot(METRIC, Points(), path.end, path.costates[-1], num_steps=100, reverse=True)
    assert largest(back.end - q) < reversal
    assert largest(back.costates[-1] - p) < reversal
    assert float(back.times[0]) == 1.0
    assert float(back.times[-1]) == 0.0


def test_controls_of_conservation():
    """L4: what should break a law breaks it."""
    q, p = particles()
    anisotropic = Anisotropic(jnp.array([1.0, 2.0]))
    path = shoot(anisotropic, Points(), q, p, num_steps=100)
    moments = angular_momentum(path.states, path.costates)
    assert largest(moments - moments[:1]) > 1e-3 * largest(moments)
    # the other laws do not need the rotations
    values = energies(anisotropic, path)
    assert largest(values / values[0] - 1) < 1e-12
    total = jnp.sum(path.costates, axis=1)
    assert largest(total - total[:1]) < 1e-13

    euler = shoot(METRIC, Points(), q, p, num_steps=100, solver=diffrax.Euler(), throw=False)
    values = energies(METRIC, euler)
    assert largest(values / values[0] - 1) > 1e-5
    # a force of the wrong sign keeps the total momentum but not the energy
    wrong = shoot(RKHS(_WrongForce(1.0)), Points(), q, p, num_steps=100, throw=False)
    values = energies(METRIC, wrong)
    assert largest(values / values[0] - 1) > 1e-3


class _WrongForce(Gaussian):
    def derivative(self, squared_distance):
        return -super().derivative(squared_distance)


@pytest.mark.parametrize(
    ("dtype", "inverse", "determinant"),
    [
        (jnp.float64, 1e-13, 1e-12),
        pytest.param(jnp.float32, 1e-5, 1e-4, marks=pytest.mark.slow),
    ],
    ids=["float64", "float32"],
)
def test_free_points(dtype, inverse, determinant):
    """L6 the inverse flow, L7 the Jacobian and the divergence, L8 no folds."""
    q, p = particles(dtype)
    grid = np.stack(np.meshgrid(*[np.linspace(-0.5, 4.0, 24)] * 2), axis=-1).reshape(-1, 2)
    assert 4.5 / 23 < 1.0 / 4
    points = jnp.asarray(grid, dtype)
    options = dict(num_steps=20, solver=diffrax.Dopri8())

    @eqx.filter_jit
    def there(q, p, points):
        return shoot(METRIC, Points(), q, p, carried=points, **options, throw=False)

    path = there(q, p, points)
    back = shoot(
        METRIC,
        Points(),
        path.end,
        path.costates[-1],
        carried=path.carried[-1],
        reverse=True,
        **options,
    )
    assert largest(back.carried[-1] - points) < inverse
    assert largest(path.carried[-1] - points) > 0.3
    # landmarks carried as free points go where landmarks go
    own = there(q, p, jnp.concatenate([q, points[N:]]))
    assert largest(own.carried[:, :N] - own.states) < 100 * inverse

    @eqx.filter_jit
    def flow_derivatives(q, p, points):
        def flow(x):
            return shoot(
                METRIC, Points(), q, p, carried=x, **options, save="end", throw=False
            ).carried[-1]

        return jacobian_determinants(flow, points)

    determinants = flow_derivatives(q, p, points)
    folds = int(jnp.sum(determinants <= 0))
    assert folds == 0
    assert 0.01 < float(jnp.min(determinants)) < 0.9
    # log det D phi = int div v(phi_t(x)) dt, the divergence integrated by Gauss-Legendre
    nodes, weights = np.polynomial.legendre.leggauss(24)
    total = jnp.zeros(points.shape[0], dtype)
    for node, weight in zip(nodes, weights, strict=True):
        at = there_until(q, p, points, 0.5 * (float(node) + 1))
        total = total + 0.5 * float(weight) * divergence(*at)
    assert total.dtype == dtype
    assert largest(jnp.log(determinants) - total) < determinant
    # controls: the divergence where the points were, and with the other sign
    assert largest(jnp.log(determinants) - divergence(q, p, points)) > 0.1
    assert largest(jnp.log(determinants) + total) > 0.1


@eqx.filter_jit
def there_until(q, p, points, t):
    """States, momenta and free points at a time."""
    path = shoot(
        METRIC, Points(), q, p, carried=points, t1=t, num_steps=20, solver=diffrax.Dopri8(),
        save="end", throw=False,
    )  # fmt: skip
    return path.end, path.costates[-1], path.carried[-1]


@jax.jit
def divergence(q, p, x):
    """Divergence of the velocity of particles, by its formula: `sum_j k'(x - q_j) . p_j`."""
    gap = x[:, None] - q[None]
    values = jnp.exp(-0.5 * jnp.sum(jnp.square(gap), axis=-1))
    return -jnp.sum(values * jnp.sum(gap * p[None], axis=-1), axis=1)


def test_a_fold_is_counted():
    """Control of L8: one Euler step with a momentum that is too large folds the plane."""
    q, p = particles(momentum=3.0)
    grid = jnp.asarray(np.stack(np.meshgrid(*[np.linspace(0, 3, 16)] * 2), -1).reshape(-1, 2))

    def flow(x):
        options = dict(num_steps=1, solver=diffrax.Euler(), throw=False)
        return shoot(METRIC, Points(), q, p, carried=x, **options).carried[-1]

    assert int(jnp.sum(jacobian_determinants(flow, grid) <= 0)) > 0


class TestSymplectic:
    """L9 to L11: Hamiltonian maps, the implicit midpoint, and what an explicit leapfrog is not."""

    n = 5

    def start(self):
        q, p = random_particles(3, self.n, D)
        return jnp.concatenate([q.reshape(-1), p.reshape(-1)])

    def defect(self, step):
        """Largest entry of `J^T Omega J - Omega` for a map of (q, p), flattened."""
        half = self.n * D
        omega = np.zeros((2 * half, 2 * half))
        omega[:half, half:] = np.eye(half)
        omega -= omega.T
        jacobian = np.asarray(jax.jit(jax.jacfwd(step))(self.start()))
        return largest(jacobian.T @ omega @ jacobian - omega)

    def shooting(self, **options):
        def step(z):
            q, p = z.reshape(2, self.n, D)
            path = shoot(METRIC, Points(), q, p, **options, save="end", throw=False)
            return jnp.concatenate([path.end.reshape(-1), path.costates[-1].reshape(-1)])

        return step

    def test_time_one_map(self):
        accurate = self.shooting(num_steps=30, solver=diffrax.Dopri8())
        assert self.defect(accurate) < 1e-12
        midpoint = self.shooting(num_steps=10, solver=ImplicitMidpoint())
        assert self.defect(midpoint) < 1e-12
        # controls: not symplectic at any step, and not small by chance
        assert self.defect(self.shooting(num_steps=10, solver=diffrax.Heun())) > 1e-5
        assert self.defect(self.leapfrog) > 1e-5

    def leapfrog(self, z, steps=10):
        """Explicit leapfrog, which is symplectic for separable Hamiltonians only."""
        q, p = z.reshape(2, self.n, D)
        h = 1.0 / steps
        for _ in range(steps):
            p = p + 0.5 * h * hamiltonian_field(METRIC.kernel, q, p)[1]
            q = q + h * hamiltonian_field(METRIC.kernel, q, p)[0]
            p = p + 0.5 * h * hamiltonian_field(METRIC.kernel, q, p)[1]
        return jnp.concatenate([q.reshape(-1), p.reshape(-1)])

    def test_implicit_midpoint_keeps_quadratic_invariants(self):
        q, p = random_particles(3, self.n, D)
        options = dict(num_steps=10, solver=ImplicitMidpoint())
        path = shoot(METRIC, Points(), q, p, **options)
        moments = angular_momentum(path.states, path.costates)
        assert largest(moments - moments[:1]) < 1e-13
        total = jnp.sum(path.costates, axis=1)
        assert largest(total - total[:1]) < 1e-13
        back = shoot(METRIC, Points(), path.end, -path.costates[-1], **options)
        assert largest(back.end - q) < 1e-13
        assert largest(back.costates[-1] + p) < 1e-13
        # at these steps the energy is only kept to second order, so this is no accuracy
        values = energies(METRIC, path)
        assert 1e-7 < largest(values / values[0] - 1) < 1e-2
        heun = shoot(METRIC, Points(), q, p, num_steps=10, solver=diffrax.Heun())
        moments = angular_momentum(heun.states, heun.costates)
        assert largest(moments - moments[:1]) > 1e-6

    def test_no_secular_drift(self):
        # two landmarks that turn about each other before they part
        q = jnp.array([[-0.5, 0.0], [0.5, 0.0]])
        p = jnp.array([[0.0, -1.0], [0.0, 1.0]])

        def drift(time, solver):
            path = shoot(
                METRIC, Points(), q, p, t1=time, num_steps=int(20 * time), solver=solver,
                throw=False,
            )  # fmt: skip
            values = energies(METRIC, path)
            return largest(values / values[0] - 1)

        assert drift(10.0, ImplicitMidpoint()) < 10 * drift(1.0, ImplicitMidpoint())
        # control: an explicit Euler method at the same steps drifts away
        assert drift(10.0, diffrax.Euler()) > 50 * drift(10.0, ImplicitMidpoint())

    def test_too_large_a_step_fails_honestly(self):
        q, p = random_particles(3, self.n, D)
        solver = ImplicitMidpoint(max_iterations=20)
        path = shoot(METRIC, Points(), q, 50 * p, num_steps=1, solver=solver, throw=False)
        assert bool(path.result != RESULTS.successful)


class TestSymmetries:
    """L14 rigid motions and permutations, L15 scaling, and translation of time."""

    @pytest.mark.parametrize(
        ("dtype", "tolerance"), [(jnp.float64, 1e-12), (jnp.float32, 1e-5)], ids=["64", "32"]
    )
    def test_rigid_motions_and_permutations(self, dtype, tolerance):
        q, p = particles(dtype)
        turn = jnp.asarray([[0.6, -0.8], [0.8, 0.6]], dtype)
        shift = jnp.asarray([[0.3, -0.2]], dtype)
        order = np.random.default_rng(1).permutation(N)
        path = shoot(METRIC, Points(), q, p)
        moved = shoot(METRIC, Points(), q[order] @ turn.T + shift, p[order] @ turn.T)
        assert relative_error(moved.energy, path.energy) < tolerance
        assert largest(moved.end - (path.end[order] @ turn.T + shift)) < tolerance
        assert largest(moved.costates[-1] - path.costates[-1][order] @ turn.T) < tolerance
        # controls: momenta that do not turn along; a stretch, which is no rigid motion
        still = shoot(METRIC, Points(), q[order] @ turn.T + shift, p[order])
        assert largest(still.end - (path.end[order] @ turn.T + shift)) > 0.1
        stretched = shoot(METRIC, Points(), 1.1 * q, p)
        assert abs(stretched.energy - path.energy) > 1e-3 * path.energy

    def test_scaling(self):
        q, _ = random_particles(2, 4, 2)
        target = q + 0.3 * random_particles(3, 4, 2)[1]
        plain = log(METRIC, Points(), q, target, num_steps=40)
        for factor in (0.1, 30.0):
            scaled = log(
                RKHS(Gaussian(factor)), Points(), factor * q, factor * target, num_steps=40
            )
            assert abs(float(scaled.distance) / (factor * float(plain.distance)) - 1) < 1e-12
            assert relative_error(scaled.momentum, factor * plain.momentum) < 1e-10
        other = log(RKHS(Gaussian(1.1)), Points(), q, target, num_steps=40)
        assert abs(float(other.distance) / float(plain.distance) - 1) > 1e-3

    def test_time(self):
        q, p = particles()
        path = shoot(METRIC, Points(), q, p, num_steps=50)
        # half the momentum for twice the time, and a later clock
        slow = shoot(METRIC, Points(), q, 0.5 * p, t0=3.0, t1=5.0, num_steps=50)
        assert largest(slow.end - path.end) < 1e-13
        assert largest(slow.costates[-1] - 0.5 * path.costates[-1]) < 1e-13
        assert relative_error(slow.length, path.length) < 1e-14
        assert relative_error(slow.energy, 0.5 * path.energy) < 1e-14

    def test_a_landmark_counts_as_two_halves(self):
        q, p = particles()
        path = shoot(METRIC, Points(), q, p)
        halves = shoot(METRIC, Points(), jnp.concatenate([q, q]), jnp.concatenate([p, p]) / 2)
        assert largest(halves.end[:N] - path.end) < 1e-13
        assert relative_error(halves.energy, path.energy) < 1e-13


class TestGradients:
    """L19 to L21 on the objective of a matching: energy plus weighted distance to a target."""

    def setup(self, dtype=jnp.float64):
        q, p = random_particles(7, 6, 2, dtype)
        target = q + jnp.asarray(np.random.default_rng(8).normal(size=(6, 2)) * 0.3, dtype)

        def objective(point, adjoint=None):
            scale, source, momentum = point
            path = shoot(
                RKHS(Cauchy(scale)),
                Points(),
                source,
                momentum,
                num_steps=15,
                adjoint=adjoint,
                save="end",
                throw=False,
            )
            return path.energy + 5.0 * jnp.sum(jnp.square(path.end - target))

        return objective, (jnp.asarray(0.9, dtype), q, 0.4 * p)

    def test_against_central_differences(self):
        objective, point = self.setup()
        gradient = jax.jit(jax.grad(objective))(point)
        flat, unravel = jax.flatten_util.ravel_pytree(point)
        slopes = jax.flatten_util.ravel_pytree(gradient)[0]
        directions = unit_directions(jax.random.key(0), 50, flat.shape)
        many = jax.jit(jax.vmap(lambda x: objective(unravel(x))))
        point, step = flat[None], 1e-5
        lines = (many(point + step * directions) - many(point - step * directions)) / (2 * step)
        # with the sign: no absolute values anywhere
        assert relative_error(directions @ slopes, lines) < 1e-7
        assert relative_error(-(directions @ slopes), lines) > 1
        single, point32 = self.setup(jnp.float32)
        gradient32 = jax.jit(jax.grad(single))(point32)
        slopes32 = jax.flatten_util.ravel_pytree(gradient32)[0]
        assert slopes32.dtype == jnp.float32
        assert relative_error(directions @ slopes32.astype(float), lines) < 1e-3

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("dtype", "tolerance"), [(jnp.float64, 1e-10), (jnp.float32, 1e-5)], ids=["64", "32"]
    )
    def test_adjoints_agree(self, dtype, tolerance):
        objective, point = self.setup(dtype)
        scanned = jax.jit(jax.grad(objective))(point)
        for adjoint in (diffrax.RecursiveCheckpointAdjoint(), diffrax.DirectAdjoint()):
            other = jax.jit(jax.grad(lambda x, a=adjoint: objective(x, a)))(point)
            for a, b in zip(jax.tree.leaves(scanned), jax.tree.leaves(other), strict=True):
                assert a.dtype == b.dtype == dtype
                assert relative_error(a, b) < tolerance
        forward = jax.jit(jax.jacfwd(lambda x: objective(x, diffrax.ForwardMode())))(point)
        assert relative_error(forward[2], scanned[2]) < tolerance
        if dtype == jnp.float32:
            return
        # the backsolve adjoint solves another equation: close, but not to round-off
        backsolve = jax.jit(jax.grad(lambda x: objective(x, diffrax.BacksolveAdjoint())))(point)
        assert 1e-12 < relative_error(backsolve[2], scanned[2]) < 1e-3

    def test_second_derivatives(self):
        objective, (scale, q, p) = self.setup()
        gradient = jax.grad(lambda momentum: objective((scale, q, momentum)))
        w = jnp.asarray(np.random.default_rng(2).normal(size=p.shape))
        product = jax.jit(lambda p: jax.jvp(gradient, (p,), (w,))[1])(p)
        difference = central_difference(jax.jit(gradient), p, w, 1e-5)
        assert relative_error(product, difference) < 1e-7


def test_jacobian_of_the_flow_is_that_of_a_difference():
    q, p = particles()
    points = q[:3] + 0.1

    def flow(x):
        return shoot(METRIC, Points(), q, p, carried=x, save="end").carried[-1]

    found = jacobians(flow, points)
    for k in range(D):
        difference = central_difference(flow, points, jnp.eye(D)[None, k], 1e-5)
        assert largest(found[..., k] - difference) < 1e-9


def test_a_failure_raises_outside_and_is_a_code_inside():
    q, p = particles(momentum=30.0)
    with pytest.raises(NumericalError, match=r"too few steps.*num_steps") as caught:
        shoot(METRIC, Points(), q, p, num_steps=2)
    assert bool(caught.value.result == RESULTS.energy_drift)
    assert caught.value.exit_code == 3
