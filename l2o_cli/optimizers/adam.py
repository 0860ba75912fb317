"""Adam (Kingma and Ba 2015)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from keras import ops

from l2o_cli.optimizers.base import Optimizer, per_instance


@dataclass(frozen=True)
class Adam(Optimizer):
    """m and v are running means of the gradient and its square; the step is learning_rate * m / (sqrt(v) + epsilon), both unbiased."""

    name: ClassVar[str] = "adam"
    summary: ClassVar[str] = "Adam (Kingma and Ba 2015)"

    learning_rate: float = 0.001
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-7

    def init_weights(self, seed):
        values = (self.learning_rate, self.beta_1, self.beta_2, self.epsilon)
        names = ("learning_rate", "beta_1", "beta_2", "epsilon")
        return {name: np.float32(value) for name, value in zip(names, values, strict=True)}

    def init_state(self, weights, layout, instances, seed):
        return {name: np.zeros((1, instances, layout.parameters), np.float32) for name in ("mean", "square")}

    def update(self, weights, state, params, gradients, loss, step, layout):
        rate, beta_1, beta_2, epsilon = (
            per_instance(weights[name]) for name in ("learning_rate", "beta_1", "beta_2", "epsilon")
        )
        mean = state["mean"] + (gradients - state["mean"]) * (1 - beta_1)
        square = state["square"] + (ops.square(gradients) - state["square"]) * (1 - beta_2)
        count = ops.cast(step, "float32")[:, None] + 1
        rate = rate * ops.sqrt(1 - beta_2**count) / (1 - beta_1**count)
        return params - rate * mean[0] / (ops.sqrt(square[0]) + epsilon), {"mean": mean, "square": square}
