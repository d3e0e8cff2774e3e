"""What holds in every geometry, as numbers that should be zero.

Each function measures by how much a law is broken, so that a test can assert that it is kept and
a negative control that the measure sees when it is not.
"""

import jax
import jax.numpy as jnp
import numpy as np

from geojax._core import trees
from geojax.actions import AbstractAction
from geojax.geodesics import cometric, geodesic_field, hamiltonian, log, momentum_of, shoot
from geojax.geodesics.equation import generic_geodesic_field
from geojax.kernels import Diracs
from geojax.metrics import AbstractMetric
from systems.numerics import largest, relative_error
from systems.spaces import Space


def energies(space: Space, path):
    """The energy at every saved time."""
    return jax.vmap(lambda q, p: hamiltonian(space.metric, space.action, q, p))(
        path.states, path.costates
    )


def energy_change(space: Space, path) -> float:
    """Relative change of the energy along a path."""
    values = np.asarray(energies(space, path))
    return float(np.max(np.abs(values - values[0])) / values[0])


def noether_change(space: Space, path) -> float:
    """Largest change of a conserved quantity along a path, relative to the momentum."""
    found = space.noether(path.states, path.costates)
    size = largest(path.costates[0])
    return max((largest(value - value[:1]) / size for value in found.values()), default=0.0)


def reversal_error(space: Space, path, **options) -> float:
    """Distance from the start after coming back with the opposite momentum."""
    back = shoot(space.metric, space.action, path.end, -path.costates[-1], **options)
    return max(largest(back.end - path.start), largest(back.costates[-1] + path.costates[0]))


def pair(momentum, velocity):
    """Pairing of a momentum with a velocity: at points for Diracs, entry by entry for matrices."""
    if isinstance(momentum, Diracs):
        return jnp.sum(momentum.weights * velocity(momentum.points))
    return trees.pairing(momentum, velocity)


def _flattened(momentum_or_velocity):
    return jax.flatten_util.ravel_pytree(momentum_or_velocity)[0]


def algebra_errors(
    metric: AbstractMetric, action: AbstractAction, state, p, w
) -> dict[str, jax.Array]:
    """Errors of the laws of one instant: the momentum map, the metric, the equation.

    Args:
        metric, action, state: the geometry and where.
        p, w: two momenta there.
    """
    momentum, other = action.momentum(state, p), action.momentum(state, w)
    velocity = metric.sharp(momentum)
    tangent, other_tangent = (cometric(metric, action, state, x) for x in (p, w))
    field = geodesic_field(metric, action, state, p)
    generic = generic_geodesic_field(metric, action, state, p)
    moved = action(velocity, state)
    return {
        "momentum map is the transpose of the action": trees.pairing(w, moved)
        - pair(other, velocity),
        "sharp of flat": _flattened(metric.sharp(metric.flat(velocity))) - _flattened(velocity),
        "flat of sharp": _flattened(metric.flat(velocity)) - _flattened(momentum),
        "energy of the velocity": metric.energy(velocity) - hamiltonian(metric, action, state, p),
        "cometric is symmetric": trees.pairing(w, tangent) - trees.pairing(p, other_tangent),
        "momentum_of inverts the cometric": momentum_of(metric, action, state, tangent) - p,
        "the velocity moves the state": field[0] - moved,
        "fused equation for states": field[0] - generic[0],
        "fused equation for momenta": field[1] - generic[1],
        # chart of the cotangent space
        "coordinates of a covector": action.coordinates(state, tangent)
        @ _coordinates(action, state, w)
        - trees.pairing(w, tangent),
    }


def _coordinates(action, state, covector):
    """Coordinates of a covector in the (linear) chart, by least squares."""
    basis = jnp.eye(action.dimension(state))
    columns = jax.vmap(lambda c: action.covector(state, c))(basis)
    real = jnp.concatenate([jnp.real(columns), jnp.imag(columns)], axis=1)
    wanted = jnp.concatenate([jnp.real(covector), jnp.imag(covector)], axis=0)
    matrix = real.reshape(basis.shape[0], -1).T
    return jnp.linalg.lstsq(matrix, wanted.reshape(-1))[0]


def logarithm_errors(space: Space, momentum, **options) -> dict[str, float]:
    """Errors of the laws of logarithm and distance, for the geodesic of a momentum."""
    metric, action, start = space.metric, space.action, space.state
    path = shoot(metric, action, start, momentum, **options)
    there = log(metric, action, start, path.end, **options)
    back = log(metric, action, path.end, start, **options)
    halfway = path.states[path.states.shape[0] // 2]
    first = log(metric, action, start, halfway, **options)
    second = log(metric, action, halfway, path.end, **options)
    length = float(path.length)
    return {
        "log of exp": relative_error(there.momentum, momentum),
        "exp of log": float(there.residual),
        "reported residual": abs(float(jnp.linalg.norm(there.path.end - path.end)))
        - float(there.residual),
        "distance": float(there.distance) / length - 1,
        "distance is symmetric": float(there.distance - back.distance) / length,
        # as velocities, since momenta of densities are known up to a constant only
        "log back is the end momentum": relative_error(
            cometric(metric, action, path.end, back.momentum),
            -cometric(metric, action, path.end, there.path.costates[-1]),
        ),
        "distance adds up along a geodesic": float(first.distance + second.distance) / length - 1,
        "speed is constant": float(first.distance - second.distance) / length,
    }
