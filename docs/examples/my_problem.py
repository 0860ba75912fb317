"""A problem of one's own: the low-rank factors of a matrix, fitted on some of its entries at a time."""

from dataclasses import dataclass, field
from typing import ClassVar

import tensorflow as tf
from l2o_problems.base import SAMPLED, Problem
from l2o_problems.random import fold, instance_keys, instance_uniform, normal


@dataclass(frozen=True)
class MatrixFactorization(Problem):
    """The mean square of U V^T - A. An instance draws its own A [size, size]: of rank `rank`, plus normal noise."""

    name: ClassVar[str] = "matrix_factorization"
    summary: ClassVar[str] = "low-rank factors of a noisy matrix, fitted on random entries"

    size: int = 20
    rank: int = 2
    share: float = 0.25  # of the entries in a minibatch
    noise: float = field(default=0.1, metadata=SAMPLED)

    def __post_init__(self):
        if not 0 < self.share <= 1:
            raise ValueError(f"share must be above 0 and at most 1, but is {self.share}")

    @property
    def param_shapes(self):
        return {"u": (self.size, self.rank), "v": (self.size, self.rank)}

    def sample(self, seed, instances):
        u, v = (normal(fold(seed, index), [instances, self.size, self.rank]) for index in (0, 1))
        noise = normal(fold(seed, 2), [instances, self.size, self.size], self.noise)
        return {"matrix": tf.matmul(u, v, transpose_b=True) + noise, "key": instance_keys(fold(seed, 3), instances)}

    def initial_params(self, seed, task):
        shape = [task["key"].shape[0], self.size, self.rank]
        return {"u": normal(fold(seed, 0), shape, 0.1), "v": normal(fold(seed, 1), shape, 0.1)}

    def batch(self, seed, task, split):
        if split != "train":
            return {"weight": tf.ones([1, self.size, self.size])}
        chosen = instance_uniform(seed, task["key"], [self.size, self.size]) < self.share
        return {"weight": tf.cast(chosen, tf.float32) / self.share}

    def loss(self, params, task, batch):
        residual = tf.matmul(params["u"], params["v"], transpose_b=True) - task["matrix"]
        return tf.reduce_mean(batch["weight"] * tf.square(residual), axis=(1, 2))
