"""Two-dimensional test functions of classical optimization (Wichrowska et al. 2017, section 5.1).

Start ranges are those of the code released with the paper.

Shape letter: I instances. An instance differs from another by its start only.
"""

from __future__ import annotations

import abc
import math
from dataclasses import dataclass
from typing import ClassVar

import tensorflow as tf

from l2o_problems.base import Problem
from l2o_problems.random import instance_keys, normal, uniform

Pair = tuple[float, float]


class TestFunction(Problem):
    """A function of `x` of shape (2,), the points (x, y) of the formulas.

    Its least value is 0 unless `minimum` says otherwise, and `minimizer` is one of the points where it has it.
    """

    # The ranges of x and of y in which it is started uniformly; None: started standard normal.
    start_ranges: ClassVar[tuple[Pair, Pair] | None]
    minimizer: ClassVar[Pair | None]

    @property
    def param_shapes(self):
        return {"x": (2,)}

    @staticmethod
    @abc.abstractmethod
    def value(points: tf.Tensor) -> tf.Tensor:
        """The function at points [I, 2], as [I]."""

    def sample(self, seed, instances):
        return {"key": instance_keys(seed, instances)}

    def initial_params(self, seed, task):
        shape = [task["key"].shape[0], 2]
        if self.start_ranges is None:
            return {"x": normal(seed, shape)}
        low, high = (tf.constant(ends) for ends in zip(*self.start_ranges, strict=True))
        return {"x": low + (high - low) * uniform(seed, shape)}

    def loss(self, params, task, batch):
        return self.value(params["x"])

    @property
    def minimum(self):
        return 0.0


@dataclass(frozen=True)
class Rosenbrock(TestFunction):
    """(1 - x)^2 + 100 (y - x^2)^2, least at (1, 1)."""

    name: ClassVar[str] = "rosenbrock"
    summary: ClassVar[str] = "(1 - x)^2 + 100 (y - x^2)^2, started in [-5, 10]^2"
    start_ranges: ClassVar = ((-5.0, 10.0),) * 2
    minimizer: ClassVar = (1.0, 1.0)

    @staticmethod
    def value(points):
        x, y = tf.unstack(points, axis=-1)
        return tf.square(1 - x) + 100 * tf.square(y - tf.square(x))


@dataclass(frozen=True)
class Ackley(TestFunction):
    """-20 exp(-0.2 sqrt((x^2 + y^2) / 2)) - exp((cos 2 pi x + cos 2 pi y) / 2) + 20 + e, least at the origin."""

    name: ClassVar[str] = "ackley"
    summary: ClassVar[str] = "Ackley's function, many local minima, started in [-32.768, 32.768]^2"
    start_ranges: ClassVar = ((-32.768, 32.768),) * 2
    minimizer: ClassVar = (0.0, 0.0)

    @staticmethod
    def value(points):
        mean_square = tf.reduce_mean(tf.square(points), axis=-1)
        # The root has no derivative at the minimum; zero is taken there.
        away = mean_square > 0
        radius = tf.where(away, tf.sqrt(tf.where(away, mean_square, 1.0)), 0.0)
        # With cos 2a = 1 - 2 sin^2 a both terms vanish exactly at the minimum and rounding makes neither negative.
        ripple = tf.reduce_sum(tf.square(tf.sin(math.pi * points)), axis=-1)
        return -20 * tf.math.expm1(-0.2 * radius) - math.e * tf.math.expm1(-ripple)


@dataclass(frozen=True)
class Beale(TestFunction):
    """(1.5 - x + x y)^2 + (2.25 - x + x y^2)^2 + (2.625 - x + x y^3)^2, least at (3, 0.5)."""

    name: ClassVar[str] = "beale"
    summary: ClassVar[str] = "Beale's function, steep towards the corners, started in [-4.5, 4.5]^2"
    start_ranges: ClassVar = ((-4.5, 4.5),) * 2
    minimizer: ClassVar = (3.0, 0.5)

    @staticmethod
    def value(points):
        x, y = tf.unstack(points, axis=-1)
        powers = (y, tf.square(y), tf.square(y) * y)
        return tf.add_n([tf.square(c - x + x * power) for c, power in zip((1.5, 2.25, 2.625), powers, strict=True)])


@dataclass(frozen=True)
class Booth(TestFunction):
    """(x + 2 y - 7)^2 + (2 x + y - 5)^2, least at (1, 3)."""

    name: ClassVar[str] = "booth"
    summary: ClassVar[str] = "(x + 2y - 7)^2 + (2x + y - 5)^2, started in [-10, 10]^2"
    start_ranges: ClassVar = ((-10.0, 10.0),) * 2
    minimizer: ClassVar = (1.0, 3.0)

    @staticmethod
    def value(points):
        x, y = tf.unstack(points, axis=-1)
        return tf.square(x + 2 * y - 7) + tf.square(2 * x + y - 5)


@dataclass(frozen=True)
class Branin(TestFunction):
    """(y - 5.1 x^2 / (4 pi^2) + 5 x / pi - 6)^2 + 10 (1 - 1 / (8 pi)) cos x + 10.

    Least where cos x = -1 and the square vanishes: at (pi, 2.275), among others.
    """

    name: ClassVar[str] = "branin"
    summary: ClassVar[str] = "Branin's function, three equal minima in its start range [-5, 10] x [0, 15]"
    start_ranges: ClassVar = ((-5.0, 10.0), (0.0, 15.0))
    minimizer: ClassVar = (math.pi, 2.275)

    @staticmethod
    def value(points):
        x, y = tf.unstack(points, axis=-1)
        parabola = y - 5.1 / (4 * math.pi**2) * tf.square(x) + 5 / math.pi * x - 6
        return tf.square(parabola) + 10 * (1 - 1 / (8 * math.pi)) * tf.cos(x) + 10

    @property
    def minimum(self):
        return 10 / (8 * math.pi)


