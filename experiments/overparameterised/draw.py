"""The figure: what was found of layers, widths and labels."""

import numpy as np

from geojax import viz

COLOURS = (viz.SOURCE, viz.TARGET, viz.MOVED, "#b8527f", "#8a7fd0", "#b59a2c")


def figure(results: dict) -> bytes:
    parts = [name for name in ("layers", "widths", "labels") if name in results]
    rows = 1 if parts == ["layers"] else 2
    picture, axes = viz.new_figure(3, rows, width=4.4, height=3.6)
    places = iter(axes.flat)
    if "layers" in results:
        damage(results["layers"], next(places))
        checkpoints(results["layers"], next(places))
        profiles(results["layers"], next(places))
    if "widths" in results:
        travel(results["widths"], next(places), "distance", "distance of the parameters")
        travel(results["widths"], next(places), "fisher_length", "Fisher length of the training")
    if "labels" in results:
        errors(results["labels"], next(places))
    for ax in places:
        ax.set_axis_off()
    return viz.to_png(picture, dpi=110, colors=128)


def damage(found: dict, ax) -> None:
    """Accuracy by the layer that is put back."""
    for (depth, groups), color in zip(found["accuracy"].items(), COLOURS, strict=False):
        for name, style in (("start", "-"), ("fresh draw", ":")):
            means, deviations = np.array(groups[name])
            ax.errorbar(
                np.arange(1, len(means) + 1), means, yerr=deviations, color=color, linestyle=style,
                marker="o", markersize=3, capsize=2, label=f"{depth} hidden, {name}",
            )  # fmt: skip
    ax.set_xlabel("layer put back (the last is the read-out)")
    ax.set_ylabel("test accuracy")
    ax.set_ylim(0, 1.02)
    viz.legend(ax, prop={"size": 7})


def checkpoints(found: dict, ax) -> None:
    """Accuracy by layer and by the time that it is put back to."""
    depth, groups = list(found["accuracy"].items())[-1]
    table = np.array([means for means, _ in groups.values()])
    ax.imshow(table, cmap="viridis", vmin=0, vmax=1, aspect="auto")
    for (row, column), value in np.ndenumerate(table):
        ax.text(
            column, row, f"{value:.2f}", ha="center", va="center", fontsize=7,
            color="white" if value < 0.6 else "black",
        )  # fmt: skip
    ax.set_yticks(range(len(table)), list(groups))
    ax.set_xticks(range(table.shape[1]), [str(k + 1) for k in range(table.shape[1])])
    ax.set_xlabel("layer put back")
    ax.set_title(f"test accuracy, {depth} hidden layers", fontsize=9)


def profiles(found: dict, ax) -> None:
    """What a change of each layer does to the answers, of the deepest networks."""
    deepest = max(run["depth"] for run in found["runs"])
    runs = [run for run in found["runs"] if run["depth"] == deepest]
    for (metric, style), (name, color) in (
        (a, b)
        for a in (("Fisher", "-"), ("Euclidean", ":"))
        for b in zip(("state", "start", "fresh draw"), COLOURS, strict=False)
    ):
        sizes = np.array([run["norms"][metric][name] for run in runs])
        error = sizes.std(axis=0, ddof=1) / len(runs) ** 0.5 if len(runs) > 1 else None
        ax.errorbar(
            np.arange(1, deepest + 2), sizes.mean(axis=0), yerr=error, color=color,
            linestyle=style, marker="o", markersize=3, capsize=2, label=f"{metric}, {name}",
        )  # fmt: skip
    ax.set_yscale("log")
    ax.set_xlabel("layer that is changed")
    ax.set_ylabel("first-order change of the answers")
    viz.legend(ax, prop={"size": 7})


def travel(found: dict, ax, key: str, label: str) -> None:
    """A figure against the width, for both optimisers."""
    all_widths = next(iter(found["slopes"].values()))
    for (name, slopes), color in zip(all_widths.items(), COLOURS, strict=False):
        runs = [run for run in found["runs"] if run["optimiser"] == name]
        sizes = sorted({run["width"] for run in runs})
        means = [np.mean([run[key] for run in runs if run["width"] == size]) for size in sizes]
        ax.loglog(sizes, means, "-", color=color, linewidth=1.2)
        text = "{}: slope {:.2f} ± {:.2f}".format(name, *slopes[key])
        ax.loglog(
            [run["width"] for run in runs], [run[key] for run in runs], "o", color=color,
            markersize=3, label=text,
        )  # fmt: skip
    if key == "distance":
        first = next(iter(all_widths))
        ends = np.array([sizes[0], sizes[-1]])
        runs = [run for run in found["runs"] if run["optimiser"] == first]
        height = np.mean([run[key] for run in runs if run["width"] == sizes[0]])
        ax.loglog(ends, height * (ends / ends[0]) ** -0.5, "--", color=viz.INK, label="slope -1/2")
    if key == "fisher_length":
        for name, color in zip(all_widths, COLOURS, strict=False):
            runs = [run for run in found["runs"] if run["optimiser"] == name]
            means = [
                np.mean([run["fisher_distance"] for run in runs if run["width"] == size])
                for size in sizes
            ]
            ax.loglog(sizes, means, ":", color=color, label=f"{name}: distance of the ends")
    if key == "fisher_length":
        ax.set_yscale("linear")
        ax.set_ylim(bottom=0)
    ax.set_xlabel("width")
    ax.set_ylabel(label)
    viz.legend(ax, prop={"size": 7})


def errors(found: dict, ax) -> None:
    """Test error against energy, by share of random labels."""
    shares = sorted({run["share"] for run in found["runs"]})
    markers = dict(zip(sorted({run["depth"] for run in found["runs"]}), "os^", strict=False))
    for share, color in zip(shares, COLOURS, strict=False):
        for depth, marker in markers.items():
            runs = [run for run in found["runs"] if (run["share"], run["depth"]) == (share, depth)]
            ax.plot(
                [run["energy"] for run in runs], [run["test_error"] for run in runs], marker,
                color=color, markersize=4, linestyle="none",
                label=f"{share:.0%} random" if depth == min(markers) else None,
            )  # fmt: skip
    ax.set_xlabel(
        "energy of the paths (" + ", ".join(f"{m}: depth {d}" for d, m in markers.items()) + ")"
    )
    ax.set_ylabel("test error")
    viz.legend(ax, prop={"size": 7})
