"""Kill the workers and the head of sweeps at random, and count what is lost: nothing.

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
from dataclasses import dataclass, replace
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
from auditor import audit
from task import TURNS

MEAN_SECONDS = 5.0  # between kills at any moment
MEAN_SECONDS_AT_WORK = 2.0  # until a kill, from when there is work again
HEAD_SHARE = 0.3  # of the kills that hit the head
WRITER_SHARE = 0.5  # of the kills at work that wait for a worker to write
CHECKPOINT_SECONDS = 0.2
COUNTS = ("lost", "duplicates", "unknown", "wrong", "damaged_parts")
PROPOSED = ("proposed", "proposed_twice", "proposed_not_run", "run_not_proposed")


@dataclass(frozen=True)
class Kind:
    """A kind of sweep: its task and design, how many points it has, and how often it is killed.

    Attributes:
        task: its name in task.py.
        points: of one sweep.
        kills, most: in all, and of one sweep.
        more: of the definition.
        sigterms: how often another sweep is ended by SIGTERM.
        at_work: kill only where some trial or segment was begun since the last kill, and often
            where a state or a part is being written.
    """

    task: str
    points: int
    kills: int
    most: int
    more: str = ""
    sigterms: int = 0
    at_work: bool = False

    def definition(self):
        axis = "angle = { low = 0.01, high = 1.5"
        if "proposals" not in self.more:
            axis += f", num = {self.points}"
        more = self.more.format(points=self.points)
        return f'task = "task.py:{self.task}"\nx64 = true\n[axes]\n{axis} }}\n{more}'


HALVING = "[halving]\nfactor = 3\nrungs = 3\n"
PROPOSALS = "[proposals]\nnum_trials = {points}\nbatch_size = 12\nstartup = 24\n"
KINDS = {
    "plain": Kind("task", 300, 45, 15, sigterms=3),
    "segments": Kind("segments", 48, 24, 12, sigterms=3, at_work=True),
    "halving": Kind("segments", 72, 20, 10, HALVING, at_work=True),
    "proposals": Kind("task", 120, 20, 10, PROPOSALS),
}
SHORT = {
    "plain": replace(KINDS["plain"], points=40, kills=2, most=2, sigterms=1),
    "segments": replace(KINDS["segments"], points=8, kills=2, most=2, sigterms=1),
    "halving": replace(KINDS["halving"], points=9, kills=2, most=2),
    "proposals": replace(KINDS["proposals"], points=24, kills=2, most=2),
}
ANGLE = f"(angle * {TURNS} * greatest(segments, 1))"
FORMS = [("x", f"cos{ANGLE}"), ("y", f"sin{ANGLE}")]


class Place:
    """A sweep in a folder: starts the command, and counts the work that it begins."""

    def __init__(self, definition, folder):
        self.folder, self.tally = folder, folder.with_suffix(".tally")
        self.log = folder.with_suffix(".log")
        self.command = [
            sys.executable, "-m", "geojax.cli", "sweep", "run", str(definition), "--out",
            str(folder), "--lanes", "2", "--launcher", "processes", "--workers", "2",
            "--checkpoint-seconds", str(CHECKPOINT_SECONDS),
        ]  # fmt: skip

    def start(self):
        environment = {**os.environ, "TALLY": str(self.tally)}
        with open(self.log, "a") as log:
            return subprocess.Popen(self.command, stdout=log, stderr=log, env=environment)

    def run(self):
        """The command to its end, undisturbed; returns the seconds."""
        begun = time.perf_counter()
        if self.start().wait():
            raise RuntimeError(self.log.read_text())
        return time.perf_counter() - begun

    def begun(self):
        """How often a trial, or a segment of one, was begun."""
        return self.tally.stat().st_size if self.tally.exists() else 0

    def cut_off(self):
        """Files and folders whose writing has not come to its end."""
        states = [*self.folder.glob("checkpoints/*/[0-9]*"), *self.folder.glob("states/*/[0-9]*")]
        found = {place for place in states if not (place / "manifest.json").exists()}
        return found | set(self.folder.glob("parts/.*.tmp"))


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


def writer_of(head, folder):
    """A process that the head has started and that writes; None if none does for a while."""
    end = time.monotonic() + 5.0
    while time.monotonic() < end and head.poll() is None:
        for number in workers_of(head.pid):
            try:
                open_files = [os.readlink(path) for path in Path(f"/proc/{number}/fd").iterdir()]
            except OSError:
                continue
            # what is written goes by a hidden name until it is whole
            if any(path.startswith(f"{folder}/") and "/." in path for path in open_files):
                return number
    return None


def kill(number):
    try:
        os.kill(number, signal.SIGKILL)
    except ProcessLookupError:
        return 0
    return 1


def harried(place, draw, kind):
    """Run a sweep to its end while its processes are killed at random moments."""
    kills = {"head": 0, "worker": 0, "in_writing": 0}
    codes, known, begun = [], set(), 0
    mean = MEAN_SECONDS_AT_WORK if kind.at_work else MEAN_SECONDS
    head = place.start()
    while True:
        done = kills["head"] + kills["worker"]
        wait = draw.expovariate(1 / mean) if done < kind.most else 600.0
        while kind.at_work and head.poll() is None and place.begun() <= begun:
            time.sleep(0.05)
        try:
            codes.append(head.wait(timeout=wait))
            if codes[-1] == 0:
                return kills, codes
            head = place.start()  # the same command again
            continue
        except subprocess.TimeoutExpired:
            pass
        waits = kind.at_work and draw.random() < WRITER_SHARE
        writer, workers = writer_of(head, place.folder) if waits else None, workers_of(head.pid)
        who = "worker" if writer or (workers and draw.random() > HEAD_SHARE) else "head"
        kills[who] += kill(head.pid if who == "head" else writer or draw.choice(workers))
        # what another worker is writing comes to its end in the meantime
        left = place.cut_off()
        time.sleep(0.5)
        left &= place.cut_off()
        kills["in_writing"] += bool(left - known)
        known |= left
        begun = place.begun()


def preempted(place, draw, times):
    """Send SIGTERM to the head instead; return its exit codes and the seconds it took to end."""
    codes, grace = [], []
    while len(codes) < times:
        head = place.start()
        try:
            head.wait(timeout=8.0 + draw.uniform(0, 3))
            break  # it has come to its end
        except subprocess.TimeoutExpired:
            head.terminate()
            begun = time.perf_counter()
            codes.append(head.wait())
            grace.append(time.perf_counter() - begun)
    place.run()
    return {"codes": codes, "seconds": grace}


def tried(name, kind, work, draw):
    """Sweeps of a kind, one after another, until they have been killed so often."""
    definition = work / f"{name}.toml"
    definition.write_text(kind.definition())
    reference = Place(definition, work / f"{name}-reference")
    seconds = reference.run()
    needed = reference.begun()
    again = reference.run()

    def audited(place):
        found = audit(place.folder, reference.folder, FORMS)
        return {**found, "begun": place.begun()}

    rounds = []
    while sum(found["kills"]["head"] + found["kills"]["worker"] for found in rounds) < kind.kills:
        place = Place(definition, work / f"{name}-{len(rounds)}")
        begun = time.perf_counter()
        kills, codes = harried(place, draw, kind)
        taken = time.perf_counter() - begun
        rounds.append({"kills": kills, "codes": codes, "seconds": taken, **audited(place)})
        print(name, json.dumps(rounds[-1]), flush=True)
        if any(rounds[-1][key] for key in COUNTS):
            place.folder.rename(Path(tempfile.mkdtemp()) / name)  # to look at
        else:
            shutil.rmtree(place.folder)
    sigterm = {}
    if kind.sigterms:
        place = Place(definition, work / f"{name}-preempted")
        sigterm = {**preempted(place, draw, kind.sigterms), **audited(place)}
    summed = (
        "trials",
        *COUNTS,
        "repacked",
        "half_written",
        "extra_attempts",
        "extra_attempts_from_nothing",
    )
    summed += PROPOSED if "proposals" in kind.more else ()
    total = {key: sum(found[key] for found in rounds) for key in summed}
    begun = sum(found["begun"] for found in rounds)
    return {
        "sweeps": len(rounds),
        "kills": {
            who: sum(found["kills"][who] for found in rounds)
            for who in ("head", "worker", "in_writing")
        },
        **total,
        "extra_share": total["extra_attempts"] / total["trials"],
        # of trials, or of segments where the task has some, beyond those of the reference
        "begun_again_share": begun / (needed * len(rounds)) - 1,
        "reference_seconds": seconds,
        "resume_seconds_when_all_is_done": again,
        "sigterm": sigterm,
        "rounds": rounds,
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default=str(HERE / "outcome"))
    parser.add_argument("--kind", choices=KINDS, action="append", help="all of them by default")
    arguments = parser.parse_args()
    kinds = KINDS if arguments.full else SHORT
    draw = random.Random(arguments.seed)
    work = Path(tempfile.mkdtemp())
    shutil.copy(HERE / "task.py", work)
    results = {name: tried(name, kinds[name], work, draw) for name in arguments.kind or kinds}
    total = {
        "kills": {
            who: sum(found["kills"][who] for found in results.values())
            for who in ("head", "worker", "in_writing")
        },
        **{key: sum(found[key] for found in results.values()) for key in ("trials", *COUNTS)},
    }
    out = Path(arguments.out)
    out.mkdir(exist_ok=True, parents=True)
    (out / "results.json").write_text(json.dumps({"total": total, **results}, indent=2) + "\n")
    for name, found in {"total": total, **results}.items():
        print(name, json.dumps({k: found[k] for k in found if k not in ("rounds", "sigterm")}))
    shutil.rmtree(work)


if __name__ == "__main__":
    main()
