"""What a match of images found: a deformation that moves images, labels and points."""

import warnings
from pathlib import Path as FilePath
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from geojax._core import checks
from geojax._core.errors import InputError
from geojax._core.results import RESULTS, code_if, first_failure, result_name, result_named
from geojax.flows.grids import compose, determinants, jacobian_matrices
from geojax.flows.interpolation import sample
from geojax.io import is_labels, load_arrays, save_arrays
from geojax.matching.images.levels import Frame, padded_frame
from geojax.matching.images.problem import ImageProblem
from geojax.matching.images.search import Found, Pair
from geojax.shapes import Image


class Carried(NamedTuple):
    """How far something beside the images is from its partner.

    Attributes:
        name: of the pair.
        before: distance after the affine map alone.
        after: distance after the deformation. Of landmarks the root mean square, of shapes the
            distance of their fidelity, in the world of the source; of labels one minus the mean
            overlap.
    """

    name: str
    before: float
    after: float


class ImageMatch(eqx.Module):
    """A deformation between the worlds of two images.

    Points of the target's world lead to the source's by the pull displacement and then the affine
    map; the push displacement leads back.

    Attributes:
        source, target: the images.
        affine: from the target's world to the source's, `[d + 1, d + 1]`.
        pull, push: displacements on the padded grid of the target, `[d, *grid]`, along its axes.
        grid_affine: from indices of that grid to the target's world.
        objective: energy plus weighted fidelity, at the finest resolution that was searched.
        energy: of the deformation beyond the affine map.
        residual: fidelity left.
        residual_before: fidelity after the affine map alone.
        history: objective at the finest resolution (NaN beyond the last).
        num_iterations: of all resolutions.
        folds: points of the target where the deformation folds.
        smallest_determinant: of its Jacobian, there.
        inverse_error: largest distance from the start after moving there and back, of points of
            the target.
        result: result code.
        beside: for each thing beside the images its name, and how far it is from its partner before
            and after.
        change: what a metamorphosis adds to the intensities of the moved source, on that grid;
            None if it is none.
    """

    source: Image
    target: Image
    affine: np.ndarray
    pull: Float[Array, "d *grid"]
    push: Float[Array, "d *grid"]
    grid_affine: np.ndarray
    objective: Float[Array, ""]
    energy: Float[Array, ""]
    residual: Float[Array, ""]
    residual_before: Float[Array, ""]
    history: Float[Array, " k"]
    num_iterations: Int[Array, ""]
    result: RESULTS
    folds: int
    smallest_determinant: float
    inverse_error: float
    beside: tuple[Carried, ...] = eqx.field(static=True, default=())
    change: Float[Array, "*grid"] | None = None

    @classmethod
    def of(
        cls,
        source: Image,
        target: Image,
        problem: ImageProblem,
        found: Found,
        affine: np.ndarray,
        pair: Pair,
        names: tuple[str, ...] = (),
    ) -> "ImageMatch":
        """Put together from where a search ended, and the problem on the grid of the target."""
        frame = pair.target.frame
        motion, push, residual, before, carried = _measured(problem, found.noise)
        pull, change = motion.displacement, motion.change
        finite = jnp.isfinite(found.value) & jnp.all(jnp.isfinite(pull))
        code = first_failure(
            code_if(~finite, RESULTS.not_finite), code_if(~found.settled, RESULTS.not_converged)
        )
        inside = inside_of(frame, target)
        det = np.asarray(_determinants(pull, problem.metric.spacing))[inside]
        there = np.asarray(_round_trip(pull, push, problem.metric.spacing))[(slice(None), *inside)]
        return cls(
            source=source,
            target=target,
            affine=affine,
            pull=pull,
            push=push,
            grid_affine=frame.affine,
            objective=found.value,
            change=None if change is None else change * jnp.asarray(pair.contrast, change.dtype),
            energy=motion.energy,
            residual=residual,
            residual_before=before,
            history=found.history,
            num_iterations=found.num_iterations,
            result=code,
            # written so that a determinant that is not a number counts as a fold
            folds=int(np.sum(~(det > 0))),
            smallest_determinant=float(np.min(det)),
            inverse_error=float(np.max(np.linalg.norm(there, axis=0))),
            beside=tuple(
                Carried(name, *map(float, ends)) for name, ends in zip(names, carried, strict=True)
            ),
        )

    @property
    def _frame(self) -> Frame:
        return Frame(self.pull.shape[1:], self.grid_affine)

    def apply(self, points, *, inverse: bool = False) -> Float[np.ndarray, "n d"]:
        """Move points of the source's world to the target's, or back.

        Args:
            points: `[n, d]`, in the units of the world.
            inverse: from the target's world to the source's.

        Raises:
            InputError: points of another dimension, or not finite.
        """
        array = np.asarray(points)
        # coordinates of the world keep their digits, which JAX without 64 bits would cut
        wide = array.dtype == np.float64
        array = array if wide else np.asarray(checks.as_points(array, "points"), float)
        d = self.source.dimension
        if array.ndim != 2 or array.shape[1] != d:
            raise InputError(
                f"Argument points must have {d} coordinates, but has shape {list(array.shape)}."
            )
        checks.finite(array, "points")
        return self._carried(array, inverse)

    def _carried(self, points: np.ndarray, inverse: bool) -> np.ndarray:
        if inverse:
            return _by_affine(self.affine, points + self._shift(self.pull, points))
        points = _by_affine(np.linalg.inv(self.affine), points)
        return points + self._shift(self.push, points)

    def _shift(self, displacement, points: np.ndarray) -> np.ndarray:
        """Displacement at points of the target's world."""
        frame = self._frame
        indices = _by_affine(np.linalg.inv(frame.affine), points).T
        found = sample(displacement, jnp.asarray(indices, displacement.dtype), ends="zero")
        return np.asarray(found, float).T @ frame.axes.T

    def warp(
        self, image: Any, *, inverse: bool = False, order: int = 1, fill: float | int = 0.0
    ) -> Image:
        """An image in the source's world, seen on the target's grid; or the other way round.

        Args:
            image: intensities or labels, on any grid of the source's world (with `inverse`, of
                the target's).
            inverse: from target to source.
            order: of the interpolation: 1 linear, 3 cubic, 0 nearest. Labels need 0; others warn
                of integers that look like labels.
            fill: value beyond the ends of the image.

        Returns:
            The image, of the dtype that it had.

        Raises:
            InputError: no image of this dimension, or a fill that its dtype does not hold.
        """
        like = self.source if inverse else self.target
        if not isinstance(image, Image) or image.dimension != like.dimension:
            raise InputError(
                f"Argument image must be an `Image` in {like.dimension} dimensions, but is "
                f"{image!r}."
            )
        kept = np.asarray(image.values)
        if not np.isfinite(fill) or float(np.clip(fill, *_limits(kept.dtype))) != fill:
            raise InputError(f"Argument fill must be a number of {kept.dtype}, but is {fill!r}.")
        indices = image.to_indices(self._carried(places_of(like), not inverse)).T
        if order == 0:
            # as they are: float32 does not hold every integer
            sizes = zip(indices, image.grid, strict=True)
            found = kept[tuple(np.clip(np.rint(i), 0, n - 1).astype(int) for i, n in sizes)]
        else:
            if kept.dtype.kind != "f" and is_labels(kept):
                warnings.warn(
                    f"Argument image holds integers that look like labels, and order {order} mixes "
                    "them; give order 0 for labels, floating-point numbers for intensities.",
                    stacklevel=2,
                )
            values = kept if kept.dtype.kind == "f" else kept.astype(self.pull.dtype)
            places = jnp.asarray(indices, values.dtype)
            found = np.asarray(sample(jnp.asarray(values), places, order=order))
            if kept.dtype.kind != "f":
                found = np.clip(np.round(found), *_limits(kept.dtype))
        limits = np.asarray(image.grid)[:, None] - 0.5
        outside = np.any((indices < -0.5) | (indices > limits), axis=0)
        found = np.where(outside, fill, found).astype(kept.dtype)
        return Image(jnp.asarray(found.reshape(like.grid)), like.affine)

    def save(self, folder: str | FilePath) -> None:
        """Save the deformation as `deformation.npz` with a manifest of hashes.

        Raises:
            StorageError: the folder cannot be written.
        """
        arrays: dict[str, Any] = {name: getattr(self, name) for name in _ARRAYS}
        if self.change is not None:
            arrays["change"] = self.change
        for name in ("source", "target"):
            image = getattr(self, name)
            arrays |= {f"{name}_values": image.values, f"{name}_affine": image.affine}
        metadata: dict[str, Any] = {name: _plain(getattr(self, name)) for name in _QUALITY}
        metadata["result"] = result_name(self.result)
        metadata["beside"] = [[x.name, _plain(x.before), _plain(x.after)] for x in self.beside]
        save_arrays(folder, "deformation", arrays, metadata, kind=KIND)

    @property
    def moved(self) -> Image:
        """The source on the target's grid, with the change of its intensities; not rounded."""
        values = self.source.values
        values = values if values.dtype.kind == "f" else values.astype(self.pull.dtype)
        moved = self.warp(Image(values, self.source.affine))
        if self.change is None:
            return moved
        values = moved.values + self.change[inside_of(self._frame, self.target)]
        return Image(values, moved.affine)

    def determinants(self) -> Image:
        """Jacobian determinant of the whole map from target to source, on the target's grid."""
        spacing = jnp.asarray(self._frame.spacing, self.pull.dtype)
        inside = inside_of(self._frame, self.target)
        det = np.asarray(_determinants(self.pull, spacing))[inside]
        return Image(jnp.asarray(det * abs(np.linalg.det(self.affine))), self.target.affine)

    def displacement(self) -> Float[np.ndarray, "d *grid"]:
        """From each point of the target to where it lies in the source's world.

        With the affine map; the form that other tools read, see `io.write_displacement`.
        """
        places = places_of(self.target)
        shift = self._carried(places, True) - places
        return shift.T.reshape(-1, *self.target.grid)


