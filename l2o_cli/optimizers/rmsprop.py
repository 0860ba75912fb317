"""RMSprop (Tieleman and Hinton 2012, lecture 6.5)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from keras import ops

from l2o_cli.optimizers.hand_designed import HandDesigned, hyperparameters
from l2o_cli.optimizers.options import Decay, NonNegative


@dataclass(frozen=True)
class RmsProp(HandDesigned):
    """v is a running mean of the squared gradient; the step is learning_rate * gradient / sqrt(v + epsilon)."""

    name: ClassVar[str] = "rmsprop"
    summary: ClassVar[str] = "RMSprop (Tieleman and Hinton 2012)"
    accumulators: ClassVar[tuple[str, ...]] = ("square",)

    learning_rate: NonNegative = 0.001
    rho: Decay = 0.9
    epsilon: NonNegative = 1e-7

    def move(self, weights, state, params, gradients, step, layout):
        rate, rho, epsilon = hyperparameters(weights, "learning_rate", "rho", "epsilon")
        square = rho * state["square"] + (1 - rho) * ops.square(gradients)
        return params - rate * gradients / ops.sqrt(square[0] + epsilon), {"square": square}
