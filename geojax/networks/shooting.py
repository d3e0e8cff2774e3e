"""Networks moved by momenta on control points: along a geodesic, or with free momenta."""

import abc
from collections.abc import Sequence
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
from geojax._core.results import RESULTS
from geojax.actions import Points
from geojax.flows import Path, integrate
from geojax.geodesics import shoot
from geojax.kernels import Gaussian, kernel_sum
from geojax.metrics import RKHS
from geojax.networks.base import AbstractNetwork, Layer, chosen_options, polygon


class _Momenta(AbstractNetwork):
    """What both have: control points that move with the states, and a linear read-out."""

    def __init__(
        self,
        num_features: int,
        num_classes: int,
        *,
        points: Float[Any, "m d"] | int = 16,
        depth: int = 8,
        scale: float = 1.0,
        dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ):
        self.num_features = checks.count(num_features, "num_features")
        self.num_classes = checks.count(num_classes, "num_classes", least=2)
        self.depth = checks.count(depth, "depth")
        checks.positive(scale, "scale")
        self.scale = float(scale)
        if np.ndim(points) == 0:
            place = rngs.params.normal((checks.count(points, "points"), num_features), dtype)
        else:
            place = jnp.asarray(checks.as_points(points, "points", any_dimension=True), dtype)
            if place.shape[1] != num_features:
                raise InputError(
                    f"Argument points must have {num_features} coordinates, as many as there are "
                    f"features, but has shape {list(place.shape)}."
                )
        self.points = nnx.Param(place)
        self.momenta = nnx.Param(0.01 * rngs.params.normal(self._momenta_shape(), dtype))
        self.head = nnx.Linear(num_features, num_classes, param_dtype=dtype, rngs=rngs)

    @property
    def metric(self) -> RKHS:
        """What the velocities cost."""
        return RKHS(Gaussian(jnp.asarray(self.scale, self.points.dtype)))

    def read(self, states: Float[Array, "*batch d"]) -> Float[Array, "*batch classes"]:
        return self.head(states)

    def carriers(self) -> Float[Array, "k m d"]:
        """The control points at the ends of the layers: what carries the velocity."""
        return self._carried(jnp.zeros((1, self.num_features), self.points.dtype))[0]

    def layers(self, inputs: Float[Array, "*batch d"]) -> Sequence[Layer]:
        return [Partial(piece, self.metric, *numbers) for piece, *numbers in self._pieces()]

    @abc.abstractmethod
    def _momenta_shape(self) -> tuple[int, ...]: ...

    @abc.abstractmethod
    def _pieces(self) -> list[tuple[Any, ...]]:
        """The motion of states over each layer: a function, and what it takes after the metric."""

    @abc.abstractmethod
    def _carried(self, points: Float[Array, "n d"]) -> tuple[Array, Array, Any]:
        """Control points and points at the ends of the layers, and a result code."""

    def states(self, inputs: Float[Array, "*batch d"]) -> list[Array]:
        return list(self._states(inputs)[0])

    def path(self, inputs: Float[Array, "*batch d"], **options: Any) -> Path:
        states, result = self._states(inputs)
        return polygon(list(states), result=result, **chosen_options(options))

    def _states(self, inputs):
        flat = inputs.reshape(-1, inputs.shape[-1])
        _, states, result = self._carried(flat)
        return states.reshape(self.depth + 1, *inputs.shape), result


