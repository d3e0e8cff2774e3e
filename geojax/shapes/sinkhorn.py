"""Point clouds without labels, compared by entropic optimal transport (ott-jax)."""

from typing import ClassVar

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

# Entries of the cost matrix up to which it is stored: 16 MB in float32.
_DENSE_ENTRIES = 2**22
# Error of the marginals beyond which a value is withheld.
_LARGEST_ERROR = 1e-3


class Sinkhorn(AbstractFidelity):
    """The Sinkhorn divergence of two clouds of equally weighted points, cost `|x - y|^2 / 2`.

    Near half the squared Wasserstein distance for a small blur, near an MMD for a large one.
    Potentials come from ott-jax; the gradient with respect to the points is exact at them
    (envelope theorem) and is computed block by block, so memory is linear in the points.

    Args:
        blur: length below which points are not told apart; the entropic penalty is its square.
        threshold: error of the marginals (sum of absolute values) at which the Sinkhorn iterations
            stop; 1e-5 in float32 and 1e-8 in float64 by default.
        max_iterations: bound on them; where the marginals still miss by more than 1e-3, the value
            is withheld (NaN).

    Gradient: reverse, first order, in the points and the blur. Second derivatives would ignore how
    the potentials move.

    Example:
        >>> import jax.numpy as jnp
        >>> x = jnp.array([[0.0, 0.0], [1.0, 0.0]])
        >>> round(float(Sinkhorn(0.1).distance(x, x + 3.0)), 3)
        4.243

    Reference: `[feydy2019interpolating]`.
    """

    twice_differentiable: ClassVar[bool] = False

    blur: Float[Array, ""] = eqx.field(
        converter=lambda b: jnp.asarray(checks.positive(b, "blur"), float)
    )
    threshold: float | None = eqx.field(static=True, default=None)
    max_iterations: int = eqx.field(static=True, default=2000)

    def __check_init__(self):
        if np.ndim(self.blur):
            raise InputError(
                f"Argument blur must be one number, but has shape {list(np.shape(self.blur))}."
            )
        if self.threshold is not None:
            checks.positive(self.threshold, "threshold")
        checks.count(self.max_iterations, "max_iterations")

    def cross(self, points, target):
        return self._transport(points, target) - 0.5 * self._transport(points, points)

    def target_term(self, target):
        return -0.5 * self._transport(target, target)

    def unit(self):
        return jnp.ones(())

    def coarser(self, factor):
        return eqx.tree_at(lambda f: f.blur, self, self.blur * factor.astype(self.blur.dtype))

    def check(self, source, target):
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

    def _transport(self, x, y):
        """Entropic transport cost, differentiable in the points at fixed optimal potentials."""
        epsilon = jnp.square(self.blur).astype(x.dtype)
        # ott solves in jax's default precision, or its loops do not type-check
        wide = jnp.result_type(float)
        fixed_x, fixed_y, fixed_epsilon = (
            jax.lax.stop_gradient(a).astype(wide) for a in (x, y, epsilon)
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
            if x is y:
                faster = {"momentum": acceleration.Momentum(value=0.5)}
            else:
                faster = {"anderson": acceleration.AndersonAcceleration(memory=5, refresh_every=1)}
            solver = sinkhorn.Sinkhorn(
                threshold=self._threshold(x.dtype),
                max_iterations=self.max_iterations,
                parallel_dual_updates=x is y,
                **faster,
            )
            solved = solver(linear_problem.LinearProblem(geometry))
            # errors that were not looked at are -1
            errors = jnp.asarray(solved.errors)
            last = jnp.max(jnp.where(errors >= 0, jnp.arange(errors.size), 0))
            reached = errors[last] <= _LARGEST_ERROR
        # ott keeps the weights in its potentials: P = exp((f + g - c) / epsilon)
        f, g = (
            jax.lax.stop_gradient(potential + fixed_epsilon * np.log(potential.size)).astype(
                x.dtype
            )
            for potential in (solved.f, solved.g)
        )
        # the dual value; the exponential sums to one at the optimum, and carries the derivative
        value = jnp.mean(f) + jnp.mean(g) + epsilon * (1.0 - _plan_mass(x, y, f, g, epsilon))
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


def _plan_mass(x, y, f, g, epsilon):
    """Total mass `mean_ij exp((f_i + g_j - c_ij) / epsilon)` of the plan, block by block."""
    mean_over_columns = _row_means(x, y, f, g, epsilon)
    return jnp.mean(mean_over_columns)


def _row_means(x, y, f, g, epsilon):
    size = max(1, min(x.shape[0], _DENSE_ENTRIES // (4 * y.shape[0])))

    @jax.checkpoint
    def row(inputs):
        point, potential = inputs
        cost = 0.5 * jnp.sum(jnp.square(point[None, :] - y), axis=-1)
        return jnp.mean(jnp.exp((potential + g - cost) / epsilon))

    return jax.lax.map(row, (x, f), batch_size=size)
