"""The result of a match: a deformation of space, what it cost and how good it is."""

import warnings
from pathlib import Path as FilePath
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from geojax._core import checks
from geojax._core.buckets import bucket, filled
from geojax._core.errors import InputError
from geojax._core.results import RESULTS, is_traced, result_name, result_named
from geojax.actions import Points
from geojax.flows import Path, jacobian_determinants
from geojax.geodesics import shoot
from geojax.io import load_arrays, save_arrays
from geojax.kernels import describe, from_description
from geojax.matching.description import read_back, write_down
from geojax.matching.problem import Problem, moved_source
from geojax.metrics import RKHS

# Points of the largest grid on which folds are counted, and of one piece of it.
_LARGEST_GRID = 1_000_000
_PIECE = 2048

_KIND, _VERSION = "geojax deformation", 2


class Match(eqx.Module):
    """A geodesic flow that carries a source to a target.

    Attributes:
        problem: what was solved (source, target, metric, fidelity, weight, ...).
        momentum: initial momentum, `[n, d]`, or `[c, d]` on control points.
        path: the geodesic; `path.states` are the momentum's points, `path.carried` the source
            where it is carried by control points.
        objective: energy plus weighted fidelity.
        energy: half the squared length of the path.
        residual: distance left between the carried source and the target, in the fidelity's own
            terms (root mean square for landmarks).
        gradient_norm: norm of the gradient, relative to that at zero momentum.
        history: objective before and after each iteration of all rounds, coarse to fine (NaN where
            unused; that of a coarse round is measured by its coarser fidelity).
        num_iterations: iterations of all rounds.
        result: result code.
        folds: number of points of a grid finer than a quarter of the kernel scale at which the
            Jacobian determinant is not positive; None if it was not computed.
        smallest_determinant: the smallest determinant on that grid.
        inverse_error: largest distance between a source point and its image, moved back.
    """

    problem: Problem
    momentum: Float[Array, "c d"]
    path: Path
    objective: Float[Array, ""]
    energy: Float[Array, ""]
    residual: Float[Array, ""]
    gradient_norm: Float[Array, ""]
    history: Float[Array, " k"]
    num_iterations: Int[Array, ""]
    result: RESULTS
    folds: int | None = None
    smallest_determinant: float | None = None
    inverse_error: float | None = None

    @property
    def moved(self) -> Float[Array, "n d"]:
        """The source at the end of the path."""
        return moved_source(self.path)[-1]

    @property
    def moved_shapes(self) -> Any:
        """The source at the end of the path, as what it was given as.

        An array of points, a `Curve` or a `Surface`, or a dictionary of such.
        """
        layout = self.problem.layout
        return self.moved if layout is None else layout.shapes(self.moved)

    def apply(self, points, *, inverse: bool = False) -> Float[Array, "m d"]:
        """Move any points by the deformation, or back by its inverse.

        The points travel with the geodesic in one solve, so forward and inverse undo each other
        to the accuracy of the steps.

        Args:
            points: `[m, d]`; may be outside the source.
            inverse: from target space back to source space.

        Raises:
            InputError: points of another dimension, or not finite.

        Gradient: forward and reverse, in the points and the match.
        """
        points = checks.as_points(points, "points")
        checks.same_dimension(points, self.problem.source, "points", "source")
        points, count = points.astype(self.problem.source.dtype), points.shape[0]
        metric, stepping = self.problem.metric, self.problem.stepping
        state, momentum = self._start(inverse)
        if checks.is_tracer(points) or is_traced(self):
            return _carry(metric, state, momentum, points, stepping, inverse=bool(inverse))
        # points and momenta in about the same number need no other program
        padded = filled(points, bucket(count), "edge")
        state, momentum = _padded(state, momentum)
        moved = _carry(metric, state, momentum, padded, stepping, inverse=bool(inverse))
        return jnp.asarray(np.asarray(moved)[:count])

    def _start(self, inverse: bool):
        """Points and their momenta at the end where carrying begins."""
        if not inverse:
            return self.problem.base, self.momentum
        return jax.tree.map(lambda x: x[-1], (self.path.states, self.path.costates))

    def determinants(self, points) -> Float[Array, " m"]:
        """Jacobian determinant of the deformation at points `[m, d]`."""
        points = checks.as_points(points, "points")
        checks.same_dimension(points, self.problem.source, "points", "source")
        state, momentum = self._start(inverse=False)
        stepping = self.problem.stepping
        return determinants_of(self.problem.metric, state, momentum, points, stepping)

    def with_quality(self) -> "Match":
        """The same match with its folds counted and its inverse consistency measured."""
        back = self.apply(self.moved, inverse=True)
        gaps = np.asarray(back) - np.asarray(self.problem.source)
        inverse_error = float(np.max(np.linalg.norm(gaps, axis=-1)))
        folds = smallest = None
        points = self._grid()
        if points is not None:
            determinants = np.asarray(self.determinants(points))
            # written so that a determinant that is not a number counts as a fold
            folds = int(np.sum(~(determinants > 0)))
            smallest = float(np.min(determinants))
        return eqx.tree_at(
            lambda m: (m.folds, m.smallest_determinant, m.inverse_error),
            self,
            (folds, smallest, inverse_error),
            is_leaf=lambda x: x is None,
        )

    def _grid(self) -> np.ndarray | None:
        """A grid over the moving points and one scale around, finer than a quarter of it."""
        scale = float(self.problem.metric.kernel.finest_scale)
        points = np.concatenate([np.asarray(self.problem.source), np.asarray(self.problem.base)])
        low, high = points.min(axis=0) - scale, points.max(axis=0) + scale
        counts = np.floor((high - low) / (0.24 * scale)).astype(int) + 2
        if np.prod(counts.astype(float)) > _LARGEST_GRID:
            warnings.warn(
                f"Folds are not counted: a grid finer than a quarter of the kernel scale "
                f"{scale:.3g} would have {' x '.join(map(str, counts))} points.",
                stacklevel=4,
            )
            return None
        axes = [np.linspace(a, b, k) for a, b, k in zip(low, high, counts, strict=True)]
        grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, points.shape[1])
        return grid.astype(points.dtype)

    def save(self, folder: str | FilePath) -> None:
        """Save the deformation as `deformation.npz` with a manifest of hashes.

        Raises:
            InputError: a kernel, fidelity, solver or step size controller that cannot be written
                down.
            StorageError: the folder cannot be written.
        """
        problem, path = self.problem, self.path
        if self.momentum.ndim != 2:
            raise InputError(
                f"A match of {self.momentum.shape[0]} lanes cannot be saved as one; pick a lane "
                "with `jax.tree.map(lambda x: x[i], match)`."
            )
        if problem.stepsize_controller is not None:
            raise InputError(
                "Argument stepsize_controller must be None (equal steps) for a match to be saved, "
                f"but is {problem.stepsize_controller!r}; match again with enough num_steps."
            )
        arrays = {
            "source": problem.source,
            "target": problem.target,
            "weight": problem.weight,
            **{name: getattr(self, name) for name in _NUMBERS},
            **{f"path_{name}": getattr(path, name) for name in _PATH_NUMBERS},
        }
        if problem.control_points is not None:
            arrays |= {"control_points": problem.control_points, "path_carried": path.carried}
        metadata = {
            "kernel": describe(problem.metric.kernel),
            "fidelity": write_down(problem.fidelity, "fidelity", arrays),
            "layout": write_down(problem.layout, "layout", arrays),
            "solver": _solver_name(problem.solver),
            "num_steps": problem.num_steps,
            "max_steps": problem.max_steps,
            "result": result_name(self.result),
            "path_result": result_name(path.result),
            "folds": self.folds,
            "smallest_determinant": _json(self.smallest_determinant),
            "inverse_error": _json(self.inverse_error),
        }
        save_arrays(folder, "deformation", arrays, metadata, kind=_KIND, version=_VERSION)


