"""Flows of fields: inverse, divergence, costs, groups, adaptive steps, gradients."""

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from systems.groups import hamiltonian_of
from systems.numerics import central_difference, largest, relative_error
from systems.particles import random_particles

from geojax._core import trees
from geojax._core.errors import InputError
from geojax.actions import Points, Unitaries
from geojax.fields import ControlPoints, Neural, PiecewiseConstant, Stationary, SumOf
from geojax.flows import integrate, jacobian_determinants
from geojax.kernels import Gaussian, KernelExpansion


class Swirl(eqx.Module):
    """A smooth field that changes in time."""

    centres: jax.Array
    weights: jax.Array

    def __call__(self, t, x):
        field = ControlPoints(Gaussian(1.0), self.centres, self.weights)
        turning = jnp.stack([-x[..., 1], x[..., 0]], axis=-1)
        return jnp.cos(2.0 * t).astype(x.dtype) * field(t, x) + 0.3 * turning


class Decay(eqx.Module):
    """Velocity `-rate x` of points, or as the field that an action of points asks for."""

    rate: jax.Array
    acts: bool = eqx.field(static=True)

    def __call__(self, t, x):
        return (lambda y: -self.rate * y) if self.acts else -self.rate * x


def swirl(dtype=jnp.float64):
    return Swirl(*random_particles(2, 6, 2, dtype))


def grid(dtype=jnp.float64, n=10):
    return jnp.asarray(np.stack(np.meshgrid(*[np.linspace(-1, 3, n)] * 2), -1), dtype)


@pytest.mark.parametrize(
    ("dtype", "inverse", "log_det"),
    [(jnp.float64, 1e-13, 1e-12), (jnp.float32, 1e-5, 1e-4)],
    ids=["float64", "float32"],
)
def test_inverse_flow_and_divergence(dtype, inverse, log_det):
    """L6, L7 and L25: the inverse flow, and what becomes of volumes and densities."""
    field, points = swirl(dtype), grid(dtype)
    options = dict(t0=0.2, t1=1.1, num_steps=60, solver=diffrax.Dopri8())
    path = integrate(field, points, divergence="exact", **options)
    assert path.states.dtype == dtype
    assert path.log_det.shape == points.shape[:-1]
    back = integrate(field, path.end, reverse=True, divergence="exact", **options)
    assert largest(back.end - points) < inverse
    assert largest(back.log_det + path.log_det) < log_det
    assert largest(path.end - points) > 0.3
    assert [float(back.times[0]), float(back.times[-1])] == pytest.approx([1.1, 0.2], rel=1e-6)

    flat = points.reshape(-1, 2)
    flow = eqx.filter_jit(lambda f, x: integrate(f, x, **options, save="end", throw=False).end)
    determinants = jacobian_determinants(lambda x: flow(field, x), flat)
    assert largest(jnp.log(determinants) - path.log_det.reshape(-1)) < log_det
    # control: the divergence is not small, so its sign and size matter
    assert largest(path.log_det) > 0.1
    # without the divergence the points go the same way, and nothing is measured
    plain = integrate(field, points, **options)
    assert largest(plain.end - path.end) <= inverse
    assert plain.log_det is None


def test_densities_keep_their_mass():
    """L25: the moved density integrates to one."""
    field = swirl()
    axis = np.linspace(-6, 6, 161)
    points = jnp.asarray(np.stack(np.meshgrid(axis, axis), -1))
    # the density at the end, by following its grid points back
    back = integrate(field, points, reverse=True, divergence="exact", num_steps=30)
    log_start = -0.5 * jnp.sum(jnp.square(back.end - 0.5), axis=-1) - np.log(2 * np.pi)
    density = jnp.exp(log_start + back.log_det)
    mass = float(jnp.sum(density)) * (axis[1] - axis[0]) ** 2
    assert abs(mass - 1) < 1e-6
    wrong = jnp.exp(log_start - back.log_det)
    assert abs(float(jnp.sum(wrong)) * (axis[1] - axis[0]) ** 2 - 1) > 1e-2


