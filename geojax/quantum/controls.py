"""Piecewise constant Hamiltonians in Pauli strings: the controls of a quantum computer."""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path as FilePath
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from geojax._core import checks, pauli
from geojax._core.errors import InputError
from geojax._core.linalg import LARGEST_NORM, dagger, expm, hermitian_log, safe_sqrt
from geojax.fields import PiecewiseConstant
from geojax.flows import Path
from geojax.io import write_bytes, write_json
from geojax.metrics import AbstractMetric, PauliPenalty
from geojax.quantum import control_files
from geojax.quantum.arguments import check_metric
from geojax.quantum.strings import check_labels, indices

# Coefficients below this share of the largest are rounding, and make no gates.
_NOISE = 1e-8


class Controls(eqx.Module):
    """K Hamiltonians, one after another, each constant: a curve from the identity in SU(2^n).

    In slice k the unitary moves by `dU/dt = -i H_k U` with
    `H_k = drift + sum_g coefficients[k, g] sigma_g` for a time `durations[k]`.

    Args:
        coefficients: `[K, G]`, in radians per unit of time.
        labels: names of the G Pauli strings, such as `"XIZ"`; the leftmost letter acts on
            qubit 0, the leftmost factor of the tensor product.
        durations: `[K]` positive times, or a single one for all; `1 / K` by default.
        drift: what is always on: coefficients by string, such as `{"ZZ": 0.1}`, or a traceless
            Hermitian matrix.

    Raises:
        InputError: unknown, repeated or identity strings, shapes that do not fit, durations that
            are not positive, numbers that are not finite, a drift that is not Hermitian, or a slice
            that turns by more than 4096 radians (its duration times the sum of the sizes of its
            coefficients and the largest column sum of the drift). Traced ones become NaN there.

    Gradient: in coefficients, durations and drift, forward and reverse.

    Example:
        >>> import jax.numpy as jnp
        >>> controls = Controls(jnp.array([[jnp.pi / 4, 0.0], [0.0, jnp.pi / 4]]), ["ZZ", "XI"])
        >>> controls.unitary().shape, controls.durations.tolist()
        ((4, 4), [0.5, 0.5])
    """

    coefficients: Float[Array, "K G"]
    durations: Float[Array, " K"]
    drift: Complex[Array, "N N"] | None
    labels: tuple[str, ...] = eqx.field(static=True)

    def __init__(
        self,
        coefficients: Any,
        labels: Sequence[str],
        durations: Any = None,
        *,
        drift: Mapping[str, float] | Any = None,
    ):
        self.labels = check_labels(labels)
        values = checks.finite(checks.as_float_array(coefficients, "coefficients"), "coefficients")
        if values.ndim != 2 or values.shape[1] != len(self.labels) or not values.shape[0]:
            raise InputError(
                f"Argument coefficients must have shape [K, {len(self.labels)}] (one row for each "
                f"slice, one column for each label), but has shape {list(values.shape)}."
            )
        self.coefficients = values
        self.durations = _durations(durations, values)
        self.drift = None if drift is None else as_drift(drift, self.num_qubits, values.dtype)
        _check_turns(self)

    @property
    def num_qubits(self) -> int:
        """The number of qubits, n."""
        return len(self.labels[0])

    @property
    def num_slices(self) -> int:
        """The number of slices, K."""
        return self.coefficients.shape[0]

    @property
    def times(self) -> Float[Array, " times"]:
        """Where the slices begin and end, from 0, `[K + 1]`."""
        return jnp.concatenate([jnp.zeros_like(self.durations[:1]), jnp.cumsum(self.durations)])

    @property
    def hamiltonians(self) -> Complex[Array, "K N N"]:
        """The Hamiltonian of each slice, drift included, `[K, 2^n, 2^n]`."""
        matrices = combine(self.coefficients, self.labels)
        return matrices if self.drift is None else matrices + self.drift[None]

    def propagators(self) -> Complex[Array, "K N N"]:
        """What each slice does alone, `exp(-i duration H)`, `[K, 2^n, 2^n]`."""
        hamiltonians = self.hamiltonians
        times = self.durations.astype(hamiltonians.dtype)[:, None, None]
        return jax.vmap(expm)(-1j * times * hamiltonians)

    @eqx.filter_jit
    def unitaries(self) -> Complex[Array, "times N N"]:
        """The curve at `times`: the identity and the product of the first k slices for each k."""

        def step(state, propagator):
            state = propagator @ state
            return state, state

        propagators = self.propagators()
        start = jnp.eye(propagators.shape[-1], dtype=propagators.dtype)
        return jnp.concatenate([start[None], jax.lax.scan(step, start, propagators)[1]])

    def unitary(self) -> Complex[Array, "N N"]:
        """The end of the curve, `[2^n, 2^n]`."""
        return self.unitaries()[-1]

    def energy(self, metric: AbstractMetric) -> Float[Array, ""]:
        """Half the squared speed in a metric such as `PauliPenalty`, over the whole time.

        Raises:
            InputError: no metric of these qubits.
        """
        self._check_metric(metric)
        return self._energy(metric)

    @eqx.filter_jit
    def _energy(self, metric):
        return jnp.sum(self.durations * jax.vmap(metric.energy)(self.hamiltonians))

    def length(self, metric: AbstractMetric) -> Float[Array, ""]:
        """Length of the curve in a metric: no more than `sqrt(2 energy total time)`.

        Raises:
            InputError: no metric of these qubits.
        """
        self._check_metric(metric)
        return self._length(metric)

    @eqx.filter_jit
    def _length(self, metric):
        speed = safe_sqrt(2 * jax.vmap(metric.energy)(self.hamiltonians))
        return jnp.sum(self.durations * speed)

    def _check_metric(self, metric: Any) -> None:
        if isinstance(metric, PauliPenalty) or not isinstance(metric, AbstractMetric):
            check_metric(metric, self.num_qubits)

    @property
    def field(self) -> PiecewiseConstant:
        """The Hamiltonians as a field: `integrate(controls.field, ..., action=Unitaries(n))`.

        The steps of the integration have to fall on `times`.
        """
        return PiecewiseConstant(self.hamiltonians, self.times)

    @classmethod
    def from_path(cls, path: Path, labels: Sequence[str] | None = None) -> "Controls":
        """The piecewise constant curve through the saved states of a path of unitaries.

        Controls start at the identity: they are those of the path times the inverse of its start.

        Between each two saved states runs the shortest one-parameter group, so that the path is
        met exactly at its saved times, and in between with an error of second order in their
        distance (steps of less than half a turn are assumed).

        Args:
            path: from `shoot`, `log` or `integrate` with the action `Unitaries(n)`.
            labels: strings to keep; all `4^n - 1` by default. Others are left out, which
                changes the curve unless their coefficients are zero.

        Raises:
            InputError: no path, states that are no special unitaries, or fewer than two of them.
        """
        if not isinstance(path, Path):
            raise InputError(f"Argument path must be a Path, as from shoot, but is {path!r}.")
        states = path.states
        if (
            not isinstance(states, jax.Array)
            or states.ndim != 3
            or not jnp.iscomplexobj(states)
            or states.shape[0] < 2
        ):
            raise InputError(
                "Argument path must hold at least two unitaries [k, 2^n, 2^n], but its states "
                f"are {jax.tree.map(jnp.shape, states)}; integrate with action=Unitaries(n)."
            )
        checks.finite(states, "path.states")
        names = pauli.labels(pauli.num_qubits_of(states[0]))[1:]
        kept = names if labels is None else check_labels(labels, num_qubits=len(names[0]))
        durations = jnp.abs(jnp.diff(path.times))
        coefficients = _coefficients_of_log(states[1:] @ dagger(states[:-1]))[:, indices(kept)]
        return cls(coefficients / durations.astype(coefficients.dtype)[:, None], kept, durations)

    def pruned(self) -> "Controls":
        """The same controls without what rounding leaves of zero: fewer strings, fewer gates.

        Coefficients below a share of the largest one (1e-8 in float64) become zero, and strings
        that are never driven are left out (but for one, if none is).

        Raises:
            InputError: traced coefficients.
        """
        if checks.is_tracer(self.coefficients):
            raise InputError("Controls that are traced cannot be pruned; do it outside of jit.")
        table = without_noise(np.asarray(self.coefficients))
        used = np.any(table != 0, axis=0)
        used[0] |= not used.any()
        labels = [label for label, keep in zip(self.labels, used, strict=True) if keep]
        return Controls(table[:, used], labels, self.durations, drift=self.drift)

    def save(self, path: str | FilePath) -> None:
        """Write the controls to a `.npz` (exact) or `.json` (readable) file.

        Raises:
            InputError: another ending.
            StorageError: the place cannot be written.
        """
        drift = None if self.drift is None else np.asarray(pauli.to_coefficients(self.drift))
        content = control_files.Content(
            np.asarray(self.coefficients), np.asarray(self.durations), self.labels, drift
        )
        if control_files.ending(path) == ".json":
            write_json(path, control_files.to_json(content))
        else:
            write_bytes(path, control_files.to_npz(content))


