"""Kernel sums against KeOps (default build), paired in one run: float32, 3-D, Gaussian.

    python experiments/benchmarks/kernel_sums.py [--points 4096 16384] [--rounds 5]

Needs the extra `bench`. Prints the ratio of our time to theirs (median of the paired ratios), the
memory beyond the inputs, and how far from the limit of the machine each is: the time that the
multiply-adds and exponentials of the sum would take at the rates measured at the start.
"""

import argparse
import json
import os

# idle OpenMP threads of the one library would spin on the cores of the other
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("GOMP_SPINCOUNT", "0")

import jax
import jax.numpy as jnp
import numpy as np
import torch
from paired import OPERATIONS, OPTIONS, Peak, interleave, limits, ratio
from pykeops.torch import LazyTensor

from geojax.kernels import Gaussian, kernel_sum


def geojax_runs(x, y, b):
    kernel = Gaussian(jnp.float32(1.0))

    def forward(x, y, b):
        return kernel_sum(kernel, x, y, b)

    def both(x, y, b):
        return jax.value_and_grad(lambda *a: jnp.sum(forward(*a) ** 2), (0, 1, 2))(x, y, b)

    arrays = [jnp.asarray(v) for v in (x, y, b)]
    compiled = {
        name: jax.jit(f, compiler_options=OPTIONS).lower(*arrays).compile()
        for name, f in (("forward", forward), ("forward and gradient", both))
    }
    return {
        name: lambda c=c: jax.block_until_ready(c(*arrays)) for name, c in compiled.items()
    }, compiled


def keops_runs(x, y, b, device="cpu"):
    x, y, b = (torch.tensor(v, requires_grad=True, device=device) for v in (x, y, b))

    def forward():
        squared = ((LazyTensor(x[:, None, :]) - LazyTensor(y[None, :, :])) ** 2).sum(-1)
        return ((-squared / 2).exp() * LazyTensor(b[None, :, :])).sum(1)

    return {
        "forward": lambda: forward().detach(),
        "forward and gradient": lambda: torch.autograd.grad((forward() ** 2).sum(), (x, y, b)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, nargs="+", default=[4096, 16384])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    rates = limits()
    print(json.dumps({name: f"{rate:.3g} per second" for name, rate in rates.items()}))
    rng = np.random.default_rng(0)
    for n in options.points:
        x, y, b = (rng.normal(size=(n, 3)).astype(np.float32) for _ in range(3))
        ours, compiled = geojax_runs(x, y, b)
        theirs = keops_runs(x, y, b)
        for name, (adds, exponentials) in OPERATIONS.items():
            seconds = interleave({"geojax": ours[name], "keops": theirs[name]}, options.rounds)
            limit = n * n * (adds / rates["multiply-adds"] + exponentials / rates["exponentials"])
            with Peak() as peak:
                ours[name]()
            row = {
                "points": n,
                "what": name,
                "geojax ms": round(1e3 * float(np.median(seconds["geojax"])), 2),
                "keops ms": round(1e3 * float(np.median(seconds["keops"])), 2),
                "ratio": round(ratio(seconds, "geojax", "keops"), 4),
                "times the limit": round(float(np.median(seconds["geojax"])) / limit, 2),
                "compiled temporaries MB": round(
                    compiled[name].memory_analysis().temp_size_in_bytes / 1e6, 1
                ),
                "peak above inputs MB": round(peak.value, 1),
            }
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
