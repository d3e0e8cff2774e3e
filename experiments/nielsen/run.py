"""Nielsen's geometry on one to three qubits: distances, cut points, growth, deviation, faults.

    python experiments/nielsen/run.py            # a few minutes
    python experiments/nielsen/run.py --full     # the README

Writes `results.json` and `figure.png` into `--out`.
"""

import argparse
import json
import math
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from cut_points import cut_points
from deviation import deviation
from draw import figure
from faults import faults, networks
from growth import gate_count, growth

from geojax.metrics import PauliPenalty
from geojax.quantum import (
    Controls,
    as_target,
    conjugate_points,
    cut_time,
    gate,
    isotropic_distance,
    lax,
    nielsen_complexity,
    random_controls,
    shortest_controls,
)

HERE = Path(__file__).parent
GATES = ("x", "h", "s", "t", "cx", "swap", "iswap", "sqrtswap", "ccx", "cswap", "qft2", "qft3")
ONE_QUBIT = [1.0, 2.0, 4.0]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="all draws of the README")
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), help="only these")
    parser.add_argument("--out", type=Path, default=HERE / "outcome", help="folder to write in")
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    options.out.mkdir(parents=True, exist_ok=True)
    place = options.out / "results.json"
    found = json.loads(place.read_text()) if options.parts and place.exists() else {}
    for name in options.parts or PARTS:
        start = time.perf_counter()
        found[name] = PARTS[name](options.full)
        found[name]["seconds"] = round(time.perf_counter() - start, 1)
        place.write_text(json.dumps(found, indent=1) + "\n")
        short = {
            key: value for key, value in found[name].items() if not isinstance(value, list | dict)
        }
        print(name, json.dumps(short), flush=True)
    if set(PARTS) <= set(found):
        (options.out / "figure.png").write_bytes(figure(found))
    return 0


def gates(full: bool) -> dict:
    """Isotropic distances against the shortest of all logarithms, found by trying them."""
    table, worst = [], 0.0
    for name in GATES:
        found = float(isotropic_distance(as_target(name)))
        worst = max(worst, abs(found - brute_force(gate(name))))
        table.append([name, found])
    return {"largest_error": worst, "table": table}


def brute_force(unitary: np.ndarray) -> float:
    """Norm of the shortest traceless logarithm over all phases that leave determinant one."""
    angles = -np.angle(np.linalg.eigvals(unitary))
    size, best = len(angles), math.inf
    shift = -angles.sum() / size
    for root in range(size):
        turned = angles + shift + 2 * np.pi * root / size
        turned -= 2 * np.pi * np.round(turned / (2 * np.pi))
        # whole turns, one at a time, where they cost least, until the trace vanishes
        while abs(trace := turned.sum()) > 1e-6:
            moved = turned - 2 * np.pi * np.sign(trace)
            cheapest = np.argmin(moved**2 - turned**2)
            turned[cheapest] = moved[cheapest]
        best = min(best, float(np.linalg.norm(turned)) / math.sqrt(size))
    return best


def one_qubit(full: bool) -> dict:
    """Random targets with three prices: geodesics against controls shortened directly."""
    count, slices = (100, 256) if full else (10, 64)
    metric = PauliPenalty(1, ONE_QUBIT)
    targets = random_unitaries(count, 2, seed=0)
    solve = jax.jit(lambda u: nielsen_complexity(u, metric, throw=False))
    found = jax.lax.map(solve, targets, batch_size=10)
    above = []
    for k in range(count):
        direct = shortest_controls(
            np.asarray(targets[k]), metric, num_slices=slices, num_starts=8, throw=False
        )
        above.append(float(direct.length - found.distance[k]))
    return {
        "targets": count,
        "slices": slices,
        "reached": int(jnp.sum(jnp.isfinite(found.distance))),
        "conjugate_point_before_the_end": int(jnp.sum(found.conjugate_time < 1 - 1e-6)),
        "largest_residual": float(jnp.max(found.residual)),
        "direct_above_by_at_most": float(np.max(above)),
        "direct_above_by_at_least": float(np.min(above)),
        "starts_that_agree": float(jnp.mean(found.num_agreed)),
    }


