"""Input that is taken but warned of, and systems that would not fit the memory."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from systems.particles import TwoLandmarks

from geojax._core import checks
from geojax._core.errors import InputError
from geojax.actions import Points, Rotations
from geojax.geodesics import (
    jacobi_field,
    log,
    mean,
    momentum_of,
    parallel_transport,
    sectional_curvature,
    shoot,
)
from geojax.kernels import Gaussian, Laplace, Matern32, Sum
from geojax.metrics import RKHS, Isotropic

ROUGH = r"kernel Laplace is not C\^2 .* may collide .* take `Matern32`"
START, END = TwoLandmarks.state(1.0), TwoLandmarks.state(1.2)
MOMENTUM = jnp.array([[0.1], [0.2]])


def told(function) -> list[str]:
    """The warnings of a call."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        function()
    return [str(warning.message) for warning in caught]


class TestRoughKernels:
    """Invariants 2.1: landmarks of a kernel that is not C^2 may collide."""

    def verbs(self, kernel):
        metric, options = RKHS(kernel), dict(num_steps=4, throw=False)
        return {
            "shoot": lambda: shoot(metric, Points(), START, MOMENTUM, **options),
            "log": lambda: log(metric, Points(), START, END, **options),
            "mean": lambda: mean(
                metric, Points(), jnp.stack([START, END]), max_iterations=1, **options
            ),
            "parallel_transport": lambda: parallel_transport(
                metric, Points(), START, MOMENTUM, MOMENTUM, **options
            ),
        }

    @pytest.mark.parametrize(
        "verb",
        ["shoot", "log", pytest.param("mean", marks=pytest.mark.slow), "parallel_transport"],
    )
    def test_one_warning_for_each_call(self, verb):
        with pytest.warns(UserWarning, match=ROUGH) as caught:
            self.verbs(Laplace(1.0))[verb]()
        assert len(caught) == 1

    @pytest.mark.slow
    def test_smooth_kernels_are_silent(self):
        for kernel in (Gaussian(1.0), Matern32(1.0)):
            assert told(self.verbs(kernel)["shoot"]) == []
        assert told(self.verbs(Gaussian(1.0))["log"]) == []
        rough = Sum([Gaussian(1.0), Laplace(1.0)], [1.0, 1.0])
        assert len(told(self.verbs(rough)["shoot"])) == 1

    def test_nothing_is_said_of_what_is_traced(self):
        metric = RKHS(Laplace(1.0))

        @jax.jit
        def end(p):
            return shoot(metric, Points(), START, p, num_steps=4, throw=False).end

        assert told(lambda: end(MOMENTUM)) == []
        where = metric, Points(), START, MOMENTUM
        assert told(lambda: jacobi_field(*where, MOMENTUM, num_steps=4, throw=False)) == []


def test_points_that_look_transposed():
    wide = np.arange(10.0).reshape(2, 5)
    metric, momentum = RKHS(Gaussian(1.0)), np.zeros((2, 5))
    with pytest.warns(UserWarning, match=r"state of shape \[2, 5\].*transpose it to \[5, 2\]\?"):
        shoot(metric, Points(), wide, momentum, num_steps=2)
    # control: as many points as there would be coordinates, or the array the right way round
    assert told(lambda: shoot(metric, Points(), wide.T, momentum.T, num_steps=2)) == []
    four = np.arange(16.0).reshape(4, 4)
    assert told(lambda: shoot(metric, Points(), four, 0 * four, num_steps=2)) == []


class TestMemory:
    """Dense systems are predicted before they are allocated."""

    metric = RKHS(Gaussian(1.0))
    points = np.stack(np.meshgrid(np.arange(8.0), np.arange(5.0)), -1).reshape(-1, 2)
    turn = Isotropic(), Rotations(3), jnp.eye(3)

    def verbs(self):
        q, p = jnp.asarray(self.points), jnp.zeros(self.points.shape)
        where, eye = (self.metric, Points(), q), self.turn[2]
        return {
            "momentum_of": lambda: momentum_of(*where, p),
            "log": lambda: log(*where, q),
            "parallel_transport": lambda: parallel_transport(*where, p, p),
            "sectional_curvature": lambda: sectional_curvature(*where, p, p),
            "momentum_of a group": lambda: momentum_of(*self.turn, 0 * eye),
        }

    @pytest.mark.parametrize(
        ("verb", "unknowns", "matrices"),
        [
            ("momentum_of", 40, 2),
            ("log", 80, 20),
            ("parallel_transport", 40, 2),
            ("sectional_curvature", 80, 5),
            ("momentum_of a group", 3, 2),
        ],
    )
    def test_refused_with_the_numbers(self, verb, unknowns, matrices, monkeypatch):
        needed = 8 * matrices * unknowns**2
        monkeypatch.setattr(checks, "installed_memory", lambda: needed - 1)
        name = verb.split()[0]
        with pytest.raises(InputError, match=rf"^{name}: .* {unknowns} unknowns .*{needed} bytes"):
            self.verbs()[verb]()

    def test_what_fits_is_run(self, monkeypatch):
        monkeypatch.setattr(checks, "installed_memory", lambda: 8 * 2 * 40**2)
        assert self.verbs()["momentum_of"]().shape == (40, 2)
        # shooting solves nothing
        monkeypatch.setattr(checks, "installed_memory", lambda: 1)
        q = jnp.asarray(self.points)
        assert shoot(self.metric, Points(), q, 0 * q, num_steps=2).end.shape == (40, 2)
