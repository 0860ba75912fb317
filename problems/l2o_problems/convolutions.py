"""Convolutional classifiers of images (Wichrowska et al. 2017, section 5.2), and residual ones (He et al. 2016).

Not for XLA on a CPU: its convolutions are 29 times slower there.

Shape letters: I instances, B minibatch, H and W height and width, C channels, F features.
"""

from __future__ import annotations

import abc
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

import tensorflow as tf

from l2o_problems.base import Params
from l2o_problems.images import PART, ImageProblem, one_by_one, shrunk_side
from l2o_problems.networks import ACTIVATIONS, Activation, affine, cross_entropy, initial_network
from l2o_problems.normalization import normalize
from l2o_problems.options import Depth, Sizes, require_sizes


def convolve(images: tf.Tensor, kernel: tf.Tensor, stride: int = 1) -> tf.Tensor:
    """images [B, H, W, C], kernel [k, k, C, D] -> [B, H / stride, W / stride, D], rounded up: SAME padding.

    A kernel of one pixel goes over the pixels that its stride selects, since oneDNN gets its gradient wrong otherwise: with
    AVX2 parts of it are whatever was in memory, with AVX-512 it may write beyond its end.
    """
    if kernel.shape[:2] == (1, 1):
        images, stride = images[:, ::stride, ::stride], 1
    return tf.nn.conv2d(images, kernel, strides=stride, padding="SAME")


