"""A language model of words, most of which are rare: most rows of its embedding get a gradient at few steps only.

Shape letters: I instances, B minibatch, C words of context, V words of the vocabulary, E embedding.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Annotated, ClassVar

import tensorflow as tf

from l2o_problems.base import Batch, Params
from l2o_problems.data.text import TEXTS, word_codes
from l2o_problems.examples import SharedExamples, constants, loss_of_each
from l2o_problems.networks import ACTIVATIONS, Activation, affine, cross_entropy, initial_network
from l2o_problems.options import Count, require_whole
from l2o_problems.random import instance_integers

_constant = constants(word_codes)


@dataclass(frozen=True)
class WordMlp(SharedExamples):
    """The next word from the embeddings of the `context` words before it, by one hidden layer (Bengio et al. 2003).

    The `vocabulary` is of the most frequent words and marks of the training text, in small letters, and one entry for all
    others. Embeddings are looked up, so that the gradient of a row is zero unless its word is in the minibatch; they start
    N(0, 1), kernels as Glorot and Bengio 2010 (normal), biases 0. The loss is in nats for each word.
    """

    name: ClassVar[str] = "word_mlp"
    summary: ClassVar[str] = "MLP that predicts the next word, with an embedding most of whose rows are rare"
    data_sets: ClassVar = TEXTS

    vocabulary: int = 1500
    context: Annotated[int, partial(require_whole, most=1000)] = 2
    embedding: Count = 16
    hidden: Count = 32
    activation: Activation = "tanh"
    batch_size: Count = 64
    data: str = "topics"

    def __post_init__(self):
        super().__post_init__()
        require_whole("vocabulary", self.vocabulary, least=2, most=self.info.words + 1)

    @property
    def param_shapes(self):
        return {
            "embedding": (self.vocabulary, self.embedding),
            "kernel": (self.context * self.embedding, self.hidden),
            "bias": (self.hidden,),
            "kernel_out": (self.hidden, self.vocabulary),
            "bias_out": (self.vocabulary,),
        }

    def initial_params(self, seed, task):
        params = initial_network(seed, self.param_shapes, task["key"].shape[0], lambda shape: 1.0)
        kernels = {name: math.sqrt(2 / sum(shape)) for name, shape in self.param_shapes.items() if name.startswith("kernel")}
        return {name: kernels.get(name, 1.0) * values for name, values in params.items()}

    def batch(self, seed, task, split):
        """inputs int32 [I, B, C] and labels int32 [I, B]; of a whole split, with I = 1, each word that has C before it once.

        Raises:
            l2o_problems.data.DataMissing: the text cannot be read.
        """
        words = _constant(self.data, split, self.vocabulary)
        starts = words.shape[0] - self.context
        train = split == "train"
        begin = instance_integers(seed, task["key"], self.batch_size, starts) if train else tf.range(starts)[None]
        windows = tf.gather(words, begin[:, :, None] + tf.range(self.context + 1))
        return {"inputs": windows[:, :, :-1], "labels": windows[:, :, -1]}

    def loss(self, params, task, batch):
        return loss_of_each(self._loss, params, batch)

    def _loss(self, params: Params, batch: Batch) -> tf.Tensor:
        instances, examples, _ = batch["inputs"].shape
        # One table for all instances: a gather with `batch_dims` has no second derivative in a loop under XLA.
        first = self.vocabulary * tf.range(instances)[:, None, None]
        rows = tf.gather(tf.reshape(params["embedding"], [-1, self.embedding]), first + batch["inputs"])
        inputs = tf.reshape(rows, [instances, examples, self.context * self.embedding])
        hidden = ACTIVATIONS[self.activation](affine(inputs, params["kernel"], params["bias"]))
        return cross_entropy(affine(hidden, params["kernel_out"], params["bias_out"]), batch["labels"])
