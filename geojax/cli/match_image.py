"""`geojax match` of two images: the deformation, the moved source, displacement and Jacobian."""

import io
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from geojax._core.errors import InputError, NumericalError
from geojax.cli import image_beside, image_files, kinds, match as matching
from geojax.cli.naming import named_options
from geojax.cli.options import Atlas, Match
from geojax.cli.run import Run
from geojax.io import ImageFile, encode_displacement, encode_image

# Figure -> what it is called; "u" stands for the unit of the world.
LABELS = {
    "residual_before": ("distance of the images, after the affine map", ""),
    "residual": ("distance of the images, after the deformation", ""),
    "energy": ("energy of the deformation", ""),
    "objective": ("energy plus weighted distance", ""),
    "mean_displacement": ("mean displacement beyond the affine map", "u"),
    "largest_displacement": ("largest displacement beyond the affine map", "u"),
    "folds": ("folds (Jacobian determinant not positive)", ""),
    "smallest_determinant": ("smallest Jacobian determinant", ""),
    "sd_log_jacobian": ("standard deviation of log Jacobian", ""),
    "inverse_error": ("largest error of moving there and back", "u"),
    "iterations": ("iterations", ""),
    **image_beside.labels(),
    "seconds": ("seconds of the search", "s"),
}


def run(options: Match, run: Run) -> dict[str, Any]:
    """Read, check, match, and write the deformation, the moved source and the report."""
    options = kinds.image_options(options, run)
    source, target = image_files.read_pair(options.source, options.target)
    masks = {
        "source_mask": image_files.read_mask(options.source_mask, source, "source"),
        "target_mask": image_files.read_mask(options.target_mask, target, "target"),
    }
    read = {"source": source, "target": target, **masks}
    files = {name: file for name, file in read.items() if file is not None}
    for file in files.values():
        run.add_input(file.path)
    beside = image_beside.read(options, source.values.ndim, run)
    run.check_folder(options.out)
    with named_options(options, {name: str(file.path) for name, file in files.items()}):
        images = {name: image_files.to_image(file, options.x64) for name, file in files.items()}
        chosen = arguments(options, images["target"])
        if beside:
            chosen["beside"] = image_beside.pairs(beside, options, images)
        run.claim(options.out)
        run.progress("compiling")
        started = time.perf_counter()
        found = solve(images, chosen, run)
        seconds = time.perf_counter() - started
    figures = describe(found)
    timed = figures | {"seconds": round(seconds, 3)}
    if not matching.is_done(found):
        # A result that was not reached is withheld; its numbers say how far it came.
        run.figures = timed
        raise NumericalError(failure(found, figures, options), found.result)
    # the same match writes the same page, so without its time
    write(found, figures, run, source, target)
    matching.show(timed, run, image_files.unit(target), LABELS)
    return timed


def arguments(options: Match | Atlas, target: Any) -> dict[str, Any]:
    """Metric, fidelity and model, as `match_images` takes them, and numbers that it checks."""
    from geojax._core import checks
    from geojax.matching import Metamorphosis, Shooting, Stationary, TimeDependent
    from geojax.metrics import GaussianGrid
    from geojax.shapes import LNCC, NMI, SSD

    metric = fidelity = None
    if options.scale:
        scale = options.scale
        metric = GaussianGrid(target.spacing, scale[0] if len(scale) == 1 else np.asarray(scale))
    if options.fidelity_scale is not None:
        checks.positive(options.fidelity_scale, "fidelity_scale")
        fidelity = LNCC(options.fidelity_scale)
    elif options.fidelity != "lncc":
        fidelity = SSD() if options.fidelity == "ssd" else NMI()
    steps: dict[str, Any] = {}
    if options.num_steps is not None:
        steps["num_steps"] = options.num_steps
    models: dict[str, Callable[..., Any]] = {
        "stationary": Stationary,
        "time-dependent": TimeDependent,
        "shooting": Shooting,
        "metamorphosis": lambda **steps: Metamorphosis(price=options.intensity_price, **steps),
    }
    assert options.model is not None, "there is a default"
    return {
        "metric": metric,
        "fidelity": fidelity,
        "model": models[options.model](**steps),
        "factors": options.factors or None,
        "affine": None if options.affine == "none" else options.affine,
        "weight": options.weight,
        "tolerance": options.tolerance,
        "max_iterations": options.max_iterations,
    }


def solve(images: dict[str, Any], chosen: dict[str, Any], run: Run) -> Any:
    """The match, whatever came of it."""
    from geojax.matching import match_images

    return match_images(**images, **chosen, progress=run.iteration, throw=False)


def describe(found: Any) -> dict[str, Any]:
    """The figures of a match, as they go into result.json."""
    from geojax.shapes.overlap import jacobian_figures

    regular = jacobian_figures(np.asarray(found.determinants().values))
    shift = np.linalg.norm(beyond_affine(found), axis=0)
    return {
        "grid": list(found.target.grid),
        "spacing": found.target.spacing,
        "affine": found.affine,
        "residual_before": found.residual_before,
        "residual": found.residual,
        "energy": found.energy,
        "objective": found.objective,
        "mean_displacement": np.mean(shift),
        "largest_displacement": np.max(shift),
        "iterations": found.num_iterations,
        "folds": found.folds,
        "share_of_folds": regular["share_of_folds"],
        "smallest_determinant": found.smallest_determinant,
        "sd_log_jacobian": regular["sd_log"],
        "inverse_error": found.inverse_error,
        **image_beside.figures(found),
    }


