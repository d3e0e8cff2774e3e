"""Where geodesics of two qubits stop being the shortest, and where they meet their neighbours."""

import jax
import jax.numpy as jnp
import numpy as np

from geojax.metrics import PauliPenalty
from geojax.quantum import conjugate_points, cut_time, isotropic_distance, lax

PRICES = (1.0, 4.0, 16.0)  # of strings of weight 2
# what drives the geodesic at the start; the lengths of the parts are made one by the metric
DIRECTIONS = {
    "XI": {"XI": 1.0},
    "ZZ": {"ZZ": 1.0},
    "XI + ZZ": {"XI": 1.0, "ZZ": 1.0},
    "XX + YY + ZZ": {"XX": 1.0, "YY": 1.0, "ZZ": 1.0},
}
LONGEST, BISECTIONS = 8.0, 12


def cut_points(full: bool) -> dict:
    """Cut and first conjugate lengths, up to a phase, for each direction and price."""
    rows = []
    for name in DIRECTIONS if full else ("XI", "XI + ZZ"):
        for price in PRICES if full else (1.0, 4.0):
            metric = PauliPenalty(2, [1.0, price])
            momentum = unit_momentum(metric, DIRECTIONS[name])
            cut = float(cut_time(
                metric, momentum, t1=LONGEST, num_bisections=BISECTIONS, phase_free=True,
                num_starts=24, num_steps=16,
            ))  # fmt: skip
            conjugate = float(conjugate_points(metric, momentum, t1=LONGEST).times[0])
            rows.append([name, price, cut, conjugate])
            print(rows[-1], flush=True)
    errors = [abs(cut - isotropic_cut(DIRECTIONS[n])) for n, price, cut, _ in rows if price == 1]
    known = [(cut, conjugate) for *_, cut, conjugate in rows if np.isfinite([cut, conjugate]).all()]
    return {
        "longest": LONGEST,
        "resolution": LONGEST * 2**-BISECTIONS,
        "largest_error_at_one_price": max(errors),
        "both_known": len(known),
        "latest_cut_over_conjugate": max(cut / conjugate for cut, conjugate in known),
        "direction_price_cut_conjugate": [
            [n, p, *(x if np.isfinite(x) else None for x in (cut, conjugate))]
            for n, p, cut, conjugate in rows
        ],
    }


def unit_momentum(metric: PauliPenalty, direction: dict):
    """Of the velocity along a direction whose parts cost the same and that costs one."""
    labels = metric.labels[1:]
    parts = jnp.zeros(len(labels)).at[jnp.array([labels.index(n) for n in direction])].set(1.0)
    return jnp.sqrt(metric.penalties[1:]) * parts / jnp.linalg.norm(parts)


def isotropic_cut(direction: dict) -> float:
    """Where `exp(-i H t)` is first longer than the shortest logarithm, by bisection."""
    hamiltonian = lax.matrix(unit_momentum(PauliPenalty(2), direction))
    low, high = 0.0, LONGEST
    for _ in range(40):
        middle = 0.5 * (low + high)
        end = jax.scipy.linalg.expm(-1j * middle * hamiltonian)
        longer = float(isotropic_distance(end)) < middle * (1 - 1e-9)
        low, high = (low, middle) if longer else (middle, high)
    return 0.5 * (low + high)