def berger(full: bool) -> dict:
    """Conjugate lengths and diameters of Berger spheres, in closed form; cut and conjugate."""
    squares = (1.21, 1.44, 1.69, 2.0) if full else (1.44,)
    error = 0.0
    for squared in squares:
        metric = PauliPenalty(1, [squared, 1.0, 1.0])
        momentum = jnp.array([squared * math.pi, 0.0, 0.0])
        points = conjugate_points(metric, momentum, t1=1.0)
        error = max(error, abs(float(points.lengths[0]) - math.pi / math.sqrt(squared)))
    isotropic = conjugate_points(PauliPenalty(1), jnp.array([math.pi, 0.0, 0.0]), t1=0.99)
    rows, epsilon = [], 0.7
    metric = PauliPenalty(1, [epsilon**2, 1.0, 1.0])
    for tilt in np.linspace(0, math.pi / 2, 9 if full else 3):
        velocity = np.array([math.cos(tilt) / epsilon, math.sin(tilt), 0.0])
        momentum = jnp.asarray(math.pi * velocity * [epsilon**2, 1, 1])
        cut = float(cut_time(metric, momentum, t1=1.5, num_bisections=14, num_starts=24)) * math.pi
        conjugate = float(conjugate_points(metric, momentum, t1=1.5).lengths[0])
        rows.append([float(tilt), finite(cut), finite(conjugate)])
    return {
        "largest_error_of_conjugate_lengths": error,
        "isotropic_conjugate_points": int(jnp.sum(jnp.isfinite(isotropic.times))),
        "epsilon": epsilon,
        "tilt_cut_conjugate": rows,
    }


def diameters(full: bool) -> dict:
    """Of Berger spheres, against Podobryaev's formula; the farthest points are turns about Y."""
    rows = []
    for epsilon in (0.5, 0.6, 0.8, 1.3) if full else (0.6,):
        metric = PauliPenalty(1, [epsilon**2, 1.0, 1.0])

        def distance(turn, metric=metric):
            target = lax.exponential(-0.25j * turn * lax.matrix(jnp.array([0.0, 1.0, 0.0])))
            target = target @ target @ target @ target
            found = nielsen_complexity(target, metric, phase_free=False, num_starts=48, throw=False)
            return found.distance

        solve = jax.jit(lambda turns, d=distance: jax.lax.map(d, turns, batch_size=3))
        low, high = 0.5 * math.pi, math.pi
        for _ in range(5):
            turns = np.linspace(low, high, 13)
            found = np.asarray(solve(jnp.asarray(turns)))
            best = int(np.nanargmax(found))
            low, high = turns[max(best - 1, 0)], turns[min(best + 1, 12)]
        truth = math.pi if epsilon >= 1 else math.pi * epsilon
        if epsilon < math.sqrt(0.5):
            truth = math.pi / (2 * math.sqrt(1 - epsilon**2))
        rows.append([epsilon, float(np.nanmax(found)), truth])
    errors = [abs(found - truth) for _, found, truth in rows]
    return {"largest_error": max(errors), "epsilon_found_formula": rows}


def switchback(full: bool) -> dict:
    """`C(U' W U) <= 2 C(U) + C(W)`, for random U and a small W on one qubit."""
    count = 50 if full else 5
    metric = PauliPenalty(2, [1.0, 4.0])
    solve = jax.jit(
        lambda u: nielsen_complexity(u, metric, num_starts=24, num_steps=16, throw=False).distance
    )
    fault = Controls([[0.2]], ["XI"]).unitary()
    rows = []
    for seed in range(count):
        unitary = random_controls(2, 4 + seed % 8, jax.random.key(seed), scale=0.15).unitary()
        values = [solve(u) for u in (unitary, fault, unitary.conj().T @ fault @ unitary)]
        rows.append([finite(float(v)) for v in values])
    table = np.array(rows, float)
    slack = 2 * table[:, 0] + table[:, 1] - table[:, 2]
    known = np.isfinite(slack)
    return {
        "draws": count,
        "searched_with_success": int(known.sum()),
        "held": int(np.sum(slack[known] >= -1e-8)),
        "least_slack": float(np.min(slack[known])),
        "rows": rows,
    }


PARTS = {
    "gates": gates,
    "one_qubit": one_qubit,
    "berger": berger,
    "diameters": diameters,
    "growth": growth,
    "gate_count": gate_count,
    "switchback": switchback,
    "faults": faults,
    "networks": networks,
    "deviation": deviation,
    "cut_points": cut_points,
}


def random_unitaries(count: int, size: int, seed: int):
    """Uniform in SU(N)."""
    rng = np.random.default_rng(seed)
    draws = rng.normal(size=(count, size, size)) + 1j * rng.normal(size=(count, size, size))
    q, r = np.linalg.qr(draws)
    q = q * (np.diagonal(r, axis1=1, axis2=2) / np.abs(np.diagonal(r, axis1=1, axis2=2)))[:, None]
    return jnp.asarray(q / np.linalg.det(q)[:, None, None] ** (1 / size))


def finite(value: float) -> float | None:
    """JSON has no infinity."""
    return value if math.isfinite(value) else None


if __name__ == "__main__":
    raise SystemExit(main())
