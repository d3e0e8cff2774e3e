"""Several objects in one match, padding to buckets, and many matches in one program."""

import jax
import numpy as np
import pytest
from systems.meshes import outline

from geojax._core.errors import InputError, NumericalError
from geojax.kernels import Gaussian
from geojax.matching import load_match, match, match_many
from geojax.matching.match import finish
from geojax.shapes import Curve, Landmarks, PartialVarifold, Varifold

# optax promotes inside
pytestmark = pytest.mark.lenient

METRIC = Gaussian(0.7)
CIRCLE, ELLIPSE = Curve(*outline(30, 1.0, 1.0)), Curve(*outline(45, 1.3, 0.8, 0.1))
# where the circle's vertices 0 and 10 are known to go: the curves alone cannot tell
TURN = 0.4
MARKS = np.asarray(CIRCLE.vertices)[[0, 10]]
GOALS = np.array([[1.3 * np.cos(t), 0.8 * np.sin(t)] for t in (TURN, 2 * np.pi * 10 / 30 + TURN)])
SOURCE, TARGET = {"outline": CIRCLE, "marks": MARKS}, {"outline": ELLIPSE, "marks": GOALS}
FIDELITY = {"outline": Varifold(0.3), "marks": "landmarks"}


class TestSeveral:
    @pytest.mark.slow
    def test_each_has_its_own_fidelity_and_all_one_deformation(self, tmp_path):
        found = match(SOURCE, TARGET, metric=METRIC, fidelity=FIDELITY)
        # the marks are vertices as well, and hold one momentum together
        assert found.momentum.shape == (30, 2)
        assert found.folds == 0
        shapes = found.moved_shapes
        np.testing.assert_allclose(shapes["marks"], GOALS, atol=0.02)
        np.testing.assert_allclose(shapes["outline"].vertices[0], shapes["marks"][0], atol=1e-9)
        radii = np.linalg.norm(np.asarray(shapes["outline"].vertices) / [1.3, 0.8], axis=1)
        np.testing.assert_allclose(radii, 1.0, atol=0.03)
        # the outline alone does not turn
        alone = match(CIRCLE, ELLIPSE, metric=METRIC, fidelity=FIDELITY["outline"])
        assert np.linalg.norm(np.asarray(alone.moved_shapes.vertices)[0] - GOALS[0]) > 0.2

        found.save(tmp_path)
        again = load_match(tmp_path)
        assert jax.tree.structure(again) == jax.tree.structure(found)
        np.testing.assert_array_equal(again.moved_shapes["outline"].edges, CIRCLE.edges)

    @pytest.mark.slow
    def test_prices(self):
        options = dict(metric=METRIC, fidelity=FIDELITY, quality=False)
        tight, loose = (
            match(SOURCE, TARGET, weight={"marks": w}, **options).moved_shapes["marks"]
            for w in (1e3, 1.0)
        )
        missed = [float(np.max(np.abs(np.asarray(x) - GOALS))) for x in (tight, loose)]
        assert missed[0] < 0.02 < 0.1 < missed[1]

    @pytest.mark.parametrize(
        ("arguments", "text"),
        [
            ((SOURCE, ELLIPSE, {}), "both be dictionaries"),
            ((CIRCLE, ELLIPSE, {"fidelity": FIDELITY}), "pass source and target as dict"),
            ((SOURCE, {"outline": ELLIPSE}, {}), "hold the same objects"),
            ((SOURCE, TARGET, {"fidelity": {"outline": "varifold"}}), "no entry for .*'marks'"),
            ((SOURCE, TARGET, {"weight": {"mark": 1.0}}), "did you mean .marks"),
            ((SOURCE, TARGET, {"fidelity": "varifold"}), "Object 'marks': .*Surface"),
            ((SOURCE, TARGET | {"marks": GOALS[:1]}, {}), "Object 'marks': .*2 .*1"),
            (({}, {}, {}), "at least one object"),
        ],
    )
    def test_what_does_not_fit(self, arguments, text):
        source, target, options = arguments
        options = {"fidelity": FIDELITY, "metric": METRIC} | options
        with pytest.raises(InputError, match=text):
            match(source, target, **options)


