"""Two-dimensional test functions of classical optimization (Wichrowska et al. 2017, section 5.1).

Start ranges are those of the code released with the paper.

Shape letter: I instances. An instance differs from another by its start only.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import tensorflow as tf

from l2o_problems.quadratics import VectorProblem
from l2o_problems.random import uniform

Pair = tuple[float, float]


class TwoDimensional(VectorProblem):
    """A function of `x` of shape (2,), the points (x, y) of the formulas."""

    dimension = 2
    value: ClassVar[Callable[[tf.Tensor], tf.Tensor]]  # the function at points [I, 2], as [I]
    starts: ClassVar[tuple[Pair, Pair] | None]  # the ranges of x and y in which it is started uniformly; None: standard normal
    minimizer: ClassVar[Pair | None]  # one of the points where it has its least value

    def initial_params(self, seed, task):
        if self.starts is None:
            return super().initial_params(seed, task)
        low, high = (tf.constant(ends) for ends in zip(*self.starts, strict=True))
        return {"x": low + (high - low) * uniform(seed, [task["key"].shape[0], 2])}

    def loss(self, params, task, batch):
        return self.value(params["x"])


def problem(
    name: str, summary: str, starts: tuple[Pair, Pair] | None, minimizer: Pair | None, minimum: float | None = 0.0
) -> Callable[[Callable[[tf.Tensor], tf.Tensor]], type[TwoDimensional]]:
    """Makes a problem of a function of points [I, 2], with the function's name as its class and its docstring."""

    def made(value: Callable[[tf.Tensor], tf.Tensor]) -> type[TwoDimensional]:
        about = {"name": name, "summary": summary, "starts": starts, "minimizer": minimizer, "minimum": minimum}
        described = {"__doc__": value.__doc__, "__module__": __name__, "value": staticmethod(value)}
        return dataclass(frozen=True)(type(value.__name__, (TwoDimensional,), {**described, **about}))

    return made


@problem("rosenbrock", "(1 - x)^2 + 100 (y - x^2)^2, started in [-5, 10]^2", ((-5.0, 10.0),) * 2, (1.0, 1.0))
def Rosenbrock(points):
    """(1 - x)^2 + 100 (y - x^2)^2, least at (1, 1)."""
    x, y = tf.unstack(points, axis=-1)
    return tf.square(1 - x) + 100 * tf.square(y - tf.square(x))


@problem("ackley", "Ackley's function, many local minima, started in [-32.768, 32.768]^2", ((-32.768, 32.768),) * 2, (0.0, 0.0))
def Ackley(points):
    """-20 exp(-0.2 sqrt((x^2 + y^2) / 2)) - exp((cos 2 pi x + cos 2 pi y) / 2) + 20 + e, least at the origin."""
    mean_square = tf.reduce_mean(tf.square(points), axis=-1)
    # The root has no derivative at the minimum; zero is taken there.
    away = mean_square > 0
    radius = tf.where(away, tf.sqrt(tf.where(away, mean_square, 1.0)), 0.0)
    # With cos 2a = 1 - 2 sin^2 a both terms vanish exactly at the minimum and rounding makes neither negative.
    ripple = tf.reduce_sum(tf.square(tf.sin(math.pi * points)), axis=-1)
    return -20 * tf.math.expm1(-0.2 * radius) - math.e * tf.math.expm1(-ripple)


@problem("beale", "Beale's function, steep towards the corners, started in [-4.5, 4.5]^2", ((-4.5, 4.5),) * 2, (3.0, 0.5))
def Beale(points):
    """(1.5 - x + x y)^2 + (2.25 - x + x y^2)^2 + (2.625 - x + x y^3)^2, least at (3, 0.5)."""
    x, y = tf.unstack(points, axis=-1)
    powers = (y, tf.square(y), tf.square(y) * y)
    return tf.add_n([tf.square(c - x + x * power) for c, power in zip((1.5, 2.25, 2.625), powers, strict=True)])


@problem("booth", "(x + 2y - 7)^2 + (2x + y - 5)^2, started in [-10, 10]^2", ((-10.0, 10.0),) * 2, (1.0, 3.0))
def Booth(points):
    """(x + 2 y - 7)^2 + (2 x + y - 5)^2, least at (1, 3)."""
    x, y = tf.unstack(points, axis=-1)
    return tf.square(x + 2 * y - 7) + tf.square(2 * x + y - 5)


