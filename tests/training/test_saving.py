"""Models on the disk: they come back whole, or not at all."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from geojax._core.errors import InputError, StorageError
from geojax.networks import MeanReadout
from geojax.training import TrainConfig, create_model, load_model, save_model

CONFIG = TrainConfig(widths=(6, 5), activation="tanh", energy_weight=0.125, seed=4)


@pytest.fixture(params=[np.float32, np.float64])
def model(request, key):
    return create_model(CONFIG, 3, 2, key=key, dtype=request.param)


def test_round_trip(model, tmp_path):
    save_model(tmp_path, model, CONFIG)
    again, config = load_model(tmp_path)
    assert config == CONFIG
    jax.tree.map(np.testing.assert_array_equal, nnx.state(again), nnx.state(model))
    x = jnp.ones((2, 3), model.head.kernel[...].dtype)
    np.testing.assert_array_equal(again(x), model(x))


def test_files_are_arrays_and_json(model, tmp_path):
    path = save_model(tmp_path, model, CONFIG, metadata={"figures": {"accuracy": 0.5}})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["manifest.json", path.name]
    with np.load(path, allow_pickle=False) as arrays:
        assert set(arrays) == {
            *(f"velocity.layers.{k}.{part}" for k in range(3) for part in ("kernel", "bias")),
            "head.kernel",
            "head.bias",
        }
    content = json.loads((tmp_path / "manifest.json").read_text())
    assert content["metadata"]["figures"] == {"accuracy": 0.5}
    assert content["metadata"]["config"] == CONFIG.to_dict()


def test_damage_is_noticed(model, tmp_path):
    path = save_model(tmp_path, model, CONFIG)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(StorageError, match="SHA-256"):
        load_model(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m["config"].update(widths=[6, 4]), "parameter velocity.layers.1.bias has shape"),
        (lambda m: m["config"].update(widths=[6, 5, 5]), "parameter velocity.layers.2.bias"),
        (lambda m: m["config"].update(epoch=3), "Unknown training setting 'epoch'"),
        (lambda m: m.pop("model"), "does not describe a model"),
        (lambda m: m.update(config=3), "does not describe a model"),
    ],
)
def test_a_manifest_that_does_not_fit_is_told(model, tmp_path, change, message):
    save_model(tmp_path, model, CONFIG)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    change(manifest["metadata"])
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(StorageError, match=message):
        load_model(tmp_path)


def test_a_configuration_of_another_model(model, tmp_path):
    for change, message in (
        ({"widths": (6,)}, r"made by, but its widths \(6,\)"),
        ({"activation": "silu"}, "made by, but its activation is 'silu'"),
    ):
        with pytest.raises(InputError, match=message):
            save_model(tmp_path / "new", model, CONFIG.replace(**change))
    assert not (tmp_path / "new").exists()


def test_another_kind_of_model(tmp_path):
    with pytest.raises(InputError, match="must be a ContinuousClassifier, but is a Linear"):
        save_model(tmp_path, nnx.Linear(2, 2, rngs=nnx.Rngs(0)), CONFIG)


def test_a_head_that_the_configuration_does_not_make(model, tmp_path):
    """Its arrays have the shapes of those of the usual head, which would read other answers."""
    kernel = model.head.kernel[...]
    model.head = MeanReadout(3, 2, param_dtype=kernel.dtype, rngs=nnx.Rngs(0))
    with pytest.raises(InputError, match="the head that its configuration makes"):
        save_model(tmp_path / "new", model, CONFIG)


@pytest.mark.parametrize(
    "option",
    [{"dtype": jnp.float16}, {"dot_general": lambda *a, **b: 0.0}, {"precision": "highest"}],
)
def test_a_layer_that_computes_in_another_way(model, tmp_path, option):
    """Its arrays are the usual ones, but the model that comes back would answer otherwise."""
    (name,) = option
    linear = nnx.Linear(3, 2, param_dtype=jnp.float32, **option, rngs=nnx.Rngs(0))
    first, usual = model.head, model.velocity.layers[1]
    for head, layer, place in ((linear, usual, "head"), (first, linear, r"velocity\.layers\.1")):
        model.head, model.velocity.layers[1] = head, layer
        with pytest.raises(InputError, match=f"but {place} has {name}="):
            save_model(tmp_path / "new", model, CONFIG)
    assert not (tmp_path / "new").exists()


def test_no_such_folder(tmp_path):
    with pytest.raises(InputError, match="gone"):
        load_model(tmp_path / "gone")
