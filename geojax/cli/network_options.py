"""The options of the commands on networks; read to answer `--help`, like those beside them."""

from dataclasses import dataclass
from typing import Literal

import tyro

from geojax.cli.common_options import Common


@dataclass(frozen=True, kw_only=True)
class Train(Common):
    """Train a classifier whose path is short as well as right, and its plain twin.

    The network is a velocity field that moves an image to its class; the regulariser prices the
    energy of its path. Handwritten digits of scikit-learn, with a fixed split.
    """

    out: str
    """Folder for the results."""
    seeds: tuple[int, ...] = (0,)
    """One training (and one twin) for each seed."""
    energy_weight: float = 0.05
    """Price of the path's energy in the loss; 0 trains the plain network."""
    energy_warmup_epochs: int = 0
    """Epochs over which that price rises from nothing."""
    data: str | None = None
    """Samples to train on in place of the digits: npz with x and y, or csv with the class in the
    last column, of which a quarter of each class is kept for testing; or a folder with the files
    of MNIST, which have their own split."""
    no_twin: bool = False
    """Do not train the plain twin: the same network with weight zero."""
    epochs: int = 60
    """Passes over the training set."""
    learning_rate: float = 3e-3
    """Peak step size of the optimiser."""
    batch_size: int = 128
    """Samples in a batch."""
    widths: tuple[int, ...] = (128, 128)
    """Neurons of each hidden layer of the velocity."""
    activation: Literal["gelu", "silu", "softplus", "tanh"] = "silu"
    """Activation of the velocity."""
    num_steps: int = 4
    """Steps from input to answer while training."""
    warmup_epochs: int = 5
    """Epochs over which the step size rises to its peak."""
    weight_decay: float = 0.0
    """Weight decay of the optimiser."""
    clip_norm: float = 1.0
    """Largest norm of a gradient."""
    input_noise: float = 0.15
    """Standard deviation of the noise that is added to the inputs while training."""
    ema_decay: float = 0.0
    """Take the moving average of the parameters with this decay per step for the model."""
    validation_fraction: float = 0.0
    """Part of the training samples that is kept out, to choose the model of the best epoch."""
    patience: int = 0
    """Stop after so many epochs without a lower validation loss; 0 never stops."""
    checkpoint_every: int = 5
    """Epochs from one checkpoint to the next, from the last of which the same command goes on; 0
    for none."""
    config: str | None = None
    """TOML file with these options; what the command line gives goes first."""


@dataclass(frozen=True, kw_only=True)
class Measure(Common):
    """Measure the networks that `geojax train` left in RUN, layer by layer, on its test samples.

    Length and energy of the paths, how nearly the layers are the identity and commute, the geodesic
    defect, Jacobians, sensitivity, and what becomes of the answers when layers are deleted or
    swapped. The folder --out then holds report.html and result.json.
    """

    run: tyro.conf.Positional[str]
    """Folder of the training."""
    samples: int = 200
    """Test samples that are measured, evenly chosen; all if there are fewer."""
    jacobians: int = 8
    """Samples of which Jacobians are taken."""
    out: str | None = None
    """Folder for the results; a folder inside that of the training if not given."""
