"""Populations of images: templates in the middle of them, geodesics through them."""

import jax.numpy as jnp
import numpy as np
import pytest
from systems import image_pairs

from geojax._core.errors import InputError, NumericalError
from geojax._core.results import RESULTS
from geojax.flows.grids import pull_back
from geojax.geodesics import shoot_image
from geojax.matching import (
    ImageAtlas,
    ImageRegression,
    Shooting,
    Stationary,
    TimeDependent,
    atlas_images,
    load_image_match,
    regress_images,
)
from geojax.matching.images.atlas import _centred, _posed, _Team
from geojax.metrics import GaussianGrid
from geojax.shapes import SSD, Image

# optax promotes inside
pytestmark = pytest.mark.lenient

AFFINE = np.array([[1.0, 0.0, -14.0], [0.0, 1.5, 4.0], [0.0, 0.0, 1.0]])
GRID = (28, 20)
# another grid of the same place
WIDE = np.array([[1.3, 0.0, -16.0], [0.0, -1.2, 35.0], [0.0, 0.0, 1.0]])
SPACING = jnp.asarray([1.0, 1.5])
METRIC = GaussianGrid(SPACING, [2.5, 6.0])
QUICK = dict(metric=METRIC, fidelity=SSD(), weight=1e5, factors=(1,), tolerance=0.02)


def places(grid=GRID, affine=AFFINE):
    """Coordinates of the world at all points of a grid, `[*grid, d]`."""
    return image_pairs.places(grid, affine)


def scene(x):
    """Blobs in the plane, none like the other."""
    total = 0.0
    for centre, width, height in (
        ((-4.0, 16.0), 3.5, 1.0),
        ((5.0, 24.0), 3.0, 0.7),
        ((4.0, 11.0), 2.5, -0.5),
        ((-3.0, 18.0), 1.2, -0.6),
    ):
        total = total + height * np.exp(-np.sum((x - centre) ** 2, -1) / (2 * width**2))
    return total


def bent(x, k, count=4):
    """Smooth one-to-one maps of the plane, whose mean over all k is the identity."""
    angle = 2 * np.pi * k / count
    shift = np.stack([np.cos(angle + x[..., 1] / 8), np.sin(angle + x[..., 0] / 7)], -1)
    return x + 1.8 * shift


def error(values):
    """Root mean square difference from the scene, away from the ends."""
    return float(np.sqrt(np.mean((np.asarray(values) - scene(places()))[2:-2, 2:-2] ** 2)))


SUBJECTS = [Image(scene(bent(places(), k)), AFFINE) for k in range(4)]


@pytest.fixture(scope="module")
def found() -> ImageAtlas:
    return atlas_images(SUBJECTS, affine=None, rounds=2, **QUICK)


