"""Training: fit networks whose paths are short as well as right, and measure what came out."""

from geojax.training.config import TrainConfig as TrainConfig
from geojax.training.data import (
    Samples as Samples,
    Split as Split,
    load_digits_split as load_digits_split,
    load_idx_split as load_idx_split,
    load_samples as load_samples,
    stratified_split as stratified_split,
)
from geojax.training.density import (
    DensityFit as DensityFit,
    DensityMethod as DensityMethod,
    density_init as density_init,
    density_step as density_step,
    density_steps as density_steps,
    fit_density as fit_density,
)
from geojax.training.equilibrium import (
    EquilibriumFit as EquilibriumFit,
    EquilibriumMethod as EquilibriumMethod,
    equilibrium_accuracy as equilibrium_accuracy,
    equilibrium_epoch as equilibrium_epoch,
    equilibrium_init as equilibrium_init,
    equilibrium_step as equilibrium_step,
    fit_equilibrium as fit_equilibrium,
)
from geojax.training.estimators import (
    AbstractEstimator as AbstractEstimator,
    BackPropagation as BackPropagation,
    Holomorphic as Holomorphic,
    Implicit as Implicit,
    OneSided as OneSided,
    Symmetric as Symmetric,
    cosine as cosine,
)
from geojax.training.evaluate import (
    Evaluation as Evaluation,
    evaluate as evaluate,
    predict as predict,
    trajectories as trajectories,
)
from geojax.training.loop import Fit as Fit, fit as fit
from geojax.training.regularisers import (
    AbstractFieldRegulariser as AbstractFieldRegulariser,
    AbstractRegulariser as AbstractRegulariser,
    Divergence as Divergence,
    GeodesicDefect as GeodesicDefect,
    HamiltonJacobi as HamiltonJacobi,
    JacobianNorm as JacobianNorm,
    KineticEnergy as KineticEnergy,
    Mixture as Mixture,
    RKHSEnergy as RKHSEnergy,
    RunningCost as RunningCost,
    TaylorNorm as TaylorNorm,
)
from geojax.training.saving import load_model as load_model, save_model as save_model
from geojax.training.state import TrainState as TrainState, create_model as create_model
from geojax.training.toys import TOY_DENSITIES as TOY_DENSITIES, toy_samples as toy_samples
