"""Matching two hippocampi with a varifold, against the surface tutorial of KeOps: float32.

    GEOJAX_DATA=<folder> python experiments/benchmarks/surface_match.py [--mesh hippos_red]

The tutorial's problem: Gaussian deformation kernel, unknown momenta on every vertex, ten Heun
steps, loss `gamma * energy + |S - T|^2` of the Binet varifold, ten rounds of torch's L-BFGS of at
most ten evaluations each. Ours is `match` with the same kernels, steps and weight. Both start from
zero momenta.

A whole run of the tutorial takes hours, so `--evaluations` of it are timed, and the losses are
those of the same optimiser on the same loss, evaluated by geojax; the first ones are held against
the tutorial's own. Needs the extra `bench` and the surfaces, which are not part of the project.
"""

import argparse
import contextlib
import json
import os
import time
from pathlib import Path

# idle OpenMP threads of the one library would spin on the cores of the other
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("GOMP_SPINCOUNT", "0")
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_prefer_vector_width=512")

import diffrax
import jax
import numpy as np
import torch
from paired import Peak
from pykeops.torch import Vi, Vj

import geojax
from geojax.kernels import Gaussian
from geojax.matching.match import pose
from geojax.shapes import Surface, Varifold

STEPS, SCALE, GAMMA = 10, 20.0, 1e-3


def gaussian(sigma):
    x, y, b = Vi(0, 3), Vj(1, 3), Vj(2, 3)
    return ((-(((x - y) ** 2).sum(-1)) / sigma**2).exp() * b).sum_reduction(axis=1)


def binet(sigma):
    x, y, u, v, b = Vi(0, 3), Vj(1, 3), Vi(2, 3), Vj(3, 3), Vj(4, 1)
    near = (-(((x - y) ** 2).sum(-1)) / sigma**2).exp()
    return (near * (u * v).sum(-1) ** 2 * b).sum_reduction(axis=1)


def descend(evaluate, momenta, rounds, evaluations):
    """Losses along the tutorial's search, up to a number of evaluations, and their seconds."""
    p0 = momenta.clone().requires_grad_(True)
    optimizer = torch.optim.LBFGS([p0], max_eval=10, max_iter=10)
    losses = []

    class Enough(Exception):
        pass

    def closure():
        if len(losses) == evaluations:
            raise Enough
        optimizer.zero_grad()
        value, p0.grad = evaluate(p0)
        losses.append(float(value))
        return value

    start = time.perf_counter()
    with contextlib.suppress(Enough):
        for _ in range(rounds):
            optimizer.step(closure)
    return losses, time.perf_counter() - start


def tutorial(source, target, sigma, shape_sigma):
    """Value and gradient of its loss."""
    deformation, likeness = gaussian(sigma), binet(shape_sigma)
    (vs, fs), (vt, ft) = [(torch.tensor(v), torch.tensor(f).long()) for v, f in (source, target)]

    def elements(v, f):
        a, b, c = v[f[:, 0]], v[f[:, 1]], v[f[:, 2]]
        normals = 0.5 * torch.linalg.cross(b - a, c - a)
        lengths = (normals**2).sum(1)[:, None].sqrt()
        return (a + b + c) / 3, normals / lengths, lengths

    there = elements(vt, ft)

    def inner(left, right):
        return (left[2] * likeness(left[0], right[0], left[1], right[1], right[2])).sum()

    constant = inner(there, there)

    def hamiltonian(p, q):
        return 0.5 * (p * deformation(q, q, p)).sum()

    def field(p, q):
        dp, dq = torch.autograd.grad(hamiltonian(p, q), (p, q), create_graph=True)
        return -dq, dp

    def loss(p0):
        p, q, h = p0, vs.clone().requires_grad_(True), 1.0 / STEPS
        for _ in range(STEPS):
            dp, dq = field(p, q)
            ep, eq = field(p + h * dp, q + h * dq)
            p, q = p + 0.5 * h * (dp + ep), q + 0.5 * h * (dq + eq)
        here = elements(q, fs)
        data = constant + inner(here, here) - 2 * inner(here, there)
        return GAMMA * hamiltonian(p0, vs) + data

    def evaluate(p0):
        value = loss(p0)
        return value.detach(), torch.autograd.grad(value, p0)[0]

    return evaluate


def by_geojax(source, target, **options):
    """The same."""
    problem, _, _ = pose(Surface(*source), Surface(*target), **options)
    constant = problem.weight * problem.fidelity.target_term(problem.target)
    both = jax.jit(jax.value_and_grad(lambda p: GAMMA * (problem.objective(p) + constant)))

    def evaluate(p0):
        value, gradient = both(p0.detach().numpy())
        return torch.tensor(float(value)), torch.tensor(np.asarray(gradient))

    return evaluate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mesh", default="hippos")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--evaluations", type=int, default=1)
    parser.add_argument("--tolerance", type=float, default=2e-3)
    options = parser.parse_args()
    folder = os.environ.get("GEOJAX_DATA")
    if not folder:
        raise SystemExit("Set GEOJAX_DATA to the folder that holds hippocampus_surfaces.")
    with np.load(Path(folder) / "hippocampus_surfaces" / f"{options.mesh}.npz") as data:
        pairs = [(data["V" + k].astype(np.float32), data["F" + k]) for k in "ST"]
    row = {"vertices": [len(v) for v, _ in pairs]}
    # exp(-r^2 / s^2) is a Gaussian of scale s / sqrt(2); a fidelity is half a squared distance
    settings = dict(
        metric=Gaussian(SCALE / 2**0.5),
        fidelity=Varifold(SCALE / 2**0.5),
        weight=2.0 / GAMMA,
        num_steps=STEPS,
        solver=diffrax.Heun(),
    )
    rest = torch.zeros(pairs[0][0].shape)
    theirs = tutorial(*pairs, SCALE, SCALE)
    theirs(rest.clone().requires_grad_(True))  # compiles
    own, seconds = descend(theirs, rest, options.rounds, options.evaluations)
    losses, _ = descend(by_geojax(*pairs, **settings), rest, options.rounds, None)
    np.testing.assert_allclose(losses[: len(own)], own, rtol=1e-3)
    whole = seconds / len(own) * len(losses)
    row |= {
        "tutorial loss": losses[-1],
        "evaluations": len(losses),
        "tutorial s an evaluation": round(seconds / len(own), 2),
        "tutorial s": round(whole, 1),
    }
    for warm in (False, True):
        with Peak() as peak:
            start = time.perf_counter()
            found = geojax.match(
                Surface(*pairs[0]),
                Surface(*pairs[1]),
                multiscale=0,
                tolerance=options.tolerance,
                quality=False,
                throw=False,
                **settings,
            )
            float(found.objective)
            seconds = time.perf_counter() - start
        row |= {
            f"geojax {'warm' if warm else 'cold'} s": round(seconds, 1),
            "geojax loss": GAMMA * float(found.objective),
            "geojax iterations": int(found.num_iterations),
            "geojax peak MB": round(peak.value, 1),
        }
    row["ratio"] = round(row["geojax warm s"] / whole, 4)
    row["ratio with compilation"] = round(row["geojax cold s"] / whole, 4)
    print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
