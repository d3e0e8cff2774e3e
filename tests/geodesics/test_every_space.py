"""The laws of every geometry, run over every pair of a metric and an action."""

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from systems import laws
from systems.numerics import central_difference, largest, relative_error
from systems.spaces import NAMES, Space, space

from geojax._core import trees
from geojax._core.results import RESULTS
from geojax.actions import Rotations, Unitaries
from geojax.geodesics import cometric, jacobi_field, parallel_transport, shoot
from geojax.kernels import Gaussian
from geojax.metrics import RKHS, Isotropic, PauliPenalty

# One of each pair of classes; the others differ in kernel, size or prices alone.
QUICK = (
    "gaussian-2d",
    "multiscale-3d",
    "su2-isotropic",
    "su4-penalty",
    "so3-isotropic",
    "so3-inertia",
    "gl2-isotropic",
    "gl3-locality",
)

algebra_errors = eqx.filter_jit(laws.algebra_errors)


def every(*quick: str):
    """Parameters: all spaces, those not named marked slow."""
    marked = [n if n in quick else pytest.param(n, marks=pytest.mark.slow) for n in NAMES]
    return pytest.mark.parametrize("name", marked)


def shot(geometry: Space, **options):
    """A geodesic long enough for its momentum to turn."""
    momentum = geometry.covector(1, 1.2)
    options = {**geometry.options, **options}
    return shoot(geometry.metric, geometry.action, geometry.state, momentum, **options), options


@every(*QUICK)
def test_shoot_keeps_what_is_conserved(name):
    geometry = space(name)
    path, options = shot(geometry)
    assert laws.energy_change(geometry, path) < 1e-10
    assert laws.noether_change(geometry, path) < 1e-9
    assert geometry.departure(path.states) < 1e-12
    assert laws.reversal_error(geometry, path, **options) < 1e-10
    # it went somewhere, and its momentum turned
    assert largest(path.end - path.start) > 0.1
    assert largest(path.costates[-1] - path.costates[0]) > 1e-3


@every(*QUICK)
def test_laws_of_an_instant(name):
    geometry = space(name)
    p, w = geometry.covector(1, 1.0), geometry.covector(2, 1.0)
    errors = algebra_errors(geometry.metric, geometry.action, geometry.state, p, w)
    assert {law: largest(error) for law, error in errors.items() if largest(error) > 1e-12} == {}


@every(*QUICK)
def test_jacobi_field_is_the_derivative_of_shoot(name):
    geometry = space(name)
    where = geometry.metric, geometry.action
    state, momentum, options = geometry.state, geometry.covector(1, 1.0), geometry.options
    variation = geometry.covector(2, 1.0)
    tangent = cometric(*where, state, geometry.covector(3, 1.0))
    path, field = jacobi_field(
        *where, state, momentum, variation, state_variation=tangent, **options
    )

    def states(s):
        # on the group to first order, which is enough for a central difference
        moved, turned = trees.scale(tangent, s), trees.scale(variation, s)
        return shoot(*where, state + moved, momentum + turned, **options).states

    difference = central_difference(states, jnp.zeros(()), jnp.ones(()), 1e-5)
    assert field.shape == path.states.shape
    assert relative_error(field, difference) < 1e-8


@every("gaussian-2d", "multiscale-3d", "su4-penalty", "so3-inertia")
def test_gradients_of_shoot(name):
    geometry = space(name)
    probe = geometry.covector(4, 1.0)
    parameters, structure = eqx.partition(geometry.metric, eqx.is_inexact_array)
    point = parameters, geometry.state, geometry.covector(1, 1.0)
    direction = (
        jax.tree.map(lambda x: 0.3 * x, parameters),
        cometric(geometry.metric, geometry.action, geometry.state, geometry.covector(3, 1.0)),
        geometry.covector(2, 1.0),
    )

    @jax.jit
    @jax.value_and_grad
    def value_and_gradient(point):
        parameters, state, momentum = point
        metric = eqx.combine(parameters, structure)
        path = shoot(metric, geometry.action, state, momentum, **geometry.options, save="end")
        return trees.pairing(probe, path.end) + path.energy + path.length

    def along(s):
        moved = jax.tree.map(lambda x, d: x + s.astype(x.dtype) * d, point, direction)
        return value_and_gradient(moved)[0]

    # JAX pairs complex cotangents without a conjugate
    slope = trees.pairing(trees.conj(value_and_gradient(point)[1]), direction)
    difference = central_difference(along, jnp.zeros(()), jnp.ones(()), 1e-5)
    assert relative_error(slope, difference) < 1e-8


@every("gaussian-2d", "su4-penalty", "gl3-locality")
def test_a_lane_is_what_it_is_alone(name):
    geometry = space(name)
    momenta = jnp.stack([geometry.covector(k, 1.0) for k in range(4)])

    def run(momentum):
        return shoot(
            geometry.metric, geometry.action, geometry.state, momentum, **geometry.options,
            throw=False,
        )  # fmt: skip

    solo = run(momenta[2])
    lanes = jax.vmap(run)
    # the neighbours do not matter, not even when they fail
    for batch in (momenta, momenta.at[:2].set(jnp.nan)):
        paths = lanes(batch)
        lane = jax.tree.map(lambda x: x[2], paths)
        assert relative_error(lane.states, solo.states) < 1e-12
        assert relative_error(lane.energy, solo.energy) < 1e-12
        failed = np.asarray(paths.result != RESULTS.successful)
        assert failed.tolist() == [bool(jnp.any(jnp.isnan(p))) for p in batch]


