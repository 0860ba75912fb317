"""A classifier on sparse inputs (Wichrowska et al. 2017, section 5.1 and the code released with it).

Shape letters: I instances, N examples of an instance, B minibatch, E embedding, C classes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

import tensorflow as tf

from l2o_problems.base import SAMPLED
from l2o_problems.minibatches import MinibatchProblem
from l2o_problems.networks import affine, cross_entropy
from l2o_problems.options import Count, NonNegative, Probability, Several
from l2o_problems.random import fold, integers, normal, uniform


@dataclass(frozen=True)
class SparseSoftmax(MinibatchProblem):
    """Softmax regression on the sum of the embeddings of `context` random ids, labelled by their noisy parity.

    The ids are integers in [0, C); the label is their sum modulo C, one more with probability `label_noise`. The loss is the
    cross-entropy + l2 * the mean over the three tensors of their sums of squares. Tensors start normal with the deviation
    1.2 / sqrt(length of the first axis). The embeddings are looked up or, with `one_hot`, are matrix products with one-hot
    vectors: the same loss, with gradients that come another way.

    The released instance has 5 examples and minibatches of 23, which makes each of them the whole of the data; here there
    are 23 examples, drawn with replacement.
    """

    name: ClassVar[str] = "sparse_softmax"
    summary: ClassVar[str] = "softmax regression on embeddings of noisy-parity data, looked up or one-hot"

    features: Count = 5
    classes: Several = 2
    context: Count = 5
    samples: int = field(default=23, metadata=SAMPLED)
    batch_size: int = field(default=23, metadata=SAMPLED)
    l2: NonNegative = 1e-3
    one_hot: bool = False
    label_noise: Probability = field(default=0.25, metadata=SAMPLED)

    @property
    def param_shapes(self):
        return {
            "embedding": (self.classes, self.features),
            "kernel": (self.features, self.classes),
            "bias": (self.classes,),
        }

    def sample(self, seed, instances):
        ids = integers(fold(seed, 0), [instances, self.samples, self.context], self.classes)
        noise = uniform(fold(seed, 1), [instances, self.samples]) < self.label_noise
        labels = (tf.reduce_sum(ids, axis=2) + tf.cast(noise, tf.int32)) % self.classes
        return self.with_minibatches(fold(seed, 2), inputs=ids, labels=labels)

    def initial_params(self, seed, task):
        instances = task["key"].shape[0]
        return {
            name: normal(fold(seed, index), [instances, *shape], 1.2 / math.sqrt(shape[0]))
            for index, (name, shape) in enumerate(self.param_shapes.items())
        }

    def loss(self, params, task, batch):
        ids, table = batch["inputs"], params["embedding"]
        if self.one_hot:
            embedded = tf.matmul(tf.reduce_sum(tf.one_hot(ids, self.classes), axis=2), table)  # [I, B, E]
        else:
            # One table for all instances: a gather with `batch_dims` has no second derivative in a loop under XLA.
            first = self.classes * tf.range(table.shape[0])[:, None, None]
            embedded = tf.reduce_sum(tf.gather(tf.reshape(table, [-1, self.features]), first + ids), axis=2)
        squares = [tf.reduce_sum(tf.square(values), axis=list(range(1, len(values.shape)))) for values in params.values()]
        penalty = self.l2 * tf.reduce_mean(tf.stack(squares), axis=0)
        logits = affine(embedded, params["kernel"], params["bias"])
        return cross_entropy(logits, batch["labels"], batch["weights"]) + penalty
