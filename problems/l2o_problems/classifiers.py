"""Classifiers on synthetic data drawn anew for each instance (Wichrowska et al. 2017, section 5.1 and the code released with it).

Shape letters: I instances, N examples of all splits, D inputs, B minibatch, E embedding.
"""

from __future__ import annotations

import abc
import math
from dataclasses import dataclass, field
from typing import ClassVar

import tensorflow as tf

from l2o_problems.base import SAMPLED
from l2o_problems.examples import SyntheticExamples
from l2o_problems.minibatches import MinibatchProblem
from l2o_problems.mlp import MlpProblem
from l2o_problems.networks import Activation, affine, cross_entropy, initial_network
from l2o_problems.normalization import Normalization
from l2o_problems.options import Count, Flag, NonNegative, Positive, Probability, Several, require_number
from l2o_problems.random import fold, instance_keys, integers, normal, uniform
from l2o_problems.synthetic import (
    Data,
    Decades,
    cluster_data,
    labels_by_rank,
    linear_data,
    noisy_labels,
    prototype_data,
    random_network,
    spoiled_inputs,
)


@dataclass(frozen=True)
class LogisticRegression(SyntheticExamples):
    """Binary logistic regression: sigmoid cross-entropy + l2 * mean(w^2), the intercept exempt.

    The data are two clusters for each class (`l2o_problems.synthetic.cluster_data`), or with `separable` one cloud cut by a
    random hyperplane into linearly separable classes, 2 * separation apart (`linear_data`).
    """

    name: ClassVar[str] = "logistic_regression"
    summary: ClassVar[str] = "binary logistic regression on random clusters, l2 penalty"
    input_leaves = ("inputs",)

    features: Several = 10
    batch_size: int = 100
    separation: float = field(default=2.0, metadata=SAMPLED)
    samples: int = 1000
    l2: NonNegative = field(default=1e-3, metadata=SAMPLED)
    separable: bool = field(default=False, metadata=SAMPLED)
    # Probability that a label is drawn anew; none if separable.
    label_noise: Probability = field(default=0.01, metadata=SAMPLED)

    def __post_init__(self):
        super().__post_init__()
        require_number("separation", self.separation, above=0.0 if self.separable else None, least=0.0)

    @property
    def param_shapes(self):
        return {"kernel": (self.features, 1), "bias": (1,)}

    def sample(self, seed, instances):
        shape = (instances, self.total_samples, self.features)
        if self.separable:
            inputs, labels = linear_data(fold(seed, 0), shape, self.separation)
        else:
            inputs, labels = cluster_data(fold(seed, 0), shape, self.separation, self.label_noise)
        keys = instance_keys(fold(seed, 1), instances)
        return {"inputs": inputs, "labels": labels, "key": keys, "l2": tf.fill([instances], float(self.l2))}

    def initial_params(self, seed, task):
        deviation = 1.2 / math.sqrt(self.features)
        return initial_network(seed, self.param_shapes, task["key"].shape[0], lambda shape: deviation)

    def loss(self, params, task, batch):
        logits = tf.matmul(batch["inputs"], params["kernel"])[..., 0] + params["bias"]
        against = tf.where(batch["labels"] == 1, -logits, logits)
        penalty = task["l2"] * tf.reduce_mean(tf.square(params["kernel"]), axis=(1, 2))
        return tf.reduce_mean(tf.nn.softplus(against), axis=-1) + penalty

    @property
    def minimum(self):
        # An infimum: approached as the kernel grows, never reached.
        return 0.0 if self.separable and self.l2 == 0 else None


class MlpClassifier(MlpProblem, SyntheticExamples):
    """An MLP on inputs [I, N, D] with labels int32 [I, N]; subclasses have the fields below.

    Without hidden layers it is softmax regression. In all splits a share `label_noise` of the labels is drawn anew, a share
    `dead_inputs` of the inputs is 0 in all examples, and each of the others is multiplied by 10^u, u uniform in
    (-input_decades, input_decades) and drawn for each instance. Which label an example has does not depend on that.
    """

    inputs: Count
    classes: Several
    label_noise: Probability
    dead_inputs: Probability
    input_decades: Decades
    input_leaves = ("inputs",)

    @property
    def ends(self):
        return self.inputs, self.classes

    @abc.abstractmethod
    def examples(self, seed: tf.Tensor, shape: tuple[int, int, int]) -> Data:
        """Inputs of `shape` (I, N, D), and labels int32 [I, N]."""

    def sample(self, seed, instances):
        inputs, labels = self.examples(fold(seed, 0), (instances, self.total_samples, self.inputs))
        return {
            "inputs": spoiled_inputs(fold(seed, 2), inputs, self.dead_inputs, self.input_decades),
            "labels": noisy_labels(fold(seed, 3), labels, self.classes, self.label_noise),
            "key": instance_keys(fold(seed, 1), instances),
        }


@dataclass(frozen=True)
class RandomMlp(MlpClassifier):
    """An MLP classifier of normal inputs, whose labels a random ReLU network of six layers of 20 has given.

    The network's scalar output is cut at its quantiles, so that all classes have as many examples, whatever network is drawn.
    """

    name: ClassVar[str] = "random_mlp"
    summary: ClassVar[str] = "MLP classifier on labels of a random ReLU network"

    hidden: tuple[int, ...] = (32,)
    inputs: int = 10
    classes: int = 2
    batch_size: int = 64
    samples: int = 1000
    activation: Activation = "sigmoid"
    initial_scale: Positive = field(default=1.0, metadata=SAMPLED)  # of the kernels, in units of sqrt(2 / fan_in)
    normalization: Normalization = "none"
    residual: Flag = False
    label_noise: float = field(default=0.0, metadata=SAMPLED)
    dead_inputs: float = field(default=0.0, metadata=SAMPLED)
    input_decades: float = field(default=0.0, metadata=SAMPLED)

    def examples(self, seed, shape):
        inputs, scores = random_network(seed, shape)
        return inputs, labels_by_rank(scores, self.classes)


@dataclass(frozen=True)
class ClusterMlp(MlpClassifier):
    """An MLP classifier of one cluster per class (`l2o_problems.synthetic.prototype_data`): like small images, and learnable."""

    name: ClassVar[str] = "cluster_mlp"
    summary: ClassVar[str] = "MLP classifier on one random cluster per class"

    hidden: tuple[int, ...] = (32,)
    inputs: int = 20
    classes: int = 10
    batch_size: int = 64
    samples: int = 1000
    activation: Activation = "relu"
    initial_scale: Positive = field(default=1.0, metadata=SAMPLED)  # of the kernels, in units of sqrt(2 / fan_in)
    spread: NonNegative = field(default=1.0, metadata=SAMPLED)
    normalization: Normalization = "none"
    residual: Flag = False
    label_noise: float = field(default=0.0, metadata=SAMPLED)
    dead_inputs: float = field(default=0.0, metadata=SAMPLED)
    input_decades: float = field(default=0.0, metadata=SAMPLED)

    def examples(self, seed, shape):
        return prototype_data(seed, shape, self.classes, self.spread)


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