@dataclass(frozen=True)
class LogSumExp(TestFunction):
    """log(exp(x + 3 y - 0.1) + exp(x - 3 y - 0.1) + exp(-x - 0.1) + 1), least at (-log(2) / 2, 0); convex."""

    name: ClassVar[str] = "log_sum_exp"
    summary: ClassVar[str] = "logarithm of a sum of exponentials, convex, started standard normal"
    start_ranges: ClassVar = None
    minimizer: ClassVar = (-math.log(2) / 2, 0.0)

    @staticmethod
    def value(points):
        x, y = tf.unstack(points, axis=-1)
        return tf.reduce_logsumexp(tf.stack([x + 3 * y - 0.1, x - 3 * y - 0.1, -x - 0.1, tf.zeros_like(x)]), axis=0)

    @property
    def minimum(self):
        return math.log(1 + 2 * math.sqrt(2) * math.exp(-0.1))


@dataclass(frozen=True)
class Matyas(TestFunction):
    """0.26 (x^2 + y^2) - 0.48 x y, least at the origin."""

    name: ClassVar[str] = "matyas"
    summary: ClassVar[str] = "0.26 (x^2 + y^2) - 0.48 xy, started in [-10, 10]^2"
    start_ranges: ClassVar = ((-10.0, 10.0),) * 2
    minimizer: ClassVar = (0.0, 0.0)

    @staticmethod
    def value(points):
        x, y = tf.unstack(points, axis=-1)
        return 0.26 * (tf.square(x) + tf.square(y)) - 0.48 * x * y


@dataclass(frozen=True)
class Michalewicz(TestFunction):
    """2 - sin x sin^10(x^2 / pi) - sin y sin^10(2 y^2 / pi): Michalewicz's function with m = 5, shifted by 2 to be positive.

    In its start range it is least, 0.19337711, at `minimizer`. Far outside, where the ridges lie close together, there are
    points as close to 0 as one likes.
    """

    name: ClassVar[str] = "michalewicz"
    summary: ClassVar[str] = "Michalewicz's function, ridges and plains, started in [0, pi]^2 where it is at least 0.1934"
    start_ranges: ClassVar = ((0.0, math.pi),) * 2
    minimizer: ClassVar = (2.185311961840168, math.pi / 2)

    @staticmethod
    def value(points):
        ridges = tf.square(tf.sin(tf.square(points) * tf.constant([1 / math.pi, 2 / math.pi])))
        tenth_power = tf.square(tf.square(ridges)) * ridges
        return 2 - tf.reduce_sum(tf.sin(points) * tenth_power, axis=-1)


@dataclass(frozen=True)
class StyblinskiTang(TestFunction):
    """(x^4 - 16 x^2 + 5 x + y^4 - 16 y^2 + 5 y) / 2 + 80, shifted by 80 to be positive.

    Least where both are the least root of 4 t^3 - 32 t + 5; each coordinate has another, lesser valley.
    """

    name: ClassVar[str] = "styblinski_tang"
    summary: ClassVar[str] = "Styblinski and Tang's function, four valleys, started in [-5, 5]^2"
    start_ranges: ClassVar = ((-5.0, 5.0),) * 2
    minimizer: ClassVar = (-2.9035340277711772,) * 2

    @staticmethod
    def value(points):
        square = tf.square(points)
        return tf.reduce_sum(0.5 * (square * (square - 16) + 5 * points) + 40, axis=-1)

    @property
    def minimum(self):
        return 1.6676685924571757


@dataclass(frozen=True)
class Valley(TestFunction):
    """0.5 (x - y)^2, least on the whole line x = y.

    Which of its points an optimizer finds is its implicit bias: gradient descent ends in the one nearest to the start.
    """

    name: ClassVar[str] = "valley"
    summary: ClassVar[str] = "0.5 (x - y)^2, least on a line, started standard normal"
    start_ranges: ClassVar = None
    minimizer: ClassVar = (0.0, 0.0)

    @staticmethod
    def value(points):
        x, y = tf.unstack(points, axis=-1)
        return 0.5 * tf.square(x - y)


@dataclass(frozen=True)
class Saddle(TestFunction):
    """x^2 - y^2, for tests: unbounded below.

    There is no lower bound; 0, the value at the saddle point, stands for it. Objectives continue the logarithm below it.
    """

    name: ClassVar[str] = "saddle"
    summary: ClassVar[str] = "x^2 - y^2, unbounded below, started standard normal; for tests"
    start_ranges: ClassVar = None
    minimizer: ClassVar = None

    @staticmethod
    def value(points):
        x, y = tf.unstack(points, axis=-1)
        return tf.square(x) - tf.square(y)

    @property
    def minimum(self):
        return None


FUNCTIONS: tuple[type[TestFunction], ...] = (
    *(Rosenbrock, Ackley, Beale, Booth, Branin, LogSumExp),
    *(Matyas, Michalewicz, StyblinskiTang, Valley, Saddle),
)
