"""The page of a sweep: its points and what they came to, its best runs, and what failed."""

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from geojax import viz
from geojax.reports.page import Picture, Quantity, Section, Table, form, render_page
from geojax.viz.scales import LARGEST

Row = Mapping[str, Any]
# Failures are listed one by one up to so many, and by their reason beyond.
MOST_FAILURES = 20


@dataclass(frozen=True)
class SweepView:
    """What a report shows of a sweep, in plain rows.

    Attributes:
        rows: of each trial, and of each rung that it came to: field -> value, metric -> number,
            curve -> list, and "trial", "rung", "status" ("ok" where it is sound), "reason",
            "segments", "seconds", "compile_seconds", "deviation". What is None or absent is left
            out.
        fields: swept field -> scale of its axis, "linear", "log" or "category".
        objective: the metric by which points are compared.
        maximise: whether more of it is better.
        metrics: further metrics for the table of the best.
        curves: columns that hold curves.
        num_trials: of the definition, done or not; None where nobody knows.
    """

    rows: Sequence[Row]
    fields: Mapping[str, str]
    objective: str
    maximise: bool = False
    metrics: Sequence[str] = ()
    curves: Sequence[str] = ()
    num_trials: int | None = None

    def first(self) -> list[Row]:
        """The row of each trial at the first rung, where all have come equally far."""
        return [rows[0] for rows in self.rungs]

    def last(self) -> list[Row]:
        """The row of each trial at the last rung that it came to."""
        return [rows[-1] for rows in self.rungs]

    @functools.cached_property
    def rungs(self) -> list[list[Row]]:
        """The rows of each trial by rung."""
        trials: dict[Any, list[Row]] = {}
        for row in sorted(self.rows, key=lambda row: row.get("rung") or 0):
            trials.setdefault(row.get("trial"), []).append(row)
        return list(trials.values())

    @functools.cached_property
    def num_rungs(self) -> int:
        """How many rungs there are."""
        return 1 + max((row.get("rung") or 0 for row in self.rows), default=0)

    def value(self, row: Row) -> float | None:
        """The objective of a sound row; None where there is none, or it has blown up."""
        value = row.get(self.objective)
        if row.get("status") != "ok" or not isinstance(value, int | float):
            return None
        return float(value) if abs(value) <= LARGEST else None

    @functools.cached_property
    def best(self) -> list[Row]:
        """The sound rows at the last rung of all, the best first."""
        rows = [row for row in self.last() if _rung(row) == self.num_rungs - 1]
        return [rows[k] for k in viz.ranking([self.value(row) for row in rows], self.maximise)]

    @functools.cached_property
    def failures(self) -> list[tuple[str, str, Row]]:
        """Status, reason and row of the trials that came to no finite objective."""
        found = []
        for row in self.last():
            if self.value(row) is None:
                status, reason = str(row.get("status")), row.get("reason")
                if status == "ok":
                    reason = f"{self.objective} is {row.get(self.objective)}"
                found.append((status, str(reason or "–"), row))
        return found


def sweep_page(
    view: SweepView,
    *,
    title: str,
    lead: str = "",
    versions: dict[str, str] | None = None,
    config: dict[str, Any] | None = None,
) -> str:
    """The page of a sweep as text: one HTML document that holds all it shows.

    Args:
        view: the sweep.
        title, lead, versions, config: as for `render_page`; the lead says how the sweep stands by
            default.

    Example:
        >>> from geojax.reports import SweepView, sweep_page
        >>> rows = [
        ...     {"trial": "a", "status": "ok", "rate": 0.1, "loss": 2.0},
        ...     {"trial": "b", "status": "failed", "reason": "diverged", "rate": 9.0},
        ... ]
        >>> page = sweep_page(SweepView(rows, {"rate": "log"}, "loss"), title="Rates")
        >>> page.startswith("<!doctype html>"), "diverged" in page
        (True, True)
    """
    return render_page(
        title,
        lead or _lead(view),
        sweep_sections(view),
        quantities=sweep_quantities(view),
        versions=versions,
        config=config,
    )


