"""Networks that answer by coming to rest: a layered energy, and its minimum layer by layer."""

import math
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Inexact, Int

from geojax._core import checks
from geojax._core.errors import InputError
from geojax._core.results import RESULTS, all_finite, code_if, first_failure, throw_if_failed
from geojax.networks.couplings import RESPONSES, Convolution, Coupling

States = tuple[Inexact[Array, "..."], ...]


class Settled(eqx.Module):
    """Where the layers came to rest.

    Attributes:
        states: of each layer, the output last.
        residual: largest change of a unit in the last sweep's first half, which is how far the
            state before that sweep was from answering its drive; the state itself is nearer.
        num_sweeps: sweeps that were taken.
        result: `not_converged` if the residual is above the tolerance.
    """

    states: States
    residual: Float[Array, ""]
    num_sweeps: Int[Array, ""]
    result: RESULTS

    @property
    def outputs(self) -> Inexact[Array, "*batch classes"]:
        """The state of the last layer."""
        return self.states[-1]


class EquilibriumNetwork(nnx.Module):
    """A layered network of Hopfield's kind: its answer is the minimum of an energy.

    Layers `s_1, ..., s_K` over the input `s_0 = x` have the energy

        E(s) = sum_k g^(k-K) (Phi(s_k) - <s_k, L_k s_(k-1) + b_k>)

    with linear couplings `L_k`, fully connected or convolutional, and the feedback g. `Phi` is
    the integral of the inverse of the response rho, so each layer given its neighbours is at its
    minimum exactly when `s_k = rho(L_k s_(k-1) + b_k + g L_(k+1)^T s_(k+1))`. Layers of one parity
    do not see each other, so a sweep puts half of them at their minimum, then the other half: the
    energy falls with every sweep, and a few are enough. The output is linear, and a target y pulls
    at it with `beta |s_K - y|^2 / 2`; a training reads the gradient off how the layers give way
    (`geojax.training.Symmetric`).

    With response `"clip"` and feedback 1 this is the energy
    `|u|^2/2 - rho(u) W rho(u)/2 - b rho(u)` of [scellier2017equilibrium], whose minima lie between
    0 and 1. A weak feedback [xie2003equivalence] leaves couplings room to grow while they are
    trained: the sweeps contract by about g times their squared norm.

    Args:
        num_features: units of the input, or its shape `(height, width, channels)`; inputs are
            `[n, ...]` with as many numbers.
        layers: hidden layers, from the input on: numbers of units, or `Convolution`.
        num_classes: units of the output.
        response: `"clip"`, `"logistic"` or `"tanh"`; the last two are analytic.
        feedback: g, strength of the way down beside that of the way up.
        dtype: of the parameters.
        rngs: where the initial parameters are drawn from.

    Raises:
        InputError: sizes that do not fit each other, or an unknown response.

    Gradient: not by autodiff (the sweeps stop when they have converged); by the estimators of
        `geojax.training`.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> model = EquilibriumNetwork(4, (8, 8), 3, rngs=nnx.Rngs(0))
        >>> rest = model.settle(jnp.ones((5, 4)))
        >>> [s.shape for s in rest.states], bool(rest.residual <= 1e-4)
        ([(5, 8), (5, 8), (5, 3)], True)
        >>> image = EquilibriumNetwork((8, 8, 1), (Convolution(4, 3, 2), 16), 10, rngs=nnx.Rngs(0))
        >>> image(jnp.ones((5, 64))).shape
        (5, 10)

    Reference: [scellier2017equilibrium], [xie2003equivalence]
    """

    def __init__(
        self,
        num_features: int | tuple[int, int, int],
        layers: Sequence[int | Convolution],
        num_classes: int,
        *,
        response: str = "clip",
        feedback: float = 0.05,
        dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ):
        if response not in RESPONSES:
            raise InputError(
                f"Argument response must be one of {', '.join(RESPONSES)}, but is "
                f"{response!r}{checks.nearest_name(response, RESPONSES)}."
            )
        if not layers:
            raise InputError("Argument layers must hold at least one hidden layer, but is empty.")
        sizes = num_features if isinstance(num_features, tuple) else (num_features,)
        for size in sizes:
            checks.count(size, "num_features")
        self.num_features = math.prod(sizes)
        self.num_classes = checks.count(num_classes, "num_classes", least=2)
        self.response = response
        self.feedback = float(checks.positive(feedback, "feedback"))
        shape, couplings = tuple(sizes), []
        for layer in (*layers, num_classes):
            couplings.append(Coupling(shape, layer, dtype=dtype, rngs=rngs))
            shape = couplings[-1].above
        self.couplings = nnx.List(couplings)

    @property
    def dtype(self) -> Any:
        """Of the parameters, and of all that is computed with them."""
        return self.couplings[0].kernel[...].dtype

    @property
    def prices(self) -> tuple[float, ...]:
        """How much the energy of each layer counts: that of the output 1."""
        count = len(self.couplings)
        return tuple(self.feedback ** (k + 1 - count) for k in range(count))

    def __call__(self, inputs: Float[Array, "n ..."], **options: Any) -> Float[Array, "n classes"]:
        """The output at rest, one score per class; options as for `settle`."""
        return self.settle(inputs, **options).outputs

    def settle(
        self,
        inputs: Float[Array, "n ..."],
        *,
        targets: Float[Array, "n classes"] | None = None,
        beta: Any = 0.0,
        start: States | None = None,
        tolerance: float = 1e-4,
        max_sweeps: int = 200,
        throw: bool = True,
    ) -> Settled:
        """Sweep over the layers until they are at rest.

        Args:
            inputs: `[n, ...]`.
            targets: `[n, classes]` that pull at the output.
            beta: how strongly, above -1; real or complex, one number or `[j]` of them, all
                settled at once: states then have a leading axis of j.
            start: states to begin with, of a weaker pull for instance; a pass from the input to
                the output if None.
            tolerance: largest residual of a unit.
            max_sweeps: bound on the sweeps.
            throw: raise if the tolerance was not met; otherwise `result` says so.

        Raises:
            InputError: inputs or targets that do not fit.
            NumericalError: not at rest after so many sweeps (only outside `jit`, if `throw`).
        """
        inputs = checks.finite(checks.as_float_array(inputs, "inputs"), "inputs")
        if inputs.ndim < 2 or math.prod(inputs.shape[1:]) != self.num_features:
            raise InputError(
                f"Argument inputs must hold [n, ...] with {self.num_features} numbers each, but "
                f"has shape {list(inputs.shape)}."
            )
        inputs = inputs.astype(self.dtype)
        beta = jnp.asarray(beta)
        if not jnp.issubdtype(beta.dtype, jnp.complexfloating):
            beta = beta.astype(inputs.dtype)
        elif RESPONSES[self.response].analytic:
            beta = beta.astype(_complex(inputs.dtype))
        else:
            raise InputError(
                f"Argument beta must be real for the response {self.response!r}, which has no "
                "complex derivative; make the network with response='logistic'."
            )
        if targets is None:
            targets = jnp.zeros((len(inputs), self.num_classes), inputs.dtype)
        elif np.shape(targets) != (len(inputs), self.num_classes):
            raise InputError(
                f"Argument targets must be [{len(inputs)}, {self.num_classes}], one row for each "
                f"input, but has shape {list(np.shape(targets))}."
            )
        targets = jnp.asarray(targets, inputs.dtype)
        checks.positive(tolerance, "tolerance")
        graph, variables = nnx.split(self)
        settled = _settle(
            variables, inputs, targets, beta, start, tolerance, graph=graph,
            max_sweeps=checks.count(max_sweeps, "max_sweeps"),
        )  # fmt: skip
        return throw_if_failed(settled, settled.result, what="settle") if throw else settled

    def energy(self, inputs: Float[Array, "n ..."], states: States) -> Inexact[Array, "*lead n"]:
        """Energy of each sample without a pull, up to a constant of the input."""
        layers = [self._shaped(inputs), *states]
        total: Any = None
        for k, coupling in enumerate(self.couplings):
            state, drive = layers[k + 1], coupling.drive(layers[k])
            # an input has no axis of pulls
            drive = jnp.expand_dims(drive, tuple(range(state.ndim - drive.ndim)))
            output = k == len(states) - 1
            phi = 0.5 * jnp.square(state) if output else RESPONSES[self.response].energy(state)
            axes = tuple(range(state.ndim - len(coupling.above), state.ndim))
            part = jnp.sum(phi - state * drive.astype(state.dtype), axis=axes)
            part = self.prices[k] * part
            total = part if total is None else total + part
        return total

    def feed_forward(self, inputs: Float[Array, "n ..."]) -> States:
        """States of one pass from the input to the output, as if nothing led back.

        It is where the sweeps begin, and the network that back-propagation trains.
        """
        return self._pass(self.input_drive(inputs))

    def input_drive(self, inputs: Float[Array, "n ..."]) -> Float[Array, "n ..."]:
        """What the inputs do to the first layer: the same in every sweep."""
        return self.couplings[0].drive(self._shaped(inputs))

    def sweep(
        self,
        drive: Float[Array, "n ..."],
        states: States,
        targets: Float[Array, "n classes"],
        beta: Inexact[Array, "*j"],
    ) -> tuple[States, Float[Array, ""]]:
        """Put the layers of the output's parity at their minimum, then the others.

        Args:
            drive: of the first layer, from `input_drive`.
            states: of each layer; with a leading axis if beta has one.
            targets, beta: as for `settle`.

        Returns:
            The new states, and the largest change in the first half.
        """
        after, count = list(states), len(states)
        if jnp.ndim(beta):
            drive, targets = drive[None], targets[None]
            beta = beta[:, None, None]
        change = []
        for parity in (count - 1, count):
            for k in range(parity % 2, count, 2):
                coupling = self.couplings[k]
                total = coupling.drive(after[k - 1]) if k else drive.astype(after[0].dtype)
                if k < count - 1:
                    back = self.couplings[k + 1].down(after[k + 1])
                    after[k] = RESPONSES[self.response].value(total + self.feedback * back)
                else:
                    pull = beta * targets.astype(beta.dtype)
                    after[k] = (total + pull) / (1 + beta)
            if not change:
                pairs = zip(after, states, strict=True)
                change = [jnp.max(jnp.abs(a - b)) for a, b in pairs if a is not b]
        return tuple(after), jnp.max(jnp.stack(change))

    def _pass(self, drive) -> States:
        states = [drive]
        for coupling in self.couplings[1:]:
            # the output answers linearly
            states[-1] = RESPONSES[self.response].value(states[-1])
            states.append(coupling.drive(states[-1]))
        return tuple(states)

    def _shaped(self, inputs) -> Array:
        return inputs.reshape(len(inputs), *self.couplings[0].below)


