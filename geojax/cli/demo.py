"""`geojax demo`: the main job on real data, and one page that shows it."""

import dataclasses
from typing import Any

import numpy as np
from scipy.spatial import KDTree

from geojax._core.errors import InputError, NumericalError
from geojax.cli import kinds, match as matching, train as training
from geojax.cli.naming import named_options
from geojax.cli.options import Demo, Match, Train
from geojax.cli.run import Run, clean, versions
from geojax.io import brain_outlines, encode_points

# Coronal section, in millimetres to the front of the origin: it cuts the lateral fissure.
LEVEL = -34.0
UNIT = "mm"


def run(options: Demo, run: Run) -> dict[str, Any]:
    """Match two outlines of the brain, train a network and its twin, write the page."""
    if options.points < 20:
        raise InputError(f"--points: {options.points} points make no outline; give at least 20")
    run.progress("reading the data")
    left, right = brain_outlines(options.points, level=LEVEL)
    train = Train(out=options.out, epochs=options.epochs, seeds=(options.seed,), x64=options.x64)
    with named_options(options):
        config = training.training_config(train)
        seeds = training.checked_seeds(train.seeds)
        split = training.load_split(train, None)
    settings = match_options(options)
    keep = ("scale", "fidelity_scale", "weight", "tolerance", "max_iterations", "num_steps")
    run.config["match"] = {k: v for k, v in dataclasses.asdict(settings).items() if k in keep}
    run.config["training"] = config.to_dict()
    run.claim(options.out)

    found, figures = match_outlines(left, right, settings, run)
    trainings = training.train_all(split, config, seeds, twin=True, run=run)
    trained = training.summarise(trainings)

    run.progress("drawing")
    run.write("left.csv", encode_points("left.csv", left))
    run.write("right.csv", encode_points("right.csv", right))
    page = report(found, figures, trainings, trained, split, run)
    run.write("report.html", page)
    matching.show(figures, run, UNIT)
    print()
    training.show(trained, run)
    return {"match": figures, "training": trained}


def match_options(options: Demo) -> Match:
    """The options of the match, as they could be given to `geojax match`."""
    match = Match(
        source="left",
        target="right",
        out=options.out,
        scale=(12.0,),
        fidelity_scale=4.0,
        weight=3e6,
        max_iterations=300,
        tolerance=1e-3,
        x64=options.x64,
    )
    return kinds.point_options(match)


def match_outlines(
    left: np.ndarray, right: np.ndarray, settings: Match, run: Run
) -> tuple[Any, dict[str, Any]]:
    """The deformation from the left outline to the mirrored right one, and its figures."""
    dtype = np.float64 if settings.x64 else np.float32
    found = matching.solve(
        left.astype(dtype),
        right.astype(dtype),
        fidelity="mmd",
        options=settings,
        run=run,
        claim=lambda: None,
    )
    figures = matching.describe(found)
    # The points are samples of curves; what counts is how far they lie from the other curve.
    curve = brain_outlines(20 * len(right), level=LEVEL)[1]
    for name, points in (("before", left), ("after", np.asarray(found.moved))):
        figures[f"outline_distance_{name}"] = float(np.mean(KDTree(curve).query(points)[0]))
    if not matching.is_done(found):
        run.figures = {"match": figures}
        raise NumericalError(
            f"{matching.failure(found, figures)}; for the demo try --x64 or another --points",
            found.result,
        )
    found.save(run.folder)
    return found, figures


def report(
    found: Any,
    figures: dict[str, Any],
    trainings: dict[str, Any],
    trained: dict[str, Any],
    split: Any,
    run: Run,
) -> str:
    """The page of the demo."""
    from geojax.reports import Quantity, Table, match_section, render_page

    plain = clean(figures)
    view = matching.view(
        found,
        unit=UNIT,
        outline=True,
        source_name="the left hemisphere",
        target_name="the mirrored right hemisphere",
    )
    match = match_section(
        view,
        title="The match",
        text="The two sides of a brain are no mirror images. Here is the outline of both "
        "hemispheres of an average brain (fsaverage5), cut from ear to ear 34 mm behind the "
        "origin; the right one is mirrored onto the left. The lateral fissure, the deep cut on "
        "the left of the picture, lies lower on the left side of the brain."
        "\n\n"
        "The points of the two outlines are not paired. The deformation is the one of least "
        "energy that lays one outline on the other: a geodesic in the group of "
        "diffeomorphisms.",
        table=Table(["figure", "value", "unit"], matching.rows(figures, UNIT)),
    )
    before, after = plain["outline_distance_before"], plain["outline_distance_after"]
    return render_page(
        "geojax demo",
        "A deformation of an anatomy and a deep network are the same thing: a curve in a group of "
        "transformations, driven by a velocity and priced by a metric. Both are computed here, on "
        "real data, with the same library.",
        [match, training.section(trainings, trained, split)],
        quantities=[
            Quantity(round(after, 2), UNIT, f"mean distance to the other outline after the match "
                     f"({before:.2g} mm before)"),
            Quantity(plain["folds"], "", "places where the deformation folds over"),
            *training.quantities(trained),
        ],
        versions=versions(),
        config=clean(run.config),
        foot="Data: fsaverage5 as it comes with nilearn; handwritten digits as they come with "
        "scikit-learn.",
    )  # fmt: skip
