"""Where controls lead, the exact derivative of it, and a damped Newton search for a gate.

The end of the curve is compared with the target as `W = target' U`, up to a phase. Moving the
controls moves W by `-i W Y` with Y Hermitian, and the search makes Y cancel what is left of W. It
solves for Y in the 4^n coordinates of a Hermitian matrix, not in the (many more) controls, so a
step costs one small linear system whatever the number of slices.
"""

import math
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Complex, Float, Int

from geojax._core.linalg import dagger
from geojax._core.results import RESULTS, code_if, first_failure

# Beyond this the damping leaves nothing of a step: the search stands at a stationary point.
_LARGEST_DAMPING = 1e8
_LEAST_DAMPING = 1e-9
_FIRST_DAMPING = 1e-2


class Plant(eqx.Module):
    """What is given: the target, the generators, and how unknowns make control pulses.

    Attributes:
        target: `[N, N]`, special unitary.
        generators: G Hermitian matrices `[G, N, N]`.
        drift: Hermitian `[N, N]`.
        basis: pulse shapes `[K, M]`.
        bound: greatest size of a control, `[G]`; infinite where there is none.
        step: duration of a slice.
    """

    target: Complex[Array, "N N"]
    generators: Complex[Array, "G N N"]
    drift: Complex[Array, "N N"]
    basis: Float[Array, "K M"]
    bound: Float[Array, " G"]
    step: Float[Array, ""]

    def pulses(self, unknowns: Float[Array, "M G"]) -> Float[Array, "K G"]:
        """Controls of every slice: the pulses of the unknowns, bent smoothly below the bound."""
        raw = self.basis @ unknowns
        return raw / jnp.sqrt(1 + jnp.square(raw / self.bound[None, :]))

    def bending(self, unknowns: Float[Array, "M G"]) -> Float[Array, "K G"]:
        """Derivative of each control by its unbent pulse."""
        raw = self.basis @ unknowns
        return (1 + jnp.square(raw / self.bound[None, :])) ** -1.5


class End(NamedTuple):
    """The end of the curve beside the target, with what its derivative is made of.

    Attributes:
        infidelity: `1 - |tr W|^2 / N^2`.
        distance: `1 - |tr W| / N`, half the squared distance up to a phase, which is minimised.
        residual: what of W is left to undo, `[N^2]`.
        energies, vectors: eigenvalues `[K, N]` and eigenvectors `[K, N, N]` of every slice.
        frames: the eigenvectors carried back to the start of the curve, `[K, N, N]`.
    """

    infidelity: Float[Array, ""]
    distance: Float[Array, ""]
    residual: Float[Array, " P"]
    energies: Float[Array, "K N"]
    vectors: Complex[Array, "K N N"]
    frames: Complex[Array, "K N N"]


def endpoint(plant: Plant, unknowns: Float[Array, "M G"]) -> End:
    """Propagate once through all slices: one matrix exponential each, by eigenvectors."""
    size = plant.target.shape[0]
    controls = plant.pulses(unknowns)
    hamiltonians = plant.drift[None] + jnp.einsum(
        "kg,gab->kab", controls.astype(plant.target.dtype), plant.generators
    )
    energies, vectors = jnp.linalg.eigh(hamiltonians)
    half_turns = jnp.exp(-0.5j * (plant.step * energies).astype(vectors.dtype))

    def advance(state, slice_):
        basis, half = slice_
        frame = dagger(state) @ (basis * jnp.conj(half)[None, :])
        state = (basis * jnp.square(half)[None, :]) @ (dagger(basis) @ state)
        return state, frame

    start = jnp.eye(size, dtype=vectors.dtype)
    end, frames = jax.lax.scan(advance, start, (vectors, half_turns))
    left = dagger(plant.target) @ end
    trace = jnp.trace(left)
    overlap = jnp.abs(trace)
    # a trace of zero has no phase: any will do
    size_of_trace = jnp.where(overlap > 0, overlap, 1.0).astype(trace.dtype)
    turned = left * jnp.where(overlap > 0, jnp.conj(trace) / size_of_trace, 1.0)
    missing = 0.5j * (turned - dagger(turned))
    missing = missing - jnp.trace(missing) / size * start
    return End(
        jnp.maximum(1 - jnp.square(overlap / size), 0.0),
        1 - overlap / size,
        _coordinates(missing),
        energies,
        vectors,
        frames,
    )


