"""The figure of the outcome."""

import numpy as np

from geojax import viz

COLOURS = (viz.SOURCE, viz.TARGET, viz.MOVED, "#b8527f", "#8a7fd0")
KINDS = {"hamiltonian": "one Hamiltonian", "layers": "random layers", "brownian": "finer layers"}


def figure(found: dict) -> bytes:
    picture, axes = viz.new_figure(4, 2, width=4.3, height=3.6)
    top, bottom = axes
    for ax, name in zip(top, ("2", "3"), strict=False):
        if name in found["growth"]:
            growth(found["growth"][name], name, ax)
        else:
            ax.set_axis_off()
    gate_count(found["gate_count"], top[2])
    deviation(found["deviation"], top[3])
    berger(found["berger"], bottom[0])
    cut_points(found["cut_points"], bottom[1])
    faults(found["faults"], bottom[2])
    networks(found["faults"], found["networks"]["profiles"], bottom[3])
    return viz.to_png(picture, dpi=110, colors=128)


def growth(part: dict, name: str, ax) -> None:
    """Complexity against the length of the curve, both logarithmic."""
    lowest, longest = np.inf, 0.0
    for (kind, label), color in zip(KINDS.items(), COLOURS, strict=False):
        rows = part[kind]
        lengths = np.mean(rows["length"], axis=0)
        complexity, below = np.array(rows["complexity"]), np.array(rows["isotropic"])
        ax.plot(lengths, below.mean(axis=0), ":", color=color, linewidth=1)
        ax.plot(lengths, complexity.mean(axis=0), "o-", color=color, markersize=3,
                label=f"{label}: power {rows['exponent']:.2f}")  # fmt: skip
        lowest, longest = min(lowest, lengths[0]), max(longest, lengths[-1])
    line = np.geomspace(lowest, longest, 50)
    top = max(np.max(part[kind]["complexity"]) for kind in KINDS)
    ax.plot(line, np.where(line < 2 * top, line, np.nan), color=viz.INK, linestyle="--",
            linewidth=1, label="length of the curve")  # fmt: skip
    ax.set_xscale("log")
    few_ticks(ax, (0.1, 0.2, 0.5, 1, 2, 4))
    ax.set_xlabel(f"length of the curve, {name} qubits")
    ax.set_ylabel("complexity (dotted: bound from below)")
    viz.legend(ax, prop={"size": 7}, loc="lower right")


def few_ticks(ax, values) -> None:
    """A logarithmic axis with these numbers beside it."""
    ax.set_yscale("log")
    ax.set_yticks(values, [f"{value:g}" for value in values])
    ax.minorticks_off()


def gate_count(found: dict, ax) -> None:
    """Solid on two qubits, dashed on three."""
    parts = [(name, found[name]) for name in ("2", "3") if name in found]
    for (qubits, part), style in zip(parts, ("o-", "s--"), strict=False):
        for name, label, color in (
            ("counted", "sum of turns", viz.SOURCE),
            ("length", "length", viz.MOVED),
        ):
            power = part[f"{name}_exponent"]
            ax.plot(part["gates"], np.mean(part[name], axis=0), style, color=color, markersize=3,
                    linewidth=1.2, label=f"{label}, {qubits} qubits: {power:.2f}")  # fmt: skip
    gates = np.array(parts[-1][1]["gates"])
    line = part["turn"] * gates
    top = 1.2 * np.max(parts[-1][1]["counted"])
    ax.plot(gates, np.where(line < top, line, np.nan), color=viz.INK, linestyle=":",
            label="turns of the circuit")  # fmt: skip
    ax.set_xscale("log", base=2)
    few_ticks(ax, (0.5, 1, 2, 4, 8))
    ax.set_xlabel("random gates")
    ax.set_ylabel("least cost found (power in the legend)")
    viz.legend(ax, prop={"size": 7})


