"""Derivatives of a match, end to end, against differences of whole matches."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from systems.numerics import central_difference

from geojax._core.errors import InputError
from geojax.kernels import Gaussian
from geojax.matching import implicit, match
from geojax.shapes import MMD, Landmarks, Sinkhorn

# optax promotes inside
pytestmark = pytest.mark.lenient

ANGLE = np.linspace(0, 2 * np.pi, 13)[:-1]
CIRCLE = np.stack([np.cos(ANGLE), np.sin(ANGLE)], axis=-1)
ELLIPSE = CIRCLE * [1.4, 0.7] + 0.1 * np.cos(2 * ANGLE)[:, None] + [0.3, 0.1]
PROBE = np.random.default_rng(1).normal(size=(12, 2))

FIDELITIES = {
    "landmarks": Landmarks,
    "mmd": lambda: MMD(0.5),
    # at the default bound on its iterations the derivative is right to 1e-3 only
    "sinkhorn": lambda: Sinkhorn(0.2, max_iterations=20_000),
}
ARGUMENTS = {
    "source": jnp.asarray(CIRCLE),
    "target": jnp.asarray(ELLIPSE),
    "scale": jnp.asarray(0.6),
    "weight": jnp.asarray(100.0),
}
# What is differentiated: the optimum's value, its energy, and the momentum and map behind them.
QUANTITIES = {
    "objective": lambda found: found.objective,
    "energy": lambda found: found.energy,
    "momentum": lambda found: jnp.sum(found.momentum * PROBE),
    "moved": lambda found: jnp.sum(found.apply(found.problem.source[:3]) * PROBE[:3]),
}


def solve(name, arguments, **options):
    options = {"tolerance": 1e-10, "max_iterations": 500, "multiscale": 0, **options}
    return match(
        arguments["source"],
        arguments["target"],
        metric=Gaussian(arguments["scale"]),
        fidelity=FIDELITIES[name](),
        weight=arguments["weight"],
        quality=False,
        **options,
    )


def check(name, quantity, rtol, **options):
    def value(arguments):
        return QUANTITIES[quantity](solve(name, arguments, **options))

    gradient = jax.grad(value)(ARGUMENTS)
    for k, (argument, at) in enumerate(ARGUMENTS.items()):
        direction = jnp.asarray(np.random.default_rng(k).normal(size=at.shape))

        def along(t, argument=argument, direction=direction, at=at):
            return value({**ARGUMENTS, argument: at + t * direction})

        # two steps, extrapolated: no error of second order
        step = 1e-4 * max(1.0, float(jnp.max(jnp.abs(at))))
        coarse, fine = (central_difference(along, 0.0, 1.0, h) for h in (2 * step, step))
        expected = (4 * fine - coarse) / 3
        found = jnp.sum(gradient[argument] * direction)
        np.testing.assert_allclose(found, expected, rtol=rtol, err_msg=argument)
        # with the other sign it would be wrong
        assert abs(found + expected) > abs(found)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["landmarks", "mmd"])
def test_objective(name):
    check(name, "objective", 1e-7)


@pytest.mark.parametrize("name", ["landmarks", "mmd"])
@pytest.mark.slow
def test_energy(name):
    check(name, "energy", 1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("quantity", ["momentum", "moved"])
def test_what_follows_from_the_momentum(quantity):
    check("landmarks", quantity, 1e-6)


@pytest.mark.slow
def test_by_conjugate_gradients(monkeypatch):
    monkeypatch.setattr(implicit, "_LARGEST_DENSE", 0)
    jax.clear_caches()
    check("landmarks", "energy", 1e-6)
    jax.clear_caches()


@pytest.mark.slow
def test_of_the_sinkhorn_objective():
    # its optimum is only as exact as the Sinkhorn iterations
    check("sinkhorn", "objective", 1e-4, tolerance=1e-7, throw=False)


@pytest.mark.slow
def test_of_a_sinkhorn_momentum_is_refused():
    with pytest.raises(InputError, match="differentiate its objective only, or use the MMD"):
        jax.grad(lambda a: solve("sinkhorn", a, throw=False, max_iterations=5).energy)(ARGUMENTS)


@pytest.mark.slow
def test_away_from_the_optimum_it_is_wrong():
    """Negative control: the theorems are about minima, and the tests above can tell."""
    with pytest.raises(AssertionError):
        check("landmarks", "energy", 1e-6, tolerance=0.3)


@pytest.mark.slow
def test_under_jit():
    def objective(arguments):
        return solve("landmarks", arguments).objective

    inside = jax.jit(jax.grad(objective))(ARGUMENTS)
    outside = jax.grad(objective)(ARGUMENTS)
    for name in ARGUMENTS:
        np.testing.assert_allclose(inside[name], outside[name], atol=1e-9)
