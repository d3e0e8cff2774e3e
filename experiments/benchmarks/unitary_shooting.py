"""Geodesics of SU(2^n) and their gradients: time and memory against the number of qubits.

    python experiments/benchmarks/unitary_shooting.py

Two forms of one equation, in turn: `geojax.shoot` (any group, order 8, twenty steps) and the loop
of `nielsen_complexity` over commutators (order 4, forty steps). Each row runs in a process of its
own, so that its peak memory is its own.
"""

import argparse
import json
import resource
import subprocess
import sys
import time


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--most", type=int, default=5, help="largest number of qubits")
    parser.add_argument("--row", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.row:
        print(json.dumps(row(int(options.row[0]), options.row[1])))
        return 0
    print("qubits  form          end (ms)  gradient (ms)  peak memory (GB)")
    for form in ("shoot", "commutators"):
        for qubits in range(1, options.most + 1):
            command = [sys.executable, __file__, "--row", str(qubits), form]
            run = subprocess.run(command, check=True, capture_output=True, text=True)
            end, gradient, memory = json.loads(run.stdout)
            print(f"{qubits:6}  {form:12}{end:10.1f}{gradient:15.1f}{memory:18.2f}", flush=True)
    return 0


def row(qubits: int, form: str) -> tuple[float, float, float]:
    """Milliseconds of the end and of value and gradient, and the peak memory in GB."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from geojax import shoot
    from geojax.actions import Unitaries
    from geojax.metrics import PauliPenalty
    from geojax.quantum import lax

    jax.config.update("jax_enable_x64", True)
    size = 2**qubits
    metric, action = PauliPenalty(qubits, lambda weight: 2.0 ** (weight - 1)), Unitaries(qubits)
    draw = np.random.default_rng(0).normal(size=size**2 - 1)
    momentum = jnp.asarray(2 * draw / np.linalg.norm(draw))
    identity = jnp.eye(size, dtype=complex)

    def end(momentum):
        if form == "commutators":
            return lax.geodesic(momentum, 1 / metric.penalties[1:], num_steps=40)[-1]
        costate = action.lift(identity, lax.matrix(momentum) / size)
        return shoot(metric, action, identity, costate, num_steps=20, throw=False).end

    gradient = jax.value_and_grad(lambda momentum: jnp.real(jnp.trace(end(momentum))))
    times = [median(jax.jit(function), momentum) for function in (end, gradient)]
    return *times, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def median(function, x, repeats: int = 7) -> float:
    import jax

    jax.block_until_ready(function(x))
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(function(x))
        seconds.append(time.perf_counter() - start)
    return 1e3 * sorted(seconds)[repeats // 2]


if __name__ == "__main__":
    raise SystemExit(main())
