"""The part of a report that shows what was measured of networks as paths."""

from collections.abc import Mapping

from geojax import viz
from geojax.complexity import Measures
from geojax.complexity.measures import LABELS
from geojax.reports.page import Picture, Section, Table, form

# What is drawn layer by layer: label of the axis, and what one sees.
PROFILES = {
    "step_size": (
        "step over state",
        "Size of each step relative to its state: small where layers are near the identity.",
    ),
    "commutator": (
        "commutator over steps",
        "What two neighbouring layers do differently in the other order, over the length of their "
        "steps.",
    ),
    "sensitivity": (
        "derivative of the logits",
        "Size of the derivative of the logits in each state, from the start to the end.",
    ),
    "deletion_answers": (
        "answers changed",
        "Share of the answers that change when a layer is left out.",
    ),
    "swap_answers": (
        "answers changed",
        "Share of the answers that change when a layer is swapped with the next.",
    ),
}


def measures_section(views: Mapping[str, Measures], *, title: str, text: str = "") -> Section:
    """Pictures and a table of the measures of networks beside each other.

    Args:
        views: name of the network -> its measures, of the same kind for all.
        title, text: as for `Section`.

    Returns:
        The section; its note says how many steps and samples the numbers are of.
    """
    pictures = []
    profiles = {name: found.profiles() for name, found in views.items()}
    for key, (label, caption) in PROFILES.items():
        values = {name: found[key] for name, found in profiles.items() if key in found}
        if not values:
            continue
        figure, axes = viz.new_figure(height=3.2)
        x_label = "state" if key == "sensitivity" else "layer"
        viz.plot_profile(values, axes[0, 0], label=label, x_label=x_label)
        name = key.removesuffix("_answers").replace("_", " ").capitalize()
        pictures.append(Picture(viz.to_svg(figure), name, caption, "third"))
    for name, found in views.items():
        if found.singular_values is None:
            continue
        figure, axes = viz.new_figure(height=3.2)
        viz.plot_spectrum(found.singular_values, axes[0, 0])
        count = len(found.singular_values[0])
        caption = (
            "Singular values of the Jacobian from the start to each state, medians over "
            f"{count} samples; the largest and the smallest are drawn strongest."
        )
        pictures.append(Picture(viz.to_svg(figure), f"Spectrum, {name}", caption, "third"))
    return Section(title, text, (), pictures, _table(views), _note(views))


def _table(views: Mapping[str, Measures]) -> Table:
    figures = {name: found.figures() for name, found in views.items()}

    def cell(name: str, key: str) -> str:
        mean = figures[name].get(key)
        if mean is None or mean != mean:
            return form(None)
        return f"{form(mean)} ± {form(figures[name][f'{key}_stderr'])}"

    known = [key for key in LABELS if any(key in found for found in figures.values())]
    rows = [[LABELS[key], *(cell(name, key) for name in views)] for key in known]
    return Table(["figure", *views], rows)


def _note(views: Mapping[str, Measures]) -> str:
    first = next(iter(views.values()))
    counts = [
        f"{name} {found.num_steps_measured} of {found.num_layers}"
        for name, found in views.items()
        if found.num_steps_measured < found.num_layers
    ]
    note = (
        f"Means and standard errors over {len(first.length):,} samples (of the geodesic defect "
        "over groups of samples, of Jacobians over some)."
    )
    if counts:
        note += (
            " Steps that change the dimension of the state have no length and are left out; "
            f"measured are: {', '.join(counts)}."
        )
    return note
