"""Fields: where the velocity comes from."""

from geojax.fields.base import AbstractField as AbstractField, SumOf as SumOf
from geojax.fields.control_points import ControlPoints as ControlPoints
from geojax.fields.neural import Neural as Neural
from geojax.fields.piecewise import (
    PiecewiseConstant as PiecewiseConstant,
    Stationary as Stationary,
)
