"""`geojax circuit`: how complex a quantum gate is, and how to make it."""

import math
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from geojax._core.errors import InputError, NumericalError
from geojax.cli.circuit_options import Circuit
from geojax.cli.naming import named_options
from geojax.cli.run import Run, clean, versions
from geojax.io import files

# Where a product formula is as good as exact.
EXACT = 1e-7

# Figure -> what it is called.
LABELS = {
    "distance": "complexity: length of the geodesic",
    "lower_bound": "bound from below",
    "upper_bound": "bound from above",
    "isotropic_distance": "length where all strings cost 1",
    "residual": "distance of its end from the target",
    "conjugate_time": "first conjugate point (the end is at 1)",
    "num_starts": "starts",
    "num_converged": "starts that reached the target",
    "num_agreed": "starts that found this length",
    "controls_error": "error of the controls",
    "product_error": "error of the circuit against the controls",
    "infidelity": "infidelity of the circuit",
    "num_gates": "gates",
    "num_entangling_gates": "gates on two qubits",
    "depth": "depth",
}
CIRCUIT_LABELS = ("controls_error", "product_error", "infidelity", "num_entangling_gates", "depth")


def run(options: Circuit, run: Run) -> dict[str, Any]:
    """Search the geodesic, cut it into controls, split these into gates, and write them."""
    unitary = read_target(options, run)
    with named_options(options):
        metric, num_steps = checked(options, len(unitary).bit_length() - 1)
    run.claim(options.out)
    run.progress(f"compiling, and searching from {options.starts} starts")
    import jax

    from geojax.quantum import nielsen_complexity, trotterise

    found = nielsen_complexity(
        unitary,
        metric,
        num_starts=options.starts,
        num_steps=num_steps,
        key=jax.random.key(options.seed),
        throw=False,
    )
    run.figures = figures = geodesic_figures(found, metric, options)
    if figures["distance"] is None:
        raise NumericalError(failure(figures, options), found.result)
    warn(figures, options)
    run.progress("making the circuit")
    controls = controls_of(found, metric, options.slices)
    single = one_slice(controls)
    formula = trotterise(single, 1)
    moved = np.linalg.norm(np.asarray(single.unitary() - controls.unitary()), 2)
    if max(formula.error, float(moved)) > EXACT:
        formula = trotterise(controls, options.order)
    circuit = formula.circuit.decomposed()
    figures |= circuit_figures(circuit, controls, formula, np.asarray(found.target))
    run.progress("writing")
    run.write("circuit.qasm", formula.circuit.to_qasm())
    assert run.folder is not None, "the folder was claimed"
    controls.save(run.folder / "controls.npz")
    run.progress("drawing")
    run.write("report.html", report(found, controls, figures, run))
    show(figures, run)
    return figures


# -- what is given ------------------------------------------------------------------------------


def read_target(options: Circuit, run: Run) -> np.ndarray:
    """The unitary of a gate or a file, in double precision, of determinant one.

    Raises:
        InputError: no such gate or file, a matrix that is not unitary, or too large a one.
    """
    from geojax._core import checks
    from geojax.io.npy import read_npy
    from geojax.quantum import as_target

    text = options.target
    place = files.checked_path(text, "TARGET")
    if place.suffix.lower() != ".npy":
        if place.is_file():
            raise InputError(f"{text}: is no .npy file; save the matrix with numpy.save")
        try:
            return np.asarray(as_target(text))
        except InputError as error:
            mend = re.sub(r"gate\('(\w+)', 0\.5\)", r'geojax circuit "\1(0.5)"', str(error))
            raise InputError(f"{mend} A unitary is read from a .npy file.") from error
    if place.is_file():
        size = place.stat().st_size
        checks.memory(20 * size, f"{text}: a path of matrices like it", "use fewer qubits")
    matrix = read_npy(place)
    run.add_input(place)
    if matrix.dtype.kind not in "biufc":
        raise InputError(f"{text}: holds {matrix.dtype}, not numbers; save a matrix of numbers")
    with named_options(options, {"target": text}):
        # once more in double precision, for what was saved in single
        return np.asarray(as_target(np.asarray(as_target(matrix), complex)))


