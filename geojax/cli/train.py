"""`geojax train`: a classifier with a short path, beside its plain twin."""

import dataclasses
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np

from geojax._core.errors import InputError
from geojax.cli.naming import named_options
from geojax.cli.options import Measure, Train
from geojax.cli.run import Run, clean, versions

PLAIN, REGULARISED = "plain", "regularised"
CHECKPOINTS = "checkpoints"
# Test samples whose paths are drawn.
DRAWN = 240

# Figure of one training -> what it is called, and its unit.
LABELS = {
    "accuracy": ("test accuracy", "%"),
    "num_evaluations": ("evaluations of the velocity, per sample", ""),
    "energy": ("energy of the path", "squared unit of the inputs"),
    "length": ("length of the path", "unit of the inputs"),
    "length_over_chord": ("length of the path over its chord", ""),
    "seconds": ("time of training", "s"),
}


def run(options: Train, run: Run) -> dict[str, Any]:
    """Train, measure, save the models, and write the report."""
    from geojax._core import checks

    with named_options(options):
        config = training_config(options)
        seeds = checked_seeds(options.seeds)
        checks.count(options.checkpoint_every, "checkpoint_every", least=0)
        split = load_split(options, options.data)
        if options.data is not None:
            add_data(run, options.data)
        run.config.update(config.to_dict())
        if len(split.train) < config.batch_size:
            raise InputError(
                f"--batch-size: {config.batch_size} is more than the {len(split.train)} samples "
                "to train on; lower it"
            )
    folder = run.claim(options.out)
    if options.overwrite:
        for old in (CHECKPOINTS, "models"):
            shutil.rmtree(folder / old, ignore_errors=True)
    run.begin()
    trainings = train_all(
        split,
        config,
        seeds,
        twin=not options.no_twin,
        run=run,
        checkpoint_every=options.checkpoint_every,
    )
    figures = summarise(trainings)
    run.progress("writing")
    from geojax.training import save_model

    for name, results in trainings.items():
        for seed, result in zip(seeds, results, strict=True):
            place = folder / "models" / f"{name}-{seed}"
            save_model(place, result["model"], result["config"], metadata={"seed": seed})
    run.progress("drawing")
    run.write("report.html", report(trainings, figures, split, run))
    shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
    show(figures, run)
    return figures


def training_config(options: Train) -> Any:
    """The configuration: the library's defaults where an option is not given."""
    from geojax.training import TrainConfig

    names = {field.name for field in dataclasses.fields(TrainConfig)} - {"seed"}
    given = {
        name: getattr(options, name)
        for name in names
        if getattr(options, name, None) not in (None, ())
    }
    return TrainConfig(**given, seed=0)


def checked_seeds(seeds: tuple[int, ...]) -> tuple[int, ...]:
    """Seeds, each once and none negative.

    Raises:
        InputError: none, a negative or a repeated one.
    """
    if not seeds:
        raise InputError("--seeds: is empty; give at least one, such as --seeds 0")
    for k, seed in enumerate(seeds):
        if not 0 <= seed < 2**32:
            raise InputError(f"--seeds: {seed} is no seed; give one from 0 to 2^32 - 1")
        if seed in seeds[:k]:
            raise InputError(f"--seeds: {seed} is given twice; the same seed gives the same result")
    return seeds


def add_data(run: Run, source: str) -> None:
    """Remember what the samples were: a file, or the files of a folder."""
    place = Path(source)
    for file in sorted(place.glob("*-ubyte*")) if place.is_dir() else [place]:
        run.add_input(file)


def load_split(options: Train | Measure, source: str | None) -> Any:
    """The digits, or the samples of a file, in a part to train on and one to test on."""
    from geojax.training import Samples, Split, data

    if source is None:
        split = data.load_digits_split()
    elif Path(source).is_dir():
        split = data.load_idx_split(source)
    else:
        split = data.stratified_split(data.load_samples(source))
    if not options.x64:
        return split
    parts = (
        Samples(part.inputs.astype(np.float64), part.labels, part.num_classes, part.name)
        for part in (split.train, split.test)
    )
    return Split(*parts)


