"""How complexity grows along curves of two-local Hamiltonians: what is linear and what a root."""

import math
import zlib
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from geojax.metrics import PauliPenalty
from geojax.quantum import (
    Controls,
    isotropic_distance,
    local_strings,
    nielsen_complexity,
    random_controls,
    shortest_controls,
)

# qubits -> prices, scale of a layer's coefficients, starts and steps of the search
PLANS = {
    "2": (PauliPenalty(2, [1.0, 4.0]), 0.15, 32, 16),
    "3": (PauliPenalty(3, 16.0), 0.10, 24, 12),
}
REACHED = 1e-5  # residual; what it hides of a length is far below the digits told here
FINER = 4  # times smaller are the layers that stand for Brownian motion
# kind of curve -> where complexity is measured: layers, finer layers, or units of length
MARKS = {
    "layers": (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64),
    "brownian": (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024),
    "hamiltonian": (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 6.0, 8.0, 12.0),
}
FEW = {
    "layers": (1, 2, 4, 8, 16, 32, 64),
    "brownian": (1, 4, 16, 64, 256, 512, 1024),
    "hamiltonian": (0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 8.0),
}
MORE_GATES = (2, 4, 6, 8, 12, 16, 24, 32, 48, 64)  # of three qubits
TURN, GATES = 0.4, (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)  # of the circuits whose gates are counted
RISE = 0.8  # share of the plateau below which a curve counts as growing
LAST = 2  # points that make the plateau


def growth(full: bool) -> dict:
    """Complexity along random layers, Brownian motion, and a fixed Hamiltonian's evolution."""
    out = {"2": along_curves("2", MARKS, 8) if full else along_curves("2", FEW, 2)}
    if full:
        out["3"] = along_curves("3", FEW, 3)
    return out


def gate_count(full: bool) -> dict:
    """Cost F1, the sum of all turns of gates, beside the length at one price for all."""
    out = {"2": along_gates(2, GATES if full else GATES[:7:2], 6 if full else 2)}
    if full:
        out["3"] = along_gates(3, MORE_GATES, 3)
    return out


def along_gates(num_qubits: int, marks, draws: int) -> dict:
    """Circuits that turn by one angle about random strings of weight one and two."""
    metric, rows, lowered = PauliPenalty(num_qubits, math.inf), [], 0
    labels = local_strings(num_qubits)
    for seed in range(draws):
        strings = jax.random.randint(jax.random.key(seed), (marks[-1],), 0, len(labels))
        controls = Controls(TURN * jax.nn.one_hot(strings, len(labels)), labels, 1.0)
        ends = controls.unitaries()
        found = [
            float(shortest_controls(
                ends[k], metric, order=1, priced=False, num_slices=12, num_starts=16,
                num_iterations=200, throw=False,
            ).length)
            for k in marks
        ]  # fmt: skip
        straight = [float(isotropic_distance(ends[k])) for k in marks]
        walked = [TURN * k for k in marks]
        raw = [c if math.isfinite(c) else math.inf for c in found]
        counted = envelope(raw, walked).tolist()
        lowered += sum(c < r * 0.999 for c, r in zip(counted, raw, strict=True))
        rows.append([walked, counted, straight])
    walked, counted, straight = (np.array(column) for column in zip(*rows, strict=True))
    found = {
        "gates": list(marks),
        "turn": TURN,
        "counted": counted.tolist(),
        "length": straight.tolist(),
        "lowered_by_neighbours": lowered,
        **fitted(walked[0], counted, "counted_"),
        **fitted(walked[0], straight, "length_"),
    }
    print(num_qubits, "qubits, gates", found, flush=True)
    return found


def along_curves(name: str, marks: dict, draws: int) -> dict:
    metric, _, starts, steps = PLANS[name]
    solve = jax.jit(partial(complexity, metric=metric, starts=starts, steps=steps))
    found = {}
    for kind, places in marks.items():
        rows = [measured(name, kind, places, seed, solve) for seed in range(draws)]
        lengths, raw, below = (np.array(column) for column in zip(*rows, strict=True))
        enveloped = np.array([envelope(c, l) for c, l in zip(raw, lengths, strict=True)])
        found[kind] = {
            "marks": list(places),
            "length": lengths.tolist(),
            "complexity": enveloped.tolist(),
            "isotropic": below.tolist(),
            "missed": int(np.sum(~np.isfinite(raw))),
            "lowered_by_neighbours": int(np.sum(enveloped < raw - 1e-6)),
            **fitted(np.mean(lengths, axis=0), enveloped, ""),
            **fitted(np.mean(lengths, axis=0), below, "isotropic_"),
        }
        short = {key: value for key, value in found[kind].items() if not isinstance(value, list)}
        print(name, "qubits,", kind, short, flush=True)
    return found


def complexity(unitary, *, metric, starts, steps):
    found = nielsen_complexity(
        unitary, metric, num_starts=starts, num_steps=steps, tolerance=REACHED, throw=False
    )
    return found.distance, found.lower_bound


def measured(name: str, kind: str, marks, seed: int, solve) -> tuple[list, list, list]:
    """Lengths of a curve at the marks, complexities found there, and bounds from below."""
    metric, scale, _, _ = PLANS[name]
    key = jax.random.fold_in(jax.random.key(seed), zlib.crc32(kind.encode()))
    if kind == "hamiltonian":
        one = random_controls(int(name), 1, key)
        unit = one.coefficients[0] / metric.norm(one.hamiltonians[0])
        durations = np.diff([0.0, *marks])
        controls = Controls(jnp.tile(unit, (len(marks), 1)), one.labels, durations)
        places = range(1, len(marks) + 1)
    else:
        scale = scale / FINER if kind == "brownian" else scale
        controls = random_controls(int(name), marks[-1], key, scale=scale)
        places = marks
    unitaries = controls.unitaries()
    walked = np.cumsum(jax.vmap(metric.norm)(controls.hamiltonians) * controls.durations)
    pairs = [solve(unitaries[k]) for k in places]
    found, below = (
        [value if math.isfinite(value := float(x)) else math.inf for x in column]
        for column in zip(*pairs, strict=True)
    )
    return [float(walked[k - 1]) for k in places], found, below


def envelope(found, lengths) -> np.ndarray:
    """No point is farther than another one and the piece of the curve between them.

    The identity, at length zero, is one of the others: so the curve itself bounds every point.
    """
    found, lengths = np.append(0.0, found), np.append(0.0, lengths)
    return np.min(found[None] + np.abs(lengths[:, None] - lengths[None]), axis=1)[1:]


def fitted(lengths, curves, prefix: str) -> dict:
    """Plateau, and exponent of the growth before it with a standard error over the draws."""
    plateau = float(np.mean(curves[:, -LAST:]))
    rising = np.cumprod(np.mean(curves, axis=0) < RISE * plateau).astype(bool)
    x = np.log(lengths[rising])

    def exponent(rows):
        return float(np.polyfit(x, np.log(np.mean(rows[:, rising], axis=0)), 1)[0])

    count = len(curves)
    left_out = [exponent(np.delete(curves, k, axis=0)) for k in range(count)]  # the jackknife
    return {
        f"{prefix}plateau": plateau,
        f"{prefix}points": int(rising.sum()),
        f"{prefix}exponent": exponent(curves),
        f"{prefix}exponent_stderr": float(np.std(left_out) * math.sqrt(count - 1)),
    }
