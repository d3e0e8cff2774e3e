"""What all networks are: a chain of maps that move a state, and a read-out of its end."""

import abc
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from geojax._core import checks
from geojax._core.errors import InputError
from geojax._core.results import RESULTS, all_finite, code_if, first_failure, throw_if_failed
from geojax.flows import Path
from geojax.flows.path import kinetic_energy, speed

Layer = Callable[[Array], Array]

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "gelu": jax.nn.gelu,
    "silu": jax.nn.silu,
    "softplus": jax.nn.softplus,
    "tanh": jnp.tanh,
}


def check_activation(name: str) -> str:
    """Raise unless a name is one of `ACTIVATIONS`."""
    if name not in ACTIVATIONS:
        raise InputError(
            f"Argument activation must be one of {', '.join(ACTIVATIONS)}, but is "
            f"{name!r}{checks.nearest_name(name, ACTIVATIONS)}."
        )
    return name


class AbstractNetwork(nnx.Module):
    """A network that is a path: `start`, then each of `layers` in turn, then `read`.

    A state is a flat vector for each input, `[..., d_k]`, whatever the layers make of it inside, so
    that distances along the path need no further convention. All that is measured of a network
    (`geojax.complexity.measure`) and all that training asks of it (`path` and `read`) follows from
    these three.
    """

    num_features: int
    num_classes: int

    def start(self, inputs: Float[Array, "*batch d"]) -> Float[Array, "*batch d0"]:
        """The state before the first layer; the input itself unless it is lifted first."""
        return inputs

    @abc.abstractmethod
    def layers(self, inputs: Float[Array, "*batch d"]) -> Sequence[Layer]:
        """The maps from state to state, in order.

        Args:
            inputs: `[..., d]`, for layers that are driven by them; others leave them unread.

        Returns:
            Callables. Those that are `jax.tree_util.Partial` of one function, with their numbers as
            its arguments, share a compiled program where they are measured.
        """

    @abc.abstractmethod
    def read(self, states: Float[Array, "*batch dL"]) -> Float[Array, "*batch classes"]:
        """Logits of states at the end of their path."""

    def states(self, inputs: Float[Array, "*batch d"]) -> list[Array]:
        """The state before the first layer and after each, `[..., d_k]`."""
        states = [self.start(inputs)]
        for layer in self.layers(inputs):
            states.append(layer(states[-1]))
        return states

    def path(self, inputs: Float[Array, "*batch d"], **options: Any) -> Path:
        """The path of each input through the layers, in equal parts of one unit of time.

        The energy is that of the polygon through the states, over the steps that keep the
        dimension of the state; the others have no displacement.

        Args:
            inputs: `[..., d]`.
            options: `costs`, `save` and `throw` as of `geojax.integrate`. Those that say how to
                step are of no effect, since the layers are the steps.

        Raises:
            InputError: `save="steps"` of a network whose state changes its dimension: no array
                holds these; call `states`. With `save="end"` its start is withheld (NaN).
            NumericalError: the end is not finite (only outside `jit`, and only if `throw`).
        """
        return polygon(self.states(inputs), **chosen_options(options))

    def __call__(self, inputs: Float[Array, "*batch d"], **options: Any) -> Array:
        """Logits `[..., classes]` of inputs; options as for `path`."""
        return self.read(self.path(inputs, **{"save": "end", **options}).end)


