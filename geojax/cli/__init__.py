"""The command `geojax`. Answering `--help` imports neither JAX nor NumPy."""

from geojax.cli.app import main as main
