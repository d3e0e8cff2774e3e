"""Checks of arguments, done in NumPy before anything is compiled.

JAX clamps indices and truncates floats without a word, so values are looked at here first. Under
a transformation (tracers) the value checks are skipped and only shapes are checked. Every message
says what is wrong, where, and how to mend it.
"""

import difflib
import os
import warnings
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from scipy.spatial import KDTree

from geojax._core.errors import InputError


def is_tracer(x) -> bool:
    """Whether a value is abstract, so that it cannot be looked at."""
    return isinstance(x, Tracer)


def nearest_name(name: str, known: Iterable[str]) -> str:
    """A clause that names the nearest known name, or nothing."""
    close = difflib.get_close_matches(str(name), list(known), n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""


def as_float_array(x, name: str) -> Any:
    """Convert to a floating JAX array; integers are cast with a warning.

    Raises:
        InputError: object, string or complex data.
    """
    if is_tracer(x) or isinstance(x, jax.Array):
        array = x
    elif is_regular(x):
        array = np.asarray(x)
    else:
        raise InputError(
            f"Argument {name} must be an array of numbers, but its rows have different lengths; "
            "make every row as long as the first."
        )
    if array.dtype.kind in "OUSVmM":
        raise InputError(
            f"Argument {name} must hold numbers, but has dtype {array.dtype}; convert it first."
        )
    if array.dtype.kind == "c":
        raise InputError(f"Argument {name} must be real, but has dtype {array.dtype}.")
    if array.dtype.kind in "biu":
        warnings.warn(
            f"Argument {name} has dtype {array.dtype} and is cast to floating point.", stacklevel=3
        )
        return jnp.asarray(array, float)
    if array.dtype == np.float64 and not jax.config.read("jax_enable_x64") and not is_tracer(array):
        _warn_truncation(np.asarray(array), name)
    return jnp.asarray(array)


def as_numbers(x, name: str) -> np.ndarray:
    """Finite real numbers of any kind, in double precision.

    Raises:
        InputError: strings, objects, complex numbers, rows of different lengths, NaN, infinity.
    """
    if not is_regular(x) or np.asarray(x).dtype.kind not in "fiu":
        raise InputError(f"Argument {name} must hold numbers, but is {x!r}.")
    return finite(np.asarray(x, float), name)


def as_real(x) -> Any:
    """A number or array that has passed its check, as a floating JAX array; dtypes are kept."""
    if isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, jnp.floating):
        return x
    return jnp.asarray(x, float)


def _warn_truncation(array: np.ndarray, name: str) -> None:
    if array.size == 0:
        return
    size = float(np.max(np.abs(array)))
    loss = float(np.max(np.abs(array - array.astype(np.float32)))) / size if size else 0.0
    if loss > 0:
        warnings.warn(
            f"Argument {name} is float64 but JAX runs in float32, so it is truncated (relative "
            f'loss {loss:.1e}); use `jax.config.update("jax_enable_x64", True)` or `--x64`.',
            stacklevel=4,
        )


def finite(x, name: str) -> Any:
    """Raise at the first entry that is NaN or infinite."""
    if is_tracer(x):
        return x
    bad = np.argwhere(~np.isfinite(np.asarray(x)))
    if len(bad):
        index = tuple(int(i) for i in bad[0])
        value = np.asarray(x)[index]
        raise InputError(
            f"Argument {name} must be finite, but entry {list(index)} is {value} "
            f"({len(bad)} such entries); remove or repair them."
        )
    return x


def positive(x, name: str, *, infinite: bool = False) -> Any:
    """Raise unless every entry is a positive finite number (or infinity, where that is allowed)."""
    if is_tracer(x) or (isinstance(x, list | tuple) and any(is_tracer(v) for v in x)):
        return x
    if infinite:
        _all_entries(x, name, "positive", lambda array: array > 0)
    else:
        _all_entries(x, name, "positive and finite", lambda array: np.isfinite(array) & (array > 0))
    return x


def non_negative(x, name: str) -> Any:
    """Raise unless every entry is a finite number of at least zero."""
    if is_tracer(x):
        return x
    _all_entries(x, name, "at least 0 and finite", lambda array: np.isfinite(array) & (array >= 0))
    return x


