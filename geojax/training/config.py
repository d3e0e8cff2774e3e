"""What a training is made of, checked before anything is compiled."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from geojax._core import checks
from geojax._core.errors import InputError
from geojax._core.roles import Static, Traced
from geojax.networks import ACTIVATIONS


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Settings of a training; the defaults are those of the digits.

    The plain twin of a training is `replace(energy_weight=0.0)`: the same network, the same
    initialisation, the same batches, the same optimiser.

    Attributes:
        widths: neurons of each hidden layer of the velocity.
        activation: "gelu", "silu", "softplus" or "tanh".
        num_steps: equal steps of Heun's method from input to answer while training.
        epochs: passes over the training set.
        batch_size: samples in a batch; what is left over sits out the epoch.
        learning_rate: peak of the schedule (linear warm-up, then a cosine down to a hundredth).
        warmup_epochs: length of the warm-up.
        weight_decay: of AdamW.
        clip_norm: largest norm of a gradient.
        input_noise: standard deviation of the noise that is added to the inputs while training,
            in their unit.
        energy_weight: price of the energy of the path; zero trains the plain network.
        energy_warmup_epochs: epochs over which the price rises to `energy_weight`, at most all.
        ema_decay: the model is the exponential moving average of the parameters with this decay
            per step, at least 0 and below 1; at 0 it is the last parameters.
        validation_fraction: part of the samples of each class, at least 0 and below 1, that is
            kept out of training, and that the model is tested on after each epoch.
        patience: epochs without a lower validation loss after which training stops; 0 never stops.
            With samples to validate on, the model is that of the best epoch.
        seed: of the initialisation, the order of the samples and the noise.

    Raises:
        InputError: a value that cannot be, naming the field.

    Example:
        >>> config = TrainConfig(epochs=5)
        >>> config.replace(energy_weight=0.0).energy_weight
        0.0
    """

    widths: Static[tuple[int, ...]] = (128, 128)
    activation: Static[str] = "silu"
    num_steps: Static[int] = 4
    epochs: Static[int] = 60
    batch_size: Static[int] = 128
    learning_rate: Traced[float] = 3e-3
    warmup_epochs: Traced[int] = 5
    weight_decay: Traced[float] = 0.0
    clip_norm: Traced[float] = 1.0
    input_noise: Traced[float] = 0.15
    energy_weight: Traced[float] = 0.05
    energy_warmup_epochs: Traced[int] = 0
    ema_decay: Traced[float] = 0.0
    validation_fraction: Static[float] = 0.0
    patience: Static[int] = 0
    seed: Traced[int] = 0

    def __post_init__(self):
        for field in dataclasses.fields(self):
            # a number may come as a NumPy scalar; one form makes configurations comparable
            value = _checked(field.name, getattr(self, field.name))
            object.__setattr__(self, field.name, value)
        if self.patience and not self.validation_fraction:
            raise InputError(
                "Argument patience needs samples to validate on; give a validation_fraction such "
                "as 0.1."
            )
        if self.energy_warmup_epochs > self.epochs:
            raise InputError(
                f"Argument energy_warmup_epochs must be at most the {self.epochs} epochs, but is "
                f"{self.energy_warmup_epochs}: the price would never reach energy_weight."
            )

    def replace(self, **changes: Any) -> "TrainConfig":
        """A copy with some fields changed; unknown ones are refused."""
        return TrainConfig.from_dict({**self.to_dict(), **changes})

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as JSON and TOML have them."""
        values = dataclasses.asdict(self)
        return {**values, "widths": list(self.widths)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "TrainConfig":
        """Build from plain values.

        Raises:
            InputError: an unknown key, naming the nearest known one, or a value that cannot be.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        for key in values:
            if key not in known:
                raise InputError(
                    f"Unknown training setting {key!r}{checks.nearest_name(key, known)}; known "
                    f"are {', '.join(known)}."
                )
        return cls(**{key: _checked(key, value) for key, value in values.items()})


def _checked(name: str, value: Any) -> Any:
    """The value of a field in its own type, or a refusal that names the field."""
    match name:
        case "widths":
            if not isinstance(value, list | tuple) or not value:
                raise InputError(
                    "Argument widths must list the width of at least one hidden layer, but is "
                    f"{value!r}; write (128, 128) for two."
                )
            return tuple(checks.count(width, "widths") for width in value)
        case "activation":
            if not isinstance(value, str) or value not in ACTIVATIONS:
                raise InputError(
                    f"Argument activation must be one of {', '.join(ACTIVATIONS)}, but is "
                    f"{value!r}{checks.nearest_name(str(value), ACTIVATIONS)}."
                )
            return value
        case "num_steps" | "epochs" | "batch_size":
            return checks.count(value, name)
        case "warmup_epochs" | "energy_warmup_epochs" | "patience":
            return checks.count(value, name, least=0)
        case "seed":
            seed = checks.count(value, name, least=0)
            if seed >= 2**32:
                raise InputError(f"Argument seed must be less than 2^32, but is {seed}.")
            return seed
        case "learning_rate" | "clip_norm":
            return _number(value, name, positive=True)
        case "ema_decay" | "validation_fraction":
            number = _number(value, name, positive=False)
            if number >= 1:
                raise InputError(f"Argument {name} must be below 1, but is {value!r}.")
            return number
        case _:
            return _number(value, name, positive=False)


def _number(value: Any, name: str, *, positive: bool) -> float:
    """A finite number, positive or at least zero."""
    kind = "a positive number" if positive else "a number of at least 0"
    good = getattr(value, "ndim", 0) == 0 and not isinstance(value, bool | str | bytes)
    try:
        number = float(value) if good else math.nan
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number) or number < 0 or (positive and number == 0):
        raise InputError(f"Argument {name} must be {kind}, but is {value!r}.")
    return number
