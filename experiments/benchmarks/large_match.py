"""Match 10,000 points to 10,000 points, and report time and memory beyond the inputs.

    python experiments/benchmarks/large_match.py [--points 10000] [--control-points 500]

Two noisy three-lobed outlines without labels, MMD, float32. The kernel matrix of the points would
take 400 MB in float32; none is ever stored.
"""

import argparse
import json
import sys
import time

import jax
import numpy as np
from paired import Peak

from geojax.flows import RESULTS
from geojax.kernels import Gaussian
from geojax.matching import match
from geojax.shapes import MMD


def outline(rng, count, width, height, phase):
    """A noisy outline with three lobes."""
    angle = rng.uniform(0, 2 * np.pi, count)
    radius = 1 + 0.15 * np.cos(3 * angle + phase)
    points = np.stack([width * radius * np.cos(angle), height * radius * np.sin(angle)], axis=-1)
    return (points + 0.01 * rng.normal(size=points.shape)).astype(np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=10_000)
    parser.add_argument("--control-points", type=int, default=None)
    parser.add_argument("--num-steps", type=int, default=5)
    parser.add_argument("--tolerance", type=float, default=1e-2)
    parser.add_argument("--max-iterations", type=int, default=100)
    options = parser.parse_args()

    rng = np.random.default_rng(0)
    source = outline(rng, options.points, 1.0, 1.0, 0.0)
    target = outline(rng, options.points, 1.5, 0.8, 1.0) + np.float32([0.5, 0.3])
    jax.block_until_ready(jax.numpy.zeros(1) + 1)
    start = time.perf_counter()

    def progress(iteration, objective, gradient):
        seconds = time.perf_counter() - start
        print(f"{seconds:6.0f} s  {iteration:3} {objective:.5f} {gradient:.1e}", file=sys.stderr)

    with Peak() as peak:
        found = match(
            source,
            target,
            metric=Gaussian(0.5),
            fidelity=MMD(0.2),
            control_points=options.control_points,
            num_steps=options.num_steps,
            tolerance=options.tolerance,
            max_iterations=options.max_iterations,
            quality=False,
            progress=progress,
            throw=False,
        )
        jax.block_until_ready(found.momentum)
    seconds = time.perf_counter() - start
    fidelity = MMD(0.2)
    print(
        json.dumps(
            {
                "points": options.points,
                "control points": options.control_points or options.points,
                "device": jax.devices()[0].device_kind,
                "seconds": round(seconds, 1),
                "peak MB above the inputs": round(peak.value),
                "MB of one matrix over pairs": round(4 * options.points**2 / 1e6),
                "iterations": int(found.num_iterations),
                "gradient": float(found.gradient_norm),
                "converged": bool(found.result == RESULTS.successful),
                "distance before": float(fidelity.distance(source, target)),
                "distance after": float(found.residual),
                "energy": float(found.energy),
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