def in_pairs(images: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """A convolution with a kernel of width 5 as one of pairs of neighboring pixels, which are channels then.

    The pixels that two neighbors depend on, six of them, are three whole pairs: a kernel of three pairs, of whose entries a
    sixth are zeros. A CPU that computes 16 channels at once leaves half of itself idle at 8, and takes a quarter less time so.

    Args:
        images: [B, H, W, C], of even width.
        kernel: [k, 5, C, D].
        bias: [D].

    Returns:
        images [B, H, W / 2, 2 C], kernel [k, 3, 2 C, 2 D] and bias [2 D]; what they give, [B, H, W / 2, 2 D], is laid out as
        [B, H, W, D].
    """
    (_, height, width, channels), (rows, _, _, out) = images.shape, kernel.shape
    first, second = (tf.pad(kernel, [[0, 0], [shift, 1 - shift], [0, 0], [0, 0]]) for shift in (0, 1))
    paired = tf.reshape(tf.stack([first, second], axis=3), [rows, 3, 2 * channels, 2 * out])
    return tf.reshape(images, [-1, height, width // 2, 2 * channels]), paired, tf.tile(bias, [2])


class ConvolutionalClassifier(ImageProblem):
    """Features by convolutions, then the dense layer of kernel_out [F, classes] and bias_out."""

    xla = False
    separable = True  # the features of an image depend on that image alone, not on the others of its batch

    @abc.abstractmethod
    def features(self, params: Params, images: tf.Tensor) -> tf.Tensor:
        """What one instance, whose params have no instance axis, makes of images [B, H, W, C]: [B, F]."""

    def _features(self, params: Params, inputs: tf.Tensor) -> tf.Tensor:
        info = self.info
        return self.features(params, tf.reshape(inputs, [-1, info.side, info.side, info.channels]))

    def _logits(self, params: Params, inputs: tf.Tensor) -> tf.Tensor:
        """The logits of one instance: inputs [B, pixels] -> [B, classes]."""
        return self._features(params, inputs) @ params["kernel_out"] + params["bias_out"]

    def loss(self, params, task, batch):
        inputs, instances = batch["inputs"], params["bias_out"].shape[0]
        if inputs.shape[0] != instances or inputs.shape[1] > PART:
            logits = one_by_one(self._logits, params, inputs, (self.info.classes,), PART if self.separable else None)
        else:
            # One convolution per instance: as fast as one grouped convolution for all, whose gradients fail without oneDNN.
            names = [name for name in params if not name.endswith("_out")]
            parts = zip(*(tf.unstack(params[name]) for name in names), tf.unstack(inputs), strict=True)
            hidden = [self._features(dict(zip(names, layers, strict=True)), images) for *layers, images in parts]
            logits = affine(tf.stack(hidden), params["kernel_out"], params["bias_out"])
        return cross_entropy(logits, batch["labels"])


@dataclass(frozen=True)
class ImageConv(ConvolutionalClassifier):
    """Convolutions with SAME padding, then a dense layer of all pixels and channels; kernels N(0, 0.01^2), biases 0.

    With `side` the images are averaged to side x side pixels.
    """

    name: ClassVar[str] = "image_conv"
    summary: ClassVar[str] = "small convolutional network on images"

    data: str = "mnist"
    channels: Sizes = (8, 8)
    kernels: Sizes = (3, 5)  # their sides
    strides: tuple[int, ...] | None = None  # 1 each by default
    activation: Activation = "relu"
    batch_size: int = 64
    side: int | None = shrunk_side()

    def __post_init__(self):
        super().__post_init__()
        if self.strides is not None:
            require_sizes("strides", self.strides)
        for option, values in (("kernels", self.kernels), ("strides", self._strides)):
            if len(values) != len(self.channels):
                raise ValueError(f"{option} must be as many as channels, but are {len(values)} against {len(self.channels)}")

    @property
    def _strides(self) -> tuple[int, ...]:
        return (1,) * len(self.channels) if self.strides is None else self.strides

    @property
    def param_shapes(self):
        shapes: dict[str, tuple[int, ...]] = {}
        side, depth = self.info.side, self.info.channels
        for index, (width, kernel, stride) in enumerate(zip(self.channels, self.kernels, self._strides, strict=True)):
            shapes[f"kernel{index}"] = (kernel, kernel, depth, width)
            shapes[f"bias{index}"] = (width,)
            side, depth = math.ceil(side / stride), width
        shapes["kernel_out"] = (side**2 * depth, self.info.classes)
        shapes["bias_out"] = (self.info.classes,)
        return shapes

    def initial_params(self, seed, task):
        return initial_network(seed, self.param_shapes, task["key"].shape[0], lambda shape: 0.01)

    def features(self, params, images):
        for index, stride in enumerate(self._strides):
            kernel, bias = params[f"kernel{index}"], params[f"bias{index}"]
            _, height, width, _ = images.shape
            if stride == 1 and kernel.shape[1] == 5 and kernel.shape[3] <= 8 and width % 2 == 0:
                images, kernel, bias = in_pairs(images, kernel, bias)
            images = ACTIVATIONS[self.activation](convolve(images, kernel, stride) + bias)
            images = tf.reshape(images, [-1, math.ceil(height / stride), math.ceil(width / stride), self.channels[index]])
        return tf.reshape(images, [-1, math.prod(images.shape[1:])])


@dataclass(frozen=True)
class ImageResnet(ConvolutionalClassifier):
    """A residual network: a convolution, then for each of `widths` a stage of `blocks`, then the mean over all pixels.

    A block is act(norm(conv(act(norm(conv(x))))) + x) with 3x3 kernels. The first block of each stage but the first has
    stride 2. Where a block changes the shape, x goes through a 1x1 convolution. No convolution has a bias; normalization
    (`l2o_problems.normalization`) is over all pixels: "layer" with all channels of each image, "batch" with all images for each
    channel, which needs memory for the activations of a whole split. Kernels are initialized as He et al. 2015, scales 1.
    With `side` the images are averaged to side x side pixels.
    """

    name: ClassVar[str] = "image_resnet"
    summary: ClassVar[str] = "small residual network on images"

    data: str = "mnist"
    widths: Sizes = (8, 16, 32)
    blocks: Depth = 1
    activation: Activation = "relu"
    normalization: Literal["batch", "layer"] = "layer"
    batch_size: int = 64
    side: int | None = shrunk_side()

    def _blocks(self) -> Iterator[tuple[int, int, int, int]]:
        """(index, width in, width out, stride) of each block."""
        widths = [self.widths[0], *(width for width in self.widths for _ in range(self.blocks))]
        for index, (width_in, width_out) in enumerate(itertools.pairwise(widths)):
            yield index, width_in, width_out, 2 if index and index % self.blocks == 0 else 1

    @property
    def param_shapes(self):
        shapes: dict[str, tuple[int, ...]] = {}

        def layer(name: str, width_in: int, width_out: int) -> None:
            shapes[f"kernel{name}"] = (3, 3, width_in, width_out)
            shapes[f"scale{name}"] = shapes[f"offset{name}"] = (width_out,)

        layer("_in", self.info.channels, self.widths[0])
        for index, width_in, width_out, stride in self._blocks():
            layer(f"{index}a", width_in, width_out)
            layer(f"{index}b", width_out, width_out)
            if stride > 1 or width_in != width_out:
                shapes[f"shortcut{index}"] = (1, 1, width_in, width_out)
        shapes["kernel_out"] = (self.widths[-1], self.info.classes)
        shapes["bias_out"] = (self.info.classes,)
        return shapes

    def initial_params(self, seed, task):
        return initial_network(seed, self.param_shapes, task["key"].shape[0])

    def features(self, params, images):
        activation = ACTIVATIONS[self.activation]
        axes = (0, 1, 2) if self.normalization == "batch" else (1, 2, 3)

        def layer(name: str, values: tf.Tensor, stride: int = 1) -> tf.Tensor:
            values = convolve(values, params[f"kernel{name}"], stride)
            return normalize(values, params[f"scale{name}"], params[f"offset{name}"], axes)

        images = activation(layer("_in", images))
        for index, _, _, stride in self._blocks():
            change = layer(f"{index}b", activation(layer(f"{index}a", images, stride)))
            shortcut = params.get(f"shortcut{index}")
            images = activation(change + (images if shortcut is None else convolve(images, shortcut, stride)))
        return tf.reduce_mean(images, axis=(1, 2))

    @property
    def separable(self):
        return self.normalization == "layer"
