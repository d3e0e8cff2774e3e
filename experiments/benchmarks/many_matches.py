"""Many small matches in one program, against a loop of warm calls and against torch: float32.

    python experiments/benchmarks/many_matches.py [--matches 64] [--points 100] [--rounds 5]

Whole matches of landmarks in the plane (ten Heun steps, a relative gradient of 1e-3): `match_many`
and a loop over `match`. One evaluation of all of them (value and gradient of an end-point loss):
`vmap` over `shoot`, a loop of warm calls, and torch with its autograd, in a loop and batched. Needs
the extra `bench`.
"""

import argparse
import json

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import torch
from paired import interleave, ratio

import geojax
from geojax.actions import Points
from geojax.kernels import Gaussian
from geojax.matching import match_many
from geojax.metrics import RKHS

STEPS, SCALE = 10, 0.3
# the loop of torch takes minutes for all
FEW = 4


def draws(matches, points):
    """Pairs of landmarks, `[k, n, 2]` each, and momenta."""
    rng = np.random.default_rng(0)
    side = int(np.ceil(points**0.5))
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, side)] * 2), axis=-1).reshape(-1, 2)[:points]
    source = grid + rng.uniform(-0.5, 0.5, size=(matches, points, 2)) / side
    # smooth displacements, so that the kernel can follow
    centre = rng.normal(size=(matches, 1, 2))
    target = source + 0.2 * np.sin(2 * source[..., ::-1] + centre)
    momenta = rng.normal(size=source.shape) / points
    return [x.astype(np.float32) for x in (source, target, momenta)]


def evaluations(source, target, momenta):
    """One evaluation of all: ours in two ways and torch's."""
    metric = RKHS(Gaussian(jnp.float32(SCALE)))

    def loss(p, q, y):
        end = geojax.shoot(
            metric, Points(), q, p, solver=diffrax.Heun(), num_steps=STEPS, save="end", throw=False
        ).end
        return 0.5 * jnp.sum((end - y) ** 2)

    each = jax.jit(jax.value_and_grad(loss))
    every = jax.jit(jax.vmap(jax.value_and_grad(loss)))
    lanes = jax.jit(lambda *a: jax.lax.map(lambda x: jax.value_and_grad(loss)(*x), a))
    arrays = [jnp.asarray(x) for x in (momenta, source, target)]
    singles = [[jnp.asarray(x[k]) for x in arrays] for k in range(len(source))]
    p, q, y = (torch.tensor(x) for x in (momenta, source, target))

    def field(q, p):
        difference = q[..., :, None, :] - q[..., None, :, :]
        kernel = torch.exp(-(difference**2).sum(-1) / (2 * SCALE**2))
        pull = kernel * (p @ p.transpose(-1, -2)) / SCALE**2
        return kernel @ p, (pull[..., None] * difference).sum(-2)

    def by_torch(p, q, y):
        p = p.clone().requires_grad_(True)
        x, m, h = q, p, 1.0 / STEPS
        for _ in range(STEPS):
            v, f = field(x, m)
            w, g = field(x + h * v, m + h * f)
            x, m = x + 0.5 * h * (v + w), m + 0.5 * h * (f + g)
        value = 0.5 * ((x - y) ** 2).sum()
        return value.detach(), torch.autograd.grad(value, p)[0]

    return {
        "vmap": lambda: jax.block_until_ready(every(*arrays)),
        "map": lambda: jax.block_until_ready(lanes(*arrays)),
        "loop": lambda: jax.block_until_ready([each(*s) for s in singles]),
        "torch batched": lambda: by_torch(p, q, y),
        "torch loop": lambda: [by_torch(p[k], q[k], y[k]) for k in range(FEW)],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--matches", type=int, default=64)
    parser.add_argument("--points", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    source, target, momenta = draws(options.matches, options.points)
    runs = evaluations(source, target, momenta)
    gradients = {name: run() for name, run in runs.items()}
    truth = np.asarray(gradients["vmap"][1])
    for name in ("map", "torch batched"):
        np.testing.assert_allclose(np.asarray(gradients[name][1]), truth, atol=1e-3)
    seconds = interleave(runs, options.rounds)
    row = {"matches": options.matches, "points": options.points}
    counts = dict.fromkeys(runs, options.matches) | {"torch loop": FEW}
    row |= {
        f"evaluation, {k}, ms a match": round(1e3 * float(np.median(v)) / counts[k], 3)
        for k, v in seconds.items()
    }
    print(json.dumps(row), flush=True)

    settings = dict(
        metric=Gaussian(SCALE), num_steps=STEPS, solver=diffrax.Heun(), quality=False, throw=False
    )
    runs = {
        "match_many": lambda: match_many(source, target, **settings),
        "loop": lambda: [
            float(geojax.match(x, y, **settings).objective)
            for x, y in zip(source, target, strict=True)
        ],
    }
    apart = max(
        abs(float(one.objective) / value - 1)
        for one, value in zip(runs["match_many"](), runs["loop"](), strict=True)
    )
    seconds = interleave(runs, options.rounds)
    row = {
        f"{k}, matches per s": round(options.matches / float(np.median(v)), 1)
        for k, v in seconds.items()
    }
    row |= {"ratio": round(ratio(seconds, "match_many", "loop"), 3), "largest difference": apart}
    print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
