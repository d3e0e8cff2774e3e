"""What a trained network is worth: its accuracy, and the geometry of its paths.

Everything is measured with an adaptive solver, one lane per sample, so that the number of
evaluations is what each sample needs and not what its neighbours need.
"""

from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Bool, Float, Int, Shaped

from geojax._core import checks
from geojax._core.errors import InputError
from geojax._core.results import RESULTS, throw_if_failed
from geojax.flows import Path
from geojax.training.data import Samples

TOLERANCE = 1e-5


class Evaluation(eqx.Module):
    """Measurements of a model on samples, one entry per sample.

    Attributes:
        probabilities: of each class.
        labels: the true classes.
        num_evaluations: evaluations of the velocity that the adaptive solver needed.
        energy: `1/2 int |v|^2 dt` along the path, in the squared unit of the inputs.
        length: of the path.
        chord: distance from the start of the path to its end.
        result: result codes.
    """

    probabilities: Float[np.ndarray, "n classes"]
    labels: Int[np.ndarray, " n"]
    num_evaluations: Int[np.ndarray, " n"]
    energy: Float[np.ndarray, " n"]
    length: Float[np.ndarray, " n"]
    chord: Float[np.ndarray, " n"]
    result: RESULTS

    @property
    def correct(self) -> Bool[np.ndarray, " n"]:
        """Whether the most probable class is the true one."""
        return np.argmax(self.probabilities, axis=-1) == self.labels

    @property
    def accuracy(self) -> float:
        """Share of the samples whose class was found."""
        return float(np.mean(self.correct))

    @property
    def length_over_chord(self) -> Float[np.ndarray, " n"]:
        """Length over chord of each path, 1 for a straight one (and for one that rests)."""
        return np.divide(
            self.length, self.chord, out=np.ones_like(self.length), where=self.chord != 0
        )

    def figures(self) -> dict[str, float]:
        """Means over the samples and their standard errors, as plain numbers."""
        figures = {}
        for name in ("num_evaluations", "energy", "length", "length_over_chord"):
            values = np.asarray(getattr(self, name), np.float64)
            figures[name], figures[f"{name}_stderr"] = _mean(values)
        figures["accuracy"], figures["accuracy_stderr"] = _mean(self.correct.astype(np.float64))
        return figures


def _mean(values: np.ndarray) -> tuple[float, float]:
    """Mean and its standard error."""
    spread = float(np.std(values, ddof=1)) if values.size > 1 else 0.0
    return float(np.mean(values)), spread / values.size**0.5


def evaluate(
    model: Any,
    data: Samples,
    *,
    chunk_size: int = 512,
    solver: diffrax.AbstractSolver | None = None,
    stepsize_controller: diffrax.AbstractStepSizeController | None = None,
    max_steps: int = 4096,
    throw: bool = True,
) -> Evaluation:
    """Measure a model on samples.

    Args:
        model: a module with `path` and `read`.
        data: samples, usually those that it was not trained on.
        chunk_size: samples at a time; bounds the memory.
        solver, stepsize_controller, max_steps: passed to diffrax; Tsit5 with relative and
            absolute tolerance 1e-5 by default.
        throw: raise if a path failed; otherwise `result` says which.

    Returns:
        The measurements of each sample.

    Raises:
        InputError: samples that the model cannot take.
        NumericalError: a path failed (only if `throw`), naming the first lane.

    Example:
        >>> import numpy as np
        >>> from flax import nnx
        >>> from geojax.networks import ContinuousClassifier
        >>> model = ContinuousClassifier(4, 2, widths=(8,), rngs=nnx.Rngs(0))
        >>> measured = evaluate(model, Samples(np.eye(4, dtype=np.float32), [0, 1, 0, 1]))
        >>> measured.energy.shape, sorted(measured.figures())[:2]
        ((4,), ['accuracy', 'accuracy_stderr'])
    """
    if data.num_classes > getattr(model, "num_classes", data.num_classes):
        raise InputError(
            f"Argument data has {data.num_classes} classes, but the model tells "
            f"{model.num_classes} apart."
        )
    measured = _measure(model, data.inputs, chunk_size, solver, stepsize_controller, max_steps)
    result = measured.pop("result")
    if throw:
        throw_if_failed(None, result, what="evaluate")
    return Evaluation(**measured, labels=data.labels, result=result)


