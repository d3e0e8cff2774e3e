"""Trained models on the disk: parameters as arrays, everything else as JSON, nothing pickled."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from geojax import io
from geojax._core.errors import InputError, StorageError
from geojax.networks import ContinuousClassifier, VelocityNetwork
from geojax.training.config import TrainConfig
from geojax.training.state import create_model

KIND, VERSION, NAME = "classifier", 1, "model"


def save_model(
    folder: str | Path,
    model: nnx.Module,
    config: TrainConfig,
    *,
    metadata: dict[str, Any] | None = None,
) -> Path:
    """Save a model as `model.npz` and `manifest.json` (with hashes and the configuration).

    Args:
        folder: where; made if it is not there.
        model: a trained `ContinuousClassifier`.
        config: the configuration that it was made by.
        metadata: further JSON values, such as figures.

    Returns:
        The path of the archive.

    Raises:
        InputError: another kind of model, one with layers that compute in another way, or one that
            does not fit the configuration.
        StorageError: the folder cannot be written.

    Example:
        >>> import jax, jax.numpy as jnp, tempfile
        >>> from geojax.training import create_model
        >>> config = TrainConfig(widths=(8,))
        >>> model = create_model(config, 4, 2, key=jax.random.key(0), dtype=jnp.float32)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = save_model(folder, model, config)
        ...     again, same = load_model(folder)
        >>> same == config, bool(jnp.all(again(jnp.ones(4)) == model(jnp.ones(4))))
        (True, True)
    """
    if not isinstance(model, ContinuousClassifier):
        raise InputError(
            f"Argument model must be a ContinuousClassifier, but is a {type(model).__name__}; save "
            "the arrays of other models with geojax.io.save_arrays."
        )
    velocity, head, lift = model.velocity, model.head, model.lift
    if lift is not None or type(velocity) is not VelocityNetwork or type(head) is not nnx.Linear:
        raise InputError(
            "Argument model must have the velocity and the head that its configuration makes, and "
            "no lift; save the arrays of other models with geojax.io.save_arrays."
        )
    _check_plain("head", head)
    for k, layer in enumerate(velocity.layers):
        _check_plain(f"velocity.layers.{k}", layer)
    arrays = {name: np.asarray(value[...]) for name, value in _parameters(model).items()}
    sizes = {"num_features": model.num_features, "num_classes": model.num_classes}
    expected = _shapes(_abstract(config, sizes, np.float32))
    if expected != {name: array.shape for name, array in arrays.items()}:
        raise InputError(
            "Argument config must be the one that the model was made by, but its widths "
            f"{config.widths} make other parameters than the model has."
        )
    if config.activation != velocity.activation:
        raise InputError(
            "Argument config must be the one that the model was made by, but its activation is "
            f"{config.activation!r} and that of the model {velocity.activation!r}."
        )
    content = {"model": sizes, "config": config.to_dict(), **(metadata or {})}
    return io.save_arrays(folder, NAME, arrays, content, kind=KIND, version=VERSION)


def load_model(folder: str | Path) -> tuple[ContinuousClassifier, TrainConfig]:
    """Load what `save_model` saved, after checking its hashes.

    Returns:
        The model and its configuration.

    Raises:
        InputError: no such folder, or it holds something else.
        StorageError: a file is missing, cut off or changed.
    """
    arrays, content = io.load_arrays(folder, NAME, kind=KIND, version=VERSION)
    where = f"{folder}: manifest.json"
    try:
        sizes = {name: int(content["model"][name]) for name in ("num_features", "num_classes")}
        config = TrainConfig.from_dict(content["config"])
        dtype = next(iter(arrays.values())).dtype
    except (KeyError, TypeError, ValueError, StopIteration) as error:
        raise StorageError(f"{where}: does not describe a model ({error}); restore it") from error
    model = _abstract(config, sizes, dtype)
    expected = _shapes(model)
    for name in sorted(expected.keys() | arrays.keys()):
        have = arrays[name].shape if name in arrays else None
        if have != expected.get(name):
            raise StorageError(
                f"{where}: parameter {name} has shape {have}, but the configuration makes "
                f"{expected.get(name)}; restore the folder"
            )
    graph, variables = nnx.split(model)
    filled = [
        (path, variable.replace(jnp.asarray(arrays[_name(path)])))
        for path, variable in nnx.to_flat_state(variables)
    ]
    return nnx.merge(graph, nnx.from_flat_state(filled)), config


def _check_plain(name: str, layer: nnx.Linear) -> None:
    """Refuse a linear layer that computes as the description of the model does not say."""
    usual = nnx.Linear(1, 1, rngs=nnx.Rngs(0))
    for option in ("dtype", "precision", "dot_general", "promote_dtype", "preferred_element_type"):
        value = getattr(layer, option, None)
        if value != getattr(usual, option, None):
            raise InputError(
                f"Argument model must have linear layers as its configuration makes them, but "
                f"{name} has {option}={value!r}, which would be lost; leave it out, or save the "
                "arrays with geojax.io.save_arrays."
            )


def _abstract(config: TrainConfig, sizes: dict[str, int], dtype: Any) -> ContinuousClassifier:
    """The model without its numbers: shapes only."""
    return jax.eval_shape(
        lambda key: create_model(config, **sizes, key=key, dtype=dtype), jax.random.key(0)
    )


def _parameters(model: nnx.Module) -> dict[str, Any]:
    """Variables by a name such as `velocity.layers.0.kernel`."""
    flat = nnx.to_flat_state(nnx.state(model))
    return {_name(path): variable for path, variable in flat}


def _shapes(model: nnx.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(variable.shape) for name, variable in _parameters(model).items()}


def _name(path: Any) -> str:
    return ".".join(str(part) for part in path)
