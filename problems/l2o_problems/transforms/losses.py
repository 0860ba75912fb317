"""Monotonic transformations of the loss: the same minima, another landscape (Wichrowska et al. 2017, section 5.1)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

import tensorflow as tf

from l2o_problems.base import SAMPLED
from l2o_problems.options import Positive, require_choice
from l2o_problems.transforms.base import Transform

# (distance of the loss from its lower bound, epsilon) -> transformed loss, increasing and 0 at 0.
FUNCTIONS: dict[str, Callable[[tf.Tensor, tf.Tensor], tf.Tensor]] = {
    "log": lambda loss, epsilon: tf.math.log1p(loss / epsilon),  # = log(loss + epsilon) - log(epsilon)
    "square_root": lambda loss, epsilon: tf.sqrt(loss + epsilon) - tf.sqrt(epsilon),
    "square": lambda loss, epsilon: tf.square(loss),
    "saturated": lambda loss, epsilon: loss / (1 + loss),
}


@dataclass(frozen=True)
class LossTransform(Transform):
    """f(loss - lower bound), where the lower bound is 0 for most problems and f is one of

    - log: log(loss + epsilon) - log(epsilon), the paper's
    - square_root: sqrt(loss + epsilon) - sqrt(epsilon)
    - square: loss^2
    - saturated: loss / (1 + loss)
    """

    name: ClassVar[str] = "loss_transform"
    summary: ClassVar[str] = "a monotonic function of the loss: log, square_root, square or saturated"

    function: str = "log"
    epsilon: Positive = field(default=1e-6, metadata=SAMPLED)  # in units of the loss

    def __post_init__(self):
        super().__post_init__()
        require_choice("function", self.function, FUNCTIONS)

    def draw(self, seed, instances):
        return {"epsilon": tf.fill([instances], float(self.epsilon))}

    def loss(self, params, task, batch):
        # Rounding may take a loss just below its bound.
        distance = tf.maximum(super().loss(params, task, batch) - super().lower_bound(task), 0.0)
        return FUNCTIONS[self.function](distance, task["epsilon"])

    def lower_bound(self, task):
        return tf.zeros_like(task["epsilon"])

    @property
    def minimum(self):
        # Where the inner problem's bound is not zero its minimum would have to be measured from that.
        return 0.0 if self.inner.minimum == 0 else None
