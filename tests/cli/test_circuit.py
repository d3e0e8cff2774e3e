"""`geojax circuit`: the complexity of a gate, its controls and a circuit, from the command line."""

import json
import math
import os
import re

import numpy as np
import pytest

from geojax._core import checks
from geojax.quantum import gate, load_controls

# the same for all, so that the search is compiled once
SMALL = ("--starts", 4, "--steps", 16, "--slices", 8)


def result_of(folder):
    return json.loads((folder / "result.json").read_text())


def run_qasm(text):
    """The unitary of a program of one qubit."""
    unitary = np.eye(2, dtype=complex)
    for line in text.splitlines()[4:]:
        name, angle = re.fullmatch(r"(r[xyz])\((\S+)\) q\[0\];", line).groups()
        unitary = gate(name, float(angle)) @ unitary
    return unitary


def infidelity(unitary, target):
    return 1 - abs(np.trace(target.conj().T @ unitary)) ** 2 / 4


def test_files_figures_and_page(command, tmp_path, check_files, check_page):
    arguments = ("circuit", "h", "--penalty", 1, 2, 4, *SMALL, "--out")
    outcome = command(*arguments, "run")
    assert outcome.code == 0, outcome.err
    assert os.environ["JAX_ENABLE_X64"] == "1"
    folder = tmp_path / "run"
    check_files(folder, ["circuit.qasm", "controls.npz", "report.html", "result.json"])
    page = (folder / "report.html").read_text()
    check_page(page)
    assert page.count("<svg") == 2
    assert "On the Bloch sphere" in page
    figures = result_of(folder)["figures"]
    assert figures["penalties"] == {"X": 1.0, "Y": 2.0, "Z": 4.0}
    assert figures["isotropic_distance"] == pytest.approx(math.pi / 2, abs=1e-9)
    assert figures["lower_bound"] == pytest.approx(math.pi / 2, abs=1e-9)
    # no longer than turning about the axis between X and Z
    assert math.pi / 2 < figures["distance"] < math.pi / 2 * math.sqrt(2.5)
    assert figures["distance"] <= figures["upper_bound"] < figures["distance"] + 1e-7
    assert figures["residual"] < 1e-8
    assert 1 <= figures["num_agreed"] <= figures["num_converged"] <= figures["num_starts"] == 4
    assert f"{figures['distance']:.4g}" in outcome.out
    assert f"{figures['distance']:.4g}" in page
    controls = load_controls(folder / "controls.npz")
    assert controls.num_slices == 8
    assert infidelity(np.asarray(controls.unitary()), gate("h")) < 1e-12
    assert figures["controls_error"] < 1e-7
    program = run_qasm((folder / "circuit.qasm").read_text())
    assert infidelity(program, gate("h")) == pytest.approx(figures["infidelity"], abs=1e-12)
    assert 1e-9 < figures["infidelity"] < figures["product_error"] ** 2 < 1e-2
    # on one qubit every gate is a layer
    assert figures["num_gates"] == sum(figures["gates"].values()) == figures["depth"]
    assert set(figures["gates"]) == {"rx", "ry", "rz"}
    assert figures["num_entangling_gates"] == 0

    assert command(*arguments, "run").code == 0  # once more the same
    outcome = command("circuit", "h", "--penalty", 1, 2, 5, *SMALL, "--out", "run")
    assert outcome.code == 2
    assert "holds the result of another run (penalty" in outcome.err
    outcome = command(*arguments, "first", "--order", 1)
    assert outcome.code == 0, outcome.err
    first = result_of(tmp_path / "first")["figures"]
    assert first["distance"] == figures["distance"]
    assert first["product_error"] > 4 * figures["product_error"]
    assert first["num_gates"] < figures["num_gates"]