@every("gaussian-2d", "su2-isotropic", "so3-inertia")
def test_logarithm_and_distance(name):
    geometry = space(name)
    errors = laws.logarithm_errors(geometry, geometry.covector(1), **geometry.options)
    limits = dict.fromkeys(errors, 1e-10) | {"log of exp": 1e-9, "exp of log": 1e-9}
    assert {law: e for law, e in errors.items() if not abs(e) < limits[law]} == {}


@every("gaussian-2d", "so3-inertia", "gl2-isotropic")
def test_transport_is_an_isometry(name):
    geometry = space(name)
    metric, action, state = geometry.metric, geometry.action, geometry.state
    momenta = [geometry.covector(k, 1.0) for k in (1, 2, 3)]

    @jax.jit
    def carried(p):
        # the geodesic's own momentum is carried along with two others
        def one(b):
            return parallel_transport(metric, action, state, p, b, num_steps=30, throw=False)

        path, rows = jax.vmap(one, out_axes=(None, 1))(jnp.stack([p, *momenta[1:]]))
        ends = jax.vmap(lambda q, bs: _gram(metric, action, q, bs))(path.states, rows)
        return path, rows, ends

    path, rows, grams = carried(momenta[0])
    assert largest(grams - grams[:1]) < 1e-8 * largest(grams)
    own = action.coordinates(path.end, cometric(metric, action, path.end, path.costates[-1]))
    kept = action.coordinates(path.end, cometric(metric, action, path.end, rows[-1, 0]))
    assert largest(own - kept) < 1e-8


def _gram(metric, action, state, momenta):
    tangents = jax.vmap(lambda b: cometric(metric, action, state, b))(momenta)
    return jax.vmap(lambda a: jax.vmap(lambda t: trees.pairing(a, t))(tangents))(momenta)


class TestNegativeControls:
    """The measures see a geometry that is broken."""

    def test_euler_does_not_keep_the_energy(self):
        geometry = space("gaussian-2d")
        path, options = shot(geometry, solver=diffrax.Euler())
        assert laws.energy_change(geometry, path) > 1e-4
        assert laws.reversal_error(geometry, path, **options) > 1e-4

    def test_a_solver_that_ignores_the_group_leaves_it(self):
        geometry = space("su4-penalty")
        path, _ = shot(geometry, solver=diffrax.Heun())
        assert geometry.departure(path.states) > 1e-6
        assert laws.noether_change(geometry, path) > 1e-6

    def test_a_wrong_sign_in_the_fused_equation_shows(self):
        geometry = space("gaussian-2d")
        broken = RKHS(_WrongForce(1.0))
        p, w = geometry.covector(1, 1.0), geometry.covector(2, 1.0)
        errors = algebra_errors(broken, geometry.action, geometry.state, p, w)
        seen = {law for law, error in errors.items() if largest(error) > 1e-2}
        assert seen == {"fused equation for momenta"}

    def test_a_momentum_map_without_its_conjugate_shows(self):
        geometry = space("su4-penalty")
        p, w = geometry.covector(1, 1.0), geometry.covector(2, 1.0)
        errors = algebra_errors(geometry.metric, _Unconjugated(2), geometry.state, p, w)
        assert largest(errors["momentum map is the transpose of the action"]) > 1e-3

    def test_a_flat_that_is_not_the_inverse_shows(self):
        geometry = space("so3-isotropic")
        p, w = geometry.covector(1, 1.0), geometry.covector(2, 1.0)
        errors = algebra_errors(_Halved(), geometry.action, geometry.state, p, w)
        seen = {law for law, error in errors.items() if largest(error) > 1e-2}
        assert seen == {"sharp of flat", "flat of sharp", "energy of the velocity"}

    def test_a_variation_of_less_is_another_jacobi_field(self):
        """L19: the start must move along."""
        geometry = space("gaussian-2d")
        where = geometry.metric, geometry.action, geometry.state, geometry.covector(1, 1.0)
        variation = geometry.covector(2, 1.0)
        _, whole = jacobi_field(
            *where, variation, state_variation=geometry.covector(3, 1.0), **geometry.options
        )
        _, part = jacobi_field(*where, variation, **geometry.options)
        assert relative_error(part, whole) > 0.1

    def test_momenta_that_stay_are_not_parallel(self):
        """L22: their angles and norms change along the way."""
        geometry = space("gaussian-2d")
        path, _ = shot(geometry)
        momenta = jnp.stack([geometry.covector(k, 1.0) for k in (1, 2, 3)])
        grams = jax.vmap(lambda q: _gram(geometry.metric, geometry.action, q, momenta))(path.states)
        assert largest(grams - grams[:1]) > 1e-2 * largest(grams)

    def test_another_metric_has_other_geodesics(self):
        geometry = space("su4-penalty")
        path, _ = shot(geometry)
        assert laws.energy_change(geometry, path) < 1e-10
        # (the price of a weight changes nothing here: both energies are conserved)
        other = PauliPenalty(2, np.linspace(1.0, 3.0, 15))
        broken = Space("", other, geometry.action, geometry.state)
        assert laws.energy_change(broken, path) > 1e-4


class _WrongForce(Gaussian):
    def derivative(self, squared_distance):
        return -super().derivative(squared_distance)


class _Unconjugated(Unitaries):
    def momentum(self, state, costate):
        return super().momentum(state, jnp.conj(costate))


class _Halved(Isotropic):
    def flat(self, velocity):
        return 0.5 * velocity


def test_rotations_of_any_size_have_their_dimension():
    for n in (2, 3, 5):
        assert Rotations(n).dimension(jnp.eye(n)) == n * (n - 1) // 2