def jacobian(plant: Plant, unknowns: Float[Array, "M G"], end: End) -> Float[Array, "P Q"]:
    """How the residual moves with the unknowns, `[N^2, M G]`, at the target.

    The eigenvectors of the exponentials give their exact derivatives (Daleckii and Krein), so
    this takes no exponential more.
    """
    moves = jax.vmap(_moves, in_axes=(None, 0, 0, 0))(plant, end.energies, end.vectors, end.frames)
    slopes = jnp.einsum("kgp,kg,km->pmg", moves, plant.bending(unknowns), plant.basis)
    return slopes.reshape(slopes.shape[0], -1)


def _moves(plant, energies, vectors, frame) -> Float[Array, "G P"]:
    """How the end moves with each control of one slice, at the identity: `[G, N^2]`."""
    rotated = jnp.einsum("ai,gab,bj->gij", jnp.conj(vectors), plant.generators, vectors)
    gaps = plant.step * (energies[:, None] - energies[None, :])
    shares = plant.step * jnp.sinc(gaps / (2 * np.pi))
    weighted = rotated * shares.astype(rotated.dtype)[None]
    return _coordinates(jnp.einsum("ai,gij,bj->gab", frame, weighted, jnp.conj(frame)))


def _coordinates(hermitian: Complex[Array, "*batch N N"]) -> Float[Array, "*batch P"]:
    """Coordinates in which the norm is `tr(H^2) / N`: diagonal, real and imaginary parts."""
    size = hermitian.shape[-1]
    rows, columns = np.triu_indices(size, 1)
    upper = hermitian[..., rows, columns] * math.sqrt(2 / size)
    diagonal = jnp.real(jnp.diagonal(hermitian, axis1=-2, axis2=-1)) / math.sqrt(size)
    return jnp.concatenate([diagonal, jnp.real(upper), jnp.imag(upper)], axis=-1)


class Lane(NamedTuple):
    """One search: where it stands and what it has cost."""

    unknowns: Float[Array, "M G"]
    end: End
    damping: Float[Array, ""]
    growth: Float[Array, ""]
    num_iterations: Int[Array, ""]


def search(
    plant: Plant,
    start: Float[Array, "M G"],
    tolerance: Float[Array, ""],
    max_iterations: Int[Array, ""],
) -> tuple[Lane, RESULTS]:
    """Levenberg-Marquardt from one start until the infidelity is at most `tolerance`.

    Each iteration takes one step and propagates once; a step that does not bring the end nearer
    is taken back and the damping raised (Nielsen's rule).
    """
    number = start.dtype.type
    least_scale = float(jnp.finfo(start.dtype).tiny) ** 0.5
    first = Lane(
        start,
        endpoint(plant, start),
        jnp.asarray(_FIRST_DAMPING, start.dtype),
        jnp.asarray(2.0, start.dtype),
        jnp.asarray(0),
    )

    def going(lane: Lane) -> Bool[Array, ""]:
        # a NaN compares as false, and so ends the search
        unfinished = lane.end.infidelity > tolerance
        able = (lane.damping < _LARGEST_DAMPING) & (lane.num_iterations < max_iterations)
        return unfinished & able

    def step(lane: Lane) -> Lane:
        residual = lane.end.residual
        slopes = jacobian(plant, lane.unknowns, lane.end)
        normal = slopes @ slopes.T
        scale = jnp.trace(normal) / normal.shape[0] + least_scale
        damped = normal + lane.damping * scale * jnp.eye(normal.shape[0], dtype=start.dtype)
        factor = jax.scipy.linalg.cho_factor(damped)
        change = -(slopes.T @ jax.scipy.linalg.cho_solve(factor, residual))
        left = residual + slopes @ change
        promised = 0.5 * (jnp.sum(jnp.square(residual)) - jnp.sum(jnp.square(left)))
        unknowns = lane.unknowns + change.reshape(start.shape)
        end = endpoint(plant, unknowns)
        gained = lane.end.distance - end.distance
        better = gained > 0
        kept = 1 - (2 * gained / promised - 1) ** 3
        damping = lane.damping * jnp.where(better, jnp.maximum(kept, number(0.1)), lane.growth)
        return Lane(
            jnp.where(better, unknowns, lane.unknowns),
            jax.tree.map(lambda new, old: jnp.where(better, new, old), end, lane.end),
            jnp.maximum(damping, number(_LEAST_DAMPING)),
            jnp.where(better, number(2.0), 2 * lane.growth),
            lane.num_iterations + 1,
        )

    lane = jax.lax.while_loop(going, step, first)
    infidelity = lane.end.infidelity
    result = first_failure(
        code_if(~jnp.isfinite(infidelity), RESULTS.not_finite),
        code_if(infidelity > tolerance, RESULTS.not_converged),
    )
    return lane, result
