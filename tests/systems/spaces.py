"""Every pair of a metric and an action that belong together, with a state to start from."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from geojax.actions import (
    AbstractAction,
    AbstractGroup,
    Densities,
    Images,
    Matrices,
    Points,
    Rotations,
    Unitaries,
)
from geojax.kernels import Cauchy, Gaussian, Matern32, Matern52, Sum
from geojax.metrics import (
    RKHS,
    AbstractMetric,
    Entrywise,
    GaussianGrid,
    Isotropic,
    PauliPenalty,
    Sobolev,
    locality,
)
from systems.particles import angular_momentum, random_particles


@dataclass(frozen=True)
class Space:
    """A geometry and a state.

    Attributes:
        name: for test ids.
        metric, action: the geometry.
        state: where tests start.
        speed: norm of the momenta that tests draw, far inside the injectivity radius.
        options: enough steps for the tolerances of the laws.
        symmetric: whether it is a symmetric space, where ladders are exact.
    """

    name: str
    metric: AbstractMetric
    action: AbstractAction
    state: Any
    speed: float = 0.5
    options: dict[str, Any] = field(default_factory=dict)
    symmetric: bool = False

    def covector(self, seed: int, size: float | None = None):
        """A random momentum whose coordinates have norm `speed`."""
        coordinates = np.random.default_rng(seed).normal(size=self.action.dimension(self.state))
        coordinates *= (self.speed if size is None else size) / np.linalg.norm(coordinates)
        return self.action.covector(self.state, jnp.asarray(coordinates))

    def noether(self, state, momentum):
        """What the symmetries of the geometry conserve."""
        if isinstance(self.action, Points):
            return {
                "linear momentum": jnp.sum(momentum, axis=-2),
                "angular momentum": angular_momentum(state, momentum),
            }
        if isinstance(self.action, Densities):
            return {"mass": jnp.sum(state, axis=-1)}
        if isinstance(self.action, Images):
            return {}  # a grid can be shifted by whole steps only
        assert isinstance(self.action, AbstractGroup)
        # right translations are isometries: the momentum seen from the moving frame
        conserved = jnp.conj(jnp.swapaxes(state, -1, -2)) @ momentum
        return {"momentum in the frame of the state": conserved}

    def departure(self, states) -> float:
        """How far states have left the group."""
        if isinstance(self.action, Points | Matrices | Images | Densities):
            return 0.0
        x = np.asarray(states)
        defect = np.conj(np.swapaxes(x, -1, -2)) @ x - np.eye(x.shape[-1])
        volume = np.linalg.det(x) - 1.0
        return float(max(np.max(np.abs(defect)), np.max(np.abs(volume))))

    def __repr__(self) -> str:
        return self.name


def _near_identity(action: AbstractGroup, size: int, dtype, seed: int):
    """A group element that is not the identity."""
    draw = np.random.default_rng(seed).normal(size=(size, size))
    if np.issubdtype(dtype, np.complexfloating):
        draw = draw + 1j * np.random.default_rng(seed + 1).normal(size=(size, size))
    return action.exponential(action.project(jnp.asarray(0.3 * draw, dtype)))


def _group(name: str, metric, action: AbstractGroup, size: int, dtype: Any = float, **kwargs):
    state = _near_identity(action, size, np.dtype(dtype), seed=11)
    return Space(name, metric, action, state, options={"num_steps": 8}, **kwargs)


def _particles(name: str, kernel, n: int, d: int, **kwargs):
    state, _ = random_particles(5, n, d)
    return Space(name, RKHS(kernel), Points(), state, **{"options": {"num_steps": 60}, **kwargs})


def _symmetric_weights(n: int):
    draw = np.random.default_rng(3).uniform(0.7, 2.5, (n, n))
    return 0.5 * (draw + draw.T)


def _gridded(name: str, metric, action, **kwargs):
    """Values without symmetry, so that no direction is without a price."""
    size = (4, 5, 3)[: action.spacing.shape[0]]
    state = jnp.asarray(np.random.default_rng(7).uniform(0.0, 2.0, size))
    return Space(name, metric, action, state, speed=0.02, options={"num_steps": 20}, **kwargs)


_BUILDERS: dict[str, Callable[[str], Space]] = {
    "gaussian-2d": lambda name: _particles(name, Gaussian(1.0), 4, 2),
    "multiscale-3d": lambda name: _particles(
        name, Sum([Gaussian(0.8), Matern52(1.5)], [1.0, 0.5]), 3, 3
    ),
    "cauchy-1d": lambda name: _particles(name, Cauchy(1.0), 3, 1),
    "matern32-2d": lambda name: _particles(name, Matern32(1.0), 3, 2),
    "su2-berger": lambda name: _group(
        name, PauliPenalty(1, [2.0, 1.0, 0.6]), Unitaries(1), 2, complex
    ),
    "su2-isotropic": lambda name: _group(
        name, Isotropic(0.5), Unitaries(1), 2, complex, symmetric=True
    ),
    "su4-penalty": lambda name: _group(name, PauliPenalty(2, [1.0, 3.0]), Unitaries(2), 4, complex),
    "su8-penalty": lambda name: _group(name, PauliPenalty(3, 3.0), Unitaries(3), 8, complex),
    "so3-isotropic": lambda name: _group(name, Isotropic(), Rotations(3), 3, symmetric=True),
    "so3-inertia": lambda name: _group(name, Entrywise(_symmetric_weights(3)), Rotations(3), 3),
    "so4-inertia": lambda name: _group(name, Entrywise(_symmetric_weights(4)), Rotations(4), 4),
    "gl2-isotropic": lambda name: _group(name, Isotropic(), Matrices(), 2),
    "gl3-locality": lambda name: _group(name, locality(3, 0, 2.0), Matrices(), 3),
    "images-sobolev-2d": lambda name: _gridded(
        name, Sobolev([1.0, 0.8], 0.5, order=2), Images([1.0, 0.8])
    ),
    "images-gaussian-3d": lambda name: _gridded(
        name,
        GaussianGrid([1.0, 0.8, 1.2], 0.5, boundary="periodic"),
        Images([1.0, 0.8, 1.2], "periodic"),
    ),
    "densities-sobolev-1d": lambda name: _gridded(
        name, Sobolev([0.9], [0.6, 1.2], order=1), Densities([0.9])
    ),
    "gl4-locality": lambda name: _group(name, locality(4, 1, 3.0), Matrices(), 4),
}

NAMES = tuple(_BUILDERS)
_built: dict[str, Space] = {}


def space(name: str) -> Space:
    """The space of a name; built once."""
    if name not in _built:
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            _built[name] = _BUILDERS[name](name)
    return _built[name]
