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
    ConvolutionalNetwork as ConvolutionalNetwork,
    ConvolutionalVelocity as ConvolutionalVelocity,
)
from geojax.networks.dense import (
    PlainNetwork as PlainNetwork,
    ResidualNetwork as ResidualNetwork,
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
