"""One setting for everything pytest collects: the tests, the examples in docstrings and in docs."""

import os
from collections.abc import Generator

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("MPLBACKEND", "Agg")

import jax
import pytest
from hypothesis import settings
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser

jax.config.update("jax_enable_x64", True)

# The same examples on every run and machine: a failure seen once is a failure seen always.
settings.register_profile("geojax", database=None, deadline=None, derandomize=True)
settings.load_profile("geojax")

# Python blocks of the pages run as written, one namespace per page.
pytest_collect_file = Sybil(
    parsers=[PythonCodeBlockParser(), SkipParser()],
    patterns=["README.md", "docs/*.md"],
).pytest()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(
    item: pytest.Item, nextitem: pytest.Item | None
) -> Generator[None, object, object]:
    """Free what one file compiled before the next begins.

    Every executable keeps a few memory maps, and a process may hold only so many: past the limit
    of the system, XLA crashes.
    """
    result = yield
    if nextitem is None or nextitem.path != item.path:
        jax.clear_caches()
    return result
