"""The deformation that a match is: it moves any points and back, folds are counted, it keeps."""

import dataclasses

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from systems.numerics import central_difference

from geojax._core.errors import InputError, StorageError
from geojax._core.results import RESULTS
from geojax.io import save_arrays
from geojax.io.files import read_json, write_json
from geojax.kernels import Gaussian, Matern52, Sum
from geojax.matching import load_match, match, result
from geojax.shapes import MMD, Sinkhorn

# optax promotes inside
pytestmark = pytest.mark.lenient

ANGLE = np.linspace(0, 2 * np.pi, 13)[:-1]
CIRCLE = np.stack([np.cos(ANGLE), np.sin(ANGLE)], axis=-1)
ELLIPSE = CIRCLE * [1.4, 0.7] + 0.1 * np.cos(2 * ANGLE)[:, None] + [0.3, 0.1]
GRID = np.stack(np.meshgrid(*[np.linspace(-2, 2, 7)] * 2), axis=-1).reshape(-1, 2)
SCALE = 0.6


@pytest.fixture(scope="module")
def found():
    return match(CIRCLE, ELLIPSE, metric=Gaussian(SCALE), weight=200.0)


@pytest.fixture(scope="module")
def controlled():
    kernel = Sum([Gaussian(0.5), Matern52(1.0)], [1.0, 0.3])
    options = dict(control_points=8, fidelity=MMD(kernel), quality=False, multiscale=0)
    return match(CIRCLE, ELLIPSE, metric=kernel, weight=20.0, **options)


@pytest.mark.slow
class TestApply:
    def test_the_source_moves_as_it_did(self, found, controlled):
        np.testing.assert_allclose(found.apply(CIRCLE), found.moved, atol=1e-13)
        np.testing.assert_allclose(controlled.apply(CIRCLE), controlled.moved, atol=1e-13)

    @pytest.mark.parametrize("name", ["found", "controlled"])
    def test_back_is_back(self, name, request):
        one = request.getfixturevalue(name)
        there = one.apply(GRID)
        assert np.max(np.abs(there - GRID)) > 0.2
        np.testing.assert_allclose(one.apply(there, inverse=True), GRID, atol=1e-4)
        np.testing.assert_allclose(one.apply(one.apply(GRID, inverse=True)), GRID, atol=1e-4)

    @pytest.mark.slow
    def test_more_steps_undo_better(self, found):
        """The inverse is that of the flow, not of the steps, and these are of order five."""

        def error(num_steps):
            problem = dataclasses.replace(found.problem, num_steps=num_steps)
            path = problem.shoot(found.momentum)
            finer = dataclasses.replace(found, problem=problem, path=path)
            return np.max(np.abs(finer.apply(finer.apply(GRID), inverse=True) - GRID))

        assert error(20) < 4.0**-4 * error(5)
        assert error(20) < 1e-8

    def test_far_points_stay(self, found):
        far = np.array([[50.0, 50.0]])
        np.testing.assert_array_equal(found.apply(far), far)

    def test_gradient_in_the_points(self, found):
        direction = jnp.asarray(np.random.default_rng(0).normal(size=GRID.shape))

        def height(points):
            return jnp.sum(jnp.sin(found.apply(points)))

        exact = jnp.sum(jax.grad(height)(jnp.asarray(GRID)) * direction)
        numeric = central_difference(height, jnp.asarray(GRID), direction, 1e-5)
        np.testing.assert_allclose(exact, numeric, rtol=1e-8)

    @pytest.mark.parametrize(
        ("points", "message"),
        [
            (np.zeros((3, 3)), "points is 3-D and source is 2-D"),
            (np.full((1, 2), np.nan), "points must be finite"),
            (np.zeros(2), "one row per point"),
        ],
    )
    def test_refused(self, found, points, message):
        for use in (found.apply, found.determinants):
            with pytest.raises(InputError, match=message):
                use(points)


