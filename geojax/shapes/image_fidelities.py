"""How far apart two images on the same grid are: differences, correlations, information, overlap.

Where two images are compared is a matter of weights, one for each voxel: a mask, a soft mask, or
ones. Every value is a weighted mean, so it depends neither on the size of the grid nor on the size
of the weights.
"""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from geojax._core import checks
from geojax._core.errors import InputError

# Products of windows and images need all digits: local variances are differences of such sums, and
# accelerators would round factors to ten bits or fewer.
_EXACT = jax.lax.Precision.HIGHEST

# A place where smoothed weights (of mean one) are below this sees no voxel that counts.
_UNSEEN = 1e-12

# Joint histograms are summed over blocks of so many voxels: windows of all bins fit into the cache.
_BLOCK = 1 << 13


class AbstractImageFidelity(eqx.Module):
    """A weighted mean over the voxels of two images; least for equal images.

    It is differentiable in both images and in the weights, forward and reverse, and keeps the dtype
    of the image. Where the weights are zero everywhere, the value and its gradients are zero.
    """

    @property
    def channels(self) -> int | None:
        """How many channels lie before the axes of the grid; None for images without channels."""
        return None

    @abc.abstractmethod
    def mean(
        self,
        image: Float[Array, "*values"],
        target: Float[Array, "*values"],
        shares: Float[Array, "*grid"],
        spacing: Float[Array, " d"],
    ) -> Float[Array, ""]:
        """The value, for weights that sum to one; finite, with its derivative, if all are zero."""

    def unit(self, target: np.ndarray, weights: np.ndarray) -> float:
        """About the value of an image that tells nothing of the target: by default 1."""
        return 1.0

    def check(self, image, target, weights, spacing) -> None:
        """Raise `InputError` unless the two can be compared."""
        named = {"image": image, "target": target, "weights": weights, "spacing": spacing}
        for name, array in named.items():
            if not jnp.issubdtype(jnp.result_type(array), jnp.floating):
                raise InputError(
                    f"Argument {name} must hold floating-point numbers, but has dtype "
                    f"{jnp.result_type(array)}; convert it first."
                )
        grid = tuple(weights.shape)
        if len(grid) not in (2, 3) or min(grid) < 1:
            raise InputError(
                f"Argument weights must have shape [*grid] with 2 or 3 axes and at least one entry "
                f"along each, but has shape {list(grid)}."
            )
        expected = grid if self.channels is None else (self.channels, *grid)
        for name in ("image", "target"):
            if tuple(named[name].shape) != expected:
                raise InputError(
                    f"Argument {name} must have shape {list(expected)} to go with weights of shape "
                    f"{list(grid)}, but has shape {list(named[name].shape)}; resample it on the "
                    "same grid."
                )
        if tuple(spacing.shape) != (len(grid),):
            raise InputError(
                f"Argument spacing must hold one number for each of the {len(grid)} axes of the "
                f"grid, but has shape {list(spacing.shape)}."
            )
        checks.positive(spacing, "spacing")
        checks.non_negative(weights, "weights")

    def __call__(
        self,
        image: Float[Array, "*values"],
        target: Float[Array, "*values"],
        weights: Float[Array, "*grid"],
        spacing: Float[Array, " d"],
    ) -> Float[Array, ""]:
        """How far two images are apart where the weights say.

        Args:
            image: `[*grid]` in two or three dimensions; channels, if any, come first.
            target: as the image, on the same grid.
            weights: `[*grid]`, at least zero: where and how much each voxel counts.
            spacing: `[d]`, distance of neighbours along each axis, in units of the world.

        Raises:
            InputError: shapes that do not fit, integers, negative weights, spacing not positive.
        """
        self.check(image, target, weights, spacing)
        image = jnp.asarray(image)
        arrays = (jnp.asarray(array, image.dtype) for array in (target, weights, spacing))
        return _value(self, image, *arrays)


@eqx.filter_jit
def _value(fidelity, image, target, weights, spacing):
    total = jnp.sum(weights)
    some = total > 0
    shares = weights / jnp.where(some, total, 1.0)
    return jnp.where(some, fidelity.mean(image, target, shares, spacing), 0.0)


def _as_positive(name: str):
    """A converter to one positive number."""

    def convert(value) -> Float[Array, ""]:
        value = checks.as_real(checks.positive(value, name))
        if value.ndim:
            raise InputError(
                f"Argument {name} must be one number, but has shape {list(value.shape)}."
            )
        return value

    return convert


def _ratio(numerator, denominator, least=0.0):
    """A quotient that is zero, with its derivative, where the denominator is not above `least`."""
    some = denominator > least
    return jnp.where(some, numerator, 0.0) / jnp.where(some, denominator, 1.0)


