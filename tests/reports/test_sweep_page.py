"""The page of a sweep, from made-up rows."""

import math

import numpy as np
import pytest

from geojax.reports import SweepView, sweep_page, sweep_quantities, sweep_sections

pytest.importorskip("matplotlib")
FIELDS = {"rate": "log", "kind": "category"}


def made(count: int, **more) -> list[dict]:
    rng = np.random.default_rng(0)
    return [
        {
            "trial": f"{k:08x}{'0' * 24}", "status": "ok", "reason": "", "rung": 0, "segments": 1,
            "rate": float(10 ** rng.uniform(-4, 0)), "kind": "ab"[k % 2], "loss": 1.0 + k,
            "history": [9.0, 1.0 + k], "seconds": 0.1, "compile_seconds": 2.5, **more,
        }
        for k in range(count)
    ]  # fmt: skip


def view(rows, **options) -> SweepView:
    return SweepView(rows, FIELDS, "loss", curves=["history"], **options)


def tiles(found: SweepView) -> dict:
    return {quantity.name: quantity.value for quantity in sweep_quantities(found)}


def test_page_shows_what_there_is(check_page):
    rows = made(30)
    rows[4] |= {"status": "failed", "reason": "diverged", "loss": None, "history": None}
    rows[5] |= {"loss": math.inf}
    text = sweep_page(view(rows, num_trials=32), title="A <sweep>", versions={"geojax": "1"})
    check_page(text)
    assert "A &lt;sweep&gt;" in text
    for words in ("All trials", "What each field does", "The best runs", "Without a result"):
        assert words in text
    assert text.count("<svg") == 4  # all trials, two fields, one curve
    assert "diverged" in text
    assert "loss is inf" in text
    assert "Successive halving" not in text


def test_best_are_in_order_and_bad_ones_are_not_among_them():
    rows = made(30)
    rows[0] |= {"status": "nonfinite"}
    rows[1] |= {"loss": -math.inf}
    rows[2] |= {"loss": math.nan}
    rows[9] |= {"loss": -1e300}
    assert {row[0] for row in sweep_sections(view(rows))[-1].table.rows} == {
        f"0000000{k}" for k in (0, 1, 2, 9)
    }
    table = sweep_sections(view(rows), count=3)[0].table
    assert table.columns == ["trial", "loss", "rate", "kind"]
    assert [row[1] for row in table.rows] == [4.0, 5.0, 6.0]
    assert table.rows[0][0] == "00000003"
    table = sweep_sections(view(rows, maximise=True), count=1)[0].table
    assert [row[1] for row in table.rows] == [30.0]


def test_quantities_count_trials_programs_and_speed():
    rows = made(30)
    rows[3] |= {"compile_seconds": 1.5, "deviation": 1e-9}
    rows[4] |= {"deviation": 1e-7}
    rows[9] |= {"status": "refused", "seconds": None, "compile_seconds": None, "loss": None}
    found = tiles(view(rows))
    assert (found["trials done"], found["without a result"], found["least loss"]) == (30, 1, 1.0)
    assert found["compiled programs"] == 2
    speed = found["of one device, compilation included"]
    assert speed == pytest.approx(29 / (29 * 0.1 + 2.5 + 1.5))
    assert found["largest deviation of 2 trials from running alone"] == 1e-7
    rows[5] |= {"deviation": math.nan}  # worse than any number
    assert math.isnan(tiles(view(rows))["largest deviation of 3 trials from running alone"])


def test_halving_compares_at_the_first_rung_and_ranks_at_the_last(check_page):
    rows = made(9)
    # the third of the first rung overtakes the others
    rows += [
        {**row, "rung": 1, "segments": 3, "loss": 0.1 * (4 - k)} for k, row in enumerate(rows[:3])
    ]
    found = view(rows)
    sections = {section.title: section for section in sweep_sections(found)}
    assert [row[0] for row in sections["Trials"].table.rows] == [f"0000000{k}" for k in (2, 1, 0)]
    table = sections["Successive halving"].table
    assert [row[:3] for row in table.rows] == [["1", 9, 0], ["2", 3, 0]]
    assert [row[3] for row in table.rows] == [1.0, pytest.approx(0.2)]
    assert "Of the first rung" in sections["What each field does"].pictures[0].caption
    assert tiles(found)["trials done"] == 9
    check_page(sweep_page(found, title="Halving"))


def test_many_failures_are_grouped_by_their_reason():
    rows = made(60, status="failed", loss=None)
    for k, row in enumerate(rows):
        row |= {"reason": "diverged" if k < 40 else "no memory", "rate": float(k)}
    (trials, failures) = sweep_sections(view(rows))
    assert trials.text == "No trial has come to a sound end."
    assert [list(row) for row in failures.table.rows] == [
        ["diverged", "failed", 40, "0 to 39", "a, b"],
        ["no memory", "failed", 20, "40 to 59", "a, b"],
    ]
    for k, row in enumerate(rows):
        row["reason"] = f"reason {k}"
    failures = sweep_sections(view(rows))[-1]
    assert len(failures.table.rows) == 20
    assert failures.note == "40 more trials have reasons of their own."


@pytest.mark.parametrize(
    "rows",
    [
        [],
        made(1),
        made(3, rate=0.1, kind=None),
        made(3, loss=math.nan, history=[]),
        made(2, kind=[1.0, 2.0], rate=None, history=[math.nan, None]),
        [{"trial": "a", "status": "refused", "reason": None}],
    ],
    ids=["none", "one", "constant", "no result", "gaps", "bare"],
)
def test_page_of_little_is_a_page(check_page, rows):
    text = sweep_page(view(rows), title="Little")
    check_page(text)
    assert ">nan<" not in text


def test_large_sweeps_make_a_page_of_reasonable_size():
    rows = made(1000)
    assert len(sweep_page(view(rows), title="Large")) < 800_000