def test_a_file_in_single_precision_with_a_phase(command, tmp_path):
    """A rotation about Z is the shortest way to itself, and one gate."""
    matrix = np.exp(0.4j) * gate("rz", 0.5)
    np.save(tmp_path / "gate.npy", matrix.astype(np.complex64))
    outcome = command("circuit", "gate.npy", *SMALL, "--out", "run")
    assert outcome.code == 0, outcome.err
    assert outcome.err == ""
    result = result_of(tmp_path / "run")
    assert list(result["inputs"]) == ["gate.npy"]
    figures = result["figures"]
    assert figures["distance"] == pytest.approx(0.25, abs=1e-7)
    assert figures["conjugate_time"] is None
    assert figures["gates"] == {"rz": 1}
    assert figures["product_error"] < 1e-7
    lines = (tmp_path / "run/circuit.qasm").read_text().splitlines()
    assert lines[0] == "OPENQASM 3.0;"
    assert float(re.fullmatch(r"rz\((\S+)\) q\[0\];", lines[-1])[1]) == pytest.approx(0.5, abs=1e-6)


def test_a_price_of_one_string_from_a_configuration(command, tmp_path):
    """A short rotation about a dear axis is straight: its length is the root of the price."""
    text = 'target = "rx(0.4)"\npenalties-by-label = "X=4"\nstarts = 4\nsteps = 16\nslices = 8\n'
    (tmp_path / "run.toml").write_text(text)
    outcome = command("circuit", "--config", "run.toml", "--out", "run")
    assert outcome.code == 0, outcome.err
    figures = result_of(tmp_path / "run")["figures"]
    assert figures["penalties"] == {"X": 4.0, "Y": 1.0, "Z": 1.0}
    assert figures["distance"] == pytest.approx(0.4, abs=1e-8)
    assert figures["isotropic_distance"] == pytest.approx(0.2, abs=1e-8)


def test_forbidden_strings_are_neither_controls_nor_gates(command, tmp_path):
    outcome = command("circuit", "rz(0.3)", "--penalty", 1, 1, "inf", *SMALL, "--out", "run")
    assert outcome.code == 0, outcome.err
    figures = result_of(tmp_path / "run")["figures"]
    assert figures["penalties"]["Z"] == "inf"
    assert figures["distance"] == pytest.approx(berger_limit(0.3), abs=1e-6)
    controls = load_controls(tmp_path / "run/controls.npz")
    assert controls.labels == ("X", "Y")
    assert set(figures["gates"]) == {"rx", "ry"}
    assert 1e-9 < figures["controls_error"] < 0.05
    end = np.asarray(controls.unitary())
    assert infidelity(end, gate("rz", 0.3)) <= figures["controls_error"] ** 2


def berger_limit(angle):
    """Sub-Riemannian distance to `rz(angle)` on SU(2), where only X and Y may be driven.

    `exp(-i c Z t) exp(-i (x X - c Z) t)` runs along X and Y only, with speed x. At time one the
    second factor is -1 where `x^2 + c^2 = pi^2`, and then `c = pi - angle / 2`.
    """
    return math.sqrt(math.pi**2 - (math.pi - angle / 2) ** 2)


def test_an_end_that_is_not_reached_is_withheld(command, tmp_path, check_files):
    outcome = command("circuit", "x", "--penalty", "inf", "inf", 1, *SMALL, "--out", "run")
    assert outcome.code == 3
    assert "no start of 4 reached the target: the nearest ended" in outcome.err
    assert outcome.err.count("\n") == 1
    check_files(tmp_path / "run", ["result.json"])
    result = result_of(tmp_path / "run")
    assert result["status"] == "error"
    assert result["figures"]["distance"] is None
    assert result["figures"]["num_converged"] == 0
    assert result["figures"]["nearest_end"] > 0.1


