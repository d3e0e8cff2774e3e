"""Throughput of a sweep against one process per point, and against a warm loop in one process.

    python experiments/benchmarks/sweep_throughput.py [--peers 8] [--workers 2]

Density: 64 points (4 learning rates, 4 prices, 4 seeds) of a flow in the plane, 500 steps of Adam
each. The sweep is one command, from nothing: start, compilation, 64 trainings, rows on the disk,
1 % of them again alone, the page. The peer is a process per point that calls `fit_density` and
measures the test likelihood, as many at once as the sweep has workers; some of the points are run
(--peers) and the rest reckoned from them. No compilation is kept from run to run on either side.

Digits: 64 points of the training of the digits, against warm calls of `fit` in one process (some
of them, compiled before the clock starts), and as a share of the machine's multiply-adds.
"""

import argparse
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

DENSITY = """
task = "density"
[axes]
learning_rate = [1e-3, 2e-3, 4e-3, 8e-3]
energy_weight = [0.01, 0.03, 0.1, 0.3]
seed = [0, 1, 2, 3]
[fixed]
steps = 500
widths = [32, 32]
batch_size = 128
num_steps = 8
"""
DIGITS = """
task = "train"
[axes]
learning_rate = [1e-3, 2e-3, 4e-3, 8e-3]
energy_weight = [0.01, 0.03, 0.1, 0.3]
seed = [0, 1, 2, 3]
"""


def alone(rate, weight, seed):
    """One point of the density as a user of the library would run it."""
    import jax.numpy as jnp
    from flax import nnx

    from geojax.networks import DensityFlow
    from geojax.sweeps import DensityTask
    from geojax.training import KineticEnergy, Mixture, fit_density

    train, test = DensityTask().points()
    flow = DensityFlow(2, (32, 32), rngs=nnx.Rngs(seed))
    found = fit_density(
        train, flow, regulariser=Mixture([KineticEnergy()], [weight]), steps=500, batch_size=128,
        learning_rate=rate, num_steps=8, report_every=100, seed=seed,
    )  # fmt: skip
    log_prob, _ = found.flow.back(jnp.asarray(test), num_steps=8)
    print(float(-jnp.mean(log_prob)))


def environment():
    return {**os.environ, "JAX_ENABLE_COMPILATION_CACHE": "0"}


def swept(text, workers, folder):
    """Seconds of a whole sweep, and its rows."""
    (folder / "definition.toml").write_text(text)
    begun = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "geojax.cli", "sweep", "run", str(folder / "definition.toml"),
         "--out", str(folder / "out"), "--launcher", "processes", "--workers", str(workers),
         "--no-cache"],
        check=True, stdout=subprocess.DEVNULL, env=environment(),
    )  # fmt: skip
    seconds = time.perf_counter() - begun
    from geojax.sweeps import Results

    rows = Results(folder / "out").table()
    assert all(row["status"] == "ok" for row in rows)
    return seconds, rows


def processes(rows, workers):
    """Seconds of one process per row, so many at once."""
    begun, running, waiting = time.perf_counter(), [], list(rows)
    while waiting or running:
        while waiting and len(running) < workers:
            row = waiting.pop()
            point = [str(row[name]) for name in ("learning_rate", "energy_weight", "seed")]
            running.append(subprocess.Popen(
                [sys.executable, __file__, "--alone", *point], env=environment(),
                stdout=subprocess.DEVNULL,
            ))  # fmt: skip
        time.sleep(0.05)
        running = [process for process in running if process.poll() is None]
    return time.perf_counter() - begun


def digits(workers, peers, folder):
    """The digits: the sweep's seconds per point beside those of warm calls of `fit`."""
    import jax

    from geojax.sweeps import TrainTask
    from geojax.training import TrainConfig, fit

    seconds, rows = swept(DIGITS, workers, folder)
    samples, config = TrainTask().samples()[0], TrainConfig()
    fit(samples, config)  # compiles
    times = []
    for seed in range(peers):
        begun = time.perf_counter()
        fit(samples, config.replace(seed=seed, learning_rate=2e-3))
        times.append(time.perf_counter() - begun)
    # products of the velocity (its input has the time as well): eight evaluations a sample, and
    # twice as many operations again for their derivatives
    widths = [samples.num_features + 1, *config.widths, samples.num_features]
    products = sum(2 * a * b for a, b in itertools.pairwise(widths))
    samples_seen = len(samples) // config.batch_size * config.batch_size * config.epochs
    flops = 3 * 2 * config.num_steps * products * samples_seen
    import jax.numpy as jnp

    a = jnp.ones((2048, 2048))
    product = jax.jit(lambda a: a @ a)
    product(a).block_until_ready()
    begun = time.perf_counter()
    for _ in range(5):
        a = product(a).block_until_ready() * 0 + 1
    peak = 5 * 2 * 2048**3 / (time.perf_counter() - begun)
    per_point = sum(row["seconds"] for row in rows) / len(rows) / workers
    return {
        "points": len(rows), "seconds": seconds, "seconds_per_point": seconds / len(rows),
        "computing_seconds_per_point": per_point,
        "warm_fit_seconds": sorted(times)[len(times) // 2],
        "operations_per_point": flops, "machine_operations_per_second": peak,
        "share_of_peak": flops / per_point / peak,
    }  # fmt: skip


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--alone", nargs=3)
    parser.add_argument("--peers", type=int, default=8)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--only", choices=["density", "digits"])
    arguments = parser.parse_args()
    if arguments.alone:
        rate, weight, seed = arguments.alone
        return alone(float(rate), float(weight), int(seed))
    results = {}
    folder = Path(tempfile.mkdtemp())
    try:
        if arguments.only != "digits":
            seconds, rows = swept(DENSITY, arguments.workers, folder)
            theirs = processes(rows[:: max(1, len(rows) // arguments.peers)], arguments.workers)
            theirs *= len(rows) / len(rows[:: max(1, len(rows) // arguments.peers)])
            deviations = [row["deviation"] for row in rows if row["deviation"] is not None]
            results["density"] = {
                "points": len(rows), "seconds": seconds, "processes_seconds": theirs,
                "times_the_throughput": theirs / seconds,
                "computing_seconds": sum(row["seconds"] for row in rows),
                "compile_seconds": rows[0]["compile_seconds"], "lockstep": rows[0]["lockstep"],
                "deviations": deviations,
            }  # fmt: skip
            print(json.dumps(results["density"], indent=2), flush=True)
        if arguments.only != "density":
            shutil.rmtree(folder)
            folder.mkdir()
            results["digits"] = digits(arguments.workers, arguments.peers, folder)
            print(json.dumps(results["digits"], indent=2), flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return None


if __name__ == "__main__":
    main()
