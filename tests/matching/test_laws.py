"""What a match must do when its input is turned, scaled, shuffled, batched or rounded."""

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from systems.numerics import compilations, relative_error

from geojax._core.errors import InputError, NumericalError
from geojax._core.results import RESULTS
from geojax.actions import Points
from geojax.geodesics import log
from geojax.kernels import Gaussian
from geojax.matching import match
from geojax.matching.problem import Problem
from geojax.metrics import RKHS
from geojax.shapes import MMD, Landmarks, Sinkhorn

# optax promotes inside
pytestmark = pytest.mark.lenient

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


@pytest.mark.slow
def test_one_landmark_has_a_closed_form():
    """Minimum of a^2/2 + w (a - d)^2/2: the point goes w / (1 + w) of the way, in a line."""
    weight, way = 3.0, np.array([[1.0, 2.0]])
    one = match(np.zeros((1, 2)), way, metric=Gaussian(1.0), weight=weight, tolerance=1e-10)
    share = weight / (1 + weight)
    np.testing.assert_allclose(one.moved, share * way, rtol=1e-9)
    np.testing.assert_allclose(one.objective, 0.5 * share * np.sum(way**2), rtol=1e-12)


@pytest.mark.slow
def test_large_weights_tend_to_the_geodesic_between():
    found = solve("landmarks")
    close = match(CIRCLE, ELLIPSE, metric=Gaussian(0.6), weight=1e6, max_iterations=1000)
    exact = log(RKHS(Gaussian(0.6)), Points(), CIRCLE, ELLIPSE, num_steps=5)
    assert found.energy < close.energy < exact.path.energy
    np.testing.assert_allclose(close.energy, exact.path.energy, rtol=1e-2)


def test_the_gradient_vanishes(found):
    gradient = found.problem.gradient(found.momentum)
    assert np.max(np.abs(gradient)) < 1e-8
    assert found.gradient_norm < 1e-9
    # at the end of the path, too: the momentum balances the pull of the target
    pull = jax.grad(found.problem.fidelity.cross)(found.moved, found.problem.target)
    force = -found.problem.weight * pull
    assert relative_error(force, found.path.costates[-1]) < 1e-6
    # control: it does not balance the momentum at the start
    assert relative_error(force, found.path.costates[0]) > 1e-2


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


@pytest.mark.slow
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


@pytest.mark.slow
def test_jit_is_no_jit(name, found):
    inside = eqx.filter_jit(lambda s, t: solve(name, s, t))(CIRCLE, ELLIPSE)
    np.testing.assert_allclose(inside.objective, found.objective, rtol=1e-12)
    assert inside.folds is None


@pytest.mark.slow
def test_lanes_are_solo_runs():
    targets = np.stack([ELLIPSE, ELLIPSE * 0.9, CIRCLE * np.nan])
    options = dict(throw=False)
    lanes = eqx.filter_vmap(lambda t: solve("landmarks", jnp.asarray(CIRCLE), t, **options))(
        jnp.asarray(targets)
    )

    def result_of(lane):
        return jax.tree.map(lambda code: code[lane], lanes.result)

    for lane in range(2):
        solo = solve("landmarks", CIRCLE, targets[lane], **options)
        np.testing.assert_allclose(lanes.momentum[lane], solo.momentum, atol=1e-6)
        assert bool(result_of(lane) == RESULTS.successful)
    # a lane that fails says so, alone
    assert not bool(result_of(2) == RESULTS.successful)


class TestControlPoints:
    @pytest.mark.slow
    def test_on_the_source_they_are_the_source(self):
        own = solve("landmarks")
        carried = solve("landmarks", control_points=CIRCLE)
        np.testing.assert_allclose(carried.momentum, own.momentum, atol=1e-8)
        np.testing.assert_allclose(carried.moved, own.moved, atol=1e-9)
        assert carried.path.carried.shape == own.path.states.shape

    @pytest.mark.slow
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

    @pytest.mark.slow
    def test_too_few_iterations_are_told(self):
        with pytest.raises(NumericalError, match="before its tolerance was met") as caught:
            solve("landmarks", max_iterations=2, tolerance=1e-4)
        assert caught.value.exit_code == 3
        found = solve("landmarks", max_iterations=2, tolerance=1e-4, throw=False)
        assert bool(found.result == RESULTS.not_converged)
        assert found.gradient_norm > 1e-4
        assert found.num_iterations == 2

    @pytest.mark.slow
    def test_a_path_of_too_few_steps_is_told(self):
        """From a momentum that folds space in one step no search comes back as a success."""
        huge = np.stack([-ELLIPSE[:, 1], ELLIPSE[:, 0]], axis=-1) * 40.0
        found = solve("landmarks", initial=huge, num_steps=1, max_iterations=1, throw=False)
        assert not bool(found.result == RESULTS.successful)

    @pytest.mark.slow
    def test_sinkhorn_matches_clouds(self):
        found = solve("mmd", fidelity=Sinkhorn(0.3), tolerance=1e-3, multiscale=2)
        assert found.residual < 0.2 * Sinkhorn(0.3).distance(*map(jnp.asarray, (CIRCLE, ELLIPSE)))


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


@pytest.mark.slow
def test_memory_is_linear_in_the_points():
    """The objective and its gradient, of clouds too large for a matrix over pairs."""

    def temporary(count):
        points = jax.ShapeDtypeStruct((count, 2), jnp.float32)

        def gradient(source, target, momentum):
            problem = Problem(
                metric=RKHS(Gaussian(jnp.float32(0.5))),
                fidelity=MMD(jnp.float32(0.2)),
                weight=jnp.float32(1e3),
                source=source,
                target=target,
                control_points=None,
                solver=diffrax.Tsit5(),
                num_steps=5,
            )
            return jax.value_and_grad(problem.objective)(momentum)

        compiled = jax.jit(gradient).lower(points, points, points).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    small, large = temporary(10_000), temporary(20_000)
    assert large < 2.2 * small
    # control: one matrix over pairs would be larger than all of it
    assert small < 0.2 * 4 * 10_000**2
