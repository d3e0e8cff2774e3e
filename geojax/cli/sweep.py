"""`geojax sweep`: plan, run and look at many points of a task."""

import dataclasses
import warnings
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from geojax._core.errors import InputError, NumericalError
from geojax.cli.naming import named_options
from geojax.cli.run import Run, clean, versions
from geojax.cli.sweep_options import Sweep

# Reasons for failed points that are printed.
REASONS = 5
# Options that some actions alone have.
BEGUN = ("run", "resume")
MEASURED = ("plan", *BEGUN)
OF_ACTIONS = {
    "out": ("plan", "run"),
    "x64": ("plan", "run"),
    "launcher": MEASURED,
    "lanes": MEASURED,
    "workers": MEASURED,
    "checkpoint_seconds": BEGUN,
    "time_limit": BEGUN,
    "retry": BEGUN,
    "count": ("leaderboard",),
    "by": ("leaderboard",),
    "maximise": ("leaderboard",),
    "to": ("export",),
}
# Options that some launchers alone have.
OF_LAUNCHERS = {
    "workers": ("processes", "ray", "slurm"),
    "time_limit": ("processes", "ray", "slurm"),
    "gpus_per_worker": ("ray", "slurm"),
    "cpus_per_worker": ("ray", "slurm"),
    "address": ("ray",),
    "partition": ("slurm",),
    "timeout_min": ("slurm",),
    "slurm": ("slurm",),
}


def run(options: Sweep, run: Run) -> dict[str, Any]:
    """Do what is asked for; return the figures of the result."""
    given = {f.name for f in dataclasses.fields(options) if getattr(options, f.name) != f.default}
    for name, actions in OF_ACTIONS.items():
        if name in given and options.action not in actions:
            raise InputError(f"--{option(name)}: is for sweep {' or '.join(actions)}; leave it out")
    if options.maximise and options.by is None:
        raise InputError("--maximise: is about the column of --by; give one")
    if options.overwrite:
        raise InputError("--overwrite: a sweep is never overwritten; give another --out")
    with named_options(options):
        return ACTIONS[options.action](options, run)


# -- before and while it runs ---------------------------------------------------------------------


def definition_of(options: Sweep) -> Any:
    """The definition in a file, in the precision that is asked for."""
    import jax

    from geojax.sweeps import read_sweep

    if Path(options.place).is_dir():
        raise InputError(
            f"{options.place}: is a folder; {options.action} takes a definition (resume goes on in "
            "a folder)"
        )
    precise(read_sweep_x64(options))
    definition = read_sweep(options.place)
    if options.x64:
        definition = dataclasses.replace(definition, x64=True)
    assert jax.config.read("jax_enable_x64") == definition.x64
    return definition


def read_sweep_x64(options: Sweep) -> bool:
    """The precision, which has to be known before any array is made."""
    from geojax.io.toml import read_toml

    return options.x64 or read_toml(options.place).get("x64") is True


def precise(x64: bool) -> None:
    """Compute in double or single precision from here on."""
    import jax

    jax.config.update("jax_enable_x64", x64)


def plan(options: Sweep, run: Run) -> dict[str, Any]:
    """Say what a sweep will take."""
    from geojax import sweeps
    from geojax.sweeps.outlook import scratch

    definition = definition_of(options)
    beside = Path(options.out or options.place).parent
    if not beside.is_dir():
        raise InputError(f"{beside}: no such folder; make it first")
    # a local one writes nothing, so it can be made where nothing can be written
    with nullcontext(beside) if options.launcher == "local" else scratch(beside) as place:
        launcher = launcher_of(options, place)
        found = sweeps.plan(
            definition, place, launcher=launcher, lanes=options.lanes, progress=run.progress
        )
    run.clear_progress()
    figures = {
        "points": found.trials,
        "compilations": len(found.groups),
        "chunks": found.chunks,
        "workers": found.num_workers,
        "refused": len(found.refused),
        "memory_bytes": found.num_bytes,
        "compile_seconds": found.compile_seconds,
        "seconds": found.seconds,
        "groups": [dataclasses.asdict(group) for group in found.groups],
    }
    print(f"{'points':44}{figures['points']:>16,}")
    print(f"{'programs to compile':44}{figures['compilations']:>16,}")
    print(f"{'chunks':44}{figures['chunks']:>16,}")
    lanes = ", ".join(str(group.lanes) for group in found.groups[:6])
    print(f"{'lanes of a chunk':44}{lanes:>16}")
    print(f"{'chunks at the same time':44}{found.num_workers:>16,}")
    print(f"{'memory of a chunk (MB)':44}{figures['memory_bytes'] / 1e6:>16.3g}")
    print(f"{'time to compile (s)':44}{figures['compile_seconds']:>16.3g}")
    print(f"{'time to run (s), from one segment of each':44}{figures['seconds']:>16.3g}")
    print(f"{'points that cannot be run':44}{len(found.refused):>16,}")
    for trial in found.refused[:REASONS]:
        print(f"  {dict(trial.values)}: {trial.refusal}")
    return figures


