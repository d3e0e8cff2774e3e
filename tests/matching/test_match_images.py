"""Matching of images: known maps, laws, derivatives, what the deformation does to things."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from systems import image_pairs
from systems.numerics import central_difference, relative_error

from geojax._core.errors import InputError, NumericalError, StorageError
from geojax._core.results import RESULTS
from geojax.flows.grids import compose
from geojax.matching import (
    ImageMatch,
    Stationary,
    TimeDependent,
    load_image_match,
    match_images,
    match_many_images,
)
from geojax.matching.images.levels import level_of, padded, pooled
from geojax.matching.images.problem import ImageProblem
from geojax.metrics import GaussianGrid, Sobolev
from geojax.shapes import LNCC, NMI, SSD, Image

# optax promotes inside
pytestmark = pytest.mark.lenient

SPACING = np.array([1.0, 1.4])
AFFINE = np.array([[1.0, 0.0, -20.0], [0.0, 1.4, 5.0], [0.0, 0.0, 1.0]])
GRID = (40, 30)


def places(grid=GRID, affine=AFFINE):
    """Coordinates of the world at all points of a grid, `[*grid, d]`."""
    return image_pairs.places(grid, affine)


def scene(x):
    """Three blobs in the plane, none like the other."""
    total = 0.0
    for centre, width, height in (
        ((-4.0, 20.0), 5.0, 1.0),
        ((6.0, 32.0), 4.0, 0.7),
        ((5.0, 15.0), 3.0, -0.5),
    ):
        total = total + height * np.exp(-np.sum((x - centre) ** 2, -1) / (2 * width**2))
    return total


def bent(x):
    """A smooth one-to-one map of the plane, from the target to the source."""
    shift = np.stack([1.8 * np.sin(x[..., 1] / 9), 1.5 * np.cos(x[..., 0] / 8)], -1)
    return x + shift


def moves(model, way, metric, unknowns):
    """Where a model that looks at no image moves the points of a grid."""
    grid = unknowns.shape[-metric.spacing.shape[0] :]
    return model.move(metric, unknowns, jnp.zeros(grid), push=way == "push").displacement


SOURCE = Image(scene(places()), AFFINE)
TARGET = Image(scene(bent(places())), AFFINE)
LANDMARKS = np.array([[-4.0, 20.0], [6.0, 32.0], [5.0, 15.0]])


@pytest.fixture(scope="module")
def found() -> ImageMatch:
    return match_images(SOURCE, TARGET, affine=None, weight=3000.0)


def test_a_known_map_is_found(found):
    assert found.result == RESULTS.successful
    assert found.residual < 0.25 * found.residual_before
    assert found.folds == 0
    assert 0 < found.smallest_determinant < 1
    # where the blobs are, the map is known; elsewhere there is nothing to see
    back = found.apply(bent(places()).reshape(-1, 2))
    gap = np.linalg.norm(back - places().reshape(-1, 2), axis=1).reshape(GRID)
    start = np.linalg.norm(bent(places()) - places(), axis=-1)
    seen = np.abs(scene(bent(places()))) > 0.25
    assert np.mean(gap[seen]) < 0.3 * np.mean(start[seen])
    moved = np.asarray(found.moved.values)
    before = np.sum((SOURCE.values - TARGET.values) ** 2)
    assert np.sum((moved - TARGET.values) ** 2) < 0.1 * before


def test_directions(found):
    """Points go to where the image of them goes, and come back."""
    there = found.apply(LANDMARKS)
    np.testing.assert_allclose(found.apply(there, inverse=True), LANDMARKS, atol=0.1)
    assert np.max(np.abs(there - LANDMARKS)) > 1
    # a bright spot is seen where its middle goes, and the other way round
    for inverse, start, end in ((False, LANDMARKS[0], there[0]), (True, there[0], LANDMARKS[0])):
        spot = Image(np.exp(-np.sum((places() - start) ** 2, -1) / 8), AFFINE)
        seen = np.asarray(found.warp(spot, inverse=inverse).values)
        centre = np.sum(places() * seen[..., None], (0, 1)) / np.sum(seen)
        assert np.linalg.norm(centre - end) < 0.3
        assert np.linalg.norm(centre - start) > 1
    # the field that other tools read leads from the target to the source
    field = found.displacement()
    at = np.asarray(TARGET.to_indices(there[:1])).round().astype(int)[0]
    point = TARGET.to_world(at[None].astype(float))
    np.testing.assert_allclose(
        point[0] + field[:, at[0], at[1]], found.apply(point, inverse=True)[0], atol=1e-9
    )


def test_a_coarse_search_is_refined(found):
    """It ends on the target's grid as well, and moves about the same."""
    coarse = match_images(SOURCE, TARGET, affine=None, weight=3000.0, factors=(4, 2))
    assert coarse.pull.shape == found.pull.shape
    assert coarse.residual < 0.5 * coarse.residual_before
    shift = np.linalg.norm(found.apply(LANDMARKS) - LANDMARKS, axis=1)
    gap = np.linalg.norm(found.apply(LANDMARKS) - coarse.apply(LANDMARKS), axis=1)
    assert np.all(gap < 0.35 * np.max(shift))


