"""Trees with complex leaves, matrix logarithms, Pauli coordinates, result codes."""

import itertools

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from systems.groups import PAULI, hamiltonian_of
from systems.numerics import largest

from geojax._core import linalg, pauli, results, trees
from geojax._core.errors import InputError, NumericalError
from geojax._core.results import RESULTS


class TestTrees:
    matrix = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3, 3)) @ [1, 0, 1j])

    def test_adjoint_is_for_the_real_pairing(self):
        rng = np.random.default_rng(1)
        draw = rng.normal(size=(2, 3, 3)) + 1j * rng.normal(size=(2, 3, 3))
        a, (v, p) = jnp.asarray(draw[0]), jnp.asarray(draw[1][:2])
        back = trees.adjoint(lambda x: a @ x, v)
        assert abs(trees.pairing(p, a @ v) - trees.pairing(back(p), v)) < 1e-14
        assert largest(back(p) - jnp.conj(a.T) @ p) < 1e-14
        value, pullback = trees.vjp(lambda x: a @ (x * x), v)
        assert largest(value - a @ (v * v)) == 0
        push = a @ (2 * v * p)
        assert abs(trees.pairing(value, push) - trees.pairing(pullback(value), p)) < 1e-13

    def test_arithmetic_keeps_dtypes(self):
        tree = {"a": jnp.ones(2, jnp.float32), "b": jnp.ones(2, complex)}
        scaled = trees.scale(tree, 2.5)
        assert scaled["a"].dtype == jnp.float32
        assert scaled["b"].dtype == jnp.complex128
        assert trees.add(tree, scaled)["a"].tolist() == [3.5, 3.5]
        assert trees.subtract(tree, scaled)["a"].tolist() == [-1.5, -1.5]


def test_a_root_is_zero_with_its_derivative_at_zero_and_below():
    squared = jnp.array([0.0, -1e-9, 4.0], jnp.float32)
    value, slope = jax.vmap(jax.value_and_grad(linalg.safe_sqrt))(squared)
    assert value.dtype == jnp.float32
    assert (value.tolist(), slope.tolist()) == ([0.0, 0.0, 2.0], [0.0, 0.0, 0.25])


class TestHermitianLogarithm:
    def unitary(self, seed, angles):
        rng = np.random.default_rng(seed)
        n = len(angles)
        q, _ = np.linalg.qr(rng.normal(size=(n, n)) + 1j * rng.normal(size=(n, n)))
        return jnp.asarray((q * np.exp(-1j * np.asarray(angles))) @ q.conj().T)

    @pytest.mark.parametrize(
        "angles", [[0.3, -1.0, 0.7], [0.5, 0.5, -1.0], [0.0, 0.0, 0.0], [3.0, -3.0, 0.0]]
    )
    def test_inverts_the_exponential(self, angles):
        u = self.unitary(0, angles)
        z = linalg.hermitian_log(u, traceless=False)
        assert largest(z - jnp.conj(z.T)) < 1e-13
        assert largest(linalg.expm(-1j * z) - u) < 1e-13
        assert largest(np.sort(np.linalg.eigvalsh(z)) - np.sort(angles)) < 1e-13

    @pytest.mark.parametrize("first", [0.2, 1.3, -0.9])
    @pytest.mark.parametrize("apart", [0.0, 1e-13, 1e-10, 1e-6, 1e-3])
    def test_angles_that_one_mix_confuses(self, first, apart):
        """`cos a + c sin a` is the same for two angles that add up to 2 atan c."""
        c = 0.6180339887
        second = 2 * np.arctan(c) - first + apart
        angles = np.array([first, second, first, -0.4, 2.0, second, 1.0, -2.2])
        u = self.unitary(3, angles)
        z = linalg.hermitian_log(u, traceless=False)
        tolerance = 1e-12 if apart == 0.0 else 1e-7
        assert largest(z - jnp.conj(z.T)) < 1e-13
        assert largest(linalg.expm(-1j * z) - u) < tolerance
        assert largest(np.sort(np.linalg.eigvalsh(z)) - np.sort(angles)) < tolerance
        if apart == 0.0:
            # control: the eigenvectors of the one mix are not those of the matrix
            mix = 0.5 * (u + u.conj().T) + c * 0.5j * (u - u.conj().T)
            _, vectors = np.linalg.eigh(mix)
            rotated = vectors.conj().T @ u @ vectors
            assert largest(rotated - np.diag(np.diag(rotated))) > 1e-2

    def test_single_precision(self):
        angles = np.array([0.2, 2 * np.arctan(0.6180339887) - 0.2, 0.2, -0.4])
        u = self.unitary(3, angles).astype(jnp.complex64)
        z = linalg.hermitian_log(u, traceless=False)
        assert z.dtype == jnp.complex64
        assert largest(linalg.expm(-1j * z) - u) < 1e-5

    def test_moves_whole_turns_for_a_trace_of_zero(self):
        # the angles of an element of SU(3) need not add up to zero within (-pi, pi]
        angles = np.array([2.5, 2.5, 2 * np.pi - 5.0])
        u = self.unitary(1, angles)
        free = linalg.hermitian_log(u, traceless=False)
        assert abs(float(jnp.real(jnp.trace(free))) - 2 * np.pi) < 1e-12
        z = linalg.hermitian_log(u, traceless=True)
        assert abs(float(jnp.real(jnp.trace(z)))) < 1e-12
        assert largest(linalg.expm(-1j * z) - u) < 1e-13


