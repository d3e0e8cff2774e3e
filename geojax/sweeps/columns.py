"""Which columns of a sweep's table are what: fields, metrics and curves."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from geojax.sweeps.definition import Sweep
from geojax.sweeps.results import Results
from geojax.sweeps.space import Range
from geojax.sweeps.tasks.base import RESERVED

# A list of numbers that span this ratio is meant to be read by ratios.
WIDE = 100.0


class Columns(NamedTuple):
    """Columns of a table of results, beside those of every sweep.

    Attributes:
        fields: of the configuration.
        swept: field that differs between points -> "linear", "log" or "category".
        metrics: numbers that a trial came to.
        curves: lists of numbers.
    """

    fields: tuple[str, ...]
    swept: Mapping[str, str]
    metrics: tuple[str, ...]
    curves: tuple[str, ...]


def columns_of(results: Results) -> Columns:
    """What the columns of a table are, the objective first among the metrics.

    Args:
        results: of the sweep, as far as they have come.
    """
    sweep = results.sweep
    fields = tuple(sweep.task.hints())
    kinds = {
        row["column_name"]: row["column_type"]
        for row in results.table("DESCRIBE trials")
        if row["column_name"] not in fields and row["column_name"] not in RESERVED
    }
    curves = tuple(name for name, kind in kinds.items() if kind.endswith("[]"))
    metrics = [name for name in kinds if name not in curves]
    metrics.sort(key=lambda name: name != sweep.objective)
    return Columns(fields, scales_of(sweep), tuple(metrics), curves)


def scales_of(sweep: Sweep) -> dict[str, str]:
    """The scale by which the values of each swept field are compared.

    Args:
        sweep: the definition.

    Example:
        >>> from geojax.sweeps import DensityTask, Sweep
        >>> from geojax.sweeps.columns import scales_of
        >>> axes = {"learning_rate": [1e-4, 1e-2], "seed": [0, 1]}
        >>> scales_of(Sweep(task=DensityTask(), axes=axes))
        {'learning_rate': 'log', 'seed': 'linear'}
    """
    axes: dict[str, Any] = dict(sweep.axes)
    for point in sweep.points:
        for name in point:
            if name not in axes:
                axes[name] = [other[name] for other in sweep.points if name in other]
    return {
        name: axis.scale if isinstance(axis, Range) else _scale(axis) for name, axis in axes.items()
    }


def _scale(values: Any) -> str:
    if not all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
        return "category"
    low, high = min(values), max(values)
    return "log" if low > 0 and high / low >= WIDE else "linear"
