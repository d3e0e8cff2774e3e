"""A training step of neural ODEs against torchdiffeq, paired in one run: float32.

    python experiments/benchmarks/neural_ode.py [--fields digits density images] [--rounds 15]

One step is the loss, its gradient in the parameters and Adam. Both sides hold the same parameters
and take the same solver: Heun's method in equal steps, and Dormand-Prince at one tolerance for the
whole batch, through whose steps both differentiate (`odeint`; `--adjoint` takes `odeint_adjoint`).
Needs the extra `bench`.
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
import optax
import torch
import torchdiffeq
from flax import nnx
from paired import interleave, ratio
from torch.nn import functional

from geojax.networks import (
    ContinuousClassifier,
    ConvolutionalLift,
    ConvolutionalVelocity,
    DensityFlow,
)

TOLERANCE, RATE = 1e-5, 1e-3
# equal steps of Heun's method
STEPS = {"digits": 4, "density": 8, "images": 2}
BATCHES = {"digits": 128, "density": 512, "images": 100}


def model_of(field: str) -> nnx.Module:
    """The network of digits, of a density in the plane, or of images."""
    rngs = nnx.Rngs(0)
    if field == "digits":
        return ContinuousClassifier(64, 10, rngs=rngs)
    if field == "density":
        return DensityFlow(2, rngs=rngs)
    lift = ConvolutionalLift((28, 28, 1), (16, 32), rngs=rngs)
    velocity = ConvolutionalVelocity(lift.lifted_shape, 32, periodic=False, rngs=rngs)
    return ContinuousClassifier(784, 10, velocity=velocity, lift=lift, rngs=rngs)


def data_of(field: str) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    features = {"digits": 64, "density": 2, "images": 784}[field]
    inputs = rng.normal(size=(BATCHES[field], features)).astype(np.float32)
    return inputs, rng.integers(0, 10, BATCHES[field])


def geojax_run(field: str, model: nnx.Module, adaptive: bool, adjoint: bool):
    graph, start = nnx.split(model)
    inputs, labels = (jnp.asarray(x) for x in data_of(field))
    options = {"save": "end", "throw": False, "num_steps": STEPS[field], "solver": diffrax.Heun()}
    if adaptive:
        controller = diffrax.PIDController(rtol=TOLERANCE, atol=TOLERANCE)
        options |= {"solver": diffrax.Dopri5(), "stepsize_controller": controller}
        options |= {"num_steps": 1, "max_steps": 256}
        if adjoint:
            options["adjoint"] = diffrax.BacksolveAdjoint(
                solver=diffrax.Dopri5(), stepsize_controller=controller
            )

    def loss(variables):
        model = nnx.merge(graph, variables)
        if field == "density":
            log_prob, path = model.back(inputs, **options)
            return -jnp.mean(log_prob), path.num_evaluations
        path = model.path(inputs, **options)
        logits = jax.nn.log_softmax(model.read(path.end))
        chosen = jnp.take_along_axis(logits, labels[:, None], axis=1)
        return -jnp.mean(chosen), path.num_evaluations

    optimiser = optax.adam(RATE)

    @jax.jit
    def step(variables, moments):
        (value, count), gradient = jax.value_and_grad(loss, has_aux=True)(variables)
        updates, moments = optimiser.update(gradient, moments, variables)
        return optax.apply_updates(variables, updates), moments, value, count, gradient

    arguments = start, optimiser.init(start)

    def run():
        *_, value, count, gradient = jax.block_until_ready(step(*arguments))
        return float(value), int(count), [np.asarray(x) for x in jax.tree.leaves(gradient)]

    return run


class Field(torch.nn.Module):
    """The same velocity in torch, with the same parameters."""

    def __init__(self, model: nnx.Module, field: str):
        super().__init__()
        self.field, self.count = field, 0
        leaves = jax.tree.leaves(nnx.split(model)[1])
        self.weights = torch.nn.ParameterList(torch.tensor(np.asarray(x)) for x in leaves)
        paths = [jax.tree_util.keystr(k) for k, _ in jax.tree.leaves_with_path(nnx.state(model))]
        self.names = {path: k for k, path in enumerate(paths)}

    def get(self, *parts: str):
        """Kernel and bias of the layer of which the name has these parts."""
        found = []
        for kind in ("kernel", "bias"):
            (k,) = (
                k
                for name, k in self.names.items()
                if all(f"['{part}']" in name or f"[{part}]" in name for part in (*parts, kind))
            )
            found.append(self.weights[k])
        return found

    def forward(self, t, state):
        self.count += 1
        if self.field == "density":
            return self.with_divergence(t, state[0])
        return self.velocity(t, state)

    def velocity(self, t, x):
        if self.field == "images":
            images = x.reshape(len(x), 7, 7, 32).permute(0, 3, 1, 2)
            time = t.expand(len(x), 1, 7, 7)
            hidden = functional.silu(self.convolved(torch.cat([images, time], 1), "spread"))
            return self.convolved(hidden, "gather").permute(0, 2, 3, 1).reshape(len(x), -1)
        hidden = torch.cat([x, t.expand(len(x), 1)], 1)
        for k in range(3):
            kernel, bias = self.get("velocity", "layers", str(k))
            hidden = hidden @ kernel + bias
            if k < 2:
                act = torch.tanh if self.field == "density" else functional.silu
                hidden = act(hidden)
        return hidden

    def convolved(self, images, name, **options):
        kernel, bias = self.get("velocity", name)
        return functional.conv2d(images, kernel.permute(3, 2, 0, 1), bias, padding=1)

    def with_divergence(self, t, x):
        with torch.enable_grad():
            x = x.requires_grad_(True)
            velocity = self.velocity(t, x)
            divergence = sum(
                torch.autograd.grad(velocity[:, k].sum(), x, create_graph=True)[0][:, k]
                for k in range(x.shape[1])
            )
        return velocity, divergence

    def lift(self, x):
        if self.field != "images":
            return x
        images = x.reshape(len(x), 1, 28, 28)
        for k in range(2):
            kernel, bias = self.get("lift", "convolutions", str(k))
            # as XLA pads an even side under a stride of two
            images = functional.pad(images, (0, 1, 0, 1))
            images = functional.silu(
                functional.conv2d(images, kernel.permute(3, 2, 0, 1), bias, stride=2)
            )
        return images.permute(0, 2, 3, 1).reshape(len(x), -1)


def torch_run(field: str, model: nnx.Module, adaptive: bool, adjoint: bool):
    module = Field(model, field)
    inputs, labels = (torch.tensor(x) for x in data_of(field))
    optimiser = torch.optim.Adam(module.parameters(), lr=RATE)
    solve = torchdiffeq.odeint_adjoint if adjoint else torchdiffeq.odeint
    if adaptive:
        options = {"method": "dopri5", "rtol": TOLERANCE, "atol": TOLERANCE}
    else:
        options = {"method": "heun2", "options": {"step_size": 1 / STEPS[field]}}
    begin = [x.detach().clone() for x in module.parameters()]

    def run():
        with torch.no_grad():
            for parameter, value in zip(module.parameters(), begin, strict=True):
                parameter.copy_(value)
        module.count = 0
        optimiser.zero_grad()
        if field == "density":
            times = torch.tensor([1.0, 0.0])
            state = (inputs, torch.zeros(len(inputs)))
            ends, sums = solve(module, state, times, **options)
            squared = (ends[-1] ** 2).sum(1)
            # integrated from 1 to 0, the divergence changes sign
            loss = -(-0.5 * squared - np.log(2 * np.pi) + sums[-1]).mean()
        else:
            end = solve(module, module.lift(inputs), torch.tensor([0.0, 1.0]), **options)[-1]
            kernel, bias = module.get("head")
            loss = functional.cross_entropy(end @ kernel + bias, labels)
        count = module.count
        loss.backward()
        optimiser.step()
        gradient = [x.grad.numpy().copy() for x in module.parameters()]
        return float(loss), count, gradient

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fields", nargs="+", choices=list(STEPS), default=list(STEPS))
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--adjoint", action="store_true", help="solve the adjoint equation")
    options = parser.parse_args()
    for field in options.fields:
        model = model_of(field)
        for adaptive in (True,) if options.adjoint else (False, True):
            runs = {
                "geojax": geojax_run(field, model, adaptive, options.adjoint),
                "torchdiffeq": torch_run(field, model, adaptive, options.adjoint),
            }
            (value, count, ours), (other, evaluations, theirs) = (run() for run in runs.values())
            np.testing.assert_allclose(value, other, rtol=1e-4)
            square = sum(np.sum((a - b) ** 2) for a, b in zip(ours, theirs, strict=True))
            size = sum(np.sum(b**2) for b in theirs)
            assert square < 1e-4 * size, f"gradients differ by {(square / size) ** 0.5}"
            seconds = interleave(runs, options.rounds)
            row = {"field": field, "solver": "dopri5" if adaptive else f"heun, {STEPS[field]}"}
            row |= {f"{k} ms": round(1e3 * float(np.median(v)), 2) for k, v in seconds.items()}
            row |= {
                "ratio": round(ratio(seconds, "geojax", "torchdiffeq"), 3),
                "evaluations": [count, evaluations],
            }
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
