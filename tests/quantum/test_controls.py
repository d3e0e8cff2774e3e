"""Piecewise constant controls against closed forms, other propagators and other metrics."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import expm

import geojax
from geojax._core.errors import InputError
from geojax._core.results import RESULTS
from geojax.actions import Unitaries
from geojax.flows import MuntheKaas, Path
from geojax.metrics import PauliPenalty
from geojax.quantum import Controls, gate, load_controls

LABELS = ("XI", "ZZ", "IY")
PAULI = {"I": np.eye(2), "X": gate("x"), "Y": gate("y"), "Z": gate("z")}


def string(label):
    out = np.eye(1)
    for letter in label:
        out = np.kron(out, PAULI[letter])
    return out


@pytest.fixture
def controls(getkey) -> Controls:
    coefficients = jax.random.normal(getkey(), (4, 3))
    return Controls(coefficients, LABELS, [0.5, 0.25, 1.0, 0.75], drift={"YX": 0.3, "IZ": -0.2})


def test_slices_are_exponentials_of_sums_of_strings(controls):
    state = np.eye(4, dtype=complex)
    expected = [state]
    for row, duration in zip(np.asarray(controls.coefficients), np.asarray(controls.durations)):
        matrix = 0.3 * string("YX") - 0.2 * string("IZ")
        matrix = matrix + sum(value * string(label) for value, label in zip(row, LABELS))
        state = expm(-1j * duration * matrix) @ state
        expected.append(state)
    np.testing.assert_allclose(controls.unitaries(), expected, atol=1e-13)
    np.testing.assert_allclose(controls.unitary(), expected[-1], atol=1e-13)
    np.testing.assert_allclose(controls.times, [0.0, 0.5, 0.75, 1.75, 2.5])


def test_a_rotation_is_one_slice():
    controls = Controls([[0.35]], ["Z"], 1.0)
    np.testing.assert_allclose(controls.unitary(), gate("rz", 0.7), atol=1e-15)
    assert abs(float(controls.length(PauliPenalty(1))) - 0.35) < 1e-15


def test_energy_and_length_in_a_metric():
    controls = Controls([[0.3, 0.4, 0.0], [0.0, 0.0, 0.0]], ["XII", "IZZ", "XYZ"], [2.0, 1.0])
    heavy = Controls([[0.0, 0.0, 0.5]], controls.labels, 2.0)
    metric = PauliPenalty(3, 9.0)
    assert abs(float(controls.length(metric)) - 1.0) < 1e-14
    assert abs(float(controls.energy(metric)) - 0.25) < 1e-14
    assert abs(float(heavy.length(metric)) - 3.0) < 1e-14
    # a slice at rest has a length with a derivative
    assert np.all(np.isfinite(jax.grad(lambda c: c.length(metric))(controls).coefficients))


def test_the_field_holds_the_hamiltonians_between_the_times(controls):
    field = controls.field
    np.testing.assert_allclose(field.jumps, controls.times[1:-1])
    for k, middle in enumerate((controls.times[1:] + controls.times[:-1]) / 2):
        np.testing.assert_array_equal(field(middle, None), controls.hamiltonians[k])


def test_controls_of_a_path_are_those_that_made_it(controls):
    still = jnp.asarray(0.0)
    path = Path(
        times=controls.times,
        states=controls.unitaries(),
        energy=still,
        length=still,
        result=RESULTS.successful,
        num_steps=jnp.asarray(4),
        num_evaluations=jnp.asarray(0),
    )
    back = Controls.from_path(path, [*LABELS, "YX", "IZ"])
    np.testing.assert_allclose(back.durations, controls.durations, atol=1e-15)
    np.testing.assert_allclose(back.coefficients[:, :3], controls.coefficients, atol=1e-11)
    np.testing.assert_allclose(back.coefficients[:, 3:], [[0.3, -0.2]] * 4, atol=1e-11)
    everything = Controls.from_path(path)
    assert everything.coefficients.shape == (4, 15)
    np.testing.assert_allclose(everything.unitaries(), path.states, atol=1e-12)


@pytest.mark.slow
def test_the_field_runs_through_integrate(controls):
    even = Controls(controls.coefficients, LABELS, 0.25, drift=controls.drift)
    # exact for pieces that are constant: any order will do
    solver = MuntheKaas(diffrax.Heun())
    start = jnp.eye(4, dtype=complex)
    path = geojax.integrate(even.field, start, action=Unitaries(2), num_steps=8, solver=solver)
    np.testing.assert_allclose(path.states[::2], even.unitaries(), atol=1e-12)
    back = Controls.from_path(path, LABELS)
    np.testing.assert_allclose(back.coefficients[::2], even.coefficients, atol=1e-11)


@pytest.mark.parametrize("ending", ["npz", "json"])
def test_a_file_gives_back_the_same_controls(controls, tmp_path, ending):
    path = tmp_path / f"controls.{ending}"
    controls.save(path)
    back = load_controls(path)
    assert back.labels == LABELS
    np.testing.assert_array_equal(back.coefficients, controls.coefficients)
    np.testing.assert_array_equal(back.durations, controls.durations)
    np.testing.assert_allclose(back.drift, controls.drift, atol=1e-15)
    assert back.coefficients.dtype == controls.coefficients.dtype
    bare = Controls(controls.coefficients, LABELS)
    bare.save(path)
    assert load_controls(path).drift is None


def test_pruning_leaves_out_what_is_rounding():
    noisy = Controls([[0.3, 1e-9, 0.0], [-0.5, 1e-10, 2e-9]], LABELS, [1.0, 2.0], drift={"YX": 0.3})
    pruned = noisy.pruned()
    assert pruned.labels == ("XI",)
    np.testing.assert_array_equal(pruned.coefficients, [[0.3], [-0.5]])
    np.testing.assert_array_equal(pruned.durations, noisy.durations)
    np.testing.assert_array_equal(pruned.drift, noisy.drift)
    assert Controls(np.zeros((2, 3)), LABELS).pruned().labels == ("XI",)
    # not all that is small is rounding
    assert Controls([[1.0, 1e-7]], LABELS[:2]).pruned().labels == LABELS[:2]
    with pytest.raises(InputError, match="cannot be pruned"):
        jax.jit(lambda c: Controls(c, LABELS).pruned().coefficients)(jnp.ones((1, 3)))


def test_turns_beyond_the_exponential_are_refused():
    far = Controls([[4095.0]], ["X"], 1.0)
    angle = np.cos(4095.0), -1j * np.sin(4095.0)
    np.testing.assert_allclose(far.unitary()[0], angle, atol=1e-10)
    with pytest.raises(InputError, match=r"Slice 1 .* turns by up to 4100 radians, more than 4096"):
        Controls([[1.0, 2.0], [4.0, 2045.0]], ["X", "Z"], 2.0, drift={"Y": 1.0})


def test_gradient_in_a_drift_by_string():
    def overlap(strength):
        controls = Controls([[0.3, -0.2, 0.9]], LABELS, 1.0, drift={"YX": strength, "IZ": 0.4})
        return jnp.abs(jnp.trace(jnp.asarray(gate("cx")) @ controls.unitary())) ** 2

    h = 1e-5
    slope = (overlap(0.3 + h) - overlap(0.3 - h)) / (2 * h)
    np.testing.assert_allclose(jax.grad(overlap)(0.3), slope, rtol=1e-7)
    assert abs(float(slope)) > 1e-2


def test_gradient_of_the_end_against_differences(controls):
    @jax.jit
    def overlap(values, durations):
        moved = Controls(values, LABELS, durations, drift=controls.drift)
        return jnp.abs(jnp.trace(jnp.asarray(gate("cx")) @ moved.unitary())) ** 2

    at, h = (controls.coefficients, controls.durations), 1e-5
    gradient = jax.grad(overlap, (0, 1))(*at)
    for change in ((jnp.cos(at[0]), 0 * at[1]), (0 * at[0], jnp.sin(at[1]))):
        ends = [overlap(at[0] + s * change[0], at[1] + s * change[1]) for s in (h, -h)]
        slope = sum(jnp.vdot(g, c) for g, c in zip(gradient, change))
        np.testing.assert_allclose(slope, (ends[0] - ends[1]) / (2 * h), rtol=1e-7)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (([[1.0]], ["Q"]), {}, "entry 0 is 'Q'.*letters I, X, Y and Z"),
        (([[1.0]], "X"), {}, "must be a list of Pauli strings"),
        (([[1.0]], []), {}, "is empty"),
        (([[1.0]], ["II"]), {}, "only turns the phase"),
        (([[1.0, 1.0]], ["XI", "X"]), {}, "entry 1 is 'X', which acts on 1 qubits"),
        (([[1.0, 1.0]], ["X", "X"]), {}, "'X' is repeated"),
        (([[1.0]], ["X", "Y"]), {}, r"shape \[K, 2\].*shape \[1, 1\]"),
        (([[np.nan]], ["X"]), {}, "entry \\[0, 0\\] is nan"),
        (([[1.0]], ["X"], [1.0, 2.0]), {}, "hold 1 numbers"),
        (([[1.0]], ["X"], -1.0), {}, "durations must be positive"),
        (([[1.0]], ["X"]), {"drift": {"ZZ": 1.0}}, "drift: entry 0 is 'ZZ'"),
        (([[1.0]], ["X"]), {"drift": np.eye(4)}, "must be a Hermitian matrix \\[2, 2\\]"),
        (([[1.0]], ["X"]), {"drift": gate("s")}, "Hermitian with trace zero"),
    ],
)
def test_refusals_of_controls(arguments, options, message):
    with pytest.raises(InputError, match=message):
        Controls(*arguments, **options)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1, 2]", "holds no controls"),
        ('{"kind": "geojax controls", "version": 9}', "has version 9"),
        ('{"kind": "geojax controls", "version": 1, "labels": ["X"]}', "has no 'durations'"),
        (
            '{"kind": "geojax controls", "version": 1, "labels": ["X"], "durations": "one", '
            '"coefficients": [[1]]}',
            "durations must hold numbers",
        ),
        (
            '{"kind": "geojax controls", "version": 1, "labels": ["X"], "durations": [1.0], '
            '"coefficients": [[1]], "drift": [1.0]}',
            "drift must hold 4 numbers",
        ),
    ],
)
def test_refusals_of_files(tmp_path, text, message):
    (tmp_path / "controls.json").write_text(text)
    with pytest.raises(InputError, match=message):
        load_controls(tmp_path / "controls.json")


def test_refusal_of_other_endings_and_paths(tmp_path, controls):
    with pytest.raises(InputError, match=r"kept in .npz or .json"):
        controls.save(tmp_path / "controls.txt")
    with pytest.raises(InputError, match="no such file"):
        load_controls(tmp_path / "controls.npz")
    points = geojax.integrate(lambda t, x: -x, jnp.ones((2, 2)))
    with pytest.raises(InputError, match=r"at least two unitaries"):
        Controls.from_path(points)