def _limits(dtype: np.dtype) -> tuple[float, float]:
    """The least and the largest number of a dtype."""
    if dtype.kind == "b":
        return 0.0, 1.0
    info = np.finfo(dtype) if dtype.kind == "f" else np.iinfo(dtype)
    return float(info.min), float(info.max)


KIND = "geojax image match"
_ARRAYS = (
    "affine",
    "pull",
    "push",
    "grid_affine",
    "objective",
    "energy",
    "residual",
    "residual_before",
    "history",
    "num_iterations",
)
_QUALITY = ("folds", "smallest_determinant", "inverse_error")


def load_image_match(folder: str | FilePath) -> ImageMatch:
    """Load a deformation that `ImageMatch.save` wrote.

    Raises:
        InputError: not a saved deformation of images.
        StorageError: a file is missing, or its hash does not fit.
    """
    arrays, metadata = load_arrays(folder, "deformation", kind=KIND)
    try:
        images: dict[str, Any] = {
            name: Image(arrays[f"{name}_values"], arrays[f"{name}_affine"])
            for name in ("source", "target")
        }
        world = ("affine", "grid_affine")  # in full precision, as they came
        numbers: dict[str, Any] = {
            k: arrays[k] if k in world else jnp.asarray(arrays[k]) for k in _ARRAYS
        }
        numbers["change"] = jnp.asarray(arrays["change"]) if "change" in arrays else None
        quality: dict[str, Any] = {
            k: metadata[k] if k == "folds" else float(metadata[k]) for k in _QUALITY
        }
        result = result_named(metadata["result"])
        beside = tuple(Carried(k, float(a), float(b)) for k, a, b in metadata.get("beside", []))
        return ImageMatch(**images, **numbers, **quality, result=result, beside=beside)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{folder}: is not a match of images as geojax writes it ({error!r}); save it anew"
        ) from error


