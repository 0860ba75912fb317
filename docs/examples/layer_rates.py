"""Layers with rates of their own, as when one fine-tunes: python layer_rates.py

The layer called "encoder" moves at a tenth of the rate, and each optimizer sees its own layers.
"""

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


by_layer = keras.optimizers.OptimizerMap(LearnedOptimizer("hrnn"))
by_layer[".*encoder.*"] = LearnedOptimizer("hrnn", learning_rate=0.1)  # a pattern for the whole path of a variable
model = network()
before = model.get_layer("encoder").get_weights()[0]
model.compile(keras.optimizers.MultiOptimizer(by_layer), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
model.fit(points[:1920], side[:1920], batch_size=64, epochs=STEPS // 30, verbose=0)
moved = np.abs(model.get_layer("encoder").get_weights()[0] - before).mean()
print(f"loss {model.evaluate(points, side, verbose=0):.4f}, the encoder moved by {moved:.4f}")