def sweep_quantities(view: SweepView) -> list[Quantity]:
    """The numbers that matter most: trials, the best, programs, speed, and deviation.

    Args:
        view: the sweep.
    """
    last, best = view.last(), view.best
    asked = "" if view.num_trials is None else f"of {view.num_trials:,}"
    quantities = [Quantity(len(last), asked, "trials done")]
    quantities.append(Quantity(len(view.failures), "", "without a result"))
    if best:
        way = "most" if view.maximise else "least"
        quantities.append(Quantity(view.value(best[0]), "", f"{way} {view.objective}"))
    # a program carries the time of its own compilation, which no other one has to the last bit
    compiled = {row["compile_seconds"] for row in view.rows if row.get("compile_seconds")}
    seconds = sum(row.get("seconds") or 0.0 for row in view.rows)
    if compiled:
        quantities.append(Quantity(len(compiled), "", "compiled programs"))
    if seconds > 0:
        ran = sum(1 for rows in view.rungs if any(row.get("seconds") for row in rows))
        rate = ran / (seconds + sum(compiled))
        quantities.append(Quantity(rate, "trials/s", "of one device, compilation included"))
    gaps = [row["deviation"] for row in view.rows if row.get("deviation") is not None]
    if gaps:
        text = f"largest deviation of {len(gaps)} trials from running alone"
        quantities.append(Quantity(max(gaps, key=_worse), "", text))
    return quantities


def sweep_sections(view: SweepView, *, count: int = 10) -> list[Section]:
    """The parts of the page: points, effects of the fields, best runs, rungs, failures.

    What there is nothing to show of is left out.

    Args:
        view: the sweep.
        count: how many of the best to list.
    """
    found = [_points(view, count), _effects(view), _runs(view), _rungs(view), _failures(view)]
    return [section for section in found if section is not None]


# -- sections -------------------------------------------------------------------------------------


def _points(view: SweepView, count: int) -> Section:
    rows, best = view.first(), view.best[:count]
    pictures = []
    if view.fields and rows:
        figure, axes = viz.new_figure(width=max(6.0, 1.7 * (len(view.fields) + 1)), height=4.4)
        viz.plot_parallel(
            {name: [row.get(name) for row in rows] for name in view.fields},
            [view.value(row) for row in rows],
            axes[0, 0],
            scales=view.fields,
            label=view.objective,
            maximise=view.maximise,
        )
        caption = (
            "Each line is a trial, from the values of its fields to its "
            f"{view.objective}: the best in orange and on top, the worst in blue; dotted where it "
            "came to no result. Values far out lie at the end of the last axis."
        )
        pictures = [Picture(viz.to_svg(figure), "All trials", caption + _at_first(view), "wide")]
    metrics = [name for name in view.metrics if name != view.objective]
    columns = ["trial", view.objective, *view.fields, *metrics]
    cells = [
        [_short(row), view.value(row), *(_cell(row.get(n)) for n in (*view.fields, *metrics))]
        for row in best
    ]
    text = "" if best else "No trial has come to a sound end."
    note = f"The {len(best)} best of {len(view.last()):,} trials." if best else ""
    table = Table(columns, cells) if best else None
    return Section("Trials", text, (), pictures, table, note)


def _effects(view: SweepView) -> Section | None:
    rows = [row for row in view.first() if view.value(row) is not None]
    if not rows or not view.fields:
        return None
    pictures = []
    for name, scale in view.fields.items():
        figure, axes = viz.new_figure(width=4.2, height=3.2)
        viz.plot_effect(
            [row.get(name) for row in rows],
            [view.value(row) for row in rows],
            axes[0, 0],
            name=name,
            scale=scale,
            label=view.objective,
        )
        caption = f"{view.objective} against {name}, whatever the other fields are."
        pictures.append(Picture(viz.to_svg(figure), name, caption + _at_first(view), "third"))
    text = (
        "Points are trials; orange marks are medians, with the middle half of the trials around "
        "them. Values far out lie at the edge of the frame."
    )
    return Section("What each field does", text, (), pictures)


