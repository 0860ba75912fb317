"""Problems on images, and MLP classifiers of them (Wichrowska et al. 2017, section 5.2: held-out problems).

Pixels are scaled to [0, 1] and not centered.

Shape letters: I instances, B minibatch, N examples.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf

from l2o_problems.base import LATER, Params
from l2o_problems.data import DATA_SETS, DataInfo, describe, fingerprint, load
from l2o_problems.data.shrink import shrink
from l2o_problems.examples import SharedExamples, constants
from l2o_problems.mlp import MlpProblem
from l2o_problems.networks import Activation
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
