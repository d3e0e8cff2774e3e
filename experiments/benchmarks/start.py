"""What starting costs: imports, tracing and compiling of a shooting, with the persistent cache.

    python experiments/benchmarks/start.py [--points 2000] [--rounds 3]

Each start is a process of its own: it imports geojax, and compiles value and gradient of an
end-point loss through `shoot` (float32, 3-D, Gaussian, ten Heun steps). The first finds an empty
cache of compiled programs, those after it what the first left.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

STEPS = 10


def start(points: int) -> dict[str, float]:
    """Seconds that each part of one start takes."""
    clock = time.perf_counter
    begin = clock()
    import diffrax
    import jax
    import jax.numpy as jnp
    import numpy as np

    import geojax
    from geojax.actions import Points
    from geojax.kernels import Gaussian
    from geojax.metrics import RKHS

    imported = clock()
    rng = np.random.default_rng(0)
    q, p, target = (jnp.asarray(rng.normal(size=(points, 3)), jnp.float32) for _ in range(3))
    metric = RKHS(Gaussian(np.float32(1.0)))

    def loss(p, q, target):
        path = geojax.shoot(
            metric, Points(), q, p / points, num_steps=STEPS, solver=diffrax.Heun(), save="end"
        )
        return 0.5 * jnp.sum((path.end - target) ** 2)

    ready = clock()
    lowered = jax.jit(jax.value_and_grad(loss)).lower(p, q, target)
    traced = clock()
    compiled = lowered.compile()
    done = clock()
    jax.block_until_ready(compiled(p, q, target))
    return {
        "import": imported - begin,
        "arrays": ready - imported,
        "trace": traced - ready,
        "compile": done - traced,
        "run": clock() - done,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(start(options.points)))
        return
    with tempfile.TemporaryDirectory() as folder:
        variables = {
            **os.environ,
            "JAX_COMPILATION_CACHE_DIR": folder,
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        }
        command = [sys.executable, __file__, "--one", "--points", str(options.points)]
        starts = []
        for _ in range(options.rounds + 1):
            done = subprocess.run(command, env=variables, capture_output=True, text=True)
            if done.returncode:
                raise SystemExit(done.stderr)
            starts.append(json.loads(done.stdout))
    row = {"points": options.points}
    for part in starts[0]:
        later = statistics.median(each[part] for each in starts[1:])
        row |= {f"{part}, first s": round(starts[0][part], 3), f"{part}, later s": round(later, 3)}
    print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
