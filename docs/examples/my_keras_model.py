"""A Keras model and its data as a problem: two spirals, told apart by a small network."""

import functools

import keras
import numpy as np
from keras import layers
from l2o_problems.keras_model import KerasProblem


def network():
    hidden = [layers.Dense(32, "gelu"), layers.Dropout(0.1), layers.Dense(32, "gelu")]
    return keras.Sequential([keras.Input((2,)), *hidden, layers.Dense(1)])


@functools.cache
def spirals():
    generator = np.random.default_rng(0)
    angles, labels = generator.uniform(0.5, 6, 3000), generator.integers(0, 2, 3000)
    turned = angles + np.pi * labels
    inputs = np.stack([angles * np.cos(turned), angles * np.sin(turned)], axis=1) / 3
    inputs += generator.normal(0, 0.15, inputs.shape)
    return KerasProblem(
        network,
        keras.losses.BinaryCrossentropy(from_logits=True),
        train=(inputs[:2000], labels[:2000]),
        validation=(inputs[2000:2500], labels[2000:2500]),
        test=(inputs[2500:], labels[2500:]),
        batch_size=64,
        name="spirals",
    )
