"""Equilibrium propagation: the gradient read off how a network at rest gives way to a pull.

A network at the minimum of its energy is pulled a little towards the right answer and settles
anew. The contrast between the energies' derivatives at the two rests, divided by the pull, tends
to the gradient of the loss. No error is propagated backwards: both phases are the same sweeps.
"""

import abc
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Float, Inexact, Int, PyTree

from geojax._core import checks
from geojax._core.errors import InputError
from geojax.networks import RESPONSES, EquilibriumNetwork
from geojax.networks.equilibrium import Settled, States, relax


class Phases(NamedTuple):
    """What an estimate found on its way.

    Attributes:
        loss: `mean |output - target|^2 / 2` of the free phase.
        outputs: at rest in the free phase, `[n, classes]`.
        residual: of the free phase, in units of the states.
        pulled_residual: of the pulled phase; of the adjoint equation for `Implicit`.
        num_sweeps: of the free phase.
        num_pulled_sweeps: of the pulled phase, or of the adjoint equation.
    """

    loss: Float[Array, ""]
    outputs: Float[Array, "n classes"]
    residual: Float[Array, ""]
    pulled_residual: Float[Array, ""]
    num_sweeps: Int[Array, ""]
    num_pulled_sweeps: Int[Array, ""]


class AbstractEstimator(eqx.Module):
    """A way to the gradient of `mean |output - target|^2 / 2` in the parameters."""

    @abc.abstractmethod
    def __call__(
        self,
        model: EquilibriumNetwork,
        inputs: Float[Array, "n d"],
        targets: Float[Array, "n classes"],
    ) -> tuple[PyTree, Phases]:
        """The gradient, as the `nnx.State` of the model's parameters, and how it was found."""

    def check(self, model: EquilibriumNetwork) -> None:
        """Raise `InputError` if the estimator does not fit the model."""


class AbstractPulled(AbstractEstimator):
    """Estimators that settle freely, then pulled, and contrast the two.

    Args:
        beta: strength of the pull.
        tolerance: largest residual of either phase. The pulled phase is settled further, to
            1e-4 of the pull `beta |target - output|`: what it moves gets small as the network
            learns.
        max_sweeps: bound on the sweeps of either phase.
    """

    beta: eqx.AbstractVar[float]
    tolerance: eqx.AbstractVar[float]
    max_sweeps: eqx.AbstractVar[int]

    @abc.abstractmethod
    def pulls(self) -> tuple[np.ndarray, np.ndarray, float]:
        """The pulls `[j]`, the weight of the energy at each, and that of the free energy."""

    def __check_init__(self):
        checks.positive(self.beta, "beta")
        checks.positive(self.tolerance, "tolerance")
        checks.count(self.max_sweeps, "max_sweeps")

    def __call__(self, model, inputs, targets):
        options: Any = dict(tolerance=self.tolerance, max_sweeps=self.max_sweeps)
        drive, free = _rest(model, inputs, targets, **options)
        betas, weights, weight = self.pulls()
        # NumPy's numbers are double: keep their kind, take the precision of the model
        dtype = (jnp.ones((), drive.dtype) * (1j if np.iscomplexobj(betas) else 1.0)).dtype
        force = self.beta * jnp.max(jnp.abs(targets - free.outputs))
        floor = 8 * jnp.finfo(drive.dtype).eps
        options["tolerance"] = jnp.minimum(self.tolerance, jnp.maximum(1e-4 * force, floor))
        pulled = relax(model, drive, targets, jnp.asarray(betas, dtype), free.states, **options)
        weights = jnp.asarray(weights, dtype)
        states = pulled.states
        if weight:
            weights = jnp.append(weights, jnp.asarray(weight, dtype))
            states = tuple(
                jnp.concatenate([s, f[None].astype(s.dtype)])
                for s, f in zip(states, free.states, strict=True)
            )
        gradient = _contrast(model, inputs, states, weights)
        return gradient, _phases(free, targets, pulled.residual, pulled.num_sweeps)


