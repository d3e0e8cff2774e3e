"""Kill the workers and the head of a sweep at random, and count what is lost: nothing.

    python experiments/sweep_faults/run.py [--full]

The claim, the protocol and the outcome are in README.md. Writes outcome/results.json.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
from auditor import audit

DEFINITION = """
task = "task.py:task"
x64 = true
[axes]
angle = {{ low = 0.01, high = 1.5, num = {trials} }}
"""
MEAN_SECONDS = 5.0  # between kills
HEAD_SHARE = 0.3  # of the kills that hit the head


def command(definition, folder, *more):
    return [
        sys.executable, "-m", "geojax.cli", "sweep", "run", str(definition), "--out", str(folder),
        "--lanes", "2", *more,
    ]  # fmt: skip


def workers_of(head):
    """Processes that the head has started."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == head:
            found.append(int(path.parent.name))
    return found


def kill(number):
    try:
        os.kill(number, signal.SIGKILL)
    except ProcessLookupError:
        return 0
    return 1


def harried(definition, folder, draw, most):
    """Run a sweep to its end while its processes are killed at random moments."""
    launch = command(definition, folder, "--launcher", "processes", "--workers", "2")
    kills = {"head": 0, "worker": 0}
    codes = []
    log = open(folder.with_suffix(".log"), "w")  # noqa: SIM115
    head = subprocess.Popen(launch, stdout=log, stderr=log)
    while True:
        wait = draw.expovariate(1 / MEAN_SECONDS) if sum(kills.values()) < most else 600.0
        try:
            codes.append(head.wait(timeout=wait))
            if codes[-1] == 0:
                return kills, codes
            head = subprocess.Popen(launch, stdout=log, stderr=log)  # the same command again
            continue
        except subprocess.TimeoutExpired:
            pass
        workers = workers_of(head.pid)
        if draw.random() < HEAD_SHARE or not workers:
            kills["head"] += kill(head.pid)
        else:
            kills["worker"] += kill(draw.choice(workers))


def preempted(definition, folder, draw, times):
    """Send SIGTERM to the head instead; return its exit codes and the seconds it took to end."""
    launch = command(definition, folder, "--launcher", "processes", "--workers", "2")
    codes, grace = [], []
    while len(codes) < times:
        head = subprocess.Popen(launch, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        try:
            head.wait(timeout=8.0 + draw.uniform(0, 3))
            break  # it has come to its end
        except subprocess.TimeoutExpired:
            head.terminate()
            begun = time.perf_counter()
            codes.append(head.wait())
            grace.append(time.perf_counter() - begun)
    return codes, grace


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default=str(HERE / "outcome"))
    arguments = parser.parse_args()
    trials, kills, most = (300, 100, 15) if arguments.full else (40, 4, 4)
    draw = random.Random(arguments.seed)
    work = Path(tempfile.mkdtemp())
    shutil.copy(HERE / "task.py", work)
    definition = work / "definition.toml"
    definition.write_text(DEFINITION.format(trials=trials))
    begun = time.perf_counter()
    subprocess.run(command(definition, work / "reference"), check=True, stdout=subprocess.DEVNULL)
    reference = time.perf_counter() - begun
    again = time.perf_counter()
    subprocess.run(command(definition, work / "reference"), check=True, stdout=subprocess.DEVNULL)
    again = time.perf_counter() - again
    rounds = []
    while sum(sum(found["kills"].values()) for found in rounds) < kills:
        folder = work / f"sweep-{len(rounds)}"
        begun = time.perf_counter()
        done, codes = harried(definition, folder, draw, most)
        found = audit(folder, work / "reference")
        seconds = time.perf_counter() - begun
        rounds.append({"kills": done, "codes": codes, "seconds": seconds, **found})
        print(json.dumps(rounds[-1]), flush=True)
    codes, grace = preempted(definition, work / "preempted", draw, 3)
    subprocess.run(command(definition, work / "preempted"), check=True, stdout=subprocess.DEVNULL)
    total = {
        name: sum(found[name] for found in rounds)
        for name in ("trials", "lost", "duplicates", "wrong", "extra_attempts", "half_written")
    }
    results = {
        "kills": {who: sum(found["kills"][who] for found in rounds) for who in ("head", "worker")},
        **total,
        "extra_share": total["extra_attempts"] / total["trials"],
        "reference_seconds": reference,
        "resume_seconds_when_all_is_done": again,
        "sigterm": {
            "codes": codes,
            "seconds": grace,
            **audit(work / "preempted", work / "reference"),
        },
        "rounds": rounds,
    }
    out = Path(arguments.out)
    out.mkdir(exist_ok=True, parents=True)
    (out / "results.json").write_text(json.dumps(results, indent=2) + "\n")
    print(json.dumps({name: results[name] for name in results if name != "rounds"}, indent=2))
    shutil.rmtree(work)


if __name__ == "__main__":
    main()
