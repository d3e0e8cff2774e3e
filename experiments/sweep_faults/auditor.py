"""Counts what a sweep has lost, doubled or got wrong; shares no code with geojax.

    python auditor.py FOLDER --reference FOLDER

Reads the Parquet parts with DuckDB and their hashes with hashlib, nothing else.
"""

import argparse
import glob
import hashlib
import json
import os

import duckdb

TOLERANCE = 1e-12
HOW = {  # columns that say how a row came to be, not what it is
    "chunk", "attempt", "lanes", "width", "seconds", "compile_seconds", "finished", "deviation",
}  # fmt: skip


def rows_of(folder):
    """Rows of the parts whose hash is that in their name, and how many parts are not so."""
    rows, damaged = [], 0
    for path in sorted(glob.glob(os.path.join(folder, "parts", "part-*.parquet"))):
        with open(path, "rb") as stream:
            digest = hashlib.sha256(stream.read()).hexdigest()
        if digest[:32] != os.path.basename(path).rsplit("-", 1)[1].split(".")[0]:
            damaged += 1
            continue
        cursor = duckdb.connect(":memory:").execute("SELECT * FROM read_parquet(?)", [path])
        names = [column[0] for column in cursor.description]
        rows += [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    return rows, damaged


def same(a, b):
    if isinstance(a, float) and isinstance(b, float):
        return a == b or (a != a and b != b) or abs(a - b) <= TOLERANCE * max(1.0, abs(b))
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return a == b


def audit(folder, reference):
    """What became of each trial of the reference."""
    rows, damaged = rows_of(folder)
    expected = {(r["trial"], r["rung"]): r for r in rows_of(reference)[0]}
    found = {}
    for row in rows:
        found.setdefault((row["trial"], row["rung"]), []).append(row)
    wrong = [
        key
        for key, group in found.items()
        for row in group
        if key in expected
        and not all(same(row.get(n), v) for n, v in expected[key].items() if n not in HOW)
    ]
    attempts = glob.glob(os.path.join(folder, "attempts", "*", "*"))
    chunks = {row["chunk"]: 0 for row in rows}
    for row in rows:
        chunks[row["chunk"]] += 1
    begun = {}
    for path in attempts:
        name = os.path.basename(os.path.dirname(path))
        begun[name] = begun.get(name, 0) + 1
    # each start of a chunk beyond its first repeats its trials
    extra = sum((count - 1) * chunks.get(name, 0) for name, count in begun.items())
    return {
        "trials": len(expected),
        "lost": len(expected.keys() - found.keys()),
        "duplicates": sum(len(group) - 1 for group in found.values()),
        "unknown": len(found.keys() - expected.keys()),
        "wrong": len(wrong),
        "damaged_parts": damaged,
        "extra_attempts": extra,
        "half_written": len(glob.glob(os.path.join(folder, "parts", ".*tmp*"))),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder")
    parser.add_argument("--reference", required=True)
    arguments = parser.parse_args()
    print(json.dumps(audit(arguments.folder, arguments.reference), indent=2))