def _plain(number: int | float) -> int | float | str:
    """A number as JSON, which knows no NaN and no infinity."""
    return number if np.isfinite(number) else str(number)


@eqx.filter_jit
def _measured(problem: ImageProblem, noise):
    motion, push = problem.move(noise), problem.move(noise, push=True).displacement
    places = None, motion.displacement
    carried = [tuple(t.distance(problem.level, u) for u in places) for t in problem.beside]
    return motion, push, problem.distance(motion), problem.distance(None), carried


@eqx.filter_jit
def _determinants(displacement, spacing):
    return determinants(jacobian_matrices(displacement, spacing))


@eqx.filter_jit
def _round_trip(pull, push, spacing):
    return compose(push, pull, spacing)


def inside_of(frame: Frame, image: Image) -> tuple[slice, ...]:
    """Where an image lies in its padded grid."""
    _, pads = padded_frame(image)
    return tuple(slice(a, a + n) for (a, _), n in zip(pads, image.grid, strict=True))


def places_of(image: Image) -> np.ndarray:
    """Where the points of a grid lie in the world, `[n, d]`."""
    indices = np.stack(np.meshgrid(*map(np.arange, image.grid), indexing="ij"), -1)
    return image.to_world(indices.reshape(-1, image.dimension).astype(float))


def _by_affine(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    return points @ matrix[:-1, :-1].T + matrix[:-1, -1]
