"""The options of every command, as frozen dataclasses.

This module is read to answer `--help`, so it imports nothing that takes long. The strings below
fields are their help texts.
"""

from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union

import tyro

from geojax.cli.circuit_options import Circuit
from geojax.cli.common_options import Common
from geojax.cli.network_options import Measure, Train
from geojax.cli.sweep_options import Sweep

Kernel = Literal["gaussian", "cauchy", "laplace", "matern32", "matern52"]
Fidelity = Literal["landmarks", "mmd", "sinkhorn", "varifold", "currents"]
AnyFidelity = Literal[Fidelity, "lncc", "ssd", "nmi"]
ImageModel = Literal["stationary", "time-dependent", "shooting", "metamorphosis"]
Order = Literal["nearest", "linear", "cubic"]


@dataclass(frozen=True, kw_only=True)
class Demo(Common):
    """Match two brain outlines, train a network with and without regulariser, show one page.

    Needs no files: the data come inside nilearn and scikit-learn. Open report.html in the folder.
    """

    out: str = "geojax-demo"
    """Folder for the results."""
    points: int = 300
    """Points on each outline."""
    epochs: int = 60
    """Epochs of each training."""
    seed: int = 0
    """Seed of the network's initialisation and of the order of the data."""


@dataclass(frozen=True, kw_only=True)
class Match(Common):
    """Find the cheapest deformation that carries SOURCE to TARGET: points, meshes or images.

    Points: npy, npz (FILE.npz:ARRAY picks one), csv. Meshes: vtk, vtp, ply, obj, off, stl, gii,
    surfaces of FreeSurfer. Images: nii, nii.gz, png, jpg, tif. The folder --out then holds the
    deformation, the moved source in the format it came in, report.html and result.json; of a mesh
    also momentum and Jacobian, in a .vtp for ParaView; of images also displacement and Jacobian.
    """

    source: tyro.conf.Positional[str]
    """File to move."""
    target: tyro.conf.Positional[str]
    """File to reach."""
    out: str
    """Folder for the results."""
    fidelity: AnyFidelity | None = None
    """How closeness is measured: varifold or currents (surfaces or curves; varifold is the default
    where both files hold one or the other), landmarks (point i goes to point i; the default where
    both have the same number of points), mmd or sinkhorn (unlabelled points); of images lncc (local
    correlation, the default), ssd (differences) or nmi (mutual information)."""
    kernel: Kernel | None = None
    """Kernel of the velocities: how far a point takes its neighbours along. Gaussian if not given,
    and for images always."""
    scale: tuple[float, ...] = ()
    """Length scale of the kernel, in the unit of the points or of the world of the images; several
    are summed. Chosen from the data if not given; for images from two voxels to a fifth of the
    size."""
    fidelity_scale: float | None = None
    """Length over which mmd, varifold and currents (the scale of their kernel), sinkhorn (its blur)
    or lncc (its window) tell places apart; from the data if not given."""
    weight: float | None = None
    """Price of the distance to the target against the energy: larger comes closer. 1000 for
    landmarks if not given."""
    num_steps: int | None = None
    """Time steps of the path: 5 if not given; for images 8 with --model time-dependent, else 10."""
    max_iterations: int | None = None
    """Iterations of the optimiser: 200 if not given; for images 100 at each resolution."""
    tolerance: float | None = None
    """Where the optimiser stops: the gradient, relative to that at rest, 1e-3 if not given; for
    images what five iterations bring, as part of all that was gained, 1e-2 if not given."""
    control_points: int | None = None
    """Move the points by so many control points. If not given: by all points, or where these are
    far closer than the scale, by as many as it takes."""
    merge_duplicates: float | None = None
    """Merge points of the source that are closer than this."""
    model: ImageModel | None = None
    """Images: one velocity for all times (the default), one for each time step, or a geodesic of
    the source, on which intensities may change as well (metamorphosis)."""
    intensity_price: float | None = None
    """Images with --model metamorphosis: price of a change of intensities, in a range of one."""
    factors: tuple[int, ...] = ()
    """Images: resolutions, as voxels per block along each axis, from coarse to fine; 4 2 1 as far
    as the image allows if not given. Without 1 it takes a fraction of the time."""
    affine: Literal["affine", "similarity", "rigid", "translation", "none"] | None = None
    """Images: kind of the map that is found first. Affine if not given; none where the worlds
    agree."""
    source_mask: str | None = None
    """Images: file on the grid of SOURCE that is positive where the source counts."""
    target_mask: str | None = None
    """Images: file on the grid of TARGET that is positive where the target counts."""
    landmarks: tuple[str, str] | None = None
    """Images: point files of landmarks in the source and, in the same order, in the target, which
    the deformation brings together as well."""
    surfaces: tuple[str, str] | None = None
    """Images: meshes or curves in the source and in the target, brought together as well."""
    labels: tuple[str, str] | None = None
    """Images: label images of the source and of the target, brought together as well; label 0 is
    background."""
    accuracy: float | None = None
    """Images: how far landmarks or surfaces may be off, in the unit of the world of the source; a
    voxel of the target if not given."""
    config: str | None = None
    """TOML file with these options; what the command line gives goes first."""


