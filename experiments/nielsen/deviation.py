"""Geodesic deviation on three qubits: how fast neighbouring curves of two-local Hamiltonians part.

A Jacobi field K(t) obeys `K' = F(D) - i [H, K]`, `D' = i ([D, H] + [L, F(D)])`, with the momentum
`L = G(H)` and its variation D. Where H is two-local, `L = H`; its geodesic is then `exp(-i H t)`,
and the heavy part of D only turns: `D' = i [D - F(D), H]`.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from geojax._core.linalg import dagger
from geojax.actions import Unitaries
from geojax.geodesics import sectional_curvature
from geojax.metrics import PauliPenalty
from geojax.quantum import lax, random_controls

PRICES = (1.0, 2.0, 4.0, 16.0, 64.0)
TIMES = 2.0 ** np.arange(-4, 6)
STEPS = 1024  # of a geodesic that is none of one Hamiltonian
LATE = 4.0  # from here on growth is fitted
SHORT = 1e-3  # so that a field is its first two terms
LAYER = 0.5  # length of a layer, where the Hamiltonian changes
CHECKED = 4.0


def deviation(full: bool) -> dict:
    """Largest growth of a Jacobi field, over the time that it would take without curvature."""
    draws = 5 if full else 1
    out = {"times": TIMES.tolist(), "prices": {}}
    for price in PRICES:
        metric = PauliPenalty(3, price)
        prices = metric.penalties[1:]
        rows = {"one Hamiltonian": [], "layers": [], "any geodesic": []}
        below = []
        for seed in range(draws):
            key = jax.random.key(seed)
            layers = random_controls(3, round(TIMES[-1] / LAYER), key).hamiltonians
            layers = jax.vmap(lax.coefficients)(layers)
            layers = layers / jnp.linalg.norm(layers, axis=1, keepdims=True)
            rows["one Hamiltonian"].append(along(layers[:1], prices, TIMES))
            rows["layers"].append(along(layers, prices, TIMES))
            momentum = jnp.sqrt(prices) * jax.random.normal(key, prices.shape)
            momentum = momentum / jnp.sqrt(jnp.sum(momentum**2 / prices))
            rows["any geodesic"].append(along_geodesic(momentum, prices, STEPS))
            short = along(layers[:1], prices, [SHORT])[0]
            below.append(6 * (1 - short) / SHORT**2)
        found = {name: np.exp(np.mean(np.log(row), axis=0)) for name, row in rows.items()}
        out["prices"][str(price)] = {
            "least_curvature": float(np.mean(below)),
            "of_one_triple": 4 - 3 * price,  # of single light strings whose product is heavy
            "growth_over_time": {name: list(map(float, v)) for name, v in found.items()},
            "late_power": {name: late_power(values) for name, values in found.items()},
        }
        print("price", price, out["prices"][str(price)], flush=True)
    out["curvature_check"] = curvature_check()
    return out


def late_power(values) -> float:
    """p of a field that grows like t^p in the end."""
    late = TIMES >= LATE
    return float(np.polyfit(np.log(TIMES[late]), np.log((values * TIMES)[late]), 1)[0])


def turning(hamiltonian):
    """`x -> i [x, H]` in Pauli coefficients."""
    eye = jnp.eye(hamiltonian.shape[0], dtype=hamiltonian.dtype)
    h = lax.matrix(hamiltonian)

    def column(x):
        x = lax.matrix(x)
        return lax.coefficients(1j * (x @ h - h @ x))

    return jax.vmap(column)(eye).T


def amplification(fields, prices, times):
    """Largest singular values of `K(t) / t`, both ends measured in the metric."""
    root = jnp.sqrt(prices)
    measured = root[:, None] * fields * root
    return np.asarray(jnp.linalg.norm(measured, ord=2, axis=(-2, -1)) / times)


@jax.jit
def _propagators(layers, prices, duration):
    def one(hamiltonian):
        m = turning(hamiltonian)
        inverse = jnp.diag(1 / prices)
        # L = H: the layers are two-local
        blocks = jnp.block([[m, inverse], [jnp.zeros_like(m), m - m @ inverse]])
        return jax.scipy.linalg.expm(duration * blocks)

    return jax.vmap(one)(layers)


def along(layers, prices, times) -> np.ndarray:
    """Along Hamiltonians of unit length, one after another (one alone stays)."""
    size = prices.shape[0]
    start = jnp.concatenate([jnp.zeros((size, size)), jnp.eye(size)])
    if len(layers) == 1:
        ends = [_propagators(layers, prices, jnp.asarray(t))[0] @ start for t in times]
    else:
        whole = _propagators(layers, prices, jnp.asarray(LAYER))
        ends = []
        for t in times:
            state, count = start, int(t / LAYER)
            for k in range(count):
                state = whole[k] @ state
            if t > count * LAYER:
                state = (
                    _propagators(layers[count : count + 1], prices, t - count * LAYER)[0] @ state
                )
            ends.append(state)
    return amplification(jnp.stack(ends)[:, :size], prices, jnp.asarray(times))


@partial(jax.jit, static_argnames="num_steps")
def _fields(momentum, inverse_prices, num_steps):
    """Jacobi fields of a geodesic at the times, as velocities."""
    marks = np.round(TIMES / TIMES[-1] * num_steps).astype(int)

    def path(momentum):
        return lax.geodesic(momentum, inverse_prices, num_steps=num_steps, time=TIMES[-1])[marks]

    unitaries = path(momentum)
    basis = jnp.eye(momentum.shape[0], dtype=momentum.dtype)
    tangents = jax.vmap(lambda e: jax.jvp(path, (momentum,), (e,))[1])(basis)
    moved = 1j * tangents @ dagger(unitaries)[None]
    return jnp.moveaxis(jax.vmap(jax.vmap(lax.coefficients))(moved), 0, -1)


def along_geodesic(momentum, prices, steps: int) -> np.ndarray:
    fields = _fields(momentum, 1 / prices, steps)
    return amplification(fields, prices, jnp.asarray(TIMES))


def curvature_check() -> list[float]:
    """The least curvature of planes with XXI: of a short field, of the package, in closed form."""
    metric, action = PauliPenalty(3, CHECKED), Unitaries(3)
    labels = metric.labels[1:]
    first, second = (jnp.zeros(63).at[labels.index(label)].set(1.0) for label in ("XXI", "IYZ"))
    short = along(first[None], metric.penalties[1:], [SHORT])[0]
    eye = jnp.eye(8, dtype=complex)
    planes = [action.lift(eye, lax.matrix(x) / 8) for x in (first, second)]
    return [
        float(6 * (1 - short) / SHORT**2),
        float(sectional_curvature(metric, action, eye, *planes)),
        4 - 3 * CHECKED,
    ]
