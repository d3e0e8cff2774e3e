"""Many matches at once: pairs of different sizes in one program."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from geojax._core import checks
from geojax._core.errors import InputError
from geojax._core.results import throw_if_failed
from geojax.matching.match import finish, pose
from geojax.matching.padding import common_sizes, pad, trim
from geojax.matching.result import Match
from geojax.matching.search import minimise


def match_many(
    sources: Sequence[Any],
    targets: Sequence[Any],
    *,
    batch_size: int | None = None,
    quality: bool = True,
    throw: bool = True,
    **options: Any,
) -> list[Match]:
    """Match many pairs in one compiled program, also where their sizes differ.

    Shapes are padded to a common size, so keep those of very different sizes apart. The pairs are
    taken in batches; what is held in memory grows with the batch, not with the number of pairs.

    Args:
        sources, targets: as many of each, as for `match`; pair by pair of one kind.
        batch_size: pairs that are computed side by side. Small ones leave a GPU idle; a CPU is
            busy with one, and in a batch waits for the slowest. By default 1 on a CPU, else 64.
        quality, throw, **options: as for `match`; each default, such as the scale of the kernel,
            is read off the pair it is for. `progress` and `buckets` are not among them.

    Returns:
        One `Match` for each pair, in their order and without padding.

    Raises:
        InputError: naming the pair; also pairs that differ in more than sizes and numbers.
        NumericalError: naming the first pair that failed.

    Gradient: none; differentiate `match`.

    Example:
        >>> import numpy as np
        >>> from geojax.kernels import Gaussian
        >>> square = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32)
        >>> shapes = [square, square[:3]]
        >>> moved = [shape + np.float32(0.1) for shape in shapes]
        >>> found = match_many(shapes, moved, metric=Gaussian(1.0))
        >>> [m.moved.shape for m in found], max(float(m.residual) for m in found) < 1e-2
        ([(4, 2), (3, 2)], True)
    """
    if len(sources) != len(targets) or not len(sources):
        raise InputError(
            "Arguments sources and targets must hold as many shapes, at least one, but hold "
            f"{len(sources)} and {len(targets)}."
        )
    if batch_size is None:
        batch_size = 1 if jax.default_backend() == "cpu" else 64
    checks.count(batch_size, "batch_size")
    posed = [
        _of_pair(k, pose, *pair, **options)
        for k, pair in enumerate(zip(sources, targets, strict=True))
    ]
    problems = [problem for problem, _, _ in posed]
    sizes = common_sizes(problems)
    padded = [pad(problem, start, sizes) for problem, start, _ in posed]
    arrays, rest = zip(*(eqx.partition(lane, _is_number) for lane in padded), strict=True)
    for k, other in enumerate(rest):
        if not eqx.tree_equal(rest[0], other):
            raise InputError(
                f"Pair {k} differs from pair 0 in more than sizes and numbers, such as the kind of "
                "shape, fidelity or kernel: match the kinds apart."
            )
    lanes = jax.tree.map(lambda *leaves: np.stack(leaves), *arrays)
    search = posed[0][2]._replace(rounds=max(search.rounds for _, _, search in posed))
    solved = jax.tree.map(np.asarray, _solve(search, lanes, rest[0], batch_size=batch_size))
    matches = []
    for k, problem in enumerate(problems):
        found = jax.tree.map(lambda leaf, k=k: jnp.asarray(leaf[k]), solved)
        found = eqx.tree_at(lambda m: m.problem, found, padded[k][0], is_leaf=lambda x: x is None)
        found = trim(found.with_quality() if quality else found, problem, sizes)
        if throw:
            throw_if_failed(found, found.result, what=f"match of pair {k}")
        matches.append(found)
    return matches


def _is_number(leaf) -> bool:
    return isinstance(leaf, jax.Array | np.ndarray)


def _of_pair(index: int, function, *args, **options):
    """Call; what is wrong is wrong with that pair."""
    try:
        return function(*args, **options)
    except InputError as error:
        raise InputError(f"Pair {index}: {error}") from error


@eqx.filter_jit
def _solve(search, lanes, rest, *, batch_size):
    def one(lane):
        problem, start = eqx.combine(lane, rest)
        found = finish(problem, minimise(search, problem, start))
        return eqx.tree_at(lambda m: m.problem, found, None)

    return jax.lax.map(one, lanes, batch_size=batch_size)
