"""Shooting of images against the same scheme in torch, paired in one run: float32, ten steps.

    python experiments/benchmarks/image_shooting.py [--sizes 128^2 256^2 64^3] [--rounds 9]

One evaluation is the value of a sum of squares at the end and its gradient in the initial
momentum. The peer takes the same semi-Lagrangian steps with `grid_sample`, smooths by FFT and
differentiates by autograd. Needs the extra `bench`.
"""

import argparse
import json
import math
import os

# idle OpenMP threads of the one library would spin on the cores of the other
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("GOMP_SPINCOUNT", "0")

import jax
import jax.numpy as jnp
import numpy as np
import torch
from paired import Peak, interleave, ratio

from geojax.geodesics import shoot_image
from geojax.metrics import GaussianGrid

STEPS = 10
# points a side, dimension, and scale of the kernel in points
SIZES = {
    "128^2": (128, 2, 5.0),
    "256^2": (256, 2, 8.0),
    "64^3": (64, 3, 4.0),
    "128^3": (128, 3, 6.0),
    "256^3": (256, 3, 8.0),
}


def blobs(n: int, d: int, seed: int) -> np.ndarray:
    """Bumps in the middle of a grid, so that no boundary is felt."""
    rng = np.random.default_rng(seed)
    x = np.stack(np.meshgrid(*[np.linspace(-1, 1, n)] * d, indexing="ij"), -1)
    total = np.zeros((n,) * d)
    for _ in range(6):
        centre, width = rng.uniform(-0.4, 0.4, d), rng.uniform(0.1, 0.2)
        bump = np.exp(-np.sum((x - centre) ** 2, -1) / (2 * width**2))
        total += rng.uniform(0.5, 1.0) * bump
    return total.astype(np.float32)


def geojax_run(image, momentum, target, scale, checkpoints):
    metric = GaussianGrid(np.ones(image.ndim, np.float32), np.float32(scale))

    def loss(momentum, image, target):
        path = shoot_image(
            metric, image, momentum, num_steps=STEPS, num_checkpoints=checkpoints, pull=False
        )
        return 0.5 * jnp.sum((path.images[-1] - target) ** 2)

    arrays = [jnp.asarray(v) for v in (momentum, image, target)]
    compiled = jax.jit(jax.value_and_grad(loss)).lower(*arrays).compile()
    return lambda: jax.block_until_ready(compiled(*arrays)), compiled


def torch_run(image, momentum, target, scale, device):
    start, image, target = (torch.tensor(v, device=device) for v in (momentum, image, target))
    d, grid = image.ndim, image.shape
    axes = tuple(range(-d, 0))
    waves = [2 * math.pi * torch.fft.fftfreq(n) for n in grid[:-1]]
    waves.append(2 * math.pi * torch.fft.rfftfreq(grid[-1]))
    squares = sum(w**2 for w in torch.meshgrid(*waves, indexing="ij"))
    kernel = (2 * math.pi * scale**2) ** (d / 2) * torch.exp(-0.5 * scale**2 * squares)
    kernel = kernel.to(device)
    lines = [torch.linspace(-1, 1, n) for n in grid]
    places = torch.stack(torch.meshgrid(*lines, indexing="ij"), -1).to(device)
    unit = torch.tensor([2 / (n - 1) for n in grid], device=device)
    h = 1.0 / STEPS

    def run():
        p0 = start.clone().requires_grad_(True)
        moving, p = image, p0
        for _ in range(STEPS):
            slopes = torch.stack(torch.gradient(moving))
            waves = kernel * torch.fft.rfftn(p * slopes, dim=axes)
            velocity = -torch.fft.irfftn(waves, s=grid, dim=axes)
            spread = sum(torch.gradient(velocity[a], dim=a)[0] for a in range(d))
            at = (places - h * velocity.movedim(0, -1) * unit).flip(-1)
            both = torch.nn.functional.grid_sample(
                torch.stack([moving, p])[None],
                at[None],
                mode="bilinear",
                padding_mode="border",
                align_corners=True,
            )[0]
            moving, p = both[0], both[1] * (1 - h * spread)
        value = 0.5 * ((moving - target) ** 2).sum()
        gradient = torch.autograd.grad(value, p0)[0]
        if device != "cpu":
            torch.cuda.synchronize()
        return value.detach().cpu(), gradient.cpu()

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", choices=list(SIZES), default=list(SIZES)[:3])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--checkpoints", type=int, default=None)
    options = parser.parse_args()
    device = "cuda" if jax.default_backend() == "gpu" and torch.cuda.is_available() else "cpu"
    for name in options.sizes:
        n, d, scale = SIZES[name]
        image, target = blobs(n, d, 0), blobs(n, d, 1)
        # moves by a few points in all
        momentum = (0.4 / scale ** (d - 1) * (target - image)).astype(np.float32)
        ours, compiled = geojax_run(image, momentum, target, scale, options.checkpoints)
        runs = {"geojax": ours, "torch": torch_run(image, momentum, target, scale, device)}
        results, peaks = {}, {}
        for key, run in runs.items():
            # the first time, before a library keeps memory for the next
            with Peak() as peak:
                results[key] = [np.asarray(x) for x in run()]
            peaks[key] = round(peak.value, 1)
        (value, gradient), (other, derivative) = results["geojax"], results["torch"]
        np.testing.assert_allclose(value, other, rtol=1e-4)
        error = np.max(np.abs(gradient - derivative)) / np.max(np.abs(derivative))
        assert error < 3e-3, f"gradients differ by {error}"
        seconds = interleave(runs, options.rounds)
        row = {"size": name, "device": device}
        row |= {f"{k} ms": round(1e3 * float(np.median(v)), 1) for k, v in seconds.items()}
        row |= {
            "ratio": round(ratio(seconds, "geojax", "torch"), 3),
            "compiled temporaries MB": round(
                compiled.memory_analysis().temp_size_in_bytes / 1e6, 1
            ),
            "peak MB": peaks,
        }
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
