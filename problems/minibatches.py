"""What the problems have in common that are sums over a minibatch of random data, and no learning tasks.

Shape letters: I instances, N examples of an instance, B minibatch.
"""

from __future__ import annotations

import tensorflow as tf

from problems.base import Problem, Task
from problems.options import require_whole
from problems.random import instance_integers, instance_keys


class MinibatchProblem(Problem):
    """A problem whose task holds its data: leaves [I, N, ...], and the key [I] of the minibatches.

    There is nothing to generalize to: the other splits are all of the data, which minibatches are drawn from with
    replacement. Subclasses have the fields `samples` (N) and `batch_size` (B).
    """

    samples: int
    batch_size: int

    def __post_init__(self):
        require_whole("samples", self.samples)
        require_whole("batch_size", self.batch_size)

    def with_keys(self, seed: tf.Tensor, **data: tf.Tensor) -> Task:
        """A task of `data`, leaves [I, N, ...]."""
        return {**data, "key": instance_keys(seed, next(iter(data.values())).shape[0])}

    def batch(self, seed, task, split):
        data = {name: leaf for name, leaf in task.items() if name != "key"}
        if split != "train":
            return data
        index = instance_integers(seed, task["key"], self.batch_size, self.samples)
        return {name: tf.gather(leaf, index, batch_dims=1) for name, leaf in data.items()}
