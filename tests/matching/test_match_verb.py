"""The verb match: closed form, derivatives at the optimum, direction, storage, bad input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from systems.numerics import compilations

from geojax import log, match
from geojax._core.errors import InputError, StorageError
from geojax.actions import Points
from geojax.kernels import Gaussian
from geojax.matching import load_match
from geojax.metrics import RKHS
from geojax.shapes import MMD

pytestmark = pytest.mark.lenient

ANGLE = np.linspace(0, 2 * np.pi, 13)[:-1]
CIRCLE = np.stack([np.cos(ANGLE), np.sin(ANGLE)], axis=-1)
ELLIPSE = CIRCLE * np.array([1.4, 0.7]) + 0.1 * np.cos(2 * ANGLE)[:, None]


@pytest.fixture(scope="module")
def found():
    return match(CIRCLE, ELLIPSE, metric=Gaussian(0.6))


def test_one_landmark_has_a_closed_form():
    """Minimum of a^2/2 + w (a - d)^2/2: the point goes w / (1 + w) of the way, in a line."""
    weight, way = 3.0, np.array([[1.0, 2.0]])
    one = match(np.zeros((1, 2)), way, metric=Gaussian(1.0), weight=weight, tolerance=1e-10)
    share = weight / (1 + weight)
    np.testing.assert_allclose(one.moved, share * way, rtol=1e-9)
    np.testing.assert_allclose(one.objective, 0.5 * share * np.sum(way**2), rtol=1e-12)


def test_large_weights_tend_to_the_geodesic_between(found):
    close = match(CIRCLE, ELLIPSE, metric=Gaussian(0.6), weight=1e6, max_iterations=1000)
    exact = log(RKHS(Gaussian(0.6)), Points(), CIRCLE, ELLIPSE, num_steps=5)
    assert found.energy < close.energy < exact.path.energy
    np.testing.assert_allclose(close.energy, exact.path.energy, rtol=1e-2)


def test_quality(found):
    assert found.folds == 0
    assert found.smallest_determinant > 0
    assert found.inverse_error < 1e-5
    assert float(found.residual) < 0.05


def test_apply_has_the_right_direction(found):
    np.testing.assert_allclose(found.apply(CIRCLE), found.moved, atol=1e-12)
    back = found.apply(found.moved, inverse=True)
    assert np.max(np.abs(back - CIRCLE)) < 1e-5
    assert np.max(np.abs(found.apply(found.moved) - CIRCLE)) > 0.1


def test_saved_deformations_are_the_same(found, tmp_path):
    found.save(tmp_path)
    again = load_match(tmp_path)
    np.testing.assert_array_equal(again.apply(CIRCLE), found.apply(CIRCLE))
    data = bytearray((tmp_path / "deformation.npz").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "deformation.npz").write_bytes(bytes(data))
    with pytest.raises(StorageError):
        load_match(tmp_path)


@pytest.mark.parametrize("name", ["landmarks", "mmd"])
def test_derivatives_at_the_optimum(name):
    """The objective's by the envelope theorem, the energy's by the implicit function theorem."""
    options = dict(tolerance=1e-9, max_iterations=2000, quality=False, throw=False)
    if name == "mmd":
        options |= dict(fidelity=MMD(0.7), weight=50.0, multiscale=0)
    else:
        options |= dict(weight=50.0)

    def both(scale, source, target):
        one = match(source, target, metric=Gaussian(scale), **options)
        return jnp.stack([one.objective, one.energy])

    arguments = jnp.array(0.6), jnp.asarray(CIRCLE), jnp.asarray(ELLIPSE)
    rng = np.random.default_rng(0)
    directions = [jnp.ones(()), *(jnp.asarray(rng.normal(size=(12, 2))) for _ in range(2))]
    rows = jax.jacrev(both, argnums=(0, 1, 2))(*arguments)
    for k, direction in enumerate(directions):
        step = 1e-4

        def moved(sign, k=k, direction=direction, step=step):
            changed = list(arguments)
            changed[k] = changed[k] + sign * step * direction
            return both(*changed)

        numeric = (moved(1) - moved(-1)) / (2 * step)
        exact = jnp.sum((rows[k] * direction).reshape(2, -1), axis=-1)
        np.testing.assert_allclose(exact[0], numeric[0], rtol=1e-6)
        np.testing.assert_allclose(exact[1], numeric[1], rtol=1e-4)


def test_second_match_compiles_nothing(found):
    with compilations() as count:
        match(CIRCLE, 1.1 * ELLIPSE, metric=Gaussian(0.5), quality=False)
    assert count.value == 0


@pytest.mark.parametrize(
    ("source", "target", "options", "says"),
    [
        (CIRCLE, ELLIPSE[:10], {}, "12 and 10"),
        (CIRCLE.T, ELLIPSE.T, {}, "transpose"),
        (CIRCLE, np.ones((12, 3)), {}, "2-D"),
        (np.zeros((0, 2)), ELLIPSE, {}, "at least 1 point"),
        (np.where(CIRCLE > 0.99, np.nan, CIRCLE), ELLIPSE, {}, "finite"),
        (np.repeat(CIRCLE, 2, axis=0)[:12], ELLIPSE, {}, "coincide"),
        (CIRCLE, ELLIPSE, {"weight": -1.0}, "weight"),
        (CIRCLE, ELLIPSE, {"num_steps": 0}, "num_steps"),
        (CIRCLE.astype(str), ELLIPSE, {}, "numbers"),
    ],
)
def test_bad_input(source, target, options, says):
    with pytest.raises(InputError, match=says):
        match(source, target, **options)
