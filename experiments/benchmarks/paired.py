"""What the benchmarks share: paired timing, memory in use, and the limits of the machine."""

import resource
import threading
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

# What a process gets by XLA_FLAGS=--xla_cpu_prefer_vector_width=512, for one program.
OPTIONS = {"xla_cpu_prefer_vector_width": 512} if jax.default_backend() == "cpu" else None

# Multiply-adds of one pair beside its exponential: differences, squares, scale and the channels.
# The gradient in all arguments is the sum and two passes, with inner products and more channels.
OPERATIONS = {"forward": (10, 1), "forward and gradient": (10 + 19 + 22, 3)}


def interleave(runs: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each run, round by round, after one call that is not counted."""
    for run in runs.values():
        run()
    seconds = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def ratio(seconds: dict[str, list[float]], ours: str, theirs: str) -> float:
    """Median of our time over theirs, paired by round: slow spells of the machine cancel."""
    return float(np.median(np.array(seconds[ours]) / np.array(seconds[theirs])))


def resident() -> float:
    """Memory in use by this process, MB."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 1e6


class Peak(threading.Thread):
    """The largest memory in use while a block runs, above that at its start, MB."""

    def __init__(self):
        super().__init__(daemon=True)
        self.value, self.stopped = 0.0, threading.Event()

    def run(self):
        start = resident()
        while not self.stopped.wait(0.005):
            self.value = max(self.value, resident() - start)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stopped.set()
        self.join()


def _throughput(step: Callable, repeats: int) -> float:
    """Applications of an elementwise step per second, in registers, on all cores."""
    size, chains, rounds = 2**16, 8, 50

    @jax.jit
    def run(x):
        def body(_, x):
            # chains that do not wait for one another
            values = [x + np.float32(0.01 * k) for k in range(chains)]
            for _ in range(repeats):
                values = [step(v) for v in values]
            return sum(values) * np.float32(1 / chains)

        return jax.lax.fori_loop(0, rounds, body, x)

    x = jnp.linspace(0.1, 0.9, size, dtype=jnp.float32)
    compiled = run.lower(x).compile(compiler_options=OPTIONS)
    jax.block_until_ready(compiled(x))
    best = np.inf
    for _ in range(20):
        start = time.perf_counter()
        jax.block_until_ready(compiled(x))
        best = min(best, time.perf_counter() - start)
    return rounds * chains * repeats * size / best


def limits() -> dict[str, float]:
    """Multiply-adds and exponentials per second that this machine's XLA reaches, in float32."""
    from geojax.kernels import schedule

    one, tiny = np.float32(0.999), np.float32(1e-3)
    return {
        "multiply-adds": _throughput(lambda x: x * one + tiny, 64),
        "exponentials": _throughput(lambda x: schedule._exp(x - one) * one, 8),
    }
