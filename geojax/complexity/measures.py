"""What is measured of a path or a network, per sample, and its means with standard errors."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import numpy as np
from jaxtyping import Float, Int

# Figure -> what it is called. Lengths are in the unit of the states.
LABELS = {
    "accuracy": "share of right answers",
    "length": "length of the path",
    "length_over_chord": "length over chord",
    "energy": "energy of the path",
    "step_size": "size of a step, relative to the state",
    "commutator": "commutator of neighbouring layers, relative to their steps",
    "geodesic_defect": "geodesic defect",
    "largest_singular_value": "largest singular value of the Jacobian",
    "smallest_singular_value": "smallest singular value of the Jacobian",
    "log_condition": "condition of the Jacobian, decimal logarithm",
    "first_sensitivity": "derivative of the answer in the first state",
    "last_sensitivity": "derivative of the answer in the last state",
    "deletion": "change of the logits without a layer, relative",
    "swap": "change of the logits with two layers swapped, relative",
    "deletion_answers": "share of answers changed without a layer",
    "swap_answers": "share of answers changed with two layers swapped",
    "deletion_accuracy": "share of right answers without a layer",
    "swap_accuracy": "share of right answers with two layers swapped",
}


class Measures(eqx.Module):
    """Measurements of n paths of L steps; what does not apply is NaN, or None altogether.

    Steps that change the dimension of the state have no displacement: lengths, energies and
    commutators leave them out, and `num_steps_measured` says how many are left.

    Attributes:
        dimensions: of the states, L + 1.
        length: of each path, `[n]`.
        chord: from start to end, `[n]`; where the dimension changes on the way, the sum over
            the stretches of one dimension.
        energy: half the squared speed, integrated over one unit of time, `[n]`.
        step_size: `|x_{k+1} - x_k| / |x_k|`, `[L, n]`: small near the identity.
        commutator: `|g(f(x)) - f(g(x))|` for neighbouring layers f, g, over the lengths of the two
            steps, `[L - 1, n]`.
        defect: geodesic defects of groups of samples.
        scale: of the kernel that the defect was measured in.
        singular_values: of the Jacobian from the start to each state, for some samples: L + 1
            arrays `[m, r_k]` in descending order.
        sensitivity: Frobenius norm of the derivative of the logits in each state, for the same
            samples, `[L + 1, m]`.
        fisher_sensitivity: the same for the probabilities in the Fisher metric.
        logits: `[n, classes]`.
        deleted: logits without layer k, `[L, n, classes]`.
        swapped: logits with the layers k and k + 1 swapped, `[L - 1, n, classes]`.
        labels: the true classes, `[n]`.
    """

    dimensions: tuple[int, ...] = eqx.field(static=True)
    length: Float[np.ndarray, " n"]
    chord: Float[np.ndarray, " n"]
    energy: Float[np.ndarray, " n"]
    step_size: Float[np.ndarray, "l n"]
    commutator: Float[np.ndarray, "pairs n"] | None = None
    defect: Float[np.ndarray, " groups"] | None = None
    scale: float | None = eqx.field(static=True, default=None)
    singular_values: tuple[Float[np.ndarray, "m _"], ...] | None = None
    sensitivity: Float[np.ndarray, "states m"] | None = None
    fisher_sensitivity: Float[np.ndarray, "states m"] | None = None
    logits: Float[np.ndarray, "n classes"] | None = None
    deleted: Float[np.ndarray, "l n classes"] | None = None
    swapped: Float[np.ndarray, "pairs n classes"] | None = None
    labels: Int[np.ndarray, " n"] | None = None

    @property
    def num_layers(self) -> int:
        """Number L of steps."""
        return len(self.dimensions) - 1

    @property
    def num_steps_measured(self) -> int:
        """Number of the steps that keep the dimension of the state."""
        return sum(a == b for a, b in zip(self.dimensions, self.dimensions[1:], strict=False))

    @property
    def length_over_chord(self) -> Float[np.ndarray, " n"]:
        """Length over chord of each path: 1 for a straight one, NaN for one that ends at its start.

        A path that rests is straight.
        """
        rest = (self.length == 0) & (self.num_steps_measured > 0)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.where(self.chord > 0, self.length / self.chord, np.nan)
        return np.where(rest, 1.0, ratio)

    def change(self, other: Float[np.ndarray, "k n classes"]) -> Float[np.ndarray, "k n"]:
        """Norm of the change of the logits, over that of the logits less their mean."""
        assert self.logits is not None
        spread = self.logits - self.logits.mean(axis=-1, keepdims=True)
        difference = np.linalg.norm(other - self.logits[None], axis=-1)
        with np.errstate(divide="ignore", invalid="ignore"):
            return difference / np.linalg.norm(spread, axis=-1)[None]

    def changed(self, other: Float[np.ndarray, "k n classes"]) -> Float[np.ndarray, "k n"]:
        """1 where the answer is another one, 0 where it is the same; NaN where there is none."""
        assert self.logits is not None
        differs = np.argmax(other, axis=-1) != np.argmax(self.logits, axis=-1)[None]
        return _where_known(differs, other)

    def right(self, other: Float[np.ndarray, "k n classes"]) -> Float[np.ndarray, "k n"]:
        """1 where the answer is right, 0 where it is wrong; NaN where there is none."""
        assert self.labels is not None
        return _where_known(np.argmax(other, axis=-1) == self.labels[None], other)

    def profiles(self) -> dict[str, Float[np.ndarray, "k n"]]:
        """What is measured at each layer, by the names of `LABELS`: `[layers, samples]`."""
        found: dict[str, Any] = {"step_size": self.step_size}
        if self.commutator is not None:
            found["commutator"] = self.commutator
        if self.sensitivity is not None:
            found["sensitivity"] = self.sensitivity
        if self.fisher_sensitivity is not None:
            found["fisher_sensitivity"] = self.fisher_sensitivity
        for name, other in (("deletion", self.deleted), ("swap", self.swapped)):
            if other is None:
                continue
            found[name], found[f"{name}_answers"] = self.change(other), self.changed(other)
            if self.labels is not None:
                found[f"{name}_accuracy"] = self.right(other)
        return found

    def samples(self) -> dict[str, Float[np.ndarray, " _"]]:
        """Every figure per sample (the defect per group), means over the layers where there are."""
        found: dict[str, Any] = {}
        if self.labels is not None and self.logits is not None:
            found["accuracy"] = self.right(self.logits[None])[0]
        for name in ("length", "length_over_chord", "energy"):
            found[name] = getattr(self, name)
        profiles = {name: _mean_of_known(values) for name, values in self.profiles().items()}
        found |= profiles
        if self.defect is not None:
            found["geodesic_defect"] = self.defect
        if self.singular_values is not None:
            largest, smallest = self.singular_values[-1][:, 0], self.singular_values[-1][:, -1]
            with np.errstate(divide="ignore", invalid="ignore"):
                # not of the quotient, which may be too large for its precision
                condition = np.log10(largest) - np.log10(smallest)
            found["largest_singular_value"], found["smallest_singular_value"] = largest, smallest
            found["log_condition"] = condition
        if self.sensitivity is not None:
            found["first_sensitivity"] = self.sensitivity[0]
            found["last_sensitivity"] = self.sensitivity[-1]
        return {name: found[name] for name in LABELS if name in found}

    def figures(self) -> dict[str, float]:
        """Means over the samples and their standard errors, as plain numbers."""
        figures = {}
        for name, values in self.samples().items():
            known = np.asarray(values, np.float64)
            known = known[~np.isnan(known)]
            error = known.std(ddof=1) / known.size**0.5 if known.size > 1 else 0.0
            figures[name] = float(known.mean()) if known.size else float("nan")
            figures[f"{name}_stderr"] = float(error) if known.size else float("nan")
        return figures

    def table(self) -> list[tuple[str, float, float]]:
        """Rows of what is measured: its label, mean, and standard error."""
        figures = self.figures()
        return [
            (label, figures[name], figures[f"{name}_stderr"])
            for name, label in LABELS.items()
            if name in figures
        ]


def stretches(dimensions: Sequence[int]) -> list[tuple[int, int]]:
    """First and last state of each longest run of states of one dimension, of two at least."""
    cuts = [0, *(k for k in range(1, len(dimensions)) if dimensions[k] != dimensions[k - 1])]
    ends = [*(cut - 1 for cut in cuts[1:]), len(dimensions) - 1]
    return [(start, end) for start, end in zip(cuts, ends, strict=True) if end > start]


def _where_known(values: np.ndarray, logits: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(logits).any(axis=-1), np.nan, values.astype(np.float64))


def _mean_of_known(values: np.ndarray) -> np.ndarray:
    """Means over the layers that have the measure; NaN where none has."""
    known = ~np.isnan(values)
    count = known.sum(axis=0)
    total = np.where(known, values, 0.0).sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
