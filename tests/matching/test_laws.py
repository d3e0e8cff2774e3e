"""What a match must do when its input is turned, scaled, shuffled, batched or rounded."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from systems.numerics import compilations, relative_error

from geojax._core.errors import InputError, NumericalError
from geojax._core.results import RESULTS
from geojax.kernels import Gaussian
from geojax.matching import match
from geojax.shapes import MMD, Landmarks, Sinkhorn

ANGLE = np.linspace(0, 2 * np.pi, 13)[:-1]
CIRCLE = np.stack([np.cos(ANGLE), np.sin(ANGLE)], axis=-1)
ELLIPSE = CIRCLE * [1.4, 0.7] + 0.1 * np.cos(2 * ANGLE)[:, None] + [0.3, 0.1]

# Tighter than 1e-5 the search ends with Newton's method, so that these optima are exact.
EXACT = dict(weight=200.0, tolerance=1e-9, max_iterations=500, quality=False)
WAYS = {
    "landmarks": dict(fidelity=Landmarks(), **EXACT),
    "mmd": dict(fidelity=MMD(0.5), multiscale=1, **EXACT),
}


def solve(name, source=CIRCLE, target=ELLIPSE, scale=0.6, **options):
    return match(source, target, metric=Gaussian(scale), **{**WAYS[name], **options})


@pytest.fixture(scope="module", params=WAYS)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def found(name):
    return solve(name)


def test_the_gradient_vanishes(found):
    gradient = found.problem.gradient(found.momentum)
    assert np.max(np.abs(gradient)) < 1e-8
    assert found.gradient_norm < 1e-9
    # at the end of the path, too: the momentum balances the pull of the target
    pull = jax.grad(found.problem.fidelity.cross)(found.moved, found.problem.target)
    balance = found.path.costates[-1] + found.problem.weight * pull
    assert relative_error(found.path.costates[-1] - balance, found.path.costates[-1]) > 0.9
    assert np.max(np.abs(balance)) < 1e-3


def test_the_parts_add_up(found):
    problem = found.problem
    fidelity = problem.fidelity(found.moved, problem.target)
    np.testing.assert_allclose(found.objective, found.energy + problem.weight * fidelity, rtol=1e-9)
    np.testing.assert_allclose(found.residual, jnp.sqrt(2 * fidelity), rtol=1e-6)
    np.testing.assert_allclose(found.energy, problem.energy(found.momentum), rtol=1e-12)


def test_turned_and_shuffled(name, found):
    turn = np.array([[0.6, 0.8], [-0.8, 0.6]])
    order = np.random.default_rng(0).permutation(12)
    moved = solve(name, CIRCLE[order] @ turn + [5.0, -2.0], ELLIPSE[order] @ turn + [5.0, -2.0])
    np.testing.assert_allclose(moved.energy, found.energy, rtol=1e-9)
    np.testing.assert_allclose(moved.momentum, found.momentum[order] @ turn, atol=1e-8)
    if name == "landmarks":
        # negative control: landmarks that are shuffled on one side are another problem
        other = solve(name, CIRCLE[order], ELLIPSE, throw=False)
        assert abs(other.energy / found.energy - 1) > 0.1


def test_scaled(name, found):
    """Energies are areas: all lengths times c is energy times c^2, and momentum times c."""
    if name == "landmarks":
        larger = solve(name, 3.0 * CIRCLE, 3.0 * ELLIPSE, 1.8)
    else:
        # the fidelity of kernel means has no unit: the weight carries it
        larger = solve(
            name, 3.0 * CIRCLE, 3.0 * ELLIPSE, 1.8, fidelity=MMD(1.5), weight=9 * EXACT["weight"]
        )
    np.testing.assert_allclose(larger.energy, 9.0 * found.energy, rtol=1e-9)
    np.testing.assert_allclose(larger.momentum, 3.0 * found.momentum, atol=1e-8)
    # negative control: the scale of the kernel is one of the lengths
    assert abs(solve(name, scale=1.8, throw=False).energy / found.energy - 1) > 1e-2


def test_single_precision(name, found):
    single = solve(name, *(x.astype(np.float32) for x in (CIRCLE, ELLIPSE)), tolerance=1e-3)
    arrays = jax.tree.leaves(
        eqx.filter((single.momentum, single.path, single.energy), eqx.is_array)
    )
    assert {a.dtype for a in arrays if jnp.issubdtype(a.dtype, jnp.floating)} == {jnp.dtype("f4")}
    assert relative_error(single.objective, found.objective) < 1e-3
    assert relative_error(single.moved, found.moved) < 1e-2


def test_a_second_match_compiles_nothing(name, found):
    # small conversions are compiled once per process, whatever was matched
    solve(name, 1.05 * CIRCLE)
    with compilations() as count:
        solve(name, CIRCLE + 0.1, ELLIPSE * 0.9, 0.7, weight=150.0)
    assert count.value == 0


def test_started_at_the_solution_it_stays_there(name, found):
    again = solve(
        name, initial=found.momentum, **({} if name == "landmarks" else {"multiscale": 0})
    )
    np.testing.assert_allclose(again.momentum, found.momentum, atol=1e-9)
    assert again.num_iterations <= 1


def test_jit_is_no_jit(name, found):
    inside = eqx.filter_jit(lambda s, t: solve(name, s, t))(CIRCLE, ELLIPSE)
    np.testing.assert_allclose(inside.objective, found.objective, rtol=1e-12)
    assert inside.folds is None


def test_lanes_are_solo_runs():
    targets = np.stack([ELLIPSE, ELLIPSE[::-1] * 0.9, CIRCLE * np.nan])
    options = dict(tolerance=1e-4, throw=False)
    lanes = eqx.filter_vmap(lambda t: solve("landmarks", jnp.asarray(CIRCLE), t, **options))(
        jnp.asarray(targets)
    )
    for lane in range(2):
        solo = solve("landmarks", CIRCLE, targets[lane], **options)
        np.testing.assert_allclose(lanes.momentum[lane], solo.momentum, atol=1e-9)
        assert bool(lanes.result[lane] == RESULTS.successful)
    # a lane that fails says so, alone
    assert not bool(lanes.result[2] == RESULTS.successful)


class TestControlPoints:
    def test_on_the_source_they_are_the_source(self):
        own = solve("landmarks")
        carried = solve("landmarks", control_points=CIRCLE)
        np.testing.assert_allclose(carried.momentum, own.momentum, atol=1e-8)
        np.testing.assert_allclose(carried.moved, own.moved, atol=1e-9)
        assert carried.path.carried.shape == own.path.states.shape

    def test_fewer_cost_more(self):
        own = solve("landmarks")
        few = solve("landmarks", control_points=6)
        assert few.momentum.shape == (6, 2)
        assert own.objective < few.objective < 1.5 * own.objective
        # spread over the circle, not bunched
        angles = np.sort(np.arctan2(*np.asarray(few.problem.control_points).T))
        assert np.max(np.diff(angles)) < 2.0

    @pytest.mark.parametrize(
        ("points", "message"),
        [
            (13, "at most the 12 source points"),
            (0, "integer of at least 1"),
            (np.zeros((2, 3)), "control_points is 3-D and source is 2-D"),
            (np.zeros((2, 2)), "control_points must hold distinct points"),
        ],
    )
    def test_refused(self, points, message):
        with pytest.raises(InputError, match=message):
            solve("landmarks", control_points=points)


class TestSearch:
    def test_history(self):
        reports = []
        found = solve(
            "mmd", tolerance=1e-3, progress=lambda *report: reports.append(report), quality=False
        )
        history = np.asarray(found.history)
        rounds = history.reshape(2, -1)
        for values in rounds:
            values = values[np.isfinite(values)]
            assert np.all(np.diff(values) <= 0)
        assert np.sum(np.isfinite(history)) == found.num_iterations + 2
        np.testing.assert_allclose(rounds[1][np.isfinite(rounds[1])][-1], found.objective)
        iterations, objectives, norms = zip(*reports)
        assert max(iterations) <= found.num_iterations
        np.testing.assert_allclose(objectives[-1], found.objective, rtol=1e-12)
        np.testing.assert_allclose(norms[-1], found.gradient_norm, rtol=1e-12)

    def test_too_few_iterations_are_told(self):
        with pytest.raises(NumericalError, match="before its tolerance was met") as caught:
            solve("landmarks", max_iterations=2)
        assert caught.value.exit_code == 3
        found = solve("landmarks", max_iterations=2, throw=False)
        assert bool(found.result == RESULTS.not_converged)
        assert found.gradient_norm > 1e-9
        assert found.num_iterations == 2

    def test_a_path_of_too_few_steps_is_told(self):
        """From a momentum that folds space in one step no search comes back as a success."""
        huge = np.stack([-ELLIPSE[:, 1], ELLIPSE[:, 0]], axis=-1) * 40.0
        found = solve("landmarks", initial=huge, num_steps=1, max_iterations=1, throw=False)
        assert not bool(found.result == RESULTS.successful)

    @pytest.mark.slow
    def test_sinkhorn_matches_clouds(self):
        found = solve("mmd", fidelity=Sinkhorn(0.1), tolerance=1e-3, multiscale=2)
        assert found.residual < 0.2 * Sinkhorn(0.1).distance(*map(jnp.asarray, (CIRCLE, ELLIPSE)))


@pytest.mark.slow
@pytest.mark.parametrize("fidelity", ["mmd", "sinkhorn"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_first_match_of_a_stranger(fidelity, dtype):
    """Two clouds drawn at random, nothing tuned: it converges, and ends nearby."""
    rng = np.random.default_rng(0)

    def outline(n, a, b, phase):
        angle = rng.uniform(0, 2 * np.pi, n)
        radius = 1 + 0.15 * np.cos(3 * angle + phase)
        return np.stack([a * radius * np.cos(angle), b * radius * np.sin(angle)], axis=-1)

    source = outline(100, 1.0, 1.0, 0.0).astype(dtype)
    target = (outline(80, 1.5, 0.8, 1.0) + np.array([0.5, 0.3])).astype(dtype)
    found = match(source, target, fidelity=fidelity)
    assert found.folds == 0
    assert found.inverse_error < 1e-4
    gaps = np.linalg.norm(np.asarray(found.moved)[:, None] - target[None], axis=-1)
    start = np.linalg.norm(source[:, None] - target[None], axis=-1)
    for axis in (0, 1):
        # what is left is the distance between neighbouring samples
        assert np.mean(np.min(gaps, axis)) < 0.08
        assert np.mean(np.min(gaps, axis)) < 0.5 * np.mean(np.min(start, axis))
