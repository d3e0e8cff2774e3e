"""Counts what a sweep has lost, doubled or got wrong; shares no code with geojax.

    python auditor.py FOLDER --reference FOLDER [--form x="cos(4000000 * angle)"]

Reads the Parquet parts with DuckDB and their hashes with hashlib, nothing else.
"""

import argparse
import glob
import hashlib
import json
import os

import duckdb

TOLERANCE = 1e-12
# of a row that ran in other lanes, as where a chunk was taken apart: another program, which rounds
# otherwise, so that a hundred million turns end up to 1e-11 from those of the reference
REPACKED_TOLERANCE = 1e-10
FORM_TOLERANCE = 1e-7  # a hundred million turns of a rounded angle are off by 1e-8
HOW = {  # columns that say how a row came to be, not what it is
    "chunk", "attempt", "lanes", "lockstep", "seconds", "compile_seconds", "finished", "deviation",
    "off",
}  # fmt: skip


def rows_of(folder, forms=()):
    """Rows of the parts whose hash is that in their name, and how many parts are not so.

    `forms` are pairs of a column and what it should be, in SQL; a row gains `off`, its largest
    difference from these, which is huge where it has no value.
    """
    rows, damaged, database = [], 0, duckdb.connect(":memory:")
    for path in sorted(glob.glob(os.path.join(folder, "parts", "part-*.parquet"))):
        with open(path, "rb") as stream:
            digest = hashlib.sha256(stream.read()).hexdigest()
        if digest[:32] != os.path.basename(path).rsplit("-", 1)[1].split(".")[0]:
            damaged += 1
            continue
        known = database.execute("SELECT * FROM read_parquet(?) LIMIT 0", [path]).description
        known = {column[0] for column in known}
        gaps = [
            f'coalesce(abs("{name}" - ({form})), 1e300)' if name in known else "1e300"
            for name, form in forms
        ]
        query = f"SELECT *, greatest({', '.join(['0.0', *gaps])}) AS off FROM read_parquet(?)"
        cursor = database.execute(query, [path])
        names = [column[0] for column in cursor.description]
        rows += [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    return rows, damaged


def same(a, b, tolerance):
    if isinstance(a, float) and isinstance(b, float):
        return a == b or (a != a and b != b) or abs(a - b) <= tolerance * max(1.0, abs(b))
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(same(x, y, tolerance) for x, y in zip(a, b, strict=True))
    return a == b


def extra_starts(folder, rows):
    """Starts of a trial beyond its first, and those before which nothing of it was kept.

    Each start of a chunk is a file, which is renamed where its process lived or saved a state. A
    chunk that has no part was packed anew under another name, so that all its starts are beyond
    the first; its trials are not written down, and it counts as a full one.
    """
    chunks = {}
    for row in rows:
        chunks.setdefault(row["chunk"], []).append(row)
    full = max((row.get("lanes") or 0 for row in rows), default=0)
    extra = afresh = 0
    for place in glob.glob(os.path.join(folder, "attempts", "*")):
        names, members = os.listdir(place), chunks.get(os.path.basename(place), [])
        size = len(members) or full
        extra += (len(names) - bool(members)) * size
        good = {str(row.get("attempt")) for row in members}  # stored, and killed only then
        afresh += sum(n not in good and not n.endswith(".forgiven") for n in names) * size
    return max(extra, 0), afresh


def proposed(folder, rows):
    """Points of batches that have no row, and rows whose point is in no batch."""
    asked = []
    for path in glob.glob(os.path.join(folder, "batches", "batch-*.json")):
        with open(path) as stream:
            asked += json.load(stream)["points"]
    if not asked:
        return {}
    names = sorted(asked[0])
    wanted = [tuple(point[name] for name in names) for point in asked]
    found = {tuple(row[name] for name in names) for row in rows}
    return {
        "proposed": len(wanted),
        "proposed_twice": len(wanted) - len(set(wanted)),
        "proposed_not_run": len(set(wanted) - found),
        "run_not_proposed": len(found - set(wanted)),
    }


def audit(folder, reference, forms=()):
    """What became of each trial of the reference, at each rung."""
    rows, damaged = rows_of(folder, forms)
    expected = {(r["trial"], r["rung"]): r for r in rows_of(reference, forms)[0]}
    found = {}
    for row in rows:
        found.setdefault((row["trial"], row["rung"]), []).append(row)
    # from the rung on where a trial ran in other lanes, its state is another
    other = {
        key[0]
        for key, group in found.items()
        for row in group
        if key in expected and row.get("lanes") != expected[key]["lanes"]
    }
    wrong = 0
    for key, group in found.items():
        like, tolerance = (
            expected.get(key, {}),
            REPACKED_TOLERANCE if key[0] in other else TOLERANCE,
        )
        for row in group:
            good = all(same(row.get(n), v, tolerance) for n, v in like.items() if n not in HOW)
            wrong += not (good and row["off"] <= FORM_TOLERANCE)
    extra, afresh = extra_starts(folder, rows)
    return {
        "trials": len(expected),
        "lost": len(expected.keys() - found.keys()),
        "duplicates": sum(len(group) - 1 for group in found.values()),
        "unknown": len(found.keys() - expected.keys()),
        "wrong": wrong,
        "repacked": len(other),
        "damaged_parts": damaged,
        "extra_attempts": extra,
        "extra_attempts_from_nothing": afresh,
        "half_written": len(glob.glob(os.path.join(folder, "parts", ".*tmp*"))),
        **proposed(folder, rows),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder")
    parser.add_argument("--reference", required=True)
    parser.add_argument("--form", action="append", default=[], help="column=SQL that it should be")
    arguments = parser.parse_args()
    forms = [tuple(form.split("=", 1)) for form in arguments.form]
    print(json.dumps(audit(arguments.folder, arguments.reference, forms), indent=2))
