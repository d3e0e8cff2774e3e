"""Complexity: what a network is worth as a curve, measured on any path or network."""

from geojax.complexity.criticality import reinitialised as reinitialised
from geojax.complexity.defect import geodesic_defect as geodesic_defect
from geojax.complexity.fisher import (
    fisher_distance as fisher_distance,
    fisher_length as fisher_length,
    fisher_norm as fisher_norm,
)
from geojax.complexity.measure import measure as measure
from geojax.complexity.measures import Measures as Measures