class OneSided(AbstractPulled):
    """`(dE(s^beta) - dE(s^0)) / beta`, with an error of order beta.

    Reference: [scellier2017equilibrium]
    """

    beta: float = eqx.field(static=True, default=0.1)
    tolerance: float = eqx.field(static=True, default=1e-4)
    max_sweeps: int = eqx.field(static=True, default=200)

    def pulls(self):
        return np.array([self.beta]), np.array([1 / self.beta]), -1 / self.beta


class Symmetric(AbstractPulled):
    """`(dE(s^beta) - dE(s^-beta)) / (2 beta)`, with an error of order `beta^2`; beta below 1.

    What the free phase has left undone is the same on both sides and cancels.

    Reference: [laborieux2021scaling]
    """

    beta: float = eqx.field(static=True, default=0.1)
    tolerance: float = eqx.field(static=True, default=1e-4)
    max_sweeps: int = eqx.field(static=True, default=200)

    def __check_init__(self):
        _below_one(self.beta)

    def pulls(self):
        weight = 0.5 / self.beta
        return np.array([self.beta, -self.beta]), np.array([weight, -weight]), 0.0


class Holomorphic(AbstractPulled):
    """The Fourier coefficient of dE over pulls `beta e^(i phi)`, with an error of order `beta^n`.

    Needs an analytic response. Pulls come in conjugate pairs, of which one is settled.

    Args:
        beta: radius of the circle, below 1.
        num_points: n, the points on the circle, even; two are the symmetric estimator.
        tolerance, max_sweeps: as for the others.

    Reference: [laborieux2022holomorphic]
    """

    beta: float = eqx.field(static=True, default=0.3)
    num_points: int = eqx.field(static=True, default=4)
    tolerance: float = eqx.field(static=True, default=1e-4)
    max_sweeps: int = eqx.field(static=True, default=200)

    def __check_init__(self):
        _below_one(self.beta)
        if checks.count(self.num_points, "num_points", least=2) % 2:
            raise InputError(
                f"Argument num_points must be even, but is {self.num_points}; give "
                f"{self.num_points + 1}."
            )

    def check(self, model):
        if not RESPONSES[model.response].analytic:
            raise InputError(
                f"Argument model has the response {model.response!r}, which has no complex "
                "derivative; make it with response='logistic', or take Symmetric."
            )

    def pulls(self):
        half = self.num_points // 2
        circle = np.exp(2j * np.pi * np.arange(half + 1) / self.num_points)
        both = np.r_[1, np.full(half - 1, 2), 1]
        return self.beta * circle, both / (self.num_points * self.beta * circle), 0.0


class Implicit(AbstractEstimator):
    """The gradient by the implicit function theorem at the fixed point: the reference.

    Solves the adjoint of one sweep, `l = dC + T'(s)^T l`, by iterating it.

    Args:
        tolerance: largest residual of the states, and of the adjoint relative to dC.
        max_sweeps: bound on either.

    Reference: [blondel2022efficient]
    """

    tolerance: float = eqx.field(static=True, default=1e-4)
    max_sweeps: int = eqx.field(static=True, default=200)

    def __call__(self, model, inputs, targets):
        options: Any = dict(tolerance=self.tolerance, max_sweeps=self.max_sweeps)
        drive, free = _rest(model, inputs, targets, **options)
        graph, variables = nnx.split(model)
        zero = jnp.zeros((), drive.dtype)

        def moved(variables, states):
            model = nnx.merge(graph, variables)
            return model.sweep(model.input_drive(inputs), states, targets, zero)[0]

        pull = jax.vjp(lambda states: moved(variables, states), free.states)[1]
        error = (free.outputs - targets) / len(inputs)
        slope = (*(jnp.zeros_like(s) for s in free.states[:-1]), error)
        size = jnp.max(jnp.abs(error))

        def unsolved(carry):
            _, residual, count = carry
            return (residual > self.tolerance * size) & (count < self.max_sweeps)

        def iterate(carry):
            adjoint, _, count = carry
            new = jax.tree.map(jnp.add, slope, pull(adjoint)[0])
            change = [jnp.max(jnp.abs(a - b)) for a, b in zip(new, adjoint, strict=True)]
            return new, jnp.max(jnp.stack(change)), count + 1

        infinite = jnp.array(jnp.inf, drive.dtype)
        carry = slope, infinite, jnp.array(0)
        adjoint, residual, count = jax.lax.while_loop(unsolved, iterate, carry)
        gradient = jax.vjp(lambda v: moved(v, free.states), variables)[1](adjoint)[0]
        return gradient, _phases(free, targets, residual / size, count)


