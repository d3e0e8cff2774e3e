"""Geodesics of images, fused: scalar-momentum EPDiff by semi-Lagrangian steps.

The generic `shoot` differences images, which suits smooth ones; here image and momentum are moved
along, so that steps may be long and edges stay edges. The derivative holds the state and the
velocity of each step, or recomputes them from checkpoints.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Float

from geojax._core import checks
from geojax._core.errors import InputError
from geojax._core.grids import divergence
from geojax.actions import Images
from geojax.flows.grids import compose, inverse, pull_back
from geojax.flows.interpolation import Ends
from geojax.geodesics.shooting import like_state
from geojax.metrics import AbstractGridMetric, AbstractMetric


class ImageGeodesic(eqx.Module):
    """A geodesic of images, at its saved times.

    Attributes:
        times: `[k]`.
        images: carried along, with all changes of their intensities, `[k, *grid]`.
        momenta: `[k, *grid]`.
        displacements: `x -> x + u(x)` back to time zero, by which images are pulled along,
            `[k, d, *grid]`; None if not asked for.
        changes: what has been added to the intensities, `[k, *grid]`; None if nothing may be.
        pushed: displacement from time zero to the last, `[d, *grid]`; None if not asked for.
        energies: what the path has cost, the integral of half the squared speed, `[k]`. Where the
            steps resolve the geodesic it grows evenly; that it does not shows that they do not.
    """

    times: Float[Array, " k"]
    images: Float[Array, "k *grid"]
    momenta: Float[Array, "k *grid"]
    displacements: Float[Array, "k d *grid"] | None
    changes: Float[Array, "k *grid"] | None
    pushed: Float[Array, "d *grid"] | None
    energies: Float[Array, " k"]


class _State(eqx.Module):
    image: Float[Array, "*grid"]
    momentum: Float[Array, "*grid"]
    displacement: Float[Array, "d *grid"] | None
    change: Float[Array, "*grid"] | None
    pushed: Float[Array, "d *grid"] | None
    energy: Float[Array, ""]


def shoot_image(
    metric: AbstractMetric,
    image: Any,
    momentum: Any,
    *,
    times: Any = (1.0,),
    num_steps: int = 10,
    num_checkpoints: int | None = None,
    intensity_price: Any = None,
    pull: bool = True,
    push: bool = False,
    order: int = 1,
) -> ImageGeodesic:
    """Follow the geodesic of an image that leaves it with a scalar momentum.

    Solves `dI/dt = -v . grad I`, `dp/dt = -div(p v)`, `v = -K (p grad I)`, as `shoot` with the
    action `Images` does. In each step the velocity is that of its start.

    Args:
        metric: `GaussianGrid` or `Sobolev`.
        image: `[*grid]`.
        momentum: p, `[*grid]`; it pairs with images by the sum over the grid.
        times: positive and rising, at which the geodesic is saved.
        num_steps: equal steps from each of the times to the next. Fastest, on a CPU, where none
            moves a point by more than one spacing.
        num_checkpoints: from how many states between two times a derivative recomputes the steps,
            a divisor of num_steps: its memory grows with them and with the steps from one to the
            next, for the time of one more evaluation. By default every step is kept.
        intensity_price: price c of changing intensities, `c / 2` times the integral of the squared
            rate: metamorphosis. By default they are only carried along.
        pull: also the displacements, by which other things are pulled along.
        push: also the displacement forwards, for which each step is inverted.
        order: of the interpolation, 1 or 3.

    Raises:
        InputError: arguments that do not fit together.

    Gradient: reverse, first order, in image, momentum and metric; with order 3 forward and
    reverse. The error falls with the first power of the step and the second of the spacing.

    Example:
        >>> import jax.numpy as jnp
        >>> from geojax.metrics import GaussianGrid
        >>> x = jnp.linspace(-2.0, 2.0, 24)
        >>> disc = jnp.exp(-2 * x[:, None]**2 - 2 * x[None]**2)
        >>> path = shoot_image(GaussianGrid([1.0, 1.0], 3.0), disc, 0.2 * disc)
        >>> path.images.shape, bool(path.energies[0] > 0)
        ((1, 24, 24), True)

    Reference: `[beg2005computing]`, `[vialard2012diffeomorphic]`, `[trouve2005metamorphoses]`.
    """
    if not isinstance(metric, AbstractGridMetric):
        raise InputError(
            f"Argument metric must be `GaussianGrid` or `Sobolev`, but is {type(metric).__name__}."
        )
    action = Images(metric.spacing, metric.boundary)
    image = action.check(image, "image")
    momentum = like_state(momentum, image, "momentum")
    check_steps(num_steps, num_checkpoints)
    if order not in (1, 3):
        raise InputError(f"Argument order must be 1 or 3, but is {order!r}.")
    if intensity_price is not None:
        if np.ndim(checks.positive(intensity_price, "intensity_price")):
            raise InputError(
                f"Argument intensity_price must be one number, but is {intensity_price!r}."
            )
        intensity_price = jnp.asarray(intensity_price, image.dtype)
    known = checks.is_tracer(times) or isinstance(times, jax.Array)
    if not known and not (checks.is_regular(times) and np.asarray(times).dtype.kind in "fiu"):
        raise InputError(f"Argument times must be a list of times, but is {times!r}.")
    when = jnp.asarray(checks.finite(times, "times"), image.dtype)
    if when.ndim != 1 or not when.shape[0]:
        raise InputError(f"Argument times must be a list of times, but is {times!r}.")
    if not checks.is_tracer(when) and np.min(np.diff(np.asarray(when), prepend=0.0)) <= 0:
        raise InputError(f"Argument times must be positive and rise, but is {times!r}.")
    step = _Step(metric, action, intensity_price, order)
    zero = jnp.zeros((metric.spacing.shape[0], *image.shape), image.dtype)
    start = _State(
        image,
        momentum,
        zero if pull else None,
        None if intensity_price is None else jnp.zeros_like(image),
        zero if push else None,
        jnp.zeros((), image.dtype),
    )
    lengths = jnp.diff(when, prepend=0.0) / num_steps
    saved = _follow(step, start, lengths, num_steps, num_checkpoints)
    return ImageGeodesic(
        when,
        saved.image,
        saved.momentum,
        saved.displacement,
        saved.change,
        None if saved.pushed is None else saved.pushed[-1],
        saved.energy,
    )


_VELOCITY = "velocity"


def check_steps(num_steps: int, num_checkpoints: int | None) -> None:
    """Raise where steps and checkpoints do not fit together."""
    checks.count(num_steps, "num_steps")
    if num_checkpoints is not None and num_steps % checks.count(num_checkpoints, "num_checkpoints"):
        raise InputError(
            f"Argument num_checkpoints must divide num_steps, {num_steps}, but is "
            f"{num_checkpoints}."
        )


class _Step(eqx.Module):
    """One step of the geodesic equation."""

    metric: AbstractGridMetric
    action: Images
    intensity_price: Float[Array, ""] | None
    order: int = eqx.field(static=True)

    def rate(self, momentum):
        """Rate at which intensities change: the gradient of their part of the energy."""
        assert self.intensity_price is not None, "only where intensities may change"
        volume = jnp.prod(self.metric.spacing).astype(momentum.dtype)
        return momentum / (self.intensity_price * volume)

    def __call__(self, sharp, state: _State, length) -> _State:
        metric, spacing = self.metric, self.metric.spacing
        covector = self.action.momentum(state.image, state.momentum)
        # kept for the derivative, so that the smoothing is not done again
        velocity = checkpoint_name(sharp(covector), _VELOCITY)
        energy = state.energy + 0.5 * length * jnp.sum(covector * velocity)
        shift = -length * velocity
        ends: Ends = "wrap" if metric.boundary == "periodic" else "edge"
        fields = [state.image, state.momentum]
        if state.change is not None:
            fields.append(state.change)
        if state.displacement is not None:
            fields.extend(state.displacement)
        moved = pull_back(jnp.stack(fields), shift, spacing, order=self.order, ends=ends)
        image, momentum, change = moved[0], moved[1], None
        # mass stays with the points that it moves with
        momentum = momentum * (1 + divergence(shift, spacing.astype(shift.dtype), metric.boundary))
        if state.change is not None:
            rate = self.rate(momentum)
            energy = energy + 0.5 * length * jnp.sum(momentum * rate)
            added = length * rate
            image, change = image + added, moved[2] + added
        displacement = state.displacement
        if displacement is not None:
            displacement = shift + moved[-shift.shape[0] :]
        pushed = state.pushed
        if pushed is not None:
            back = inverse(shift, spacing, order=self.order, boundary=metric.boundary)
            pushed = compose(back, pushed, spacing, order=self.order, boundary=metric.boundary)
        return _State(image, momentum, displacement, change, pushed, energy)


def _follow(step: _Step, start: _State, lengths, num_steps: int, num_checkpoints: int | None):
    """The states at the end of each interval."""
    sharp = step.metric.on(start.image.shape, start.image.dtype)
    policy = jax.checkpoint_policies.save_only_these_names(_VELOCITY)

    def some(state, length, count: int):
        one = jax.checkpoint(lambda s, _: (step(sharp, s, length), None), policy=policy)
        return jax.lax.scan(one, state, None, length=count)[0]

    def interval(state, length):
        if num_checkpoints is None:
            state = some(state, length, num_steps)
        else:
            count = num_steps // num_checkpoints
            part = jax.checkpoint(lambda s, _: (some(s, length, count), None))
            state = jax.lax.scan(part, state, None, length=num_checkpoints)[0]
        return state, state

    return jax.lax.scan(interval, start, lengths)[1]
