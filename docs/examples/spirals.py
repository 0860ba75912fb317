"""Two spirals of points, told apart by a small network, which three optimizers train from the same start."""

import keras
import numpy as np

from l2o_cli import LearnedOptimizer

random = np.random.default_rng(0)
angles, labels = random.uniform(0.5, 6, 2000), random.integers(0, 2, 2000)
turned = angles + np.pi * labels
points = np.stack([angles * np.cos(turned), angles * np.sin(turned)], axis=1) / 3 + random.normal(0, 0.1, (2000, 2))

optimizers = {
    "first": LearnedOptimizer("first.json"),
    "tensor_rnn": LearnedOptimizer("tensor_rnn", steps=160),  # it slows down towards the end, so it must know where that is
    "adam": keras.optimizers.Adam(),
}
for name, optimizer in optimizers.items():
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(32, "relu"), keras.layers.Dense(32, "relu"), keras.layers.Dense(1)]
    model = keras.Sequential([keras.Input((2,)), *layers])
    model.compile(optimizer, loss=keras.losses.BinaryCrossentropy(from_logits=True))
    history = model.fit(points, labels, batch_size=64, epochs=5, verbose=0)  # 32 steps each
    print(f"{name}: loss {history.history['loss'][-1]:.3f}")