def deviation(part: dict, ax) -> None:
    """Growth of Jacobi fields against time."""
    times = np.array(part["times"])
    for (price, rows), color in zip(part["prices"].items(), COLOURS, strict=False):
        values = rows["growth_over_time"]
        ax.plot(times, values["one Hamiltonian"], "o-", color=color, markersize=3,
                label=f"price {float(price):g}")  # fmt: skip
        ax.plot(times, values["any geodesic"], ":", color=color)
    price = "16.0"
    rate = np.sqrt(-part["prices"][price]["least_curvature"])
    color = COLOURS[list(part["prices"]).index(price)]
    early = np.linspace(times[0], 6 / rate, 60)
    ax.plot(early, np.sinh(rate * early) / (rate * early), "--", color=color, linewidth=1,
            label="sinh law, price 16")  # fmt: skip
    ax.set_xscale("log")
    few_ticks(ax, (1, 2, 4, 16, 64))
    ax.set_xlabel("length (dotted: geodesics of any Hamiltonian)")
    ax.set_ylabel("growth of a Jacobi field over length")
    viz.legend(ax, prop={"size": 7}, loc="upper left")


def berger(part: dict, ax) -> None:
    rows = np.array(part["tilt_cut_conjugate"], float)
    ax.plot(rows[:, 0], rows[:, 1], "o-", color=viz.SOURCE, markersize=3, label="cut point")
    ax.plot(rows[:, 0], rows[:, 2], "s--", color=viz.TARGET, markersize=3,
            label="first conjugate point")  # fmt: skip
    ax.set_xlabel("angle from the cheap axis (radians), 1 qubit")
    ax.set_ylabel("length of the geodesic")
    viz.legend(ax)


def cut_points(part: dict, ax) -> None:
    """Cut points solid, conjugate points dashed, for each direction over the prices."""
    rows = part["direction_price_cut_conjugate"]
    names = list(dict.fromkeys(row[0] for row in rows))
    for name, color in zip(names, COLOURS, strict=False):
        prices, cut, conjugate = np.array([row[1:] for row in rows if row[0] == name], float).T
        ax.plot(prices, cut, "o-", color=color, markersize=3, label=name)
        ax.plot(prices, conjugate, "s--", color=color, markersize=3, alpha=0.6)
    ax.set_xscale("log", base=2)
    ax.set_xlabel("price of weight 2, 2 qubits")
    ax.set_ylabel("length up to the cut (dashed: conjugate)")
    ax.set_ylim(0, None)
    viz.legend(ax, prop={"size": 7})


def faults(part: dict, ax) -> None:
    profile = part["profile"]
    ax.plot(range(1, len(profile) + 1), profile, "o-", color=viz.MOVED, markersize=3)
    ax.axhline(part["mean_price"], color=viz.INK, linestyle="--", label="mean price")
    ax.set_ylim(0, None)
    ax.set_xlabel("layer of the fault, circuits of 3 qubits")
    ax.set_ylabel("cost at the end")
    viz.legend(ax)


def networks(circuits: dict, part: dict, ax) -> None:
    """The same of trained networks, by the share of the depth."""

    def line(values, label, color, style="-"):
        ax.plot(np.arange(1, len(values) + 1) / len(values), values, style, color=color,
                label=label, linewidth=1.3)  # fmt: skip

    line(circuits["profile"], "circuit, price 16", viz.MOVED)
    for (name, rows), color in zip(part.items(), (*COLOURS[:2], *COLOURS[3:]), strict=False):
        line(np.mean(rows["trained"], axis=0), f"{name} network", color)
        line(np.mean(rows["start"], axis=0), None, color, ":")
    few_ticks(ax, (0.2, 0.5, 1, 2, 5))
    ax.set_xlabel("layer of the fault over depth (dotted: untrained)")
    ax.set_ylabel("squared size at the end")
    viz.legend(ax, prop={"size": 7}, loc=(0.5, 0.66))
