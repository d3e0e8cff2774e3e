"""`geojax measure`: the geometry of trained networks, layer by layer."""

from pathlib import Path
from typing import Any

import numpy as np

from geojax._core import checks
from geojax._core.errors import InputError
from geojax.cli import train
from geojax.cli.naming import named_options
from geojax.cli.options import Measure
from geojax.cli.run import RESULT, Run, clean, versions
from geojax.io import files


def run(options: Measure, run: Run) -> dict[str, Any]:
    """Load the models and their test samples, measure, and write the report."""
    from geojax.training import load_model

    with named_options(options):
        checks.count(options.samples, "samples")
        checks.count(options.jacobians, "jacobians", least=0)
    folders = model_folders(options.run)
    models = {}
    for folder in folders:
        models[folder.name] = load_model(folder)[0]
        run.add_input(folder / files.MANIFEST)
    data = samples_of(options, run)
    for name, model in models.items():
        if (model.num_features, model.num_classes) != (data.num_features, data.num_classes):
            raise InputError(
                f"{options.run}: network {name} takes {model.num_features} features to "
                f"{model.num_classes} classes, but {data.name} has {data.num_features} and "
                f"{data.num_classes}; give the folder and the data of one training"
            )
    run.claim(Path(options.run) / "measure" if options.out is None else options.out)
    views = {}
    for name, model in models.items():
        run.progress(f"measuring {name}")
        views[name] = measured(model, data, options)
    figures = {
        f"{name}_{key}": value
        for name, found in views.items()
        for key, value in found.figures().items()
    }
    run.progress("drawing")
    run.write("report.html", report(views, data, run))
    show(views, run)
    return figures


def model_folders(folder: str) -> list[Path]:
    """Folders of the models of a training.

    Raises:
        InputError: no such folder, or it is of no training.
    """
    place = files.checked_path(folder, "RUN")
    if not (place / RESULT).is_file():
        raise InputError(f"{folder}: holds no {RESULT}; give a folder that geojax train has left")
    found = sorted(
        path for path in (place / "models").glob("*") if (path / files.MANIFEST).exists()
    )
    if not found:
        raise InputError(f"{folder}: holds no models; give a folder that geojax train has left")
    return found


def samples_of(options: Measure, run: Run) -> Any:
    """The test samples of the training: its own split of its own data.

    Raises:
        InputError: the data have changed since.
    """
    place = Path(options.run) / RESULT
    result = files.read_json(place)
    try:
        source, hashes, status = result["config"]["data"], result["inputs"], result["status"]
    except (KeyError, TypeError) as error:
        raise InputError(f"{place}: is no result of geojax train") from error
    if status != "ok":
        raise InputError(f"{place}: says that the training is {status!r}; finish it first")
    if source is not None:
        train.add_data(run, source)
        if {name: run.inputs.get(name) for name in hashes} != hashes:
            raise InputError(f"{source}: has changed since {options.run} was trained on it")
    test = train.load_split(options, source).test
    rows = np.unique(np.linspace(0, len(test) - 1, min(options.samples, len(test))).astype(int))
    return test.take(rows)


def measured(model: Any, data: Any, options: Measure) -> Any:
    """The measures of one network."""
    from geojax.complexity import measure

    count = min(options.jacobians, len(data))
    return measure(model, data.inputs, data.labels, num_jacobians=count)


def report(views: dict[str, Any], data: Any, run: Run) -> str:
    """The page."""
    from geojax.reports import measures_section, render_page

    section = measures_section(
        views,
        title="The paths",
        text=f"Each of {len(data):,} test samples of {data.name} runs through the networks. A "
        "flow is looked at as ten layers, its parts over equal times. A layer near the identity "
        "nearly commutes with its neighbour; a geodesic has no defect; a layer that is deleted or "
        "swapped without effect was near the identity, or was not needed.",
    )
    return render_page(
        f"Networks of {data.name} as paths",
        "How long, how straight and how robust the paths of trained networks are.",
        [section],
        versions=versions(),
        config=clean(run.config),
    )


def show(views: dict[str, Any], run: Run) -> None:
    """Print the figures and where the report is."""
    from geojax.complexity.measures import LABELS
    from geojax.reports import form

    figures = {name: found.figures() for name, found in views.items()}
    run.clear_progress()
    print(f"{'':62}" + "".join(f"{name:>20}" for name in views))
    for key, label in LABELS.items():
        if not any(key in found for found in figures.values()):
            continue
        cells = [
            f"{form(found[key])} ± {form(found[f'{key}_stderr'])}" if key in found else form(None)
            for found in figures.values()
        ]
        print(f"{label:62}" + "".join(f"{cell:>20}" for cell in cells))
    print(f"{'report':62}{run.folder}/report.html")
