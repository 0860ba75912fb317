"""Problems on images, and MLPs on them: classifiers (Wichrowska et al. 2017, section 5.2: held-out problems), autoencoders (a
family of Metz et al. 2019), and completion, which is regression on real data.

Pixels are scaled to [0, 1] and not centered.

Shape letters: I instances, B minibatch, N examples.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import tensorflow as tf

from l2o_problems.base import LATER, Params
from l2o_problems.data import DATA_SETS, DataInfo, describe, fingerprint, load
from l2o_problems.data.shrink import shrink
from l2o_problems.examples import SharedExamples, constants
from l2o_problems.mlp import MlpProblem
from l2o_problems.networks import Activation, squared_error
from l2o_problems.normalization import Normalization
from l2o_problems.options import Count, Sizes, require_whole

PART = 1000  # images at a time through one network, which bounds the memory that a whole split takes


def shrunk_side() -> Any:
    """The field `side`: the images are averaged to side x side pixels (`data.shrink`); None: they are as they are."""
    return dataclasses.field(default=None, metadata=LATER)


def read_images(name: str, split: str, side: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The images of a split, uint8 or, averaged to `side`, float32, [N, H, W] or [N, H, W, C], and its labels, int32 [N]."""
    images, labels = load(name).split(split)
    return images if side is None else shrink(images, side), labels


@constants
def _constants(name: str, split: str, side: int | None) -> tuple[np.ndarray, np.ndarray]:
    """What `read_images` gives, pixels flat, [N, pixels]."""
    inputs, labels = read_images(name, split, side)
    return inputs.reshape(len(inputs), -1), labels


def one_by_one(
    function: Callable[[Params, tf.Tensor], tf.Tensor],
    params: Params,
    inputs: tf.Tensor,
    shape: tuple[int, ...] = (),
    part: int | None = None,
) -> tf.Tensor:
    """`function` of one instance after another, since the activations of all on a whole split do not fit in memory.

    Args:
        function: (params, inputs) of one instance, without the instance axis, inputs [N, ...] -> [N, *shape].
        params: {name: [I, ...]}.
        inputs: [I or 1, N, ...].
        part: give `function` at most so many examples at a time; for functions that take each example alone.

    Returns:
        [I, N, *shape].
    """
    shared = inputs.shape[0] == 1

    def alone(own: tuple[Params, tf.Tensor] | tuple[Params]) -> tf.Tensor:
        return _in_parts(functools.partial(function, own[0]), inputs[0] if len(own) == 1 else own[1], part, shape)

    return tf.map_fn(
        alone,
        (params,) if shared else (params, inputs),
        fn_output_signature=tf.TensorSpec([inputs.shape[1], *shape]),
        parallel_iterations=1,
    )


def _in_parts(
    function: Callable[[tf.Tensor], tf.Tensor], inputs: tf.Tensor, size: int | None, shape: tuple[int, ...]
) -> tf.Tensor:
    count = inputs.shape[0]
    if size is None or count <= size:
        return function(inputs)
    whole = count - count % size
    results = tf.map_fn(
        function,
        tf.reshape(inputs[:whole], [-1, size, *inputs.shape[1:]]),
        fn_output_signature=tf.TensorSpec([size, *shape]),
        parallel_iterations=1,
    )
    results = tf.reshape(results, [whole, *shape])
    return results if whole == count else tf.concat([results, function(inputs[whole:])], axis=0)


class ImageProblem(SharedExamples):
    """A problem on the images of `data`; subclasses have the fields."""

    data_sets = DATA_SETS
    input_leaves: ClassVar[tuple[str, ...]] = ("inputs",)

    batch_size: Count
    side: int | None

    def __post_init__(self):
        super().__post_init__()
        if self.side is not None:
            require_whole("side", self.side, most=DATA_SETS[self.data].side)

    @property
    def info(self) -> DataInfo:
        """What is known of the images, of the side that they have here, without reading them."""
        info = DATA_SETS[self.data]
        return info if self.side is None else dataclasses.replace(info, side=self.side)

    def batch(self, seed, task, split):
        """inputs [I, B, pixels] in [0, 1] and labels [I, B]; leading axis 1 for a whole split.

        Raises:
            l2o_problems.data.DataMissing: the data set cannot be read.
        """
        inputs, labels = self.examples_of(seed, task, split, *_constants(self.data, split, self.side))
        return {"inputs": tf.cast(inputs, tf.float32) / self.info.peak, "labels": labels}

    @property
    def source(self):
        """Raises l2o_problems.data.DataMissing if the images are not on this machine."""
        return describe(self.data)

    @property
    def data_identity(self):
        return fingerprint(self.data)


