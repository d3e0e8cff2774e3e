"""Fit four densities of the plane with and without a price on the paths, and compare.

    python experiments/density_flows/run.py            # two densities, few steps
    python experiments/density_flows/run.py --full     # all four: the table of the README

Writes `results.json` and `figure.png` (`..._full`) into `--out`.
"""

import argparse
import platform
import time
from importlib.metadata import version
from pathlib import Path

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from geojax import io, viz
from geojax.networks import DensityFlow, transport_gap
from geojax.training import (
    TOY_DENSITIES,
    HamiltonJacobi,
    KineticEnergy,
    Mixture,
    fit_density,
    toy_samples,
)

HERE = Path(__file__).parent
TRAINING, TEST = 20_000, 4_000
# of the kinetic energy, and of how far the potential is from the equation of optimal transport
WEIGHTS = (0.05, 0.3)
RATE = 1e-2
TOLERANCE = 1e-5


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="all densities, more steps")
    parser.add_argument("--steps", type=int, help="of the optimiser")
    parser.add_argument("--out", type=Path, default=HERE / "outcome", help="folder to write in")
    options = parser.parse_args()
    steps = options.steps or (2000 if options.full else 400)
    names = list(TOY_DENSITIES) if options.full else ["two_moons", "eight_gaussians"]
    runs, shown, claims = [], {}, {}
    for name in names:
        train, test = (
            toy_samples(name, jax.random.key(seed), n) for seed, n in ((0, TRAINING), (1, TEST))
        )
        pair = {}
        for kind in ("plain", "regularised"):
            pair[kind], flow = run(train, test, kind, steps)
            runs.append({"density": name, "kind": kind, **pair[kind]})
            shown[name, kind] = flow
            figures = ", ".join(f"{key} {value:.4g}" for key, value in pair[kind].items())
            print(f"{name}, {kind}: {figures}", flush=True)
        plain, priced = pair["plain"], pair["regularised"]
        rest = priced["nll"] - plain["nll"]
        claims[name] = {
            "gap under 5 % of the squared distance": priced["gap_share"] < 0.05,
            # the two are measured on the same points
            "test NLL no worse, within two standard errors": rest
            <= 2 * float(np.hypot(plain["nll_stderr"], priced["nll_stderr"])),
            "evaluations halved": priced["evaluations"] <= 0.5 * plain["evaluations"],
        }
    options.out.mkdir(parents=True, exist_ok=True)
    ending = "_full" if options.full else ""
    results = {
        "steps": steps,
        "weights": WEIGHTS,
        "learning_rate": RATE,
        "runs": runs,
        "claims": claims,
        "versions": {name: version(name) for name in ("jax", "flax", "diffrax", "optax")}
        | {"python": platform.python_version()},
    }
    io.write_json(options.out / f"results{ending}.json", results)
    draw(shown, names, options.out / f"figure{ending}.png")
    for name, parts in claims.items():
        for claim, held in parts.items():
            print(f"{'holds' if held else 'FAILS':6} {name}: {claim}")
    return 0 if all(held for parts in claims.values() for held in parts.values()) else 1


def run(train, test, kind: str, steps: int) -> tuple[dict, DensityFlow]:
    """One training and what it is worth."""
    if kind == "plain":
        flow, price = DensityFlow(2, (64, 64), rngs=nnx.Rngs(0)), None
    else:
        # optimal velocities are gradients
        flow = DensityFlow(2, (32, 32), potential=True, rngs=nnx.Rngs(0))
        price = Mixture([KineticEnergy(), HamiltonJacobi()], WEIGHTS)
    start = time.perf_counter()
    flow = fit_density(train, flow, regulariser=price, steps=steps, learning_rate=RATE).flow
    seconds = time.perf_counter() - start
    log_prob, evaluations, energy = (np.asarray(x) for x in measure(flow, test))
    gap = transport_gap(flow, jax.random.key(2), n=1024, num_batches=6, num_steps=40)
    return {
        "nll": float(-log_prob.mean()),
        "nll_stderr": float(log_prob.std() / len(log_prob) ** 0.5),
        "evaluations": float(evaluations.mean()),
        "energy": float(energy.mean()),
        "squared_distance": gap.squared_distance,
        "gap": gap.gap,
        "gap_stderr": gap.error,
        "gap_share": gap.relative,
        "seconds": seconds,
    }, flow


def measure(flow: DensityFlow, test):
    """Log-density, evaluations and energy of each point, one lane each, adaptive."""
    graph, variables = nnx.split(flow)
    controller = diffrax.PIDController(rtol=TOLERANCE, atol=TOLERANCE)

    @eqx.filter_jit
    def all_of(variables, points):
        def one(point):
            log_prob, path = nnx.merge(graph, variables).back(
                point, stepsize_controller=controller, throw=False
            )
            return log_prob, path.num_evaluations, path.energy

        return jax.vmap(one)(points)

    return all_of(variables, test)


def draw(shown: dict, names: list[str], path: Path) -> None:
    """Densities above, paths below."""
    figure, axes = viz.new_figure(2 * len(names), 2, width=2.6, height=2.6)
    axis = np.linspace(-4, 4, 121, dtype=np.float32)
    grid = jnp.asarray(np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2))
    base = jax.random.normal(jax.random.key(3), (150, 2))
    for column, (name, kind) in enumerate(shown):
        flow = shown[name, kind]
        density = np.exp(np.asarray(flow.log_prob(grid, num_steps=12))).reshape(121, 121)
        axes[0, column].imshow(density, origin="lower", extent=(-4, 4, -4, 4), cmap="magma")
        axes[0, column].set_title(f"{name}\n{kind}", fontsize=8)
        states = np.asarray(flow.path(base, num_steps=20).states)
        axes[1, column].plot(states[..., 0], states[..., 1], lw=0.4, color="0.4")
        axes[1, column].plot(states[-1, :, 0], states[-1, :, 1], ".", ms=2)
        axes[1, column].set_xlim(-4, 4)
        axes[1, column].set_ylim(-4, 4)
        for ax in axes[:, column]:
            ax.set_xticks([])
            ax.set_yticks([])
            ax.set_aspect("equal")
    figure.savefig(path, dpi=90, facecolor="white")


if __name__ == "__main__":
    raise SystemExit(main())
