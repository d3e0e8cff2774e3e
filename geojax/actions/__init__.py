"""Actions: how a velocity moves a state."""

from geojax.actions.base import AbstractAction as AbstractAction, AbstractGroup as AbstractGroup
from geojax.actions.grids import Densities as Densities, Images as Images
from geojax.actions.matrices import Matrices as Matrices, Rotations as Rotations
from geojax.actions.points import Points as Points
from geojax.actions.unitaries import Unitaries as Unitaries