class TestAtlas:
    """Templates."""

    def test_the_template_is_the_scene(self, found):
        plain = error(np.mean([image.values for image in SUBJECTS], axis=0))
        assert error(found.template.values) < 0.4 * plain
        assert plain < min(error(image.values) for image in SUBJECTS)
        assert found.result == RESULTS.successful
        assert found.template.grid == GRID
        np.testing.assert_array_equal(found.template.affine, AFFINE)

    def test_it_is_in_the_middle(self, found):
        lengths = [np.max(np.linalg.norm(match.pull, axis=0)) for match in found.matches]
        mean = np.asarray(found.mean_displacement)
        assert mean.shape == (2, *GRID)
        assert np.max(np.linalg.norm(mean, axis=0)) < 0.15 * min(lengths)

    def test_the_objective_falls(self, found):
        history = np.asarray(found.history)
        assert history.shape == (3,)
        assert np.all(np.diff(history) < 0)
        # that of the last round is what its matches say
        total = np.sum(found.energies) + 1e5 * np.sum(found.residuals)
        np.testing.assert_allclose(history[-1], total, rtol=1e-6)

    def test_matches_lead_from_the_subjects_to_it(self, found):
        template = np.asarray(found.template.values)
        for subject, match, moved in zip(SUBJECTS, found.matches, found.moved, strict=True):
            assert match.source is subject
            np.testing.assert_array_equal(match.target.values, template)
            before, after = (np.sum((x.values - template) ** 2) for x in (subject, moved))
            assert after < 0.1 * before
            assert match.folds == 0

    def test_saved_matches_come_back(self, found, tmp_path):
        found.save(tmp_path)
        again = load_image_match(tmp_path / "3")
        np.testing.assert_array_equal(again.pull, found.matches[3].pull)
        np.testing.assert_array_equal(again.target.values, found.template.values)

    @pytest.mark.slow
    def test_other_grids_and_a_given_template(self):
        """Subjects of another grid than the template, in one world; brightness of its own."""
        grid = (24, 26)
        subjects = [Image(50 + 10 * scene(bent(places(grid, WIDE), k)), WIDE) for k in range(4)]
        told = []
        start = Image(50 + 10 * scene(bent(places(), 1)), AFFINE)
        found = atlas_images(
            *(subjects,),
            **dict(template=start, affine=None, rounds=2, progress=lambda *x: told.append(x)),
            **QUICK,
        )
        assert error((found.template.values - 50) / 10) < 0.5 * error((start.values - 50) / 10)
        assert [x[0] for x in told] == [1, 2]
        # what is taken away of the mean becomes less
        assert told[1][2] < 0.5 * told[0][2]

    @pytest.mark.slow
    @pytest.mark.parametrize("model", [Shooting(6), TimeDependent(3)])
    def test_other_models(self, model):
        found = atlas_images(SUBJECTS, affine=None, rounds=2, model=model, **QUICK)
        assert error(found.template.values) < 0.05
        mean = np.linalg.norm(found.mean_displacement, axis=0)
        assert np.max(mean) < 0.15 * np.max(np.linalg.norm(found.matches[0].pull, axis=0))

    @pytest.mark.slow
    def test_affine_maps_are_found(self):
        """Their mean linear part goes to the template."""
        angle = 0.25
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        middle = np.mean(places(), axis=(0, 1))
        subjects = [
            Image(scene((places() - middle) @ linear.T + middle), AFFINE)
            for linear in (turn, turn.T)
        ]
        found = atlas_images(subjects, affine="rigid", rounds=1, **QUICK)
        assert error(found.template.values) < 0.5 * error(subjects[0].values)
        first, second = (match.affine[:-1, :-1] for match in found.matches)
        np.testing.assert_allclose(first @ second, np.eye(2), atol=0.02)
        np.testing.assert_allclose(first, turn.T, atol=0.05)


@pytest.mark.parametrize(
    "model",
    [
        Stationary(),
        pytest.param(TimeDependent(3), marks=pytest.mark.slow),
        pytest.param(Shooting(6), marks=pytest.mark.slow),
    ],
)
def test_a_common_deformation_is_taken_away(model):
    """Where all subjects are one image and move in one way, the template is that image."""
    image = SUBJECTS[0]
    price = dict(metric=METRIC, fidelity=SSD(), weight=1e5, model=model)
    search = dict(factors=(1,), tolerance=0.02, max_iterations=5)
    pairs, _, cost, settings = _posed([image, image], image, False, price, search, None, None)
    team = _Team(pairs, [np.eye(3)] * 2, cost, settings, 2, image)
    values, inside = pairs[0].target.values, pairs[0].target.weights > 0
    rest = team.at_rest()[0]
    windows = [jnp.sin(jnp.linspace(0.0, 3.1, n)) ** 2 for n in rest.shape[-2:]]
    wave = jnp.broadcast_to(windows[0][:, None] * windows[1], rest.shape)

    def carried(unknowns):
        displacement = model.move(METRIC, unknowns, jnp.asarray(values)).displacement
        return displacement, np.asarray(pull_back(jnp.asarray(values), displacement, SPACING))

    small, _ = carried(1e-3 * wave)
    unknowns = 1e-3 * wave * 2.0 / jnp.max(jnp.linalg.norm(small, axis=0))
    _, template, drift = team.averaged(jnp.stack([unknowns] * 2), pairs[0].target)
    gap = (np.asarray(template.values) - values)[inside]
    before = (carried(unknowns)[1] - values)[inside]
    assert float(drift) > 1
    assert np.sqrt(np.mean(gap**2)) < 0.15 * np.sqrt(np.mean(before**2))


