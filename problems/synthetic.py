"""Random data for classifiers, drawn for many instances at once.

Shape letters: I instances, N examples, D inputs.
"""

from __future__ import annotations

import tensorflow as tf

from problems.networks import initial_network, mlp_logits, mlp_shapes
from problems.random import fold, integers, normal, uniform

Data = tuple[tf.Tensor, tf.Tensor]

CLUSTERS = 4  # two for each class
TEACHER = (20,) * 6


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
        shape: (I, N, D), D at least 2.
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

    Args:
        shape: (I, N, D).

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
        shape: (I, N, D).
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
