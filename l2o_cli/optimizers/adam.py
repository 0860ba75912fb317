"""Adam (Kingma and Ba 2015)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from keras import ops

from l2o_cli.optimizers.hand_designed import HandDesigned, hyperparameters


@dataclass(frozen=True)
class Adam(HandDesigned):
    """m and v are running means of the gradient and its square, both unbiased; the step is learning_rate m / (sqrt(v) + epsilon).

    As in Keras, epsilon is added to the biased sqrt(v) ("epsilon hat" in section 2 of the paper).
    """

    name: ClassVar[str] = "adam"
    summary: ClassVar[str] = "Adam (Kingma and Ba 2015)"
    accumulators: ClassVar[tuple[str, ...]] = ("mean", "square")

    learning_rate: float = 0.001
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-7

    def update(self, weights, state, params, gradients, loss, step, layout):
        rate, beta_1, beta_2, epsilon = hyperparameters(weights, "learning_rate", "beta_1", "beta_2", "epsilon")
        mean = state["mean"] + (gradients - state["mean"]) * (1 - beta_1)
        square = state["square"] + (ops.square(gradients) - state["square"]) * (1 - beta_2)
        count = ops.cast(step, "float32")[:, None] + 1
        rate = rate * ops.sqrt(1 - beta_2**count) / (1 - beta_1**count)
        # The derivative of a root is infinite at 0, where dead units are; no meta-gradient would be left.
        root = ops.sqrt(ops.maximum(square[0], 1e-30))
        return params - rate * mean[0] / (root + epsilon), {"mean": mean, "square": square}
