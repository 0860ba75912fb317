"""ResNet50V2 on images of 64x64, trained for some steps on noise; what tests of each framework then ask of it."""

from __future__ import annotations

import os

import numpy as np

from l2o_cli.benchmark.nets import CLASSES, NETS

STEPS, BATCH, SIDE = 3, 2, 64
KINDS = {"kernel", "bias", "gamma", "beta"}


def made():
    """A model of Keras's, and a minibatch."""
    import keras

    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    images, labels = rng.standard_normal((BATCH, SIDE, SIDE, 3)).astype(np.float32), rng.integers(0, CLASSES, BATCH)
    return NETS["resnet50v2"].make(), images, labels


def loss_of(labels, logits):
    """The mean cross-entropy, []."""
    from keras import ops

    return ops.mean(ops.sparse_categorical_crossentropy(labels, logits, from_logits=True))


def values(model) -> dict[str, np.ndarray]:
    """Its trainable variables by their paths, copied."""
    return {variable.path: np.array(variable.numpy()) for variable in model.trainable_variables}


def check(before: dict[str, np.ndarray], after: dict[str, np.ndarray], losses: list[float], state: dict[str, tuple]) -> None:
    """All tensors have moved, those of every kind, to finite values; leaves of the state, {name: shape}, fit them."""
    assert len(losses) == STEPS and np.isfinite(losses).all() and losses[-1] < losses[0]
    assert {os.path.basename(path) for path in before} == KINDS
    for path, value in after.items():
        assert np.isfinite(value).all() and not np.array_equal(value, before[path]), path
    parameters, tensors = sum(value.size for value in before.values()), len(before)
    assert parameters > 25e6
    assert state["momenta"] == (3, 1, parameters) and state["squares"] == (1, 1, parameters)
    assert state["tensor"] == (16, 1, tensors) and state["global"] == (16, 1, 1)


def train_in_keras() -> None:
    """By `fit`, on the backend that Keras is on."""
    import keras

    from l2o_cli import LearnedOptimizer

    model, images, labels = made()
    before = values(model)
    optimizer = LearnedOptimizer("tensor_rnn", steps=STEPS)
    on_jax = keras.backend.backend() == "jax"  # elsewhere XLA of the model would take longer than all else
    model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True), jit_compile=on_jax)
    losses = model.fit(images, labels, batch_size=BATCH, epochs=STEPS, verbose=0).history["loss"]
    state = {variable.name.removeprefix("state_"): tuple(variable.shape) for variable in optimizer.variables}
    check(before, values(model), losses, state)
