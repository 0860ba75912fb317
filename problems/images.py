"""Problems on images, and MLP classifiers of them (Wichrowska et al. 2017, section 5.2: held-out problems).

Pixels are scaled to [0, 1] and not centered. The images are constants of the problem, read when first needed; instances
share them and differ in their initial parameters and in the minibatches they draw. Shapes are known without the data.

Shape letters: I instances, B minibatch, N examples.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import tensorflow as tf

from problems.base import Params, Problem
from problems.data import DATA_SETS, DataInfo, describe, fingerprint, load
from problems.networks import ACTIVATIONS, Activation, cross_entropy, initial_network, mlp_logits, mlp_shapes
from problems.normalization import NORMALIZATIONS, Normalization, initial_normalized, normalized_logits, normalized_shapes
from problems.options import require_choice, require_sizes, require_whole
from problems.random import instance_integers, instance_keys

PART = 1000  # images at a time through one network, which bounds the memory that a whole split takes


@functools.cache
def _constants(name: str, split: str) -> tuple[tf.Tensor, tf.Tensor]:
    """The images of a split, uint8 [N, pixels], and its labels, int32 [N]: one copy for all problems and graphs."""
    with tf.init_scope():
        inputs, labels = load(name).split(split)
        return tf.constant(inputs.reshape(len(inputs), -1)), tf.constant(labels)


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


class ImageProblem(Problem):
    """A problem on the images of `data`, a name of `problems.data.DATA_SETS`; subclasses have the fields."""

    data: str
    batch_size: int

    def __post_init__(self):
        require_choice("data", self.data, DATA_SETS)
        require_whole("batch_size", self.batch_size)

    @property
    def info(self) -> DataInfo:
        """What is known of the images without reading them."""
        return DATA_SETS[self.data]

    def sample(self, seed, instances):
        return {"key": instance_keys(seed, instances)}

    def batch(self, seed, task, split):
        """inputs [I, B, pixels] in [0, 1] and labels [I, B]; leading axis 1 for a whole split.

        Raises:
            problems.data.DataMissing: the data set cannot be read.
        """
        inputs, labels = _constants(self.data, split)
        if split == "train":
            index = instance_integers(seed, task["key"], self.batch_size, labels.shape[0])
            inputs, labels = tf.gather(inputs, index), tf.gather(labels, index)
        else:
            inputs, labels = inputs[None], labels[None]
        return {"inputs": tf.cast(inputs, tf.float32) / self.info.peak, "labels": labels}

    @property
    def held_out(self):
        return True

    @property
    def input_leaves(self):
        return ("inputs",)

    @property
    def source(self):
        """Raises problems.data.DataMissing if the images are not on this machine."""
        return describe(self.data)

    @property
    def data_identity(self):
        return fingerprint(self.data)


@dataclass(frozen=True)
class ImageMlp(ImageProblem):
    """An MLP on the pixels; kernels initialized as He et al. 2015, biases and offsets 0, scales 1.

    Normalization (`problems.normalization`) is before the activations of the hidden layers, which then have no bias.
    """

    name: ClassVar[str] = "image_mlp"
    summary: ClassVar[str] = "MLP on images, with or without normalization"

    data: str = "mnist"
    hidden: tuple[int, ...] = (64,)
    activation: Activation = "relu"
    normalization: Normalization = "none"
    batch_size: int = 64

    def __post_init__(self):
        super().__post_init__()
        require_sizes("hidden", self.hidden)
        require_choice("activation", self.activation, ACTIVATIONS)
        require_choice("normalization", self.normalization, NORMALIZATIONS)

    @property
    def param_shapes(self):
        sizes = (self.info.pixels, *self.hidden, self.info.classes)
        return mlp_shapes(sizes) if self.normalization == "none" else normalized_shapes(sizes)

    def initial_params(self, seed, task):
        initial = initial_network if self.normalization == "none" else initial_normalized
        return initial(seed, self.param_shapes, task["key"].shape[0])

    def loss(self, params, task, batch):
        if self.normalization == "none":
            logits = mlp_logits(params, batch["inputs"], self.activation)
        else:
            logits = normalized_logits(params, batch["inputs"], self.activation, self.normalization)
        return cross_entropy(logits, batch["labels"])