@dataclass(frozen=True, kw_only=True)
class Population(Common):
    """Options of the models of many shapes."""

    out: str
    """Folder for the results."""
    fidelity: AnyFidelity | None = None
    """How closeness is measured, as of geojax match; what the files hold decides if not given."""
    kernel: Kernel = "gaussian"
    """Kernel of the velocities: how far a point takes its neighbours along."""
    scale: tuple[float, ...] = ()
    """Length scale of the kernel, in the unit of the points; several are summed. Chosen from the
    data if not given."""
    fidelity_scale: float | None = None
    """Length over which mmd, varifold, currents or sinkhorn tell places apart; from the data if
    not given."""
    weight: float | None = None
    """Price of the distance to each shape against the energy: larger comes closer."""
    max_iterations: int | None = None
    """Iterations of the optimiser: 1000 if not given, as a template settles slowly; for images 100
    at each resolution."""
    tolerance: float | None = None
    """Where the optimiser stops, as of geojax match."""
    control_points: int | None = None
    """Move the points by so many control points. If not given: by all points, or where these are
    far closer than the scale, by as many as it takes."""
    batch_size: int | None = None
    """Shapes that are worked on at a time, which bounds the memory."""
    config: str | None = None
    """TOML file with these options; what the command line gives goes first."""


@dataclass(frozen=True, kw_only=True)
class Atlas(Population):
    """Find a template and the deformations that carry it to all SUBJECTS, starting from TEMPLATE.

    Files as for geojax match. The folder --out then holds the template and, for each subject, the
    template carried to it, in the format of TEMPLATE; momenta and control points in atlas.npz;
    report.html and result.json. Of images it holds the template and, for each subject, a folder as
    of geojax match, from the subject to the template; TEMPLATE may be - : the mean of the SUBJECTS.
    """

    template: tyro.conf.Positional[str]
    """File where the template starts."""
    subjects: tyro.conf.Positional[tuple[str, ...]]
    """Files of the shapes."""
    keep_template: bool = False
    """Leave the template where it is: many matches at once."""
    estimate_control_points: bool = False
    """Also search where the control points should be (with --control-points)."""
    num_steps: int | None = None
    """Time steps of each path: 5 if not given; for images, 8 with --model time-dependent, else
    10."""
    rounds: int | None = None
    """Images: how often the template is estimated anew, 4 if not given."""
    model: ImageModel | None = None
    """Images: one velocity for all times (the default), one for each time step, or a geodesic of
    the source, on which intensities may change as well (metamorphosis)."""
    intensity_price: float | None = None
    """Images with --model metamorphosis: price of a change of intensities, in a range of one."""
    factors: tuple[int, ...] = ()
    """Images: resolutions, as voxels per block along each axis, from coarse to fine; 4 2 1 as far
    as the image allows if not given. Without 1 it takes a fraction of the time."""
    affine: Literal["affine", "similarity", "rigid", "translation", "none"] | None = None
    """Images: kind of the maps that are found first. Affine if not given; none where the worlds
    agree."""


@dataclass(frozen=True, kw_only=True)
class Regress(Population):
    """Find the geodesic that passes closest to SHAPES seen at different times.

    Files as for geojax match. The folder --out then holds the shapes of the geodesic at a few
    times, in the format of the earliest file; momentum and control points in regression.npz;
    report.html and result.json.
    """

    shapes: tyro.conf.Positional[tuple[str, ...]]
    """Files of the shapes."""
    fidelity: Fidelity | None = None
    """How closeness is measured, as of geojax match; what the files hold decides if not given."""
    max_iterations: int = 200
    """Iterations of the optimiser."""
    tolerance: float = 1e-3
    """Gradient at which the optimiser stops, relative to that at rest."""
    times: tuple[float, ...]
    """When each was seen, in the order of the files."""
    at: tuple[float, ...] = ()
    """Times at which the geodesic is written, which may lie before and after those that were
    seen; five over the whole if not given."""
    estimate_baseline: bool = False
    """Also move the shape at the earliest time, which is otherwise the file of that time."""
    num_steps: int = 10
    """Time steps of the whole path, at least one between times."""