def test_labels_stay_labels(found):
    labels = Image((scene(places()) > 0.5).astype(np.int16) * 7, AFFINE)
    moved = found.warp(labels, order=0)
    assert moved.values.dtype == jnp.int16
    assert set(np.unique(moved.values)) == {0, 7}
    fine = Image(np.zeros((11, 9), np.uint8), AFFINE)
    assert found.warp(fine, inverse=True, order=0).grid == GRID
    large = Image(np.full(GRID, 614454277, np.int32), AFFINE)
    assert set(np.unique(found.warp(large, order=0).values)) <= {0, 614454277}
    with pytest.warns(UserWarning, match="integers that look like labels, and order 1 mixes"):
        assert found.warp(Image(np.ones(GRID, bool), AFFINE)).values.dtype == bool
    for wrong, message in (
        (dict(image=fine, fill=-1), "fill must be a number of uint8"),
        (dict(image=fine, fill=np.nan), "fill must be"),
        (dict(image=np.ones((3, 3))), "image must be an `Image` in 2 dimensions"),
        (dict(image=Image(np.ones((3, 3, 3)))), "image must be an `Image` in 2 dimensions"),
    ):
        with pytest.raises(InputError, match=message):
            found.warp(**wrong)
    beyond = np.array([[1.0, 0, 900.0], [0, 1.0, 0], [0, 0, 1]])
    assert np.all(np.asarray(found.warp(Image(np.ones((9, 9)), beyond), fill=-1.0).values) == -1)


def test_determinants_are_those_of_the_map(found):
    step = 1e-4
    at = places()[5:-5:6, 5:-5:6].reshape(-1, 2)
    columns = [
        (found.apply(at + e, inverse=True) - found.apply(at - e, inverse=True)) / (2 * step)
        for e in step * np.eye(2)
    ]
    exact = np.linalg.det(np.stack(columns, -1)).reshape(5, 4)
    values = np.asarray(found.determinants().values)[5:-5:6, 5:-5:6]
    np.testing.assert_allclose(values, exact, atol=0.25)
    assert np.corrcoef(values.ravel(), exact.ravel())[0, 1] > 0.9


def test_saved_and_loaded(found, tmp_path):
    found.save(tmp_path)
    again = load_image_match(tmp_path)
    np.testing.assert_array_equal(again.apply(LANDMARKS), found.apply(LANDMARKS))
    np.testing.assert_array_equal(again.moved.values, found.moved.values)
    assert again.folds == found.folds
    assert again.result == found.result
    data = bytearray((tmp_path / "deformation.npz").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "deformation.npz").write_bytes(bytes(data))
    with pytest.raises(StorageError, match=r"deformation\.npz"):
        load_image_match(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["translation", "rigid", "similarity", "affine"])
def test_a_known_affine_map_is_found(kind):
    """Also between worlds of other axes, origins and spacings."""
    matrix = {
        "translation": np.eye(2),
        "rigid": np.array([[np.cos(0.2), -np.sin(0.2)], [np.sin(0.2), np.cos(0.2)]]),
        "similarity": 1.1 * np.array([[np.cos(0.2), -np.sin(0.2)], [np.sin(0.2), np.cos(0.2)]]),
        "affine": np.array([[1.1, 0.15], [0.0, 0.9]]),
    }[kind]
    middle = np.array([0.0, 24.0])

    def world(x):
        return (x - middle) @ matrix.T + middle + [1.5, -2.0]

    turned = np.array([[0.0, 1.2, -22.0], [1.1, 0.0, 2.0], [0.0, 0.0, 1.0]])
    source = Image(scene(places((40, 36), turned)), turned)
    target = Image(scene(world(places())), AFFINE)
    options = dict(affine=kind, weight=1e-3, fidelity=SSD(), tolerance=0.5, throw=False)
    found = match_images(source, target, **options)
    where = np.array([[-4.0, 20.0], [3.0, 28.0], [5.0, 17.0]])
    np.testing.assert_allclose(found.apply(where, inverse=True), world(where), atol=0.25)
    assert np.max(np.abs(where - world(where))) > 1.5


