"""The verb `measure`: the geometry of any path, or of any network as a path."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.tree_util import Partial
from jaxtyping import Array, Float

from geojax._core import checks
from geojax._core.errors import InputError
from geojax.complexity.defect import geodesic_defect
from geojax.complexity.fisher import amplitudes
from geojax.complexity.measures import Measures, stretches
from geojax.flows import Path, jacobians
from geojax.kernels import Gaussian
from geojax.metrics import RKHS
from geojax.networks import AbstractNetwork

# Groups of samples in which the geodesic defect is measured, for its standard error.
MOST_GROUPS = 8


def measure(
    model: Any,
    inputs: Any = None,
    labels: Any = None,
    *,
    metric: RKHS | None = None,
    group_size: int = 8,
    num_jacobians: int = 8,
    robustness: bool = True,
) -> Measures:
    """Measure a path, or a network as a path, sample by sample.

    Args:
        model: a network of `geojax.networks` (`Layers` makes one of any module), or a path of
            points, of which only what needs no layers is measured.
        inputs: `[n, d]`, for a network.
        labels: `[n]`, the true classes, for accuracies.
        metric: of the geodesic defect; that of the model if it has one, otherwise that of a
            Gaussian kernel as wide as the median distance of the states at the start.
        group_size: samples in each of up to eight groups whose joint motion gives one geodesic
            defect, together with the control points if the model has any; 0 leaves it out.
        num_jacobians: samples, evenly chosen, of which Jacobians are taken; 0 leaves them out.
        robustness: whether layers are deleted and swapped. It takes about `L^2 / 2` applications
            of a layer.

    Returns:
        The measurements, in NumPy arrays. Length and energy are those of `model.path`.

    Raises:
        InputError: a model or inputs of another kind or shape.

    Example:
        >>> import numpy as np
        >>> from flax import nnx
        >>> from geojax.networks import ResidualNetwork
        >>> model = ResidualNetwork(3, 2, depth=4, rngs=nnx.Rngs(0))
        >>> measured = measure(model, np.ones((2, 3), np.float32), group_size=0)
        >>> measured.length.shape, measured.commutator.shape, measured.sensitivity.shape
        ((2,), (3, 2), (5, 2))
        >>> [name for name, mean, error in measured.table()][:2]
        ['length of the path', 'length over chord']

    Reference: `[dong2017deep]`, `[veit2016residual]`.
    """
    for value, name in ((group_size, "group_size"), (num_jacobians, "num_jacobians")):
        checks.count(value, name, least=0)
    if isinstance(model, Path):
        return _of_path(model, metric, group_size)
    if not isinstance(model, AbstractNetwork):
        raise InputError(
            f"Argument model must be a network of geojax.networks or a Path, but is a "
            f"{type(model).__name__}; wrap it in geojax.networks.Layers."
        )
    if inputs is None:
        raise InputError("Argument inputs must be given to measure a network, but is None.")
    array = checks.as_points(inputs, "inputs", any_dimension=True)
    need = getattr(model, "num_features", array.shape[1])
    if array.shape[1] != need:
        raise InputError(
            f"Argument inputs must have {need} features, as the model was made for, but has shape "
            f"{list(array.shape)}."
        )
    return _of_network(
        model, array, _checked_labels(labels, array), metric, group_size, num_jacobians, robustness
    )


def _checked_labels(labels: Any, inputs: Array) -> np.ndarray | None:
    if labels is None:
        return None
    labels = np.asarray(labels)
    if labels.shape != inputs.shape[:1] or labels.dtype.kind not in "iu":
        raise InputError(
            f"Argument labels must be {len(inputs)} whole numbers, one for each input, but has "
            f"shape {list(labels.shape)} and dtype {labels.dtype}."
        )
    return labels


def _of_path(path: Path, metric: RKHS | None, group_size: int) -> Measures:
    states = path.states
    if not isinstance(states, jax.Array) or states.ndim != 3 or states.shape[0] < 2:
        raise InputError(
            "Argument model must be a path of points, with states [k, n, d] at two times at least, "
            "to be measured; keep its states with save='steps'."
        )
    found = _geometry(list(states))
    # what was integrated is more exact than the polygon; a geodesic has one energy for all points
    if path.length.shape == states.shape[1:2]:
        found |= {"length": np.asarray(path.length), "energy": np.asarray(path.energy)}
    if group_size and len(states) > 2:
        metric = _kernel_for(states[0]) if metric is None else metric
        # the points of a path belong together: what carries them is among them
        found |= {"defect": np.asarray(geodesic_defect(states, metric))[None]}
        found |= {"scale": _scale(metric)}
    return Measures(**found)


def _of_network(model, inputs, labels, metric, group_size, num_jacobians, robustness) -> Measures:
    graph, variables = nnx.split(model)
    states = _states(variables, graph, inputs)
    found = _geometry(states)
    path = _lengths(variables, graph, inputs)
    found |= {name: np.asarray(value) for name, value in path.items()}
    dimensions = found["dimensions"]

    layers = [_compiled(layer) for layer in model.layers(inputs)]
    read = _compiled(model.read)

    def layer(k: int, state: Array) -> Array:
        return layers[k](state)

    found["commutator"] = _commutators(layer, states)
    if group_size and len(set(dimensions)) == 1 and len(states) > 2:
        if metric is None:
            metric = getattr(model, "metric", None) or _kernel_for(states[0])
        carriers = getattr(model, "carriers", None)
        control = None if carriers is None else carriers()
        found["defect"] = _defects(jnp.stack(states), control, metric, group_size)
        found["scale"] = _scale(metric)
    if num_jacobians:
        rows = np.linspace(0, len(inputs) - 1, min(num_jacobians, len(inputs))).astype(int)
        found |= _derivatives(model, inputs[rows], [state[rows] for state in states])
    found["logits"] = np.asarray(read(states[-1]))
    if robustness:
        found["deleted"], found["swapped"] = _without(layer, read, states, found["logits"])
    return Measures(**found, labels=labels)


def _geometry(states: list[Array]) -> dict[str, Any]:
    """Lengths, chords and steps of the polygon through some states."""
    arrays = [np.asarray(state) for state in states]
    dimensions = tuple(array.shape[-1] for array in arrays)
    count, n = len(arrays) - 1, len(arrays[0])
    steps = np.full((count, n), np.nan, arrays[0].dtype)
    sizes = np.full_like(steps, np.nan)
    for k in range(count):
        if dimensions[k] == dimensions[k + 1]:
            steps[k] = np.linalg.norm(arrays[k + 1] - arrays[k], axis=-1)
            with np.errstate(divide="ignore", invalid="ignore"):
                sizes[k] = steps[k] / np.linalg.norm(arrays[k], axis=-1)
    chord = np.zeros_like(steps[0])
    for start, end in stretches(dimensions):
        chord += np.linalg.norm(arrays[end] - arrays[start], axis=-1)
    return {
        "dimensions": dimensions,
        "length": np.nansum(steps, axis=0),
        "energy": 0.5 * count * np.nansum(steps**2, axis=0),
        "chord": chord,
        # a state at the origin, such as the first of a recurrent network, has no relative step
        "step_size": np.where(np.isfinite(sizes), sizes, np.nan),
    }


def _commutators(layer: Callable, states: list[Array]) -> np.ndarray:
    count, n = len(states) - 1, len(states[0])
    found = np.full((max(count - 1, 0), n), np.nan, np.dtype(states[0].dtype))
    for k in range(count - 1):
        here, middle, there = (np.asarray(state) for state in states[k : k + 3])
        if not here.shape == middle.shape == there.shape:
            continue
        other = np.asarray(layer(k, layer(k + 1, states[k])))
        difference = np.linalg.norm(there - other, axis=-1)
        steps = np.linalg.norm(middle - here, axis=-1) + np.linalg.norm(there - middle, axis=-1)
        # layers that rest commute with each other
        found[k] = np.divide(difference, steps, out=np.zeros_like(steps), where=steps > 0)
    return found


def _without(layer, read, states, logits) -> tuple[np.ndarray, np.ndarray]:
    """Logits with each layer deleted, and with each two neighbours swapped."""
    count = len(states) - 1
    sizes = [state.shape[-1] for state in states]
    deleted = np.full((count, *logits.shape), np.nan, logits.dtype)
    swapped = np.full((max(count - 1, 0), *logits.shape), np.nan, logits.dtype)

    def rest(state, k):
        for j in range(k, count):
            state = layer(j, state)
        return np.asarray(read(state))

    for k in range(count):
        if sizes[k] == sizes[k + 1]:
            deleted[k] = rest(states[k], k + 1)
        if k + 1 < count and sizes[k] == sizes[k + 1] == sizes[k + 2]:
            swapped[k] = rest(layer(k, layer(k + 1, states[k])), k + 2)
    return deleted, swapped


def _defects(states, control, metric, group_size) -> np.ndarray:
    """Geodesic defects of groups of samples, each together with the control points."""
    n = states.shape[1]
    size = min(group_size, n)
    groups = min(MOST_GROUPS, n // size)
    found = []
    for g in range(groups):
        particles = states[:, g::groups][:, :size]
        if control is not None:
            particles = jnp.concatenate([control, particles], axis=1)
        found.append(np.asarray(geodesic_defect(particles, metric)))
    return np.stack(found)


def _kernel_for(points: Float[Array, "n d"]) -> RKHS:
    """A Gaussian as wide as the median distance of some points; of width one if they coincide."""
    array = np.asarray(points)[:256]
    distances = np.linalg.norm(array[:, None] - array[None], axis=-1)
    apart = distances[distances > 0]
    return RKHS(Gaussian(jnp.asarray(np.median(apart) if apart.size else 1.0, points.dtype)))


def _scale(metric: RKHS) -> float | None:
    scale = getattr(metric.kernel, "scale", None)
    return None if scale is None or np.ndim(scale) else float(scale)


# Each program takes the variables as arguments, so that networks of one structure share it.


@eqx.filter_jit
def _states(variables, graph, inputs):
    return nnx.merge(graph, variables).states(inputs)


@eqx.filter_jit
def _lengths(variables, graph, inputs):
    path = nnx.merge(graph, variables).path(inputs, save="end", throw=False)
    return {"length": path.length, "energy": path.energy}


def _compiled(layer: Callable) -> Callable[[Array], Array]:
    """A map of states as a program; layers that are the same but for their numbers share one."""
    if isinstance(layer, Partial):
        return lambda state: _apply(layer, state)
    # a function of its own: one that JAX had seen before would keep the numbers of that time
    return jax.jit(lambda state: layer(state))


def _jacobian(layer: Callable, states: Array) -> np.ndarray:
    """Jacobians `[m, d_out, d]` of a map that moves each state by itself."""
    if isinstance(layer, Partial):
        return np.asarray(_jacobians(layer, states))
    return np.asarray(jax.jit(lambda x: jacobians(layer, x))(states))


@eqx.filter_jit
def _apply(layer, state):
    return layer(state)


@eqx.filter_jit
def _jacobians(layer, states):
    return jacobians(layer, states)


def _derivatives(model, inputs, states) -> dict[str, Any]:
    """Singular values from the start to each state, and sizes of the derivatives of the logits."""
    steps = [
        _jacobian(layer, state) for layer, state in zip(model.layers(inputs), states, strict=False)
    ]
    slope = _jacobian(model.read, states[-1])
    root = _jacobian(Partial(amplitudes), model.read(states[-1]))
    sizes, fisher_sizes = [], []
    for step in (None, *reversed(steps)):
        slope = slope if step is None else slope @ step
        sizes.append(np.linalg.norm(slope, axis=(-2, -1)))
        fisher_sizes.append(np.linalg.norm(root @ slope, axis=(-2, -1)))
    product = np.broadcast_to(
        np.eye(steps[0].shape[-1], dtype=slope.dtype), steps[0].shape[:1] + steps[0].shape[-1:] * 2
    )
    products = [product]
    for step in steps:
        products.append(step @ products[-1])
    return {
        "singular_values": tuple(np.linalg.svd(product, compute_uv=False) for product in products),
        "sensitivity": np.stack(sizes[::-1]),
        "fisher_sensitivity": np.stack(fisher_sizes[::-1]),
    }
