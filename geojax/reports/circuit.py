"""The part of a report that shows how a unitary is reached: its controls, and its gates."""

from collections.abc import Mapping, Sequence
from typing import Any

from geojax import viz
from geojax.quantum import Controls
from geojax.reports.page import Picture, Quantity, Section, Table


def controls_section(
    controls: Controls,
    *,
    title: str,
    text: str = "",
    states: Any = None,
    quantities: Sequence[Quantity] = (),
    table: Table | None = None,
    note: str = "",
) -> Section:
    """Pictures of a curve in SU(2^n): its pulses, and what they act on.

    Args:
        controls: what drives the curve.
        title, text, quantities, table, note: as for `Section`.
        states: `[k, 2, 2]`, unitaries of one qubit along the curve, drawn on the Bloch sphere;
            those of the controls if None. Not needed for more qubits.
    """
    figure, axes = viz.new_figure(width=5.6, height=3.8)
    viz.plot_pulses(controls, axes[0, 0])
    pictures = [
        Picture(
            viz.to_svg(figure),
            "Pulses",
            "The Hamiltonian over time: how strongly each Pauli string is driven. The leftmost "
            "letter acts on qubit 0.",
        )
    ]
    if controls.num_qubits == 1:
        figure, axes = viz.new_figure(width=4.4, height=4.4, subplot_kw={"projection": "3d"})
        viz.plot_bloch(controls.unitaries() if states is None else states, axes[0, 0])
        name, caption = (
            "On the Bloch sphere",
            "The way of the states that start at the axes x, y and z, from where they start "
            "(hollow) to where they end (full).",
        )
    else:
        figure, axes = viz.new_figure(width=5.6, height=3.8)
        viz.plot_pauli_weights(controls, axes[0, 0])
        name, caption = (
            "Qubits that act together",
            "Share of the squared norm of the Hamiltonian in Pauli strings on one, two, ... "
            "qubits; the price of a string does not count here.",
        )
    pictures.append(Picture(viz.to_svg(figure), name, caption))
    return Section(title, text, quantities, pictures, table, note)


def gates_section(
    counts: Mapping[str, int], *, title: str, text: str = "", quantities: Sequence[Quantity] = ()
) -> Section:
    """A table of the gates of a circuit.

    Args:
        counts: name of a gate -> how many there are.
        title, text, quantities: as for `Section`.
    """
    rows = sorted(counts.items(), key=lambda entry: -entry[1])
    return Section(title, text, quantities, (), Table(["gate", "number"], rows))