@pytest.mark.parametrize(
    ("model", "fidelity", "metric"),
    [
        (Stationary(4), LNCC(3.0), GaussianGrid(SPACING, 4.0)),
        (TimeDependent(3), SSD(), Sobolev(SPACING, [3.0, 5.0], order=3)),
        (Stationary(3), NMI(16), GaussianGrid(SPACING, 4.0)),
    ],
)
def test_derivative_of_the_objective(model, fidelity, metric):
    pair = [padded(image) for image in (SOURCE, TARGET)]
    world = np.array([[1.01, 0.02, 0.3], [-0.01, 0.98, 0.2], [0, 0, 1]])
    level = level_of(pooled(pair[0], 2), pooled(pair[1], 2), world)
    metric = type(metric)(level.spacing, metric.scale)
    problem = ImageProblem(model, metric, fidelity, jnp.asarray(200.0), level)
    rng = np.random.default_rng(0)
    start, direction = (jnp.asarray(rng.normal(size=problem.at_rest().shape)) for _ in range(2))

    def function(noise):
        return problem.objective(noise)

    objective = jax.jit(function)
    slope = jnp.sum(jax.jit(jax.grad(function))(0.5 * start) * direction)
    # a step that crosses few kinks of the interpolation
    truth = central_difference(objective, 0.5 * start, direction, 1e-7)
    # the range of NMI's bins moves with the image, which its derivative leaves out
    assert relative_error(slope, truth) < (5e-3 if isinstance(fidelity, NMI) else 1e-4)
    # the energy of white coordinates is that of the velocities that they drive
    if isinstance(model, Stationary):
        velocity = metric.root(start)
        np.testing.assert_allclose(metric.energy(velocity), 0.5 * jnp.sum(start**2), rtol=1e-6)


@pytest.mark.slow
def test_models_agree():
    """A velocity that stays the same is one of those that depend on time."""
    metric = GaussianGrid([1.0, 1.0], 4.0)
    noise = jnp.asarray(np.random.default_rng(1).normal(size=(2, 24, 24)))
    errors = []
    for steps in (8, 16):
        same = jnp.broadcast_to(noise, (steps, *noise.shape)) / np.sqrt(steps)
        for way in ("pull", "push"):
            one = moves(Stationary(7), way, metric, noise)
            other = moves(TimeDependent(steps), way, metric, same)
            errors.append(relative_error(other, one))
        assert float(jnp.sum(same**2)) == pytest.approx(float(jnp.sum(noise**2)))
    assert max(errors) < 0.05
    # not a velocity of which only the first part is the same
    half = jnp.concatenate([same[:8], jnp.zeros_like(same[:8])])
    assert relative_error(moves(TimeDependent(16), "pull", metric, half), one) > 0.3


def test_order_of_times():
    """The pull-back of a movement along an axis and then along the other, at a known place."""
    metric = Sobolev([1.0, 1.0], 6.0, order=2)
    x = np.arange(32.0)
    bump = jnp.asarray(np.exp(-((x[:, None] - 16) ** 2 + (x[None] - 16) ** 2) / 50))
    first = metric.unroot(jnp.stack([2 * bump, 0 * bump])) * 2**0.5
    second = metric.unroot(jnp.stack([0 * bump, 2 * bump])) * 2**0.5
    model = TimeDependent(2)
    push = moves(model, "push", metric, jnp.stack([first, second]))
    pull = moves(model, "pull", metric, jnp.stack([first, second]))
    gap = compose(pull, push, metric.spacing)
    assert float(jnp.max(jnp.abs(gap))) < 0.15
    wrong = compose(moves(model, "pull", metric, jnp.stack([second, first])), push, metric.spacing)
    assert float(jnp.max(jnp.abs(wrong))) > 0.3