@dataclass(frozen=True)
class ImageMlp(MlpProblem, ImageProblem):
    """An MLP on the pixels; kernels initialized as He et al. 2015, biases and offsets 0, scales 1.

    Normalization (`l2o_problems.normalization`) is before the activations of the hidden layers, which then have no bias.
    With `side` the images are averaged to side x side pixels.
    """

    name: ClassVar[str] = "image_mlp"
    summary: ClassVar[str] = "MLP on images, with or without normalization"

    data: str = "mnist"
    hidden: Sizes = (64,)
    activation: Activation = "relu"
    normalization: Normalization = "none"
    batch_size: int = 64
    side: int | None = shrunk_side()

    @property
    def ends(self):
        return self.info.pixels, self.info.classes


@dataclass(frozen=True)
class ImageAutoencoder(MlpProblem, ImageProblem):
    """An MLP from the pixels through `hidden` back to as many sigmoid outputs; initialized as He et al. 2015, biases 0.

    The loss is the mean over images and pixels of the `criterion`, of outputs y against pixels x: "squared", (y - x)^2, or
    "cross_entropy", -x log y - (1 - x) log(1 - y) in nats. With `side` the images are averaged to side x side pixels.
    """

    name: ClassVar[str] = "image_autoencoder"
    summary: ClassVar[str] = "MLP autoencoder of images"
    input_leaves = ()  # the images are its targets too

    data: str = "mnist"
    hidden: Sizes = (128, 32, 128)
    activation: Activation = "relu"
    criterion: Literal["squared", "cross_entropy"] = "squared"
    batch_size: int = 64
    side: int | None = shrunk_side()

    @property
    def ends(self):
        return self.info.pixels, self.info.pixels

    def _errors(self, params: Params, inputs: tf.Tensor) -> tf.Tensor:
        """The mean over the pixels of each image: inputs [I or 1, B, pixels] -> [I, B]."""
        logits = self.outputs(params, inputs)
        if self.criterion == "squared":
            return tf.reduce_mean(tf.square(tf.sigmoid(logits) - inputs), axis=-1)
        return tf.reduce_mean(tf.nn.softplus(logits) - inputs * logits, axis=-1)

    def loss(self, params, task, batch):
        inputs, instances = batch["inputs"], params["kernel0"].shape[0]
        if inputs.shape[0] != instances or inputs.shape[1] > PART:

            def alone(own: Params, images: tf.Tensor) -> tf.Tensor:
                return self._errors({name: values[None] for name, values in own.items()}, images[None])[0]

            errors = one_by_one(alone, params, inputs, part=PART)
        else:
            errors = self._errors(params, inputs)
        return tf.reduce_mean(errors, axis=-1)


@dataclass(frozen=True)
class ImageCompletion(MlpProblem, ImageProblem):
    """An MLP from the pixels of the upper half to those of the lower one; initialized as He et al. 2015, biases 0.

    The loss is the mean over images and pixels of the squared error of linear outputs. Of an odd number of rows the middle one
    belongs to the lower half. With `side` the images are averaged to side x side pixels.
    """

    name: ClassVar[str] = "image_completion"
    summary: ClassVar[str] = "MLP regression of the lower half of images on the upper half"

    data: str = "mnist"
    hidden: Sizes = (64,)
    activation: Activation = "relu"
    batch_size: int = 64
    side: int | None = shrunk_side()

    def __post_init__(self):
        super().__post_init__()
        if self.side == 1:
            raise ValueError("side must be at least 2, since an image of one row has no upper half")

    @property
    def _inputs(self) -> int:
        """Numbers in the upper half."""
        return self.info.side // 2 * self.info.side * self.info.channels

    @property
    def ends(self):
        return self._inputs, self.info.pixels - self._inputs

    def batch(self, seed, task, split):
        pixels = super().batch(seed, task, split)["inputs"]
        return {"inputs": pixels[..., : self._inputs], "targets": pixels[..., self._inputs :]}

    def loss(self, params, task, batch):
        return squared_error(self.outputs(params, batch["inputs"]), batch["targets"])
