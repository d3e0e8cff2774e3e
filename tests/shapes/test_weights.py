"""Weights of points and cells, one-sided varifolds, and padding that changes no value."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from systems.meshes import icosphere, outline
from systems.numerics import central_difference

from geojax._core.errors import InputError
from geojax.shapes import (
    MMD,
    Combined,
    Currents,
    Curve,
    Landmarks,
    PartialVarifold,
    Sinkhorn,
    Surface,
    Varifold,
)
from geojax.shapes.base import Counts
from geojax.shapes.combined import split

pytestmark = pytest.mark.lenient

RNG = np.random.default_rng(0)
X, Y = jnp.asarray(RNG.normal(size=(8, 2))), jnp.asarray(RNG.normal(size=(8, 2)))
# the third point counts three times
THRICE = np.array([1, 1, 3, 1, 1, 1, 1, 1.0]) / 10
REPEATED = np.array([0, 1, 2, 2, 2, 3, 4, 5, 6, 7])


@pytest.mark.parametrize("family", [MMD, pytest.param(Sinkhorn, marks=pytest.mark.slow)])
def test_a_weight_is_as_many_points(family):
    weighted = family(0.7, source_weights=THRICE)
    np.testing.assert_allclose(weighted(X, Y), family(0.7)(X[REPEATED], Y), rtol=1e-6)
    assert abs(float(weighted(X, Y) - family(0.7)(X, Y))) > 1e-4
    other = family(0.7, target_weights=THRICE)
    np.testing.assert_allclose(other(X, Y), family(0.7)(X, Y[REPEATED]), rtol=1e-6)


def test_landmarks_that_count():
    weighted = Landmarks(THRICE)
    np.testing.assert_allclose(weighted(X, Y), Landmarks()(X[REPEATED], Y[REPEATED]), rtol=1e-12)


def test_weights_of_cells_scale_their_areas():
    curve, other = Curve(*outline(12, 1.0, 1.0)), Curve(*outline(9, 1.2, 0.8))
    factors = np.ones(12)
    factors[3] = 0.0
    kept = Curve(curve.vertices, np.delete(np.asarray(curve.edges), 3, axis=0))
    for family in (Varifold, Currents):
        weighted = family(0.5, source_weights=factors).between(curve, other)
        without = family(0.5).between(kept, other)
        points = curve.vertices, other.vertices
        np.testing.assert_allclose(weighted(*points), without(*points), rtol=1e-12)


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda: Landmarks([0.5, 0.2]), "must sum to one, but the 2 weights sum to 0.7"),
        (lambda: MMD(1.0, source_weights=[1.5, -0.5]), "at least 0"),
        (lambda: MMD(1.0, target_weights=[[1.0]]), "one number each"),
        (lambda: Sinkhorn(1.0, source_weights=[1.0, 0.0]), "positive|above 0|greater"),
        (lambda: Landmarks([0.5, 0.5]).check(X, Y), "each of the 8 landmarks, but holds 2"),
        (lambda: Varifold(1.0, source_weights=[1.0]).between(C, C), "4 cells of the source"),
    ],
)
def test_weights_that_cannot_be(build, text):
    with pytest.raises(InputError, match=text):
        build()


C = Curve(*outline(4, 1.0, 1.0))


SPHERE = icosphere(0)
SHAPES = {
    "points": (X, Y),
    "curves": (Curve(*outline(8, 1.0, 1.0)), Curve(*outline(11, 1.0, 0.7))),
    "surfaces": (Surface(*SPHERE), Surface(SPHERE[0] * np.array([1.2, 1.0, 0.9]), SPHERE[1])),
}


class TestPadding:
    """Repeated points and cells without size leave values and gradients as they are."""

    @pytest.mark.parametrize(
        ("kind", "fidelity"),
        [
            ("points", Landmarks()),
            ("points", Landmarks(THRICE)),
            ("points", MMD(0.7, target_weights=THRICE)),
            ("points", Sinkhorn(0.5)),
            ("curves", Varifold(0.5)),
            ("curves", PartialVarifold(0.5)),
            ("surfaces", Currents(0.5, source_weights=np.linspace(0.5, 1.0, 20))),
            ("surfaces", Varifold(0.5, "oriented")),
        ],
        ids=str,
    )
    def test_changes_nothing(self, kind, fidelity):
        source, target = SHAPES[kind]
        if kind != "points":
            fidelity = fidelity.between(source, target)
            source, target = source.vertices, target.vertices
        (before,) = fidelity.counts(len(source), len(target))
        after = Counts(*(k + 3 if k else 0 for k in before))
        padded = fidelity.padded((before,), (after,))

        def grown(x):
            return jnp.concatenate([x, jnp.repeat(x[-1:], 3, axis=0)])

        value, gradient = jax.value_and_grad(lambda x: fidelity(x, target))(source)
        other, larger = jax.value_and_grad(lambda x: padded(grown(x), grown(target)))(source)
        np.testing.assert_allclose(other, value, rtol=1e-7)
        np.testing.assert_allclose(larger, gradient, atol=1e-6 * float(jnp.max(abs(gradient))))


class TestPartial:
    LINE = np.stack([np.linspace(0, 4, 81), np.zeros(81)], axis=-1)

    def test_a_part_lies_on_the_whole(self):
        whole, part = Curve(self.LINE), Curve(self.LINE[20:50])
        one_sided, varifold = (f(0.3).between(part, whole) for f in (PartialVarifold, Varifold))
        points = part.vertices, whole.vertices
        assert float(one_sided(*points)) < 1e-12
        assert float(varifold(*points)) > 0.1  # which is what a two-sided distance pulls at
        back = PartialVarifold(0.3).between(whole, part)
        assert float(back(whole.vertices, part.vertices)) > 0.1

    def test_far_away_it_is_half_the_norm_as_that_of_a_varifold(self):
        line = Curve(self.LINE)
        values = [
            float(f(0.3).between(line, line)(line.vertices + 50.0, line.vertices))
            for f in (PartialVarifold, Varifold)
        ]
        np.testing.assert_allclose(values[0], values[1] / 2, rtol=0.05)

    def test_gradient(self):
        source, target = Curve(*outline(9, 1.0, 1.0)), Curve(*outline(14, 1.3, 0.8))
        fidelity = PartialVarifold(0.5, "unoriented", 0.6).between(source, target)
        value = jax.jit(lambda x: fidelity(x, target.vertices))
        direction = jnp.asarray(RNG.normal(size=(9, 2)))
        found = jnp.sum(jax.grad(value)(source.vertices) * direction)
        numeric = central_difference(value, source.vertices, direction, 1e-6)
        np.testing.assert_allclose(found, numeric, rtol=1e-6)
        assert abs(float(found + numeric)) > 1e-3


def test_combined_is_the_weighted_sum():
    parts = Landmarks(), MMD(0.5)
    both = Combined(("a", "b"), parts, (2.0, 0.5), ((3, 3), (5, 5)))
    a, b = split(X, [3, 5]), split(Y, [3, 5])
    values = [float(f(x, y)) for f, x, y in zip(parts, a, b, strict=True)]
    np.testing.assert_allclose(both(X, Y), 2.0 * values[0] + 0.5 * values[1], rtol=1e-12)
    assert {k: float(v) for k, v in both.of_parts(X, Y).items()} == dict(zip("ab", values))
    with pytest.raises(InputError, match="must hold 8 and 8 points"):
        both.check(X[:4], Y)
    with pytest.raises(InputError, match=r"Object 'a': .*8 landmarks"):
        Combined(("a",), (Landmarks([0.5, 0.5]),), (1.0,), ((8, 8),)).check(X, Y)
    with pytest.raises(InputError, match="one entry per object"):
        Combined(("a",), parts, (1.0,), ((8, 8),))
    assert not Combined(("a",), (Sinkhorn(0.5),), (1.0,), ((8, 8),)).twice_differentiable
