"""Sweeps of quantum gates: their complexity under many prices, or that of many gates."""

from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import numpy as np
from jaxtyping import PyTree

from geojax._core import checks
from geojax._core.errors import InputError
from geojax._core.roles import Static, Traced
from geojax.io import npy
from geojax.metrics import PauliPenalty
from geojax.quantum import gate, nielsen_complexity
from geojax.quantum.gates import as_target
from geojax.sweeps.tasks.base import AbstractTask, Outcome, Program, hash_of

RANDOM = "random"


@dataclass(frozen=True, kw_only=True)
class CircuitConfig:
    """Settings of a search for the complexity of a gate; see `nielsen_complexity`.

    Attributes:
        target: name of a gate, a .npy file, or "random", uniform on the unitaries, by the seed.
        penalty: price of the strings in `priced`; all others cost 1.
        seed: of a random target, and of the search.
        priced: Pauli strings with commas between them, such as "Z" or "XX,YY"; if empty, those on
            three or more qubits (on both of two; Z of one).
        num_qubits: of a random target.
        num_starts: searches, all at once.
        num_steps: steps of each geodesic.
    """

    target: Traced[str] = RANDOM
    penalty: Traced[float] = 1.0
    seed: Traced[int] = 0
    priced: Static[str] = ""
    num_qubits: Static[int] = 1
    num_starts: Static[int] = 16
    num_steps: Static[int] = 32

    def __post_init__(self):
        checks.positive(self.penalty, "penalty")
        checks.count(self.seed, "seed", least=0)
        for name in ("num_qubits", "num_starts", "num_steps"):
            checks.count(getattr(self, name), name)


@dataclass(frozen=True, kw_only=True)
class CircuitTask(AbstractTask):
    """Search the complexity of a gate at each point.

    Metrics: "distance", "lower_bound", "upper_bound", "residual", "conjugate_time" (infinite where
    there is none), "num_converged", "num_agreed". Take `x64 = true`: in single precision the
    geodesics end within 1e-3 of their targets.
    """

    config: ClassVar[type] = CircuitConfig
    objective: ClassVar[str] = "distance"

    def lane(self, config: CircuitConfig) -> PyTree:
        unitary = target_of(config)
        num_qubits = len(unitary).bit_length() - 1
        metric = PauliPenalty(num_qubits, _prices(config, num_qubits))
        return {
            "target": unitary,
            "metric": jax.tree.map(np.asarray, metric),
            "seed": np.asarray(config.seed, np.uint32),
        }

    def variant(self, config: CircuitConfig) -> dict[str, Any]:
        return {"size": len(target_of(config))}

    def program(self, config: CircuitConfig) -> Program:
        def finish(shared, lane, state):
            found = nielsen_complexity(
                lane["target"],
                lane["metric"],
                num_starts=config.num_starts,
                num_steps=config.num_steps,
                key=jax.random.key(lane["seed"]),
                throw=False,
            )
            names = ("distance", "lower_bound", "upper_bound", "residual", "conjugate_time")
            names += ("num_converged", "num_agreed")
            metrics = {name: getattr(found, name) for name in names}
            return Outcome(metrics, {}, found.result)

        def start(shared, lane, key):
            return ()

        return Program((), start, lambda shared, lane, state: state, finish)

    def fingerprint(self, config: CircuitConfig) -> dict[str, Any]:
        if config.target.endswith(".npy"):
            return {"target": hash_of(config.target)}
        return {}


def target_of(config: CircuitConfig) -> np.ndarray:
    """The unitary that a configuration names.

    Raises:
        InputError: no such gate or file, or no unitary in it.
    """
    if config.target == RANDOM:
        size = 2**config.num_qubits
        random = np.random.default_rng(config.seed)
        entries = random.normal(size=(2, size, size))
        factor, triangle = np.linalg.qr(entries[0] + 1j * entries[1])
        # the phases of the triangle's diagonal make it uniform
        unitary = factor * (np.diag(triangle) / np.abs(np.diag(triangle)))
    elif config.target.endswith(".npy"):
        unitary = npy.read_npy(config.target)
    else:
        unitary = np.asarray(gate(config.target))
    return np.asarray(as_target(unitary))


def _prices(config: CircuitConfig, num_qubits: int) -> dict[str, float]:
    labels = PauliPenalty(num_qubits).labels[1:]
    if config.priced:
        chosen = [label.strip().upper() for label in config.priced.split(",")]
    elif num_qubits == 1:
        chosen = ["Z"]
    else:
        least = min(num_qubits, 3)
        chosen = [label for label in labels if len(label) - label.count("I") >= least]
    for label in chosen:
        if label not in labels:
            raise InputError(
                f"priced: {label!r} is no Pauli string on {num_qubits} qubits; write {labels[-1]}"
            )
    return dict.fromkeys(chosen, config.penalty)
