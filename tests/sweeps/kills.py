"""Writes of a store that are killed at one call to the system after another.

    python tests/sweeps/kills.py FOLDER

Each try is a process of its own with a folder of its own, FOLDER/commit/0000 and so on, which ends
before the n-th such call, for every n: what is on the disk then is what was there after the call
before it. The last is not killed. JAX computes nothing here, so that processes may fork.
"""

import io
import os
import sys
import traceback
from pathlib import Path

import numpy as np

from geojax.sweeps import work
from geojax.sweeps.choose import Chooser
from geojax.sweeps.store import Store
from geojax.sweeps.trials import Chunk, Trial

# what changes files, or waits for a lock, in Python or in the library of tables
CALLS = {
    "open", "write", "fsync", "mkdir", "rename", "replace", "unlink", "rmdir", "flock", "execute",
}  # fmt: skip
TRIAL = Trial("a" * 32, {"angle": 0.5}, "group")
CHUNK = Chunk("chunk", "group", (TRIAL,), 1, 1)
ROW = {"trial": TRIAL.id, "rung": 0, "status": "ok", "x": 0.25}


def commit(store, token):
    store.commit(CHUNK.id, [ROW], token)


def save(store, token):
    checkpoint(store.folder, 3)  # which takes the first away


def remember(store, token):
    Chooser._remember(Folder(store), 0, [dict(TRIAL.values)])  # pyright: ignore


def checkpoint(folder, done):
    place = folder / "checkpoints" / CHUNK.id
    work._save(place, {"place": np.full((1, 3), done / 7)}, done, CHUNK)


class Folder:
    """Of a chooser, all that its batches need."""

    def __init__(self, store):
        self.store = store


WRITES = {"commit": commit, "save": save, "remember": remember}
KILLED = 9


def attempt(write, folder, count):
    """Write, and end at so many calls."""
    store, left = Store(folder), count
    with store.head() as token:
        if write is save:
            for done in (1, 2):
                checkpoint(folder, done)

        def watch(frame, event, function):
            nonlocal left
            if event != "c_call" or function.__name__ not in CALLS:
                return
            if not isinstance(function.__self__, io.BytesIO):
                left -= 1
                if left < 0:
                    os._exit(KILLED)

        sys.setprofile(watch)
        write(store, token)
        sys.setprofile(None)


def main():
    for name, write in WRITES.items():
        code, count = KILLED, 0
        while code == KILLED:
            child = os.fork()
            if not child:
                try:
                    attempt(write, Path(sys.argv[1]) / name / f"{count:04d}", count)
                except BaseException:
                    traceback.print_exc()
                    os._exit(1)
                os._exit(0)
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            count += 1
        if code:
            sys.exit(code)


if __name__ == "__main__":
    main()