class SSD(AbstractImageFidelity):
    """Half the mean squared difference, `1/2 mean (image - target)^2 / scale^2`.

    For images of one device whose intensities mean the same, with noise of standard deviation
    `scale`.

    Args:
        scale: the difference of intensities that counts as one.

    Example:
        >>> import jax.numpy as jnp
        >>> grid = jnp.ones((4, 5))
        >>> float(SSD(2.0)(3 * grid, 7 * grid, grid, jnp.ones(2)))
        2.0

    Reference: `[beg2005computing]`.
    """

    scale: Float[Array, ""] = eqx.field(converter=_as_positive("scale"), default=1.0)

    def mean(self, image, target, shares, spacing):
        difference = (image - target) / self.scale.astype(image.dtype)
        return 0.5 * jnp.sum(shares * jnp.square(difference))

    def unit(self, target, weights):
        # half the squared difference of two images of this variance that know nothing of each other
        variance = np.average((target - np.average(target, weights=weights)) ** 2, weights=weights)
        return float(variance) / float(self.scale) ** 2


class LNCC(AbstractImageFidelity):
    """One minus the mean squared local correlation, in Gaussian windows.

    `1 - mean c^2 / ((u + e) (v + e))`, where u, v, c are variances and the covariance of both
    images around a voxel. Each image is first brought to mean zero and variance one over all voxels
    that count, and e is `floor`, so the value does not change if the intensities of either image
    are scaled, shifted or inverted. It lies between 0 and 1. Equal images reach 0 where they
    have texture; places whose local variance is far below the floor times the global one count
    as 1, whatever is there, and so does an image without contrast.

    Weights act inside the windows too (normalised convolution), so voxels of weight zero have no
    influence, and neither has what would lie beyond the border of the grid.

    Args:
        window: standard deviation of the windows, in the units of the spacing.
        floor: variance below which a place is flat, relative to the variance of the whole image.

    Gradient: exact, that of the global means and variances included.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> x = jax.random.normal(jax.random.key(0), (12, 12))
        >>> fidelity = LNCC(3.0, floor=1e-5)
        >>> float(fidelity(x, 5 - 2 * x, jnp.ones((12, 12)), jnp.ones(2))) < 1e-3
        True

    Reference: `[cachier2003iconic]`, `[knutsson1993normalized]`.
    """

    window: Float[Array, ""] = eqx.field(converter=_as_positive("window"))
    floor: Float[Array, ""] = eqx.field(converter=_as_positive("floor"), default=1e-3)

    def mean(self, image, target, shares, spacing):
        a, b = _standardised(image, shares), _standardised(target, shares)
        w = shares * shares.size  # of mean one, whatever the grid
        wa, wb = w * a, w * b
        # component first: one matrix product per axis smooths all six
        moments = _smooth(jnp.stack([w, wa, wb, wa * a, wb * b, wa * b]), self.window, spacing)
        seen, *moments = moments
        mean_a, mean_b, aa, bb, ab = (_ratio(moment, seen, _UNSEEN) for moment in moments)
        floor = self.floor.astype(image.dtype)
        # round-off may leave a variance just below zero
        var_a = jnp.maximum(aa - jnp.square(mean_a), 0.0) + floor
        var_b = jnp.maximum(bb - jnp.square(mean_b), 0.0) + floor
        return 1.0 - jnp.sum(shares * jnp.square(ab - mean_a * mean_b) / (var_a * var_b))


def _standardised(image, shares):
    """An image of mean zero and variance one, or zero if it has no contrast."""
    mean = jnp.sum(shares * image)
    centred = image - mean
    variance = jnp.sum(shares * centred * centred)
    # less than what round-off makes of a constant is no contrast
    some = variance > jnp.square(16.0 * jnp.finfo(image.dtype).eps * mean)
    return centred * jnp.where(some, jax.lax.rsqrt(jnp.where(some, variance, 1.0)), 0.0)


def _smooth(fields: Float[Array, "c *grid"], window, spacing) -> Float[Array, "c *grid"]:
    """Sums over Gaussian windows that end at the border of the grid, not normalised."""
    steps = spacing / window.astype(spacing.dtype)
    for k, count in enumerate(fields.shape[1:]):
        index = jnp.arange(count, dtype=fields.dtype)
        far = (index[:, None] - index[None, :]) * steps[k]
        # the axis that is contracted comes first and goes last, so each is in its place at the end
        weights = jnp.exp(-0.5 * jnp.square(far))
        fields = jnp.tensordot(fields, weights, axes=(1, 0), precision=_EXACT)
    return fields


