"""Stochastic gradient descent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from l2o_cli.optimizers.hand_designed import HandDesigned, hyperparameters
from l2o_cli.optimizers.options import NonNegative


@dataclass(frozen=True)
class Sgd(HandDesigned):
    """The step is learning_rate times the gradient."""

    name: ClassVar[str] = "sgd"
    summary: ClassVar[str] = "stochastic gradient descent"

    learning_rate: NonNegative = 0.01

    def move(self, weights, state, params, gradients, step, layout):
        (rate,) = hyperparameters(weights, "learning_rate")
        return params - rate * gradients, state
