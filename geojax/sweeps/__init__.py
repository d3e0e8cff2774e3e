"""Sweeps: many points of a task as lanes of compiled programs, on one machine or many."""

from geojax._core.roles import Static as Static, Traced as Traced
from geojax.sweeps.columns import Columns as Columns, columns_of as columns_of
from geojax.sweeps.definition import (
    Halving as Halving,
    Proposals as Proposals,
    Sweep as Sweep,
    read_sweep as read_sweep,
)
from geojax.sweeps.export import to_mlflow as to_mlflow, to_tensorboard as to_tensorboard
from geojax.sweeps.head import Preempted as Preempted, sweep as sweep
from geojax.sweeps.launch import AbstractLauncher as AbstractLauncher, InProcess as InProcess
from geojax.sweeps.outlook import SweepPlan as SweepPlan, plan as plan
from geojax.sweeps.processes import Processes as Processes
from geojax.sweeps.ray import Ray as Ray
from geojax.sweeps.results import Results as Results
from geojax.sweeps.slurm import Slurm as Slurm
from geojax.sweeps.space import Range as Range
from geojax.sweeps.tasks import (
    AbstractTask as AbstractTask,
    CircuitTask as CircuitTask,
    DensityTask as DensityTask,
    FunctionTask as FunctionTask,
    MatchTask as MatchTask,
    Outcome as Outcome,
    Program as Program,
    TrainTask as TrainTask,
)