def train_all(
    split: Any,
    config: Any,
    seeds: tuple[int, ...],
    *,
    twin: bool,
    run: Run,
    checkpoint_every: int = 0,
) -> dict[str, list[dict[str, Any]]]:
    """Trainings by name (the plain one first), one per seed; without checkpoints at 0."""
    variants = {REGULARISED: config}
    if twin and config.energy_weight > 0:
        variants = {PLAIN: config.replace(energy_weight=0.0), REGULARISED: config}
    elif config.energy_weight == 0:
        variants = {PLAIN: config}
    return {
        name: [
            train_one(split, chosen.replace(seed=seed), name, run, checkpoint_every)
            for seed in seeds
        ]
        for name, chosen in variants.items()
    }


def train_one(
    split: Any, config: Any, name: str, run: Run, checkpoint_every: int
) -> dict[str, Any]:
    """Train one network, measure it on the test set, and follow some of its paths."""
    from geojax.training import evaluate, fit, trajectories

    label = f"{name} network, seed {config.seed}"
    run.progress(f"{label}: compiling")
    seen: list[float] = []

    def progress(epoch: int, means: dict[str, float]) -> None:
        # the first epoch has compiled as well
        seen.append(time.perf_counter())
        left = ""
        if len(seen) > 1:
            rate = (seen[-1] - seen[0]) / (len(seen) - 1)
            left = f", {rate:.3g} s each, {rate * (config.epochs - epoch):.0f} s left"
        run.progress(
            f"{label}: epoch {epoch} of {config.epochs}{left}, loss {means['loss']:.3g}, accuracy "
            f"{100 * means['accuracy']:.1f} %, energy {means['energy']:.3g}"
        )

    saving: dict[str, Any] = {}
    if checkpoint_every:
        assert run.folder is not None, "claim the folder first"
        saving["checkpoints"] = run.folder / CHECKPOINTS / f"{name}-{config.seed}"
        saving["checkpoint_every"] = checkpoint_every
    fitted = fit(split.train, config, callback=progress, **saving)
    run.progress(f"{label}: measuring")
    measured = evaluate(fitted.model, split.test)
    figures = measured.figures()
    keep = np.unique(np.linspace(0, len(split.test) - 1, DRAWN).astype(int))
    path = trajectories(fitted.model, split.test.inputs[keep])
    return {
        "model": fitted.model,
        "config": config,
        "history": fitted.history,
        "figures": {
            **{key: figures[key] for key in LABELS if key in figures},
            "accuracy": 100.0 * figures["accuracy"],
            "seconds": fitted.seconds,
        },
        "states": np.asarray(path.states),
        "labels": np.asarray(split.test.labels)[keep],
    }


