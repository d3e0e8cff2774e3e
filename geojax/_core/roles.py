"""Which fields of a configuration are numbers of a compiled program, and which shape it.

A configuration says it in its types: `learning_rate: Traced[float]`. Points of a sweep that differ
in traced fields alone are lanes of one program; a static field, which every other one is, compiles
anew. Annotations of this kind change nothing at run time.
"""

import dataclasses
import enum
import typing
from typing import Annotated, TypeVar

T = TypeVar("T")


class Role(enum.Enum):
    """What a field of a configuration is to a compiled program."""

    traced = "traced"
    static = "static"


Traced = Annotated[T, Role.traced]
Static = Annotated[T, Role.static]


def roles(config: type) -> dict[str, Role]:
    """The role of each field of a dataclass; static where its type says nothing.

    Example:
        >>> from dataclasses import dataclass
        >>> @dataclass
        ... class Config:
        ...     learning_rate: Traced[float] = 1e-3
        ...     width: int = 64
        >>> [role.value for role in roles(Config).values()]
        ['traced', 'static']
    """
    hints = typing.get_type_hints(config, include_extras=True)
    found = {}
    for field in dataclasses.fields(config):
        marks = getattr(hints[field.name], "__metadata__", ())
        found[field.name] = next((m for m in marks if isinstance(m, Role)), Role.static)
    return found