class TestPauli:
    @pytest.mark.parametrize("n", [1, 2, 3])
    def test_against_kronecker_products(self, n):
        single = np.concatenate([np.eye(2)[None], PAULI])
        labels, weights = pauli.labels(n), pauli.weights(n)
        draw = np.random.default_rng(0).normal(size=(2, 2**n, 2**n))
        matrix = draw[0] + 1j * draw[1]
        found = np.asarray(pauli.to_coefficients(jnp.asarray(matrix)))
        for k, digits in enumerate(itertools.product(range(4), repeat=n)):
            string = np.eye(1)
            for digit in digits:
                string = np.kron(string, single[digit])
            assert labels[k] == "".join("IXYZ"[digit] for digit in digits)
            assert weights[k] == sum(digit > 0 for digit in digits)
            assert abs(found[k] - np.trace(string @ matrix).real / 2**n) < 1e-14
            unit = pauli.from_coefficients(jnp.zeros(4**n).at[k].set(1.0))
            assert largest(unit - string) == 0
        hermitian = matrix + matrix.conj().T
        back = pauli.from_coefficients(pauli.to_coefficients(jnp.asarray(hermitian)))
        assert largest(back - hermitian) < 1e-13

    def test_keeps_single_precision(self):
        matrix = jnp.eye(4, dtype=jnp.complex64)
        coefficients = pauli.to_coefficients(matrix)
        assert coefficients.dtype == jnp.float32
        assert pauli.from_coefficients(coefficients).dtype == jnp.complex64

    def test_norms(self):
        h = hamiltonian_of(np.arange(1.0, 16.0))
        squares = float(jnp.sum(jnp.arange(1.0, 16.0) ** 2))
        assert abs(float(jnp.real(jnp.trace(h @ h))) / 4 - squares) < 1e-10

    @pytest.mark.parametrize("n", [0, -1, 1.5, "2", True])
    def test_bad_counts(self, n):
        with pytest.raises(InputError, match="num_qubits must be an integer of at least 1"):
            pauli.check_num_qubits(n)

    @pytest.mark.parametrize("n", [20, 40])
    def test_too_many_qubits_are_refused_before_anything_is_allocated(self, n):
        with pytest.raises(InputError, match=r"num_qubits = \d+: .* would need about .*bytes"):
            pauli.check_num_qubits(n)


class TestResults:
    def test_first_failure(self):
        good, drift = RESULTS.successful, RESULTS.energy_drift
        assert bool(results.first_failure(good, good) == good)
        first = results.first_failure(good, drift, RESULTS.not_converged)
        assert bool(first == drift)
        assert bool(results.code_if(jnp.array(False), drift) == good)

    def test_codes_of_lower_libraries_are_promoted(self):
        promoted = RESULTS.promote(diffrax.RESULTS.max_steps_reached)
        assert bool(promoted == RESULTS.max_steps_reached)
        assert "max" in results.message(promoted).lower()

    def test_one_code_per_lane(self):
        def code(x):
            return results.code_if(x > 0, RESULTS.energy_drift)

        codes = eqx.filter_vmap(code)(jnp.array([-1.0, 1.0, 2.0]))
        with pytest.raises(NumericalError, match="2 of 3 lanes failed, the first is lane 1"):
            results.throw_if_failed(0, codes, what="shoot")
        assert results.throw_if_failed(0, code(jnp.array(-1.0)), what="shoot") == 0

    def test_every_failure_says_how_to_mend_it(self):
        for code in (
            RESULTS.energy_drift,
            RESULTS.not_finite,
            RESULTS.diverged,
            RESULTS.not_converged,
        ):
            assert any(word in results.message(code) for word in ("Raise", "Lower"))

    def test_under_a_transformation_nothing_is_raised(self):
        def function(x):
            code = results.code_if(x > 0, RESULTS.energy_drift)
            return results.throw_if_failed(x, code, what="shoot")

        assert float(jax.jit(function)(1.0)) == 1.0

    def test_all_finite(self):
        assert bool(results.all_finite({"a": jnp.ones(2), "n": jnp.arange(2)}))
        assert not bool(results.all_finite([jnp.ones(2), jnp.array(jnp.nan)]))
        assert bool(results.all_finite([]))