# What of a match and of its path is saved as it is.
_NUMBERS = (
    "momentum",
    "objective",
    "energy",
    "residual",
    "gradient_norm",
    "history",
    "num_iterations",
)
_PATH_NUMBERS = (
    "times",
    "states",
    "costates",
    "energy",
    "length",
    "energy_drift",
    "num_steps",
    "num_evaluations",
    "time_reached",
)


def load_match(folder: str | FilePath) -> Match:
    """Load a deformation that `Match.save` wrote; it moves points exactly as the saved one did.

    Raises:
        InputError: not a saved deformation.
        StorageError: a file is missing, or its hash does not fit.
    """
    arrays, metadata = load_arrays(folder, "deformation", kind=_KIND, version=_VERSION)
    try:
        return _rebuild(arrays, metadata)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{folder}: is not a deformation as geojax writes it ({error!r}); save it anew"
        ) from error


def _rebuild(arrays: dict[str, np.ndarray], metadata: dict[str, Any]) -> Match:
    def converted(name):
        array = arrays[name]
        # compared before the conversion: float64 data would be truncated without a word
        return checks.as_float_array(array, name) if array.dtype.kind == "f" else jnp.asarray(array)

    controlled = "control_points" in arrays
    problem = Problem(
        metric=RKHS(from_description(metadata["kernel"])),
        fidelity=read_back(metadata["fidelity"], converted),
        weight=converted("weight"),
        source=converted("source"),
        target=converted("target"),
        control_points=converted("control_points") if controlled else None,
        solver=_solver_from(metadata["solver"]),
        num_steps=checks.count(metadata["num_steps"], "num_steps"),
        max_steps=metadata["max_steps"],
        layout=read_back(metadata["layout"], converted),
    )
    numbers: dict[str, Any] = {name: converted(f"path_{name}") for name in _PATH_NUMBERS}
    path = Path(
        **numbers,
        carried=converted("path_carried") if controlled else None,
        result=result_named(metadata["path_result"]),
    )
    return Match(
        problem=problem,
        path=path,
        **{name: converted(name) for name in _NUMBERS},
        result=result_named(metadata["result"]),
        folds=metadata["folds"],
        smallest_determinant=_number(metadata["smallest_determinant"]),
        inverse_error=_number(metadata["inverse_error"]),
    )


