"""Radial kernels: values, derivatives down to distance zero, positive definiteness, bad scales."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from systems.numerics import largest

from geojax._core.errors import InputError
from geojax.kernels import Cauchy, Gaussian, Laplace, Matern32, Matern52, Sum, by_name

FORMULAS = {
    Gaussian: lambda r: np.exp(-0.5 * r**2),
    Cauchy: lambda r: 1 / (1 + r**2),
    Laplace: lambda r: np.exp(-r),
    Matern32: lambda r: (1 + np.sqrt(3) * r) * np.exp(-np.sqrt(3) * r),
    Matern52: lambda r: (1 + np.sqrt(5) * r + 5 * r**2 / 3) * np.exp(-np.sqrt(5) * r),
}
FAMILIES = list(FORMULAS)


def named(family):
    return family.__name__


@pytest.mark.parametrize("family", FAMILIES, ids=named)
class TestFamily:
    def test_values(self, family):
        x, y = np.random.default_rng(0).normal(size=(2, 5, 3))
        distances = np.linalg.norm(x[:, None] - y[None], axis=-1)
        for scale in (0.3, 1.0, 7.0):
            gram = family(scale)(jnp.asarray(x), jnp.asarray(y))
            assert largest(gram - FORMULAS[family](distances / scale)) < 1e-15
        assert float(family(0.7).profile(jnp.zeros(()))) == 1.0
        # control: squaring the scale is seen
        assert largest(family(2.0)(jnp.asarray(x), jnp.asarray(y)) - gram) > 1e-2

    def test_derivative(self, family):
        kernel, squared = family(0.8), jnp.array([0.01, 0.3, 1.0, 4.0])
        step = 1e-6
        difference = (kernel.profile(squared + step) - kernel.profile(squared - step)) / (2 * step)
        assert largest(kernel.derivative(squared) - difference) < 1e-8
        assert jnp.all(kernel.derivative(squared) < 0)

    def test_everything_is_finite_where_points_coincide(self, family):
        kernel, points = family(1.0), jnp.zeros((3, 2))

        def total(x, scale):
            return jnp.sum(family(scale)(x, x) ** 2)

        assert jnp.isfinite(kernel.derivative(jnp.zeros(())))
        for order in (jax.grad(total), jax.jacfwd(jax.grad(total))):
            assert jnp.all(jnp.isfinite(order(points, 1.0)))
        # by symmetry the gradient is zero there, for smooth kernels and for the peakon's alike
        assert largest(jax.grad(total)(points, 1.0)) == 0
        assert jnp.isfinite(jax.grad(total, argnums=1)(points, 1.0))

    def test_gram_matrix_is_positive_semidefinite(self, family):
        points = jnp.asarray(np.random.default_rng(1).uniform(size=(40, 2)))
        gram = np.asarray(family(0.5)(points, points))
        assert np.linalg.eigvalsh(gram).min() > -1e-12 * np.trace(gram)
        assert largest(gram - gram.T) == 0

    def test_scale_in_any_form(self, family):
        for scale in (2, 2.0, np.float32(2), np.array(2), jnp.array(2), jnp.array(2.0)):
            kernel = family(scale)
            assert jnp.issubdtype(kernel.scale.dtype, jnp.floating)
            assert float(kernel.scale) == 2.0
            assert float(kernel.finest_scale) == 2.0

    @pytest.mark.parametrize("scale", [0, -1.0, np.nan, np.inf, "1", True, 1j, jnp.array(-1.0)])
    def test_bad_scales(self, family, scale):
        with pytest.raises(InputError, match="Argument scale must be positive and finite"):
            family(scale)

    def test_several_scales_are_a_sum(self, family):
        with pytest.raises(InputError, match=r"shape \[2\].*`Sum`"):
            family([1.0, 2.0])

    def test_dtype_follows_the_points(self, family):
        points = jnp.ones((2, 2), jnp.float32)
        assert family(0.5)(points, points).dtype == jnp.float32

    def test_derivative_in_the_scale(self, family):
        squared = jnp.array([0.0, 0.2, 3.0])
        found = jax.jacfwd(lambda s: family(s).profile(squared))(0.9)
        step = 1e-6
        difference = family(0.9 + step).profile(squared) - family(0.9 - step).profile(squared)
        assert largest(found - difference / (2 * step)) < 1e-9


def test_smoothness_is_told():
    smoothness = {Gaussian: np.inf, Cauchy: np.inf, Laplace: 0, Matern32: 2, Matern52: 4}
    for family, order in smoothness.items():
        assert family(1.0).smoothness == order
    assert Sum([Gaussian(1.0), Matern32(2.0)]).smoothness == 2


class TestSum:
    x = jnp.linspace(0.0, 2.0, 5)[:, None]

    def test_is_the_weighted_sum(self):
        kernels = [Gaussian(1.0), Cauchy(0.5), Matern52(2.0)]
        total = Sum(kernels, [1.0, 2.0, 0.5])(self.x, self.x)
        parts = [kernel(self.x, self.x) for kernel in kernels]
        assert largest(total - (parts[0] + 2 * parts[1] + 0.5 * parts[2])) < 1e-15
        assert float(Sum(kernels).profile(jnp.zeros(()))) == pytest.approx(1.0, abs=1e-15)
        assert float(Sum(kernels).finest_scale) == 0.5
        assert Sum(kernels, [1, 2, 3]).weights.dtype == jnp.float64

    @pytest.mark.parametrize(
        ("weights", "message"),
        [
            ([1.0, -2.0], r"weights must be positive and finite, but entry \[1\] is -2.0"),
            ([1.0, np.nan], r"weights must be positive and finite, but entry \[1\] is nan"),
            ([1.0], r"one entry for each of the 2 kernels, but has shape \[1\]"),
            (["a", "b"], "no real number"),
            ([], "empty"),
        ],
    )
    def test_bad_weights(self, weights, message):
        with pytest.raises(InputError, match=message):
            Sum([Gaussian(1.0), Gaussian(2.0)], weights)

    def test_no_kernels(self):
        with pytest.raises(InputError, match=r"radial kernels .* entry 1 is 0\.2"):
            Sum([Gaussian(0.5), 0.2])
        with pytest.raises(InputError, match="at least one kernel"):
            Sum([])


class TestByName:
    def test_one_and_several(self):
        assert isinstance(by_name("cauchy", 2.0), Cauchy)
        several = by_name("gaussian", [2.0, 1.0], [1.0, 3.0])
        assert isinstance(several, Sum)
        assert [float(kernel.scale) for kernel in several.kernels] == [2.0, 1.0]
        assert isinstance(by_name("laplace", [1.5]), Laplace)

    @pytest.mark.parametrize(
        ("name", "scales", "message"),
        [
            ("gaussia", 1.0, r"'gaussia' \(did you mean 'gaussian'\?\)"),
            ("gaussian", [1.0, 3.0, 2.0], "sorted without repeats"),
            ("gaussian", [1.0, 1.0], "sorted without repeats"),
            ("gaussian", [1.0, -1.0], r"entry \[1\] is -1.0"),
            ("gaussian", [], "empty"),
        ],
    )
    def test_bad_input(self, name, scales, message):
        with pytest.raises(InputError, match=message):
            by_name(name, scales)
