"""Particles with closed forms: two landmarks on a line, two peakons."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy.integrate import quad

from geojax.kernels import Gaussian, Laplace
from geojax.metrics import RKHS


def random_particles(seed: int, n: int, d: int, dtype=jnp.float64):
    """Positions about one kernel scale apart and momenta of size one over n, `[n, d]` each."""
    rng = np.random.default_rng(seed)
    side = int(np.ceil(n ** (1 / d)))
    grid = np.stack(np.meshgrid(*[np.arange(side)] * d), axis=-1).reshape(-1, d)[:n]
    positions = 0.8 * grid + rng.uniform(-0.2, 0.2, (n, d))
    momenta = rng.normal(size=(n, d))
    return jnp.asarray(positions, dtype), jnp.asarray(momenta, dtype)


def angular_momentum(positions, momenta):
    """`sum_i (q_i p_i^T - p_i q_i^T)`, of one state or a stack of them."""
    moment = jnp.einsum("...ni,...nj->...ij", positions, momenta)
    return moment - jnp.swapaxes(moment, -1, -2)


class TwoLandmarks:
    """Landmarks at -r/2 and r/2 with a kernel of value one at zero; r is the only shape.

    The metric is `ds^2 = 2 dc^2 / (1 + k(r)) + dr^2 / (2 (1 - k(r)))` with c the centre.
    """

    def __init__(self, kernel):
        self.kernel = kernel
        self.metric = RKHS(kernel)

    @staticmethod
    def state(r, centre=0.0, dtype=jnp.float64):
        """Positions, `[2, 1]`."""
        return jnp.asarray([[centre - r / 2], [centre + r / 2]], dtype)

    def value(self, r):
        """The kernel at distance r."""
        return self.kernel.profile(jnp.square(jnp.asarray(r, jnp.float64)))

    def distance(self, r0: float, r1: float) -> float:
        """Length from distance r0 to r1 about a fixed centre, by quadrature or closed form."""
        if isinstance(self.kernel, Laplace):
            scale = float(self.kernel.scale)
            ends = [np.sqrt(2) * np.arccosh(np.exp(r / scale / 2)) for r in (r0, r1)]
            return scale * abs(ends[1] - ends[0])
        assert isinstance(self.kernel, Gaussian)
        scale = float(self.kernel.scale)

        def speed(r):
            return 1.0 / np.sqrt(-2.0 * np.expm1(-0.5 * (r / scale) ** 2))

        return abs(quad(speed, r0, r1, epsabs=1e-13, epsrel=1e-13)[0])

    def curvature(self, r):
        """Gaussian curvature; agrees with Micheli, Michor and Mumford 2012."""
        first = jax.grad(self.value)
        k, dk, ddk = self.value(r), first(r), jax.grad(first)(r)
        return (1 - k) / (1 + k) * ddk - (2 - k) / (1 + k) ** 2 * dk**2


class TwoPeakons:
    """Two peakons of the Camassa-Holm equation, `k(x) = exp(-|x|)`, in closed form.

    Args:
        lambdas: two positive numbers; the inverse eigenvalues of the Lax matrix.
        weights: two positive numbers b(0).

    Reference: `[camassa1993integrable]`, `[beals1999multipeakons]`, `[beals2000multipeakons]`.
    """

    metric = RKHS(Laplace(1.0))

    def __init__(self, lambdas=(1.0, 0.4), weights=(1.0, 2.0)):
        self.lambdas = np.asarray(lambdas)
        self.weights = np.asarray(weights)

    def state(self, t: float):
        """Positions and momenta at time t, `[2, 1]` each."""
        (l1, l2), (b1, b2) = self.lambdas, self.weights * np.exp(t / self.lambdas)
        x1 = np.log((l1 - l2) ** 2 * b1 * b2 / (l1**2 * b1 + l2**2 * b2))
        x2 = np.log(b1 + b2)
        m1 = (l1**2 * b1 + l2**2 * b2) / (l1 * l2 * (l1 * b1 + l2 * b2))
        m2 = (b1 + b2) / (l1 * b1 + l2 * b2)
        return jnp.array([[x1], [x2]]), jnp.array([[m1], [m2]])

    @property
    def energy(self) -> float:
        """The conserved Hamiltonian."""
        return 0.5 * float(np.sum(self.lambdas**-2))

    @staticmethod
    def lax_eigenvalues(positions, momenta):
        """Conserved eigenvalues of `sqrt(m_i m_j) exp(-|x_i - x_j| / 2)`, increasing."""
        x, m = np.asarray(positions)[:, 0], np.asarray(momenta)[:, 0]
        matrix = np.sqrt(np.outer(m, m)) * np.exp(-np.abs(np.subtract.outer(x, x)) / 2)
        return np.linalg.eigvalsh(matrix)
