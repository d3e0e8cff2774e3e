"""Newton's method at the minimum of a matching problem, and the derivatives of that minimum."""

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
from jaxtyping import Array, ArrayLike, Bool, Float, PyTree

from geojax._core.errors import InputError
from geojax.matching.coordinates import Searched
from geojax.matching.problem import Problem
from geojax.matching.solvers import Minimisable, State

# A linear solve that misses by more, relatively, is withheld.
_SOLVED = 1e-3
# Coordinates up to which the Hessian is written out: cheaper than conjugate gradients, and exact.
_LARGEST_DENSE = 512
# Most products with the Hessian in one solve by conjugate gradients.
_MOST_PRODUCTS = 1000


class Solve:
    """Products and solves with the Hessian of the objective at a momentum.

    In the coordinates of the search, where it is nearly round; dense where it is small, else by
    conjugate gradients.
    """

    def __init__(self, problem: Problem, coordinates: Searched, momentum: Float[Array, "c d"]):
        self.coordinates = coordinates
        self.gradient, self._push = jax.linearize(problem.gradient, momentum)

    def hessian(self, a: Float[Array, "c d"]) -> Float[Array, "c d"]:
        """The Hessian in the coordinates, applied."""
        return self.coordinates.gradient(self._push(self.coordinates.momentum(a)))

    def __call__(self, right: Float[Array, "c d"]) -> tuple[Float[Array, "c d"], Bool[Array, ""]]:
        """The momentum `H^-1 right`, and whether it was reached."""
        scaled = self.coordinates.gradient(right)
        size = jnp.linalg.norm(scaled)
        if scaled.size <= _LARGEST_DENSE:
            basis = jnp.eye(scaled.size, dtype=scaled.dtype).reshape(-1, *scaled.shape)
            matrix = jax.vmap(self.hessian)(basis).reshape(scaled.size, scaled.size)
            found = jnp.linalg.solve(matrix, scaled.reshape(-1)).reshape(scaled.shape)
        else:
            found = self._by_conjugate_gradients(scaled)
        missed = jnp.linalg.norm(self.hessian(found) - scaled)
        return self.coordinates.momentum(found), missed <= _SOLVED * size

    def _by_conjugate_gradients(self, scaled):
        operator = lx.FunctionLinearOperator(
            self.hessian, jax.eval_shape(lambda: scaled), lx.positive_semidefinite_tag
        )
        precise = float(jnp.finfo(scaled.dtype).eps) ** 0.75
        solver = lx.CG(rtol=precise, atol=0.0, max_steps=_MOST_PRODUCTS)
        return lx.linear_solve(operator, scaled, solver, throw=False).value


@eqx.filter_jit
def refine(
    problem: Problem, state: State, tolerance: Float[ArrayLike, ""], *, max_steps: int = 8
) -> State:
    """Newton steps from near the minimum, as long as they lower the gradient.

    The values of an objective cannot tell minima apart to more than half the digits; its gradient
    can.
    """

    def unfinished(carry):
        state, step, going = carry
        return going & ~state.converged & (step < max_steps)

    def turn(carry):
        state, step, _ = carry
        solve = Solve(problem, state.coordinates, state.momentum)
        move, reached = solve(-solve.gradient)
        position = state.position + state.coordinates.coordinates(move)
        momentum = state.coordinates.momentum(position)
        value, gradient = jax.value_and_grad(problem.objective)(momentum)
        gradient = state.coordinates.gradient(gradient)
        norm = jnp.linalg.norm(gradient)
        good = reached & (norm < jnp.linalg.norm(state.gradient))

        def choose(new, old):
            return jnp.where(good, new, old)

        state = eqx.tree_at(
            lambda s: (s.position, s.value, s.gradient, s.converged, s.evaluations),
            state,
            (
                choose(position, state.position),
                choose(value, state.value),
                choose(gradient, state.gradient),
                good & (norm <= tolerance * state.first_norm),
                state.evaluations + 1,
            ),
        )
        return state, step + 1, good

    met = state.gradient_norm <= tolerance
    state = eqx.tree_at(lambda s: s.converged, state, met)
    carry = state, jnp.array(0), jnp.array(True)
    return jax.lax.while_loop(unfinished, turn, carry)[0]


@eqx.filter_custom_vjp
def optimum(problem: Minimisable, momentum: PyTree, value: Float[Array, ""]) -> Float[Array, ""]:
    """The value of the objective at its minimum; its derivative is that at fixed momentum."""
    return value


@optimum.def_fwd
def _optimum_forward(perturbed, problem, momentum, value):
    return value, None


@optimum.def_bwd
def _optimum_backward(residuals, cotangent, perturbed, problem, momentum, value):
    _, pullback = eqx.filter_vjp(lambda p: p.objective(momentum) + p.constant(), problem)
    return pullback(cotangent)[0]


def solution(problem: Problem, momentum: Float[Array, "c d"]) -> Float[Array, "c d"]:
    """The momentum, differentiable as the solution of `problem.gradient(momentum) = 0`."""
    return _solution(problem, momentum)


@eqx.filter_custom_vjp
def _solution(problem, momentum):
    return momentum


@_solution.def_fwd
def _solution_forward(perturbed, problem, momentum):
    return momentum, None


@_solution.def_bwd
def _solution_backward(residuals, cotangent, perturbed, problem, momentum):
    """Implicit function theorem: `-(d gradient / d problem)^T H^-1 cotangent`, H the Hessian."""
    if problem.fidelity.twice_differentiable and not problem.twice_differentiable:
        raise InputError(
            "The derivative of a match needs second derivatives, which a step size controller or "
            "an adjoint leaves out: differentiate its objective only, or pass "
            "adjoint=diffrax.DirectAdjoint()."
        )
    if not problem.fidelity.twice_differentiable:
        raise InputError(
            "The derivative of a match needs second derivatives, which "
            f"{type(problem.fidelity).__name__} does not have: differentiate its objective only, "
            "or use the MMD fidelity."
        )
    found, reached = Solve(problem, problem.coordinates(), momentum)(cotangent)
    # a derivative that was not reached is withheld
    found = jnp.where(reached | ~jnp.any(cotangent != 0), found, jnp.nan)
    _, pullback = eqx.filter_vjp(lambda p: p.gradient(momentum), problem)
    return pullback(-found)[0]