def beyond_affine(found: Any) -> np.ndarray:
    """Displacement of the pull without the affine map, `[d, *grid]` along the target's own axes."""
    target = found.target
    d = target.dimension
    indices = np.stack(np.meshgrid(*map(np.arange, target.grid), indexing="ij"), -1)
    places = target.to_world(indices.reshape(-1, d).astype(float))
    moved = places + np.asarray(found.displacement(), float).reshape(d, -1).T
    back = np.linalg.inv(found.affine)
    shift = moved @ back[:-1, :-1].T + back[:-1, -1] - places
    axes = target.affine[:-1, :-1] / target.spacing
    return (shift @ axes).T.reshape(d, *target.grid)


def failure(found: Any, figures: dict[str, Any], options: Match | Atlas) -> str:
    """Why a match is not done, with the numbers, and what to do about it."""
    from geojax._core.results import RESULTS, message

    if bool(found.result == RESULTS.not_converged):
        return (
            "the match did not reach its tolerance: at the finest resolution the last five of "
            f"{options.max_iterations} iterations brought more than {options.tolerance:g} of what "
            f"was gained (objective {float(figures['objective']):.5g}); raise --max-iterations or "
            "--tolerance, or lower --weight"
        )
    if bool(found.result == RESULTS.not_finite):
        return (
            "the match failed: the deformation left the finite numbers (NaN or infinity); lower "
            "--weight, or give a larger --scale"
        )
    return f"the match failed: {message(found.result)}"


def write(
    found: Any, figures: dict[str, Any], run: Run, source: ImageFile, target: ImageFile
) -> None:
    """All files of a match but `result.json`."""
    run.progress("writing")
    write_deformation(found, run, source, target)
    run.progress("drawing")
    run.write("report.html", report(found, figures, run, source, target))


def write_deformation(
    found: Any, run: Run, source: ImageFile, target: ImageFile, folder: str = ""
) -> None:
    """The deformation, the moved source, displacement and Jacobian, in the run or below it."""
    assert run.folder is not None, "claim the folder first"
    start, affine = f"{folder}/" if folder else "", target.affine
    found.save(run.folder / folder)
    moved = encode_moved(found.moved.values, source, target, affine)
    run.write(f"{start}{source.path.name}", moved)
    field = encode_displacement("displacement.nii.gz", found.displacement(), affine)
    run.write(f"{start}displacement.nii.gz", field)
    determinants = np.asarray(found.determinants().values)
    if target.format == "nifti":
        data = encode_image("jacobian.nii.gz", determinants, like=target)
        run.write(f"{start}jacobian.nii.gz", data)
    else:
        stream = io.BytesIO()
        np.save(stream, determinants.astype(np.float32), allow_pickle=False)
        run.write(f"{start}jacobian.npy", stream.getvalue())


def encode_moved(
    values: Any, source: ImageFile, target: ImageFile | None, affine: np.ndarray
) -> bytes:
    """The moved source in its own format, on the grid of the target."""
    # The target knows in which world its affine leads; pictures have depth and palette instead.
    of_target = target is not None and target.format == source.format == "nifti"
    name = source.path.name
    try:
        return encode_image(
            name,
            image_files.storable(values, source),
            like=target if of_target else source,
            affine=affine,
        )
    except InputError as error:
        # what the computation found, and no mistake of the input
        raise NumericalError(f"the moved image cannot be written: {error}") from error


def report(
    found: Any, figures: dict[str, Any], run: Run, source: ImageFile, target: ImageFile
) -> str:
    """The page of a match."""
    from geojax.cli.run import clean, versions
    from geojax.reports import ImageMatchView, Quantity, Table, image_match_section, render_page

    plain = clean(figures)
    unit = image_files.unit(target)
    history = np.asarray(found.history)
    names = (source.path.name, target.path.name)
    view = ImageMatchView(
        source=np.asarray(found.source.values),
        target=np.asarray(found.target.values),
        moved=np.asarray(found.moved.values),
        displacement=beyond_affine(found),
        determinants=np.asarray(found.determinants().values),
        affines=(source.affine, target.affine),
        pictures=(source.format != "nifti", target.format != "nifti"),
        objective=history[np.isfinite(history)].tolist(),
        unit=unit,
        folds=found.folds,
        source_name=names[0],
        target_name=names[1],
    )
    grids = [" × ".join(map(str, image.grid)) for image in (found.source, found.target)]
    spacings = [
        " × ".join(f"{s:.3g}" for s in image.spacing) for image in (found.source, found.target)
    ]
    section = image_match_section(
        view,
        title="The match",
        text=(
            f"{names[0]} has {grids[0]} points at distances of {spacings[0]} {unit}, {names[1]} "
            f"{grids[1]} at {spacings[1]} {unit}."
        ),
        table=Table(["figure", "value", "unit"], matching.rows(figures, unit, LABELS)),
    )
    return render_page(
        f"{names[0]} to {names[1]}",
        "An affine map, then the deformation of least energy that carries one image to the other, "
        "found with geojax.",
        [section],
        quantities=[
            Quantity(plain["residual_before"], "", "distance of the images, affine map only"),
            Quantity(plain["residual"], "", "the same, after the deformation"),
            Quantity(plain["folds"], "", "folds"),
            Quantity(plain["inverse_error"], unit, "largest error of moving there and back"),
        ],
        versions=versions(),
        config=run.config,
    )