def test_steps_are_of_second_order():
    """A stretch along an axis, whose flow is known: `x -> e^(a t) x` about the middle."""
    metric = Sobolev([1.0], 4.0, order=2)
    x = jnp.arange(33.0) - 16
    # straight in the middle, so that interpolation is exact there
    velocity = 0.5 * x * jnp.exp(-((x / 12) ** 8))
    noise = metric.unroot(velocity[None])

    def error(steps):
        same = jnp.broadcast_to(noise, (steps, *noise.shape)) / np.sqrt(steps)
        push = moves(TimeDependent(steps), "push", metric, same)[0]
        return float(jnp.max(jnp.abs(push - (np.exp(0.5) - 1) * x)[14:19]))

    errors = [error(k) for k in (1, 2, 4)]
    orders = np.log2(np.divide(errors[:-1], errors[1:]))
    assert np.all(orders > 1.6)
    assert errors[-1] < 0.02


@pytest.mark.parametrize("unit", [1e-3, 1e3])
@pytest.mark.slow
def test_the_unit_of_length_does_not_matter(unit):
    options: dict = dict(affine="rigid", factors=(2,), throw=False)
    images = []
    for scaled in (1.0, unit):
        affine = np.diag([scaled, scaled, 1.0]) @ AFFINE
        images.append([Image(image.values, affine) for image in (SOURCE, TARGET)])
    plain, other = (match_images(*pair, **options) for pair in images)
    np.testing.assert_allclose(
        other.apply(unit * LANDMARKS) / unit, plain.apply(LANDMARKS), atol=0.05
    )


def test_worlds_that_do_not_meet():
    far = AFFINE.copy()
    far[:2, 2] += 1000
    away = Image(TARGET.values, far)
    with pytest.raises(InputError, match="do not overlap in the world"):
        match_images(SOURCE, away, affine=None)
    left, right = np.zeros(GRID), np.zeros(GRID)
    left[:10], right[-10:] = 1, 1
    masks = dict(source_mask=Image(left, AFFINE), target_mask=Image(right, AFFINE))
    with pytest.raises(InputError, match="do not overlap"):
        match_images(SOURCE, TARGET, affine=None, **masks)


@pytest.mark.slow
def test_worlds_apart_are_brought_together():
    """The middles of the images are a start where the worlds say nothing."""
    far = AFFINE.copy()
    far[:2, 2] += 1000
    found = match_images(SOURCE, Image(TARGET.values, far), factors=(4, 2), throw=False)
    near = match_images(SOURCE, TARGET, factors=(4, 2), throw=False)
    np.testing.assert_allclose(found.apply(LANDMARKS) - 1000, near.apply(LANDMARKS), atol=0.1)


@pytest.mark.parametrize("weight", [1e13])
def test_leaving_the_target_is_not_rewarded(weight):
    found = match_images(SOURCE, TARGET, affine=None, weight=weight, factors=(2,), throw=False)
    assert float(jnp.max(jnp.abs(found.pull))) < 40
    assert found.residual > 0.001


@pytest.mark.parametrize(
    ("source", "target"),
    [
        (np.float64, np.float32),
        pytest.param(np.uint8, np.float32, marks=pytest.mark.slow),
        pytest.param(np.float16, np.uint8, marks=pytest.mark.slow),
    ],
)
def test_precisions_that_differ(source, target):
    kinds = zip((SOURCE, TARGET), (source, target), strict=True)
    images = [Image((50 + 40 * np.asarray(im.values)).astype(kind), AFFINE) for im, kind in kinds]
    found = match_images(*images, affine=None, factors=(2,), max_iterations=5, throw=False)
    assert found.pull.dtype == (np.float64 if source is np.float64 else np.float32)
    # between whole numbers lie others
    exact = np.issubdtype(source, np.floating)
    assert found.moved.values.dtype == (source if exact else found.pull.dtype)


@pytest.mark.slow
def test_in_single_precision_nothing_is_said():
    """As users run it; warnings are errors here."""
    small = np.diag([0.1, 0.1, 1.0]) @ AFFINE
    with jax.enable_x64(False):
        images = [Image(np.asarray(x.values, np.float32), small) for x in (SOURCE, TARGET)]
        found = match_images(*images, affine=None, factors=(2,), max_iterations=5, throw=False)
        assert found.moved.values.dtype == np.float32
        assert found.apply(0.1 * LANDMARKS).dtype == np.float64


