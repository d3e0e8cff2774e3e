"""Kernel sums on a GPU: in registers, by tiles, and KeOps (CUDA) where it is there.

    python experiments/benchmarks/gpu_sums.py [--points 16384 131072 1000000] [--rounds 5]

Float32, 3-D, Gaussian, paired in one run. Prints for each form the time, what it needs beyond its
inputs and outputs, and its share of the limit: the time that the multiply-adds and exponentials of
the sum would take at the rates of this chip, which are measured first.
"""

import argparse
import importlib.util
import json
import os
import time

# the memory of the chip is shared with the peer
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton
from paired import OPERATIONS, interleave, ratio

from geojax.kernels import Gaussian, form, kernel_sum

# Points beyond which tiles, which are launched one by one, are left out.
MOST_TILED = 2**17
LANES, PROGRAMS, CHAINS, REPEATS, ROUNDS = 128, 2**14, 8, 8, 1000


def rate(step, *, interpret: bool = False) -> float:
    """Applications of an elementwise step per second, in registers of the whole chip."""

    def kernel(source, target):
        def body(_, values):
            for _ in range(REPEATS):
                values = [step(v) for v in values]
            return values

        # chains that do not wait for one another
        chains = [source[...] + np.float32(0.01 * k) for k in range(CHAINS)]
        target[...] = sum(jax.lax.fori_loop(0, ROUNDS, body, chains))

    block = pl.BlockSpec((LANES,), lambda i: (i,))
    x = jnp.full((LANES * PROGRAMS,), 0.5, jnp.float32)
    run = jax.jit(
        pl.pallas_call(
            kernel,
            grid=(PROGRAMS,),
            in_specs=[block],
            out_specs=block,
            out_shape=jax.ShapeDtypeStruct(x.shape, x.dtype),
            compiler_params=triton.CompilerParams(num_warps=4),
            interpret=interpret,
        )
    )
    best = np.inf
    for _ in range(10):
        start = time.perf_counter()
        jax.block_until_ready(run(x))
        best = min(best, time.perf_counter() - start)
    return ROUNDS * REPEATS * CHAINS * x.size / best


def geojax_runs(choice: str, arrays):
    """Calls of the sum and of its gradient in one form, and the memory they need."""
    kernel = Gaussian(jnp.float32(1.0))

    def forward(x, y, b):
        return kernel_sum(kernel, x, y, b)

    def both(x, y, b):
        return jax.value_and_grad(lambda *a: jnp.sum(forward(*a) ** 2), (0, 1, 2))(x, y, b)

    with form(choice):
        compiled = [jax.jit(f).lower(*arrays).compile() for f in (forward, both)]
    return {
        name: (lambda c=c: jax.block_until_ready(c(*arrays)), c.memory_analysis())
        for name, c in zip(OPERATIONS, compiled, strict=True)
    }


def keops_runs(arrays):
    """The same calls of the peer, if it is installed and sees the chip."""
    if any(importlib.util.find_spec(name) is None for name in ("torch", "pykeops")):
        return {}
    import torch

    if not torch.cuda.is_available():
        return {}
    import kernel_sums

    def finished(run):
        run()
        torch.cuda.synchronize()

    runs = kernel_sums.keops_runs(*arrays, device="cuda")
    return {name: lambda run=run: finished(run) for name, run in runs.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, nargs="+", default=[16384, 131072, 1_000_000])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    if jax.default_backend() != "gpu":
        raise SystemExit(f"There is no GPU here: JAX runs on {jax.default_backend()}.")
    one, tiny = np.float32(0.999), np.float32(1e-3)
    adds_per_second = rate(lambda x: x * one + tiny)
    exponentials_per_second = rate(lambda x: jnp.exp(x - one))
    print(
        json.dumps(
            {
                "device": jax.devices()[0].device_kind,
                "multiply-adds": f"{adds_per_second:.3g} per second",
                "exponentials": f"{exponentials_per_second:.3g} per second",
            }
        )
    )
    rng = np.random.default_rng(0)
    for n in options.points:
        arrays = [rng.normal(size=(n, 3)).astype(np.float32) for _ in range(3)]
        on_chip = [jnp.asarray(v) for v in arrays]
        choices = ["pallas", "tiles"] if n <= MOST_TILED else ["pallas"]
        ours = {choice: geojax_runs(choice, on_chip) for choice in choices}
        theirs = keops_runs(arrays)
        for name, (adds, exponentials) in OPERATIONS.items():
            runs = {choice: found[name][0] for choice, found in ours.items()}
            runs |= {"keops": theirs[name]} if theirs else {}
            seconds = interleave(runs, options.rounds)
            limit = n * n * (adds / adds_per_second + exponentials / exponentials_per_second)
            for form_name in runs:
                middle = float(np.median(seconds[form_name]))
                row = {"points": n, "what": name, "form": form_name, "ms": round(1e3 * middle, 3)}
                row["share of the limit"] = round(limit / middle, 3)
                if theirs:
                    row["ratio to keops"] = round(ratio(seconds, form_name, "keops"), 4)
                if form_name in ours:
                    temporaries = ours[form_name][name][1].temp_size_in_bytes
                    row["temporaries MB"] = round(temporaries / 1e6, 1)
                print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
