"""Quantum computation as geometry: complexity, gates, controls, circuits and their synthesis."""

from geojax.quantum.circuits import Circuit as Circuit, Operation as Operation
from geojax.quantum.conjugate import (
    ConjugatePoints as ConjugatePoints,
    conjugate_points as conjugate_points,
)
from geojax.quantum.controls import Controls as Controls, load_controls as load_controls
from geojax.quantum.cut import cut_time as cut_time
from geojax.quantum.direct import (
    ShortestControls as ShortestControls,
    shortest_controls as shortest_controls,
)
from geojax.quantum.gates import as_target as as_target, gate as gate
from geojax.quantum.nielsen import (
    NielsenComplexity as NielsenComplexity,
    isotropic_distance as isotropic_distance,
    nielsen_complexity as nielsen_complexity,
)
from geojax.quantum.products import ProductFormula as ProductFormula, trotterise as trotterise
from geojax.quantum.pulses import (
    fourier_pulses as fourier_pulses,
    spline_pulses as spline_pulses,
)
from geojax.quantum.scrambling import (
    layer_sensitivity as layer_sensitivity,
    random_controls as random_controls,
)
from geojax.quantum.strings import local_strings as local_strings
from geojax.quantum.synthesis import Synthesis as Synthesis, synthesise as synthesise
