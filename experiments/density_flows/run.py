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

from geojax import integrate, io, viz
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
WEIGHTS = (0.005, 0.75)
RATE = 1e-2
TOLERANCE = 1e-5
# mean error of a log-density that is small beside the standard error of the likelihood, in nats
ACCURACY = 1e-3


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="all densities, more steps")
    parser.add_argument("--steps", type=int, help="of the optimiser")
    parser.add_argument("--out", type=Path, default=HERE / "outcome", help="folder to write in")
    options = parser.parse_args()
    steps = options.steps or (3000 if options.full else 400)
    names = list(TOY_DENSITIES) if options.full else ["two_moons", "eight_gaussians"]
    runs = {}
    for name in names:
        for kind in ("plain", "regularised"):
            runs[name, kind] = run(name, kind, steps)
            figures = ", ".join(f"{k} {v:.4g}" for k, v in runs[name, kind][0].items())
            print(f"{name}, {kind}: {figures}", flush=True)
    return report(runs, names, steps, options.out, "_full" if options.full else "")


def report(runs: dict, names: list[str], steps: int, out: Path, ending: str) -> int:
    """Write the results and the figure, and say which claims hold."""
    rows, claims, pairs = [], {}, {}
    for name in names:
        (plain, _, before), (priced, _, after) = (
            runs[name, kind] for kind in ("plain", "regularised")
        )
        rows += [{"density": name, "kind": "plain", **plain}]
        rows += [{"density": name, "kind": "regularised", **priced}]
        # the two are measured on the same points
        rest = before - after
        difference, error = float(rest.mean()), float(rest.std(ddof=1) / len(rest) ** 0.5)
        pairs[name] = {"nll_difference": difference, "nll_difference_stderr": error} | {
            f"{key}_ratio": priced[key] / plain[key]
            for key in plain
            if key.startswith("evaluations")
        }
        claims[name] = {
            "gap under 5 % of the squared distance": priced["gap_share"] < 0.05,
            "test NLL no worse, within two standard errors of the paired difference": difference
            <= 2 * error,
            "evaluations halved": priced["evaluations"] <= 0.5 * plain["evaluations"],
        }
    out.mkdir(parents=True, exist_ok=True)
    results = {
        "steps": steps,
        "weights": WEIGHTS,
        "learning_rate": RATE,
        "runs": rows,
        "pairs": pairs,
        "claims": claims,
        "versions": {name: version(name) for name in ("jax", "flax", "diffrax", "optax")}
        | {"python": platform.python_version()},
    }
    io.write_json(out / f"results{ending}.json", results)
    draw({key: value[1] for key, value in runs.items()}, names, out / f"figure{ending}.png")
    for name, parts in claims.items():
        for claim, held in parts.items():
            print(f"{'holds' if held else 'FAILS':6} {name}: {claim}")
    return 0 if all(held for parts in claims.values() for held in parts.values()) else 1


def run(name: str, kind: str, steps: int) -> tuple[dict, DensityFlow, np.ndarray]:
    """One training, what it is worth, and the log-density of each test point."""
    train, test = (
        toy_samples(name, jax.random.key(seed), n) for seed, n in ((0, TRAINING), (1, TEST))
    )
    if kind == "plain":
        flow, price, num_steps = DensityFlow(2, (64, 64), rngs=nnx.Rngs(0)), None, 8
    else:
        # optimal velocities are gradients, and straight paths need few steps
        flow = DensityFlow(2, (64, 64), potential=True, rngs=nnx.Rngs(0))
        price, num_steps = Mixture([KineticEnergy(), HamiltonJacobi()], WEIGHTS), 5
    start = time.perf_counter()
    flow = fit_density(
        train, flow, regulariser=price, steps=steps, learning_rate=RATE, num_steps=num_steps
    ).flow
    seconds = time.perf_counter() - start
    log_prob, evaluations, energy = (np.asarray(x) for x in measure(flow, test, TOLERANCE))
    gap = transport_gap(flow, jax.random.key(2), n=1024, num_batches=6, num_steps=40)
    optimal = {}
    if kind == "regularised":
        # the line between the ends of a path that turns is no flow
        optimal["straight_evaluations"] = float(np.mean(straightened(flow, test[:1000])))
    return (
        {
            "nll": float(-log_prob.mean()),
            "nll_stderr": float(log_prob.std(ddof=1) / len(log_prob) ** 0.5),
            "evaluations": float(evaluations.mean()),
            "evaluations_accuracy": at_accuracy(flow, test[:1000]),
            "energy": float(energy.mean()),
            "squared_distance": gap.squared_distance,
            "gap": gap.gap,
            "gap_stderr": gap.error,
            "gap_share": gap.relative,
            "seconds": seconds,
        }
        | optimal,
        flow,
        log_prob,
    )


@eqx.filter_jit
def measure(flow: DensityFlow, points, tolerance):
    """Log-density, evaluations and energy of each point, one lane each, adaptive."""
    graph, variables = nnx.split(flow)
    controller = diffrax.PIDController(rtol=tolerance, atol=tolerance)

    def one(point):
        log_prob, path = nnx.merge(graph, variables).back(
            point, stepsize_controller=controller, throw=False
        )
        return log_prob, path.num_evaluations, path.energy

    return jax.vmap(one)(points)


def at_accuracy(flow: DensityFlow, points) -> float:
    """Evaluations at the tolerance of which the mean error of the log-density is `ACCURACY`.

    Between tolerances half a decade apart, linearly in the logarithms.
    """
    exact = np.asarray(measure(flow, points, jnp.array(1e-6))[0])
    errors, counts = [], []
    for exponent in np.arange(-5.0, -0.9, 0.5):
        log_prob, evaluations, _ = measure(flow, points, jnp.asarray(10.0**exponent, jnp.float32))
        errors.append(float(np.abs(np.asarray(log_prob) - exact).mean()))
        counts.append(float(np.mean(evaluations)))
        if errors[-1] > ACCURACY:
            break
    # errors rise with the tolerance
    return float(np.exp(np.interp(np.log(ACCURACY), np.log(errors), np.log(counts))))


@jax.jit
def straightened(flow: DensityFlow, points):
    """Evaluations of the optimal flow that has the map of a nearly optimal one.

    It runs along the line from the start x to the end y of each path at constant speed, and its
    Jacobian there, `(1 - t) I + t D`, is that of the map at t = 1.
    """
    graph, variables = nnx.split(flow)
    controller = diffrax.PIDController(rtol=TOLERANCE, atol=TOLERANCE)
    unit = jnp.eye(2)

    def back(y):
        model = nnx.merge(graph, variables)
        return model.back(y, divergence=None, num_steps=40, throw=False)[1].end

    def one(y):
        x, change = back(y), jnp.linalg.inv(jax.jacfwd(back)(y)) - unit

        def field(t, z):
            nearby = jnp.linalg.solve(unit + t * change, z - x - t * (y - x))
            return y - x + change @ nearby

        return integrate(
            field, y, reverse=True, divergence="exact", save="end", stepsize_controller=controller,
            throw=False,
        ).num_evaluations  # fmt: skip

    return jax.vmap(one)(points)


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
