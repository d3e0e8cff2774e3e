"""Affine maps between images: starts that a single search misses, kinds, what stays in sight."""

import numpy as np
import pytest

from geojax.matching.images.affine import KINDS, _allowed, _turns, fit_affine
from geojax.matching.images.levels import level_of, padded
from geojax.shapes import LNCC, SSD, Image

# optax promotes inside
pytestmark = pytest.mark.lenient

GRID = (40, 36)
BLOBS = (
    ((13.0, 12.0), 5.0, 1.0),
    ((25.0, 22.0), 4.0, 0.7),
    ((24.0, 8.0), 2.5, 0.9),
    ((14.0, 27.0), 2.0, 0.6),
)
POINTS = np.array([[13.0, 12.0], [25.0, 22.0], [18.0, 17.0]])


def scene(x):
    """Blobs in the plane, none like the other."""
    return sum(
        height * np.exp(-np.sum((x - centre) ** 2, -1) / (2 * width**2))
        for centre, width, height in BLOBS
    )


def places(grid):
    return np.stack(np.meshgrid(*map(np.arange, grid), indexing="ij"), -1).astype(float)


def turn(degrees: float, shift: tuple[float, float]) -> np.ndarray:
    """A turn about the middle of the grid, and a shift."""
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    world = np.eye(3)
    world[:2, :2] = [[c, -s], [s, c]]
    middle = (np.array(GRID) - 1) / 2
    world[:2, 2] = middle + shift - world[:2, :2] @ middle
    return world


def moved(world: np.ndarray, points: np.ndarray) -> np.ndarray:
    return points @ world[:-1, :-1].T + world[:-1, -1]


def pair(world: np.ndarray):
    """A source, and the target that the map leads to it."""
    images = scene(places(GRID)), scene(moved(world, places(GRID)))
    return [padded(Image(values)) for values in images]


@pytest.mark.parametrize(
    ("degrees", "shift"),
    [
        pytest.param(52.0, (0.0, 0.0), marks=pytest.mark.slow),
        (-50.0, (3.0, -4.0)),
        (50.0, (300.0, -200.0)),
    ],
)
def test_large_turns_and_shifts_are_found(degrees, shift):
    """A search from the worlds as they are, or from shifts alone, ends elsewhere."""
    world = turn(degrees, (0.0, 0.0))
    source, target = pair(world)
    # the source of a far world: the same image somewhere else
    source.frame.affine[:2, 2] += shift
    world[:2, 2] += shift
    found = fit_affine(source, target, LNCC(6.0), "rigid", (4, 2))
    np.testing.assert_allclose(moved(found, POINTS), moved(world, POINTS), atol=0.4)
    np.testing.assert_allclose(found[:2, :2] @ found[:2, :2].T, np.eye(2), atol=1e-6)


@pytest.mark.slow
def test_a_turned_volume_is_found():
    """About two axes at once."""
    grid = (20, 22, 18)
    axis = [np.deg2rad(a) for a in (25.0, -30.0)]
    first, second = np.eye(3), np.eye(3)
    c, s = np.cos(axis), np.sin(axis)
    first[:2, :2] = [[c[0], -s[0]], [s[0], c[0]]]
    second[1:, 1:] = [[c[1], -s[1]], [s[1], c[1]]]
    matrix = first @ second
    middle = (np.array(grid) - 1) / 2
    world = np.eye(4)
    world[:3, :3], world[:3, 3] = matrix, middle - matrix @ middle + [1.0, -2.0, 0.5]
    centres = np.array([[6.0, 8.0, 9.0], [13.0, 14.0, 6.0], [12.0, 7.0, 13.0]])

    def volume(x):
        widths = 3.0, 2.2, 1.8
        return sum(
            np.exp(-np.sum((x - centre) ** 2, -1) / (2 * width**2))
            for centre, width in zip(centres, widths, strict=True)
        )

    images = volume(places(grid)), volume(moved(world, places(grid)))
    source, target = (padded(Image(v)) for v in images)
    found = fit_affine(source, target, LNCC(6.0), "affine", (2,))
    back = np.linalg.inv(world)
    there = moved(back, centres)
    np.testing.assert_allclose(moved(found, there), centres, atol=0.5)
    assert np.max(np.abs(there - centres)) > 3


def test_turns_are_turns_and_none_comes_first():
    for d, count in ((2, 3), (3, 27)):
        turns = _turns(d)
        assert len(turns) == count
        np.testing.assert_array_equal(turns[0], np.eye(d))
        for one in turns:
            np.testing.assert_allclose(one @ one.T, np.eye(d), atol=1e-12)
            np.testing.assert_allclose(np.linalg.det(one), 1.0)
    # the angles themselves: the trace of a turn in the plane is twice its cosine
    np.testing.assert_allclose([np.trace(t) for t in _turns(2)[1:]], np.sqrt(3.0))


@pytest.mark.parametrize("d", [2, 3])
def test_kinds_are_projections(d):
    """Onto nothing, skew matrices, those and multiples of the identity, everything."""
    sizes = {"translation": 0, "rigid": 1, "similarity": 2, "affine": 4}
    if d == 3:
        sizes = {"translation": 0, "rigid": 3, "similarity": 4, "affine": 9}
    matrix = np.random.default_rng(0).normal(size=(d, d))
    for kind in KINDS:
        allowed = _allowed(kind, d)
        np.testing.assert_allclose(allowed @ allowed, allowed, atol=1e-12)
        np.testing.assert_allclose(allowed, allowed.T)
        np.testing.assert_allclose(np.trace(allowed), sizes[kind])
    turned = (_allowed("rigid", d) @ matrix.ravel()).reshape(d, d)
    np.testing.assert_allclose(turned, (matrix - matrix.T) / 2)
    scaled = (_allowed("similarity", d) @ matrix.ravel()).reshape(d, d) - turned
    np.testing.assert_allclose(scaled, np.trace(matrix) / d * np.eye(d), atol=1e-12)


@pytest.mark.parametrize("kind", ["translation", "similarity"])
def test_kinds_stay_what_they_are(kind):
    source, target = pair(np.diag([1.15, 0.95, 1.0]) @ turn(5.0, (1.0, 0.0)))
    found = fit_affine(source, target, SSD(), kind, (2,))[:2, :2]
    squared = found @ found.T
    np.testing.assert_allclose(squared, squared[0, 0] * np.eye(2), atol=1e-9)
    assert (kind == "translation") == bool(np.allclose(found, np.eye(2), atol=1e-9))


def test_leaving_the_target_is_no_start():
    """Of images that have nothing in common none is pushed out of sight."""
    x = places(GRID)
    stripes = [np.sin(x[..., 0] / 2), np.sin(x[..., 1] / 3)]
    source, target = (padded(Image(values)) for values in stripes)
    found = fit_affine(source, target, LNCC(6.0), "affine", (4, 2))
    seen = float(level_of(source, target, found).overlap)
    assert seen > 0.3 * np.prod(GRID)
