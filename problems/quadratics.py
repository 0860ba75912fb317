"""Quadratic problems (Wichrowska et al. 2017, section 5.1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import tensorflow as tf

from problems.base import Problem
from problems.options import require_whole
from problems.random import fold, normal


@dataclass(frozen=True)
class Quadratic(Problem):
    """0.5 * ||W x - y||^2 with W [n, n], y [n] and the initial x standard normal."""

    name: ClassVar[str] = "quadratic"
    summary: ClassVar[str] = "0.5 ||Wx - y||^2, W and y standard normal"

    dimension: int = 20

    def __post_init__(self):
        require_whole("dimension", self.dimension)

    @property
    def param_shapes(self):
        return {"x": (self.dimension,)}

    def sample(self, seed, instances):
        n = self.dimension
        return {"w": normal(fold(seed, 0), [instances, n, n]), "y": normal(fold(seed, 1), [instances, n])}

    def initial_params(self, seed, task):
        return {"x": normal(seed, [task["y"].shape[0], self.dimension])}

    def loss(self, params, task, batch):
        residual = tf.linalg.matvec(task["w"], params["x"]) - task["y"]
        return 0.5 * tf.reduce_sum(tf.square(residual), axis=-1)

    @property
    def minimum(self):
        return 0.0
