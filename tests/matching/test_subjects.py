"""Many targets of one source: padded together, they are what each is alone."""

import numpy as np
import pytest
from systems.meshes import outline

from geojax._core.errors import InputError
from geojax.matching.subjects import as_points, bind
from geojax.shapes import (
    MMD,
    Combined,
    Curve,
    Landmarks,
    NormalCycles,
    PartialVarifold,
    Varifold,
)

SOURCE = Curve(*outline(12, 1.0, 0.8))
SIZES = (15, 9, 11)
SHAPES = [Curve(*outline(n, 1.0 + 0.1 * k, 0.7)) for k, n in enumerate(SIZES)]
ALIKE = [Curve(*outline(12, 1.0 + 0.1 * k, 0.7)) for k in range(3)]
FACTORS = np.linspace(0.5, 1.5, 12)


def bound(fidelity, shapes, source=SOURCE):
    """The subjects, and the fidelity and points of each alone."""
    given, targets = as_points(source, shapes, "source", "shapes")
    if isinstance(source, Curve):
        alone = [fidelity.between(source, shape) for shape in shapes]
    else:
        alone = [fidelity] * len(shapes)
    subjects = bind(fidelity, source, given, shapes, targets, ("source", "shapes"), batch_size=2)
    return subjects, given, list(zip(alone, targets, strict=True))


CASES = {
    "ends": (NormalCycles(0.4, "linear"), SHAPES, SOURCE),
    "corners": (NormalCycles(0.4, source_weights=FACTORS), SHAPES, SOURCE),
    "weighed": (Varifold(0.5, target_weights=FACTORS), ALIKE, SOURCE),
    "in part": (PartialVarifold(0.5), SHAPES, SOURCE),
    "clouds": (MMD(0.4), [x.vertices for x in SHAPES], SOURCE.vertices),
    "weighed clouds": (
        MMD(0.4, target_weights=FACTORS / 12),
        [x.vertices for x in ALIKE],
        SOURCE.vertices,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_each_is_what_it_is_alone(case):
    subjects, source, alone = bound(*CASES[case])
    values = subjects.map(lambda f, target: f(source, target))
    np.testing.assert_allclose(values, [f(source, x) for f, x in alone], rtol=1e-9)
    np.testing.assert_allclose(subjects.unit(), np.mean([f.unit() for f, _ in alone]), rtol=1e-9)
    one, target = subjects.one(1)
    np.testing.assert_allclose(one(source, target), values[1], rtol=1e-9)


@pytest.mark.slow
def test_variance_is_that_of_the_targets():
    weights = FACTORS / 12
    fidelity, shapes, source = CASES["weighed clouds"]
    both = MMD(0.4, weights, weights)
    pairs = [float(both(x.vertices, y.vertices)) for x in ALIKE for y in ALIKE]
    found = bound(fidelity, shapes, source)[0].variance()
    np.testing.assert_allclose(found, np.sum(pairs) / 3, rtol=1e-9)
    assert abs(float(bound(MMD(0.4), shapes, source)[0].variance() / found) - 1) > 0.01

    fidelity, shapes, source = CASES["ends"]
    mine = NormalCycles(0.4, "linear")
    pairs = [float(mine.between(x, y)(x.vertices, y.vertices)) for x in shapes for y in shapes]
    found = bound(fidelity, shapes, source)[0].variance()
    np.testing.assert_allclose(found, np.sum(pairs) / 3, rtol=1e-9)


def test_a_target_that_does_not_fit_is_named():
    fidelity = Varifold(0.5, target_weights=FACTORS)
    given, targets = as_points(SOURCE, [ALIKE[0], SHAPES[1]], "source", "shapes")
    with pytest.raises(InputError, match=r"shapes\[1\].*each of the 9 cells of the target"):
        bind(fidelity, SOURCE, given, [ALIKE[0], SHAPES[1]], targets, ("source", "shapes"), None)
    both = Combined(("a", "b"), (MMD(0.4), MMD(0.4)), (1.0, 1.0), ((6, 6), (6, 6)))
    given, targets = as_points(SOURCE.vertices, [ALIKE[0].vertices], "source", "shapes")
    assert len(bind(both, None, given, [None], targets, ("source", "shapes"), None)) == 1
    cloud = [x.vertices for x in SHAPES]
    given, targets = as_points(SOURCE.vertices, cloud, "source", "shapes")
    with pytest.raises(InputError, match=r"shapes\[0\].*15"):
        bind(Landmarks(), SOURCE.vertices, given, cloud, targets, ("source", "shapes"), None)
