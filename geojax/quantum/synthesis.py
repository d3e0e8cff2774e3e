"""The verb `synthesise`: controls of restricted generators that make a wanted gate."""

from collections.abc import Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Complex, Float, Int, Key

from geojax._core import checks
from geojax._core.errors import InputError
from geojax._core.results import RESULTS, throw_if_failed
from geojax.quantum.arguments import as_key, positive_number
from geojax.quantum.controls import Controls, as_drift, combine
from geojax.quantum.endpoint import Plant, search
from geojax.quantum.gates import as_target
from geojax.quantum.strings import check_labels, local_strings


class Synthesis(eqx.Module):
    """What all starts of a synthesis came to, the best first.

    Attributes:
        target: the gate as an element of SU(2^n), `[2^n, 2^n]`.
        coefficients: controls of each lane, `[L, K, G]`.
        fidelity: `|tr(target' U)|^2 / 4^n` of each lane, `[L]`, decreasing.
        result: result code of each lane.
        num_iterations: steps of each lane, `[L]`.
        num_exponentials: matrix exponentials that each lane took, `[L]`: one for each slice and
            each time it was propagated, rejected steps included.
        start: number of the start that each lane came from, `[L]`.
        duration: time of the whole pulse.
        drift: the Hamiltonian that is always on, or None.
        labels: names of the G generators.
    """

    target: Complex[Array, "N N"]
    coefficients: Float[Array, "L K G"]
    fidelity: Float[Array, " L"]
    result: RESULTS
    num_iterations: Int[Array, " L"]
    num_exponentials: Int[Array, " L"]
    start: Int[Array, " L"]
    duration: Float[Array, ""]
    drift: Complex[Array, "N N"] | None
    labels: tuple[str, ...] = eqx.field(static=True)

    @property
    def succeeded(self) -> Bool[Array, " L"]:
        """Which lanes reached the wanted fidelity."""
        return self.result == RESULTS.successful

    def controls(self, lane: int = 0) -> Controls:
        """The controls of one lane; those of the best by default.

        Raises:
            InputError: no such lane.
        """
        count = self.fidelity.shape[0]
        if checks.count(lane, "lane", least=0) >= count:
            raise InputError(f"Argument lane must be less than {count}, but is {lane}.")
        values = self.coefficients[lane]
        slices = values.shape[0]
        return Controls(values, self.labels, self.duration / slices, drift=self.drift)


def synthesise(
    target: Any,
    generators: Sequence[str] | None = None,
    *,
    coupling: Any = None,
    drift: Mapping[str, float] | Any = None,
    bound: float | Sequence[float] | Float[Array, "..."] | None = None,
    basis: Any = None,
    num_slices: int = 8,
    duration: float | Float[Array, ""] = 1.0,
    num_starts: int = 16,
    key: Key[Array, ""] | None = None,
    scale: float | Float[Array, ""] = 1.0,
    tolerance: float | Float[Array, ""] = 1e-6,
    max_iterations: int = 200,
    batch_size: int = 8,
    throw: bool = True,
) -> Synthesis:
    """Find piecewise constant controls that make a gate, from many random starts at once.

    Each start is taken to the target by Levenberg-Marquardt on the end of its curve, with the
    exact derivative of every slice, which needs tens of propagations where the descent of GRAPE
    needs hundreds. A start may end at a stationary point that is not the gate, or where the
    generators do not lead to it; its result code says so.

    Args:
        target: `[2^n, 2^n]` unitary or the name of a gate; its global phase does not matter.
        generators: Pauli strings that can be driven; all strings of weight 1 and 2 by default.
        coupling: pairs of qubits that interact, instead of `generators`: all strings of weight 1,
            and those of weight 2 on these pairs.
        drift: what is always on, by string or as a Hermitian matrix (see `Controls`).
        bound: greatest size of a control, one for all or one for each generator; pulses are bent
            smoothly so that they stay strictly below it.
        basis: pulse shapes `[num_slices, M]`, from `fourier_pulses` or `spline_pulses`; each
            slice has a value of its own by default.
        num_slices: K slices of equal duration.
        duration: time of the whole pulse; matters with a drift or a bound.
        num_starts: L.
        key: of the starts; `jax.random.key(0)` by default. Start i does not depend on how many
            there are.
        scale: standard deviation of the coefficients at the start, times `duration`; less where
            the bound is less.
        tolerance: infidelity at which a lane is done; single precision tells no less than some
            1e-6.
        max_iterations: most steps of a lane.
        batch_size: lanes that run side by side; what a core's cache holds is fastest.
        throw: raise if no start succeeded (only outside `jit`).

    Returns:
        All lanes, sorted by fidelity.

    Raises:
        InputError: a target that is no unitary of n qubits, unknown strings or strings of
            another number of qubits, both generators and coupling, pairs of qubits that there are
            not, bounds, durations or counts that are not positive, no random key, or too much
            memory.
        NumericalError: no start reached the tolerance (only outside `jit`, and only if `throw`).

    Under `jit` and `vmap` the target as a matrix, drift, bound, basis, duration, scale, tolerance
    and key may be traced; the strings and the counts may not.

    Gradient: none; differentiate `Controls.unitary`.

    Example:
        >>> found = synthesise("cx", num_slices=2, num_starts=2)
        >>> bool(found.fidelity[0] > 0.999999), found.controls().coefficients.shape
        (True, (2, 15))

    Reference: `[khaneja2005optimal]`, `[machnes2011comparing]`, `[nielsen1999damping]`.
    """
    goal = as_target(target)
    n = goal.shape[0].bit_length() - 1
    if generators is not None and coupling is not None:
        raise InputError("Arguments generators and coupling exclude each other; give one of them.")
    if generators is not None:
        labels = check_labels(generators, "generators", n)
    else:
        labels = local_strings(n, coupling=coupling)
    slices = checks.count(num_slices, "num_slices")
    starts = checks.count(num_starts, "num_starts")
    lanes = min(checks.count(batch_size, "batch_size"), starts)
    checks.count(max_iterations, "max_iterations", least=0)
    key = as_key(key)
    dtype = jnp.finfo(goal.dtype).dtype
    shapes = _basis(basis, slices)
    limits = _bounds(bound, len(labels), dtype)
    time, deviation, reached = (
        jnp.asarray(positive_number(value, name), dtype)
        for value, name in ((duration, "duration"), (scale, "scale"), (tolerance, "tolerance"))
    )
    _check_memory(n, len(labels), slices, starts, lanes)
    drifting = None if drift is None else as_drift(drift, n, dtype)
    plant = Plant(
        target=goal,
        generators=combine(jnp.eye(len(labels), dtype=dtype), labels),
        drift=jnp.zeros_like(goal) if drifting is None else drifting.astype(goal.dtype),
        basis=jnp.asarray(shapes, dtype),
        bound=limits,
        step=time / slices,
    )
    found = _run(
        plant,
        key,
        jnp.minimum(deviation / time, limits),
        reached,
        jnp.asarray(max_iterations),
        num_starts=starts,
        batch_size=lanes,
    )
    synthesis = Synthesis(
        target=goal,
        **found,
        duration=time,
        drift=drifting,
        labels=labels,
    )
    if not throw or checks.is_tracer(synthesis.fidelity):
        return synthesis
    best = jax.tree.map(lambda codes: codes[0], synthesis.result)
    what = f"synthesise ({starts} starts, best fidelity {float(synthesis.fidelity[0]):.6g})"
    return throw_if_failed(synthesis, best, what=what)