def test_hutchinson_is_right_on_average(key):
    field, point = swirl(), jnp.array([0.7, 0.4])
    exact = integrate(field, point, divergence="exact").log_det

    def probe(k):
        return integrate(field, point, divergence="hutchinson", key=k, throw=False).log_det

    draws = jax.vmap(probe)(jax.random.split(key, 4000))
    spread = float(jnp.std(draws))
    assert spread > 1e-3
    assert abs(float(jnp.mean(draws) - exact)) < 4 * spread / np.sqrt(4000)


def test_autonomous_flows_compose():
    """L23: the flow for s + t is that for s after that for t."""
    q, p = random_particles(2, 6, 2)
    field, points = ControlPoints(Gaussian(1.0), q, p), grid()
    options = dict(num_steps=30, solver=diffrax.Dopri8(), save="end")
    whole = integrate(field, points, t1=1.0, **options).end
    first = integrate(field, points, t1=0.4, **options).end
    assert largest(integrate(field, first, t1=0.6, **options).end - whole) < 1e-12
    assert largest(integrate(field, first, t0=0.4, t1=1.0, **options).end - whole) < 1e-12
    # control: a field that changes in time does not care only for how long
    first = integrate(swirl(), points, t1=0.4, **options).end
    whole = integrate(swirl(), points, t1=1.0, **options).end
    assert largest(integrate(swirl(), first, t1=0.6, **options).end - whole) > 1e-3


def test_linear_fields_in_closed_form():
    matrix = jnp.array([[0.2, -1.0], [0.7, -0.3]])
    points = grid()
    path = integrate(
        lambda t, x: x @ matrix.T,
        points,
        num_steps=50,
        divergence="exact",
        costs={
            "one": lambda t, x, v: jnp.ones_like(x[..., 0]),
            "time": lambda t, x, v: jnp.full_like(x[..., 0], t),
        },
    )
    truth = points @ jax.scipy.linalg.expm(matrix).T
    assert largest(path.end - truth) < 1e-10
    assert largest(path.log_det - jnp.trace(matrix)) < 1e-12
    assert largest(path.costs["one"] - 1.0) < 1e-14
    assert largest(path.costs["time"] - 0.5) < 1e-14


class TestMeasures:
    """Energy, length and chord of a path."""

    def test_straight_and_round(self):
        straight = integrate(lambda t, x: jnp.ones_like(x) * 2 * t, jnp.zeros((3, 2)))
        assert largest(straight.length - np.sqrt(2)) < 1e-14
        assert largest(straight.chord - np.sqrt(2)) < 1e-14
        assert largest(straight.length_over_chord - 1) < 1e-14
        assert largest(straight.energy - 0.5 * 2 * 4 / 3) < 1e-13
        turn = jnp.array([[0.0, -np.pi], [np.pi, 0.0]])
        arc = integrate(lambda t, x: x @ turn.T, jnp.array([[1.0, 0.0]]), num_steps=100)
        assert largest(arc.length_over_chord - np.pi / 2) < 1e-9
        # prices are positive in either direction of time
        back = integrate(lambda t, x: x @ turn.T, arc.end, num_steps=100, reverse=True)
        assert largest(back.length - arc.length) < 1e-9

    def test_a_path_at_rest_has_derivatives(self):
        def length(x):
            return jnp.sum(integrate(lambda t, x: 0.0 * x, x, throw=False).length)

        assert jnp.all(jnp.isfinite(jax.grad(length)(jnp.ones((2, 2)))))