def chosen_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Those options of a path that matter for layers, after a check that all are known."""
    own = ("costs", "save", "throw")
    known = (*own, "num_steps", "solver", "stepsize_controller", "adjoint", "max_steps")
    for name in options:
        if name not in known:
            raise InputError(
                f"Unknown option {name!r} of a path{checks.nearest_name(name, known)}."
            )
    return {name: options[name] for name in own if name in options}


def polygon(
    states: Sequence[Float[Array, "*batch _"]],
    *,
    costs: Mapping[str, Callable] | None = None,
    save: Literal["steps", "end"] = "steps",
    throw: bool = True,
    result: Any = RESULTS.successful,
) -> Path:
    """The path through given states in equal parts of one unit of time.

    Args:
        states: at least two, `[..., d_k]`.
        costs, save, throw: as of `geojax.integrate`.
        result: code of whatever made the states.
    """
    if save not in ("steps", "end"):
        raise InputError(f"Argument save must be 'steps' or 'end', but is {save!r}.")
    count, dtype = len(states) - 1, states[-1].dtype
    sizes = [state.shape[-1] for state in states]
    keeping = [k for k in range(count) if sizes[k] == sizes[k + 1]]
    if save == "steps" and len(set(sizes)) > 1:
        raise InputError(
            f"Argument save must be 'end' for a network whose states have dimensions {sizes}: no "
            "array holds them all; `states` lists them."
        )
    prices = {"energy": kinetic_energy, "length": speed, **(costs or {})}
    totals = {name: jnp.zeros(states[-1].shape[:-1], dtype) for name in prices}
    for k in keeping:
        velocity, time = count * (states[k + 1] - states[k]), jnp.asarray(k / count, dtype)
        for name, price in prices.items():
            totals[name] += price(time, states[k], velocity) / count
    if save == "end":
        # a start of another dimension is withheld, not approximated
        same = sizes[0] == sizes[-1]
        states = [states[0] if same else jnp.full_like(states[-1], jnp.nan), states[-1]]
    times = jnp.linspace(0.0, 1.0, len(states), dtype=dtype)
    result = first_failure(result, code_if(~all_finite(states[-1]), RESULTS.not_finite))
    path = Path(
        times=times,
        states=jnp.stack(states),
        energy=totals.pop("energy"),
        length=totals.pop("length"),
        costs=totals,
        result=result,
        num_steps=jnp.asarray(count),
        num_evaluations=jnp.asarray(count),
        time_reached=times[-1],
    )
    return throw_if_failed(path, path.result, what="path") if throw else path


class Layers(AbstractNetwork):
    """Any callables, or parts of any flax nnx module, as a network: nothing is rewritten.

    Args:
        layers: maps from state to state, in order: modules, functions, or names of parts of
            `module` such as `"blocks.0"`. They get a batch of states, `[n, ...]`, and may change
            their shape.
        module: what the names are looked up in.
        head: read-out of the last state, given likewise; the last state is the answer if None.
        input_shape: shape of one input, if the layers take another than a flat vector.

    Raises:
        InputError: no layers, a name that the module has not, or something not callable.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> class Existing(nnx.Module):
        ...     def __init__(self, rngs):
        ...         self.conv = nnx.Conv(1, 2, (3, 3), rngs=rngs)
        ...         self.dense = nnx.Linear(32, 5, rngs=rngs)
        ...
        ...     def __call__(self, x):
        ...         return self.dense(nnx.relu(self.conv(x)).reshape(x.shape[0], -1))
        >>> model = Existing(nnx.Rngs(0))
        >>> network = Layers(["conv", nnx.relu], module=model, input_shape=(4, 4, 1),
        ...                  head=lambda x: model.dense(x.reshape(x.shape[0], -1)))
        >>> x = jnp.ones((3, 16))
        >>> bool(jnp.allclose(network(x), model(x.reshape(3, 4, 4, 1))))
        True
        >>> [state.shape for state in network.states(x)]
        [(3, 16), (3, 32), (3, 32)]
    """

    def __init__(
        self,
        layers: Sequence[Any],
        *,
        module: nnx.Module | None = None,
        head: Any = None,
        input_shape: Sequence[int] | None = None,
    ):
        if not layers:
            raise InputError("Argument layers must hold at least one layer, but is empty.")
        parts = [*layers, (lambda x: x) if head is None else head]
        self.module = module
        self.parts = nnx.List([part for part in parts if isinstance(part, nnx.Module)])
        order: list[Any] = []  # a number of `parts`, a name in `module`, or a function
        for part in parts:
            if isinstance(part, nnx.Module):
                order.append(sum(isinstance(entry, int) for entry in order))
            elif isinstance(part, str) or callable(part):
                order.append(part)
            else:
                raise InputError(
                    "Argument layers must hold callables or names of parts of a module, but holds "
                    f"{part!r}."
                )
        self.order = tuple(order)
        self.input_shape = None if input_shape is None else tuple(input_shape)
        for entry in self.order:
            self._callable(entry)

    def layers(self, inputs: Float[Array, "*batch d"]) -> Sequence[Layer]:
        shape = (1, *(self.input_shape or inputs.shape[-1:]))
        maps = []
        for entry in self.order[:-1]:
            part = self._callable(entry)
            maps.append(functools.partial(_flat, part, shape[1:]))
            shape = jax.eval_shape(part, jax.ShapeDtypeStruct(shape, inputs.dtype)).shape
        return maps

    def read(self, states: Float[Array, "*batch d"]) -> Float[Array, "*batch classes"]:
        return _flat(self._callable(self.order[-1]), self._last_shape(states), states)

    def _last_shape(self, states) -> tuple[int, ...]:
        """Shape of one last state as the layers left it."""
        if self.input_shape is None:
            return states.shape[-1:]
        shape: tuple[int, ...] = (1, *self.input_shape)
        for entry in self.order[:-1]:
            like = jax.ShapeDtypeStruct(shape, states.dtype)
            shape = jax.eval_shape(self._callable(entry), like).shape
        return shape[1:]

    def _callable(self, entry: Any) -> Callable:
        if isinstance(entry, int):
            return self.parts[entry]
        if not isinstance(entry, str):
            return entry
        found: Any = self.module
        for name in entry.split("."):
            try:
                found = found[int(name)] if name.isdigit() else getattr(found, name)
            except (AttributeError, IndexError, KeyError, TypeError) as error:
                raise InputError(
                    f"Argument layers names {entry!r}, but the "
                    f"{type(self.module).__name__} has no such part."
                ) from error
        return found


def _flat(part: Callable, shape: tuple[int, ...], states: Array) -> Array:
    """A map of batches `[n, *shape]` as one of flat states `[..., d]`."""
    batch = states.shape[:-1]
    moved = part(states.reshape(-1, *shape))
    return moved.reshape(*batch, -1)
