"""Problems whose parameters must be found in order, along a way, or two at a time (Wichrowska et al. 2017, section 5.1).

Shape letters: I instances, N examples of an instance, B minibatch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

import tensorflow as tf

from l2o_problems.base import SAMPLED
from l2o_problems.minibatches import MinibatchProblem
from l2o_problems.options import Count, Several
from l2o_problems.quadratics import VectorProblem
from l2o_problems.random import fold, integers

EPSILON = 1e-6


@dataclass(frozen=True)
class DependencyChain(VectorProblem):
    """x_0^2 + sum_i x_i^2 / (x_{i-1}^2 + 1e-6) with `dimension` + 1 parameters, standard normal at the start, least at 0.

    Each parameter is worth bringing to 0 only when the one before it is there. An instance differs from another by its
    start only.
    """

    name: ClassVar[str] = "dependency_chain"
    summary: ClassVar[str] = "parameters that must be brought to 0 one after another"
    minimum = 0.0

    dimension: Count = 20

    @property
    def param_shapes(self):
        return {"x": (self.dimension + 1,)}

    def loss(self, params, task, batch):
        squares = tf.square(params["x"])
        return squares[:, 0] + tf.reduce_sum(squares[:, 1:] / (squares[:, :-1] + EPSILON), axis=1)


@dataclass(frozen=True)
class OutwardSnake(VectorProblem, MinibatchProblem):
    """The sum over a minibatch of b_0 / (||x|| + 1e-6) + sum_i ((x_i - pi cos x_{i-1}) b_i)^2, x standard normal at the start.

    The examples b [N, n] have entries 0 and 1. A winding valley leads outward, and the loss falls to 0 at infinity alone.
    """

    name: ClassVar[str] = "outward_snake"
    summary: ClassVar[str] = "a winding valley whose minimum is at infinity"
    minimum = 0.0  # an infimum: approached along the valley, never reached

    dimension: Several = 20
    samples: int = field(default=1000, metadata=SAMPLED)
    batch_size: int = field(default=100, metadata=SAMPLED)

    def sample(self, seed, instances):
        binary = integers(fold(seed, 0), [instances, self.samples, self.dimension], 2)
        return self.with_minibatches(fold(seed, 1), inputs=tf.cast(binary, tf.float32))

    def loss(self, params, task, batch):
        x = params["x"]
        # 0 and 1 are their own squares: counts of the ones are all that the loss needs of the minibatch.
        counts = tf.reduce_sum(batch["weights"][:, :, None] * batch["inputs"], axis=1)
        square = tf.reduce_sum(tf.square(x), axis=1)
        # The root has no derivative at 0; zero is taken there.
        away = square > 0
        radius = tf.where(away, tf.sqrt(tf.where(away, square, 1.0)), 0.0)
        winding = tf.square(x[:, 1:] - math.pi * tf.cos(x[:, :-1]))
        return counts[:, 0] / (radius + EPSILON) + tf.reduce_sum(winding * counts[:, 1:], axis=1)


@dataclass(frozen=True)
class MinMaxWell(VectorProblem):
    """max(x^2) + 1 / min(x^2) - 2 + 1e-12 over the `dimension` entries of x, standard normal at the start.

    Only the largest and the smallest entry have a gradient. It is least where all entries are 1 or -1. An instance differs
    from another by its start only.
    """

    name: ClassVar[str] = "min_max_well"
    summary: ClassVar[str] = "gradient in two entries only: the largest and the smallest"
    minimum = 1e-12

    dimension: Count = 20

    def loss(self, params, task, batch):
        squares = tf.square(params["x"])
        least, largest = tf.reduce_min(squares, axis=1), tf.reduce_max(squares, axis=1)
        # The sum of two terms that rounding makes no less than 0.
        return (largest - least) + tf.square(1 - least) / least + 1e-12
