"""Orders of convergence, and the two solvers of geojax itself."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from systems.groups import BergerSphere, RigidBody
from systems.numerics import largest, observed_order
from systems.particles import TwoPeakons, random_particles

from geojax._core.errors import InputError
from geojax._core.linalg import expm
from geojax.actions import Matrices, Points, Rotations, Unitaries
from geojax.flows import ImplicitMidpoint, MuntheKaas
from geojax.geodesics import shoot
from geojax.kernels import Gaussian
from geojax.metrics import RKHS


class ClassicalRungeKutta(diffrax.AbstractERK):
    """The method of order four that diffrax does not have: users bring their own."""

    tableau = diffrax.ButcherTableau(
        a_lower=(np.array([0.5]), np.array([0.0, 0.5]), np.array([0.0, 0.0, 1.0])),
        b_sol=np.array([1 / 6, 1 / 3, 1 / 3, 1 / 6]),
        b_error=np.array([1 / 6, 1 / 3, 1 / 3, 1 / 6]) - np.array([1.0, 0.0, 0.0, 0.0]),
        c=np.array([0.5, 0.5, 1.0]),
    )
    interpolation_cls = diffrax.LocalLinearInterpolation

    def order(self, terms):
        return 4


SOLVERS = [
    (diffrax.Euler(), 1, (16, 32, 64)),
    (diffrax.Heun(), 2, (16, 32, 64)),
    (ImplicitMidpoint(), 2, (16, 32, 64)),
    (ClassicalRungeKutta(), 4, (8, 16, 32)),
    (diffrax.Tsit5(), 5, (8, 12, 16, 24)),
    (diffrax.Dopri8(), 8, (2, 3, 4)),
]


def name_of(value):
    return type(value).__name__ if isinstance(value, diffrax.AbstractSolver) else None


@pytest.mark.filterwarnings("ignore:The kernel Laplace is not C")
@pytest.mark.parametrize(("solver", "order", "counts"), SOLVERS, ids=name_of)
def test_order_on_peakons(solver, order, counts):
    """L12, against the closed form, down to 1e-12."""
    system = TwoPeakons()
    start, momentum = system.state(0.0)
    errors = [
        largest(
            shoot(
                system.metric, Points(), start, momentum, num_steps=n, solver=solver, throw=False
            ).end
            - system.state(1.0)[0]
        )
        for n in counts
    ]
    assert abs(observed_order(counts, errors, floor=1e-12) - order) < 0.3, errors


@pytest.mark.parametrize(
    ("solver", "order", "v", "counts"),
    [
        (diffrax.Heun(), 2, (0.8, 0.5, -0.6), (16, 32, 64)),
        (ClassicalRungeKutta(), 4, (0.8, 0.5, -0.6), (8, 16, 32)),
        # (along many other directions the error falls faster until it is below 1e-10)
        (diffrax.Tsit5(), 5, (0.3, 1.5, 0.0), (16, 24, 32, 48)),
        (diffrax.Dopri8(), 8, (0.8, 0.5, -0.6), (6, 8, 12)),
    ],
    ids=name_of,
)
def test_order_on_a_group(solver, order, v, counts):
    """L12 for the Munthe-Kaas step, which has the order of the solver that it wraps."""
    sphere, errors = BergerSphere(1.6), []
    for n in counts:
        path = shoot(
            sphere.metric,
            sphere.action,
            sphere.identity,
            sphere.momentum(v),
            num_steps=n,
            solver=MuntheKaas(solver),
            throw=False,
        )
        errors.append(largest(path.end - sphere.geodesic(v, 1.0)))
        # on the group whatever the step
        assert largest(np.conj(np.asarray(path.end).T) @ np.asarray(path.end) - np.eye(2)) < 1e-13
    floor = 1e-13 if order == 8 else 1e-12
    assert abs(observed_order(counts, errors, floor=floor) - order) < 0.3, errors


def test_a_wrong_order_is_seen():
    errors = [2.0**-k for k in range(4)]
    assert abs(observed_order([1, 2, 4, 8], errors, floor=0) - 2) > 0.3
    with pytest.raises(AssertionError, match="too few"):
        observed_order([1, 2, 4], [1e-13, 1e-14, 1e-15], floor=1e-12)


class TestMuntheKaas:
    def test_takes_adaptive_steps(self):
        body = RigidBody()
        start = body.velocity(0.0)
        path = shoot(
            body.metric,
            body.action,
            body.identity,
            body.momentum(start),
            t1=4.0,
            num_steps=4,
            stepsize_controller=diffrax.PIDController(rtol=1e-9, atol=1e-9),
        )
        rotations, _ = body.integrate(start, np.asarray(path.times))
        assert largest(path.states - rotations) < 1e-7
        assert (
            largest(np.swapaxes(np.asarray(path.states), 1, 2) @ path.states - np.eye(3)[None])
            < 1e-12
        )
        assert int(path.num_steps) > 4
        # and equal ones in diffrax's own loop
        looped = shoot(
            body.metric,
            body.action,
            body.identity,
            body.momentum(start),
            t1=4.0,
            num_steps=40,
            adjoint=diffrax.DirectAdjoint(),
        )
        assert largest(looped.end - rotations[-1]) < 1e-9

    def test_refuses_what_it_cannot_wrap(self):
        for solver in (diffrax.Kvaerno5(), diffrax.Euler(), ImplicitMidpoint()):
            with pytest.raises(InputError, match="explicit Runge-Kutta"):
                MuntheKaas(solver)

    def test_other_solvers_run_on_groups_in_the_ambient_space(self):
        sphere = BergerSphere(1.6)
        v = np.array([0.8, 0.5, -0.6])
        path = shoot(
            sphere.metric,
            sphere.action,
            sphere.identity,
            sphere.momentum(v),
            num_steps=60,
            solver=diffrax.Dopri8(),
        )
        assert largest(path.end - sphere.geodesic(v, 1.0)) < 1e-12


class TestImplicitMidpoint:
    def test_runs_under_diffrax_too(self):
        q, p = random_particles(0, 4, 2)
        scanned = shoot(RKHS(Gaussian(1.0)), Points(), q, p, solver=ImplicitMidpoint())
        looped = shoot(
            RKHS(Gaussian(1.0)),
            Points(),
            q,
            p,
            solver=ImplicitMidpoint(),
            adjoint=diffrax.DirectAdjoint(),
        )
        assert largest(scanned.states - looped.states) < 1e-13
        assert int(scanned.num_evaluations) == -1

    def test_has_an_exact_gradient(self):
        q, p = random_particles(0, 4, 2)

        def end(p):
            path = shoot(
                RKHS(Gaussian(1.0)), Points(), q, p, num_steps=5, solver=ImplicitMidpoint(),
                save="end", throw=False,
            )  # fmt: skip
            return jnp.sum(path.end**3)

        gradient = jax.jit(jax.grad(end))(p)
        direction = jnp.asarray(np.random.default_rng(0).normal(size=p.shape))
        ahead, behind = (jax.jit(end)(p + s * direction) for s in (1e-5, -1e-5))
        slope = float((ahead - behind) / 2e-5)
        assert abs(float(jnp.sum(gradient * direction)) / slope - 1) < 1e-8


class TestExponential:
    """The matrix exponential that the group steps use."""

    @pytest.mark.parametrize("size", [1e-12, 0.3, 0.9, 5.0, 80.0])
    def test_against_scipy(self, size):
        import scipy.linalg

        rng = np.random.default_rng(0)
        for action, draw in (
            (Matrices(), rng.normal(size=(5, 5))),
            (Rotations(5), rng.normal(size=(5, 5))),
            (Unitaries(2), rng.normal(size=(4, 4)) + 1j * rng.normal(size=(4, 4))),
        ):
            velocity = action.project(jnp.asarray(draw))
            generator = action.generator(velocity)
            generator = generator * (size / np.linalg.norm(generator)).astype(generator.dtype)
            truth = scipy.linalg.expm(np.asarray(generator))
            error = largest(expm(generator) - truth) / largest(truth)
            assert error < 1e-14 * max(1.0, size)
            single = generator.astype(np.complex64 if generator.dtype.kind == "c" else np.float32)
            assert expm(single).dtype == single.dtype
            assert largest(np.asarray(expm(single)) - truth) / largest(truth) < 2e-6 * max(
                1.0, size
            )

    def test_withholds_what_it_cannot_reach(self):
        assert jnp.all(jnp.isnan(expm(jnp.array([[0.0, -1e5], [1e5, 0.0]]))))
        assert jnp.all(jnp.isfinite(expm(jnp.array([[0.0, -1e3], [1e3, 0.0]]))))

    def test_derivatives_at_zero(self):
        basis = jnp.zeros((3, 3)).at[0, 1].set(1.0)
        first = jax.jvp(expm, (jnp.zeros((3, 3)),), (basis,))[1]
        assert largest(first - basis) < 1e-16
        assert jnp.all(jnp.isfinite(jax.grad(lambda a: jnp.sum(expm(a)))(jnp.zeros((3, 3)))))
