"""geojax: networks, deformations and circuits as priced curves in groups of transformations.

Five nouns (metric, action, field, path, fidelity) live in subpackages: `geojax.metrics.RKHS`,
`geojax.actions.Points`, `geojax.fields.Neural`, `geojax.kernels.Gaussian`, and so on. The verbs
over them are names of `geojax` itself: `geojax.integrate`, `geojax.shoot`, `geojax.match`.

Everything is loaded on first use, so that importing geojax costs nothing: the command line
answers `--help` before JAX is needed.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    # What type checkers and editors read. A test holds it to the two tables below.
    from geojax import (
        actions as actions,
        complexity as complexity,
        fields as fields,
        flows as flows,
        geodesics as geodesics,
        io as io,
        kernels as kernels,
        matching as matching,
        metrics as metrics,
        networks as networks,
        quantum as quantum,
        reports as reports,
        shapes as shapes,
        sweeps as sweeps,
        training as training,
        viz as viz,
    )
    from geojax.complexity import measure as measure
    from geojax.flows import integrate as integrate
    from geojax.geodesics import (
        distance as distance,
        jacobi_field as jacobi_field,
        log as log,
        mean as mean,
        parallel_transport as parallel_transport,
        ricci_curvature as ricci_curvature,
        sectional_curvature as sectional_curvature,
        shoot as shoot,
        shoot_image as shoot_image,
        tangent_pca as tangent_pca,
    )
    from geojax.matching import (
        atlas as atlas,
        atlas_images as atlas_images,
        load_image_match as load_image_match,
        load_match as load_match,
        match as match,
        match_images as match_images,
        match_many as match_many,
        match_many_images as match_many_images,
        regress as regress,
        regress_images as regress_images,
        transport_match as transport_match,
    )
    from geojax.sweeps import sweep as sweep
    from geojax.training import evaluate as evaluate, fit as fit, predict as predict

    __version__: str

SUBPACKAGES = frozenset(
    {
        "actions",
        "complexity",
        "fields",
        "flows",
        "geodesics",
        "io",
        "kernels",
        "matching",
        "metrics",
        "networks",
        "quantum",
        "reports",
        "shapes",
        "sweeps",
        "training",
        "viz",
    }
)

# Public verb -> the subpackage that defines it.
VERBS = {
    "atlas": "matching",
    "atlas_images": "matching",
    "distance": "geodesics",
    "evaluate": "training",
    "fit": "training",
    "integrate": "flows",
    "jacobi_field": "geodesics",
    "load_image_match": "matching",
    "load_match": "matching",
    "log": "geodesics",
    "match": "matching",
    "match_images": "matching",
    "match_many": "matching",
    "match_many_images": "matching",
    "mean": "geodesics",
    "measure": "complexity",
    "parallel_transport": "geodesics",
    "predict": "training",
    "regress": "matching",
    "regress_images": "matching",
    "ricci_curvature": "geodesics",
    "sectional_curvature": "geodesics",
    "shoot": "geodesics",
    "shoot_image": "geodesics",
    "sweep": "sweeps",
    "tangent_pca": "geodesics",
    "transport_match": "matching",
}


def __getattr__(name: str) -> Any:
    """Load a public name on first use."""
    if name == "__version__":
        from importlib.metadata import version

        value: Any = version("geojax-engine")
    elif name in VERBS:
        value = getattr(importlib.import_module(f"geojax.{VERBS[name]}"), name)
    elif name in SUBPACKAGES:
        value = importlib.import_module(f"geojax.{name}")
    else:
        raise AttributeError(f"module 'geojax' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Public names, loaded or not."""
    return sorted({"__version__", *SUBPACKAGES, *VERBS})