def summarise(trainings: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Mean and spread of each figure over the seeds, and how the two networks compare."""
    figures: dict[str, Any] = {}
    for name, results in trainings.items():
        for key in LABELS:
            values = np.asarray([result["figures"][key] for result in results], float)
            figures[f"{name}_{key}"] = float(np.mean(values))
            if len(values) > 1:
                figures[f"{name}_{key}_spread"] = float(np.std(values, ddof=1))
                figures[f"{name}_{key}_by_seed"] = values.tolist()
    if PLAIN in trainings and REGULARISED in trainings:
        for key in ("energy", "num_evaluations"):
            ratio = figures[f"{REGULARISED}_{key}"] / figures[f"{PLAIN}_{key}"]
            figures[f"{key}_ratio"] = ratio
        figures["accuracy_difference"] = (
            figures[f"{REGULARISED}_accuracy"] - figures[f"{PLAIN}_accuracy"]
        )
    return figures


def table_rows(trainings: dict[str, Any], figures: dict[str, Any]) -> list[list[Any]]:
    """Rows of the table: figure, one column per network, unit."""
    from geojax.reports import form

    def cell(name: str, key: str) -> str:
        spread = figures.get(f"{name}_{key}_spread")
        text = form(figures[f"{name}_{key}"])
        return text if spread is None else f"{text} ± {form(spread)}"

    return [
        [label, *(cell(name, key) for name in trainings), unit]
        for key, (label, unit) in LABELS.items()
    ]


def section(trainings: dict[str, list[dict[str, Any]]], figures: dict[str, Any], split: Any) -> Any:
    """The part of a page that shows the trainings."""
    from geojax.reports import Table, TrainingView, training_section

    views = [
        TrainingView(
            name=name,
            history={
                "energy": results[0]["history"]["energy"].tolist(),
                "accuracy": (100.0 * results[0]["history"]["accuracy"]).tolist(),
            },
            figures={key: figures[f"{name}_{key}"] for key in LABELS},
            spread={key: figures.get(f"{name}_{key}_spread", 0.0) for key in LABELS},
            states=results[0]["states"],
            labels=results[0]["labels"],
        )
        for name, results in trainings.items()
    ]
    seeds = len(next(iter(trainings.values())))
    return training_section(
        views,
        title="The training",
        text=f"A velocity field moves each of the {len(split.train):,} training images of "
        f"{split.train.name} for one unit of time, and a linear read-out names its class. The "
        "regularised network also pays for the energy of the path, half the integral of the "
        "squared speed; its plain twin is the same network from the same start on the same "
        f"batches, at price zero. Measured on {len(split.test):,} other images with an adaptive "
        "solver at tolerance 1e-5.",
        curves={"energy": "path energy in training", "accuracy": "training accuracy (%)"},
        bars={
            "accuracy": "test accuracy (%)",
            "energy": "path energy",
            "num_evaluations": "evaluations",
            "length_over_chord": "length over chord",
        },
        table=Table(["figure", *trainings, "unit"], table_rows(trainings, figures)),
        note=f"Mean and standard deviation over {seeds} seeds; curves and paths are those of the "
        "first."
        if seeds > 1
        else "",
    )


def quantities(figures: dict[str, Any]) -> list[Any]:
    """The figures that matter most."""
    from geojax.reports import Quantity

    name = REGULARISED if f"{REGULARISED}_accuracy" in figures else PLAIN
    out = [Quantity(figures[f"{name}_accuracy"], "%", f"test accuracy, {name}")]
    if "energy_ratio" in figures:
        out += [
            Quantity(figures[f"{PLAIN}_accuracy"], "%", f"test accuracy, {PLAIN}"),
            Quantity(_percent(figures["energy_ratio"]), "%", "of the plain path's energy"),
            Quantity(_percent(figures["num_evaluations_ratio"]), "%", "of the plain evaluations"),
        ]
    return out


def _percent(share: float) -> float:
    """A share in per cent, to three digits."""
    return float(f"{100 * share:.3g}")


def report(
    trainings: dict[str, list[dict[str, Any]]], figures: dict[str, Any], split: Any, run: Run
) -> str:
    """The page of a training."""
    from geojax.reports import render_page

    return render_page(
        f"Training on {split.train.name}",
        "A network whose path is short as well as right, beside the same network without a price "
        "on its path.",
        [section(trainings, figures, split)],
        quantities=quantities(figures),
        versions=versions(),
        config=clean(run.config),
    )


def show(figures: dict[str, Any], run: Run) -> None:
    """Print the figures and where the results are."""
    from geojax.reports import form

    names = [name for name in (PLAIN, REGULARISED) if f"{name}_accuracy" in figures]
    run.clear_progress()
    print(f"{'':44}" + "".join(f"{name:>16}" for name in names))
    for key, (label, unit) in LABELS.items():
        cells = []
        for name in names:
            spread = figures.get(f"{name}_{key}_spread")
            text = form(figures[f"{name}_{key}"])
            cells.append(text if spread is None else f"{text} ± {form(spread)}")
        head = f"{label} ({unit})" if unit == "%" else label
        print(f"{head:44}" + "".join(f"{cell:>16}" for cell in cells))
    print(f"{'report':44}{run.folder}/report.html")
