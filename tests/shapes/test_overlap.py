"""Overlap and distance of labels and folds of deformations: closed forms and slow loops."""

import numpy as np
import pytest

from geojax._core.errors import InputError
from geojax.shapes.overlap import dice, hausdorff95, jacobian_figures


def ball(grid, centre, radius, spacing=1.0):
    places = np.stack(np.meshgrid(*(np.arange(n) for n in grid), indexing="ij"), -1) * spacing
    return np.sum((places - np.asarray(centre)) ** 2, -1) <= radius**2


def some_labels(seed, grid=(9, 8, 7)):
    """Blocks of labels of which a part is drawn anew."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(grid, int)
    labels[1:5, 1:6, 1:5], labels[4:8, 3:7, 2:6], labels[2:4, 2:4, 5:7] = 1, 3, 7
    return np.where(rng.uniform(size=grid) < 0.1, rng.choice([0, 1, 3, 7], size=grid), labels)


def slow_dice(a, b):
    sets = [{k: set() for k in (*np.unique(a), *np.unique(b))} for _ in "ab"]
    for found, image in zip(sets, (a, b), strict=True):
        for place in np.ndindex(image.shape):
            found[image[place]].add(place)
    return {
        int(k): 2 * len(sets[0][k] & sets[1][k]) / (len(sets[0][k]) + len(sets[1][k]))
        for k in sets[0]
        if k != 0
    }


def slow_surface(inside):
    """Voxels with a neighbour across a face that is not inside."""
    found = []
    for place in np.ndindex(inside.shape):
        neighbours = [
            tuple(np.array(place) + side * np.eye(inside.ndim, dtype=int)[k])
            for k in range(inside.ndim)
            for side in (-1, 1)
        ]
        within = [all(0 <= i < n for i, n in zip(p, inside.shape, strict=True)) for p in neighbours]
        whole = all(ok and inside[p] for ok, p in zip(within, neighbours, strict=True))
        if inside[place] and not whole:
            found.append(place)
    return np.array(found)


def slow_hausdorff95(a, b, spacing):
    result = {}
    for label in sorted({*np.unique(a), *np.unique(b)} - {0}):
        x, y = (slow_surface(image == label) * np.asarray(spacing) for image in (a, b))
        apart = np.sqrt(np.sum((x[:, None] - y[None]) ** 2, -1))
        result[int(label)] = max(np.percentile(apart.min(k), 95) for k in (0, 1))
    return result


class TestDice:
    def test_by_hand(self):
        a = np.array([[1, 1, 2, 0], [1, 1, 2, 0]])
        b = np.array([[1, 1, 1, 0], [0, 0, 2, 5]])
        assert dice(a, b) == {1: 2 * 2 / (4 + 3), 2: 2 * 1 / (2 + 1), 5: 0.0}
        assert dice(a, a) == {1: 1.0, 2: 1.0}
        assert dice(0 * a, 0 * a) == {}

    def test_is_the_slow_loop(self):
        a, b = some_labels(0), some_labels(1)
        found = dice(a, b)
        assert list(found) == [1, 3, 7]
        assert found == pytest.approx(slow_dice(a, b), rel=1e-14)
        assert dice(b, a) == found
        assert min(found.values()) < 0.95  # not all of it agrees

    def test_boxes_that_are_shifted(self):
        a, b = np.zeros((2, 12, 10), int)
        a[2:8, 3:7], b[4:10, 3:7] = 4, 4
        assert dice(a, b) == {4: 4 / 6}

    @pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64, bool])
    def test_dtypes(self, dtype):
        a, b = np.array([[0, 1, 1]]), np.array([[0, 0, 1]])
        assert dice(a.astype(dtype), b.astype(dtype)) == {1: pytest.approx(2 / 3)}

    def test_negative_labels_count(self):
        assert dice([-3, 0, 2], [-3, -3, 0]) == {-3: pytest.approx(2 / 3), 2: 0.0}


class TestHausdorff95:
    def test_balls_that_are_shifted(self):
        """The farthest points of a shifted surface are a shift away; most are nearer."""
        grid = (40, 30, 30)
        a, b = ball(grid, (14, 15, 15), 9).astype(int), ball(grid, (20, 15, 15), 9).astype(int)
        found = hausdorff95(a, b, np.ones(3))[1]
        assert 5.0 < found <= 6.0
        assert hausdorff95(a, a, np.ones(3)) == {1: 0.0}
        # lengths scale with the spacing
        assert hausdorff95(a, b, 2.5 * np.ones(3))[1] == pytest.approx(2.5 * found)

    def test_concentric_balls(self):
        """From any point of one sphere the other is as far as the radii differ."""
        spacing = np.array([0.5, 0.8, 0.4])
        grid = (60, 40, 70)
        a, b = (ball(grid, (15, 16, 14), radius, spacing).astype(int) for radius in (12, 8))
        assert hausdorff95(a, b, spacing)[1] == pytest.approx(4.0, abs=0.6)

    @pytest.mark.parametrize("axis", [0, 1, 2])
    def test_plates_of_anisotropic_voxels(self, axis):
        spacing = np.array([0.7, 1.5, 3.0])
        a, b = np.zeros((2, 8, 8, 8), int)
        at = [slice(None)] * 3
        a[(*at[:axis], 1)], b[(*at[:axis], 5)] = 2, 2
        assert hausdorff95(a, b, spacing) == {2: pytest.approx(4 * spacing[axis])}

    @pytest.mark.parametrize(("specks", "passed_over"), [(4, True), (8, False)])
    def test_the_larger_direction_counts(self, specks, passed_over):
        """Specks far off, in one image only: of a surface of 100 voxels, 4 do not count, 8 do."""
        a = np.zeros((1, 400), int)
        a[0, :200:2] = 1  # every voxel is surface, and the last is 198
        b = a.copy()
        b[0, 348 : 348 + 2 * specks : 2] = 1
        apart = [0.0] * 100 + [150.0 + 2 * k for k in range(specks)]
        expected = pytest.approx(np.percentile(apart, 95))
        assert hausdorff95(a, b, [1, 1]) == hausdorff95(b, a, [1, 1]) == {1: expected}
        assert (hausdorff95(a, b, [1, 1])[1] == 0) == passed_over

    @pytest.mark.parametrize("seed", range(3))
    def test_is_the_slow_loop(self, seed):
        a, b, spacing = some_labels(seed), np.roll(some_labels(seed + 9), 1, 1), [0.6, 1.0, 2.2]
        found = hausdorff95(a, b, spacing)
        assert found == pytest.approx(slow_hausdorff95(a, b, spacing), rel=1e-12)
        assert found != pytest.approx(slow_hausdorff95(a, b, spacing[::-1]), rel=0.01)

    def test_the_inside_does_not_count(self):
        """A hollow of one voxel in the middle of a box is a surface; its fill is none."""
        a = np.zeros((9, 9), int)
        a[1:8, 1:8] = 1
        b = a.copy()
        b[4, 4] = 0
        assert hausdorff95(a, b, [1, 1])[1] == pytest.approx(
            slow_hausdorff95(a, b, [1, 1])[1], rel=1e-12
        )
        assert hausdorff95(a, b, [1, 1])[1] > 0

    def test_a_label_at_the_border(self):
        a, b = np.ones((5, 6), int), np.ones((5, 6), int)
        b[2:, :] = 0
        assert hausdorff95(a, b, [1, 2]) == pytest.approx(slow_hausdorff95(a, b, [1, 2]))

    def test_a_label_that_one_lacks(self):
        a = np.array([[0, 1, 2], [0, 1, 2]])
        b = np.array([[0, 1, 1], [0, 1, 3]])
        found = hausdorff95(a, b, [1, 1])
        assert list(found) == [1, 2, 3]
        assert found[2] == found[3] == np.inf
        assert np.isfinite(found[1])
        assert hausdorff95(0 * a, 0 * b, [1, 1]) == {}


class TestJacobianFigures:
    def test_by_hand(self):
        values = np.array([[np.e, 1.0], [1.0, 1 / np.e]])
        assert jacobian_figures(values) == pytest.approx(
            {
                "folds": 0,
                "share_of_folds": 0.0,
                "sd_log": np.sqrt(0.5),
                "min": 1 / np.e,
                "max": np.e,
                "p05": np.percentile(values, 5),
                "p95": np.percentile(values, 95),
            }
        )

    def test_folds(self):
        """Zero, negative numbers and NaN are folds; each counts as 1e-9 in the deviation."""
        values = np.array([1.0, 1.0, 0.0, -2.0, np.nan])
        found = jacobian_figures(values)
        assert (found["folds"], found["share_of_folds"]) == (3, 0.6)
        logs = np.log([1.0, 1.0, 1e-9, 1e-9, 1e-9])
        assert found["sd_log"] == pytest.approx(np.std(logs))
        assert (found["min"], found["max"]) == (-2.0, 1.0)
        assert jacobian_figures(np.full(4, 1e-12))["folds"] == 0

    def test_a_mask(self):
        values = np.array([[1.0, -1.0], [4.0, np.nan]])
        found = jacobian_figures(values, np.array([[True, False], [True, False]]))
        assert (found["folds"], found["min"], found["max"]) == (0, 1.0, 4.0)
        assert found["sd_log"] == pytest.approx(np.log(4) / 2)
        assert jacobian_figures(values, np.array([[0.0, 1.0], [0.0, 0.5]]))["folds"] == 2

    def test_nothing_is_finite(self):
        found = jacobian_figures([np.nan, np.inf])
        assert found["folds"] == 1
        assert np.isnan([found[name] for name in ("min", "max", "p05", "p95")]).all()
        assert np.isfinite(found["sd_log"])

    def test_many_lognormal_determinants(self):
        logs = np.random.default_rng(0).normal(0.1, 0.25, size=(60, 50, 40))
        found = jacobian_figures(np.exp(logs).astype(np.float32))
        assert found["sd_log"] == pytest.approx(0.25, rel=0.01)
        assert found["p95"] == pytest.approx(np.exp(0.1 + 1.6449 * 0.25), rel=0.01)
        assert found["p05"] == pytest.approx(np.exp(0.1 - 1.6449 * 0.25), rel=0.01)

    def test_refusals(self):
        with pytest.raises(InputError, match="mask must have the shape"):
            jacobian_figures(np.ones((2, 3)), np.ones((3, 2)))
        with pytest.raises(InputError, match="in the mask"):
            jacobian_figures(np.ones(3), np.zeros(3))
        with pytest.raises(InputError, match="must not hold NaN"):
            jacobian_figures(np.ones(2), [1.0, np.nan])
        with pytest.raises(InputError, match="at least one number, but"):
            jacobian_figures([])
        with pytest.raises(InputError, match="real numbers"):
            jacobian_figures(["one"])
        with pytest.raises(InputError, match="different lengths"):
            jacobian_figures([[1.0], [1.0, 2.0]])


@pytest.mark.parametrize(
    "measure", [dice, lambda a, b: hausdorff95(a, b, [1.0, 1.0])], ids=["dice", "hausdorff95"]
)
def test_labels_are_checked(measure):
    ones = np.ones((2, 3))
    with pytest.raises(InputError, match=r"same grid, but have shapes \[2, 3\] and \[3, 2\]"):
        measure(ones, ones.T)
    for wrong in (0.5, np.nan, np.inf, 1e17):
        mixed = ones.copy()
        mixed[1, 2] = wrong
        with pytest.raises(InputError, match=r"target must hold integers, but entry \[1, 2\]"):
            measure(ones, mixed)
    with pytest.raises(InputError, match="real numbers"):
        measure(ones.astype(complex), ones)
    with pytest.raises(InputError, match="at least one voxel"):
        measure(ones[:0], ones[:0])


def test_spacing_is_checked():
    ones = np.ones((2, 3))
    for wrong in ([1.0], [1.0, 0.0], [1.0, np.nan]):
        with pytest.raises(InputError, match="Argument spacing"):
            hausdorff95(ones, ones, wrong)
