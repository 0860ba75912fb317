"""Autoencoders of images (a family of Metz et al. 2019).

Shape letters: I instances, B minibatch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import tensorflow as tf

from l2o_problems.base import Params
from l2o_problems.images import PART, ImageProblem, one_by_one, shrunk_side
from l2o_problems.mlp import MlpProblem
from l2o_problems.networks import Activation
from l2o_problems.options import Sizes


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