@pytest.mark.slow
def test_it_does_not_matter_where_the_world_is(found):
    """The same images in a world that is turned and shifted are matched in the same way."""
    turn = np.array([[0.0, -1.0, 3.0], [1.0, 0.0, 70.0], [0.0, 0.0, 1.0]])
    images = [Image(image.values, turn @ AFFINE) for image in (SOURCE, TARGET)]
    turned = match_images(*images, affine=None, weight=3000.0)
    np.testing.assert_allclose(turned.residual, found.residual, rtol=1e-9)
    truth = found.apply(LANDMARKS) @ turn[:2, :2].T + turn[:2, 2]
    where = LANDMARKS @ turn[:2, :2].T + turn[:2, 2]
    np.testing.assert_allclose(turned.apply(where), truth, atol=1e-6)


def test_brightness_and_masks_do_not_matter():
    """Correlation does not see contrast; what a mask leaves out has no say."""
    dark = Image(40 - 3 * TARGET.values, AFFINE)
    mask = np.ones(GRID)
    mask[:, -4:] = 0
    spoiled = np.array(TARGET.values)
    spoiled[:, -4:] = 5 * np.random.default_rng(0).uniform(size=(GRID[0], 4))
    options = dict(affine=None, weight=3000.0, factors=(2,), target_mask=Image(mask, AFFINE))
    plain = match_images(SOURCE, TARGET, **options)
    for other in (dark, Image(spoiled, AFFINE)):
        again = match_images(SOURCE, other, **options)
        np.testing.assert_allclose(again.apply(LANDMARKS), plain.apply(LANDMARKS), atol=0.02)
    free = match_images(SOURCE, Image(spoiled, AFFINE), affine=None, weight=3000.0, factors=(2,))
    assert np.max(np.abs(free.apply(LANDMARKS) - plain.apply(LANDMARKS))) > 0.02


def test_sizes_share_a_program():
    """Images of nearly the same size are padded to one."""
    grids = [(37, 29), (39, 30), (40, 32), (45, 32)]
    frames = {padded(Image(np.zeros(grid), AFFINE)).frame.grid for grid in grids}
    assert len(frames) == 2
    assert all(n % 8 == 0 for grid in frames for n in grid)


@pytest.mark.slow
def test_a_lane_is_what_it_is_alone():
    """Pairs of different sizes in one program, for as many iterations each."""
    small = Image(np.asarray(SOURCE.values)[2:-3, 3:], SOURCE.affine)
    pairs = [(SOURCE, TARGET), (TARGET, small), (small, SOURCE)]
    options: dict = dict(factors=(2,), max_iterations=4, tolerance=1e-9, throw=False)
    options |= dict(metric=GaussianGrid(SPACING, 5.0), fidelity=SSD(), weight=3000.0)
    sources, targets = zip(*pairs, strict=True)
    for batch_size in (1, 2):
        lanes = match_many_images(sources, targets, batch_size=batch_size, **options)
        for lane, (source, target) in zip(lanes, pairs, strict=True):
            alone = match_images(source, target, affine=None, **options)
            # the smaller one is filled up further, which moves the end of its grid away
            near = 1e-8 if target is not small else 0.1
            np.testing.assert_allclose(lane.moved.values, alone.moved.values, atol=near)
            np.testing.assert_allclose(lane.objective, alone.objective, rtol=near)
            assert lane.moved.grid == target.grid
            assert int(lane.num_iterations) == 4
    # a batch in the wrong order would show
    assert np.max(np.abs(lanes[0].moved.values[:30, :20] - lanes[1].moved.values[:30, :20])) > 0.1


@pytest.mark.parametrize(
    ("sources", "targets", "message"),
    [
        ([], [], "at least one"),
        ([SOURCE], [], "hold as many images"),
        ([np.ones((4, 4))], [SOURCE], r"sources\[0\] must be an `Image`"),
        ([SOURCE, Image(np.ones(GRID))], [TARGET] * 2, "Pair 1: Argument source has the same"),
        ([SOURCE, Image(np.ones((4, 4, 4)))], [TARGET] * 2, "sources must hold images of one"),
    ],
)
def test_bad_batches(sources, targets, message):
    with pytest.raises(InputError, match=message):
        match_many_images(sources, targets)


