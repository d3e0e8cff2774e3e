"""What lies beside the images of a match: it is carried along, priced, told, and refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from systems import image_pairs
from systems.meshes import icosphere
from systems.numerics import central_difference

from geojax._core.errors import InputError
from geojax.matching import (
    LabelPair,
    LandmarkPair,
    ShapePair,
    Stationary,
    TimeDependent,
    load_image_match,
    match_images,
)
from geojax.matching.images.beside import Unit, as_beside
from geojax.matching.images.levels import level_of, padded, pooled
from geojax.matching.images.problem import ImageProblem
from geojax.matching.images.terms import LabelTerm, PointTerm, channels
from geojax.metrics import GaussianGrid
from geojax.shapes import MMD, SSD, Curve, Image, Surface
from geojax.shapes.overlap import dice

# optax promotes inside
pytestmark = pytest.mark.lenient

GRID = (40, 30)
AFFINE = np.array([[1.0, 0.0, -20.0], [0.0, 1.4, 5.0], [0.0, 0.0, 1.0]])
UNIT = Unit(scale=6.0, sigma=2.0, weight=50.0)


def places(grid=GRID, affine=AFFINE):
    """Coordinates of the world at all points of a grid, `[*grid, d]`."""
    return image_pairs.places(grid, affine)


def bent(x):
    """A smooth one-to-one map of the plane, from the target to the source."""
    return x + np.stack([1.8 * np.sin(x[..., 1] / 9), 1.5 * np.cos(x[..., 0] / 8)], -1)


def scene(x):
    """Three blobs, of which one half of the plane shows next to nothing."""
    total = 0.0
    for centre, width, height in (
        ((-4.0, 20.0), 5.0, 1.0),
        ((6.0, 32.0), 4.0, 0.7),
        ((5.0, 15.0), 3.0, -0.5),
    ):
        total = total + height * np.exp(-np.sum((x - centre) ** 2, -1) / (2 * width**2))
    return total / (1 + np.exp(x[..., 0] - 2))


SOURCE = Image(scene(places()), AFFINE)
TARGET = Image(scene(bent(places())), AFFINE)
# where there is nothing to see
HIDDEN = np.array([[10.0, 12.0], [12.0, 28.0], [14.0, 40.0], [8.0, 20.0]])
CIRCLE = np.stack([np.cos(np.linspace(0, 2 * np.pi, 25)), np.sin(np.linspace(0, 2 * np.pi, 25))], 1)
STRIPES = np.asarray(1 + (places()[..., 1] > 20) + (places()[..., 1] > 32), np.int16)


def turned(angle, scale=(1.0, 1.0), shift=(0.0, 0.0)):
    """An affine map of the plane."""
    c, s = np.cos(angle), np.sin(angle)
    matrix = np.eye(3)
    matrix[:2, :2], matrix[:2, 2] = np.array([[c, -s], [s, c]]) @ np.diag(scale), shift
    return matrix


def by(matrix, points):
    return points @ matrix[:-1, :-1].T + matrix[:-1, -1]


def posed(pairs, source=SOURCE, target=TARGET, world=None, factor=1, unit=UNIT):
    """The level of a pair of images, and the terms of what lies beside, at one resolution."""
    world = np.eye(3) if world is None else world
    level = level_of(*(pooled(padded(image), factor) for image in (source, target)), world)
    beside = as_beside(pairs, source, target, unit)
    assert beside is not None
    return level, beside.at(factor, level, world)


@pytest.fixture(scope="module")
def three():
    """A match by image and landmarks, and with one of the two next to free."""

    def run(sigma=None, weight=None):
        marks = LandmarkPair(bent(HIDDEN), HIDDEN, sigma=sigma)
        return match_images(
            SOURCE, TARGET, affine=None, factors=(2,), weight=weight, beside=marks, throw=False
        )

    return {"both": run(), "image": run(sigma=1e6), "landmarks": run(weight=1e-6)}


class TestTogether:
    """Each does what it alone can do."""

    @staticmethod
    def error(found):
        gap = found.apply(HIDDEN, inverse=True) - bent(HIDDEN)
        return np.sqrt(np.mean(np.sum(gap**2, axis=1)))

    def test_landmarks_and_image(self, three):
        both, image, landmarks = (three[k] for k in ("both", "image", "landmarks"))
        start = np.sqrt(np.mean(np.sum((bent(HIDDEN) - HIDDEN) ** 2, axis=1)))
        # alone, each misses what the other knows
        assert self.error(image) > 0.8 * start
        assert landmarks.residual > 0.8 * landmarks.residual_before
        assert self.error(both) < 0.5 * start
        assert both.residual < 0.65 * both.residual_before
        assert both.folds == 0

    def test_what_is_told(self, three, tmp_path):
        both = three["both"]
        ((name, before, after),) = both.beside
        assert name == "landmarks"
        start = np.sqrt(np.mean(np.sum((bent(HIDDEN) - HIDDEN) ** 2, axis=1)))
        assert before == pytest.approx(start, rel=1e-9)
        assert after == pytest.approx(self.error(both), rel=1e-6)
        both.save(tmp_path / "saved")
        again = load_image_match(tmp_path / "saved")
        assert again.beside == both.beside
        assert again.beside[0].after == after

    def test_landmarks_pull_by_their_accuracy(self):
        """Their price is that of their number, and does not ask for the weight of the image."""
        marks = bent(HIDDEN), HIDDEN
        level, (coarse,) = posed(LandmarkPair(*marks, sigma=2.0))
        _, (fine,) = posed(LandmarkPair(*marks, sigma=1.0))
        _, (usual,) = posed(LandmarkPair(*marks))
        _, (few,) = posed(LandmarkPair(*(x[:1] for x in marks), sigma=2.0))
        # half a sum of squares, in widest scales over accuracies
        gaps = np.sum((bent(HIDDEN) - HIDDEN) ** 2, axis=1)
        assert float(coarse.cost(level, None)) == pytest.approx(0.5 * np.sum(gaps) * (6 / 2) ** 2)
        assert float(few.cost(level, None)) == pytest.approx(0.5 * gaps[0] * (6 / 2) ** 2)
        assert float(fine.cost(level, None)) == pytest.approx(4 * coarse.cost(level, None))
        assert float(usual.cost(level, None)) == pytest.approx(float(coarse.cost(level, None)))


def test_shapes_count_like_landmarks_in_their_cells():
    """One for each cell of the widest kernel; and they are compared as coarsely as seen."""
    pair = bent(HIDDEN), HIDDEN
    level, (marks,) = posed(LandmarkPair(*pair, sigma=2.0))
    _, (apart,) = posed(ShapePair(*pair, "landmarks", sigma=2.0))
    assert float(apart.cost(level, None)) == pytest.approx(float(marks.cost(level, None)))
    _, (one,) = posed(ShapePair(*pair, "landmarks", sigma=200.0), unit=UNIT._replace(scale=600.0))
    assert float(one.cost(level, None)) == pytest.approx(float(marks.cost(level, None)) / 4)
    ring = [2.0, 22.0] + 7 * CIRCLE[:-1]
    curves = ShapePair(Curve(bent(ring)), Curve(ring))
    (fine,), (coarse,) = (posed(curves, factor=factor)[1] for factor in (1, 4))
    for term, factor in ((fine, 1), (coarse, 4)):
        scale = term.fidelity.kernel.finest_scale
        assert float(scale) == pytest.approx(factor * curves.fidelity.kernel.finest_scale)


def test_programs_are_shared():
    """Numbers, names and accuracies are no part of a program."""
    labels = LabelPair(Image(STRIPES, AFFINE), Image(STRIPES, AFFINE))
    first = [LandmarkPair(HIDDEN, HIDDEN), labels]
    second = {
        "a": LandmarkPair(bent(HIDDEN), HIDDEN, sigma=7.0),
        "b": LabelPair(Image(STRIPES + 3, AFFINE), Image(STRIPES + 3, AFFINE), weight=3.0),
    }
    terms = [posed(pairs)[1] for pairs in (first, second)]
    assert jax.tree.structure(terms[0]) == jax.tree.structure(terms[1])
    kinds = [[(x.shape, x.dtype, x.weak_type) for x in jax.tree.leaves(t)] for t in terms]
    assert kinds[0] == kinds[1]


class TestWorlds:
    """Grids with spacings, axes and places of their own, and affine maps."""

    # both images turned and stretched in their worlds, and far from the origin
    source = Image(np.ones((22, 34)), turned(0.4, (1.3, 0.7), (500.0, -900.0)))
    target = Image(np.ones((25, 21)), turned(-0.7, (0.8, 1.9), (-40.0, 30.0)))
    marks = by(target.affine, np.array([[3.0, 4.0], [20.0, 6.5], [12.25, 17.0]]))
    # from world to world, by indices of which many are seen
    world = source.affine @ turned(0.2, (0.9, 1.3), (2.0, 1.0)) @ np.linalg.inv(target.affine)

    @pytest.mark.parametrize("factor", [1, 2, 4])
    def test_an_affine_map_is_enough(self, factor):
        """All terms vanish where the match is that map, and only there."""
        there = by(self.world, self.marks)
        pairs = [
            LandmarkPair(there, self.marks),
            ShapePair(there, self.marks, MMD(2.0)),
            ShapePair(Curve(there), Curve(self.marks)),
        ]
        level, terms = posed(pairs, self.source, self.target, self.world, factor)
        for term in terms:
            assert float(term.cost(level, None)) == pytest.approx(0, abs=1e-7)
            still = jnp.zeros((2, *level.grid))
            assert float(term.cost(level, still)) == pytest.approx(0, abs=1e-7)
        _, wrong = posed(
            LandmarkPair(there[::-1], self.marks), self.source, self.target, self.world
        )
        assert float(wrong[0].cost(level, None)) > 10

    @pytest.mark.parametrize("factor", [1, 2])
    def test_a_displacement_is_seen(self, factor):
        """A shift along the axes of the grid is one along those axes in the world."""
        frame = pooled(padded(self.target), factor).frame
        shift = np.array([0.6, -1.1])
        there = by(self.world, self.marks + frame.axes @ shift)
        level, (term,) = posed(
            LandmarkPair(there, self.marks), self.source, self.target, self.world, factor
        )
        moved = jnp.broadcast_to(jnp.asarray(shift)[:, None, None], (2, *level.grid))
        assert float(term.cost(level, moved)) == pytest.approx(0, abs=1e-9)
        assert float(term.cost(level, -moved)) > float(term.cost(level, None)) > 1

    def test_accuracy_in_both_worlds(self):
        """By default that of the target; what is given is a length of the source's world."""
        wide = np.diag([3.0, 3.0, 1.0])
        source = Image(SOURCE.values, wide @ AFFINE)
        plain, gap = HIDDEN, np.array([0.7, -0.4])
        level, (near,) = posed(LandmarkPair(plain + gap, plain))
        _, (far,) = posed(LandmarkPair(3 * (plain + gap), plain), source, TARGET, wide)
        assert float(far.cost(level, None)) == pytest.approx(float(near.cost(level, None)))
        _, (given,) = posed(LandmarkPair(3 * (plain + gap), plain, sigma=6.0), source, TARGET, wide)
        assert float(given.cost(level, None)) == pytest.approx(float(near.cost(level, None)))

    @pytest.mark.slow
    def test_the_match_that_is_told(self):
        """With an affine map and turned grids, what is told is where the match leads points."""
        x = places((25, 21), np.eye(3))
        blob = np.exp(-np.sum(((x - [12.0, 10.0]) / [6.0, 5.0]) ** 2, -1))
        target = Image(blob, self.target.affine)
        y = places((22, 34), np.eye(3)) - [0.8, -0.7]
        inner = np.linalg.inv(turned(0.2, (0.9, 1.3), (2.0, 1.0)))
        seen = by(inner, y.reshape(-1, 2)).reshape(22, 34, 2)
        source = Image(
            np.exp(-np.sum(((seen - [12.0, 10.0]) / [6.0, 5.0]) ** 2, -1)), self.source.affine
        )
        there = by(self.world, self.marks) + np.array([1.0, 0.5])
        given = dict(affine=self.world, factors=(2,), fidelity=SSD(), throw=False)
        right = match_images(source, target, beside=LandmarkPair(there, self.marks), **given)
        gap = right.apply(self.marks, inverse=True) - there
        (told,) = right.beside
        assert told.after == pytest.approx(np.sqrt(np.mean(np.sum(gap**2, 1))), rel=1e-6)
        assert told.before == pytest.approx(np.hypot(1.0, 0.5), rel=1e-9)
        assert told.after < 0.5 * told.before

    def test_float32_far_away(self):
        """Coordinates of the world keep their digits where the numbers of the images are short."""
        far = turned(0.3, (1.0, 1.0), (1e6, -2e6))
        image = Image(np.asarray(SOURCE.values, np.float32), far @ AFFINE)
        marks = by(far, HIDDEN)
        level, (term,) = posed(LandmarkPair(marks + 0.01, marks), image, image)
        assert term.source.dtype == jnp.float32
        assert float(term.distance(level, None)) == pytest.approx(0.01 * np.sqrt(2), rel=1e-4)


