"""Complexity: what a network is worth as a curve, measured on any path or network."""

from geojax.complexity.defect import geodesic_defect as geodesic_defect
from geojax.complexity.measure import measure as measure
from geojax.complexity.measures import Measures as Measures
