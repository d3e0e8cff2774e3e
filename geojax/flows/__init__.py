"""Flows: time-dependent velocities integrated along time, and the path that comes out."""

from geojax._core.results import RESULTS as RESULTS
from geojax.flows.integrate import integrate as integrate
from geojax.flows.jacobians import (
    jacobian_determinants as jacobian_determinants,
    jacobians as jacobians,
)
from geojax.flows.path import (
    AbstractFieldCost as AbstractFieldCost,
    Path as Path,
    kinetic_energy as kinetic_energy,
    speed as speed,
)
from geojax.flows.solvers import ImplicitMidpoint as ImplicitMidpoint, MuntheKaas as MuntheKaas