class TestGroups:
    """Unitaries driven by pulses."""

    action = Unitaries(2)

    def test_a_constant_and_a_pulse(self):
        identity = jnp.eye(4, dtype=complex)
        draws = np.random.default_rng(0).normal(size=(3, 15))
        pulses = jnp.stack([hamiltonian_of(row) for row in 0.5 * draws])
        constant = integrate(Stationary(pulses[0]), identity, action=self.action, num_steps=6)
        assert largest(constant.end - self.action.exponential(pulses[0])) < 1e-13
        path = integrate(PiecewiseConstant(pulses), identity, action=self.action, num_steps=6)
        steps = [self.action.exponential(pulse / 3) for pulse in pulses]
        assert largest(path.end - steps[2] @ steps[1] @ steps[0]) < 1e-13
        # control: the other order is another circuit
        assert largest(path.end - steps[0] @ steps[1] @ steps[2]) > 1e-2
        back = integrate(
            PiecewiseConstant(pulses), path.end, action=self.action, num_steps=6, reverse=True
        )
        assert largest(back.end - identity) < 1e-13
        # in the ambient norm a Hamiltonian of norm |H| moves with speed |H|
        norms = jnp.linalg.norm(pulses.reshape(3, -1), axis=1)
        assert relative_error(path.length, jnp.mean(norms)) < 1e-12
        assert relative_error(path.energy, 0.5 * jnp.mean(norms**2)) < 1e-12
        assert relative_error(constant.length, norms[0]) < 1e-12
        assert relative_error(constant.energy, 0.5 * norms[0] ** 2) < 1e-12

    @pytest.mark.parametrize("save", ["steps", "end"])
    @pytest.mark.parametrize("num_steps", [2, 20, 200])
    def test_measures_do_not_depend_on_what_is_saved(self, save, num_steps):
        su2, identity = Unitaries(1), jnp.eye(2, dtype=complex)
        flip = hamiltonian_of([1.0, 0.0, 0.0])
        options = dict(action=su2, num_steps=num_steps, save=save)
        ramp = integrate(lambda t, u: trees.scale(flip, t), identity, **options)
        assert abs(float(ramp.energy) - 1 / 3) < 1e-12
        assert abs(float(ramp.length) - np.sqrt(0.5)) < 1e-12
        pulse = PiecewiseConstant(jnp.stack([flip, 0 * flip]))
        path = integrate(pulse, identity, **options)
        back = integrate(pulse, path.end, reverse=True, **options)
        for measured in (path, back):
            assert abs(float(measured.energy) - 0.5) < 1e-12
            assert abs(float(measured.length) - np.sqrt(0.5)) < 1e-12
        # control: the trapezoidal rule over what is saved sees another pulse, or another ramp
        times = np.asarray(path.times)
        if save == "steps":
            assert abs(np.trapezoid(1.0 * (times < 0.5), times) - 0.5) > 1e-3
        else:
            assert abs(np.trapezoid(times**2, times) - 1 / 3) > 0.1

    @pytest.mark.lenient  # diffrax divides complex errors by real tolerances
    @pytest.mark.filterwarnings("ignore:Complex dtype support in Diffrax")
    @pytest.mark.slow
    def test_an_adaptive_path_is_measured(self):
        su2, identity = Unitaries(1), jnp.eye(2, dtype=complex)
        flip, turn = hamiltonian_of([1.0, 0.0, 0.0]), hamiltonian_of([0.0, 3.0, 0.5])
        pulse = PiecewiseConstant(jnp.stack([flip, turn]), [0.0, 0.3, 1.0])
        controller = diffrax.PIDController(rtol=1e-9, atol=1e-9)
        for save in ("steps", "end"):
            path = integrate(
                pulse, identity, action=su2, save=save, num_steps=10, stepsize_controller=controller
            )
            assert abs(float(path.energy) - (0.3 + 0.7 * 9.25)) < 1e-12
            truth = su2.exponential(0.7 * turn) @ su2.exponential(0.3 * flip)
            assert largest(path.end - truth) < 1e-9

    def test_measures_have_derivatives(self):
        su2, identity = Unitaries(1), jnp.eye(2, dtype=complex)

        @jax.jit
        @jax.value_and_grad
        def energy(row):
            field = Stationary(hamiltonian_of(row))
            path = integrate(field, identity, action=su2, num_steps=3, save="end", throw=False)
            return path.energy + path.length

        row = jnp.array([0.3, -0.4, 1.2])
        # the price of a unit Pauli matrix is one
        truth = 2 * row + np.sqrt(2) * row / 1.3
        assert largest(energy(row)[1] - truth) < 1e-12
        assert jnp.all(jnp.isfinite(energy(0.0 * row)[1]))

    def test_an_action_on_points(self):
        points = grid().reshape(-1, 2)
        path = integrate(
            lambda t, x: lambda y: jnp.cos(t) * y, points, action=Points(), num_steps=40
        )
        assert largest(path.end - points * np.exp(np.sin(1.0))) < 1e-9
        single = integrate(lambda t, x: jnp.cos(t) * x, points, num_steps=40)
        assert relative_error(path.energy, jnp.sum(single.energy)) < 1e-12


