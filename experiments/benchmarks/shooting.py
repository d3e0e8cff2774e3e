"""Landmark shooting against KeOps, paired in one run: float32, 3-D, Gaussian, ten steps of Heun.

    python experiments/benchmarks/shooting.py [--points 2000] [--rounds 5] [--tutorial]

One evaluation is the value of a loss of the end points and its gradient in the initial momentum.
The peer is the strongest form of it: the Hamiltonian equations and their adjoint written out, so
that no autograd graph is kept. `--tutorial` adds the form of its tutorials, autograd through the
loop. Needs the extra `bench`.
"""

import argparse
import json
import os

# idle OpenMP threads of the one library would spin on the cores of the other
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("GOMP_SPINCOUNT", "0")

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import torch
from paired import OPTIONS, Peak, interleave, ratio
from pykeops.torch import LazyTensor

import geojax
from geojax.actions import Points
from geojax.kernels import Gaussian
from geojax.metrics import RKHS

STEPS, SCALE = 10, 1.0


def geojax_run(q, p, target):
    metric = RKHS(Gaussian(jnp.float32(SCALE)))

    def loss(p, q, target):
        path = geojax.shoot(
            metric,
            Points(),
            q,
            p,
            solver=diffrax.Heun(),
            num_steps=STEPS,
            save="end",
            throw=False,
        )
        return 0.5 * jnp.sum((path.end - target) ** 2)

    arrays = [jnp.asarray(v) for v in (p, q, target)]
    lowered = jax.jit(jax.value_and_grad(loss)).lower(*arrays)
    compiled = lowered.compile(compiler_options=OPTIONS)
    return lambda: jax.block_until_ready(compiled(*arrays)), compiled


def lazy(v, axis):
    return LazyTensor(v[:, None, :] if axis == 0 else v[None, :, :])


def field(q, p):
    """`(dq, dp)` in one reduction."""
    difference = lazy(q, 0) - lazy(q, 1)
    kernel = (-(difference**2).sum(-1) / (2 * SCALE**2)).exp()
    product = (lazy(p, 0) * lazy(p, 1)).sum(-1)
    both = (kernel * lazy(p, 1)).concat(kernel * product * difference / SCALE**2)
    return both.sum(1).split(3, dim=1)


def adjoint(q, p, a, c):
    """The derivative of `a.dq + c.dp` in q and p, in one reduction."""
    difference = lazy(q, 0) - lazy(q, 1)
    kernel = (-(difference**2).sum(-1) / (2 * SCALE**2)).exp()
    product = (lazy(p, 0) * lazy(p, 1)).sum(-1)
    turn = lazy(c, 0) - lazy(c, 1)
    along = (turn * difference).sum(-1) / SCALE**2
    pull = (lazy(a, 0) * lazy(p, 1)).sum(-1) + (lazy(a, 1) * lazy(p, 0)).sum(-1) + product * along
    in_q = kernel * (product * turn - pull * difference) / SCALE**2
    in_p = kernel * (lazy(a, 1) + along * lazy(p, 1))
    return in_q.concat(in_p).sum(1).split(3, dim=1)


def shoot(q, p, field):
    h, states = 1.0 / STEPS, []
    for _ in range(STEPS):
        v, f = field(q, p)
        inner = q + h * v, p + h * f
        states.append((q, p, *inner))
        w, g = field(*inner)
        q, p = q + 0.5 * h * (v + w), p + 0.5 * h * (f + g)
    return q, p, states


def keops_run(q, p, target):
    """Value and gradient by the adjoint of every Heun step."""
    q0, p0, target = (torch.tensor(v) for v in (q, p, target))

    def run():
        q, p, states = shoot(q0, p0, field)
        value = 0.5 * ((q - target) ** 2).sum()
        a, c = q - target, torch.zeros_like(p)
        h = 1.0 / STEPS
        for q, p, inner_q, inner_p in reversed(states):
            second_q, second_p = adjoint(inner_q, inner_p, 0.5 * h * a, 0.5 * h * c)
            # the first stage feels the end directly and through the second one
            first = 0.5 * h * a + h * second_q, 0.5 * h * c + h * second_p
            first_q, first_p = adjoint(q, p, *first)
            a, c = a + second_q + first_q, c + second_p + first_p
        return value, c

    return run


def tutorial_run(q, p, target):
    q0, target = torch.tensor(q), torch.tensor(target)

    def hamiltonian(q, p):
        squared = ((lazy(q, 0) - lazy(q, 1)) ** 2).sum(-1)
        return 0.5 * (p * ((-squared / (2 * SCALE**2)).exp() * lazy(p, 1)).sum(1)).sum()

    def field(q, p):
        force, velocity = torch.autograd.grad(hamiltonian(q, p), (q, p), create_graph=True)
        return velocity, -force

    def run():
        start = torch.tensor(p, requires_grad=True)
        end, _, _ = shoot(q0.clone().requires_grad_(True), start, field)
        value = 0.5 * ((end - target) ** 2).sum()
        return value.detach(), torch.autograd.grad(value, start)[0]

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, nargs="+", default=[2000])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tutorial", action="store_true")
    options = parser.parse_args()
    for n in options.points:
        rng = np.random.default_rng(0)
        q = rng.normal(size=(n, 3)).astype(np.float32)
        p = (rng.normal(size=(n, 3)) / n).astype(np.float32)
        target = (q + 0.1 * rng.normal(size=(n, 3))).astype(np.float32)
        ours, compiled = geojax_run(q, p, target)
        runs = {"geojax": ours, "keops": keops_run(q, p, target)}
        if options.tutorial:
            runs["tutorial"] = tutorial_run(q, p, target)
        results = {name: [np.asarray(v) for v in run()] for name, run in runs.items()}
        for name, (value, gradient) in results.items():
            truth = results["geojax"]
            np.testing.assert_allclose(value, truth[0], rtol=1e-4, err_msg=name)
            error = np.max(np.abs(gradient - truth[1])) / np.max(np.abs(truth[1]))
            assert error < 1e-3, f"{name} disagrees by {error}"
        seconds = interleave(runs, options.rounds)
        with Peak() as peak:
            ours()
        row = {"points": n}
        row |= {f"{k} ms": round(1e3 * float(np.median(v)), 1) for k, v in seconds.items()}
        row |= {
            f"ratio to {k}": round(ratio(seconds, "geojax", k), 4) for k in seconds if k != "geojax"
        }
        analysis = compiled.memory_analysis()
        row |= {
            "compiled temporaries MB": round(analysis.temp_size_in_bytes / 1e6, 1),
            "peak above inputs MB": round(peak.value, 1),
        }
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
