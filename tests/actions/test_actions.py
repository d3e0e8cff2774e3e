"""Actions: states that are refused, charts, projections, brackets."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from systems.numerics import largest
from systems.spaces import NAMES, space

from geojax._core.errors import InputError
from geojax._core.linalg import dagger
from geojax.actions import AbstractGroup, Matrices, Points, Rotations, Unitaries


class TestBadStates:
    @pytest.mark.parametrize(
        ("state", "message"),
        [
            (np.eye(3), r"must have shape \[4, 4\] for 2 qubits, but has shape \[3, 3\]"),
            (np.eye(4)[:2], r"shape \[2, 4\]"),
            (np.diag([1, 1, 1, 2.0]), r"special unitary, but \|U'U - 1\| = 3.0e\+00 and det U = 2"),
            (np.diag([1, 1, 1, -1.0]), r"det U = -1.*4-th root"),
            (np.full((4, 4), np.nan), "must be finite"),
            (np.full((4, 4), "a"), "must hold numbers"),
        ],
    )
    def test_unitaries(self, state, message):
        with pytest.raises(InputError, match=message) as caught:
            Unitaries(2).check(state, "target")
        assert "Argument target" in str(caught.value)

    @pytest.mark.parametrize(
        ("state", "message"),
        [
            (np.eye(2), r"must have shape \[3, 3\]"),
            (2 * np.eye(3), r"must be a rotation, but \|X'X - 1\| = 3.0e\+00"),
            (np.diag([1.0, 1.0, -1.0]), "det = -1"),
            (np.eye(3, dtype=complex), "must be real"),
            (np.diag([1.0, 1.0, np.inf]), r"entry \[2, 2\] is inf"),
        ],
    )
    def test_rotations(self, state, message):
        with pytest.raises(InputError, match=message):
            Rotations(3).check(state, "source")

    @pytest.mark.parametrize(
        ("state", "message"),
        [
            (np.zeros((2, 2)), "invertible, but is singular"),
            (np.ones((2, 3)), r"shape \[n, n\], but has shape \[2, 3\]"),
            (np.eye(2) * 1j, "must be real"),
        ],
    )
    def test_matrices(self, state, message):
        with pytest.raises(InputError, match=message):
            Matrices().check(state, "source")

    def test_points(self):
        for bad in (np.zeros(3), np.zeros((0, 2)), [[np.nan, 0.0]], "x"):
            with pytest.raises(InputError, match="Argument source"):
                Points().check(bad, "source")
        # feature spaces have more than three dimensions
        assert Points().check(np.zeros((4, 50)), "source").shape == (4, 50)
        with pytest.warns(UserWarning, match=r"taken as 2 points in 50 dimensions; transpose it"):
            assert Points().check(np.zeros((2, 50)), "source").shape == (2, 50)

    def test_sizes(self):
        for bad in (0, 1, 2.5, "3", True):
            with pytest.raises(InputError, match="n must be an integer of at least 2"):
                Rotations(bad)
        for bad in (0, 1.5, True):
            with pytest.raises(InputError, match="num_qubits must be an integer"):
                Unitaries(bad)

    def test_states_are_converted(self):
        assert Unitaries(1).check(np.eye(2), "state").dtype == jnp.complex128
        assert Unitaries(1).check(np.eye(2, dtype=np.complex64), "state").dtype == jnp.complex64
        single = jnp.eye(2, dtype=jnp.float32)
        assert Unitaries(1).check(single, "state").dtype == jnp.complex64
        with pytest.warns(UserWarning, match="cast to floating point"):
            assert Matrices().check(np.eye(2, dtype=int), "state").dtype == jnp.float64


def groups():
    names = [name for name in NAMES if name.startswith(("su", "so", "gl"))]
    return pytest.mark.parametrize("name", names)


@groups()
def test_group(name):
    """Project, bracket, lift and chart belong to one Lie algebra."""
    geometry = space(name)
    group, state = geometry.action, geometry.state
    assert isinstance(group, AbstractGroup)
    rng = np.random.default_rng(0)
    draws = rng.normal(size=(2, *state.shape)) + (1j * rng.normal(size=(2, *state.shape)))
    draws = draws if jnp.iscomplexobj(state) else draws.real

    @jax.jit
    def errors(draws):
        a, b = group.project(draws[0]), group.project(draws[1])
        left, right = group.generator(a), group.generator(b)
        element = group.exponential(0.3 * a)
        coordinates = jnp.arange(1.0, group.dimension(state) + 1)
        return {
            "project is a projection": group.project(a) - a,
            "project is orthogonal": jnp.sum(jnp.real(jnp.conj(draws[0] - a) * b)),
            "bracket": group.generator(group.bracket(a, b)) - (left @ right - right @ left),
            "lift": group.momentum(state, group.lift(state, a)) - a,
            "inverse": group.inverse(element) @ element - jnp.eye(state.shape[0]).astype(a.dtype),
            "residual at the state": group.residual(state, state) - group.residual(state, state) * 0
            if isinstance(group, Matrices)
            else group.residual(state, state),
            "covector is linear": group.covector(state, 2 * coordinates)
            - 2 * group.covector(state, coordinates),
        }

    found = errors(jnp.asarray(draws))
    assert {law: largest(error) for law, error in found.items() if largest(error) > 1e-13} == {}


@groups()
def test_chord_points_to_the_target(name):
    """Following the chord at unit speed arrives, at least for a target that is near."""
    geometry = space(name)
    group, state = geometry.action, geometry.state
    rng = np.random.default_rng(1)
    draw = 1e-4 * rng.normal(size=state.shape)
    step = group.project(jnp.asarray(draw, state.dtype))
    target = group.exponential(step) @ state
    tangent = jax.jit(group.chord)(state, target)
    assert largest(tangent - group(step, state)) < 1e-6
    # and is exact for one-parameter subgroups of the compact groups
    if not isinstance(group, Matrices):
        far = group.exponential(3000 * step) @ state
        velocity = group.chord(state, far) @ dagger(state)
        assert largest(jax.scipy.linalg.expm(velocity) @ state - far) < 1e-12


def test_momentum_pairs_with_evaluation():
    points, costates = np.random.default_rng(0).normal(size=(2, 4, 2))
    diracs = Points().momentum(jnp.asarray(points), jnp.asarray(costates))
    assert largest(diracs.points - points) == 0
    assert largest(diracs.weights - costates) == 0