@problem(
    "branin",
    "Branin's function, three equal minima in its start range [-5, 10] x [0, 15]",
    ((-5.0, 10.0), (0.0, 15.0)),
    (math.pi, 2.275),
    10 / (8 * math.pi),
)
def Branin(points):
    """(y - 5.1 x^2 / (4 pi^2) + 5 x / pi - 6)^2 + 10 (1 - 1 / (8 pi)) cos x + 10.

    Least where cos x = -1 and the square vanishes: at (pi, 2.275), among others.
    """
    x, y = tf.unstack(points, axis=-1)
    parabola = y - 5.1 / (4 * math.pi**2) * tf.square(x) + 5 / math.pi * x - 6
    return tf.square(parabola) + 10 * (1 - 1 / (8 * math.pi)) * tf.cos(x) + 10


@problem(
    "log_sum_exp",
    "logarithm of a sum of exponentials, convex, started standard normal",
    None,
    (-math.log(2) / 2, 0.0),
    math.log(1 + 2 * math.sqrt(2) * math.exp(-0.1)),
)
def LogSumExp(points):
    """log(exp(x + 3 y - 0.1) + exp(x - 3 y - 0.1) + exp(-x - 0.1) + 1), least at (-log(2) / 2, 0); convex."""
    x, y = tf.unstack(points, axis=-1)
    return tf.reduce_logsumexp(tf.stack([x + 3 * y - 0.1, x - 3 * y - 0.1, -x - 0.1, tf.zeros_like(x)]), axis=0)


@problem("matyas", "0.26 (x^2 + y^2) - 0.48 xy, started in [-10, 10]^2", ((-10.0, 10.0),) * 2, (0.0, 0.0))
def Matyas(points):
    """0.26 (x^2 + y^2) - 0.48 x y, least at the origin."""
    x, y = tf.unstack(points, axis=-1)
    return 0.26 * (tf.square(x) + tf.square(y)) - 0.48 * x * y


@problem(
    "michalewicz",
    "Michalewicz's function, ridges and plains, started in [0, pi]^2 where it is at least 0.1934",
    ((0.0, math.pi),) * 2,
    (2.185311961840168, math.pi / 2),
)
def Michalewicz(points):
    """2 - sin x sin^10(x^2 / pi) - sin y sin^10(2 y^2 / pi): Michalewicz's function with m = 5, shifted by 2 to be positive.

    In its start range it is least, 0.19337711, at `minimizer`. Far outside, where the ridges lie close together, there are
    points as close to 0 as one likes.
    """
    ridges = tf.square(tf.sin(tf.square(points) * tf.constant([1 / math.pi, 2 / math.pi])))
    tenth_power = tf.square(tf.square(ridges)) * ridges
    return 2 - tf.reduce_sum(tf.sin(points) * tenth_power, axis=-1)


@problem(
    "styblinski_tang",
    "Styblinski and Tang's function, four valleys, started in [-5, 5]^2",
    ((-5.0, 5.0),) * 2,
    (-2.9035340277711772,) * 2,
    1.6676685924571757,
)
def StyblinskiTang(points):
    """(x^4 - 16 x^2 + 5 x + y^4 - 16 y^2 + 5 y) / 2 + 80, shifted by 80 to be positive.

    Least where both are the least root of 4 t^3 - 32 t + 5; each coordinate has another, lesser valley.
    """
    square = tf.square(points)
    return tf.reduce_sum(0.5 * (square * (square - 16) + 5 * points) + 40, axis=-1)


@problem("valley", "0.5 (x - y)^2, least on a line, started standard normal", None, (0.0, 0.0))
def Valley(points):
    """0.5 (x - y)^2, least on the whole line x = y.

    Which of its points an optimizer finds is its implicit bias: gradient descent ends in the one nearest to the start.
    """
    x, y = tf.unstack(points, axis=-1)
    return 0.5 * tf.square(x - y)


@problem("saddle", "x^2 - y^2, unbounded below, started standard normal; for tests", None, None, None)
def Saddle(points):
    """x^2 - y^2, for tests: unbounded below.

    There is no lower bound; 0, the value at the saddle point, stands for it. Objectives continue the logarithm below it.
    """
    x, y = tf.unstack(points, axis=-1)
    return tf.square(x) - tf.square(y)


FUNCTIONS: tuple[type[TwoDimensional], ...] = (
    *(Rosenbrock, Ackley, Beale, Booth, Branin, LogSumExp),
    *(Matyas, Michalewicz, StyblinskiTang, Valley, Saddle),
)
