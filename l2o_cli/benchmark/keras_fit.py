"""A classifier of images as a Keras model, trained by `model.fit` as a user of Keras would: what a sweep is timed against.

Shape letters: B minibatch, N examples.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf
from l2o_problems.convolutions import ImageConv
from l2o_problems.images import ImageMlp, read_images
from l2o_problems.networks import ACTIVATIONS, he_deviation

CONV_DEVIATION = 0.01  # of the initial kernels of `ImageConv`


class FitOptions(NamedTuple):
    """What decides how fast `model.fit` is."""

    jit_compile: bool
    steps_per_execution: int
    gathered: bool  # each minibatch gathered from the images by its indices, or batched image by image

    @property
    def text(self) -> str:
        pipeline = "minibatches gathered" if self.gathered else "images batched"
        return f"jit_compile={self.jit_compile}, steps_per_execution={self.steps_per_execution}, {pipeline}"

    def described(self) -> dict[str, bool | int | str]:
        """The options, and all of them as `call`, for people."""
        return {**self._asdict(), "call": self.text}


def network(problem: ImageMlp | ImageConv) -> keras.Sequential:
    """The network of a problem, without normalization, from inputs [B, pixels] or [B, H, W, C] to logits [B, classes]."""
    info, activation = problem.info, ACTIVATIONS[problem.activation]
    if isinstance(problem, ImageMlp):
        layers = [keras.Input((info.pixels,)), *(keras.layers.Dense(units, activation) for units in problem.hidden)]
    else:
        shapes = zip(problem.channels, problem.kernels, problem.strides or [1] * len(problem.channels), strict=True)
        convolutions = [keras.layers.Conv2D(*shape, padding="same", activation=activation) for shape in shapes]
        layers = [keras.Input((info.side, info.side, info.channels)), *convolutions, keras.layers.Flatten()]
    return keras.Sequential([*layers, keras.layers.Dense(info.classes)])


def examples(problem: ImageMlp | ImageConv, split: str) -> tuple[np.ndarray, np.ndarray]:
    """The images of a split as the network takes them, float32 [N, ...] in [0, 1], and the labels, int32 [N]."""
    info, (images, labels) = problem.info, read_images(problem.data, split, problem.side)
    shape = (info.pixels,) if isinstance(problem, ImageMlp) else (info.side, info.side, info.channels)
    return (images.reshape(-1, *shape) / info.peak).astype(np.float32), labels


def minibatches(inputs: np.ndarray, labels: np.ndarray, batch_size: int, gathered: bool) -> tf.data.Dataset:
    """Minibatches without end, each example once before any comes again."""
    if not gathered:
        data = tf.data.Dataset.from_tensor_slices((inputs, labels)).shuffle(len(labels)).repeat()
        return data.batch(batch_size, drop_remainder=True).prefetch(tf.data.AUTOTUNE)
    all_inputs, all_labels = tf.constant(inputs), tf.constant(labels)

    def gather(index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return tf.gather(all_inputs, index), tf.gather(all_labels, index)

    indices = tf.data.Dataset.range(len(labels)).shuffle(len(labels)).repeat().batch(batch_size, drop_remainder=True)
    return indices.map(gather).prefetch(tf.data.AUTOTUNE)


class KerasFit:
    """Runs by one Keras model that is compiled once: each begins with new weights and a new state of Adam."""

    def __init__(self, problem: ImageMlp | ImageConv, options: FitOptions):
        self._problem, self._inputs = problem, examples(problem, "train")
        self.model = network(problem)
        self.model.compile(
            keras.optimizers.Adam(),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            jit_compile=options.jit_compile,
            steps_per_execution=options.steps_per_execution,
        )
        self.model.optimizer.build(self.model.trainable_variables)
        self._data = minibatches(*self._inputs, problem.batch_size, options.gathered)

    def fit(self, rate: float, seed: int, steps: int) -> None:
        """One run; `steps` is a multiple of steps_per_execution."""
        self._reset(rate, seed)
        self.model.fit(self._data, steps_per_epoch=steps, epochs=1, shuffle=False, verbose=0)

    def _reset(self, rate: float, seed: int) -> None:
        for index, variable in enumerate(self.model.trainable_variables):
            variable.assign(self._initial(variable.shape, 1000 * seed + index))
        for variable in self.model.optimizer.variables:
            variable.assign(keras.ops.zeros_like(variable))
        self.model.optimizer.learning_rate = rate

    def _initial(self, shape: tuple[int, ...], seed: int) -> tf.Tensor:
        """As the problem draws them: biases 0, kernels normal with its deviation."""
        if len(shape) == 1:
            return keras.ops.zeros(shape)
        deviation = CONV_DEVIATION if isinstance(self._problem, ImageConv) else he_deviation(shape)
        return keras.initializers.RandomNormal(stddev=deviation, seed=seed)(shape)

    def held_out_loss(self) -> float:
        """The loss on the whole validation split, in nats; inf where it is no number."""
        inputs, labels = examples(self._problem, "validation")
        loss = float(self.model.loss(labels, self.model(inputs)))
        return loss if math.isfinite(loss) else math.inf
