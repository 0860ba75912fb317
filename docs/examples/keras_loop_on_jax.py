"""A loop of your own on Keras's JAX backend, compiled whole, with a learned optimizer: python keras_loop_on_jax.py"""

import os

os.environ["KERAS_BACKEND"] = "jax"

import jax
import keras
import numpy as np

from l2o_cli import LearnedOptimizer

STEPS = 300
rng = np.random.default_rng(0)
angle = rng.uniform(0, 3 * np.pi, 2000)
side = rng.integers(0, 2, 2000)  # which of two spirals
points = (np.stack([np.cos(angle + np.pi * side), np.sin(angle + np.pi * side)], 1) * angle[:, None] / 6).astype(np.float32)


def network():
    keras.utils.set_random_seed(1)
    layers = [keras.layers.Dense(64, "relu", name="encoder"), keras.layers.Dense(64, "relu"), keras.layers.Dense(2)]
    return keras.Sequential([keras.Input((2,)), *layers])


model, optimizer = network(), LearnedOptimizer("tensor_rnn", steps=STEPS)
optimizer.build(model.trainable_variables)
cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def loss_of(trainable, others, inputs, targets):
    logits, others = model.stateless_call(trainable, others, inputs, training=True)
    return optimizer.scale_loss(cross_entropy(targets, logits)), others  # scale_loss shows the optimizer the loss


@jax.jit
def step(trainable, others, state, inputs, targets):
    (loss, others), gradients = jax.value_and_grad(loss_of, has_aux=True)(trainable, others, inputs, targets)
    trainable, state = optimizer.stateless_apply(state, gradients, trainable)
    return trainable, others, state, loss


trainable = [variable.value for variable in model.trainable_variables]
others = [variable.value for variable in model.non_trainable_variables]
state = [variable.value for variable in optimizer.variables]
for batch in rng.integers(0, len(points), (STEPS, 64)):
    trainable, others, state, loss = step(trainable, others, state, points[batch], side[batch])
for variable, value in zip(model.trainable_variables, trainable, strict=True):
    variable.assign(value)
print(f"loss {cross_entropy(side, model(points)):.4f}")
