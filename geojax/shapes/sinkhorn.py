"""Point clouds without labels, compared by entropic optimal transport (ott-jax)."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from ott.geometry import costs
from ott.problems.linear import linear_problem
from ott.solvers.linear import acceleration, sinkhorn

from geojax._core import checks, compat
from geojax._core.errors import InputError
from geojax.shapes.base import AbstractFidelity
from geojax.shapes.weights import as_weights, check_count, padded_weights, shares

# Entries of the cost matrix up to which it is stored: 16 MB in float32.
_DENSE_ENTRIES = 2**22
# Error of the marginals beyond which a value is withheld.
_LARGEST_ERROR = 1e-3


class Sinkhorn(AbstractFidelity):
    """The Sinkhorn divergence of two clouds of points, cost `|x - y|^2 / 2`.

    Near half the squared Wasserstein distance for a small blur, near an MMD for a large one.
    Potentials come from ott-jax; the gradient with respect to the points is exact at them
    (envelope theorem) and is computed block by block, so memory is linear in the points.

    Args:
        blur: length below which points are not told apart; the entropic penalty is its square.
        threshold: error of the marginals (sum of absolute values) at which the Sinkhorn iterations
            stop; 1e-5 in float32 and 1e-8 in float64 by default.
        max_iterations: bound on them; where the marginals still miss by more than 1e-3, the value
            is withheld (NaN).
        source_weights, target_weights: how much each point counts, `[n]` and `[m]`, each summing to
            one; all the same by default. They are positive: leave out what does not count.

    Gradient: reverse, first order, in the points and the blur. Second derivatives would ignore how
    the potentials move.

    Example:
        >>> import jax.numpy as jnp
        >>> x = jnp.array([[0.0, 0.0], [1.0, 0.0]])
        >>> round(float(Sinkhorn(0.1).distance(x, x + 3.0)), 3)
        4.243

    Reference: `[feydy2019interpolating]`.
    """

    blur: Float[Array, ""] = eqx.field(
        converter=lambda b: jnp.asarray(checks.positive(b, "blur"), float)
    )
    threshold: float | None = eqx.field(static=True, default=None)
    max_iterations: int = eqx.field(static=True, default=2000)
    source_weights: Float[Array, " n"] | None = eqx.field(default=None, converter=as_weights)
    target_weights: Float[Array, " m"] | None = eqx.field(default=None, converter=as_weights)

    def __check_init__(self):
        if np.ndim(self.blur):
            raise InputError(
                f"Argument blur must be one number, but has shape {list(np.shape(self.blur))}."
            )
        if self.threshold is not None:
            checks.positive(self.threshold, "threshold")
        checks.count(self.max_iterations, "max_iterations")
        for weights in (self.source_weights, self.target_weights):
            if weights is not None and not checks.is_tracer(weights):
                checks.positive(weights, "weights")

    @property
    def twice_differentiable(self):
        return False

    def cross(self, points, target):
        source = points, shares(self.source_weights, points)
        other = target, shares(self.target_weights, target)
        return self._transport(source, other) - 0.5 * self._transport(source, source)

    def target_term(self, target):
        cloud = target, shares(self.target_weights, target)
        return -0.5 * self._transport(cloud, cloud)

    def unit(self):
        return jnp.ones(())

    def coarser(self, factor):
        return eqx.tree_at(lambda f: f.blur, self, self.blur * factor.astype(self.blur.dtype))

    def padded(self, before, after):
        ((n, m, *_),), ((size, other, *_),) = before, after
        return dataclasses.replace(
            self,
            source_weights=padded_weights(self.source_weights, n, size),
            target_weights=padded_weights(self.target_weights, m, other),
        )

    def check(self, source, target):
        check_count(self.source_weights, source.shape[0], "points of the source")
        check_count(self.target_weights, target.shape[0], "points of the target")
        if checks.is_tracer(source) or checks.is_tracer(target) or checks.is_tracer(self.blur):
            return
        both = np.concatenate([np.asarray(source), np.asarray(target)])
        reach = float(np.max(np.ptp(both, axis=0)))
        # beyond this the exponents differ by more than the dtype's digits can hold
        smallest = reach * float(np.sqrt(jnp.finfo(source.dtype).eps))
        if float(self.blur) < smallest:
            raise InputError(
                f"Argument blur must be at least {smallest:.2g} for points of extent {reach:.3g} "
                f"in {source.dtype}, but is {float(self.blur):.2g}; raise it or work in float64."
            )

    def _transport(self, first, second):
        """Entropic transport cost, differentiable in the points at fixed optimal potentials."""
        (x, a), (y, b) = first, second
        own = first is second
        epsilon = jnp.square(self.blur).astype(x.dtype)
        # ott solves in jax's default precision, or its loops do not type-check
        wide = jnp.result_type(float)
        fixed_x, fixed_y, fixed_epsilon, fixed_a, fixed_b = (
            jax.lax.stop_gradient(v).astype(wide) for v in (x, y, epsilon, a, b)
        )
        with compat.standard_promotion():
            geometry = compat.point_cloud(
                fixed_x,
                fixed_y,
                epsilon=fixed_epsilon,
                cost_fn=_HalfSquared(),
                dense_entries=_DENSE_ENTRIES,
            )
            # averaged parallel updates converge in a few iterations where both clouds are one; else
            # extrapolation from the last few saves two thirds of them (measured)
            if own:
                faster = {"momentum": acceleration.Momentum(value=0.5)}
            else:
                faster = {"anderson": acceleration.AndersonAcceleration(memory=5, refresh_every=1)}
            solver = sinkhorn.Sinkhorn(
                threshold=self._threshold(x.dtype),
                max_iterations=self.max_iterations,
                parallel_dual_updates=own,
                **faster,
            )
            solved = solver(linear_problem.LinearProblem(geometry, fixed_a, fixed_b))
            # errors that were not looked at are -1
            errors = jnp.asarray(solved.errors)
            last = jnp.max(jnp.where(errors >= 0, jnp.arange(errors.size), 0))
            reached = errors[last] <= _LARGEST_ERROR
        # ott keeps the weights in its potentials: P = exp((f + g - c) / epsilon)
        f, g = (
            jax.lax.stop_gradient(potential - fixed_epsilon * jnp.log(weights)).astype(x.dtype)
            for potential, weights in ((solved.f, fixed_a), (solved.g, fixed_b))
        )
        # the dual value; the exponential sums to one at the optimum, and carries the derivative
        value = a @ f + b @ g + epsilon * (1.0 - _plan_mass(x, y, a, b, f, g, epsilon))
        return jnp.where(reached, value, jnp.nan)

    def _threshold(self, dtype) -> float:
        if self.threshold is not None:
            return self.threshold
        return 1e-8 if dtype == jnp.float64 else 1e-5


@jax.tree_util.register_pytree_node_class
class _HalfSquared(costs.SqEuclidean):
    """ott's squared Euclidean cost, halved."""

    def norm(self, x):
        return 0.5 * super().norm(x)

    def __call__(self, x, y):
        return 0.5 * super().__call__(x, y)

    def all_pairs(self, x, y):
        return 0.5 * jnp.sum(jnp.square(x[:, None] - y[None]), axis=-1)


def _plan_mass(x, y, a, b, f, g, epsilon):
    """Total mass `sum_ij a_i b_j exp((f_i + g_j - c_ij) / epsilon)` of the plan, row by row."""
    size = max(1, min(x.shape[0], _DENSE_ENTRIES // (4 * y.shape[0])))

    @jax.checkpoint
    def row(inputs):
        point, potential = inputs
        cost = 0.5 * jnp.sum(jnp.square(point[None, :] - y), axis=-1)
        return b @ jnp.exp((potential + g - cost) / epsilon)

    return a @ jax.lax.map(row, (x, f), batch_size=size)