class TestLabels:
    """Label maps as channels, on any grid."""

    def test_channels(self):
        labels = Image(STRIPES, AFFINE)
        whole = channels(labels, (1, 2, 3), TARGET, 1)
        np.testing.assert_array_equal(whole.sum(0)[4:44, 5:35], 1)
        assert whole.sum() == labels.values.size
        # blocks hold shares
        coarse = channels(labels, (1, 2, 3), TARGET, 4)
        assert coarse.shape == (3, *(n // 4 for n in whole.shape[1:]))
        assert coarse.sum() * 16 == pytest.approx(whole.sum())
        assert np.any((coarse > 0) & (coarse < 1))

    def test_another_grid(self):
        """Labels with half the spacing, one axis the other way round, as they lie in the world."""
        fine = AFFINE @ np.array([[-0.5, 0.0, 39.0], [0.0, 0.5, 0.0], [0.0, 0.0, 1.0]])
        there = places((80, 60), fine)
        values = np.asarray(1 + (there[..., 1] > 20) + (there[..., 1] > 32), np.int16)
        plain = channels(Image(STRIPES, AFFINE), (1, 2, 3), TARGET, 1)
        other = channels(Image(values, fine), (1, 2, 3), TARGET, 1)
        inside = plain.sum(0) > 0
        assert inside.sum() == STRIPES.size
        np.testing.assert_allclose(other[:, inside], plain[:, inside], atol=1e-6)

    def test_price(self):
        """Labels that overlap nowhere cost the default weight of the image."""
        first = np.zeros(GRID, np.int16)
        first[5:15, 5:15] = 4
        second = np.zeros(GRID, np.int16)
        second[20:30, 5:15] = 4
        level, (apart,) = posed(LabelPair(Image(first, AFFINE), Image(second, AFFINE), weight=2.0))
        assert float(apart.cost(level, None)) == pytest.approx(2 * UNIT.weight)
        shift = np.zeros((2, *level.grid))
        shift[0] = -15.0
        assert float(apart.cost(level, jnp.asarray(shift))) == pytest.approx(0, abs=1e-9)
        assert float(apart.distance(level, jnp.asarray(-shift))) == pytest.approx(1)

    @pytest.mark.slow
    def test_labels_alone(self):
        """Images of which nothing tells where to go."""
        x = places()
        flat = Image(np.asarray(x[..., 0] > 18, float), AFFINE)

        def drawn(y):
            inside = np.sum(((y - [0.0, 24.0]) / [9.0, 11.0]) ** 2, -1) < 1
            return np.where(inside, np.where(y[..., 1] > 24, 7, 2), 0).astype(np.int16)

        source, target = Image(drawn(x), AFFINE), Image(drawn(bent(bent(x))), AFFINE)
        found = match_images(
            flat, flat, affine=None, factors=(2, 1), weight=1e-3, throw=False,
            beside={"halves": LabelPair(source, target, weight=1.0)},
        )  # fmt: skip
        before = dice(source.values, target.values)
        after = dice(found.warp(source, order=0).values, target.values)
        assert set(after) == {2, 7}
        assert min(before.values()) < 0.8
        assert min(after.values()) > 0.9
        assert found.folds == 0
        (told,) = found.beside
        assert told.name == "halves"
        assert told.after < 0.1 < 0.2 < told.before


@pytest.mark.slow
def test_a_surface_beside_a_volume():
    affine = np.diag([1.0, 1.0, 1.5, 1.0])
    x = places((16, 16, 12), affine)
    middle = np.array([7.5, 7.5, 8.25])
    vertices, faces = icosphere(1)
    source = Surface(middle + 4.0 * vertices, faces)
    target = Surface(middle + [1.2, 0.0, -0.8] + 4.0 * vertices * [1.2, 1.0, 0.9], faces)
    blob = Image(np.exp(-np.sum((x - middle) ** 2, -1) / 200), affine)
    found = match_images(
        blob, blob, affine=None, factors=(2,), weight=1e-3, beside=ShapePair(source, target),
        throw=False,
    )  # fmt: skip
    (told,) = found.beside
    assert told.name == "shapes"
    assert told.after < 0.5 * told.before
    # the vertices go there, as nobody told them one by one
    gaps = [
        np.linalg.norm(v - target.vertices, axis=1).mean()
        for v in (np.asarray(source.vertices), found.apply(source.vertices))
    ]
    assert gaps[1] < 0.5 * gaps[0]


@pytest.mark.parametrize(
    "model", [Stationary(), pytest.param(TimeDependent(2), marks=pytest.mark.slow)]
)
@pytest.mark.slow
def test_gradient(model):
    """Of all kinds of terms at once, against differences."""
    across = bent(places())[..., 1]
    shifted = np.asarray(1 + (across > 20) + (across > 32), np.int16)
    ring = [2.0, 22.0] + 7 * CIRCLE[:-1]
    pairs = [
        LandmarkPair(bent(HIDDEN), HIDDEN),
        ShapePair(Curve(bent(ring)), Curve(ring)),
        ShapePair(bent(ring)[::2], ring, "mmd"),
        LabelPair(Image(STRIPES, AFFINE), Image(shifted, AFFINE)),
    ]
    level, terms = posed(pairs, factor=2)
    assert [type(t) for t in terms] == [PointTerm] * 3 + [LabelTerm]
    metric = GaussianGrid(np.asarray(level.spacing), [4.0, 8.0])
    problem = ImageProblem(model, metric, SSD(), jnp.asarray(30.0), level, terms)
    keys = jax.random.split(jax.random.key(3), 2)
    shape = problem.at_rest().shape
    noise, way = (0.3 * jax.random.normal(key, shape) for key in keys)
    both = jax.jit(jax.value_and_grad(problem.objective))
    value, gradient = both(noise)
    pull = problem.move(noise).displacement
    parts = [float(term.cost(level, pull)) for term in terms]
    assert min(parts) > 1e-3 * float(value)
    plain = ImageProblem(model, metric, SSD(), jnp.asarray(30.0), level)
    assert float(value) == pytest.approx(float(plain.objective(noise)) + sum(parts))
    expected = central_difference(lambda x: both(x)[0], noise, way, 1e-6)
    assert float(jnp.vdot(gradient, way)) == pytest.approx(float(expected), rel=1e-6)


def test_names():
    marks = LandmarkPair(HIDDEN, HIDDEN)
    clouds = ShapePair(HIDDEN, HIDDEN[:2], "mmd")
    for given, names in (
        (marks, ("landmarks",)),
        ([marks, clouds, marks], ("landmarks", "shapes", "landmarks 2")),
        ({"cortex": clouds}, ("cortex",)),
    ):
        found = as_beside(given, SOURCE, TARGET, UNIT)
        assert found is not None
        assert found.names == names
    assert as_beside([], SOURCE, TARGET, UNIT) is None
    assert as_beside(None, SOURCE, TARGET, UNIT) is None


def test_labels_of_one_image_only():
    more = STRIPES.copy()
    more[0, 0] = 9
    with pytest.warns(UserWarning, match="Labels 9 are in one of the two images only"):
        pair = LabelPair(Image(more, AFFINE), Image(STRIPES, AFFINE))
    assert pair.labels == (1, 2, 3)


def test_some_landmarks_are_beyond():
    marks = LandmarkPair(HIDDEN, np.concatenate([HIDDEN[:-1], HIDDEN[-1:] + 900]))
    with pytest.warns(UserWarning, match="target has 1 of its 4 points beyond the grid"):
        as_beside(marks, SOURCE, TARGET, UNIT)


LABELS = Image(STRIPES, AFFINE)
SPACE = np.zeros((3, 3))
BAD_PAIRS = [
    (lambda: LandmarkPair(HIDDEN, HIDDEN[:3]), "hold 4 and 3 landmarks"),
    (lambda: LandmarkPair(HIDDEN, SPACE), "same dimension"),
    (lambda: LandmarkPair(HIDDEN, HIDDEN * np.nan), "target must be finite"),
    (lambda: LandmarkPair(HIDDEN[0], HIDDEN), r"source must have shape \[n, d\]"),
    (lambda: LandmarkPair(HIDDEN, HIDDEN, sigma=0.0), "sigma must be positive"),
    (lambda: LandmarkPair(HIDDEN, HIDDEN, sigma=[1.0, 2.0]), "sigma must be one number"),
    (lambda: ShapePair(HIDDEN, HIDDEN), "fidelity must be given for points without cells"),
    (lambda: ShapePair(HIDDEN, HIDDEN, "mdm"), "did you mean 'mmd'"),
    (lambda: ShapePair(Curve(HIDDEN), HIDDEN, "varifold"), "curves|Curve"),
    (lambda: ShapePair(HIDDEN, HIDDEN, "mmd", sigma=-1.0), "sigma must be positive"),
    (lambda: LabelPair(STRIPES, LABELS), "source must be an `Image`"),
    (lambda: LabelPair(LABELS, SOURCE), "target must hold integers"),
    (lambda: LabelPair(LABELS, Image(STRIPES + 5, AFFINE)), "hold 1, 2, 3 and 6, 7, 8"),
    (lambda: LabelPair(LABELS, Image(0 * STRIPES, AFFINE)), "hold 1, 2, 3 and none"),
    (lambda: LabelPair(LABELS, Image(np.ones((4, 4, 4), int))), "same dimension"),
    (lambda: LabelPair(LABELS, LABELS, weight=0.0), "weight must be positive"),
]


@pytest.mark.parametrize(("make", "message"), BAD_PAIRS)
def test_bad_pairs(make, message):
    with pytest.raises(InputError, match=message):
        make()


FAR = AFFINE + np.array([[0.0, 0.0, 900.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
BAD_BESIDE = [
    (3.0, "beside must be a `LandmarkPair`"),
    ("landmarks", "beside must be a `LandmarkPair`"),
    ([(HIDDEN, HIDDEN)], r"beside must hold .* but 'beside\[0\]' is tuple"),
    ({3: LandmarkPair(HIDDEN, HIDDEN)}, "strings for keys"),
    (LandmarkPair(SPACE, SPACE), "Beside 'landmarks': .*source must have 2 dimensions"),
    (LandmarkPair(HIDDEN, HIDDEN + 900), "target has all its 4 points beyond the grid"),
    (ShapePair(HIDDEN - 900, HIDDEN, "mmd"), "Beside 'shapes': .*source has all its 4 points"),
    (LabelPair(LABELS, Image(STRIPES, FAR)), "target has labels 1, 2, 3 beyond the grid"),
    (
        LabelPair(*[Image(np.ones((4, 4, 4), np.int16))] * 2),
        "Beside 'labels': .*source must have 2 dimensions",
    ),
]


@pytest.mark.parametrize(("beside", "message"), BAD_BESIDE)
def test_bad_beside(beside, message):
    with pytest.raises(InputError, match=message):
        match_images(SOURCE, TARGET, affine=None, beside=beside)