@eqx.filter_jit
def _run(plant, key, deviations, tolerance, max_iterations, *, num_starts, batch_size):
    def one(number):
        shape = (plant.basis.shape[1], deviations.shape[0])
        noise = jax.random.normal(jax.random.fold_in(key, number), shape, deviations.dtype)
        lane, result = search(plant, noise * deviations[None, :], tolerance, max_iterations)
        return {
            "coefficients": plant.pulses(lane.unknowns),
            "fidelity": 1 - lane.end.infidelity,
            "result": result,
            "num_iterations": lane.num_iterations,
            "num_exponentials": plant.basis.shape[0] * (lane.num_iterations + 1),
            "start": number,
        }

    # full batches, so that one program runs them all; what fills up the last is not looked at
    numbers = jnp.arange(num_starts + -num_starts % batch_size).reshape(-1, batch_size)
    found = jax.lax.map(jax.vmap(one), numbers)
    found = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[:num_starts], found)
    # lanes that left the finite numbers come last
    order = jnp.argsort(-jnp.nan_to_num(found["fidelity"], nan=-1.0))
    return jax.tree.map(lambda leaf: leaf[order], found)


def _basis(basis: Any, num_slices: int) -> Any:
    if basis is None:
        return np.eye(num_slices)
    shapes = basis if checks.is_tracer(basis) else checks.as_numbers(basis, "basis")
    if shapes.ndim != 2 or shapes.shape[0] != num_slices or not shapes.shape[1]:
        raise InputError(
            f"Argument basis must have shape [{num_slices}, M] (one row for each slice), but has "
            f"shape {list(shapes.shape)}."
        )
    return shapes


def _bounds(bound: Any, num_generators: int, dtype) -> Float[Array, " G"]:
    if bound is None:
        return jnp.full(num_generators, jnp.inf, dtype)
    limits = jnp.asarray(checks.positive(bound, "bound"), dtype)
    if limits.shape not in ((), (num_generators,)):
        raise InputError(
            f"Argument bound must be a number or hold {num_generators} numbers, one for each "
            f"generator, but has shape {list(limits.shape)}."
        )
    return jnp.broadcast_to(limits, (num_generators,))


def _check_memory(n: int, num_generators: int, num_slices: int, num_starts: int, lanes: int):
    # the complex derivatives of every slice, before and after they are rotated, the Jacobian, and
    # the normal matrix with its factor
    lane = num_generators * num_slices * 4**n * (2 * 16 + 2 * 8) + 16**n * 3 * 8
    checks.memory(
        lanes * lane + num_starts * num_slices * num_generators * 8,
        f"synthesise: {lanes} lanes of {num_slices} slices and {num_generators} generators on {n} "
        "qubits",
        "lower batch_size, num_slices or the number of generators",
    )