def test_what_speaks_against_a_length_is_said():
    from geojax.cli.circuit import warn
    from geojax.cli.circuit_options import Circuit

    options = Circuit(target="x", out="run")
    warn({"conjugate_time": 1.0, "num_agreed": 2}, options)  # warnings are errors here
    with pytest.warns(UserWarning, match=r"conjugate point lies before the end \(at 0.8 of 1\)"):
        warn({"conjugate_time": 0.8, "num_agreed": 2}, options)
    with pytest.warns(UserWarning, match="too long to count conjugate points"):
        warn({"conjugate_time": math.nan, "num_agreed": 2}, options)
    with pytest.warns(UserWarning, match="only one start found this length"):
        warn({"conjugate_time": math.inf, "num_agreed": 1}, options)


def test_a_price_that_no_string_has_is_named():
    from geojax.cli.circuit import metric_of
    from geojax.cli.circuit_options import Circuit

    for count, mend in ((1, "1 2 4 for X, Y and Z"), (2, "1 16 by weight")):
        with pytest.warns(UserWarning, match=f"has none; give several prices, such as {mend}"):
            metric_of(Circuit(target="x", out="run", penalty=(16.0,)), count)
    options = Circuit(target="ccx", out="run", penalty=(16.0,), coupling="0-1, 1-2")
    metric = metric_of(options, 3)
    prices = dict(zip(metric.labels, np.asarray(metric.penalties).tolist(), strict=True))
    assert (prices["XXI"], prices["XIX"], prices["XXX"]) == (1.0, 16.0, 16.0)


def test_strings_that_do_not_commute_take_all_slices(command, tmp_path):
    """The Hamiltonian is constant, but one rotation after another is no rotation about both."""
    outcome = command("circuit", "h", *SMALL, "--out", "run")
    assert outcome.code == 0, outcome.err
    figures = result_of(tmp_path / "run")["figures"]
    assert figures["distance"] == pytest.approx(math.pi / 2, abs=1e-9)
    controls = np.asarray(load_controls(tmp_path / "run/controls.npz").coefficients)
    np.testing.assert_allclose(controls, np.broadcast_to(controls[0], (8, 2)), atol=1e-7)
    assert figures["gates"] == {"rx": 9, "rz": 8}
    assert figures["product_error"] > 1e-4


BAD_FILES = {
    "stretched": np.diag([1.0, 1.1]),
    "garbage": np.array([[1e300 + 2j, 3], [4j, 5e-9]]),
    "nan": np.array([[1, 0], [0, np.nan]]),
    "three": np.eye(3),
    "wide": np.ones((2, 4)),
    "one": np.eye(1),
    "words": np.array([["a", "b"], ["c", "d"]]),
    "objects": np.array([[1, None], [None, 1]]),
}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("stretched.npy", r"stretched.npy must be unitary, but \|U'U - 1\| = 2.1e-01 and det U"),
        ("garbage.npy", "garbage.npy must be unitary, but"),
        ("nan.npy", r"nan.npy must be finite, but entry \[1, 1\] is"),
        ("three.npy", r"three.npy must have 2\^n rows for n qubits \(2, 4, 8, ...\), but has 3"),
        ("wide.npy", r"wide.npy must be a square matrix, but has shape \[2, 4\]"),
        ("one.npy", r"one.npy must have 2\^n rows"),
        ("words.npy", "words.npy: holds <U1, not numbers"),
        ("objects.npy", "objects.npy: holds Python objects"),
        ("text.npy", "text.npy: is not a NumPy array file"),
        ("none.npy", "none.npy: no such file"),
        ("text.csv", "text.csv: is no .npy file; save the matrix with numpy.save"),
        ("toffol", r"Gate 'toffol' is not known \(did you mean 'toffoli'\?\)"),
        ("rz", r'needs an angle in radians, as in geojax circuit "rz\(0.5\)"'),
        ("cx --penalty 1 2 3", r"--penalty must be a number, 2 numbers \(one per weight\) or 15"),
        ("x --penalty 0", "--penalty must be positive, but is 0"),
        ("cx --penalty 1 -4", "--penalty must be positive, but entry"),
        ("cx --penalty nan", "--penalty must be positive, but is nan"),
        ("cx --penalties-by-label XX", "--penalties-by-label: 'XX' is no price; write LABEL=PRICE"),
        ("cx --penalties-by-label XX=-1", "'XX=-1' is not positive; give a price above 0"),
        ("cx --penalties-by-label XX=1,XX=2", "--penalties-by-label: 'XX' is given twice"),
        ("cx --penalties-by-label XXX=2", "--penalties-by-label has the label 'XXX', which is no"),
        ("cx --coupling 0:1", "--coupling: '0:1' is no pair of qubits; write 0-1,1-2"),
        ("cx --coupling 0-2", "--coupling must be pairs of different qubits from 0 to 1"),
        ("ccx --coupling 0-1", "--coupling must connect all qubits"),
        ("x --coupling 0-1", "--coupling: the target acts on one qubit"),
        ("x --order 3", "--order must be 1 or 2, but is 3"),
        ("x --slices 0", "--slices must be an integer of at least 1, but is 0"),
        ("x --starts 0", "--starts must be an integer of at least 1, but is 0"),
        ("x --steps 1", "--steps must be an integer of at least 2, but is 1"),
        ("x --seed -1", "--seed: -1 is no seed"),
        ("qft5", "of 5 qubits with 32 starts would need about 19.8 GB .* machine has 1 GB"),
        ("x --slices 99999999", "of 1 qubits with 32 starts would need about"),
    ],
)
def test_bad_input_is_one_line(command, tmp_path, tree, monkeypatch, arguments, message):
    monkeypatch.setattr(checks, "installed_memory", lambda: 10**9)
    for name, matrix in BAD_FILES.items():
        np.save(tmp_path / f"{name}.npy", matrix, allow_pickle=name == "objects")
    for name in ("text.npy", "text.csv"):
        (tmp_path / name).write_text("1,0\n0,1\n")
    before = tree(tmp_path)
    outcome = command("circuit", *arguments.split(), "--out", "run")
    assert outcome.code == 2, outcome.err
    assert re.search(message, outcome.err), outcome.err
    assert outcome.err.count("\n") == 1
    assert tree(tmp_path) == before