class TestJumps:
    """Fields that are constant between given times."""

    def test_steps_end_at_the_jumps(self):
        field = PiecewiseConstant(jnp.array([[1.0], [3.0], [-2.0]]), [0.0, 0.25, 0.5, 1.0])
        path = integrate(field, jnp.zeros(1), num_steps=4)
        assert largest(path.states[:, 0] - jnp.array([0.0, 0.25, 1.0, 0.5, 0.0])) < 1e-14
        # beyond the last edge the last piece holds
        assert largest(integrate(field, jnp.zeros(1), t1=2.0, num_steps=8).end + 2.0) < 1e-14

    def test_sums_keep_their_jumps(self):
        pieces = PiecewiseConstant(jnp.array([[1.0], [3.0]]))
        both = SumOf([pieces, lambda t, x: jnp.ones_like(x)], [2.0, 0.5])
        path = integrate(both, jnp.zeros(1), num_steps=2, solver=diffrax.Tsit5())
        assert largest(path.end - 4.5) < 1e-14

    def test_an_adaptive_solver_is_told(self):
        pieces = PiecewiseConstant(jnp.array([[1.0], [30.0]]), [0.0, 0.3, 1.0])
        path = integrate(
            pieces,
            jnp.zeros(1),
            num_steps=10,
            stepsize_controller=diffrax.PIDController(rtol=1e-8, atol=1e-8),
        )
        assert largest(path.end - (0.3 + 0.7 * 30)) < 1e-12
        assert int(path.num_steps) <= 12

    def test_an_edge_off_the_grid(self):
        pieces = PiecewiseConstant(jnp.array([[1.0], [30.0]]), [0.0, 1 / 3, 1.0])
        with pytest.raises(InputError, match=r"with 10 steps the jump at t = 0\.333333 falls"):
            integrate(pieces, jnp.zeros(1), num_steps=10)
        for save in ("steps", "end"):
            path = integrate(
                pieces,
                jnp.zeros(1),
                num_steps=10,
                save=save,
                stepsize_controller=diffrax.PIDController(rtol=1e-8, atol=1e-8),
            )
            assert largest(path.end - (1 / 3 + 20.0)) < 1e-12


