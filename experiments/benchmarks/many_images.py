"""A thousand matches of small images in one program, against a loop of warm calls: float32.

    GEOJAX_DATA=<folder> python experiments/benchmarks/many_images.py
        [--pairs 1000] [--alone 50] [--batch-sizes 1 16]

The folder holds `mnist` (the idx files, gzipped). Each pair is two handwritten digits of one kind,
28 x 28, matched with the defaults. The loop runs over a part of the pairs; the figures are pairs a
second, each from one run after one that is not counted. `program` is the compiled search alone,
without posing the problems and without measuring what was found.
"""

import argparse
import gzip
import json
import os
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

from geojax import match_images, match_many_images
from geojax.matching.images import many
from geojax.shapes import Image


def digits(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """The test images of MNIST, `[n, 28, 28]`, and what they show."""

    def read(name: str) -> np.ndarray:
        # magic number, whose last byte is the number of axes, then sizes, then bytes
        raw = gzip.decompress((folder / f"{name}-ubyte.gz").read_bytes())
        sizes = np.frombuffer(raw, ">i4", raw[3], 4)
        return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(sizes)

    return read("t10k-images-idx3"), read("t10k-labels-idx1")


def draws(folder: Path, count: int) -> tuple[list[Image], list[Image]]:
    """Pairs of different images of one digit."""
    images, labels = digits(folder)
    rng = np.random.default_rng(0)
    pairs = []
    for k in range(count):
        pairs.append(rng.choice(np.flatnonzero(labels == k % 10), 2, replace=False))
    sources, targets = np.asarray(pairs).T
    return tuple([Image(images[k].astype(np.float32)) for k in few] for few in (sources, targets))


def timed(run) -> tuple[Any, float]:
    """What a second call returns, and its seconds."""
    run()
    start = time.perf_counter()
    found = run()
    jax.block_until_ready([match.pull for match in found])
    return found, time.perf_counter() - start


class Clock:
    """Seconds that the last call of a function of a module took, while this is entered."""

    def __init__(self, module: Any, name: str):
        self.module, self.name, self.seconds = module, name, 0.0

    def __enter__(self):
        self.inner = getattr(self.module, self.name)
        setattr(self.module, self.name, self)
        return self

    def __call__(self, *arguments):
        start = time.perf_counter()
        found = jax.block_until_ready(self.inner(*arguments))
        self.seconds = time.perf_counter() - start
        return found

    def __exit__(self, *_):
        setattr(self.module, self.name, self.inner)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=1000)
    parser.add_argument("--alone", type=int, default=50)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 16])
    options = parser.parse_args()
    given = os.environ.get("GEOJAX_DATA")
    if not given or not (Path(given) / "mnist").is_dir():
        raise SystemExit("Set GEOJAX_DATA to the folder that holds mnist.")
    sources, targets = draws(Path(given) / "mnist", options.pairs)
    few = list(zip(sources, targets, strict=True))[: options.alone]
    alone, seconds = timed(lambda: [match_images(a, b, affine=None, throw=False) for a, b in few])
    one = len(few) / seconds
    print(json.dumps({"loop, pairs per s": round(one, 1), "pairs": len(few)}), flush=True)
    for size in options.batch_sizes:
        with Clock(many, "resolutions_of_many") as clock:
            found, seconds = timed(
                lambda size=size: match_many_images(sources, targets, batch_size=size, throw=False)
            )
        rate = len(sources) / seconds
        apart = [
            abs(float(a.objective) / float(b.objective) - 1)
            for a, b in zip(found, alone, strict=False)
        ]
        row = {
            "batch size": size,
            "pairs": len(sources),
            "pairs per s": round(rate, 1),
            "times the loop": round(rate / one, 2),
            "program, s": round(clock.seconds, 2),
            "all, s": round(seconds, 2),
            "folds": sum(match.folds for match in found),
            "residual": round(float(np.mean([m.residual for m in found])), 4),
            "residual before": round(float(np.mean([m.residual_before for m in found])), 4),
            "largest difference of objectives": float(np.max(apart)),
        }
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
