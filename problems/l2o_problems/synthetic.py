"""Random data for classifiers, regression and autoencoders, drawn for many instances at once.

Shape letters: I instances, N examples, D inputs. An argument `shape` is that of the inputs, (I, N, D).
"""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
import tensorflow as tf

from l2o_problems.networks import initial_network, mlp_logits, mlp_shapes
from l2o_problems.options import require_number
from l2o_problems.random import fold, integers, normal, uniform

Data = tuple[tf.Tensor, tf.Tensor]

CLUSTERS = 4  # two for each class
TEACHER = (20,) * 6


def _require_decades(option: str, value: Any) -> None:
    require_number(option, value, least=0.0)
    if value > 6:  # squares of sums of such inputs are still numbers
        raise ValueError(f"{option} must be at most 6, but is {value!r}")


Decades = Annotated[float, _require_decades]  # of the scales of inputs


def labels_by_rank(scores: tf.Tensor, classes: int) -> tf.Tensor:
    """Each instance's scores [I, N] cut at their quantiles into classes of equal size, int32 [I, N]."""
    rank = tf.argsort(tf.argsort(scores, axis=1, stable=True), axis=1)
    return rank * classes // scores.shape[1]


def _corners(seed: tf.Tensor, instances: int, inputs: int) -> tf.Tensor:
    """Distinct random corners of the cube [-1, 1]^D for the clusters of each instance, [I, 4, D]."""
    # Two coordinates tell the clusters apart, in an order of their own for each instance; the others are random.
    order = tf.argsort(uniform(fold(seed, 0), [instances, CLUSTERS]), axis=1)
    distinct = tf.stack([order // 2, order % 2], axis=2)
    others = integers(fold(seed, 1), [instances, CLUSTERS, inputs - 2], 2)
    return 2 * tf.cast(tf.concat([distinct, others], axis=2), tf.float32) - 1


def cluster_data(seed: tf.Tensor, shape: tuple[int, int, int], separation: float, label_noise: float) -> Data:
    """Two classes of two normal clusters each, after Guyon's generator (make_classification of scikit-learn).

    Clusters lie at distinct corners of a cube of side 2 * separation, each with a covariance of its own: standard normal
    examples times a matrix uniform in (-1, 1). All inputs are informative. Every stretch of four examples has one of each
    cluster, so that any split is balanced.

    Args:
        shape: D at least 2.
        label_noise: probability that a label is drawn anew.

    Returns:
        inputs [I, N, D], labels int32 [I, N].
    """
    instances, samples, inputs = shape
    each = -(-samples // CLUSTERS)
    mixing = uniform(fold(seed, 0), [instances, CLUSTERS, inputs, inputs], -1.0, 1.0)
    spread = tf.matmul(normal(fold(seed, 1), [instances, CLUSTERS, each, inputs]), mixing)
    clusters = spread + separation * _corners(fold(seed, 2), instances, inputs)[:, :, None]
    points = tf.reshape(tf.transpose(clusters, [0, 2, 1, 3]), [instances, each * CLUSTERS, inputs])[:, :samples]
    labels = tf.range(samples)[None] % 2
    anew = uniform(fold(seed, 3), [instances, samples]) < label_noise
    return points, tf.where(anew, integers(fold(seed, 4), [instances, samples], 2), labels)


def linear_data(seed: tf.Tensor, shape: tuple[int, int, int], separation: float) -> Data:
    """A normal cloud cut in halves by a random hyperplane and pulled apart along its normal, 2 * separation or more.

    Returns:
        inputs [I, N, D], labels int32 [I, N], linearly separable and balanced.
    """
    instances, _, inputs = shape
    direction = tf.math.l2_normalize(normal(fold(seed, 0), [instances, inputs]), axis=1)
    points = normal(fold(seed, 1), shape)
    labels = labels_by_rank(tf.linalg.matvec(points, direction), 2)
    sign = 2 * tf.cast(labels, tf.float32) - 1
    return points + separation * sign[:, :, None] * direction[:, None, :], labels


def prototype_data(seed: tf.Tensor, shape: tuple[int, int, int], classes: int, spread: float) -> Data:
    """A standard normal prototype for each class, its examples normal around it, squashed by a sigmoid to (0, 1) as pixels are.

    Args:
        spread: standard deviation of the examples of a class, in units of that of the prototypes.

    Returns:
        inputs [I, N, D], labels int32 [I, N], as many examples of each class to within one.
    """
    instances, samples, inputs = shape
    labels = tf.broadcast_to(tf.range(samples)[None] % classes, [instances, samples])
    prototypes = normal(fold(seed, 0), [instances, classes, inputs])
    points = tf.gather(prototypes, labels, batch_dims=1) + normal(fold(seed, 1), shape, spread)
    return tf.sigmoid(points), labels


def random_network(seed: tf.Tensor, shape: tuple[int, int, int]) -> Data:
    """Normal inputs [I, N, D] and the scalar output, [I, N], of a random ReLU network of six layers of 20 for each instance."""
    instances, _, width = shape
    points = normal(fold(seed, 0), shape)
    teacher = initial_network(fold(seed, 1), mlp_shapes((width, *TEACHER, 1)), instances)
    return points, mlp_logits(teacher, points, "relu")[..., 0]


def teacher_data(
    seed: tf.Tensor, shape: tuple[int, int, int], outputs: int, hidden: tuple[int, ...], activation: str, noise: float
) -> Data:
    """Normal inputs, and what a random MLP of each instance makes of them, plus noise.

    The teacher's kernels are normal with sqrt(2 / fan_in), its biases standard normal. Each of its outputs is shifted and
    scaled to mean 0 and variance 1 over the examples, then gets normal noise of the deviation `noise`.

    Returns:
        inputs [I, N, D], targets [I, N, outputs].
    """
    instances, samples, inputs = shape
    points, shapes = normal(fold(seed, 0), shape), mlp_shapes((inputs, *hidden, outputs))
    teacher = initial_network(fold(seed, 1), shapes, instances)
    for index in range(len(hidden)):
        teacher[f"bias{index}"] += normal(fold(fold(seed, 2), index), teacher[f"bias{index}"].shape)
    values = mlp_logits(teacher, points, activation)
    centered = values - tf.reduce_mean(values, axis=1, keepdims=True)
    deviation = tf.sqrt(tf.reduce_mean(tf.square(centered), axis=1, keepdims=True))
    # An output that is constant, which a ReLU network may have, stays 0.
    return points, centered / tf.maximum(deviation, 1e-6) + normal(fold(seed, 3), [instances, samples, outputs], noise)


def low_rank_data(seed: tf.Tensor, shape: tuple[int, int, int], rank: int, condition: float, noise: float) -> tf.Tensor:
    """Normal points near a random linear subspace of each instance, of variance 1 an input on average, [I, N, D].

    Args:
        rank: dimensions of the subspace.
        condition: the deviation along the first of its directions over that along the last; they fall geometrically.
        noise: deviation of the normal noise on each input.
    """
    instances, samples, inputs = shape
    along = condition ** -np.linspace(0.0, 1.0, rank)
    factors = normal(fold(seed, 0), [instances, samples, rank]) * np.float32(along / np.linalg.norm(along))
    points = tf.matmul(factors, normal(fold(seed, 1), [instances, rank, inputs]))
    return points + normal(fold(seed, 2), shape, noise)


def noisy_labels(seed: tf.Tensor, labels: tf.Tensor, classes: int, share: float) -> tf.Tensor:
    """Labels int32 [I, N], each drawn anew from all classes with probability `share`."""
    anew = uniform(fold(seed, 0), labels.shape) < share
    return tf.where(anew, integers(fold(seed, 1), labels.shape, classes), labels)


def spoiled_inputs(seed: tf.Tensor, inputs: tf.Tensor, dead: float, decades: float) -> tf.Tensor:
    """Inputs [I, N, D] of different scales, and some of them 0: what of each instance's is which, it draws for itself.

    Args:
        dead: share of the inputs that are 0 in all examples, rounded to whole inputs, of which at least one is left.
        decades: the others are multiplied by 10^u, u uniform in (-decades, decades).
    """
    instances, _, width = inputs.shape
    rank = tf.argsort(tf.argsort(uniform(fold(seed, 0), [instances, width]), axis=1), axis=1)
    alive = tf.cast(rank >= min(round(dead * width), width - 1), tf.float32)
    return inputs * (alive * tf.pow(10.0, decades * uniform(fold(seed, 1), [instances, width], -1.0, 1.0)))[:, None]
