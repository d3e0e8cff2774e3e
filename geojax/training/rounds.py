"""How every training goes: round after round, saved in between, until done or broken off."""

from collections.abc import Callable, Iterable
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
from flax import nnx

from geojax._core import checks
from geojax._core.errors import NumericalError
from geojax._core.results import RESULTS
from geojax.training.checkpoints import Checkpoints, Standing
from geojax.training.state import TrainState

Callback = Callable[[int, dict[str, float]], Any]


class Round(NamedTuple):
    """What a round came to.

    Attributes:
        state: after it.
        means: its entries of the history; a "validation_loss" among them is compared.
        broken: why the training cannot go on from here; None if it can.
    """

    state: TrainState
    means: dict[str, float]
    broken: str | None


def train(
    state: TrainState,
    count: int,
    one: Callable[[int, TrainState], Round],
    *,
    validated: bool = False,
    patience: int = 0,
    checkpoints: str | Path | None = None,
    checkpoint_every: int = 1,
    identity: Callable[[], dict[str, Any]],
    callback: Callback | None = None,
    throw: bool = True,
) -> tuple[Standing, RESULTS]:
    """Run rounds until there are `count`, beginning where a folder of checkpoints left off.

    Args:
        state: before the first round.
        count: of rounds.
        one: number of a round (from 1) and state -> the round.
        validated: whether rounds have a "validation_loss", of which the least is remembered.
        patience: rounds without a lower one after which to stop; 0 never stops.
        checkpoints, checkpoint_every: folder, and rounds from one save to the next; on the way out
            the last whole round is saved as well.
        identity: what tells the training from others, for the checkpoints.
        callback: called with the number of each round and its means.
        throw: raise if a round is broken.

    Returns:
        Where the training stands, and a result code.

    Raises:
        InputError: a `checkpoint_every` below 1, or checkpoints of another training.
        NumericalError: a broken round.
    """
    checks.count(checkpoint_every, "checkpoint_every")
    standing, saved = Standing(0, state, [], state.variables if validated else None), None
    if checkpoints is not None:
        saved = Checkpoints(checkpoints, identity(), checkpoint_every)
        standing = saved.latest(standing) or standing
    begun = perf_counter() - standing.seconds
    try:
        while standing.epoch < count:
            if 0 < patience <= standing.epoch - standing.best_epoch:
                break
            number = standing.epoch + 1
            found = one(number, standing.state)
            if found.broken is not None:
                if throw:
                    raise NumericalError(found.broken, RESULTS.diverged)
                return standing, RESULTS.diverged
            standing = _after(standing, found, perf_counter() - begun)
            if saved is not None:
                saved.save(standing)
            if callback is not None:
                callback(number, found.means)
    finally:
        if saved is not None and standing.epoch:
            saved.save(standing, last=True)
    return standing, RESULTS.successful


def history_of(standing: Standing, names: Iterable[str]) -> dict[str, np.ndarray]:
    """Entries of each round, `[rounds]`; of the given names where there were no rounds."""
    names = standing.history[0] if standing.history else names
    return {name: np.array([means[name] for means in standing.history]) for name in names}


def _after(standing: Standing, found: Round, seconds: float) -> Standing:
    number, best, best_epoch = standing.epoch + 1, standing.best, standing.best_epoch
    if best is not None:
        # nothing is worse than what is no number
        losses = [old["validation_loss"] for old in standing.history]
        losses = [value for value in losses if np.isfinite(value)]
        if found.means["validation_loss"] < min(losses, default=np.inf):
            best, best_epoch = nnx.split(found.state.model)[1], number
    history = [*standing.history, found.means]
    return Standing(number, found.state, history, best, best_epoch, seconds)
