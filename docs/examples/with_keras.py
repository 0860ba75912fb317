"""Train an MLP in Keras with a learned optimizer from l2o, beside Adam: python with_keras.py

KERAS_BACKEND may be tensorflow, jax or torch.
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


for name, optimizer in {"tensor_rnn": LearnedOptimizer("tensor_rnn", steps=STEPS), "adam": keras.optimizers.Adam(1e-2)}.items():
    model = network()
    model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(points[:1920], side[:1920], batch_size=64, epochs=STEPS // 30, verbose=0)
    print(f"{name:12s} loss {model.evaluate(points, side, verbose=0):.4f}")