@pytest.mark.slow
def test_a_part_is_laid_on_the_whole():
    """A two-sided distance would stretch the arc over the whole ellipse."""
    arc = Curve(np.asarray(CIRCLE.vertices)[:12])
    stretch = [
        float(np.sum(match(arc, ELLIPSE, metric=METRIC, fidelity=f).moved_shapes.measure))
        / float(np.sum(arc.measure))
        for f in (PartialVarifold(0.2), Varifold(0.2))
    ]
    assert abs(stretch[0] - 1) < 0.25 < stretch[1] - 1


class TestBuckets:
    @pytest.mark.slow
    def test_padding_changes_nothing(self):
        options = dict(metric=METRIC, fidelity=FIDELITY)
        found, padded = (match(SOURCE, TARGET, buckets=b, **options) for b in (False, True))
        assert padded.momentum.shape == found.momentum.shape
        # the same search, step by step
        assert padded.num_iterations == found.num_iterations
        np.testing.assert_allclose(padded.objective, found.objective, rtol=1e-9)
        np.testing.assert_allclose(padded.momentum, found.momentum, atol=1e-6)
        np.testing.assert_allclose(padded.path.states, found.path.states, atol=1e-6)
        assert jax.tree.structure(padded) == jax.tree.structure(found)
        assert padded.folds == 0

    @pytest.mark.slow
    def test_sizes_of_one_bucket_share_a_program(self):
        def traces():
            return finish._cached._cache_size()

        counts = []
        for n, m in ((33, 34), (38, 40), (40, 35), (41, 35)):
            source, target = Curve(*outline(n, 1.0, 1.0)), Curve(*outline(m, 1.2, 0.9))
            found = match(source, target, metric=METRIC, fidelity=Varifold(0.4), buckets=True)
            assert found.moved.shape == (n, 2)
            counts.append(traces())
        assert counts[0] == counts[1] == counts[2]
        assert counts[3] == counts[2] + 1  # 41 points are in the next bucket

    def test_not_under_a_transformation(self):
        def cost(x):
            return match(
                x, GOALS, metric=METRIC, fidelity=Landmarks(), buckets=True, quality=False
            ).objective

        with pytest.raises(InputError, match="buckets must be False"):
            jax.grad(cost)(MARKS)


SIZES = ((12, 15), (20, 14), (17, 17))
SOURCES = [Curve(*outline(n, 1.0, 1.0)) for n, _ in SIZES]
TARGETS = [Curve(*outline(m, 1.2 + 0.1 * k, 0.9)) for k, (_, m) in enumerate(SIZES)]
OPTIONS = dict(metric=METRIC, fidelity=Varifold(0.4), multiscale=1)


class TestMany:
    @pytest.mark.parametrize("batch_size", [1, 2])
    @pytest.mark.slow
    def test_each_is_what_it_is_alone(self, batch_size):
        found = match_many(SOURCES, TARGETS, batch_size=batch_size, **OPTIONS)
        for k, one in enumerate(found):
            alone = match(SOURCES[k], TARGETS[k], buckets=True, **OPTIONS)
            assert one.num_iterations == alone.num_iterations
            np.testing.assert_allclose(one.objective, alone.objective, rtol=1e-9)
            np.testing.assert_allclose(one.moved, alone.moved, atol=1e-6)
            assert one.folds == 0
            assert one.moved_shapes.edges.shape == SOURCES[k].edges.shape

    @pytest.mark.slow
    def test_a_failure_names_its_pair(self):
        with pytest.raises(NumericalError, match="match of pair 0"):
            match_many(SOURCES, TARGETS, max_iterations=1, **OPTIONS)
        found = match_many(SOURCES, TARGETS, max_iterations=1, throw=False, **OPTIONS)
        assert len(found) == 3

    def test_what_does_not_fit(self):
        with pytest.raises(InputError, match="3 and 2"):
            match_many(SOURCES, TARGETS[:2], **OPTIONS)
        with pytest.raises(InputError, match=r"Pair 1: .*compares curves or surfaces"):
            match_many([CIRCLE, MARKS], [ELLIPSE, GOALS], **OPTIONS)