def determinants_of(metric, state, momentum, points, stepping) -> Float[Array, " m"]:
    """Jacobian determinant at points `[m, d]` of the flow of a momentum, stepped as `shoot`."""
    points = points.astype(state.dtype)
    count, dimension = points.shape
    adjoint = stepping.get("adjoint")
    equal = stepping.get("stepsize_controller") is None and adjoint is None
    if not equal and not isinstance(adjoint, diffrax.DirectAdjoint):
        # the Jacobian is taken forward, which no other adjoint allows
        stepping = {**stepping, "adjoint": diffrax.ForwardMode()}
    if checks.is_tracer(points) or is_traced((metric, state, momentum)):
        return _determinants(metric, state, momentum, points, stepping)
    # pieces of one size, so that grids of all sizes share one program; larger ones for large
    # problems, because each piece shoots the geodesic anew
    piece = min(max(_PIECE, bucket(momentum.shape[0])), 8 * _PIECE)
    state, momentum = _padded(state, momentum)
    padded = np.pad(np.asarray(points), ((0, -count % piece), (0, 0)), mode="edge")
    values = [
        _determinants(metric, state, momentum, part, stepping)
        for part in padded.reshape(-1, piece, dimension)
    ]
    return jnp.asarray(np.concatenate([np.asarray(v) for v in values])[:count])


def _padded(state, momentum):
    """Points with momenta, filled up to a bucket by points without."""
    count = bucket(state.shape[0])
    return filled(state, count, "edge"), filled(momentum, count)


@eqx.filter_jit
def _carry(metric, state, momentum, points, stepping, *, inverse: bool):
    moved = shoot(
        metric,
        Points(),
        state,
        momentum,
        carried=points,
        reverse=inverse,
        save="end",
        throw=False,
        **stepping,
    )
    return moved.carried[-1]


@eqx.filter_jit
def _determinants(metric, state, momentum, points, stepping):
    def move(x):
        return _carry(metric, state, momentum, x, stepping, inverse=False)

    return jacobian_determinants(move, points)


def _json(number: float | None) -> float | str | None:
    """A number as JSON, which knows no NaN and no infinity."""
    return number if number is None or np.isfinite(number) else str(number)


def _number(value: float | str | None) -> float | None:
    return None if value is None else float(value)


def _solver_from(name: str) -> diffrax.AbstractSolver:
    family = getattr(diffrax, name, None)
    # the name comes out of a file, so it may be anything that diffrax holds
    if not (isinstance(family, type) and issubclass(family, diffrax.AbstractSolver)):
        raise ValueError(f"no solver {name!r}")
    return family()


def _solver_name(solver: diffrax.AbstractSolver) -> str:
    name = type(solver).__name__
    if getattr(diffrax, name, None) is not type(solver) or not _has_default_options(solver):
        raise InputError(
            f"Argument solver must be a diffrax solver with its default options to be saved, but "
            f"is {solver!r}."
        )
    return name


def _has_default_options(solver: diffrax.AbstractSolver) -> bool:
    try:
        return solver == type(solver)()
    except TypeError:  # an option without a default, such as the solver that a HalfSolver wraps
        return False
