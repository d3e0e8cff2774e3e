"""Groups with closed forms: Berger spheres, Milnor's curvatures, the rigid body, gl(n)."""

import itertools

import jax.numpy as jnp
import numpy as np
from scipy.integrate import solve_ivp
from scipy.linalg import expm
from scipy.special import ellipj

from geojax._core import pauli
from geojax.actions import Matrices, Rotations, Unitaries
from geojax.metrics import Entrywise, PauliPenalty

PAULI = np.array([[[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]]])


def pauli_string(name: str):
    """The matrix of a Pauli string such as `XIZ`."""
    index = pauli.labels(len(name)).index(name)
    return pauli.from_coefficients(jnp.zeros(4 ** len(name)).at[index].set(1.0))


def hamiltonian_of(coefficients):
    """Traceless Hermitian matrix of `4^n - 1` Pauli coefficients."""
    coefficients = jnp.asarray(coefficients, float)
    return pauli.from_coefficients(jnp.concatenate([jnp.zeros(1), coefficients]))


class BergerSphere:
    """SU(2) with `|X_1| = epsilon`, `|X_2| = |X_3| = 1`: a three-sphere squeezed along fibres.

    In this normalisation `[X_1, X_2] = 2 X_3`, so `X_a = -i sigma_a`: the velocity `sigma_a` of
    a one-qubit path. Its Pauli penalties are the squares of the three lengths. geojax's metrics
    are right-invariant, so factors stand in the opposite order to the left-invariant literature.
    """

    action = Unitaries(1)
    identity = jnp.eye(2, dtype=complex)

    def __init__(self, epsilon: float):
        self.epsilon = epsilon
        self.metric = PauliPenalty(1, [epsilon**2, 1.0, 1.0])

    def momentum(self, v):
        """Momentum at the identity of the velocity `sum_a v_a X_a`."""
        return self.action.lift(self.identity, self.metric.flat(hamiltonian_of(v)))

    def speed(self, v) -> float:
        """Norm of the velocity `sum_a v_a X_a`."""
        return float(np.sqrt((self.epsilon * v[0]) ** 2 + v[1] ** 2 + v[2] ** 2))

    def geodesic(self, v, t):
        """The geodesic from the identity with velocity v, at time t."""
        generators = -1j * PAULI
        vertical = v[0] * generators[0]
        horizontal = v[1] * generators[1] + v[2] * generators[2]
        squared = self.epsilon**2
        return expm(t * (1 - squared) * vertical) @ expm(t * (squared * vertical + horizontal))

    @staticmethod
    def fibre(phi):
        """The point `exp(phi X_1)` of the fibre through the identity."""
        return jnp.asarray(expm(-1j * phi * PAULI[0]))

    def fibre_distance(self, phi: float) -> float:
        """Distance from the identity to `exp(phi X_1)`, 0 <= phi <= pi."""
        squared = self.epsilon**2
        if squared <= 1 or phi <= np.pi / squared:
            return self.epsilon * phi
        return float(np.sqrt(np.pi**2 - squared * (np.pi - phi) ** 2 / (squared - 1)))

    def fibre_velocity(self, phi: float):
        """Velocity of a shortest geodesic that is there at time one."""
        squared = self.epsilon**2
        if squared <= 1 or phi <= np.pi / squared:
            return np.array([phi, 0.0, 0.0])
        vertical = (np.pi - phi) / (squared - 1)
        return np.array([vertical, np.sqrt(np.pi**2 - (squared * vertical) ** 2), 0.0])

    @property
    def diameter(self) -> float:
        """Reference: `[podobryaev2018diameter]`."""
        if self.epsilon >= 1:
            return np.pi
        if self.epsilon >= np.sqrt(0.5):
            return np.pi * self.epsilon
        return np.pi / (2 * np.sqrt(1 - self.epsilon**2))


