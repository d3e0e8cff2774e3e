"""Many matches of images in one compiled program."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from geojax._core import checks
from geojax._core.errors import InputError
from geojax._core.results import throw_if_failed
from geojax.matching.images.levels import padded_frame
from geojax.matching.images.match import as_world, check_overlap, pose
from geojax.matching.images.result import ImageMatch
from geojax.matching.images.search import Found, problem_at, resolutions_of_many


def match_many_images(
    sources: Sequence[Any],
    targets: Sequence[Any],
    *,
    metric=None,
    fidelity=None,
    weight=None,
    model=None,
    affine=None,
    factors=None,
    tolerance=1e-2,
    max_iterations: int = 100,
    minimiser=None,
    batch_size: int | None = None,
    throw: bool = True,
) -> list[ImageMatch]:
    """Match many pairs of images in one compiled program for each resolution.

    Images are filled up to the largest, so keep those of very different sizes apart.

    Args:
        sources, targets: as many of each.
        batch_size: pairs that are computed side by side. Small images leave an accelerator idle; in
            a batch all wait for the slowest, which on a CPU costs more than it saves. By default 1
            on a CPU, else 64.
        affine: as for `match_images`, but None by default: affine maps are found one by one.
        metric, fidelity, model: as for `match_images`; the defaults are those of the first pair.
        weight, factors, tolerance, max_iterations, minimiser, throw: as for `match_images`.

    Returns:
        One `ImageMatch` for each pair, in their order.

    Raises:
        InputError: naming the pair.
        NumericalError: naming the first pair that failed (only if `throw`).

    Gradient: none.

    Example:
        >>> import numpy as np
        >>> from geojax.shapes import Image
        >>> x = np.linspace(-3.0, 3.0, 20, dtype=np.float32)
        >>> discs = [Image(np.exp(-w * x[:, None]**2 - x[None]**2)) for w in (1.0, 0.8, 0.6)]
        >>> found = match_many_images(discs[:2], discs[1:], factors=(2,))
        >>> [match.folds for match in found]
        [0, 0]
    """
    if len(sources) != len(targets) or not len(sources):
        raise InputError(
            f"Arguments sources and targets must hold as many images, at least one, but hold "
            f"{len(sources)} and {len(targets)}."
        )
    grids = largest_grid(sources, "sources"), largest_grid(targets, "targets")
    lanes = as_lanes(batch_size, len(sources))
    price: dict[str, Any] = dict(metric=metric, fidelity=fidelity, weight=weight, model=model)
    search = dict(factors=factors, tolerance=tolerance, max_iterations=max_iterations)
    posed, settings = [], None
    for place, (source, target) in enumerate(zip(sources, targets, strict=True)):
        try:
            pair, cost, settings = pose(
                source, target, None, None, price, search, minimiser, grids=grids, lanes=lanes
            )
            world = as_world(affine, pair, settings.factors)
            check_overlap(pair, world)
        except InputError as error:
            raise InputError(f"Pair {place}: {error}") from error
        # one program needs one metric and one fidelity; numbers may differ
        price |= {"metric": cost.metric, "fidelity": cost.fidelity}
        posed.append((pair, world, cost))
    assert settings is not None, "there is at least one pair"
    problems = [[problem_at(factor, *one) for one in posed] for factor in settings.factors]
    stacks = [stacked(each) for each in problems]
    found = resolutions_of_many(stacks, grids[1], settings, lanes)
    # from the device once, not once for each pair
    arrays = [np.asarray(x) for x in found]
    at_target = settings.factors[-1] == 1
    matches = []
    for place, (pair, world, cost) in enumerate(posed):
        lane = Found(*(jnp.asarray(x[place]) for x in arrays))
        problem = problems[-1][place] if at_target else problem_at(1, pair, world, cost)
        images = sources[place], targets[place]
        match = ImageMatch.of(*images, problem, lane, world, pair)
        if throw:
            match = throw_if_failed(match, match.result, what=f"match_many_images, pair {place}")
        matches.append(match)
    return matches


def as_lanes(batch_size: int | None, count: int) -> int:
    """How many of several searches run side by side: on a CPU one after the other by default."""
    if batch_size is None:
        batch_size = 1 if jax.default_backend() == "cpu" else 64
    return min(checks.count(batch_size, "batch_size"), count)


def largest_grid(images: Sequence[Any], name: str) -> tuple[int, ...]:
    """The largest padded size along each axis."""
    sizes = []
    for place, image in enumerate(images):
        if not hasattr(image, "grid"):
            raise InputError(
                f"Argument {name}[{place}] must be an `Image`, but is {type(image).__name__}."
            )
        sizes.append(padded_frame(image)[0].grid)
    if len({len(size) for size in sizes}) > 1:
        raise InputError(f"Argument {name} must hold images of one dimension, but mixes two.")
    return tuple(max(column) for column in zip(*sizes, strict=True))


def stacked(problems: list[Any]) -> Any:
    """Problems of one structure side by side."""
    arrays, rest = zip(*(eqx.partition(p, eqx.is_array) for p in problems), strict=True)
    return eqx.combine(jax.tree.map(lambda *x: jnp.stack(x), *arrays), rest[0])
