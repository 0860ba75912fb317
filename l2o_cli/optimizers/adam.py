"""Adam (Kingma and Ba 2015)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from keras import ops

from l2o_cli.optimizers.hand_designed import HandDesigned, hyperparameters, number, root
from l2o_cli.optimizers.options import Decay, NonNegative


@dataclass(frozen=True)
class Adam(HandDesigned):
    """m and v are running means of the gradient and its square, both unbiased; the step is learning_rate m / (sqrt(v) + epsilon).

    As in Keras, epsilon is added to the biased sqrt(v) ("epsilon hat" in section 2 of the paper).
    """

    name: ClassVar[str] = "adam"
    summary: ClassVar[str] = "Adam (Kingma and Ba 2015)"
    accumulators: ClassVar[tuple[str, ...]] = ("mean", "square")

    learning_rate: NonNegative = 0.001
    beta_1: Decay = 0.9
    beta_2: Decay = 0.999
    epsilon: NonNegative = 1e-7

    def move(self, weights, state, params, gradients, step, layout):
        rate, beta_1, beta_2, epsilon = hyperparameters(weights, "learning_rate", "beta_1", "beta_2", "epsilon")
        mean = state["mean"] + (gradients - state["mean"]) * (1 - beta_1)
        square = state["square"] + (ops.square(gradients) - state["square"]) * (1 - beta_2)
        count = number(step)
        rate = rate * ops.sqrt(1 - beta_2**count) / (1 - beta_1**count)
        return params - rate * mean[0] / (root(square[0]) + epsilon), {"mean": mean, "square": square}