class TestFolds:
    def test_determinants_are_those_of_the_map(self, found):
        points, step = jnp.asarray(GRID), 1e-5
        columns = [
            (found.apply(points + step * e) - found.apply(points - step * e)) / (2 * step)
            for e in np.eye(2)[:, None]
        ]
        expected = np.linalg.det(np.stack(columns, axis=-1))
        np.testing.assert_allclose(found.determinants(GRID), expected, rtol=1e-7)
        assert np.ptp(expected) > 0.5

    def test_pieces_are_the_whole(self, found, monkeypatch):
        whole = found.determinants(GRID)
        monkeypatch.setattr(result, "_PIECE", 16)
        np.testing.assert_allclose(found.determinants(GRID), whole, rtol=1e-12)

    def test_a_smooth_map_has_none(self, found):
        assert found.folds == 0
        assert 0 < found.smallest_determinant < 1

    def test_the_grid_is_fine_enough_and_covers_the_shape(self, found):
        grid = found._grid()
        for axis in range(2):
            values = np.unique(grid[:, axis])
            assert np.max(np.diff(values)) < SCALE / 4
            assert values[0] <= CIRCLE[:, axis].min() - SCALE
            assert values[-1] >= CIRCLE[:, axis].max() + SCALE

    def test_steps_too_large_fold(self, found):
        """Negative control: one step along a huge momentum tears space, and is counted."""
        problem = dataclasses.replace(found.problem, num_steps=1)
        momentum = 20.0 * found.momentum[::-1]
        path = problem.shoot(momentum)
        torn = dataclasses.replace(found, problem=problem, momentum=momentum, path=path)
        quality = torn.with_quality()
        assert quality.folds > 0
        assert not quality.smallest_determinant > 0

    def test_too_fine_a_grid_is_not_begun(self, found, monkeypatch):
        monkeypatch.setattr(result, "_LARGEST_GRID", 100)
        with pytest.warns(UserWarning, match="Folds are not counted"):
            assert found.with_quality().folds is None


class TestSaving:
    @pytest.mark.parametrize("name", ["found", pytest.param("controlled", marks=pytest.mark.slow)])
    @pytest.mark.parametrize("inverse", [False, True])
    def test_moves_points_to_the_last_bit(self, name, inverse, request, tmp_path):
        one = request.getfixturevalue(name)
        one.save(tmp_path)
        again = load_match(tmp_path)
        np.testing.assert_array_equal(
            again.apply(GRID, inverse=inverse), one.apply(GRID, inverse=inverse)
        )

    @pytest.mark.parametrize("name", ["found", pytest.param("controlled", marks=pytest.mark.slow)])
    def test_all_of_it_comes_back(self, name, request, tmp_path):
        one = request.getfixturevalue(name)
        one.save(tmp_path)
        again = load_match(tmp_path)
        assert jax.tree.structure(again) == jax.tree.structure(one)
        for left, right in zip(jax.tree.leaves(again), jax.tree.leaves(one), strict=True):
            np.testing.assert_array_equal(left, right)
        assert (again.folds, again.inverse_error) == (one.folds, one.inverse_error)

    def test_other_fidelities_and_solvers(self, found, tmp_path):
        changed = eqx.tree_at(
            lambda m: (m.problem.fidelity, m.problem.solver),
            found,
            (Sinkhorn(0.25, max_iterations=300), diffrax.Dopri8()),
        )
        changed.save(tmp_path)
        problem = load_match(tmp_path).problem
        assert problem.solver == diffrax.Dopri8()
        assert problem.fidelity.blur == 0.25
        assert problem.fidelity.max_iterations == 300

    def test_numbers_that_are_none(self, found, tmp_path):
        eqx.tree_at(lambda m: m.smallest_determinant, found, float("nan")).save(tmp_path)
        assert np.isnan(load_match(tmp_path).smallest_determinant)

    def test_damage_is_found(self, found, tmp_path):
        found.save(tmp_path)
        archive = tmp_path / "deformation.npz"
        sound = archive.read_bytes()
        for damaged in (sound[:-1], sound[:200] + bytes([sound[200] ^ 1]) + sound[201:]):
            archive.write_bytes(damaged)
            with pytest.raises(StorageError, match=r"deformation\.npz"):
                load_match(tmp_path)
        archive.unlink()
        with pytest.raises(StorageError, match="is missing"):
            load_match(tmp_path)

    def test_other_folders_are_refused(self, found, tmp_path):
        with pytest.raises(InputError, match="no such folder"):
            load_match(tmp_path / "nowhere")
        save_arrays(tmp_path, "deformation", {"source": CIRCLE}, {}, kind="something else")
        with pytest.raises(InputError, match="holds 'something else'"):
            load_match(tmp_path)
        save_arrays(tmp_path, "deformation", {"source": CIRCLE}, {}, kind="geojax deformation")
        with pytest.raises(InputError, match="is not a deformation as geojax writes it"):
            load_match(tmp_path)

    @pytest.mark.parametrize("name", ["diffeqsolve", "AbstractSolver", "Nothing"])
    def test_a_solver_that_is_none_is_not_called(self, found, tmp_path, name):
        found.save(tmp_path)
        manifest = read_json(tmp_path / "manifest.json")
        manifest["metadata"]["solver"] = name
        write_json(tmp_path / "manifest.json", manifest)
        with pytest.raises(InputError, match="is not a deformation"):
            load_match(tmp_path)

    def test_adaptive_steps_are_refused(self, found, tmp_path):
        controller = diffrax.PIDController(rtol=1e-8, atol=1e-8)
        adaptive = eqx.tree_at(
            lambda m: m.problem.stepsize_controller, found, controller, is_leaf=lambda x: x is None
        )
        with pytest.raises(InputError, match="stepsize_controller must be None"):
            adaptive.save(tmp_path)

    def test_what_cannot_be_written_down_is_refused(self, found, tmp_path):
        halved = eqx.tree_at(lambda m: m.problem.solver, found, diffrax.HalfSolver(diffrax.Tsit5()))
        with pytest.raises(InputError, match="solver"):
            halved.save(tmp_path)
        lanes = jax.tree.map(lambda x: x[None] if eqx.is_array(x) else x, found)
        with pytest.raises(InputError, match="pick a lane"):
            lanes.save(tmp_path)
        assert list(tmp_path.iterdir()) == []


