"""Sums round a ring of emulated devices: equal to those of one, each device with its share only."""

import json
import os
import subprocess
import sys

import pytest

# XLA reads the number of devices once, so they need a process of their own.
PROGRAM = """
import json, sys
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from geojax.kernels import Gaussian, Ring, form, hamiltonian_field, kernel_sum

n = int(sys.argv[1])
kernel = Gaussian(jnp.float32(0.5))
rng = np.random.default_rng(0)

def mesh(devices):
    return Mesh(np.array(jax.devices()[:devices]), ("points",), axis_types=(AxisType.Auto,))

def loss(x, b):
    return jnp.sum(kernel_sum(kernel, x, x, b) ** 2)

functions = {
    "sum": jax.jit(lambda x, b: kernel_sum(kernel, x, x, b)),
    "gradient": jax.jit(jax.grad(loss, (0, 1))),
    "field": jax.jit(lambda q, p: hamiltonian_field(kernel, q, p)),
}
ring = Ring(mesh(8))
over = NamedSharding(ring.mesh, PartitionSpec("points"))

def largest(values):
    return max(float(jnp.max(jnp.abs(v))) for v in jax.tree.leaves(values))

def compared(function, *arrays):
    alone = function(*arrays)
    with form(ring):
        shared = function(*jax.device_put(arrays, over))
    leaves = jax.tree.leaves(shared)
    errors = jax.tree.map(lambda v, w: largest(np.asarray(v) - w) / largest(w), shared, alone)
    return {
        "error": max(jax.tree.leaves(errors)),
        "shares": sorted({s.data.shape for v in leaves for s in v.addressable_shards}),
        "devices": min(len(v.sharding.device_set) for v in leaves),
    }

def temporaries(function, choice, count, share):
    spec = NamedSharding(mesh(count), PartitionSpec("points"))
    x = jax.ShapeDtypeStruct((count * share, 3), jnp.float32, sharding=spec)
    with form(Ring(spec.mesh) if choice == "ring" else choice):
        return function.lower(x, x).compile().memory_analysis().temp_size_in_bytes

x, b = (jnp.asarray(rng.normal(size=(n, 3)), jnp.float32) for _ in range(2))
out = {name: compared(function, x, b) for name, function in functions.items()}
if n < 10_000:
    gradient, alone = functions["gradient"], functions["sum"]
    sizes = (2, 16384), (8, 16384), (2, 65536)
    out["round a ring"] = [temporaries(gradient, "ring", *size) for size in sizes]
    out["not shared out"] = [temporaries(alone, "tiles", *size) for size in sizes[:2]]
    with form(ring):  # sizes that the devices do not divide
        odd = kernel_sum(kernel, x[:101], x[:77], b[:77])
    out["odd"] = largest(np.asarray(odd) - kernel(x[:101], x[:77]) @ b[:77]) / largest(odd)
print(json.dumps(out))
"""


def run(n):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(n)],
        env=os.environ
        | {
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
        },
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def small():
    return run(4000)


@pytest.mark.parametrize("name", ["sum", "gradient", "field"])
def test_equals_the_sum_of_one_device(name, small):
    found = small[name]
    assert found["error"] < 1e-6
    assert found["shares"] == [[500, 3]]
    assert found["devices"] == 8


def test_sizes_that_the_devices_do_not_divide(small):
    assert small["odd"] < 1e-6


def test_memory_of_a_device_is_linear_in_its_share(small):
    """It does not know of how many devices there are; without a ring it does."""
    few, many, long = small["round a ring"]
    assert many < 1.1 * few
    assert long < 4.4 * few
    few, many = small["not shared out"]
    assert many > 1.5 * few


@pytest.mark.slow
def test_of_many_points():
    found = run(50_000)
    assert found["sum"]["error"] < 1e-6
    assert found["gradient"]["error"] < 1e-6
    # the force of one device is itself 1.4e-6 from that in float64, and of the ring 0.7e-6
    assert found["field"]["error"] < 2e-6
    assert all(v["shares"] == [[6250, 3]] for v in found.values())
