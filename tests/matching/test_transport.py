"""The verb `transport_match`: deformations carried along others, where the answer is known."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from systems.deformations import shot
from systems.numerics import central_difference, largest, relative_error

from geojax import load_match, transport_match
from geojax._core.errors import InputError, NumericalError
from geojax._core.results import RESULTS
from geojax.actions import Points
from geojax.geodesics import hamiltonian
from geojax.kernels import Gaussian
from geojax.metrics import RKHS

KERNEL = Gaussian(1.2)
START = jnp.array([[0.0, 0.0], [1.0, 0.1], [0.1, 1.0], [1.1, 1.2]])
LATER = jnp.array([[0.3, 0.0], [0.0, 0.4], [-0.2, 0.1], [0.1, 0.2]])
OTHER = jnp.array([[0.2, 0.5], [0.4, -0.3], [-0.3, 0.4], [0.3, 0.3]])
TWICE = jnp.concatenate([START, START[:1]])


@pytest.fixture(scope="module")
def pair():
    """What happens to a subject, and the way to another."""
    return shot(START, LATER, KERNEL), shot(START, OTHER, KERNEL)


def backwards(to):
    """The way back from the end of a deformation."""
    momentum = -to.path.costates[-1]
    return shot(to.moved, momentum, KERNEL)


def test_norms_and_angles_are_kept(pair):
    later, to = pair
    carried = transport_match(later, to)
    assert largest(carried.problem.source - to.moved) == 0
    assert abs(carried.energy / later.energy - 1) < 1e-8
    own = transport_match(to, to)
    # the direction of the way itself stays that of the way
    assert largest(own.momentum - to.path.costates[-1]) < 1e-6

    def inner(base, first, second):
        return jnp.sum(first * (KERNEL(base, base) @ second))

    before = inner(START, LATER, OTHER)
    assert abs(inner(to.moved, carried.momentum, own.momentum) / before - 1) < 1e-7
    # control: the momentum as it was is another vector there
    unchanged = hamiltonian(RKHS(KERNEL), Points(), to.moved, LATER)
    assert abs(unchanged / later.energy - 1) > 0.05


def test_a_translation_stays_one():
    """Moved by one control point, everything is a translation near it."""
    place = jnp.zeros((1, 2))
    later = shot(START, [[0.3, -0.2]], KERNEL, control_points=place)
    to = shot(START, [[1.0, 2.0]], KERNEL, control_points=place)
    carried = transport_match(later, to)
    np.testing.assert_allclose(carried.momentum, later.momentum, atol=1e-13)
    np.testing.assert_allclose(carried.problem.base, [[1.0, 2.0]], atol=1e-13)
    end = carried.apply(jnp.array([[1.0, 2.0]]))
    np.testing.assert_allclose(end, [[1.3, 1.8]], atol=1e-13)
    # the same field, from another place
    np.testing.assert_allclose(
        carried.apply(START + jnp.array([[1.0, 2.0]])),
        later.moved + jnp.array([[1.0, 2.0]]),
        atol=1e-12,
    )


def test_along_a_deformation_at_rest(pair):
    later, _ = pair
    carried = transport_match(later, shot(START, jnp.zeros((4, 2)), KERNEL))
    np.testing.assert_allclose(carried.momentum, later.momentum, atol=1e-14)
    np.testing.assert_allclose(carried.moved, later.moved, atol=1e-14)


def test_there_and_back(pair):
    later, to = pair
    carried = transport_match(later, to)
    back = transport_match(carried, backwards(to))
    assert largest(back.momentum - later.momentum) < 1e-6
    assert largest(back.moved - later.moved) < 1e-6
    # control: the way to elsewhere does not undo the first
    elsewhere = shot(to.moved, 0.5 * to.path.costates[-1], KERNEL)
    assert largest(transport_match(carried, elsewhere).momentum - later.momentum) > 1e-2


def test_turned_and_moved_alike(pair):
    later, to = pair
    angle = 0.7
    turn = jnp.array([[jnp.cos(angle), -jnp.sin(angle)], [jnp.sin(angle), jnp.cos(angle)]])
    turned = [shot(START @ turn.T + 2.0, m.momentum @ turn.T, KERNEL) for m in pair]
    carried = transport_match(later, to).momentum @ turn.T
    assert largest(transport_match(*turned).momentum - carried) < 1e-10


@pytest.mark.slow
def test_the_ladder_comes_to_the_same(pair):
    later, to = pair
    truth = transport_match(later, to).momentum
    errors = [largest(transport_match(later, to, num_rungs=n).momentum - truth) for n in (1, 5)]
    assert errors[1] < 0.1 * errors[0]
    assert errors[0] < 0.3 * largest(later.momentum - truth)


@pytest.mark.slow
def test_on_other_control_points(pair):
    later, _ = pair
    # more points than the momentum sits on hold the same field
    more = jnp.concatenate([START, jnp.array([[0.5, 0.5], [2.0, 0.3]])])
    still = shot(START, jnp.zeros((6, 2)), KERNEL, control_points=more)
    carried = transport_match(later, still)
    np.testing.assert_allclose(carried.momentum[:4], later.momentum, atol=1e-10)
    np.testing.assert_allclose(carried.momentum[4:], 0, atol=1e-10)
    # fewer hold the nearest: the velocities at them are those that they were
    near = START + 0.02
    still = shot(near, jnp.zeros((4, 2)), KERNEL)
    carried = transport_match(later, still)
    velocity = KERNEL(near, START) @ later.momentum
    np.testing.assert_allclose(KERNEL(near, near) @ carried.momentum, velocity, atol=1e-10)
    assert 0.99 < carried.energy / later.energy < 1
    with pytest.raises(InputError, match=r"points of its momentum lose 100% of the norm"):
        transport_match(later, shot(START + 9, LATER, KERNEL))


@pytest.mark.slow
def test_other_places_under_transformations(pair):
    """Where points are abstract, whether they agree is not known, so momenta are projected."""
    later, _ = pair

    @jax.jit
    def momentum(shift):
        to = shot(START + shift, jnp.zeros((4, 2)), KERNEL)
        found = transport_match(later, to, throw=False)
        return jnp.sum(found.momentum * OTHER), found.result

    near = shot(START + 0.02, jnp.zeros((4, 2)), KERNEL)
    truth = jnp.sum(transport_match(later, near).momentum * OTHER)
    value, result = momentum(0.02)
    np.testing.assert_allclose(value, truth, rtol=1e-9)
    assert result == RESULTS.successful
    assert momentum(9.0)[1] == RESULTS.not_converged
    for place in (0.0, 0.02):
        slope = jax.grad(lambda t: momentum(t)[0])(place)
        expected = central_difference(lambda t: momentum(t)[0], place, 1.0, 1e-5)
        assert abs(expected) > 1e-3
        np.testing.assert_allclose(slope, expected, rtol=1e-6)


def test_small_units_and_what_is_at_rest(pair):
    later, _ = pair
    # kernels in a small unit are told apart
    small = [shot(1e-9 * START, LATER * 0, Gaussian(scale)) for scale in (1e-9, 2e-9)]
    with pytest.raises(InputError, match="must have the kernel of the carried"):
        transport_match(*small)
    # a deformation at rest has nothing to lose on other points
    still = shot(START + 9, jnp.zeros((4, 2)), KERNEL)
    assert largest(transport_match(still, later).momentum) == 0


def test_what_failed_before_is_not_forgotten(pair):
    later, to = pair
    missed = eqx.tree_at(lambda m: m.result, to, RESULTS.not_converged)
    assert transport_match(later, missed, throw=False).result == RESULTS.not_converged
    with pytest.raises(NumericalError, match="transport_match failed: The iteration stopped"):
        transport_match(missed, to)


def test_it_is_saved_like_a_match(pair, tmp_path):
    carried = transport_match(*pair)
    carried.save(tmp_path)
    again = load_match(tmp_path)
    points = START + 0.3
    assert largest(again.apply(points) - carried.apply(points)) == 0
    assert largest(again.apply(again.apply(points), inverse=True) - points) < 1e-6
    assert bool(jnp.isnan(again.gradient_norm))
    assert again.with_quality().folds == 0


@pytest.mark.slow
def test_derivative(pair):
    later, to = pair

    def energy_of_the_end(momentum):
        moved = eqx.tree_at(lambda m: m.momentum, later, momentum)
        return jnp.sum(jnp.sin(transport_match(moved, to, throw=False).momentum))

    direction = jnp.array([[0.3, -0.1], [0.2, 0.5], [-0.4, 0.1], [0.2, 0.1]])
    truth = central_difference(energy_of_the_end, LATER, direction, 1e-5)
    slope = jnp.sum(jax.jit(jax.grad(energy_of_the_end))(LATER) * direction)
    assert relative_error(slope, truth) < 1e-7
    forward = jax.jvp(energy_of_the_end, (LATER,), (direction,))[1]
    assert relative_error(forward, truth) < 1e-7

    def along_another_way(momentum):
        way = shot(START, momentum, KERNEL)
        return jnp.sum(jnp.sin(transport_match(later, way, throw=False).momentum))

    truth = central_difference(along_another_way, OTHER, direction, 1e-5)
    slope = jnp.sum(jax.jit(jax.grad(along_another_way))(OTHER) * direction)
    assert relative_error(slope, truth) < 1e-6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: jax.tree.map(lambda x: jnp.stack([x, x]), m), r"holds 2 lanes; pick one"),
        (lambda m: shot(TWICE, TWICE, KERNEL), r"to must hold distinct points, but points 0 and 4"),
        (
            lambda m: shot(START, OTHER, Gaussian(2.0)),
            r"Gaussian\(scale=1\.2\), but has .*scale=2\.0",
        ),
        (lambda m: shot(jnp.ones((1, 3)), jnp.ones((1, 3)), KERNEL), r"2.*3|3.*2"),
        (lambda m: eqx.tree_at(lambda m: m.momentum, m, jnp.nan * OTHER), r"momentum.*nan"),
    ],
)
def test_what_does_not_fit(pair, change, message):
    later, to = pair
    with pytest.raises(InputError, match=message):
        transport_match(later, change(to))


def test_a_way_that_fails(pair):
    later, to = pair
    wild = eqx.tree_at(lambda m: m.momentum, to, 1e3 * OTHER)
    with pytest.raises(NumericalError):
        transport_match(later, wild)
