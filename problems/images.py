"""Classifiers of handwritten digits (Wichrowska et al. 2017, section 5.2: held-out problems).

Pixels are scaled to [0, 1] and not centered. The images are constants of the problem, read when first needed; instances
share them and differ in their initial parameters and in the minibatches they draw.

Shape letters: I instances, B minibatch.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import ClassVar

import tensorflow as tf

from problems import data
from problems.base import Problem
from problems.networks import (
    ACTIVATIONS,
    Activation,
    affine,
    cross_entropy,
    initial_network,
    mlp_logits,
    mlp_shapes,
)
from problems.options import require_choice, require_sizes, require_whole
from problems.random import instance_integers, instance_keys

CLASSES = 10


@functools.cache
def _constants(name: str, split: str) -> tuple[tf.Tensor, tf.Tensor]:
    """The images of a split, uint8 [N, pixels], and its labels, int32 [N]: one copy for all problems and graphs."""
    with tf.init_scope():
        inputs, labels = data.load(name).split(split)
        return tf.constant(inputs.reshape(len(inputs), -1)), tf.constant(labels)


class ImageClassifier(Problem):
    """A classifier of the images of `data_set`, `side` pixels square; subclasses have the field `batch_size`."""

    data_set: ClassVar[str]
    side: ClassVar[int]
    batch_size: int

    def sample(self, seed, instances):
        return {"key": instance_keys(seed, instances)}

    def batch(self, seed, task, split):
        """inputs [I, B, pixels] in [0, 1] and labels [I, B]; leading axis 1 for a whole split.

        Raises:
            problems.data.DataMissing: the data set cannot be read.
        """
        inputs, labels = _constants(self.data_set, split)
        if split == "train":
            index = instance_integers(seed, task["key"], self.batch_size, labels.shape[0])
            inputs, labels = tf.gather(inputs, index), tf.gather(labels, index)
        else:
            inputs, labels = inputs[None], labels[None]
        peak = data.load(self.data_set).peak
        return {"inputs": tf.cast(inputs, tf.float32) / peak, "labels": labels}

    @property
    def held_out(self):
        return True

    @property
    def source(self):
        return data.describe(self.data_set)


class ImageMlp(ImageClassifier):
    """An MLP on the pixels, with the fields `hidden` and `activation`; initialized as He et al. 2015, biases 0."""

    hidden: tuple[int, ...]
    activation: Activation

    def __post_init__(self):
        require_sizes("hidden", self.hidden)
        require_choice("activation", self.activation, ACTIVATIONS)
        require_whole("batch_size", self.batch_size)

    @property
    def param_shapes(self):
        return mlp_shapes((self.side**2, *self.hidden, CLASSES))

    def initial_params(self, seed, task):
        return initial_network(seed, self.param_shapes, task["key"].shape[0])

    def loss(self, params, task, batch):
        return cross_entropy(mlp_logits(params, batch["inputs"], self.activation), batch["labels"])


@dataclass(frozen=True)
class DigitsMlp(ImageMlp):
    """An MLP on 1,797 digits of 8x8 pixels."""

    name: ClassVar[str] = "digits_mlp"
    summary: ClassVar[str] = "MLP on 8x8 handwritten digits"
    data_set: ClassVar[str] = "digits"
    side: ClassVar[int] = 8

    hidden: tuple[int, ...] = (32,)
    activation: Activation = "relu"
    batch_size: int = 64


@dataclass(frozen=True)
class MnistMlp(ImageMlp):
    """An MLP on MNIST: 784-64-10 by default."""

    name: ClassVar[str] = "mnist_mlp"
    summary: ClassVar[str] = "MLP on MNIST"
    data_set: ClassVar[str] = "mnist"
    side: ClassVar[int] = 28

    hidden: tuple[int, ...] = (64,)
    activation: Activation = "relu"
    batch_size: int = 64


@dataclass(frozen=True)
class MnistConv(ImageClassifier):
    """Convolutions with stride 1 and SAME padding, then a dense layer, on MNIST; kernels N(0, 0.01^2), biases 0."""

    name: ClassVar[str] = "mnist_conv"
    summary: ClassVar[str] = "small convolutional network on MNIST"
    data_set: ClassVar[str] = "mnist"
    side: ClassVar[int] = 28

    channels: tuple[int, ...] = (8, 8)
    kernels: tuple[int, ...] = (3, 5)  # their sides
    activation: Activation = "relu"
    batch_size: int = 64

    def __post_init__(self):
        require_sizes("channels", self.channels)
        require_sizes("kernels", self.kernels)
        if len(self.kernels) != len(self.channels):
            raise ValueError(f"kernels must be as many as channels, but are {len(self.kernels)} against {len(self.channels)}")
        require_choice("activation", self.activation, ACTIVATIONS)
        require_whole("batch_size", self.batch_size)

    @property
    def param_shapes(self):
        shapes: dict[str, tuple[int, ...]] = {}
        depth = 1
        for index, (width, kernel) in enumerate(zip(self.channels, self.kernels, strict=True)):
            shapes[f"kernel{index}"] = (kernel, kernel, depth, width)
            shapes[f"bias{index}"] = (width,)
            depth = width
        shapes["kernel_out"] = (self.side**2 * depth, CLASSES)
        shapes["bias_out"] = (CLASSES,)
        return shapes

    def initial_params(self, seed, task):
        return initial_network(seed, self.param_shapes, task["key"].shape[0], lambda shape: 0.01)

    def _hidden(self, layers: list[tf.Tensor], inputs: tf.Tensor) -> tf.Tensor:
        """What one instance's convolutions [kernel0, bias0, ...] make of its images: [B, pixels] -> [B, pixels * channels]."""
        images = tf.reshape(inputs, [-1, self.side, self.side, 1])
        for kernel, bias in zip(layers[::2], layers[1::2], strict=True):
            images = ACTIVATIONS[self.activation](tf.nn.conv2d(images, kernel, strides=1, padding="SAME") + bias)
        return tf.reshape(images, [-1, math.prod(images.shape[1:])])

    def loss(self, params, task, batch):
        # One convolution per instance: as fast as one grouped convolution for all, whose gradients fail without oneDNN.
        names = [name for name in params if not name.endswith("_out")]
        kernel, bias = params["kernel_out"], params["bias_out"]
        inputs, instances = batch["inputs"], kernel.shape[0]
        if inputs.shape[0] == instances:
            parts = zip(*(tf.unstack(params[name]) for name in names), tf.unstack(inputs), strict=True)
            hidden = tf.stack([self._hidden(list(layers), images) for *layers, images in parts])
            logits = affine(hidden, kernel, bias)
        else:
            # A whole split: one instance after another, since the activations of all do not fit in memory.
            logits = tf.map_fn(
                lambda own: self._hidden(list(own[:-2]), inputs[0]) @ own[-2] + own[-1],
                [*(params[name] for name in names), kernel, bias],
                fn_output_signature=tf.TensorSpec([inputs.shape[1], CLASSES]),
                parallel_iterations=1,
            )
        return cross_entropy(logits, batch["labels"])

    @property
    def xla(self):
        return False