def predict(
    model: Any,
    inputs: Any,
    *,
    chunk_size: int = 512,
    solver: diffrax.AbstractSolver | None = None,
    stepsize_controller: diffrax.AbstractStepSizeController | None = None,
    max_steps: int = 4096,
) -> Float[np.ndarray, "n classes"]:
    """Probability of each class for each input.

    Args:
        model: a module with `path` and `read`.
        inputs: `[n, d]`.
        chunk_size, solver, stepsize_controller, max_steps: as for `evaluate`.

    Returns:
        `[n, classes]`, rows that sum to one; the predicted class is `argmax(axis=-1)`.

    Raises:
        InputError: inputs that the model cannot take.
        NumericalError: a path failed.
    """
    measured = _measure(model, inputs, chunk_size, solver, stepsize_controller, max_steps)
    throw_if_failed(None, measured["result"], what="predict")
    return measured["probabilities"]


def trajectories(model: Any, inputs: Any, *, num_steps: int = 20, **options: Any) -> Path:
    """The paths of some inputs with the states along them, to look at.

    Args:
        model: a module with `path`.
        inputs: `[n, d]`.
        num_steps: equal steps; the path holds `num_steps + 1` states of each input.
        options: further arguments of `geojax.integrate`, such as `stepsize_controller`.

    Returns:
        The path, with states `[num_steps + 1, n, d]` at `times`.

    Raises:
        InputError: inputs that the model cannot take.
        NumericalError: a path failed.
    """
    array = _checked(model, inputs)
    return model.path(jnp.asarray(array), num_steps=num_steps, **options)


def _checked(model: Any, inputs: Any) -> np.ndarray:
    array = np.asarray(checks.as_points(inputs, "inputs", any_dimension=True))
    need = getattr(model, "num_features", array.shape[1])
    if array.shape[1] != need:
        raise InputError(
            f"Argument inputs must have {need} features, as the model was made for, but has shape "
            f"{list(array.shape)}."
        )
    return array


def _measure(model, inputs, chunk_size, solver, controller, max_steps) -> dict[str, Any]:
    """Measurements of all samples, chunk by chunk, as NumPy arrays (and result codes)."""
    array = _checked(model, inputs)
    size = min(checks.count(chunk_size, "chunk_size"), len(array))
    checks.count(max_steps, "max_steps")
    solver = diffrax.Tsit5() if solver is None else solver
    if controller is None:
        controller = diffrax.PIDController(rtol=TOLERANCE, atol=TOLERANCE)
    graph, variables = nnx.split(model)
    parts = []
    for start in range(0, len(array), size):
        chunk = array[start : start + size]
        # the last chunk is filled up with copies, so that all have one shape and one program
        rows = np.minimum(np.arange(size), len(chunk) - 1)
        filled = jnp.asarray(chunk[rows])
        parts.append(_chunk(variables, filled, graph, solver, controller, max_steps))
    return jax.tree.map(lambda *leaves: np.concatenate(leaves)[: len(array)], *parts)


@eqx.filter_jit
def _chunk(variables, inputs, graph, solver, controller, max_steps):
    model = nnx.merge(graph, variables)

    def one(x: Shaped[jax.Array, " d"]):
        path = model.path(
            x,
            solver=solver,
            stepsize_controller=controller,
            max_steps=max_steps,
            save="end",
            throw=False,
        )
        return {
            "probabilities": jax.nn.softmax(model.read(path.end)),
            "num_evaluations": path.num_evaluations,
            "energy": path.energy,
            "length": path.length,
            "chord": path.chord,
            "result": path.result,
        }

    return jax.vmap(one)(inputs)