BAD = [
    (dict(source=np.ones((4, 4))), "source must be an `Image`"),
    (dict(source=Image(np.ones((9, 9, 9)))), "same dimension"),
    (dict(source=Image(np.ones(GRID), AFFINE)), "source has the same value everywhere"),
    (dict(metric=GaussianGrid([1.0] * 3, 1.0)), "metric must have 2 spacings"),
    (dict(metric=3.0), "metric must be a `GaussianGrid` or `Sobolev`"),
    (dict(fidelity="lncc"), "fidelity must be a `LNCC`"),
    (dict(model="svf"), "model must be a model such as `Stationary"),
    (dict(weight=-1.0), "weight must be"),
    (dict(tolerance=0.0), "tolerance must be"),
    (dict(max_iterations=0), "max_iterations"),
    (dict(factors=(1, 2)), "factors must fall among 8, 4, 2 and 1"),
    (dict(factors=(3, 1)), "factors must fall among 8, 4, 2 and 1"),
    (dict(factors=4), "factors must fall among 8, 4, 2 and 1"),
    (dict(factors=(1, 1)), "factors must fall among 8, 4, 2 and 1"),
    (dict(weight=[1.0, 2.0]), "weight must be one number"),
    (dict(tolerance=5.0), "tolerance must be a number below 1"),
    (dict(progress=3), "progress must be a function"),
    (dict(metric=GaussianGrid(SPACING, 2.0, boundary="periodic")), "boundary 'zero'"),
    (dict(target_mask=np.ones(GRID)), "target_mask must be an `Image`"),
    (dict(target_mask=Image(np.ones(GRID))), "its place in the world"),
    (dict(affine="ridgid"), r"did you mean 'rigid'"),
    (dict(source=Image(np.eye(9)), target=Image(np.eye(9)), factors=(8,)), "leaves 2 x 2 points"),
    (dict(affine=[[1.0, 0.0], [0.0]]), "affine must hold numbers"),
    (dict(affine=np.eye(4)), r"affine must be a matrix \[3, 3\]"),
    (dict(affine=np.diag([1.0, -1.0, 1.0])), "orientation of space"),
    (dict(target_mask=Image(np.ones((3, 3)))), "target_mask must have the grid of the target"),
    (
        dict(source_mask=Image(np.zeros(GRID), AFFINE)),
        "source_mask must be non-negative and positive",
    ),
]


@pytest.mark.parametrize(("arguments", "message"), BAD)
def test_bad_input(arguments, message):
    given = {"source": SOURCE, "target": TARGET, **arguments}
    with pytest.raises(InputError, match=message):
        match_images(given.pop("source"), given.pop("target"), **given)


def test_what_was_not_reached_is_said():
    options = dict(affine=None, max_iterations=2, tolerance=1e-6, factors=(2,))
    with pytest.raises(NumericalError, match="match_images"):
        match_images(SOURCE, TARGET, **options)
    found = match_images(SOURCE, TARGET, throw=False, **options)
    assert found.result == RESULTS.not_converged
    with pytest.raises(InputError, match="points must have 2 coordinates"):
        found.apply(np.ones((3, 3)))


def test_progress_is_told():
    seen = []
    found = match_images(
        SOURCE, TARGET, affine=None, progress=lambda *numbers: seen.append(numbers), throw=False
    )
    assert len(seen) >= 3
    assert seen[-1][1] == pytest.approx(float(found.objective))


@pytest.mark.slow
def test_a_volume():
    """Three dimensions, thick slices, and the margin of a tight crop."""
    affine = np.diag([1.0, 1.0, 2.5, 1.0])
    x = places((20, 22, 10), affine)
    blob = np.exp(-np.sum((x - [9.0, 10.0, 11.0]) ** 2 / [18.0, 30.0, 30.0], -1))
    wide = np.exp(-np.sum((x - [10.5, 10.0, 11.0]) ** 2 / [30.0, 24.0, 30.0], -1))
    source, target = (Image(v.astype(np.float32), affine) for v in (blob, wide))
    found = match_images(source, target, affine=None, throw=False)
    assert found.pull.dtype == jnp.float32
    assert found.residual < 0.4 * found.residual_before
    assert found.folds == 0
    centre = found.apply(np.array([[9.0, 10.0, 11.0]]))
    np.testing.assert_allclose(centre, [[10.5, 10.0, 11.0]], atol=0.5)
