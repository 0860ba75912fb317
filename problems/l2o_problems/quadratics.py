"""Quadratics, norms of residuals, and what problems in one vector share (Wichrowska et al. 2017, section 5.1).

Shape letters: I instances, N examples of an instance, B minibatch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

import tensorflow as tf

from l2o_problems.base import SAMPLED, Problem
from l2o_problems.minibatches import MinibatchProblem
from l2o_problems.options import Count, FromOne, Number, Positive
from l2o_problems.random import fold, instance_keys, normal

NORM_EPSILON = 1e-6


class VectorProblem(Problem):
    """A problem in one tensor x, which starts standard normal; subclasses have the field `dimension`, its length."""

    @property
    def param_shapes(self):
        return {"x": (self.dimension,)}

    def sample(self, seed, instances):
        return {"key": instance_keys(seed, instances)}

    def initial_params(self, seed, task):
        return {"x": normal(seed, [next(iter(task.values())).shape[0], *self.param_shapes["x"]])}


@dataclass(frozen=True)
class Quadratic(VectorProblem):
    """0.5 * ||W x - y||^2 with W [n, n], y [n] and the initial x standard normal."""

    name: ClassVar[str] = "quadratic"
    summary: ClassVar[str] = "0.5 ||Wx - y||^2, W and y standard normal"
    minimum = 0.0

    dimension: Count = 20

    def sample(self, seed, instances):
        n = self.dimension
        return {"w": normal(fold(seed, 0), [instances, n, n]), "y": normal(fold(seed, 1), [instances, n])}

    def loss(self, params, task, batch):
        residual = tf.linalg.matvec(task["w"], params["x"]) - task["y"]
        return 0.5 * tf.reduce_sum(tf.square(residual), axis=-1)


@dataclass(frozen=True)
class Norm(Quadratic):
    """(sum_j (|W x - y|_j + 1e-6)^p)^(1/p) with W [n, n], y [n] and the initial x standard normal, p = `power`."""

    name: ClassVar[str] = "norm"
    summary: ClassVar[str] = "p-norm of Wx - y, W and y standard normal"

    # Below 1 it is no norm, and its gradients grow without bound where a residual vanishes.
    power: FromOne = field(default=2.0, metadata=SAMPLED)

    def sample(self, seed, instances):
        return {**super().sample(seed, instances), "power": tf.fill([instances], float(self.power))}

    def loss(self, params, task, batch):
        residual = tf.abs(tf.linalg.matvec(task["w"], params["x"]) - task["y"]) + NORM_EPSILON
        # Relative to the largest, so that no power overflows. The norm of a multiple is the multiple of the norm, and so
        # the result does not depend on the unit: its derivative is left out.
        largest = tf.stop_gradient(tf.reduce_max(residual, axis=-1))
        total = tf.reduce_sum(tf.pow(residual / largest[:, None], task["power"][:, None]), axis=-1)
        return largest * tf.pow(total, 1 / task["power"])

    @property
    def minimum(self):
        return self.dimension ** (1 / self.power) * NORM_EPSILON


@dataclass(frozen=True)
class Bowl(VectorProblem):
    """0.5 * ||A x||^2 in two dimensions, A = diag(sqrt(condition), 1) R, R the rotation by `angle`; x starts standard normal.

    All instances have the same A and differ in their start.
    """

    name: ClassVar[str] = "bowl"
    summary: ClassVar[str] = "two-dimensional quadratic of a given condition number and angle"
    dimension = 2
    minimum = 0.0

    condition: Positive = field(default=5.0, metadata=SAMPLED)
    angle: Number = field(default=0.0, metadata=SAMPLED)  # radians

    def sample(self, seed, instances):
        root, cosine, sine = math.sqrt(self.condition), math.cos(self.angle), math.sin(self.angle)
        matrix = tf.constant([[root * cosine, -root * sine], [sine, cosine]])
        return {"matrix": tf.tile(matrix[None], [instances, 1, 1])}

    def loss(self, params, task, batch):
        return 0.5 * tf.reduce_sum(tf.square(tf.linalg.matvec(task["matrix"], params["x"])), axis=-1)


class SymmetricData(VectorProblem, MinibatchProblem):
    """A problem in x [n] on standard normal data a [N, n] that come with their negatives; x starts standard normal."""

    dimension: Count

    def __post_init__(self):
        super().__post_init__()
        if self.samples % 2:
            raise ValueError(f"samples must be even, as data come with their negatives, but is {self.samples}")

    def sample(self, seed, instances):
        half = normal(fold(seed, 0), [instances, self.samples // 2, self.dimension])
        return self.with_minibatches(fold(seed, 1), inputs=tf.concat([half, -half], axis=1))


@dataclass(frozen=True)
class ProjectionQuadratic(SymmetricData):
    """The sum over the examples a of a minibatch, and over their entries, of (x_j a_j)^2, least at x = 0.

    The product is that of entries, as in the code released with the paper, and no inner product: each minibatch is a
    quadratic along the axes, with curvatures of its own.
    """

    name: ClassVar[str] = "projection_quadratic"
    summary: ClassVar[str] = "sum of (x_j a_j)^2 over minibatches of random directions a"
    minimum = 0.0

    dimension: int = 20
    samples: int = field(default=1000, metadata=SAMPLED)
    batch_size: int = field(default=100, metadata=SAMPLED)

    def loss(self, params, task, batch):
        squares = tf.reduce_sum(tf.square(params["x"][:, None] * batch["inputs"]), axis=2)
        return tf.reduce_sum(batch["weights"] * squares, axis=1)


@dataclass(frozen=True)
class SumOfQuadratics(SymmetricData):
    """The sum over the examples a of a minibatch of ||x - a||^2 - ||a||^2.

    On all data it is least at x = 0, where it is 0 on every minibatch; elsewhere the loss of a minibatch may be negative.
    """

    name: ClassVar[str] = "sum_of_quadratics"
    summary: ClassVar[str] = "sum of ||x - a||^2 - ||a||^2 over minibatches of random centers a"

    dimension: int = 20
    samples: int = field(default=1000, metadata=SAMPLED)
    batch_size: int = field(default=100, metadata=SAMPLED)

    def loss(self, params, task, batch):
        # x (x - 2a): the difference of the two squares would lose the digits of a small x.
        x = params["x"][:, None]
        differences = tf.reduce_sum(x * (x - 2 * batch["inputs"]), axis=2)
        return tf.reduce_sum(batch["weights"] * differences, axis=1)

    def lower_bound(self, task):
        """-B max ||a||^2: what a minibatch reaches that is B times the longest a, with x = a."""
        longest = tf.reduce_max(tf.reduce_sum(tf.square(task["inputs"]), axis=2), axis=1)
        return -tf.reduce_sum(task["weights"], axis=1) * longest