def test_the_mean_linear_part_is_taken_away():
    stretch = np.diag([1.3, 0.8, 1.0])
    shifted = np.array([[1.3, 0.0, 7.0], [0.0, 0.8, -2.0], [0.0, 0.0, 1.0]])
    centred = _centred([np.eye(3), stretch @ stretch], SUBJECTS[0])
    np.testing.assert_allclose(centred[0][:-1, :-1], np.diag([1 / 1.3, 1 / 0.8]), atol=1e-12)
    np.testing.assert_allclose(centred[1][:-1, :-1], np.diag([1.3, 0.8]), atol=1e-12)
    # what lies in the middle of the grid stays there
    middle = np.append(np.mean(places(), axis=(0, 1)), 1.0)
    for map_, before in zip(_centred([shifted, stretch], SUBJECTS[0]), (shifted, stretch)):
        np.testing.assert_allclose(map_ @ middle, before @ middle, atol=1e-12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(subjects=SUBJECTS[:1]), "subjects must be a list of at least two images"),
        (dict(subjects=SUBJECTS[0]), "subjects must be a list of at least two images"),
        (dict(subjects=[SUBJECTS[0], np.ones((4, 4))]), r"subjects\[1\] must be an `Image`"),
        (
            dict(subjects=[SUBJECTS[0], Image(np.ones((4, 4, 4)))]),
            r"subjects\[1\] must have 2 dimensions as subjects\[0\] has, but has 3",
        ),
        (dict(template=Image(np.ones((4, 4, 4)))), r"subjects\[0\] must have 3 dimensions"),
        (
            dict(subjects=[SUBJECTS[0], Image(np.ones(GRID))]),
            r"subjects\[1\] has the same value everywhere",
        ),
        (dict(template=Image(np.ones(GRID))), "template has the same value everywhere"),
        (dict(rounds=0), "rounds must"),
        (dict(affine=np.eye(3)), "affine must be the name of a kind, None, or a list of 4"),
        (dict(affine="rigit"), "did you mean 'rigid'"),
        (dict(weight=-1.0), "weight must be positive"),
        (
            dict(affine=[np.eye(3)] * 3 + [np.array([[1.0, 0, 99], [0, 1, 0], [0, 0, 1]])]),
            r"subjects\[3\]: .* do not overlap",
        ),
    ],
)
def test_atlas_refuses(change, message):
    with pytest.raises(InputError, match=message):
        atlas_images(**{"subjects": SUBJECTS, **change})


@pytest.mark.slow
def test_an_unfinished_atlas_is_told():
    short = QUICK | dict(factors=(2,), tolerance=1e-6, max_iterations=2)
    found = atlas_images(SUBJECTS[:2], affine=None, rounds=1, throw=False, **short)
    assert found.result == RESULTS.not_converged
    with pytest.raises(NumericalError, match="atlas_images"):
        atlas_images(SUBJECTS[:2], affine=None, rounds=1, **short)


TIMES = [60.0, 60.5, 61.0, 62.0]


def blobs(x):
    """Two wide ones."""
    first, second = (np.sum((x - c) ** 2, -1) for c in ([-3.0, 16.0], [5.0, 22.0]))
    return np.exp(-first / 30) + 0.7 * np.exp(-second / 20)


def shot(t):
    """An image on a known geodesic, at a time: one blob goes, the other grows."""
    margin = 8
    wide = AFFINE.copy()
    wide[:-1, -1] -= margin * np.diag(AFFINE)[:-1]
    x = places(tuple(n + 2 * margin for n in GRID), wide)
    image = blobs(x)
    first, second = (np.sum((x - c) ** 2, -1) for c in ([-3.0, 16.0], [5.0, 22.0]))
    p = 2 * np.exp(-first / 60) * np.sin((x[..., 0] + 3) / 5) + 1.4 * np.exp(-second / 30)
    if t > 60.0:
        start = jnp.asarray(image)
        path = shoot_image(METRIC, start, jnp.asarray(p), times=(t - 60.0,), num_steps=16)
        image = np.asarray(pull_back(start, path.displacements[0], SPACING))
    return Image(image[margin:-margin, margin:-margin], AFFINE)


