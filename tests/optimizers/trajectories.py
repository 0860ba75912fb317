"""Some steps of every update rule, and the losses of a network in Keras.

KERAS_BACKEND=jax python -m tests.optimizers.trajectories FILE.npz
"""

import sys

import keras
import numpy as np
from keras import ops

from l2o_cli import LearnedOptimizer
from l2o_cli.export.rules import tensors
from l2o_cli.optimizers import OPTIMIZERS
from l2o_cli.optimizers.packing import Layout

FITTED = ("tensor_rnn", "adam(learning_rate=0.01)")
LAYOUT = Layout.of({"kernel": (4, 3), "bias": (3,), "scale": ()})
INSTANCES, STEPS = 2, 5


def trajectory(name, compiled=lambda update: update):
    """Params after each step [STEPS, I, P], from weights that all differ from their start and gradients of many sizes.

    Args:
        compiled: makes a faster function of the update.
    """
    rng = np.random.default_rng(7)
    rule = OPTIMIZERS[name]()
    weights = {
        leaf: (value * rng.uniform(0.8, 1.0, np.shape(value))).astype(np.float32) for leaf, value in rule.init_weights(0).items()
    }
    state = tensors(rule.init_state(weights, LAYOUT, INSTANCES, 0))
    weights = tensors(weights)
    state = rule.refresh_state(weights, state, ops.ones((INSTANCES,), "bool"))
    params = ops.convert_to_tensor(rng.standard_normal((INSTANCES, LAYOUT.parameters)).astype(np.float32))
    update = compiled(lambda *arrays: rule.update(*arrays, LAYOUT))
    path = []
    for step in range(STEPS):
        gradients = (10.0 ** (step - 2) * rng.standard_normal((INSTANCES, LAYOUT.parameters))).astype(np.float32)
        loss = np.exp(rng.standard_normal((2, INSTANCES))).astype(np.float32)
        params, state = update(
            weights,
            state,
            params,
            ops.convert_to_tensor(gradients),
            ops.convert_to_tensor(loss if rule.reads_validation_loss else loss[0]),
            ops.full((INSTANCES,), step, "int32"),
        )
        path.append(np.asarray(ops.convert_to_numpy(params)))
    return np.stack(path)


def fitted(name, steps=100):
    """The losses [steps] of a small network that the optimizer trains by `train_on_batch`, the same minibatches each time."""
    rng = np.random.default_rng(3)
    model = keras.Sequential(
        [keras.layers.Input((6,)), keras.layers.Dense(12, "tanh"), keras.layers.LayerNormalization(), keras.layers.Dense(3)]
    )
    model.set_weights([0.4 * rng.standard_normal(value.shape) if value.ndim == 2 else value for value in model.get_weights()])
    model.compile(LearnedOptimizer(name, steps=steps), "mse")
    losses = []
    for _ in range(steps):
        x = rng.standard_normal((16, 6)).astype(np.float32)
        losses.append(float(model.train_on_batch(x, np.sin(x[:, :3] + x[:, 3:]))))
    return np.array(losses)


if __name__ == "__main__":
    if keras.backend.backend() == "jax":
        import jax

        # Without it JAX compiles every operation of every shape by itself, which takes longer than all of them together.
        paths = {name: trajectory(name, jax.jit) for name in OPTIMIZERS}
    else:
        paths = {name: trajectory(name) for name in OPTIMIZERS}
    np.savez(sys.argv[1], **paths, **{f"fitted {name}": fitted(name) for name in FITTED})