def checked(options: Circuit, num_qubits: int) -> tuple[Any, int]:
    """The metric, and the steps of a geodesic: even, and so many for each slice.

    Raises:
        InputError: prices, couplings or counts that make no sense, or a search that does not fit
            into the memory.
    """
    from geojax._core import checks
    from geojax.quantum.nielsen import check_memory

    checks.count(options.starts, "starts")
    checks.count(options.steps, "steps", least=2)
    checks.count(options.slices, "slices")
    if options.order not in (1, 2):
        raise InputError(f"--order must be 1 or 2, but is {options.order}")
    if not 0 <= options.seed < 2**32:
        raise InputError(f"--seed: {options.seed} is no seed; give one from 0 to 2^32 - 1")
    unit = math.lcm(2, options.slices)
    num_steps = -(-options.steps // unit) * unit
    check_memory(num_qubits, options.starts, num_steps)
    return metric_of(options, num_qubits), num_steps


def metric_of(options: Circuit, num_qubits: int) -> Any:
    """The prices of all strings."""
    from geojax.metrics import PauliPenalty

    penalty, single = options.penalty, prices_by_label(options.penalties_by_label)
    coupling = None
    if options.coupling is not None:
        coupling = pairs(options.coupling)
        if num_qubits == 1:
            raise InputError("--coupling: the target acts on one qubit, which has no other")
    price = (penalty[0] if len(penalty) == 1 else penalty) if penalty else 1.0
    metric = PauliPenalty(num_qubits, price, coupling=coupling)
    if len(penalty) == 1 and price != 1 and np.all(np.asarray(metric.penalties) == 1):
        by_weight = "1 2 4 for X, Y and Z" if num_qubits == 1 else f"1 {price:g} by weight"
        warnings.warn(
            f"--penalty {price:g} prices strings on three or more qubits, of which a target on "
            f"{num_qubits} has none; give several prices, such as {by_weight}",
            stacklevel=2,
        )
    if not single:
        return metric
    with named_options(options, {"penalties": "--penalties-by-label"}):
        PauliPenalty(num_qubits, single)
    table = dict(zip(metric.labels[1:], np.asarray(metric.penalties[1:]).tolist(), strict=True))
    return PauliPenalty(num_qubits, list((table | single).values()))


def prices_by_label(text: str | None) -> dict[str, float]:
    """`XX=4,ZZ=inf` as a mapping.

    Raises:
        InputError: not of this form, a string given twice, or a price that is not positive.
    """
    prices: dict[str, float] = {}
    for part in [] if text is None else text.split(","):
        label, _, number = (word.strip() for word in part.partition("="))
        try:
            price = float(number)
        except ValueError as error:
            raise InputError(
                f"--penalties-by-label: {part!r} is no price; write LABEL=PRICE, as in XX=4,ZZ=inf"
            ) from error
        if not price > 0:
            raise InputError(
                f"--penalties-by-label: {part!r} is not positive; give a price above 0"
            )
        if label in prices:
            raise InputError(f"--penalties-by-label: {label!r} is given twice; keep one")
        prices[label] = price
    return prices


def pairs(text: str) -> list[tuple[int, int]]:
    """`0-1,1-2` as pairs of qubits.

    Raises:
        InputError: not of this form.
    """
    found = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,9})\s*-\s*(\d{1,9})\s*", part)
        if match is None:
            raise InputError(f"--coupling: {part!r} is no pair of qubits; write 0-1,1-2")
        found.append((int(match[1]), int(match[2])))
    return found


# -- what is found ------------------------------------------------------------------------------


def geodesic_figures(found: Any, metric: Any, options: Circuit) -> dict[str, Any]:
    """The figures of the search; the distance is None if it was not reached."""
    prices = np.asarray(metric.penalties[1:])
    names = metric.labels[1:]
    distance = float(found.distance)
    isotropic = float(found.lower_bound) / math.sqrt(float(np.min(prices)))
    return {
        "target": options.target,
        "num_qubits": metric.num_qubits,
        # JSON has no infinity
        "penalties": {
            name: "inf" if np.isinf(price) else float(price)
            for name, price in zip(names, prices, strict=True)
        },
        "distance": distance if math.isfinite(distance) else None,
        "lower_bound": float(found.lower_bound),
        "upper_bound": float(found.upper_bound),
        "isotropic_distance": isotropic,
        "residual": float(found.residual),
        "conjugate_time": float(found.conjugate_time),
        "num_starts": options.starts,
        "num_converged": int(found.num_converged),
        "num_agreed": int(found.num_agreed),
        "nearest_end": float(np.min(np.asarray(found.lanes.residuals))),
    }


def failure(figures: dict[str, Any], options: Circuit) -> str:
    """Why there is no geodesic, and what to do about it."""
    if figures["num_converged"] == 0:
        text = (
            f"no start of {options.starts} reached the target: the nearest ended "
            f"{figures['nearest_end']:.1e} from it"
        )
    else:
        text = f"the shortest geodesic missed the target by {figures['residual']:.1e}"
    return f"{text}; raise --starts or --steps, or price the strings less unequally"


def warn(figures: dict[str, Any], options: Circuit) -> None:
    """Say what speaks against the length that was found."""
    if math.isnan(figures["conjugate_time"]):
        warnings.warn(
            "the steps are too long to count conjugate points, so there may be a shorter curve; "
            "raise --steps",
            stacklevel=2,
        )
    if figures["conjugate_time"] < 1 - 1e-6:
        warnings.warn(
            f"a conjugate point lies before the end (at {figures['conjugate_time']:.3g} of 1): "
            "this geodesic is not the shortest; raise --starts",
            stacklevel=2,
        )
    if figures["num_agreed"] == 1 and options.starts > 1:
        warnings.warn(
            "only one start found this length, so there may be a shorter one; raise --starts",
            stacklevel=2,
        )


