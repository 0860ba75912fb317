"""Lion (Chen et al. 2023, "Symbolic Discovery of Optimization Algorithms")."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from keras import ops

from l2o_cli.optimizers.hand_designed import HandDesigned, hyperparameters
from l2o_cli.optimizers.options import Decay, NonNegative


@dataclass(frozen=True)
class Lion(HandDesigned):
    """Every step has the size learning_rate and the sign of beta_1 m + (1 - beta_1) gradient, m a running mean with beta_2.

    The params are first multiplied by 1 - learning_rate * weight_decay.
    """

    name: ClassVar[str] = "lion"
    summary: ClassVar[str] = "steps of the sign of a momentum (Chen et al. 2023)"
    accumulators: ClassVar[tuple[str, ...]] = ("mean",)

    learning_rate: NonNegative = 0.001
    beta_1: Decay = 0.9
    beta_2: Decay = 0.99
    weight_decay: NonNegative = 0.0

    def move(self, weights, state, params, gradients, step, layout):
        rate, beta_1, beta_2, decay = hyperparameters(weights, "learning_rate", "beta_1", "beta_2", "weight_decay")
        old = state["mean"]
        direction = ops.sign(beta_1 * old[0] + (1 - beta_1) * gradients)
        return params * (1 - rate * decay) - rate * direction, {"mean": beta_2 * old + (1 - beta_2) * gradients}
