"""Phase retrieval: find a vector from the squares of its products with known ones, whose signs are lost."""

from dataclasses import dataclass
from typing import ClassVar

import tensorflow as tf
from l2o_problems.base import Problem
from l2o_problems.random import fold, normal


@dataclass(frozen=True)
class PhaseRetrieval(Problem):
    """The mean of ((a w)^2 - (a v)^2)^2 over 4 `size` rows a. Each instance draws rows and v of its own."""

    name: ClassVar[str] = "phase_retrieval"
    summary: ClassVar[str] = "a vector from squares of its products with known ones"

    size: int = 10

    @property
    def param_shapes(self):
        return {"w": (self.size,)}

    def sample(self, seed, instances):
        rows = normal(fold(seed, 0), [instances, 4 * self.size, self.size])
        return {"rows": rows, "v": normal(fold(seed, 1), [instances, self.size])}

    def initial_params(self, seed, task):
        return {"w": normal(seed, [task["v"].shape[0], self.size])}

    def loss(self, params, task, batch):
        squares = tf.square(tf.linalg.matvec(task["rows"], params["w"]))
        wanted = tf.square(tf.linalg.matvec(task["rows"], task["v"]))
        return tf.reduce_mean(tf.square(squares - wanted), axis=1)
