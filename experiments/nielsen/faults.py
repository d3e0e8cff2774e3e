"""What a fault in a layer costs at the end: of random circuits, and of trained networks."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from geojax.complexity import measure
from geojax.flows import jacobians
from geojax.metrics import PauliPenalty
from geojax.networks import ContinuousClassifier, PlainNetwork, ResidualNetwork
from geojax.quantum import layer_sensitivity, random_controls
from geojax.training import TrainConfig, evaluate, fit, load_digits_split

LAYERS = 40  # of the circuits and of the residual networks
MEASURED = 32  # test digits


def faults(full: bool) -> dict:
    """What a fault in a layer costs at the end: forty random layers of three qubits, q = 16."""
    metric = PauliPenalty(3, 16.0)
    keys = jax.random.split(jax.random.key(0), 20)

    def profile(key):
        return layer_sensitivity(random_controls(3, LAYERS, key, scale=0.12), metric, "XII")

    mean = jnp.mean(jax.vmap(profile)(keys), axis=0)
    return {
        "mean_price": float(jnp.mean(metric.penalties[1:])),
        "first_thirty": float(jnp.mean(mean[:30])),
        "profile": [float(value) for value in mean],
    }


# name -> maker from random numbers, learning rate
NETWORKS = {
    "residual": (lambda r: ResidualNetwork(64, 10, depth=LAYERS, width=32, rngs=r), 0.01),
    "continuous": (lambda r: ContinuousClassifier(64, 10, widths=(77,), rngs=r), 0.01),
    "plain": (lambda r: PlainNetwork(64, 10, depth=8, width=32, rngs=r), 0.01),
}


def networks(full: bool) -> dict:
    """The same profile of networks that tell digits apart, before and after training."""
    split, out = load_digits_split(), {}
    rows = np.linspace(0, len(split.test) - 1, MEASURED).astype(int)
    for name, (make, rate) in NETWORKS.items():
        found: dict = {"accuracy": [], "trained": [], "start": [], "answer": []}
        for seed in range(3 if full else 1):
            config = TrainConfig(epochs=12, learning_rate=rate, energy_weight=0.0, seed=seed)
            start = make(nnx.Rngs(seed))
            model = fit(split.train, config, model=make(nnx.Rngs(seed))).model
            found["accuracy"].append(float(evaluate(model, split.test).accuracy))
            inputs = jnp.asarray(split.test.inputs[rows])
            found["start"].append(profile_of(start, inputs))
            found["trained"].append(profile_of(model, inputs))
            answer = measure(model, inputs, group_size=0, num_jacobians=8, robustness=False)
            squares = np.mean(np.square(answer.fisher_sensitivity[1:]), axis=1)
            found["answer"].append((squares / squares[-1]).tolist())
        out[name] = found
        print(name, {k: np.round(np.mean(v, axis=0), 3).tolist() for k, v in found.items()})
    return {"profiles": out}


def profile_of(model, inputs) -> list[float]:
    """Mean squared factor by which a random fault after each layer grows up to the last state."""
    states = model.states(inputs)
    slope = np.broadcast_to(
        np.eye(states[-1].shape[-1]), (len(inputs), *[states[-1].shape[-1]] * 2)
    )
    found = [slope]
    for layer, state in reversed(list(zip(model.layers(inputs), states, strict=False))[1:]):
        found.append(found[-1] @ np.asarray(jacobians(layer, state)))
    sizes = [np.mean(np.sum(np.square(x), axis=(-2, -1))) / x.shape[-1] for x in found]
    return [float(size) for size in reversed(sizes)]