def _runs(view: SweepView, named: int = 5, others: int = 60) -> Section | None:
    best = view.best
    # every so many of the others, evenly by rank
    shown = best[named :: max(1, len(best) // others)]
    pictures = []
    for name in view.curves:
        curves = {
            f"{_short(row)}: {form(view.value(row))}": row[name]
            for row in best[:named]
            if row.get(name)
        }
        if not curves:
            continue
        figure, axes = viz.new_figure(height=3.4)
        rest = [row[name] for row in shown if row.get(name)]
        viz.plot_runs(curves, rest, axes[0, 0], label=name)
        caption = f"Of the {len(curves)} best trials, with their {view.objective}; others in grey."
        pictures.append(Picture(viz.to_svg(figure), name, caption))
    return Section("The best runs", "", (), pictures) if pictures else None


def _rungs(view: SweepView) -> Section | None:
    if view.num_rungs < 2:
        return None
    tracks = [
        [(row.get("segments") or _rung(row), view.value(row)) for row in rows]
        for rows in view.rungs
    ]
    figure, axes = viz.new_figure(width=6.0, height=3.8)
    viz.plot_rungs(tracks, axes[0, 0], label=view.objective, maximise=view.maximise)
    picture = Picture(
        viz.to_svg(figure),
        "Rungs",
        f"{view.objective} at the end of each rung: trials that were stopped in grey, those that "
        "went to the end in blue, the best in orange.",
    )
    rows = []
    for rung in range(view.num_rungs):
        here = [row for row in view.rows if _rung(row) == rung]
        values = [value for row in here if (value := view.value(row)) is not None]
        best = (max(values) if view.maximise else min(values)) if values else None
        rows.append([str(rung + 1), len(here), len(here) - len(values), best])
    columns = ["rung", "trials", "without a result", f"best {view.objective}"]
    return Section("Successive halving", "", (), [picture], Table(columns, rows))


def _failures(view: SweepView) -> Section | None:
    found = view.failures
    if not found:
        return None
    if len(found) <= MOST_FAILURES:
        columns = ["trial", "status", "reason", *view.fields]
        rows = [
            [_short(row), status, reason, *(_cell(row.get(name)) for name in view.fields)]
            for status, reason, row in found
        ]
        return Section("Without a result", "", (), (), Table(columns, rows))
    groups: dict[tuple[str, str], list[Row]] = {}
    for status, reason, row in found:
        groups.setdefault((status, reason), []).append(row)
    ordered = sorted(groups.items(), key=lambda item: -len(item[1]))
    rows = [
        [reason, status, len(rows), *(_span([row.get(n) for row in rows]) for n in view.fields)]
        for (status, reason), rows in ordered[:MOST_FAILURES]
    ]
    left = sum(len(rows) for _, rows in ordered[MOST_FAILURES:])
    note = f"{left:,} more trials have reasons of their own." if left else ""
    table = Table(["reason", "status", "trials", *view.fields], rows)
    text = f"{len(found):,} trials, by their reason, and where in the space they lie."
    return Section("Without a result", text, (), (), table, note)


# -- words ----------------------------------------------------------------------------------------


def _lead(view: SweepView) -> str:
    way = "more" if view.maximise else "less"
    fields = ", ".join(view.fields) or "no field"
    return f"A sweep over {fields}, judged by {view.objective} ({way} is better)."


def _at_first(view: SweepView) -> str:
    return " Of the first rung, which all trials came to." if view.num_rungs > 1 else ""


def _rung(row: Row) -> int:
    return row.get("rung") or 0


def _short(row: Row) -> str:
    return str(row.get("trial"))[:8]


def _worse(gap: float) -> float:
    return math.inf if math.isnan(gap) else gap


def _cell(value: Any) -> Any:
    """A value as a table shows it."""
    if isinstance(value, list | tuple):
        return ", ".join(form(entry) for entry in value)
    # no thousands marks in what is a name rather than a size, such as a seed
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _span(values: Sequence[Any]) -> str:
    """Where values lie: from the least to the most, or which there are."""
    known = [value for value in values if value is not None]
    if known and all(isinstance(v, int | float) and not isinstance(v, bool) for v in known):
        low, high = min(known), max(known)
        return form(_cell(low)) if low == high else f"{form(_cell(low))} to {form(_cell(high))}"
    names = sorted({str(form(_cell(value))) for value in values})
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
