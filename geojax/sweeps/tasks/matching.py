"""Sweeps of landmark matches: over kernels and weights, and over pairs of files."""

import functools
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from geojax import io, kernels
from geojax._core import checks
from geojax._core.errors import InputError
from geojax._core.roles import Static, Traced
from geojax.matching import match
from geojax.matching.match import pose
from geojax.sweeps.tasks.base import AbstractTask, Outcome, Program, hash_of, stamp

KERNELS = {
    "gaussian": kernels.Gaussian,
    "cauchy": kernels.Cauchy,
    "matern32": kernels.Matern32,
    "matern52": kernels.Matern52,
}


@dataclass(frozen=True, kw_only=True)
class MatchConfig:
    """Settings of a match of corresponding points; see `match`.

    Attributes:
        source, target: files of as many points, in corresponding order.
        scale: of the kernel, in the unit of the points; a fifth of the source's diagonal if 0.
        weight: price of a unit of fidelity; 1000 times its unit if 0.
        kernel: gaussian, cauchy, matern32 or matern52.
        tolerance: relative gradient at which to stop.
        max_iterations: bound on the iterations.
        num_steps: steps of the shooting.
    """

    source: Traced[str] = ""
    target: Traced[str] = ""
    scale: Traced[float] = 0.0
    weight: Traced[float] = 0.0
    kernel: Static[str] = "gaussian"
    tolerance: Static[float] = 1e-3
    max_iterations: Static[int] = 200
    num_steps: Static[int] = 5

    def __post_init__(self):
        for name in ("source", "target"):
            if not getattr(self, name):
                raise InputError(f"{name}: is not given; name a file of points")
        for name in ("scale", "weight"):
            checks.non_negative(getattr(self, name), name)
        checks.positive(self.tolerance, "tolerance")
        for name in ("max_iterations", "num_steps"):
            checks.count(getattr(self, name), name)
        if self.kernel not in KERNELS:
            mend = checks.nearest_name(self.kernel, KERNELS)
            raise InputError(f"kernel: {self.kernel!r} is unknown{mend}; use {', '.join(KERNELS)}")


@dataclass(frozen=True, kw_only=True)
class MatchTask(AbstractTask):
    """Match corresponding points at each point of the sweep.

    Metrics: "energy" and "length" of the deformation, "residual" (root mean square distance to the
    target, in the unit of the points), "objective", "num_iterations". Pairs with as many points
    are lanes of one program.
    """

    config: ClassVar[type] = MatchConfig
    objective: ClassVar[str] = "residual"

    def lane(self, config: MatchConfig) -> PyTree:
        source, target = (_points(stamp(getattr(config, name))) for name in ("source", "target"))
        if source.shape != target.shape:
            raise InputError(
                f"{config.source} and {config.target}: have {list(source.shape)} and "
                f"{list(target.shape)} points and coordinates; landmarks correspond one by one"
            )
        real = jnp.zeros(()).dtype
        source, target = source.astype(real), target.astype(real)
        # checks the pair, and reads the defaults off it, as for a match alone
        problem, _, _ = pose(
            source,
            target,
            metric=KERNELS[config.kernel](config.scale) if config.scale else None,
            weight=config.weight or None,
        )
        scale = jax.tree.leaves(problem.metric.kernel)[0]
        numbers = {"scale": np.asarray(scale, real), "weight": np.asarray(problem.weight, real)}
        return {"source": source, "target": target, **numbers}

    def variant(self, config: MatchConfig) -> dict[str, Any]:
        return {"shape": list(_points(stamp(config.source)).shape)}

    def program(self, config: MatchConfig) -> Program:
        kernel = KERNELS[config.kernel]

        def finish(shared, lane, state):
            found = match(
                lane["source"],
                lane["target"],
                metric=kernel(lane["scale"]),
                weight=lane["weight"],
                tolerance=config.tolerance,
                max_iterations=config.max_iterations,
                num_steps=config.num_steps,
                quality=False,
                throw=False,
            )
            metrics = {
                "residual": found.residual,
                "energy": found.energy,
                "length": found.path.length,
                "objective": found.objective,
                "num_iterations": found.num_iterations,
            }
            return Outcome(metrics, {}, found.result)

        def start(shared, lane, key):
            return ()

        return Program((), start, lambda shared, lane, state: state, finish)

    def fingerprint(self, config: MatchConfig) -> dict[str, Any]:
        return {name: hash_of(getattr(config, name)) for name in ("source", "target")}


@functools.lru_cache(maxsize=4096)
def _points(mark: tuple[str, int, int]) -> np.ndarray:
    return np.asarray(io.read_points(mark[0]).points)
