"""Shapes and how far apart they are."""

from geojax.shapes.base import AbstractFidelity as AbstractFidelity
from geojax.shapes.landmarks import Landmarks as Landmarks
from geojax.shapes.mmd import MMD as MMD
from geojax.shapes.sinkhorn import Sinkhorn as Sinkhorn