def _complex(dtype) -> Any:
    return jnp.complex64 if dtype == jnp.float32 else jnp.complex128


def relax(
    model: EquilibriumNetwork,
    drive: Float[Array, "n ..."],
    targets: Float[Array, "n classes"],
    beta: Inexact[Array, "*j"],
    start: States | None,
    *,
    tolerance: Any,
    max_sweeps: int,
) -> Settled:
    """`EquilibriumNetwork.settle` inside a compiled program: nothing is checked or raised."""
    states = model._pass(drive) if start is None else start
    dtype = beta.dtype
    lead = jnp.shape(beta)

    def fit(state, coupling):
        shape = (*lead, len(drive), *coupling.above)
        return jnp.broadcast_to(state.astype(dtype), shape)

    states = tuple(fit(s, c) for s, c in zip(states, model.couplings, strict=True))
    # the first sweep tests a half that need not answer the other yet
    least = 2 if start is None else 1

    def unsettled(carry):
        _, residual, count = carry
        return (count < least) | ((residual > tolerance) & (count < max_sweeps))

    def sweep(carry):
        states, _, count = carry
        return *model.sweep(drive, states, targets, beta), count + 1

    infinite = jnp.array(jnp.inf, drive.dtype)
    carry = states, infinite, jnp.array(0)
    states, residual, count = jax.lax.while_loop(unsettled, sweep, carry)
    result = first_failure(
        code_if(~all_finite(states), RESULTS.not_finite),
        code_if(~(residual <= tolerance), RESULTS.not_converged),
    )
    return Settled(states, residual, count, result)


@eqx.filter_jit
def _settle(variables, inputs, targets, beta, start, tolerance, *, graph, max_sweeps) -> Settled:
    model = nnx.merge(graph, variables)
    drive = model.input_drive(inputs)
    tolerance = jnp.asarray(tolerance, drive.dtype)
    return relax(model, drive, targets, beta, start, tolerance=tolerance, max_sweeps=max_sweeps)
