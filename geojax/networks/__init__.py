"""Networks: flax nnx modules that are also paths from their input to their answer."""

from geojax.networks.continuous import (
    ACTIVATIONS as ACTIVATIONS,
    ContinuousClassifier as ContinuousClassifier,
    VelocityNetwork as VelocityNetwork,
)
from geojax.networks.couplings import RESPONSES as RESPONSES, Convolution as Convolution
from geojax.networks.density import (
    DensityFlow as DensityFlow,
    PotentialNetwork as PotentialNetwork,
    TransportGap as TransportGap,
    transport_gap as transport_gap,
)
from geojax.networks.equilibrium import (
    EquilibriumNetwork as EquilibriumNetwork,
    Settled as Settled,
)
