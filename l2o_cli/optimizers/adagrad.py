"""Adagrad (Duchi et al. 2011)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from keras import ops

from l2o_cli.optimizers.hand_designed import HandDesigned, hyperparameters
from l2o_cli.optimizers.options import NonNegative

LARGEST_SUM = 1e37  # sums of squares stay here, for they would be Inf after some hundred gradients of the greatest size


@dataclass(frozen=True)
class Adagrad(HandDesigned):
    """The step is learning_rate * gradient / sqrt(initial_accumulator_value + sum of all squared gradients + epsilon)."""

    name: ClassVar[str] = "adagrad"
    summary: ClassVar[str] = "Adagrad (Duchi et al. 2011)"
    accumulators: ClassVar[tuple[str, ...]] = ("sum",)

    learning_rate: NonNegative = 0.001
    initial_accumulator_value: NonNegative = 0.1
    epsilon: NonNegative = 1e-7

    def move(self, weights, state, params, gradients, step, layout):
        rate, initial, epsilon = hyperparameters(weights, "learning_rate", "initial_accumulator_value", "epsilon")
        total = ops.minimum(state["sum"] + ops.square(gradients), LARGEST_SUM)
        return params - rate * gradients / ops.sqrt(total[0] + (initial + epsilon)), {"sum": total}
