"""Plots of curves in SU(2^n): the pulses that drive them, and what they do to a qubit."""

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from geojax._core import pauli
from geojax._core.errors import InputError
from geojax.viz import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from mpl_toolkits.mplot3d import Axes3D

    from geojax.quantum import Controls

# coefficients below this share of the largest are rounding
_NOISE = 1e-9
_VIEW = np.radians([22.0, 35.0])
_ROUND = np.linspace(0.0, 2.0 * np.pi, 97)


def plot_pulses(controls: "Controls", ax: "Axes | None" = None, *, most: int = 6) -> "Axes":
    """The coefficients of the Hamiltonian over time, drift included, one line per Pauli string.

    Args:
        controls: what drives the curve.
        ax: where to draw; a new figure if None.
        most: how many strings get a colour and a name, those with the largest coefficients first;
            the others are drawn thin and grey.

    Raises:
        InputError: `most` is negative.

    Example:
        >>> import numpy as np
        >>> from geojax.quantum import Controls
        >>> ax = plot_pulses(Controls(np.array([[0.5, 0.0], [0.5, 1.0]]), ["XI", "ZZ"]))
        >>> [text.get_text() for text in ax.get_legend().get_texts()]
        ['ZZ', 'XI']
    """
    if most < 0:
        raise InputError(f"Argument most must not be negative, but is {most}.")
    ax = style.axes_or_new(ax)
    times, table = np.asarray(controls.times), _coefficients(controls)
    largest = np.max(np.abs(table), axis=0)
    names = pauli.labels(controls.num_qubits)
    seen = np.argsort(-largest, kind="stable")
    seen = seen[largest[seen] > _NOISE * max(float(largest.max()), 1e-300)]
    ax.axhline(0.0, color=style.SOFT, linewidth=0.6)
    for k in seen[most:]:
        ax.stairs(table[:, k], times, baseline=None, color=style.SOFT, linewidth=0.5, alpha=0.6)
    for rank, k in enumerate(seen[:most]):
        color, dash = style.CLASSES[rank % len(style.CLASSES)], "-" if rank < 10 else "--"
        ax.stairs(
            table[:, k], times, baseline=None, color=color, linewidth=1.6, linestyle=dash,
            label=names[k], zorder=3,
        )  # fmt: skip
    if len(seen) > most:
        ax.plot([], [], color=style.SOFT, linewidth=0.8, label="other strings")
    ax.set_xlim(times[0], times[-1])
    ax.set_xlabel("time")
    ax.set_ylabel("coefficient (rad per unit time)")
    if len(seen):
        style.legend(ax, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return ax


def plot_pauli_weights(controls: "Controls", ax: "Axes | None" = None) -> "Axes":
    """Which share of the squared norm of the Hamiltonian acts on one, two, ... qubits, over time.

    All strings count alike here, whatever their price.

    Args:
        controls: what drives the curve. In slices without a Hamiltonian all shares are zero.
        ax: where to draw; a new figure if None.

    Example:
        >>> import numpy as np
        >>> from geojax.quantum import Controls
        >>> ax = plot_pauli_weights(Controls(np.array([[1.0, 1.0]]), ["XI", "ZZ"]))
        >>> [text.get_text() for text in ax.get_legend().get_texts()]
        ['1 qubit', '2 qubits']
    """
    ax = style.axes_or_new(ax)
    times, squares = np.asarray(controls.times), np.square(_coefficients(controls))
    of_string = pauli.weights(controls.num_qubits)
    weights = range(1, controls.num_qubits + 1)
    sums = np.stack([squares[:, of_string == weight].sum(axis=1) for weight in weights])
    total = sums.sum(axis=0)
    shares = np.where(total > 0, sums / np.where(total > 0, total, 1.0), 0.0)
    # a step holds until the next one begins, the last one until the end
    ax.stackplot(
        times,
        np.concatenate([shares, shares[:, -1:]], axis=1),
        labels=[f"{weight} qubit{'s' if weight > 1 else ''}" for weight in weights],
        colors=[style.CYCLE[weight - 1] for weight in weights],
        step="post",
        alpha=0.85,
    )
    ax.set_xlim(times[0], times[-1])
    ax.set_ylim(0.0, 1.0)
    ax.set_xlabel("time")
    ax.set_ylabel("share of the squared norm")
    return style.legend(ax, loc="center left", bbox_to_anchor=(1.0, 0.5))


def plot_bloch(unitaries: Any, ax: "Axes3D | None" = None) -> "Axes3D":
    """Where a curve of one qubit takes the three axes of the Bloch sphere.

    The state that starts at the x axis moves along the line called x, and so for y and z: hollow
    where it starts, full where it ends.

    Args:
        unitaries: `[k, 2, 2]`, along the curve.
        ax: 3-D axes, as of `figure.add_subplot(projection="3d")`; a new figure if None.

    Raises:
        InputError: other shapes, or 2-D axes.

    Example:
        >>> import numpy as np
        >>> from geojax.quantum import Controls
        >>> curve = Controls(np.full((8, 1), np.pi / 4), ["Z"])
        >>> ax = plot_bloch(curve.unitaries())  # turns x into y
        >>> end = [line for line in ax.lines if line.get_label() == "x"][0]
        >>> [round(float(v[-1]), 6) + 0.0 for v in end.get_data_3d()]
        [0.0, 1.0, 0.0]
    """
    from geojax.quantum.lax import conjugation

    states = np.asarray(unitaries)
    if states.ndim != 3 or states.shape[1:] != (2, 2):
        raise InputError(
            f"Argument unitaries must have shape [k, 2, 2] (one qubit), but has shape "
            f"{list(states.shape)}."
        )
    axes = _new_sphere_axes() if ax is None else ax
    if getattr(axes, "name", "") != "3d":
        raise InputError(
            "Argument ax must be 3-D axes, as of `figure.add_subplot(projection='3d')`, but is 2-D."
        )
    _sphere(axes)
    turned = np.asarray(conjugation(jnp.asarray(states, complex)))
    paths = np.moveaxis(turned, 2, 0)  # of each axis, [3, k, 3]
    for name, path, color in zip("xyz", paths, style.CYCLE, strict=False):
        axes.plot(*path.T, color=color, linewidth=2.0, label=name)
        axes.plot(*path[:1].T, color=color, marker="o", markersize=6, markerfacecolor="white")
        axes.plot(*path[-1:].T, color=color, marker="o", markersize=6)
    style.legend(axes, loc="upper right")
    return axes


def _new_sphere_axes() -> Any:
    """3-D axes of a new figure."""
    style.matplotlib_module("mpl_toolkits.mplot3d")
    return style.new_figure(width=4.4, height=4.4, subplot_kw={"projection": "3d"})[1][0, 0]


def _sphere(ax: Any) -> None:
    """A sphere of three circles, with its axes."""
    ax.set_axis_off()
    ax.set_proj_type("ortho")
    ax.set_box_aspect((1, 1, 1), zoom=1.3)
    ax.view_init(*np.degrees(_VIEW))
    ax.set(xlim=(-1.1, 1.1), ylim=(-1.1, 1.1), zlim=(-1.1, 1.1))
    cosine, sine, zero = np.cos(_ROUND), np.sin(_ROUND), np.zeros_like(_ROUND)
    up, round = _VIEW
    right = np.array([-np.sin(round), np.cos(round), 0.0])
    above = np.array([-np.sin(up) * np.cos(round), -np.sin(up) * np.sin(round), np.cos(up)])
    outline = cosine * right[:, None] + sine * above[:, None]
    for circle in (outline, (cosine, sine, zero), (cosine, zero, sine), (zero, cosine, sine)):
        ax.plot(*circle, color=style.SOFT, linewidth=0.7, alpha=0.7)
    for k, name in enumerate("xyz"):
        end = np.eye(3)[k]
        ax.plot(*np.stack([-end, end]).T, color=style.SOFT, linewidth=0.6, linestyle=":")
        ax.text(*(1.25 * end), name, color=style.INK, fontsize=9, ha="center", va="center")


def _coefficients(controls: "Controls") -> np.ndarray:
    """Pauli coefficients of each Hamiltonian, drift included, `[K, 4^n]`."""
    return np.asarray(jax.vmap(pauli.to_coefficients)(controls.hamiltonians), float)
