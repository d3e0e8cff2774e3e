"""Principal components of momenta at one state, in the metric of the space of states."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree, Shaped

from geojax._core import checks, trees
from geojax._core.errors import InputError
from geojax.actions import AbstractAction
from geojax.geodesics.equation import cometric
from geojax.geodesics.shooting import check_fit, like_state
from geojax.metrics import AbstractMetric


class TangentPCA(eqx.Module):
    """Principal components of momenta.

    Attributes:
        mean: the mean momentum.
        modes: momenta of norm one and orthogonal in the cometric, along a leading axis, by
            falling variance; zero where there is no variance left.
        variances: sample variance along each mode, `[k]`.
        scores: coordinates of each momentum, `[s, k]`; that of largest size is positive.
        explained: part of the whole variance that each mode holds, `[k]`.
    """

    mean: PyTree
    modes: PyTree
    variances: Float[Array, " k"]
    scores: Float[Array, "s k"]
    explained: Float[Array, " k"]

    def momentum(
        self, scores: Float[Array, " j"] | Float[np.ndarray, " j"]
    ) -> Shaped[Array, "..."]:
        """The momentum with given scores in the first j modes; shoot it to see the shape.

        Raises:
            InputError: more scores than modes.
        """
        if scores.shape[0] > self.modes.shape[0]:
            raise InputError(
                f"Argument scores must hold at most {self.modes.shape[0]} numbers, one for each "
                f"mode, but holds {scores.shape[0]}."
            )
        scores = jnp.asarray(scores, self.scores.dtype).astype(self.modes.dtype)
        return self.mean + jnp.tensordot(scores, self.modes[: scores.shape[0]], axes=1)


def tangent_pca(
    metric: AbstractMetric,
    action: AbstractAction,
    state: PyTree,
    momenta: Any,
    *,
    num_modes: int | None = None,
    centre: bool = True,
) -> TangentPCA:
    """Principal components of momenta at a state.

    The geodesics of the momenta end at the shapes of a population (see `geojax.atlas`), so the
    modes are the directions in which it varies. From the matrix of inner products of the momenta
    in the cometric: nothing of the size of the state squared is stored.

    Args:
        metric, action, state: the geometry, and where the momenta are.
        momenta: s momenta stacked along a leading axis.
        num_modes: how many modes to keep; by default all that can have variance.
        centre: subtract the mean; otherwise variances are about zero, the state itself.

    Returns:
        A `TangentPCA`.

    Raises:
        InputError: momenta that do not fit the state, or fewer than the modes need.

    Gradient: forward and reverse, where the variances differ.

    Example:
        >>> import jax.numpy as jnp
        >>> from geojax.actions import Points
        >>> from geojax.kernels import Gaussian
        >>> from geojax.metrics import RKHS
        >>> momenta = jnp.array([[[-1.0, 0.0]], [[3.0, 0.0]]])
        >>> found = tangent_pca(RKHS(Gaussian(1.0)), Points(), jnp.zeros((1, 2)), momenta)
        >>> found.variances.round(3).tolist(), found.mean.tolist()
        ([8.0], [[1.0, 0.0]])

    Reference: `[fletcher2004principal]`, `[vaillant2004statistics]`.
    """
    check_fit(metric, action)
    state = action.check(state, "state")
    least = 2 if centre else 1
    if len(momenta) < least:
        raise InputError(
            f"Argument momenta must hold at least {least} momenta, but holds {len(momenta)}."
        )
    momenta = jnp.stack([like_state(p, state, f"momenta[{k}]") for k, p in enumerate(momenta)])
    most = min(len(momenta) - centre, action.dimension(state))
    if num_modes is None:
        num_modes = most
    elif checks.count(num_modes, "num_modes") > most:
        raise InputError(
            f"Argument num_modes must be at most {most} for these {len(momenta)} momenta, but is "
            f"{num_modes}."
        )
    return _tangent_pca(metric, action, state, momenta, num_modes=num_modes, centre=bool(centre))


@eqx.filter_jit
def _tangent_pca(metric, action, state, momenta, *, num_modes, centre):
    mean = jnp.mean(momenta, axis=0) if centre else jnp.zeros_like(momenta[0])
    offsets = momenta - mean[None]
    # one at a time: all kernel sums at once would not fit
    tangents = jax.lax.map(lambda p: cometric(metric, action, state, p), offsets)
    gram = jax.vmap(lambda p: jax.vmap(lambda v: trees.pairing(p, v))(tangents))(offsets)
    gram = 0.5 * (gram + gram.T)
    values, vectors = jnp.linalg.eigh(gram)
    values, vectors = values[::-1][:num_modes], vectors[:, ::-1][:, :num_modes]
    # below that is round-off, of the matrix or of the mean
    eps = 8 * float(jnp.finfo(values.dtype).eps)
    size = trees.pairing(mean, cometric(metric, action, state, mean))
    some = values > len(offsets) * jnp.maximum(eps * values[0], eps**2 * size)
    squares = jnp.where(some, values, 1.0)
    largest = jnp.argmax(jnp.abs(vectors), axis=0)
    signs = jnp.sign(vectors[largest, jnp.arange(num_modes)])
    vectors = jnp.where(some[None], vectors * signs[None], 0.0)
    count = len(offsets) - centre
    variances = jnp.where(some, values, 0.0) / count
    weights = (vectors / jnp.sqrt(squares)[None]).astype(momenta.dtype)
    whole = jnp.trace(gram) / count
    return TangentPCA(
        mean=mean,
        modes=jnp.tensordot(weights.T, offsets, axes=1),
        variances=variances,
        scores=vectors * jnp.sqrt(squares)[None],
        explained=variances / jnp.where(whole > 0, whole, 1.0),
    )