class BackPropagation(AbstractEstimator):
    """The gradient of the feed-forward network of the same layers, which nothing leads back in.

    It trains another network than the other estimators do: the twin to compare with.
    """

    def __call__(self, model, inputs, targets):
        graph, variables = nnx.split(model)

        def loss(variables):
            outputs = nnx.merge(graph, variables).feed_forward(inputs)[-1]
            return _loss(outputs, targets), outputs

        (value, outputs), gradient = jax.value_and_grad(loss, has_aux=True)(variables)
        zero, none = jnp.zeros((), outputs.dtype), jnp.array(0)
        return gradient, Phases(value, outputs, zero, zero, none, none)


def _below_one(beta):
    if beta >= 1:
        raise InputError(
            f"Argument beta must be below 1, but is {beta}: the opposite pull would push the "
            "output away without end."
        )


def _rest(model, inputs, targets, **options) -> tuple[Array, Settled]:
    drive = model.input_drive(inputs)
    return drive, relax(model, drive, targets, jnp.zeros((), drive.dtype), None, **options)


def _phases(free, targets, residual, count) -> Phases:
    loss = _loss(free.outputs, targets)
    return Phases(loss, free.outputs, free.residual, residual, free.num_sweeps, count)


def _loss(outputs, targets):
    return 0.5 * jnp.mean(jnp.sum(jnp.square(outputs - targets), axis=-1))


def _contrast(
    model: EquilibriumNetwork,
    inputs: Float[Array, "n d"],
    states: States,
    weights: Inexact[Array, " j"],
) -> PyTree:
    """Derivative in the parameters of the weighted sum of energies, mean over the samples.

    Only the couplings hold parameters, and they are linear in the states on either side. The
    states below the first layer are the inputs whatever the pull, so its states are summed first.
    """
    graph, variables = nnx.split(model)

    def paired(above, below):
        """Real arrays whose products sum to `Re sum_j w_j above_j below_j`."""
        above = above * weights.reshape(-1, *(1,) * (above.ndim - 1))
        if jnp.iscomplexobj(above):
            above = jnp.concatenate([above.real, -above.imag])
            below = jnp.concatenate([below.real, below.imag])
        return above, below

    def energy(variables):
        model = nnx.merge(graph, variables)
        total = jnp.zeros((), inputs.dtype)
        for k, coupling in enumerate(model.couplings):
            above, below = paired(states[k], states[k - 1] if k else states[k])
            first = above[: len(weights)]  # the real parts, which meet the bias
            axes = tuple(range(first.ndim - 1))
            part = jnp.sum(jnp.sum(first, axis=axes) * coupling.bias[...])
            if k:
                part = part + jnp.sum(above * coupling.up(below))
            else:
                part = part + jnp.sum(jnp.sum(first, axis=0) * coupling.up(model._shaped(inputs)))
            total = total + model.prices[k] * part
        return -total / len(inputs)

    return jax.grad(energy)(variables)


def cosine(first: PyTree, second: PyTree) -> Any:
    """Cosine of the angle between two gradients; 1 if they point the same way."""
    product = optax.tree.vdot(first, second)
    return product / (optax.tree.norm(first) * optax.tree.norm(second))