class TestAdaptive:
    """Step size controllers, and what they count."""

    options = dict(stepsize_controller=diffrax.PIDController(rtol=1e-9, atol=1e-9))  # noqa: RUF012

    def test_agrees_with_equal_steps(self):
        fine = integrate(swirl(), grid(), num_steps=200)
        adaptive = integrate(swirl(), grid(), num_steps=4, **self.options)
        assert adaptive.states.shape[0] == 5
        assert largest(adaptive.end - fine.end) < 1e-7
        assert largest(adaptive.states[2] - fine.states[100]) < 1e-7
        assert int(adaptive.num_evaluations) > int(adaptive.num_steps)
        assert float(adaptive.time_reached) == 1.0

    def test_lanes_take_their_own_steps(self):
        points = jnp.array([[0.1, 0.2], [1.0, 0.9], [40.0, 40.0]])

        def one(x):
            return integrate(swirl(), x, save="end", throw=False, **self.options)

        lanes = jax.vmap(one)(points)
        for k, point in enumerate(points):
            solo = one(point)
            assert largest(lanes.end[k] - solo.end) < 3e-13 * (1 + largest(point))
            assert int(lanes.num_evaluations[k]) == int(solo.num_evaluations)
        assert len(set(lanes.num_steps.tolist())) > 1

    def test_evaluations_are_counted(self):
        calls = []

        def field(t, x):
            jax.debug.callback(lambda: calls.append(1))
            return -x

        direct = {"adjoint": diffrax.DirectAdjoint()}
        jumping = PiecewiseConstant(jnp.ones((3, 2)))
        for solver, options in (
            (diffrax.Tsit5(), {}),
            (diffrax.Tsit5(), direct),
            (diffrax.Tsit5(), self.options),
            (diffrax.Euler(), {}),
            (diffrax.Euler(), direct),
            (diffrax.Dopri8(), {}),
        ):
            for summand in (lambda t, x: x, jumping) if options == {} else (lambda t, x: x,):
                calls.clear()
                whole = SumOf([field, summand])
                path = integrate(whole, jnp.ones(2), num_steps=3, solver=solver, **options)
                jax.block_until_ready(path)
                jax.effects_barrier()
                assert int(path.num_evaluations) == len(calls), (solver, options)

    @pytest.mark.parametrize(
        ("atol", "x", "speed"), [(0.0, [1.0, 0.0], 1.0), (1e-12, [0.0, 0.0], 1e300)]
    )
    def test_a_first_step_is_found_at_any_tolerance(self, atol, x, speed):
        """A tolerance of zero at a zero, and a velocity whose square overflows."""
        controller = diffrax.PIDController(rtol=1e-3, atol=atol)
        path = integrate(
            lambda t, x: speed + 0 * x, jnp.array(x), stepsize_controller=controller, throw=False
        )
        assert int(path.num_steps) < 200

    def test_measuring_does_not_change_the_steps(self):
        def cost(t, x, v):
            return jnp.sin(400 * t) * jnp.ones_like(x[..., 0])

        # the controller that estimates the errors may be inside another
        controller = diffrax.ClipStepSizeController(self.options["stepsize_controller"])
        options = dict(save="end", stepsize_controller=controller)
        plain = integrate(swirl(), grid(), **options)
        costly = integrate(swirl(), grid(), costs={"wild": cost}, **options)
        assert int(plain.num_steps) == int(costly.num_steps)
        assert largest(plain.end - costly.end) == 0

    @pytest.mark.parametrize("action", [None, Points()])
    def test_gradients_by_a_backward_solve(self, action):
        """Its state is a tuple of states and gradients, not the one that the controller knows."""
        points = grid(n=2).reshape(-1, 2)
        adjoint = diffrax.BacksolveAdjoint()

        @jax.grad
        def slope(field):
            path = integrate(
                field, points, action=action, save="end", adjoint=adjoint, throw=False,
                **self.options,
            )  # fmt: skip
            return jnp.sum(path.end)

        # the end is points * exp(-rate)
        field = Decay(jnp.array(0.7), action is not None)
        assert abs(slope(field).rate + jnp.sum(points) * np.exp(-0.7)) < 1e-7


class Network(nnx.Module):
    def __init__(self, rngs):
        self.inner = nnx.Linear(3, 8, rngs=rngs, param_dtype=jnp.float64)
        self.outer = nnx.Linear(8, 2, rngs=rngs, param_dtype=jnp.float64)

    def __call__(self, t, x):
        time = jnp.broadcast_to(t, (*x.shape[:-1], 1)).astype(x.dtype)
        return self.outer(jnp.tanh(self.inner(jnp.concatenate([x, time], axis=-1))))


@pytest.mark.lenient
def test_gradients_of_every_field():
    """Through a network, control points, pieces, the times of their jumps, and weights."""
    q, p = random_particles(2, 3, 2)
    layers = jax.vmap(lambda w: KernelExpansion(Gaussian(1.0), q, w))(jnp.stack([p, -p]))
    field = SumOf(
        [
            Neural(Network(nnx.Rngs(0))),
            ControlPoints(Gaussian(0.8), q, p),
            PiecewiseConstant(layers),
        ],
        [0.7, 1.0, 0.5],
    )
    parameters, structure = eqx.partition(field, eqx.is_inexact_array)
    points = grid(n=3)

    @jax.jit
    @jax.value_and_grad
    def objective(parameters):
        field = eqx.combine(parameters, structure)
        path = integrate(field, points, num_steps=6, divergence="exact", throw=False)
        return jnp.sum(path.end**2 + path.end) + jnp.sum(path.energy) + jnp.sum(path.log_det)

    rng = np.random.default_rng(0)
    direction = jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape)), parameters)
    slope = trees.pairing(objective(parameters)[1], direction)

    def along(s):
        return objective(jax.tree.map(lambda x, d: x + s * d, parameters, direction))[0]

    difference = central_difference(along, jnp.zeros(()), jnp.ones(()), 1e-5)
    assert relative_error(slope, difference) < 1e-7
