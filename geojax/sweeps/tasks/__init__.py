"""What sweeps run: trainings, densities, matches, circuits, and functions of one's own."""

from geojax.sweeps.tasks.base import (
    AbstractTask as AbstractTask,
    FunctionTask as FunctionTask,
    Outcome as Outcome,
    Program as Program,
)
from geojax.sweeps.tasks.circuit import CircuitTask as CircuitTask
from geojax.sweeps.tasks.density import DensityTask as DensityTask
from geojax.sweeps.tasks.matching import MatchTask as MatchTask
from geojax.sweeps.tasks.training import TrainTask as TrainTask

# The names by which a definition calls them.
TASKS: dict[str, type[AbstractTask]] = {
    "train": TrainTask,
    "density": DensityTask,
    "match": MatchTask,
    "circuit": CircuitTask,
}
