"""Networks: flax nnx modules that are also paths from their input to their answer."""

from geojax.networks.base import (
    ACTIVATIONS as ACTIVATIONS,
    AbstractNetwork as AbstractNetwork,
    Layers as Layers,
)
from geojax.networks.continuous import (
    ContinuousClassifier as ContinuousClassifier,
    VelocityNetwork as VelocityNetwork,
)
from geojax.networks.convolutional import (
    ConvolutionalLift as ConvolutionalLift,
    ConvolutionalNetwork as ConvolutionalNetwork,
    ConvolutionalVelocity as ConvolutionalVelocity,
    MeanReadout as MeanReadout,
)
from geojax.networks.convolve import convolve as convolve
from geojax.networks.couplings import RESPONSES as RESPONSES, Convolution as Convolution
from geojax.networks.dense import (
    PlainNetwork as PlainNetwork,
    ResidualNetwork as ResidualNetwork,
)
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
from geojax.networks.fractal import FractalNetwork as FractalNetwork
from geojax.networks.recurrent import (
    RecurrentNetwork as RecurrentNetwork,
    RecursiveNetwork as RecursiveNetwork,
)
from geojax.networks.shooting import (
    MomentumNetwork as MomentumNetwork,
    ShootingNetwork as ShootingNetwork,
)
