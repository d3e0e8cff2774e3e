"""The options of `geojax circuit`; read to answer `--help`, like those beside them."""

from dataclasses import dataclass
from typing import ClassVar

import tyro

from geojax.cli.common_options import Common


@dataclass(frozen=True, kw_only=True)
class Circuit(Common):
    """Find Nielsen's complexity of the quantum gate TARGET, the controls that reach it, a circuit.

    The complexity is the length of a shortest curve from the identity, where the Hamiltonian is
    priced string by string. TARGET is a gate such as cx, toffoli, "rz(0.5)" or qft3, or a .npy file
    with a unitary matrix, the leftmost factor of its tensor product being qubit 0. The folder --out
    then holds the controls (controls.npz), a circuit (circuit.qasm, OpenQASM 3), report.html and
    result.json. Always in double precision.
    """

    always_x64: ClassVar[bool] = True

    target: tyro.conf.Positional[str]
    """Gate, or .npy file."""
    out: str
    """Folder for the results."""
    penalty: tuple[float, ...] = ()
    """Price of Pauli strings: one number for those on three or more qubits (others cost 1), n
    numbers for those on 1, ..., n qubits, or 4^n - 1 numbers, one for each (X Y Z for one qubit).
    inf forbids a string. All cost 1 if not given."""
    penalties_by_label: str | None = None
    """Prices of single strings in place of those, such as XX=4,ZZ=inf."""
    coupling: str | None = None
    """Pairs of qubits that interact, such as 0-1,1-2: a string on others is priced by the size of
    the smallest connected set that holds it. All pairs if not given."""
    starts: int = 32
    """Searches, all at once; the shortest geodesic that they find is taken."""
    steps: int = 32
    """Time steps of each geodesic, or the next number that the slices divide; more for prices
    beyond about fifty."""
    seed: int = 0
    """Seed of the random starts."""
    slices: int = 16
    """Pieces of the controls, each of a constant Hamiltonian; the circuit splits each one."""
    order: int = 2
    """Order of the product formula that makes the circuit, 1 or 2."""
    config: str | None = None
    """TOML file with these options; what the command line gives goes first."""