class TestAdaptiveSteps:
    controller = diffrax.PIDController(rtol=1e-8, atol=1e-8)

    def solved(self, scale=SCALE, **options):
        options = {"num_steps": 2, "stepsize_controller": self.controller, **options}
        return match(CIRCLE, ELLIPSE, metric=Gaussian(scale), weight=200.0, **options)

    @pytest.mark.slow
    def test_the_same_match_as_with_many_equal_steps(self):
        adaptive = self.solved(max_steps=64)
        equal = self.solved(num_steps=40, stepsize_controller=None)
        assert int(adaptive.path.num_steps) > 2
        np.testing.assert_allclose(adaptive.moved, equal.moved, atol=1e-7)
        np.testing.assert_allclose(adaptive.apply(GRID), equal.apply(GRID), atol=1e-6)
        assert adaptive.inverse_error < 1e-7
        assert adaptive.folds == 0
        np.testing.assert_allclose(
            adaptive.smallest_determinant, equal.smallest_determinant, atol=1e-6
        )

    @pytest.mark.slow
    def test_too_few_steps_are_told(self):
        found = self.solved(max_steps=3, quality=False, throw=False)
        assert found.result == RESULTS.max_steps_reached

    @pytest.mark.slow
    def test_derivatives_need_the_adjoint_that_has_them(self):
        options = dict(tolerance=1e-7, quality=False)

        def energy(scale, **more):
            return self.solved(scale, **options, **more).energy

        with pytest.raises(InputError, match=r"adjoint=diffrax\.DirectAdjoint"):
            jax.grad(energy)(SCALE)
        direct = jax.grad(lambda s: energy(s, adjoint=diffrax.DirectAdjoint(), max_steps=32))(SCALE)
        equal = jax.grad(lambda s: energy(s, num_steps=40, stepsize_controller=None))(SCALE)
        np.testing.assert_allclose(direct, equal, rtol=1e-5)
