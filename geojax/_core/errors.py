"""The errors that geojax raises on purpose, each with the exit code of the command line.

Every message is one line that says what is wrong, where it is (file, element, key, value) and how
to mend it. This module imports nothing heavy, so that the command line can map errors to exit codes
before any large library is loaded.
"""

from typing import Any


class GeojaxError(Exception):
    """Base of all errors that geojax raises on purpose.

    Catching it catches all that geojax itself reports; anything else that escapes is a defect.

    Example:
        >>> from geojax._core.errors import GeojaxError, InputError
        >>> try:
        ...     raise InputError("kernel scale: -1.0 is not positive; give a scale above zero")
        ... except GeojaxError as error:
        ...     print(error.exit_code, error)
        2 kernel scale: -1.0 is not positive; give a scale above zero
    """

    exit_code: int = 1


class InputError(GeojaxError, ValueError):
    """An argument, option or file is wrong; raised before anything is compiled or written."""

    exit_code = 2


class NumericalError(GeojaxError, ArithmeticError):
    """A computation failed: not converged, energy not kept, or a value that is not finite.

    Args:
        message: what failed, where, and how to mend it.
        result: the code behind the failure (an item of `geojax._core.results.RESULTS`), if any.
    """

    exit_code = 3

    def __init__(self, message: str = "", result: Any = None) -> None:
        super().__init__(message)
        self.result = result


class StorageError(GeojaxError, OSError):
    """A file could not be read or written: disk full, read-only, damaged, or gone."""

    exit_code = 4


class DeviceError(GeojaxError, RuntimeError):
    """The machine lacks what was asked for: a device, a driver, or enough memory."""

    exit_code = 5


__all__ = ["DeviceError", "GeojaxError", "InputError", "NumericalError", "StorageError"]