def test_a_large_file_is_refused_before_it_is_read(command, tmp_path, monkeypatch):
    np.save(tmp_path / "large.npy", np.eye(64))
    monkeypatch.setattr(checks, "installed_memory", lambda: 10**5)
    monkeypatch.setattr("geojax.io.npy.read_npy", lambda path: pytest.fail("was read"))
    outcome = command("circuit", "large.npy", "--out", "run")
    assert outcome.code == 2
    assert "large.npy: a path of matrices like it would need about" in outcome.err


@pytest.mark.slow
def test_two_qubits(command, tmp_path):
    """A gate on two qubits by dear interactions, and its page without a sphere."""
    arguments = ("--penalty", 1, 4, "--starts", 16, "--steps", 16, "--out", "run")
    outcome = command("circuit", "cx", *arguments)
    assert outcome.code == 0, outcome.err
    page = (tmp_path / "run/report.html").read_text()
    assert "Bloch" not in page
    assert "Qubits that act together" in page
    figures = result_of(tmp_path / "run")["figures"]
    # straight along IX, ZI and ZX, which commute: all of length pi / 4, one of them at price 4
    assert figures["distance"] == pytest.approx(math.pi / 4 * math.sqrt(6), abs=1e-8)
    assert figures["gates"] == {"cx": 2, "h": 2, "rx": 1, "rz": 2}
    assert figures["infidelity"] < 1e-10


@pytest.mark.slow
def test_three_qubits(command, tmp_path):
    """Some starts of this end at another root of unity times the gate than they sought."""
    outcome = command("circuit", "toffoli", "--penalty", 4, "--out", "run")
    assert outcome.code == 0, outcome.err
    figures = result_of(tmp_path / "run")["figures"]
    # straight along seven strings of length pi / 8 each, one of them at price 4
    assert figures["distance"] == pytest.approx(math.pi / 8 * math.sqrt(10), abs=1e-8)
    assert figures["infidelity"] < 1e-10
