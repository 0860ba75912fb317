"""Classifiers on synthetic data drawn anew for each instance (Wichrowska et al. 2017, section 5.1 and the code released with it).

Shape letters: I instances, N examples of all splits, D inputs, B minibatch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import tensorflow as tf

from problems.base import SAMPLED, Problem
from problems.networks import ACTIVATIONS, Activation, cross_entropy, he_deviation, initial_network, mlp_logits, mlp_shapes
from problems.options import require_choice, require_number, require_sizes, require_whole
from problems.random import fold, instance_integers, instance_keys
from problems.synthetic import cluster_data, labels_by_rank, linear_data, prototype_data, random_network


class SyntheticClassifier(Problem):
    """A classifier whose task holds its examples: `samples` of train, then a quarter of that each of validation and test.

    Subclasses have the fields `batch_size` and `samples`, and tasks with inputs [I, N, D], labels int32 [I, N] and key [I].
    """

    batch_size: int
    samples: int

    @property
    def held_out_samples(self) -> int:
        """Examples in "validation", and as many in "test"."""
        return max(1, self.samples // 4)

    @property
    def total_samples(self) -> int:
        """N."""
        return self.samples + 2 * self.held_out_samples

    def batch(self, seed, task, split):
        if split == "train":
            index = instance_integers(seed, task["key"], self.batch_size, self.samples)
            return {leaf: tf.gather(task[leaf], index, batch_dims=1) for leaf in ("inputs", "labels")}
        begin = self.samples + (split == "test") * self.held_out_samples
        part = slice(begin, begin + self.held_out_samples)
        return {leaf: task[leaf][:, part] for leaf in ("inputs", "labels")}

    @property
    def held_out(self):
        return True

    @property
    def input_leaves(self):
        return ("inputs",)


@dataclass(frozen=True)
class LogisticRegression(SyntheticClassifier):
    """Binary logistic regression: sigmoid cross-entropy + l2 * mean(w^2), the intercept exempt.

    The data are two clusters for each class (`problems.synthetic.cluster_data`), or with `separable` one cloud cut by a
    random hyperplane into linearly separable classes, 2 * separation apart (`linear_data`).
    """

    name: ClassVar[str] = "logistic_regression"
    summary: ClassVar[str] = "binary logistic regression on random clusters, l2 penalty"

    features: int = 10
    batch_size: int = 100
    separation: float = field(default=2.0, metadata=SAMPLED)
    samples: int = 1000
    l2: float = field(default=1e-3, metadata=SAMPLED)
    separable: bool = field(default=False, metadata=SAMPLED)
    # Probability that a label is drawn anew; none if separable.
    label_noise: float = field(default=0.01, metadata=SAMPLED)

    def __post_init__(self):
        require_whole("features", self.features, least=2)
        require_whole("batch_size", self.batch_size)
        require_number("separation", self.separation, above=0.0 if self.separable else None, least=0.0)
        require_whole("samples", self.samples)
        require_number("l2", self.l2, least=0.0)
        require_number("label_noise", self.label_noise, least=0.0)
        if self.label_noise > 1:
            raise ValueError(f"label_noise must be a probability, but is {self.label_noise!r}")

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


class MlpClassifier(SyntheticClassifier):
    """An MLP on such data; subclasses have the fields of its shape. Without hidden layers it is softmax regression."""

    hidden: tuple[int, ...]
    inputs: int
    classes: int
    activation: Activation
    initial_scale: float

    def __post_init__(self):
        if self.hidden != ():
            require_sizes("hidden", self.hidden)
        require_whole("inputs", self.inputs)
        require_whole("classes", self.classes, least=2)
        require_whole("batch_size", self.batch_size)
        require_whole("samples", self.samples)
        require_choice("activation", self.activation, ACTIVATIONS)
        require_number("initial_scale", self.initial_scale, above=0.0)

    @property
    def param_shapes(self):
        return mlp_shapes((self.inputs, *self.hidden, self.classes))

    def initial_params(self, seed, task):
        def deviation(shape: Sequence[int]) -> float:
            return self.initial_scale * he_deviation(shape)

        return initial_network(seed, self.param_shapes, task["key"].shape[0], deviation)

    def loss(self, params, task, batch):
        return cross_entropy(mlp_logits(params, batch["inputs"], self.activation), batch["labels"])


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
    initial_scale: float = field(default=1.0, metadata=SAMPLED)  # of the kernels, in units of sqrt(2 / fan_in)

    def sample(self, seed, instances):
        inputs, scores = random_network(fold(seed, 0), (instances, self.total_samples, self.inputs))
        labels = labels_by_rank(scores, self.classes)
        return {"inputs": inputs, "labels": labels, "key": instance_keys(fold(seed, 1), instances)}


@dataclass(frozen=True)
class ClusterMlp(MlpClassifier):
    """An MLP classifier of one cluster per class (`problems.synthetic.prototype_data`): like small images, and learnable."""

    name: ClassVar[str] = "cluster_mlp"
    summary: ClassVar[str] = "MLP classifier on one random cluster per class"

    hidden: tuple[int, ...] = (32,)
    inputs: int = 20
    classes: int = 10
    batch_size: int = 64
    samples: int = 1000
    activation: Activation = "relu"
    initial_scale: float = field(default=1.0, metadata=SAMPLED)  # of the kernels, in units of sqrt(2 / fan_in)
    spread: float = field(default=1.0, metadata=SAMPLED)

    def __post_init__(self):
        super().__post_init__()
        require_number("spread", self.spread, least=0.0)

    def sample(self, seed, instances):
        shape = (instances, self.total_samples, self.inputs)
        inputs, labels = prototype_data(fold(seed, 0), shape, self.classes, self.spread)
        return {"inputs": inputs, "labels": labels, "key": instance_keys(fold(seed, 1), instances)}