@dataclass(frozen=True, kw_only=True)
class Apply(Common):
    """Move points, a mesh or an image by a deformation that `geojax match` has saved.

    The moved file keeps its name, its format and all but the coordinates; an image comes to lie on
    the grid of the target. Images need a match of images, which moves points and meshes as well.
    """

    run: tyro.conf.Positional[str]
    """Folder of the match."""
    points: tyro.conf.Positional[str]
    """File to move."""
    inverse: bool = False
    """Move back: from the target to the source."""
    order: Order | None = None
    """Images: interpolation. Linear if not given; nearest for what looks like labels."""
    labels: bool = False
    """Images: the file holds labels, which are moved without mixing them."""
    out: str | None = None
    """Folder for the results; a folder inside that of the match if not given."""


@dataclass(frozen=True, kw_only=True)
class Quality(Common):
    """Say how well two label images agree: the Dice overlap and 95 % Hausdorff distance of each.

    With --run, LABELS lie in the world of the source of that match of images. They are compared as
    they are, after its affine map, and after all of its deformation.
    """

    labels: tyro.conf.Positional[str]
    """Label image."""
    target: tyro.conf.Positional[str]
    """Label image that it is compared with; label 0 is background."""
    run: str | None = None
    """Folder of a match of images, by which LABELS are moved; says also how regular it is."""
    landmarks: tuple[str, str] | None = None
    """Point files of landmarks in the source and, in the same order, in the target of --run."""
    out: str | None = None
    """Folder for result.json."""


@dataclass(frozen=True, kw_only=True)
class Transport(Common):
    """Carry the deformation in RUN over to another subject, along the deformation in TO.

    Both are folders of `geojax match`, with the same SOURCE, kernel and scale: say a baseline
    matched to its follow-up, and the same baseline matched to another subject. The folder --out
    then holds the carried deformation, for `geojax apply`, and the other subject moved by it.
    """

    run: tyro.conf.Positional[str]
    """Folder of the match that is carried."""
    to: tyro.conf.Positional[str]
    """Folder of the match along which it is carried."""
    out: str
    """Folder for the results."""
    points: str | None = None
    """File of the other subject, which is moved; the target of TO if not given."""
    num_rungs: int | None = None
    """Climb a pole ladder of so many rungs. If not given, the differential equation of parallel
    transport is integrated."""


@dataclass(frozen=True, kw_only=True)
class Doctor(Common):
    """Say what geojax runs on: versions, devices, precision, cache, extras, and a small check."""

    out: str | None = None
    """Folder for result.json."""


Options = (
    Demo
    | Match
    | Apply
    | Quality
    | Atlas
    | Regress
    | Transport
    | Train
    | Measure
    | Circuit
    | Sweep
    | Doctor
)

COMMANDS: dict[str, type[Options]] = {
    "demo": Demo,
    "match": Match,
    "apply": Apply,
    "quality": Quality,
    "atlas": Atlas,
    "regress": Regress,
    "transport": Transport,
    "train": Train,
    "measure": Measure,
    "circuit": Circuit,
    "sweep": Sweep,
    "doctor": Doctor,
}

# Words that people use for an option, where spelling alone would not lead to it.
SYNONYMS = {
    "sigma": "scale",
    "sigam": "scale",
    "width": "scale",
    "bandwidth": "scale",
    "loss": "fidelity",
    "attachment": "fidelity",
    "regularisation": "energy-weight",
    "lambda": "weight",
    "output": "out",
    "steps": "num-steps",
    "iterations": "max-iterations",
    "double": "x64",
    "force": "overwrite",
    "lr": "learning-rate",
    "penalties": "penalty",
    "edges": "coupling",
    "seed": "seeds",
}


def command_type(defaults: dict[str, Options]) -> Any:
    """The type that tyro parses: one subcommand per command, with defaults from a file if any."""
    parts = [
        Annotated[
            kind,
            tyro.conf.subcommand(name, default=defaults[name])
            if name in defaults
            else tyro.conf.subcommand(name),
        ]
        for name, kind in COMMANDS.items()
    ]

    return Union[tuple(parts)]  # noqa: UP007 (built at run time)


__all__ = [
    "COMMANDS", "SYNONYMS", "Apply", "Atlas", "Circuit", "Common", "Demo", "Doctor", "Match",
    "Measure", "Options", "Population", "Quality", "Regress", "Sweep", "Train", "Transport",
    "command_type",
]  # fmt: skip
