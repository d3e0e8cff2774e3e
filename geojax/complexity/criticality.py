"""Layer criticality: what a network is without what one of its layers has learned."""

from typing import TypeVar

import jax
from flax import nnx

from geojax._core.errors import InputError

Module = TypeVar("Module", bound=nnx.Module)


def reinitialised(model: Module, donor: nnx.Module, part: str) -> Module:
    """A network with one part as it is in another of the same make.

    The donor says what is asked of the part: the network before its training (re-initialisation),
    one that was drawn from another key (re-randomisation), or one from a checkpoint on the way.

    Args:
        model: the network; it is left as it is.
        donor: a module of the same structure.
        part: name of a part of both, such as "head" or "generators.0".

    Returns:
        A copy.

    Raises:
        InputError: no such part, or one of other shapes or precision in the donor.

    Example:
        >>> from flax import nnx
        >>> from geojax.networks import PlainNetwork
        >>> model, donor = (PlainNetwork(3, 2, depth=4, rngs=nnx.Rngs(k)) for k in (0, 1))
        >>> changed = reinitialised(model, donor, "generators.1")
        >>> [bool((changed.generators[k].kernel == donor.generators[k].kernel).all())
        ...  for k in range(4)]
        [False, True, False, False]

    Reference: `[zhang2022layers]`.
    """
    ours, theirs = _variables(model, part), _variables(donor, part)
    have, given = (
        {path: jax.typeof(value[...]).str_short() for path, value in x.items()}
        for x in (ours, theirs)
    )
    if have != given:
        raise InputError(
            f"Argument donor must have a part {part!r} like that of the model, but it holds "
            f"{', '.join(given.values())} where the model holds {', '.join(have.values())}."
        )
    changed = nnx.clone(model)
    nnx.update(changed, nnx.from_flat_state(theirs))
    return changed


def _variables(model: nnx.Module, part: str) -> dict:
    """Variables of a part by their place in the model."""
    names = tuple(part.split("."))
    found = {
        path: value
        for path, value in nnx.to_flat_state(nnx.state(model))
        if tuple(map(str, path[: len(names)])) == names
    }
    if not found:
        known = sorted({str(path[0]) for path, _ in nnx.to_flat_state(nnx.state(model))})
        raise InputError(
            f"Argument part must name a part with parameters, but a {type(model).__name__} has "
            f"no {part!r}; its parts are {', '.join(known)} (and theirs, such as 'parts.0')."
        )
    return found
