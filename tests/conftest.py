"""Fixtures of the tests, and the strictness they run under.

Tests refuse implicit promotion of dtypes and of ranks: both hide the wrong broadcast and the
silent float64. ott and optax promote inside, so a test that runs them is marked `lenient`.
"""

from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path

import jax
import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Strict promotion around a test and the fixtures it sets up."""
    with ExitStack() as stack:
        if HERE in item.path.parents and item.get_closest_marker("lenient") is None:
            stack.enter_context(jax.numpy_dtype_promotion("strict"))
            stack.enter_context(jax.numpy_rank_promotion("raise"))
        return (yield)


@pytest.fixture
def getkey() -> Callable[[], jax.Array]:
    """A function that returns a new random key at every call, the same ones on every run."""

    def keys() -> Iterator[jax.Array]:
        number = 0
        while True:
            yield jax.random.fold_in(jax.random.key(20240229), number)
            number += 1

    return keys().__next__


@pytest.fixture
def key(getkey: Callable[[], jax.Array]) -> jax.Array:
    """One random key."""
    return getkey()


@pytest.fixture(scope="session")
def root() -> Path:
    """The root of the checkout."""
    return ROOT
