"""Two-dimensional test functions of classical optimization (Wichrowska et al. 2017, section 5.1).

Start ranges are those of the code released with the paper.

Shape letter: I instances. An instance differs from another by its start only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import tensorflow as tf

from problems.base import Problem
from problems.random import instance_keys, uniform


class TestFunction(Problem):
    """A function of `x` of shape (2,) with least value 0, started uniformly in `start_range` on both axes."""

    start_range: ClassVar[tuple[float, float]]

    @property
    def param_shapes(self):
        return {"x": (2,)}

    def sample(self, seed, instances):
        return {"key": instance_keys(seed, instances)}

    def initial_params(self, seed, task):
        return {"x": uniform(seed, [task["key"].shape[0], 2], *self.start_range)}

    @property
    def minimum(self):
        return 0.0


@dataclass(frozen=True)
class Rosenbrock(TestFunction):
    """(1 - x)^2 + 100 (y - x^2)^2, least at (1, 1)."""

    name: ClassVar[str] = "rosenbrock"
    summary: ClassVar[str] = "(1 - x)^2 + 100 (y - x^2)^2, started in [-5, 10]^2"
    start_range: ClassVar[tuple[float, float]] = (-5.0, 10.0)

    def loss(self, params, task, batch):
        x, y = tf.unstack(params["x"], axis=-1)
        return tf.square(1 - x) + 100 * tf.square(y - tf.square(x))


@dataclass(frozen=True)
class Ackley(TestFunction):
    """-20 exp(-0.2 sqrt((x^2 + y^2) / 2)) - exp((cos 2 pi x + cos 2 pi y) / 2) + 20 + e, least at the origin."""

    name: ClassVar[str] = "ackley"
    summary: ClassVar[str] = "Ackley's function, many local minima, started in [-32.768, 32.768]^2"
    start_range: ClassVar[tuple[float, float]] = (-32.768, 32.768)

    def loss(self, params, task, batch):
        mean_square = tf.reduce_mean(tf.square(params["x"]), axis=-1)
        # The root has no derivative at the minimum; zero is taken there.
        away = mean_square > 0
        radius = tf.where(away, tf.sqrt(tf.where(away, mean_square, 1.0)), 0.0)
        # With cos 2a = 1 - 2 sin^2 a both terms vanish exactly at the minimum and rounding makes neither negative.
        ripple = tf.reduce_sum(tf.square(tf.sin(math.pi * params["x"])), axis=-1)
        return -20 * tf.math.expm1(-0.2 * radius) - math.e * tf.math.expm1(-ripple)
