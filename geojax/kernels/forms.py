"""Which program computes a sum over pairs, and how to ask for another one.

The choice is read when a function is traced and is part of JAX's cache key, so that a function
compiled for one form is never run for another. Derivatives keep the form of what they derive.
"""

import contextlib
import dataclasses
from collections.abc import Iterator

import jax
from jax.sharding import AxisType, Mesh

from geojax._core import checks
from geojax._core.errors import InputError
from geojax.kernels import pallas, ring, tiles

FORMS = ("auto", "dense", "tiles", "pallas")


@dataclasses.dataclass(frozen=True)
class Ring:
    """Points shared out over devices, among which blocks of columns go round.

    Every device holds its share of the rows and of the columns, and at any time one block of
    another's columns: memory is linear in the share, for derivatives as well.

    Args:
        mesh: devices along one axis, of type `AxisType.Auto`.
        within: the form of the sums of one device: "auto", "tiles" or "pallas".

    Raises:
        InputError: a mesh of several axes, one whose axis is not automatic, or another form within.
    """

    mesh: Mesh
    within: str = "auto"

    def __post_init__(self):
        if len(self.mesh.axis_names) != 1 or self.mesh.axis_types != (AxisType.Auto,):
            axes = ", ".join(
                f"{name} of type {kind.name}"
                for name, kind in zip(self.mesh.axis_names, self.mesh.axis_types, strict=True)
            )
            raise InputError(
                f"A ring needs a mesh with one axis of type Auto, but the mesh has {axes}; make "
                'one by jax.make_mesh((jax.device_count(),), ("points",), '
                "axis_types=(jax.sharding.AxisType.Auto,))."
            )
        if self.within not in ("auto", "tiles", "pallas"):
            raise InputError(
                "Argument within must be one of auto, tiles, pallas, but is "
                f"{self.within!r}{checks.nearest_name(str(self.within), FORMS)}."
            )


_choice = jax.make_user_context("auto")


@contextlib.contextmanager
def form(choice: str | Ring) -> Iterator[None]:
    """Have every sum over pairs that is traced in this context computed in one form.

    Args:
        choice: "auto" (by size and device), "dense", "tiles", "pallas" (interpreted where there
            is no GPU, which is slow), or a `Ring` over a mesh of devices.

    Raises:
        InputError: an unknown name.

    Gradient: a derivative has the form of what it derives, wherever it is taken.

    Example:
        >>> import jax.numpy as jnp
        >>> from geojax.kernels import Gaussian, form, kernel_sum
        >>> x = jnp.zeros((3, 2))
        >>> with form("tiles"):
        ...     kernel_sum(Gaussian(1.0), x, x, jnp.ones((3, 1)))[:, 0].tolist()
        [3.0, 3.0, 3.0]
    """
    if not isinstance(choice, Ring) and choice not in FORMS:
        raise InputError(
            f"Argument choice must be a Ring or one of {', '.join(FORMS)}, but is {choice!r}"
            f"{checks.nearest_name(choice, FORMS)}."
        )
    with _choice(choice):
        yield


def chosen() -> str | Ring:
    """The form asked for where this is called."""
    return _choice.value


def sums(choice: str | Ring, platform: str | None, *arguments) -> list[jax.Array]:
    """What `pairs.pair_sums` promises, in a form that is known only with the platform.

    Args:
        choice: what was asked for; the dense form is its callers' own, and tiles here.
        platform: "cuda", or None for all others.
        arguments: those of `tiles.sums`.
    """
    if isinstance(choice, Ring):
        return ring.sums(
            choice.mesh, lambda *part: sums(choice.within, platform, *part), *arguments
        )
    gpu = platform == "cuda"
    if choice == "pallas" or (choice == "auto" and gpu and pallas.suits(*arguments)):
        return pallas.sums(*arguments, interpret=not gpu)
    return tiles.sums(*arguments)
