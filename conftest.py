"""One setting for everything pytest collects: the tests, the examples in docstrings and in docs."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("MPLBACKEND", "Agg")

import jax
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
