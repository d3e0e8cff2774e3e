"""The Fisher metric: how far answers move, as distributions over the classes.

The map `p -> 2 sqrt(p)` takes distributions to a sphere of radius two and their Fisher metric,
`diag(p) - p p^T` in the logits, to that of the sphere. Norms, distances and lengths are therefore
those of `amplitudes`.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, PyTree

from geojax._core import checks
from geojax._core.errors import InputError
from geojax._core.linalg import safe_sqrt


def amplitudes(logits: Float[Array, "*batch c"]) -> Float[Array, "*batch c"]:
    """Twice the square roots of the probabilities: points of a sphere of radius two."""
    return 2.0 * jnp.exp(0.5 * jax.nn.log_softmax(logits))


def fisher_distance(
    logits: Float[Any, "*batch c"], other: Float[Any, "..."]
) -> Float[Array, "*batch"]:
    """Distances of distributions in the Fisher metric: `2 arccos(sum_i sqrt(p_i q_i))`.

    No path of distributions from one to the other is shorter.

    Args:
        logits, other: of c classes, at least two; what is added to all logits does not count.

    Returns:
        Numbers between 0 and pi; pi is reached where no class is likely for both.

    Raises:
        InputError: shapes that differ, fewer than two classes, or logits that are not finite.

    Gradient: forward and reverse; zero where the two are equal.

    Example:
        >>> import jax.numpy as jnp
        >>> far = fisher_distance(jnp.array([50.0, 0.0]), jnp.array([0.0, 50.0]))
        >>> round(float(far), 4)
        3.1416

    Reference: `[amari1998natural]`.
    """
    first, second = _logits(logits, "logits"), _logits(other, "other")
    if first.shape != second.shape:
        raise InputError(
            f"Argument other must have the shape of logits, {list(first.shape)}, but has shape "
            f"{list(second.shape)}."
        )
    return _distance(first, second)


def fisher_length(logits: Float[Any, "..."]) -> Float[Array, ""]:
    """Length of a path of answers in the Fisher metric, for instance of a network that is trained.

    The metric is the mean over n inputs of that of each answer. Seen from the parameters it is the
    pull-back `g = E_x[J^T (diag p - p p^T) J]` of `fisher_norm`, so that this is the length of
    the path of the parameters too. Between two times the path is taken to be the shortest one:
    the length is a lower bound, which grows to that of the path with the square of the steps, and
    lengths of parts add up, so that a long path may be given in parts that share their ends. It
    does not depend on how fast the path is run through.

    Args:
        logits: `[k, n, c]`, of the same n inputs at k times, at least two.

    Returns:
        At least the distance of the ends, `fisher_length(logits[[0, -1]])`, and in units of it:
        an answer that goes from one class to another moves by pi.

    Raises:
        InputError: another shape, fewer than two times or classes, or logits that are not finite.

    Gradient: forward and reverse, where something moves.

    Example:
        >>> import jax.numpy as jnp
        >>> there = jnp.array([[[0.0, 0.0]], [[1.0, 0.0]], [[2.0, 0.0]]])
        >>> back = jnp.concatenate([there, there[1::-1]])
        >>> bool(jnp.allclose(fisher_length(back), 2 * fisher_length(there)))
        True

    Reference: `[dong2019understanding]`, `[amari1998natural]`.
    """
    array = _logits(logits, "logits")
    if array.ndim != 3 or array.shape[0] < 2 or array.shape[1] < 1:
        raise InputError(
            "Argument logits must hold the answers at two times at least, [k, n, c], but has shape "
            f"{list(array.shape)}."
        )
    return _length(array)


def fisher_norm(
    model: nnx.Module, variation: PyTree, inputs: Float[Any, "n d"], **options: Any
) -> Float[Array, " n"]:
    """How fast each answer moves, in the Fisher metric, if the parameters move by a variation.

    One derivative in the direction of the variation; no matrix is formed. The root of the mean
    square over the inputs is the norm of the variation in `g = E_x[J^T (diag p - p p^T) J]`.

    Args:
        model: a flax nnx module from inputs to logits `[n, c]`.
        variation: of the parameters, in the structure of `nnx.state(model, nnx.Param)`.
        inputs: n of them.
        options: passed to the model. One that integrates with diffrax needs
            `adjoint=diffrax.ForwardMode()`, or another that may be differentiated forward.

    Returns:
        Norms, in units of the distance of distributions over one unit of time.

    Raises:
        InputError: a variation of another structure or shape, inputs that are not finite, or
            answers of fewer than two classes.

    Gradient: reverse, where something moves.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from flax import nnx
        >>> model = nnx.Linear(3, 2, rngs=nnx.Rngs(0))
        >>> parameters = nnx.state(model, nnx.Param)
        >>> shift = jax.tree.map(jnp.ones_like, parameters)  # all logits alike
        >>> bool(jnp.allclose(fisher_norm(model, shift, jnp.ones((5, 3))), 0.0, atol=1e-6))
        True

    Reference: `[amari1998natural]`.
    """
    array = checks.finite(checks.as_float_array(inputs, "inputs"), "inputs")
    graph, parameters, rest = nnx.split(model, nnx.Param, ...)
    wanted, given = ([*map(jnp.shape, jax.tree.leaves(x))] for x in (parameters, variation))
    if jax.tree.structure(variation) != jax.tree.structure(parameters) or wanted != given:
        raise InputError(
            "Argument variation must have the structure and shapes of nnx.state(model, nnx.Param), "
            f"but its leaves have shapes {given} where the parameters have {wanted}."
        )
    variation = jax.tree.map(lambda v, p: jnp.asarray(v, p.dtype), variation, parameters)
    return _pulled_back(parameters, variation, array, graph, rest, options)


@eqx.filter_jit
def _pulled_back(parameters, variation, inputs, graph, rest, options):
    def answers(parameters):
        logits = nnx.merge(graph, parameters, rest)(inputs, **options)
        if logits.ndim != 2 or logits.shape[1] < 2:
            raise InputError(
                "Argument model must give logits of at least two classes, [n, c], but gives "
                f"{list(logits.shape)}."
            )
        return amplitudes(logits)

    return _norm(jax.jvp(answers, (parameters,), (variation,))[1])


@jax.jit
def _length(logits):
    # the distance of a product of spheres is the root of the sum of squares
    return jnp.sum(_norm(_distance(logits[1:], logits[:-1]))) / logits.shape[1] ** 0.5


@jax.jit
def _distance(logits, other):
    # from the chord: the arc cosine would lose half of the digits of a small distance
    chord = _norm(amplitudes(logits) - amplitudes(other))
    return 4.0 * jnp.arcsin(chord / 4.0)


def _norm(vectors):
    """Euclidean norms over the last axis, with derivative zero at zero."""
    return safe_sqrt(jnp.sum(jnp.square(vectors), axis=-1))


def _logits(values: Any, name: str) -> Array:
    array = checks.finite(checks.as_float_array(values, name), name)
    if array.ndim < 1 or array.shape[-1] < 2:
        raise InputError(
            f"Argument {name} must hold logits of at least two classes in its last axis, but has "
            f"shape {list(array.shape)}."
        )
    return array