def is_regular(x) -> bool:
    """Whether NumPy makes an array of it: nested lists must have rows of one length."""
    try:
        np.asarray(x)
    except ValueError:
        return False
    return True


def _all_entries(x, name, what, holds) -> None:
    """Raise at the first entry of an array of real numbers that a property does not hold for."""
    if not is_regular(x):
        raise InputError(
            f"Argument {name} must be an array of numbers, but its rows have different lengths."
        )
    array = np.asarray(x)
    if array.dtype.kind not in "fiu":
        raise InputError(f"Argument {name} must be {what}, but is {x!r}, which is no real number.")
    bad = np.argwhere(~holds(array))
    if len(bad):  # one index of no entries for a number: not `size`
        index = tuple(int(i) for i in bad[0])
        where = f"entry {list(index)} is" if index else "is"
        raise InputError(f"Argument {name} must be {what}, but {where} {array[index]}.")
    if array.ndim and not array.size:
        raise InputError(f"Argument {name} must hold at least one number, but is empty.")


def count(x, name: str, *, least: int = 1) -> int:
    """Raise unless `x` is an integer of at least `least`; return it as an `int`."""
    if isinstance(x, bool) or not isinstance(x, int | np.integer) or int(x) < least:
        raise InputError(f"Argument {name} must be an integer of at least {least}, but is {x!r}.")
    return int(x)


def interval(t0, t1) -> None:
    """Raise unless `t0 < t1`, both finite."""
    if is_tracer(t0) or is_tracer(t1):
        return
    for value, name in ((t0, "t0"), (t1, "t1")):
        array = np.asarray(value)
        if array.ndim or array.dtype.kind not in "fiu":
            raise InputError(f"Argument {name} must be a number, but is {value!r}.")
    if not (np.isfinite(t0) and np.isfinite(t1) and t0 < t1):
        raise InputError(
            f"Argument t1 must be later than t0, but t0 = {t0} and t1 = {t1}; to run a flow "
            "backwards keep t0 < t1 and pass `reverse=True`."
        )


def resolved_interval(t0, t1, num_steps: int, dtype) -> None:
    """Raise where steps from `t0` to `t1` are too short for times of a dtype to tell apart."""
    if is_tracer(t0) or is_tracer(t1):
        return
    spacing = np.finfo(dtype).eps * max(abs(float(t0)), abs(float(t1)))
    if float(t1) - float(t0) < 8 * num_steps * spacing:
        raise InputError(
            f"Arguments t0 = {t0} and t1 = {t1} are so close that {num_steps} steps between them "
            f"fall below the resolution of {np.dtype(dtype)}; shift the times towards zero or work "
            "in float64."
        )


def as_points(x, name: str, *, least: int = 1, any_dimension: bool = False) -> Any:
    """Convert to a `[n, d]` array of finite points.

    Raises:
        InputError: not two-dimensional, empty, fewer than `least` points, not finite, or `d`
            outside 1 to 3 (which is most often a transposed array) unless `any_dimension`.
    """
    array = as_float_array(x, name)
    if array.ndim != 2:
        raise InputError(
            f"Argument {name} must have shape [n, d] (one row per point), but has shape "
            f"{list(array.shape)}."
        )
    n, d = array.shape
    if n < least or d == 0:
        raise InputError(
            f"Argument {name} must hold at least {least} point{'s' if least > 1 else ''}, but has "
            f"shape {list(array.shape)}."
        )
    if not any_dimension and d > 3:
        hint = f"; transpose it to [{d}, {n}]?" if n <= 3 else ""
        raise InputError(
            f"Argument {name} must hold points of 1, 2 or 3 coordinates, but has shape "
            f"{list(array.shape)}{hint}"
        )
    finite(array, name)
    return array


def same_dimension(x, y, x_name: str, y_name: str) -> None:
    """Raise unless two point arrays have the same number of coordinates."""
    if x.shape[1] != y.shape[1]:
        raise InputError(
            f"Arguments {x_name} and {y_name} must have the same dimension, but {x_name} is "
            f"{x.shape[1]}-D and {y_name} is {y.shape[1]}-D."
        )


