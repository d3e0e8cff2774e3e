"""Metrics: what a velocity costs."""

from geojax.metrics.base import AbstractMetric as AbstractMetric
from geojax.metrics.entrywise import (
    Entrywise as Entrywise,
    Isotropic as Isotropic,
    locality as locality,
)
from geojax.metrics.grids import (
    AbstractGridMetric as AbstractGridMetric,
    GaussianGrid as GaussianGrid,
    Sobolev as Sobolev,
)
from geojax.metrics.pauli import PauliPenalty as PauliPenalty
from geojax.metrics.rkhs import RKHS as RKHS