def run_file(options: Sweep, run: Run) -> dict[str, Any]:
    """Run the sweep of a definition."""
    definition = definition_of(options)
    out = options.out or Path(options.place).stem
    if out == options.place:
        raise InputError(f"{options.place}: has no ending to leave out; give --out")
    return carry_on(options, run, definition, out)


def resume(options: Sweep, run: Run) -> dict[str, Any]:
    """Go on with the sweep in a folder."""
    from geojax.sweeps.store import Store

    store = Store(options.place)
    precise(store.x64())
    return carry_on(options, run, store.sweep(), options.place)


def carry_on(options: Sweep, run: Run, definition: Any, out: str) -> dict[str, Any]:
    """Run what is missing, and write the page."""
    from geojax.sweeps import sweep

    sweep_folder = Path(out)
    results = sweep(
        definition,
        sweep_folder,
        launcher=launcher_of(options, sweep_folder),
        lanes=options.lanes,
        checkpoint_seconds=options.checkpoint_seconds,
        time_limit=options.time_limit,
        retry=options.retry,
        progress=run.progress,
    )
    run.folder = sweep_folder
    figures = results.status()
    warn(results)
    best = results.leaderboard(1)
    if best:
        figures["best"] = slim(best[0])
    run.figures = figures
    run.progress("drawing")
    write_page(results, run)
    run.clear_progress()
    show_status(figures)
    if best:
        print(f"{'best ' + definition.objective:44}{best[0][definition.objective]:>16.6g}")
    print(f"{'report':44}{sweep_folder}/report.html")
    if not best and figures["done"]:
        raise NumericalError(f"{out}: no point came to a sound end; see geojax sweep status {out}")
    return figures


def launcher_of(options: Sweep, folder: Path) -> Any:
    """Where chunks run."""
    from geojax import sweeps

    kind = options.launcher
    for name, launchers in OF_LAUNCHERS.items():
        if kind not in launchers and getattr(options, name) not in (None, ()):
            raise InputError(
                f"--{option(name)}: is for --launcher {' or '.join(launchers)}; leave it "
                "out, or take one of these"
            )
    cores = 1 if options.cpus_per_worker is None else options.cpus_per_worker
    gpus = options.gpus_per_worker
    if kind == "local":
        return None
    if kind == "processes":
        return sweeps.Processes(options.workers)
    if kind == "ray":
        return sweeps.Ray(
            address=options.address, workers=options.workers, gpus_per_worker=gpus,
            cpus_per_worker=cores,
        )  # fmt: skip
    if gpus is not None and not gpus.is_integer():
        raise InputError(f"--gpus-per-worker: Slurm gives whole ones, not {gpus:g}")
    return sweeps.Slurm(
        folder / "logs", workers=options.workers, partition=options.partition,
        timeout_min=60 if options.timeout_min is None else options.timeout_min,
        gpus_per_node=int(gpus or 0), cpus_per_task=cores, options=slurm_options(options.slurm),
    )  # fmt: skip


def option(name: str) -> str:
    """An option as it is written."""
    return name.replace("_", "-")


def slurm_options(given: tuple[str, ...]) -> dict[str, Any]:
    """Options for submitit, from NAME=VALUE; whole numbers, true and false become such."""
    found = {}
    for entry in given:
        name, sign, value = entry.partition("=")
        if not sign or not name:
            raise InputError(f"--slurm: {entry!r} is no NAME=VALUE, such as slurm_account=mine")
        truth = {"true": True, "false": False}
        found[name] = int(value) if value.isdecimal() else truth.get(value, value)
    return found


# -- what came out --------------------------------------------------------------------------------


def results_of(options: Sweep) -> Any:
    """The results in a folder."""
    from geojax.sweeps import Results
    from geojax.sweeps.store import Store

    store = Store(options.place)
    precise(store.x64())
    return Results(store)


