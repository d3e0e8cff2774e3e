"""Shapes and how far apart they are."""

from geojax.shapes.base import AbstractFidelity as AbstractFidelity
from geojax.shapes.combined import Combined as Combined
from geojax.shapes.image_fidelities import (
    LNCC as LNCC,
    NMI as NMI,
    SSD as SSD,
    AbstractImageFidelity as AbstractImageFidelity,
    SoftDice as SoftDice,
)
from geojax.shapes.images import Image as Image
from geojax.shapes.landmarks import Landmarks as Landmarks
from geojax.shapes.meshes import Curve as Curve, Surface as Surface
from geojax.shapes.mmd import MMD as MMD
from geojax.shapes.normal_cycles import NormalCycles as NormalCycles
from geojax.shapes.partial import PartialVarifold as PartialVarifold
from geojax.shapes.sinkhorn import Sinkhorn as Sinkhorn
from geojax.shapes.varifolds import Currents as Currents, Varifold as Varifold
