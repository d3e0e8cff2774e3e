"""A training that is cut off and goes on: the same parameters to the last bit, damage noticed."""

import functools
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from geojax._core.errors import InputError
from geojax.networks import ContinuousClassifier, DensityFlow, EquilibriumNetwork
from geojax.training import (
    RunningCost,
    Samples,
    TrainConfig,
    create_model,
    evaluate,
    fit,
    fit_density,
    fit_equilibrium,
    rounds,
)

pytestmark = pytest.mark.lenient  # optax promotes inside

CONFIG = TrainConfig(
    widths=(8,), epochs=6, batch_size=32, warmup_epochs=1, ema_decay=0.9, validation_fraction=0.25
)


class Stop(Exception):
    """Whatever ends a process."""


def stop_after(number):
    def callback(epoch, means):
        if epoch == number:
            raise Stop

    return callback


def same(first, second):
    one, other = ((x.state, x.best, x.history) for x in (first, second))
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        if isinstance(a, jax.Array) and jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        np.testing.assert_array_equal(a, b)


@pytest.fixture(scope="module")
def undisturbed(data):
    with jax.numpy_dtype_promotion("standard"):
        return fit(data, CONFIG)


@pytest.mark.parametrize("every", [1, 4])
def test_it_goes_on_to_the_last_bit(data, undisturbed, tmp_path, every):
    """Also where the stop falls between two checkpoints: the last epoch is saved on the way out."""
    folder = tmp_path / "points"
    with pytest.raises(Stop):
        fit(data, CONFIG, checkpoints=folder, checkpoint_every=every, callback=stop_after(3))
    numbers = []
    found = fit(
        data, CONFIG, checkpoints=folder, checkpoint_every=every,
        callback=lambda number, means: numbers.append(number),
    )  # fmt: skip
    assert numbers == [4, 5, 6]
    same(found, undisturbed)
    assert len(list(folder.iterdir())) <= 2
    # all is done: nothing is trained again
    same(fit(data, CONFIG, checkpoints=folder, callback=stop_after(1)), undisturbed)


def test_the_seconds_of_all_lives_are_counted(data, tmp_path, monkeypatch):
    """By a clock that goes on by one whenever it is looked at: once, and once an epoch."""

    def life(stop=None, **options):
        monkeypatch.setattr(rounds, "perf_counter", functools.partial(next, itertools.count(50.0)))
        callback = stop and stop_after(stop)
        return fit(data, CONFIG, checkpoints=tmp_path, callback=callback, **options)

    for stop in (2, 3):
        with pytest.raises(Stop):
            life(stop)
    assert life().seconds == CONFIG.epochs
    # nothing is left to do
    assert life().seconds == CONFIG.epochs


def density(data, **options):
    flow = DensityFlow(data.num_features, (8,), dtype=jnp.float64, rngs=nnx.Rngs(0))
    options |= {"num_steps": 1, "solver": diffrax.Euler(), "batch_size": 16}
    return fit_density(data.inputs, flow, steps=8, report_every=2, **options)


def equilibrium(data, **options):
    sizes = data.num_features, (8,), data.num_classes
    model = EquilibriumNetwork(*sizes, dtype=jnp.float64, rngs=nnx.Rngs(0))
    return fit_equilibrium(data, model, epochs=4, batch_size=32, cosine_every=0, **options)


@pytest.mark.parametrize(
    ("train", "stop"), [pytest.param(density, 4, marks=pytest.mark.slow), (equilibrium, 2)]
)
def test_other_trainings_go_on_as_well(data, tmp_path, train, stop):
    whole = train(data)
    with pytest.raises(Stop):
        train(data, checkpoints=tmp_path, callback=stop_after(stop))
    again = train(data, checkpoints=tmp_path)
    for name, values in whole.history.items():
        assert len(values) == 4
        np.testing.assert_array_equal(again.history[name], values)
    parts = zip(*(jax.tree.leaves(x.state.variables) for x in (whole, again)), strict=True)
    for a, b in parts:
        np.testing.assert_array_equal(a, b)
    with pytest.raises(InputError, match="learning_rate"):
        train(data, checkpoints=tmp_path, learning_rate=0.1)
    with pytest.raises(InputError, match="checkpoint_every"):
        train(data, checkpoints=tmp_path, checkpoint_every=0)


