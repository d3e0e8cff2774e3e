"""Two diffrax solvers that keep what geometry promises.

`MuntheKaas` keeps a path on its group; `ImplicitMidpoint` keeps quadratic invariants and is
symplectic for every Hamiltonian. Both are ordinary diffrax solvers.
"""

from collections.abc import Callable
from typing import Any, ClassVar

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import optimistix as optx
from jaxtyping import PyTree

from geojax._core import trees
from geojax._core.errors import InputError
from geojax._core.linalg import dagger
from geojax.actions import AbstractGroup
from geojax.flows.runge_kutta import explicit_step, has_tableau


class Measured(eqx.Module):
    """What moves, with the costs that are summed up along its way in the same solve."""

    state: PyTree
    costs: PyTree


class LieTerm(diffrax.AbstractTerm):
    """`dX/dt = A(t, X) X` on a matrix group, with a costate carried along if there is one.

    Any diffrax solver integrates it like an `ODETerm`; `MuntheKaas` uses the group.

    Args:
        group: the action.
        velocity: `(t, y) -> velocity`, where y is the state or the pair (state, costate).
        prices: `dy/dt -> rates of the costs`; then what is integrated is `Measured(y, costs)`.
    """

    group: AbstractGroup
    velocity: Callable
    prices: Callable | None = None

    def vf(self, t, y, args):
        if self.prices is None:
            return self.infinitesimal(self.velocity(t, y), y)
        rate = self.infinitesimal(self.velocity(t, y.state), y.state)
        return Measured(rate, self.prices(rate))

    def contr(self, t0, t1, **kwargs):
        return t1 - t0

    def prod(self, vf, control):
        return trees.scale(vf, control)

    def infinitesimal(self, velocity, y):
        """Derivative of y under a velocity: A X, and -A^H P for a costate."""
        generator = self.group.generator(velocity)
        if isinstance(y, tuple):
            return generator @ y[0], -dagger(generator) @ y[1]
        return generator @ y

    def move(self, velocity, y):
        """y moved for unit time by a constant velocity: exp(A) X, and exp(-A^H) P."""
        element = self.group.exponential(velocity)
        if isinstance(y, tuple):
            return element @ y[0], dagger(self.group.inverse(element)) @ y[1]
        return element @ y


class MuntheKaas(diffrax.AbstractAdaptiveSolver):
    """Runge-Kutta-Munthe-Kaas: any explicit diffrax solver, made to stay on a matrix group.

    Each step solves for the logarithm of the group element in the Lie algebra, with the inverse
    differential of the exponential truncated at order 8, and moves the state by its exponential.
    The order is that of the wrapped solver (up to 8); unitary states stay unitary to round-off.

    Args:
        solver: explicit Runge-Kutta solver; needs a `LieTerm`.

    Reference: `[munthekaas1999high]`.
    """

    solver: Any = diffrax.Dopri8()
    term_structure: ClassVar = LieTerm
    interpolation_cls: ClassVar = diffrax.LocalLinearInterpolation

    def __check_init__(self):
        if not has_tableau(self.solver):
            raise InputError(
                f"Argument solver must be an explicit Runge-Kutta method, but is {self.solver!r}."
            )

    def order(self, terms):
        return self.solver.order(terms)

    def init(self, terms, t0, t1, y0, args):
        return None

    def step(self, terms, t0, t1, y0, args, solver_state, made_jump):
        term, direction = _unwrapped(terms)
        prices = term.prices
        x0 = y0 if prices is None else y0.state

        def rates(t, x):
            """Velocity and rates of the costs at a state."""
            velocity = term.velocity(t * direction, x)
            costs = None if prices is None else prices(term.infinitesimal(velocity, x))
            return trees.scale((velocity, costs), direction)

        def algebra_field(t, y):
            omega, _ = y
            velocity, costs = rates(t, term.move(omega, x0))
            return _inverse_dexp(term.group.bracket, omega, velocity), costs

        start, end = jnp.asarray(t0), jnp.asarray(t1)
        first = rates(start, x0)
        origin = jax.tree.map(jnp.zeros_like, first)
        (omega, costs), (error, costs_error), _ = explicit_step(
            self.solver.tableau, algebra_field, start, end, origin, first
        )
        y1 = term.move(omega, x0)
        y_error = term.infinitesimal(error, y1)
        if prices is not None:
            y1 = Measured(y1, trees.add(y0.costs, costs))
            y_error = Measured(y_error, costs_error)
        return y1, y_error, dict(y0=y0, y1=y1), None, diffrax.RESULTS.successful

    def func(self, terms, t0, y0, args):
        return terms.vf(t0, y0, args)


def _unwrapped(term):
    """A `LieTerm` and the direction of time in which `diffeqsolve` wraps it."""
    direction = 1
    while not isinstance(term, LieTerm):
        term, direction = term.term, direction * term.direction
    return term, direction


def _inverse_dexp(bracket, omega, velocity):
    """`sum_k B_k / k! ad_omega^k velocity` up to order 6 (the odd terms beyond 1 vanish)."""
    total = velocity
    nested = bracket(omega, velocity)
    total = total - 0.5 * nested
    for coefficient in (1 / 12, -1 / 720, 1 / 30240):
        nested = bracket(omega, nested)
        total = total + coefficient * nested
        nested = bracket(omega, nested)
    return total


class ImplicitMidpoint(diffrax.AbstractSolver):
    """`y1 = y0 + h f((y0 + y1) / 2)`: order 2, time-reversible, symplectic.

    Landmark Hamiltonians do not split into kinetic and potential energy, so an explicit leapfrog
    is not symplectic for them; this is. Linear and quadratic invariants are kept to the
    tolerance of the inner solve.

    Args:
        tolerance: of the fixed-point iteration; a few units of round-off by default.
        max_iterations: bound on it; the solve fails with a result code beyond.
    """

    tolerance: float | None = eqx.field(static=True, default=None)
    max_iterations: int = eqx.field(static=True, default=100)
    term_structure: ClassVar = diffrax.AbstractTerm
    interpolation_cls: ClassVar = diffrax.LocalLinearInterpolation

    def order(self, terms):
        return 2

    def init(self, terms, t0, t1, y0, args):
        return None

    def step(self, terms, t0, t1, y0, args, solver_state, made_jump):
        control = terms.contr(t0, t1)
        middle = t0 + 0.5 * (t1 - t0)

        def increment(k: PyTree, _):
            return terms.vf_prod(middle, trees.add(y0, trees.scale(k, 0.5)), args, control)

        dtype = jax.tree.leaves(y0)[0].dtype
        tolerance = 4 * float(jnp.finfo(dtype).eps) if self.tolerance is None else self.tolerance
        solution = optx.fixed_point(
            increment,
            optx.FixedPointIteration(rtol=tolerance, atol=tolerance),
            terms.vf_prod(t0, y0, args, control),
            max_steps=self.max_iterations,
            throw=False,
        )
        y1 = trees.add(y0, solution.value)
        return y1, None, dict(y0=y0, y1=y1), None, diffrax.RESULTS.promote(solution.result)

    def func(self, terms, t0, y0, args):
        return terms.vf(t0, y0, args)