def controls_of(found: Any, metric: Any, slices: int) -> Any:
    """The geodesic as controls, in the strings that are allowed and that it uses."""
    import equinox as eqx

    from geojax.quantum import Controls

    times, states = found.path.times, found.path.states
    stride = (len(times) - 1) // slices
    path = eqx.tree_at(
        lambda path: (path.times, path.states), found.path, (times[::stride], states[::stride])
    )
    finite = np.isfinite(np.asarray(metric.penalties[1:]))
    allowed = [label for label, keep in zip(metric.labels[1:], finite, strict=True) if keep]
    return Controls.from_path(path, allowed).pruned()


def one_slice(controls: Any) -> Any:
    """The mean Hamiltonian over the whole time: the same curve, where it is constant."""
    from geojax.quantum import Controls

    durations = np.asarray(controls.durations)
    mean = np.average(np.asarray(controls.coefficients), axis=0, weights=durations)
    return Controls(mean[None], controls.labels, float(durations.sum()))


def circuit_figures(
    circuit: Any, controls: Any, formula: Any, target: np.ndarray
) -> dict[str, Any]:
    """The figures of the controls and the circuit, which has standard gates only."""
    end = np.asarray(controls.unitary())
    overlap = abs(np.trace(target.conj().T @ circuit.unitary())) / len(target)
    sizes = circuit.counts_by_size()
    return {
        "slices": controls.num_slices,
        "controls_error": float(np.linalg.norm(end - target, 2)),
        "product_error": formula.error,
        "infidelity": max(0.0, 1.0 - float(overlap) ** 2),
        "gates": dict(sorted(circuit.counts().items())),
        "num_gates": sum(sizes.values()),
        "num_entangling_gates": sum(count for size, count in sizes.items() if size > 1),
        "depth": circuit.depth() if sizes else 0,
    }


def report(found: Any, controls: Any, figures: dict[str, Any], run: Run) -> str:
    """The page."""
    from geojax.reports import Quantity, Table, controls_section, gates_section, render_page

    plain = clean(figures)
    name = Path(plain["target"]).name
    geodesic = controls_section(
        controls,
        title="The geodesic",
        text=f"The shortest curve of {plain['num_qubits']}-qubit unitaries that was found from the "
        f"identity to {name}, in Nielsen's metric: every Pauli string of the Hamiltonian at its "
        f"own price. It is cut into {plain['slices']} pieces, in each of which the Hamiltonian is "
        "constant.\n\nNo curve is shorter than the bound from below. Beyond a conjugate point a "
        "geodesic is no longer the shortest; the search cannot exclude that another one is shorter "
        "still, and how many starts agree says how far to trust it.",
        states=found.path.states if plain["num_qubits"] == 1 else None,
        table=Table(
            ["figure", "value"],
            [
                [label, plain[key] if plain[key] is not None else absent(key, figures)]
                for key, label in LABELS.items()
                if key not in CIRCUIT_LABELS and key != "num_gates"
            ],
        ),
    )
    gates = gates_section(
        plain["gates"],
        title="The circuit",
        text="A product formula turns the Hamiltonians into rotations about single Pauli strings, "
        "and these are written in standard gates (circuit.qasm). Its error is measured, as a "
        "largest singular value. Each rotation about a string on k qubits takes 2 (k - 1) "
        "controlled nots: cheap strings make cheap circuits.",
        quantities=[Quantity(plain[key], "", LABELS[key]) for key in CIRCUIT_LABELS],
    )
    return render_page(
        f"The complexity of {name}",
        "A quantum gate as the end of a priced curve: how long the shortest one is, which pulses "
        "drive it, and which gates come near it.",
        [geodesic, gates],
        quantities=[
            Quantity(plain[key], "", LABELS[key])
            for key in ("distance", "lower_bound", "num_agreed", "num_gates")
        ],
        versions=versions(),
        config=clean(run.config),
    )


def absent(key: str, figures: dict[str, Any]) -> str:
    """What a figure that is not finite means."""
    if math.isnan(figures[key]):
        return "unknown"
    return "none" if key == "conjugate_time" else "infinite"


def show(figures: dict[str, Any], run: Run) -> None:
    """Print the figures and where the results are."""
    from geojax.reports import form

    plain = clean(figures)
    run.clear_progress()
    for key, label in LABELS.items():
        print(f"{label:44}{absent(key, figures) if plain[key] is None else form(plain[key]):>16}")
    print(f"{'report':44}{run.folder}/report.html")
