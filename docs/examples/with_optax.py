"""Train an MLP in plain JAX with a learned optimizer from l2o, beside Adam: python with_optax.py"""

import jax
import numpy as np
import optax
from jax import numpy as jnp

from l2o_cli.optax import learned_optimizer  # before Keras, which it puts on JAX

STEPS = 300
rng = np.random.default_rng(0)
angle = rng.uniform(0, 3 * np.pi, 2000)
side = rng.integers(0, 2, 2000)  # which of two spirals
points = jnp.asarray(np.stack([np.cos(angle + np.pi * side), np.sin(angle + np.pi * side)], 1) * angle[:, None] / 6, jnp.float32)
labels = jnp.asarray(side)


def initial_params(sizes=(2, 64, 64, 2)):
    keys = jax.random.split(jax.random.key(0), len(sizes) - 1)
    return [
        {"kernel": jax.random.normal(key, (rows, columns)) * np.sqrt(2 / rows), "bias": jnp.zeros(columns)}
        for key, rows, columns in zip(keys, sizes[:-1], sizes[1:], strict=True)
    ]


def loss_of(params, inputs, targets):
    for layer in params[:-1]:
        inputs = jax.nn.relu(inputs @ layer["kernel"] + layer["bias"])
    logits = inputs @ params[-1]["kernel"] + params[-1]["bias"]
    return optax.losses.softmax_cross_entropy_with_integer_labels(logits, targets).mean()


def train(optimizer):
    optimizer = optax.with_extra_args_support(optimizer)  # so that Adam may be shown the loss too

    @jax.jit
    def step(params, state, batch):
        loss, gradients = jax.value_and_grad(loss_of)(params, points[batch], labels[batch])
        updates, state = optimizer.update(gradients, state, params, value=loss)
        return optax.apply_updates(params, updates), state

    params = initial_params()
    state = optimizer.init(params)
    for batch in np.random.default_rng(1).integers(0, len(points), (STEPS, 64)):
        params, state = step(params, state, batch)
    return float(loss_of(params, points, labels))


for name, optimizer in {"tensor_rnn": learned_optimizer("tensor_rnn", steps=STEPS), "adam": optax.adam(1e-2)}.items():
    print(f"{name:12s} loss {train(optimizer):.4f}")