def without_noise(coefficients: np.ndarray) -> np.ndarray:
    """A copy in which entries that rounding may have left of zero are zero."""
    sizes = np.abs(coefficients)
    share = max(_NOISE, 64 * float(np.finfo(coefficients.dtype).eps))
    return np.where(sizes <= share * np.max(sizes), 0, coefficients)


@jax.jit
@jax.vmap
def _coefficients_of_log(step):
    return pauli.to_coefficients(hermitian_log(step, traceless=True))


def load_controls(path: str | FilePath) -> Controls:
    """Read controls that `Controls.save` wrote.

    Args:
        path: a `.npz` or `.json` file.

    Raises:
        InputError: no such file, another ending, or no controls in it.

    Example:
        >>> import tempfile, numpy as np
        >>> controls = Controls(np.array([[0.5, 0.25]]), ["XI", "ZZ"])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     controls.save(f"{folder}/controls.json")
        ...     load_controls(f"{folder}/controls.json").coefficients.tolist()
        [[0.5, 0.25]]
    """
    found = control_files.read(path)
    drift = None if found.drift is None else pauli.from_coefficients(jnp.asarray(found.drift))
    return Controls(found.coefficients, found.labels, found.durations, drift=drift)


@functools.partial(jax.jit, static_argnames="labels")
def combine(
    coefficients: Float[Array, "*batch G"], labels: tuple[str, ...]
) -> Complex[Array, "*batch N N"]:
    """Sums of Pauli strings, `[..., 2^n, 2^n]`."""
    batch, n = coefficients.shape[:-1], len(labels[0])
    flat = coefficients.reshape(-1, len(labels))
    padded = jnp.zeros((flat.shape[0], 4**n), flat.dtype).at[:, indices(labels)].set(flat)
    return jax.vmap(pauli.from_coefficients)(padded).reshape(*batch, 2**n, 2**n)


