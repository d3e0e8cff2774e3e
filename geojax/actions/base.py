"""The noun action: an infinitesimal motion of a state by a velocity, and its transpose."""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree, Shaped

from geojax._core import trees
from geojax._core.linalg import dagger, expm


class AbstractAction(eqx.Module):
    """A velocity moves a state: `action(velocity, state)` is the time derivative of the state.

    The action is linear in the velocity. Costates (momenta of a state) are stored like states and
    pair with tangents by `sum Re(conj(p) v)`. States live in a linear space, perhaps on a
    submanifold of it; the methods `covector`, `residual` and `chord` tell the generic solvers
    how to stay there.
    """

    @abc.abstractmethod
    def __call__(self, velocity: Any, state: PyTree) -> PyTree:
        """Time derivative of `state` moved by `velocity`."""

    @abc.abstractmethod
    def momentum(self, state: PyTree, costate: PyTree) -> Any:
        """The momentum map: transpose of `velocity -> action(velocity, state)` at a costate."""

    @abc.abstractmethod
    def covector(self, state: PyTree, coordinates: Float[Array, " m"]) -> PyTree:
        """The costate with given coordinates; a linear chart of the cotangent space at `state`."""

    @abc.abstractmethod
    def residual(self, state: PyTree, target: PyTree) -> Float[Array, " m"]:
        """How far `state` is from `target`, in as many coordinates; zero only there, locally."""

    @abc.abstractmethod
    def chord(self, source: PyTree, target: PyTree) -> PyTree:
        """A tangent at `source` that points to `target`: where a search for a geodesic starts."""

    @abc.abstractmethod
    def check(self, state: Any, name: str) -> PyTree:
        """Convert a state and raise `InputError` unless it is one; values only outside `jit`."""

    def dimension(self, state: PyTree) -> int:
        """Dimension m of the space of states."""
        return jax.eval_shape(self.residual, state, state).shape[0]

    def coordinates(self, state: PyTree, tangent: PyTree) -> Float[Array, " m"]:
        """Pairing of a tangent with each basis covector: transpose of `covector`."""
        like = jax.ShapeDtypeStruct((self.dimension(state),), _real_dtype(state))
        return trees.adjoint(lambda c: self.covector(state, c), like)(tangent)


class AbstractGroup(AbstractAction):
    """A matrix group that acts on itself from the left: `dX/dt = A X`, A in the Lie algebra.

    A velocity is a matrix; `generator` maps it to A. Costates move by the inverse transpose, so
    the group element `exp(A)` moves the pair (state, costate).
    """

    @abc.abstractmethod
    def generator(self, velocity: Shaped[Array, "n n"]) -> Shaped[Array, "n n"]:
        """The Lie algebra element of a velocity."""

    @abc.abstractmethod
    def project(self, matrix: Shaped[Array, "n n"]) -> Shaped[Array, "n n"]:
        """Orthogonal projection of any matrix to the velocities."""

    @abc.abstractmethod
    def bracket(
        self, left: Shaped[Array, "n n"], right: Shaped[Array, "n n"]
    ) -> Shaped[Array, "n n"]:
        """The velocity whose generator is the commutator of the two generators."""

    @abc.abstractmethod
    def lift(
        self, state: Shaped[Array, "n n"], momentum: Shaped[Array, "n n"]
    ) -> Shaped[Array, "n n"]:
        """A costate at `state` with the given momentum (a right inverse of `momentum`)."""

    def __call__(self, velocity, state):
        return self.generator(velocity) @ state

    def momentum(self, state, costate):
        like = jax.ShapeDtypeStruct(state.shape, state.dtype)
        return trees.adjoint(lambda v: self(self.project(v), state), like)(costate)

    def exponential(self, velocity: Shaped[Array, "n n"]) -> Shaped[Array, "n n"]:
        """The group element reached in unit time by a constant velocity."""
        return expm(self.generator(velocity))

    def inverse(self, element: Shaped[Array, "n n"]) -> Shaped[Array, "n n"]:
        """Inverse of a group element."""
        return dagger(element)


def _real_dtype(state):
    leaf = jax.tree.leaves(state)[0]
    return jnp.finfo(leaf.dtype).dtype