@pytest.mark.parametrize("damage", ["flip", "cut", "manifest", "delete"])
def test_damage_is_noticed(data, undisturbed, tmp_path, damage):
    with pytest.raises(Stop):
        fit(data, CONFIG, checkpoints=tmp_path, callback=stop_after(3))
    newest = tmp_path / "epoch-00003"
    archive, manifest = newest / "state.npz", newest / "manifest.json"
    content = bytearray(archive.read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 1
        archive.write_bytes(content)
    elif damage == "cut":
        archive.write_bytes(content[: len(content) // 2])
    elif damage == "delete":
        archive.unlink()
    else:
        # killed before the manifest, which is the last file
        manifest.unlink()
    numbers = []
    options = dict(checkpoints=tmp_path, callback=lambda number, _: numbers.append(number))
    if damage == "manifest":
        found = fit(data, CONFIG, **options)
    else:
        with pytest.warns(UserWarning, match="epoch-00003: is damaged"):
            found = fit(data, CONFIG, **options)
        assert (tmp_path / "damaged-epoch-00003").exists()
    assert numbers == [3, 4, 5, 6]
    same(found, undisturbed)


def test_another_training_is_refused(data, held_out, tmp_path):
    with pytest.raises(Stop):
        fit(data, CONFIG, checkpoints=tmp_path, callback=stop_after(1))
    for samples, config, message in (
        (data, CONFIG.replace(learning_rate=0.1), r"setting learning_rate: 0\.003 there, 0\.1"),
        (data, CONFIG.replace(energy_weight=0.0), "setting energy_weight: 0.05 there, 0.0 here"),
        (held_out, CONFIG.replace(batch_size=32), "samples sha256"),
    ):
        with pytest.raises(InputError, match=message):
            fit(samples, config, checkpoints=tmp_path)
    for choice, message in (
        (dict(regulariser=RunningCost(lambda t, x, v: 0 * x[..., 0])), "choice price"),
        (dict(solver=diffrax.Midpoint()), "choice solver"),
        (dict(model=create_model(CONFIG, 3, 3, key=jax.random.key(7), dtype=jnp.float64)), "model"),
        (dict(optimiser=optax.sgd(0.1)), "another network or another precision"),
    ):
        with pytest.raises(InputError, match=message):
            fit(data, CONFIG, checkpoints=tmp_path, **choice)
    assert [place.name for place in tmp_path.iterdir()] == ["epoch-00001"]


def test_what_was_cut_off_is_cleared_away(data, undisturbed, tmp_path):
    """Folders without a manifest, whatever their number, cost no checkpoint."""
    for name in ("epoch-00009", "epoch-00010"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "state.npz").write_bytes(b"half")
    with pytest.raises(Stop):
        fit(data, CONFIG, checkpoints=tmp_path, callback=stop_after(3))
    names = sorted(place.name for place in tmp_path.iterdir())
    assert names == ["epoch-00002", "epoch-00003"]
    same(fit(data, CONFIG, checkpoints=tmp_path), undisturbed)


def test_patience_is_resumed(data, tmp_path):
    config = CONFIG.replace(epochs=40, learning_rate=0.3, warmup_epochs=0, patience=3)
    truth = fit(data, config)
    with pytest.raises(Stop):
        fit(data, config, checkpoints=tmp_path, callback=stop_after(truth.best_epoch + 1))
    found = fit(data, config, checkpoints=tmp_path)
    assert found.best_epoch == truth.best_epoch
    same(found, truth)


def test_the_average_is_that_of_the_parameters(data):
    """After two steps the mean of both; without one the model is that of the last step."""
    from geojax.training import step as steps
    from geojax.training.state import create_model

    config = CONFIG.replace(ema_decay=0.5)
    model = create_model(config, 3, 3, key=jax.random.key(0), dtype=jnp.float64)
    method = steps.Method(config.batch_size, config.num_steps)
    hyper = steps.Hyperparameters.of(config, 4, jnp.float64)
    batch = jnp.asarray(data.inputs[:32]), jnp.asarray(data.labels[:32])
    state = steps.init(model, jax.random.key(1), averaged=True)
    advance = eqx.filter_jit(steps.step)
    seen = []
    for _ in range(3):
        state, _ = advance(state, *batch, hyper, method=method)
        seen.append(jax.tree.leaves(state.variables))
    for found, a, b, c in zip(jax.tree.leaves(state.average), *seen, strict=True):
        np.testing.assert_allclose(found, 0.5 * (0.5 * (a + b)) + 0.5 * c, rtol=1e-12)


def test_it_stops_when_nothing_is_learnt(data):
    """Validation chooses the model, and ends the training."""
    config = CONFIG.replace(epochs=40, learning_rate=0.3, warmup_epochs=0, patience=3)
    found = fit(data, config)
    losses = found.history["validation_loss"]
    assert found.best_epoch == 1 + int(np.argmin(losses))
    assert len(losses) == min(40, found.best_epoch + 3) < 40
    different = [
        bool(jnp.any(a != b))
        for a, b in zip(
            jax.tree.leaves(found.best), jax.tree.leaves(found.state.average), strict=True
        )
    ]
    assert any(different)


def test_validation_is_that_of_the_samples_kept_out(data):
    from geojax.training import stratified_split

    found = fit(data, CONFIG.replace(epochs=1, ema_decay=0.0))
    split = stratified_split(data, test_fraction=0.25, seed=CONFIG.seed)
    options = dict(num_steps=CONFIG.num_steps, solver=diffrax.Heun())
    path = found.state.model.path(jnp.asarray(split.test.inputs), **options)
    logits = jax.nn.log_softmax(found.state.model.read(path.end))
    chosen = np.asarray(logits)[np.arange(len(split.test)), split.test.labels]
    np.testing.assert_allclose(found.history["validation_loss"], -chosen.mean(), rtol=1e-12)
    right = np.mean(np.argmax(logits, axis=1) == split.test.labels)
    np.testing.assert_allclose(found.history["validation_accuracy"], right)
    np.testing.assert_allclose(found.accuracy_in_steps, right)
    assert found.accuracy_of_flow == evaluate(found.model, split.test).accuracy


class Turning(nnx.Module):
    """Turns the plane once around itself."""

    def __call__(self, t, x):
        return 2 * np.pi * jnp.stack([-x[..., 1], x[..., 0]], axis=-1)


def test_what_has_learned_its_steps_is_told():
    """One step of Heun's method turns the plane by half a turn, and not by a whole one."""
    x = np.random.default_rng(0).normal(size=(64, 2))
    model = ContinuousClassifier(2, 2, velocity=Turning(), dtype=jnp.float64, rngs=nnx.Rngs(0))
    config = CONFIG.replace(num_steps=1, epochs=20, learning_rate=0.1, input_noise=0.0)
    with pytest.warns(UserWarning, match=r"right in the 1 steps of training, but .* learned its"):
        found = fit(Samples(x, (x[:, 0] > 0).astype(int)), config, model=model)
    assert found.accuracy_in_steps > 0.85
    assert found.accuracy_of_flow < 0.15


# XLA reads the number of devices once, and a kill ends the process.
PROGRAM = """
import json, sys
import jax, numpy as np
from geojax.training import Samples, TrainConfig, fit
folder, devices, epochs = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
x = np.random.default_rng(0).normal(size=(256, 3)).astype(np.float32)
data = Samples(x, (x[:, 0] > 0).astype(int) + (x[:, 1] > 1))
config = TrainConfig(widths=(64,), epochs=epochs, batch_size=32, ema_decay=0.99)
mesh = None
if devices > 1:
    kinds = (jax.sharding.AxisType.Auto,)
    mesh = jax.make_mesh((devices,), ("samples",), axis_types=kinds)
print("ready", flush=True)
found = fit(data, config, checkpoints=folder or None, mesh=mesh)
leaves = [np.asarray(x, float).ravel() for x in jax.tree.leaves(found.state.average)]
print(json.dumps(np.concatenate(leaves).tolist()))
"""


def start(folder, devices=1, epochs=40):
    flags = f"--xla_force_host_platform_device_count={devices}"
    environment = os.environ | {"XLA_FLAGS": flags}
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(folder), str(devices), str(epochs)],
        stdout=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip


def parameters(process) -> np.ndarray:
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 0
    return np.array(json.loads(out.splitlines()[-1]))


@pytest.mark.slow
def test_devices_share_a_batch():
    alone, shared = (parameters(start("", devices, epochs=3)) for devices in (1, 4))
    np.testing.assert_allclose(shared, alone, atol=2e-5)
    # sums over devices are rounded in another order
    assert np.any(shared != alone)


@pytest.mark.slow
def test_killed_at_random_moments(tmp_path):
    """kill -9, twenty times: each life goes on where the last one stood, to the same bits."""
    # long enough that no life comes to its end by itself
    epochs = 600
    truth = parameters(start("", epochs=epochs))
    draw, kills = random.Random(0), 0
    for trial in range(4):
        folder = tmp_path / str(trial)
        for _ in range(5):
            with start(folder, epochs=epochs) as process:
                assert process.stdout is not None
                process.stdout.readline()
                time.sleep(draw.uniform(0.0, 3.0))
                if process.poll() is None:
                    process.send_signal(signal.SIGKILL)
                    kills += 1
        np.testing.assert_array_equal(parameters(start(folder, epochs=epochs)), truth)
    assert kills >= 12
