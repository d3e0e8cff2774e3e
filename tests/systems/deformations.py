"""Deformations with a given momentum, without a search."""

import diffrax
import equinox as eqx
import jax.numpy as jnp

from geojax._core.results import RESULTS
from geojax.matching import Match, Problem
from geojax.matching.problem import moved_source
from geojax.metrics import RKHS
from geojax.shapes import Landmarks


def shot(source, momentum, kernel, *, control_points=None, num_steps=10) -> Match:
    """The match whose momentum is given: its target is where that leads."""
    source = jnp.asarray(source)
    problem = Problem(
        metric=RKHS(kernel),
        fidelity=Landmarks(),
        weight=jnp.ones((), source.dtype),
        source=source,
        target=source,
        control_points=None if control_points is None else jnp.asarray(control_points),
        solver=diffrax.Tsit5(),
        num_steps=num_steps,
    )
    momentum = jnp.asarray(momentum)
    path = problem.shoot(momentum)
    zero = jnp.zeros((), source.dtype)
    return Match(
        problem=eqx.tree_at(lambda p: p.target, problem, moved_source(path)[-1]),
        momentum=momentum,
        path=path,
        objective=path.energy,
        energy=path.energy,
        residual=zero,
        gradient_norm=zero,
        history=path.energy[None],
        num_iterations=jnp.zeros((), int),
        result=RESULTS.successful,
    )
