"""What the problems have in common that are sums over a minibatch of random data, and no learning tasks.

Shape letters: I instances, N examples of an instance, B minibatch.
"""

from __future__ import annotations

import tensorflow as tf

from l2o_problems.base import Problem, Task
from l2o_problems.options import Count
from l2o_problems.random import instance_integers, instance_keys


class MinibatchProblem(Problem):
    """A problem whose task holds its data: leaves [I, N, ...], the key [I] of the minibatches, and their weights [I, B].

    Minibatches are padded to a power of two, with weight 0, so that families which differ in their batch size alone share a
    compilation. There is nothing to generalize to: the other splits are all of the data, which minibatches are drawn from
    with replacement. Subclasses have the fields `samples` (N) and `batch_size`, both sampled options.
    """

    samples: Count
    batch_size: Count

    def with_minibatches(self, seed: tf.Tensor, **data: tf.Tensor) -> Task:
        """A task of `data`, leaves [I, N, ...]."""
        instances, rows = next(iter(data.values())).shape[0], 1 << (self.batch_size - 1).bit_length()
        weights = tf.sequence_mask(tf.fill([instances], self.batch_size), rows, tf.float32)
        return {**data, "weights": weights, "key": instance_keys(seed, instances)}

    def batch(self, seed, task, split):
        """The data, leaves [I, B, ...], and weights [I, B], 1 or 0."""
        data = {name: leaf for name, leaf in task.items() if name not in ("weights", "key")}
        instances, samples = next(iter(data.values())).shape[:2]
        if split != "train":
            return {**data, "weights": tf.ones([instances, samples])}
        index = instance_integers(seed, task["key"], task["weights"].shape[1], samples)
        return {name: tf.gather(leaf, index, batch_dims=1) for name, leaf in data.items()} | {"weights": task["weights"]}