def as_drift(drift: Any, num_qubits: int, dtype, name: str = "drift") -> Complex[Array, "N N"]:
    """A traceless Hermitian matrix from coefficients by string, or from itself.

    Raises:
        InputError: no such strings, or a matrix that is not traceless and Hermitian.
    """
    if isinstance(drift, Mapping):
        labels = check_labels(tuple(drift), name, num_qubits)
        values = [drift[label] for label in labels]
        if any(checks.is_tracer(value) for value in values):
            values = [jnp.asarray(value, dtype) for value in values]
        else:
            values = checks.as_numbers(values, name)
        if any(np.ndim(value) for value in values):
            raise InputError(f"Argument {name} must hold one number for each string.")
        return combine(jnp.asarray(values, dtype), labels)
    size = 2**num_qubits
    matrix = drift if isinstance(drift, jax.Array) else np.asarray(drift)
    if matrix.shape != (size, size) or matrix.dtype.kind not in "biufc":
        raise InputError(
            f"Argument {name} must be a Hermitian matrix [{size}, {size}] or coefficients by "
            f"string such as {{'{'Z' * num_qubits}': 0.1}}, but is {drift!r}."
        )
    if not checks.is_tracer(matrix):
        host = checks.finite(np.asarray(matrix), name)
        scale = 1e-5 * max(float(np.max(np.abs(host))), 1e-300)
        if np.max(np.abs(host - host.conj().T)) > scale or abs(np.trace(host)) > size * scale:
            raise InputError(
                f"Argument {name} must be Hermitian with trace zero, but |H - H'| = "
                f"{np.max(np.abs(host - host.conj().T)):.1e} and tr H = {np.trace(host):.4g}."
            )
    return jnp.asarray(matrix, np.result_type(dtype, np.complex64))


def _check_turns(controls: Controls) -> None:
    """Raise where a slice turns so far that its exponential is withheld: its units are wrong."""
    leaves = controls.coefficients, controls.durations, controls.drift
    if any(checks.is_tracer(leaf) for leaf in leaves):
        return
    # strings have column sums of one
    sums = np.sum(np.abs(np.asarray(controls.coefficients)), axis=1)
    if controls.drift is not None:
        sums = sums + np.max(np.sum(np.abs(np.asarray(controls.drift)), axis=0))
    turns = sums * np.asarray(controls.durations)
    worst = int(np.argmax(turns))
    if turns[worst] > LARGEST_NORM:
        raise InputError(
            f"Slice {worst} of the controls turns by up to {turns[worst]:.4g} radians, more than "
            f"{LARGEST_NORM} (coefficients are in radians per unit of time); cut it into more, or "
            "mend the units."
        )


def _durations(durations: Any, coefficients) -> Float[Array, " K"]:
    count = coefficients.shape[0]
    if durations is None:
        durations = 1.0 / count
    if not checks.is_tracer(durations):
        durations = np.asarray(checks.positive(durations, "durations"))
    if durations.shape not in ((), (count,)):
        raise InputError(
            f"Argument durations must be a number or hold {count} numbers, one for each slice, "
            f"but has shape {list(durations.shape)}."
        )
    return jnp.broadcast_to(jnp.asarray(durations, coefficients.dtype), (count,))