def status(options: Sweep, run: Run) -> dict[str, Any]:
    """Say how far a sweep has come."""
    results = results_of(options)
    figures = results.status()
    show_status(figures)
    failures = results.failures()
    for row in failures[:REASONS]:
        swept = {name: row[name] for name in results.sweep.axes if row.get(name) is not None}
        print(f"  {row['status']}: {swept}: {row['reason']}")
    if len(failures) > REASONS:
        print(f"  and {len(failures) - REASONS} more; see geojax sweep report")
    return figures


def leaderboard(options: Sweep, run: Run) -> dict[str, Any]:
    """Print the best rows."""
    results = results_of(options)
    by = options.by or results.sweep.objective
    up = options.maximise if options.by else None
    rows = results.leaderboard(options.count, by=options.by, maximise=up)
    names = list(results.sweep.axes) or sorted({name for p in results.sweep.points for name in p})
    header = [by, *names, "trial"]
    table = [[cell(row.get(name)) for name in header] for row in rows]
    widths = [max(len(line[k]) for line in [header, *table]) for k in range(len(header))]
    for line in [header, *table]:
        print("  ".join(text.rjust(width) for text, width in zip(line, widths, strict=True)))
    return {"rows": [slim(row) for row in rows]}


def export(options: Sweep, run: Run) -> dict[str, Any]:
    """Write the table for other tools."""
    if options.to is None:
        raise InputError("--to: is not given; name a .csv, .parquet or .json file")
    results = results_of(options)
    kind, _, address = options.to.partition(":")
    if kind in ("mlflow", "tensorboard"):
        from geojax.sweeps import export as exporters

        if kind == "tensorboard" and not address:
            raise InputError("--to: tensorboard needs a folder; write tensorboard:FOLDER")
        if kind == "mlflow":
            count = exporters.to_mlflow(results, address or None)
        else:
            count = exporters.to_tensorboard(results, address)
        place = f"{count} runs to {options.to}"
    else:
        place = str(results.export(options.to))
    print(f"{'written':44}{place}")
    return {"to": place}


def report(options: Sweep, run: Run) -> dict[str, Any]:
    """Write the page of a sweep."""
    results = results_of(options)
    run.folder = results.store.folder
    write_page(results, run)
    print(f"{'report':44}{run.folder}/report.html")
    return results.status()


def write_page(results: Any, run: Run) -> None:
    """`report.html` in the folder of the sweep."""
    from geojax.reports import SweepView, sweep_page
    from geojax.sweeps.columns import columns_of

    columns, sweep = columns_of(results), results.sweep
    view = SweepView(
        results.table("SELECT * FROM rows"),
        columns.swept,
        sweep.objective,
        maximise=sweep.maximise,
        metrics=columns.metrics,
        curves=columns.curves,
        num_trials=results.status()["trials"],
    )
    config = clean(sweep.to_dict())
    title = f"A sweep of {Path(config['task']['name']).name}"
    run.write("report.html", sweep_page(view, title=title, versions=versions(), config=config))


def warn(results: Any) -> None:
    """Say how many points came to nothing, and why."""
    failures = results.failures()
    if failures:
        reasons = list(dict.fromkeys(row["reason"] for row in failures))
        warnings.warn(
            f"{len(failures)} points came to nothing: {'; '.join(reasons[:3])}"
            f"{' and more' if len(reasons) > 3 else ''}",
            stacklevel=2,
        )


def show_status(figures: dict[str, Any]) -> None:
    """Print how far a sweep has come."""
    for name, label in {
        "trials": "points", "done": "done", "missing": "missing",
        "orphans": "of other definitions",
    }.items():  # fmt: skip
        print(f"{label:44}{figures[name]:>16,}")
    for name, count in sorted(figures["by_status"].items()):
        print(f"{'  ' + name:44}{count:>16,}")


def slim(row: dict[str, Any]) -> dict[str, Any]:
    """A row without its curves."""
    return {name: clean(value) for name, value in row.items() if not isinstance(value, list)}


def cell(value: Any) -> str:
    """A value of a table on the screen."""
    return f"{value:.5g}" if isinstance(value, float) else str(value)


ACTIONS = {
    "plan": plan,
    "run": run_file,
    "resume": resume,
    "status": status,
    "leaderboard": leaderboard,
    "export": export,
    "report": report,
}