class NMI(AbstractImageFidelity):
    """Two minus the normalised mutual information, `2 - (H(A) + H(B)) / H(A, B)`.

    It asks only that one image tells about the other, so it compares images of different devices.
    Entropies are those of histograms with cubic B-spline windows, whose width of four bins smooths
    them: independent images give 1; equal ones give the least, which is above 0 because the
    windows blur the joint histogram. Inverting the contrast of an image changes nothing.

    Args:
        bins: of each histogram, 5 or more; one at each end only holds the flank of a window.

    Gradient: exact for intensities between the least and the largest of an image; the range of the
    bins (over voxels of positive weight) is held fixed.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> x, y = jax.random.uniform(jax.random.key(0), (2, 20, 20))
        >>> ones, spacing = jnp.ones((20, 20)), jnp.ones(2)
        >>> round(float(NMI(8)(x, -x, ones, spacing)), 1)
        0.8
        >>> round(float(NMI(8)(x, y, ones, spacing)), 1)
        1.0

    Reference: `[studholme1999overlap]`, `[thevenaz2000optimization]`.
    """

    bins: int = eqx.field(static=True, default=32)

    def __check_init__(self):
        checks.count(self.bins, "bins", least=5)

    def mean(self, image, target, shares, spacing):
        first, second = (_positions(x, shares, self.bins) for x in (image, target))
        joint = self._joint(first.ravel(), second.ravel(), shares.ravel())
        both, *alone = (_entropy(p) for p in (joint, jnp.sum(joint, 1), jnp.sum(joint, 0)))
        return 2.0 - _ratio(alone[0] + alone[1], both)

    def _joint(
        self, first: Float[Array, " n"], second: Float[Array, " n"], shares: Float[Array, " n"]
    ) -> Float[Array, "bins bins"]:
        """The joint histogram of two images in units of bins; it sums to one."""
        block = min(_BLOCK, shares.size)
        # what is filled up has no share
        rows = jnp.pad(jnp.stack([first, second, shares]), ((0, 0), (0, -shares.size % block)))

        @jax.checkpoint
        def add(total, row):
            a, b, share = row
            windows, others = _windows(a, self.bins), share[None] * _windows(b, self.bins)
            return total + jnp.matmul(windows, others.T, precision=_EXACT), None

        start = jnp.zeros((self.bins, self.bins), shares.dtype)
        return jax.lax.scan(add, start, jnp.moveaxis(rows.reshape(3, -1, block), 1, 0))[0]


def _positions(image, shares, bins: int):
    """Intensities in units of bins: from 1 to `bins - 2` where voxels count."""
    counted = shares > 0
    low = jnp.min(jnp.where(counted, image, jnp.inf))
    high = jnp.max(jnp.where(counted, image, -jnp.inf))
    low, high = jax.lax.stop_gradient((jnp.where(jnp.any(counted), low, 0.0), high))
    return 1.0 + (image - low) * _ratio(bins - 3.0, high - low)


def _windows(positions: Float[Array, " n"], bins: int) -> Float[Array, "bins n"]:
    """How much each voxel belongs to each bin, by cubic B-splines; the sum over bins is one."""
    distance = jnp.abs(positions[None, :] - jnp.arange(bins, dtype=positions.dtype)[:, None])
    inner = (2.0 / 3.0) - jnp.square(distance) * (1.0 - 0.5 * distance)
    flank = 2.0 - distance
    outer = jnp.where(distance < 2.0, flank * flank * flank / 6.0, 0.0)
    return jnp.where(distance < 1.0, inner, outer)


def _entropy(shares) -> Float[Array, ""]:
    some = shares > jnp.finfo(shares.dtype).tiny
    return -jnp.sum(jnp.where(some, shares, 0.0) * jnp.log(jnp.where(some, shares, 1.0)))


class SoftDice(AbstractImageFidelity):
    """One minus the mean overlap of labels that may be mixed.

    `1 - mean_k 2 a_k.b_k / (a_k.a_k + b_k.b_k)` over labels k, with inner products over voxels.
    Images are `[labels, *grid]`: one channel for each label that counts (leave the background out),
    each voxel the probability of that label. Weights stay `[*grid]`. Equal images give 0, also
    where labels are mixed; labels that overlap nowhere give 1. A label that is nowhere in either
    image agrees: it adds 0 to the mean.

    Args:
        labels: number of channels.

    Example:
        >>> import jax.numpy as jnp
        >>> a = jnp.zeros((1, 2, 4)).at[:, :, :2].set(1.0)
        >>> b = jnp.zeros((1, 2, 4)).at[:, :, 1:3].set(1.0)
        >>> float(SoftDice(1)(a, b, jnp.ones((2, 4)), jnp.ones(2)))
        0.5

    Reference: `[milletari2016vnet]`.
    """

    labels: int = eqx.field(static=True)

    def __check_init__(self):
        checks.count(self.labels, "labels")

    @property
    def channels(self):
        return self.labels

    def mean(self, image, target, shares, spacing):
        axes, shares = tuple(range(1, image.ndim)), shares[None]
        # one minus the overlap, without its cancellation: |a - b|^2 / (|a|^2 + |b|^2)
        apart = jnp.sum(shares * jnp.square(image - target), axis=axes)
        sizes = jnp.sum(shares * (jnp.square(image) + jnp.square(target)), axis=axes)
        return jnp.mean(_ratio(apart, sizes))