class ShootingNetwork(_Momenta):
    """One initial momentum in the place of free layers: the geodesic that it starts.

    Momenta `p` on control points `q` follow the geodesic equation of the metric of a Gaussian
    kernel, and their velocity `v_t(x) = sum_j k(x, q_j(t)) p_j(t)` moves the input, which is the
    state; a linear map reads its end. All of its depth has the parameters of one layer, and the
    energy `1/2 |v_t|^2` is the same at all times.

    Args:
        num_features: dimension d of the inputs and states.
        num_classes: number of classes.
        points: where the control points start, `[m, d]`, for instance some of the samples; or how
            many, drawn from the normal distribution. They are trained too.
        depth: layers, each one step of the solver.
        scale: of the kernel, in the unit of the inputs.
        dtype: of the parameters.
        rngs: where the initial parameters are drawn from.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> model = ShootingNetwork(3, 2, points=5, depth=4, rngs=nnx.Rngs(0))
        >>> model.momenta.shape, model.path(jnp.ones((7, 3))).states.shape
        ((5, 3), (5, 7, 3))
        >>> bool(model.geodesic().energy_drift < 1e-4)
        True

    Reference: `[vialard2020shooting]`.
    """

    def geodesic(self, **options: Any) -> Path:
        """The geodesic of the control points; options as of `geojax.shoot`."""
        options = {"num_steps": self.depth, **options}
        return shoot(self.metric, Points(), self.points[...], self.momenta[...], **options)

    def _momenta_shape(self):
        return self.points.shape

    def _carried(self, points):
        path = self.geodesic(carried=points, throw=False)
        return path.states, path.carried, path.result

    def _pieces(self):
        path, time = self.geodesic(throw=False), 1.0 / self.depth
        pairs = zip(path.states[:-1], path.costates[:-1], strict=True)
        return [(_along_geodesic, state, momentum, jnp.asarray(time)) for state, momentum in pairs]


class MomentumNetwork(_Momenta):
    """Free momenta for every layer: the twin of `ShootingNetwork` with free layers.

    Layer k moves control points and inputs with momenta of its own, which hold for its time. The
    shooting networks are those whose momenta follow the geodesic equation.

    Args:
        num_features, num_classes, points, depth, scale, dtype, rngs: as for `ShootingNetwork`.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> model = MomentumNetwork(3, 2, points=5, depth=4, rngs=nnx.Rngs(0))
        >>> model.momenta.shape, model(jnp.ones((7, 3))).shape
        ((4, 5, 3), (7, 2))
    """

    def _momenta_shape(self):
        return (self.depth, *self.points.shape)

    def _carried(self, points):
        count = len(self.points)
        start = jnp.concatenate([self.points[...], points])

        def layer(y, momenta):
            y = _moved(self.metric, momenta, 1.0 / self.depth, y)
            return y, y

        _, after = jax.lax.scan(layer, start, self.momenta[...])
        all_ = jnp.concatenate([start[None], after])
        return all_[:, :count], all_[:, count:], RESULTS.successful

    def _pieces(self):
        time = jnp.asarray(1.0 / self.depth)
        pairs = zip(self.carriers()[:-1], self.momenta[...], strict=True)
        return [(_with_momenta, state, momenta, time) for state, momenta in pairs]


class _Carried(eqx.Module):
    """Velocity of points of which the first hold momenta."""

    kernel: Any
    momenta: Float[Array, "m d"]

    def __call__(self, t, x):
        return kernel_sum(self.kernel, x, x[: len(self.momenta)], self.momenta)


def _moved(metric, momenta, time, points):
    """Points of which the first hold momenta, after a time."""
    field = _Carried(metric.kernel, momenta)
    return integrate(field, points, t1=time, num_steps=1, save="end", throw=False).end


def _along_geodesic(metric, state, momentum, time, x):
    """States `[..., d]` after a time in the velocity of a geodesic."""
    points = x.reshape(-1, x.shape[-1])
    options = {"t1": time, "num_steps": 1, "save": "end", "throw": False}
    return (
        shoot(metric, Points(), state, momentum, carried=points, **options)
        .carried[-1]
        .reshape(x.shape)
    )


def _with_momenta(metric, control, momenta, time, x):
    """States `[..., d]` after a time in the velocity of free momenta."""
    both = jnp.concatenate([control, x.reshape(-1, x.shape[-1])])
    return _moved(metric, momenta, time, both)[len(control) :].reshape(x.shape)
