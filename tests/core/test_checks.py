"""Checks of arguments: what is refused, where, with which words."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from geojax._core import checks
from geojax._core.errors import DeviceError, GeojaxError, InputError, NumericalError, StorageError
from geojax.kernels import Gaussian, Laplace, Matern32


def test_each_error_has_its_exit_code():
    codes = {InputError: 2, NumericalError: 3, StorageError: 4, DeviceError: 5}
    assert {kind: kind.exit_code for kind in codes} == codes
    assert all(issubclass(kind, GeojaxError) for kind in codes)
    assert issubclass(InputError, ValueError)


class TestArrays:
    @pytest.mark.parametrize(
        ("value", "message"),
        [
            ([[0.0, 1.0], [np.nan, 2.0]], r"entry \[1, 0\] is nan \(1 such entries\)"),
            ([[0.0, 1.0], [2.0, -np.inf]], r"entry \[1, 1\] is -inf"),
            ([[0.0, 1.0], [2.0]], "rows have different lengths"),
            ([["a", "b"]], "must hold numbers, but has dtype <U1"),
            (np.array([[object(), None]]), "dtype object"),
            (np.zeros((2, 2), "datetime64[s]"), "datetime64"),
            (np.zeros((2, 2), complex), "must be real, but has dtype complex128"),
            (np.zeros(3), r"shape \[n, d\].*has shape \[3\]"),
            (np.zeros((0, 2)), r"at least 1 point, but has shape \[0, 2\]"),
            (np.zeros((2, 0)), r"at least 1 point, but has shape \[2, 0\]"),
            (np.zeros((2, 50)), r"1, 2 or 3 coordinates.*transpose it to \[50, 2\]"),
            (np.zeros((50, 50)), "1, 2 or 3 coordinates"),
        ],
    )
    def test_bad_points(self, value, message):
        with pytest.raises(InputError, match=message) as caught:
            checks.as_points(value, "source")
        assert "Argument source" in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_too_few_points(self):
        with pytest.raises(InputError, match="at least 4 points"):
            checks.as_points(np.zeros((3, 2)), "source", least=4)

    @pytest.mark.parametrize("value", [[[1, 2]], np.array([[True, False]])])
    def test_integers_are_cast_and_told(self, value):
        with pytest.warns(UserWarning, match="Argument source has dtype .* cast to floating point"):
            array = checks.as_points(value, "source")
        assert array.dtype == jnp.float64

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_floats_keep_their_dtype(self, dtype):
        assert checks.as_points(np.ones((2, 2), dtype), "source").dtype == dtype

    def test_truncation_is_told(self):
        value = np.full((2, 2), 1 / 3)
        with jax.enable_x64(False):
            with pytest.warns(UserWarning, match=r"float64 but JAX runs in float32.*--x64"):
                array = checks.as_points(value, "source")
            assert array.dtype == jnp.float32
            with warnings.catch_warnings():
                # nothing is lost
                warnings.simplefilter("error")
                checks.as_points(np.ones((2, 2)), "source")

    def test_values_are_skipped_under_a_transformation(self):
        assert jax.jit(lambda x: checks.as_points(x, "source"))(jnp.full((2, 2), jnp.nan)).shape
        with pytest.raises(InputError, match="shape"):
            jax.jit(lambda x: checks.as_points(x, "source"))(jnp.ones(3))


class TestPairsOfArrays:
    def test_dimensions(self):
        with pytest.raises(InputError, match="source is 2-D and target is 3-D"):
            checks.same_dimension(np.zeros((4, 2)), np.zeros((4, 3)), "source", "target")

    def test_counts(self):
        with pytest.raises(InputError, match=r"hold 120 and 118 points.*MMD"):
            checks.same_count(np.zeros((120, 2)), np.zeros((118, 2)), "source", "target")


class TestCoincidence:
    def test_duplicates(self):
        points = np.array([[0.0, 1], [2, 3], [4, 5], [2, 3], [2, 3]])
        with pytest.raises(InputError, match=r"points 1 and 3 coincide at \[2.0, 3.0\] \(2 dup"):
            checks.distinct(points, "source")
        checks.distinct(points[:3], "source")

    def test_near_duplicates(self):
        # a row of points and one that nearly repeats the third
        points = np.stack([np.arange(5.0), np.zeros(5)], axis=1)
        close = jnp.asarray(np.concatenate([points, points[2:3] + 1e-7]))
        message = r"2 and 5 are 1.4e-07 apart.*condition number.*merge"
        with pytest.warns(UserWarning, match=message):
            checks.near_duplicates(Gaussian(1.0), close, "source")
        with pytest.raises(InputError, match="float64"):
            checks.near_duplicates(
                Gaussian(1.0), (close + jnp.array([[0.0, 1e-4]])).astype(jnp.float32), "source"
            )
        # a finely sampled curve is no mistake
        checks.near_duplicates(Gaussian(1.0), jnp.asarray(points) * 0.05, "source")

    def test_near_duplicates_of_many_points_and_of_single_precision(self):
        """Beyond the size of an eigendecomposition the closest pair speaks for all."""
        points = np.stack([np.arange(5.0), np.zeros(5)], axis=1)
        close = np.concatenate([points, points[2:3] + np.array([0, 1e-3])]).astype(np.float32)
        # 4 / r^2, which float32 itself could not compute
        with pytest.raises(InputError, match=r"2 and 5 are 0.001 .* 4.0e\+06; merge them, or work"):
            checks.near_duplicates(Gaussian(1.0), jnp.asarray(close), "source", largest=3)

    def test_kernels_that_let_points_collide(self):
        with pytest.warns(UserWarning, match=r"kernel Laplace is not C\^2 .* take `Matern32`"):
            checks.collisions(Laplace(1.0))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            checks.collisions(Matern32(1.0))


class TestNumbers:
    @pytest.mark.parametrize("value", [0, -3, 2.5, "4", None, True, np.float64(3.0)])
    def test_counts(self, value):
        with pytest.raises(InputError, match="num_steps must be an integer of at least 1, but is"):
            checks.count(value, "num_steps")

    def test_good_counts(self):
        assert checks.count(np.int32(3), "n") == 3
        assert isinstance(checks.count(np.int32(3), "n"), int)
        assert checks.count(0, "n", least=0) == 0

    @pytest.mark.parametrize(
        ("t0", "t1", "message"),
        [
            (0.0, 0.0, "t1 must be later than t0.*reverse=True"),
            (1.0, 0.0, "t1 must be later than t0, but t0 = 1.0 and t1 = 0.0"),
            (0.0, np.nan, "t1 must be later"),
            (-np.inf, 0.0, "t1 must be later"),
            ("0", 1.0, "t0 must be a number"),
            (0.0, np.ones(2), "t1 must be a number"),
        ],
    )
    def test_intervals(self, t0, t1, message):
        with pytest.raises(InputError, match=message):
            checks.interval(t0, t1)

    def test_an_interval_below_the_resolution_of_its_dtype(self):
        with pytest.raises(InputError, match="resolution"):
            checks.resolved_interval(1e9, 1e9 + 1.0, 10, np.float32)
        checks.resolved_interval(1e9, 1e9 + 1.0, 10, np.float64)
        checks.resolved_interval(0.0, 1e-30, 10, np.float32)

    def test_non_negative(self):
        checks.non_negative([0.0, 1.0], "weights")
        for bad, where in (([0.0, -1.0], r"entry \[1\] is -1.0"), (np.nan, "is nan"), ("x", "no")):
            with pytest.raises(InputError, match=where):
                checks.non_negative(bad, "weights")


def test_memory_is_predicted():
    checks.memory(10**6, "It", "use less")
    with pytest.raises(InputError, match=r"would need about 1e\+09 GB \(\d+ bytes\).*use less"):
        checks.memory(10**18, "It", "use less")


def test_nearest_name():
    assert "did you mean 'sigma'" in checks.nearest_name("sigam", ["sigma", "steps"])
    assert checks.nearest_name("zzz", ["sigma"]) == ""
