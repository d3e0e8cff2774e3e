"""The options that every command has."""

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, kw_only=True)
class Common:
    """Options that every command has."""

    always_x64: ClassVar[bool] = False

    x64: bool = False
    """Compute in double precision."""
    no_cache: bool = False
    """Do not keep compiled programs on the disk. (Kept, they let the next run start sooner.)"""
    overwrite: bool = False
    """Write into --out even if it holds the result of another run."""
    debug: bool = False
    """Show the traceback of an error."""