SERIES = [shot(t) for t in TIMES]
ALONG = QUICK | dict(num_steps=12, weight=1e6, tolerance=2e-3)


def gap(image, other):
    """Root mean square difference of two images."""
    return float(np.sqrt(np.mean((np.asarray(image.values) - np.asarray(other.values)) ** 2)))


@pytest.fixture(scope="module")
def series() -> ImageRegression:
    # in any order
    order = [2, 0, 3, 1]
    return regress_images([SERIES[k] for k in order], [TIMES[k] for k in order], **ALONG)


class TestRegression:
    """Geodesics through images."""

    @pytest.mark.slow
    def test_unseen_times(self, series):
        truth = shot(61.5)
        line = Image(0.5 * (SERIES[2].values + SERIES[3].values), AFFINE)
        nearest = min(gap(SERIES[2], truth), gap(SERIES[3], truth))
        assert gap(series.at(61.5), truth) < 0.75 * gap(line, truth)
        assert gap(line, truth) < 0.5 * nearest
        # mildly beyond
        assert gap(series.at(62.3), shot(62.3)) < 0.5 * gap(SERIES[3], shot(62.3))

    def test_it_begins_with_the_earliest(self, series):
        assert (series.t0, series.t1) == (60.0, 62.0)
        np.testing.assert_allclose(series.at(60.0).values, SERIES[0].values, atol=1e-12)
        assert np.all(series.displacement(60.0) == 0)
        assert series.result == RESULTS.successful
        assert series.residuals[1] < 1e-12
        assert series.explained > 0.9

    def test_displacements_pull_the_baseline(self, series):
        shift = series.displacement(61.7)
        assert shift.shape == (2, *GRID)
        pulled = blobs(places() + np.moveaxis(shift, 0, -1))
        assert gap(Image(pulled, AFFINE), series.at(61.7)) < 0.03
        determinants = np.asarray(series.determinants(61.7).values)
        assert np.all(determinants > 0)
        assert np.ptp(determinants) > 0.2

    def test_shuffled_times_explain_less(self, series):
        mixed = regress_images(SERIES, [60.0, 62.0, 60.5, 61.0], **ALONG)
        assert mixed.explained < series.explained - 0.1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(images=SERIES[:1], times=[60.0]), "images must be a list of at least two"),
        (dict(times=[60.0, 61.0]), "times must hold one number for each of the 4 images"),
        (dict(times=[60.0] * 4), "not all be at t0"),
        (dict(times=["a", "b", "c", "d"]), "times must hold numbers"),
        (dict(t0=[60.0]), "t0 must be one number"),
        (dict(times=[60.0, 61.0, np.nan, 62.0]), "times must be finite"),
        (dict(t0=60.2), "must not be before t0 = 60.2"),
        (dict(images=[*SERIES[:3], np.ones(GRID)]), r"images\[3\] must be an `Image`"),
        (dict(baseline=Image(np.ones((4, 4, 4)))), "baseline must have 2 dimensions"),
        (dict(images=[*SERIES[:3], Image(np.ones(GRID))]), r"images\[3\] has the same value"),
        (
            dict(images=[*SERIES[:3], Image(SERIES[3].values, AFFINE + 900 * np.eye(3, k=2))]),
            r"images\[3\] does not lie over the baseline",
        ),
        (dict(num_steps=0), "num_steps must"),
        (dict(weight=0.0), "weight must be positive"),
    ],
)
def test_regression_refuses(change, message):
    with pytest.raises(InputError, match=message):
        regress_images(**{"images": SERIES, "times": TIMES, **change})


def test_times_that_are_none(series):
    for wrong in (np.nan, [60.0, 61.0], "later"):
        with pytest.raises(InputError, match="Argument t must"):
            series.at(wrong)