def same_count(x, y, x_name: str, y_name: str) -> None:
    """Raise unless two point arrays have the same number of points."""
    if x.shape[0] != y.shape[0]:
        raise InputError(
            f"Arguments {x_name} and {y_name} must correspond point by point, but hold "
            f"{x.shape[0]} and {y.shape[0]} points; for unlabelled points use the MMD or Sinkhorn "
            "fidelity."
        )


def distinct(x, name: str) -> None:
    """Raise if two points coincide: the kernel matrix is then singular."""
    if is_tracer(x):
        return
    array = np.asarray(x)
    _, inverse, counts = np.unique(array, axis=0, return_inverse=True, return_counts=True)
    repeated = np.flatnonzero(counts > 1)
    if repeated.size:
        first = np.flatnonzero(inverse.reshape(-1) == repeated[0])[:2]
        raise InputError(
            f"Argument {name} must hold distinct points, but points {first[0]} and {first[1]} "
            f"coincide at {array[first[0]].tolist()} ({int(np.sum(counts[repeated] - 1))} "
            "duplicates in all); merge them first."
        )


def installed_memory() -> int:
    """Bytes of memory that this machine has."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def memory(num_bytes: int, what: str, mend: str) -> None:
    """Raise if something would not fit into the memory of this machine, before it is allocated."""
    installed = installed_memory()
    if num_bytes > installed:
        raise InputError(
            f"{what} would need about {num_bytes / 1e9:.3g} GB ({num_bytes} bytes), but this "
            f"machine has {installed / 1e9:.3g} GB; {mend}."
        )


def near_duplicates(
    kernel,
    points,
    name: str,
    *,
    size: float = np.inf,
    mend: str = "merge them",
    largest: int = 2000,
) -> None:
    """Warn (raise in float32) when points nearly coincide, so that no kernel tells them apart.

    Nearly means closer than a hundredth of the kernel's scale (and of `size`, for points that may
    move rigidly), where the condition number of the kernel matrix is also beyond what the dtype can
    hold. A finely sampled curve is not meant: its
    matrix is badly conditioned too, but neighbours simply move together. Beyond `largest` points
    the condition number is that of the closest pair alone.
    """
    if points.shape[0] < 2:
        return
    host = np.asarray(points, np.float64)
    gaps, partners = (np.asarray(found)[:, 1] for found in KDTree(host).query(host, k=2))
    first = int(np.argmin(gaps))
    first, second = sorted((first, int(partners[first])))
    gap, scale = float(gaps[first]), float(kernel.finest_scale)
    if gap >= 1e-2 * min(scale, size):
        return
    condition = _condition(kernel, host if len(host) <= largest else host[[first, second]])
    single = points.dtype == np.float32
    if condition <= (1e5 if single else 1e12):
        return
    text = (
        f"Argument {name} has nearly coinciding points: {first} and {second} are {gap:.2g} apart, "
        f"the kernel scale is {scale:.2g} and the condition number of the kernel matrix is "
        f"{condition:.1e}; {mend}"
    )
    if single:
        raise InputError(f"{text}, or work in float64.")
    warnings.warn(f"{text}, or expect large momenta.", stacklevel=4)


def _condition(kernel, points: np.ndarray) -> float:
    """Condition number of a kernel matrix, in float64 whatever JAX runs in."""
    with jax.enable_x64(True):
        values = np.linalg.eigvalsh(np.asarray(kernel(jnp.asarray(points), jnp.asarray(points))))
    # what round-off leaves of the smallest eigenvalue may be negative
    return float(values[-1] / max(values[0], np.finfo(np.float64).eps * values[-1]))


def collisions(kernel) -> None:
    """Warn of a kernel that is not C^2: the geodesics of its points may run into collisions.

    Landmarks may then meet in finite time and at finite cost, and what is found need be no
    diffeomorphism.
    """
    if not kernel.smoothness < 2:
        return
    warnings.warn(
        f"The kernel {type(kernel).__name__} is not C^2 (smoothness {kernel.smoothness:g}), so "
        "points may collide along a geodesic; take `Matern32` or a smoother kernel.",
        stacklevel=4,
    )
