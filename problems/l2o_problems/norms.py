"""Norms of residuals (Wichrowska et al. 2017, section 5.1)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import tensorflow as tf

from l2o_problems.base import SAMPLED
from l2o_problems.options import FromOne
from l2o_problems.quadratics import Quadratic

EPSILON = 1e-6


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
        residual = tf.abs(tf.linalg.matvec(task["w"], params["x"]) - task["y"]) + EPSILON
        # Relative to the largest, so that no power overflows. The norm of a multiple is the multiple of the norm, and so
        # the result does not depend on the unit: its derivative is left out.
        largest = tf.stop_gradient(tf.reduce_max(residual, axis=-1))
        total = tf.reduce_sum(tf.pow(residual / largest[:, None], task["power"][:, None]), axis=-1)
        return largest * tf.pow(total, 1 / task["power"])

    @property
    def minimum(self):
        return self.dimension ** (1 / self.power) * EPSILON