class Milnor:
    """Curvature of a unimodular three-dimensional group with an orthonormal frame.

    Args:
        structure: the constants with `[e_1, e_2] = l_3 e_3` and so on in turn.
    """

    def __init__(self, structure):
        self.structure = np.asarray(structure, float)
        self.mu = 0.5 * self.structure.sum() - self.structure

    @classmethod
    def of_prices(cls, prices, bracket=2.0):
        """Three elements with `[x_a, x_b] = bracket * x_c` whose squared lengths are `prices`."""
        g1, g2, g3 = prices
        return cls(bracket * np.sqrt([g1 / (g2 * g3), g2 / (g3 * g1), g3 / (g1 * g2)]))

    def sectional(self, a: int, b: int) -> float:
        """Curvature of the plane of e_a and e_b."""
        (c,) = {0, 1, 2} - {a, b}
        return self.mu[c] * self.structure[c] - self.mu[a] * self.mu[b]

    def ricci(self):
        """The three principal Ricci curvatures."""
        m1, m2, m3 = self.mu
        return 2 * np.array([m2 * m3, m3 * m1, m1 * m2])


def pauli_triples(num_qubits: int):
    """Names of all triples (a, b, c) of Pauli strings with a b = +-i c, each pair once."""
    names = pauli.labels(num_qubits)[1:]
    for a, b in itertools.combinations(names, 2):
        if sum(x != y and "I" not in (x, y) for x, y in zip(a, b, strict=True)) % 2:
            yield a, b, "".join(_product(x, y) for x, y in zip(a, b, strict=True))


def _product(x: str, y: str) -> str:
    if "I" in (x, y):
        return x if y == "I" else y
    return "I" if x == y else ({"X", "Y", "Z"} - {x, y}).pop()


class RigidBody:
    """A free rigid body: SO(3) with moments of inertia, `m' = w x m` for the momentum m = I w.

    geojax's metrics are right-invariant: the velocity that is constant for a state at rest is
    the spatial one, and Euler's equations run backwards in time.

    Args:
        inertia: three increasing moments.
    """

    action = Rotations(3)
    identity = jnp.eye(3)

    def __init__(self, inertia=(1.0, 1.7, 2.9)):
        self.inertia = np.asarray(inertia)
        weights = np.ones((3, 3))
        for a, (b, c) in enumerate(((1, 2), (2, 0), (0, 1))):
            weights[b, c] = weights[c, b] = self.inertia[a]
        self.metric = Entrywise(weights)

    @staticmethod
    def hat(w):
        """The skew matrix with `hat(w) x = w x x`."""
        return jnp.asarray([[0.0, -w[2], w[1]], [w[2], 0.0, -w[0]], [-w[1], w[0], 0.0]])

    @staticmethod
    def vee(matrix):
        """Inverse of `hat`, of one matrix or a stack."""
        return np.stack([matrix[..., 2, 1], matrix[..., 0, 2], matrix[..., 1, 0]], axis=-1)

    def momentum(self, w):
        """Momentum at the identity of the angular velocity w."""
        return self.action.lift(self.identity, self.metric.flat(self.hat(w)))

    def velocity(self, t, first=0.9, third=1.1):
        """Angular velocity in Jacobi's elliptic functions, `[..., 3]`.

        At time zero it is `-(first, 0, third)`.
        """
        i1, i2, i3 = self.inertia
        rate = third * np.sqrt((i3 - i1) * (i3 - i2) / (i1 * i2))
        second = first * i1 * rate / ((i3 - i2) * third)
        modulus = (i2 - i1) * first * second / (i3 * third * rate)
        assert 0 < modulus < 1
        sn, cn, dn, _ = ellipj(rate * np.asarray(t), modulus)
        return -np.stack([first * cn, second * sn, third * dn], axis=-1)

    def integrate(self, w, times):
        """Rotations and angular velocities by an independent integration, `[k, 3, 3]`, `[k, 3]`."""

        def rates(t, y):
            angular = y[:3] / self.inertia
            turn = np.asarray(self.hat(angular)) @ y[3:].reshape(3, 3)
            return np.concatenate([np.cross(angular, y[:3]), turn.reshape(-1)])

        start = np.concatenate([self.inertia * np.asarray(w), np.eye(3).reshape(-1)])
        found = solve_ivp(
            rates, (times[0], times[-1]), start, "DOP853", t_eval=times, rtol=1e-13, atol=1e-14
        )
        return found.y[3:].T.reshape(-1, 3, 3), found.y[:3].T / self.inertia


class IsotropicLinear:
    """gl(n) with all prices one: `X(t) = exp(t (A - A^T)) exp(t A^T)`."""

    action = Matrices()

    @staticmethod
    def geodesic(velocity, t):
        """The geodesic from the identity with a velocity, at time t."""
        velocity = np.asarray(velocity)
        return expm(t * (velocity - velocity.T)) @ expm(t * velocity.T)
