"""Adam with decoupled weight decay (Loshchilov and Hutter 2019)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from l2o_cli.optimizers.adam import Adam
from l2o_cli.optimizers.hand_designed import hyperparameters
from l2o_cli.optimizers.options import NonNegative


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam's step from params that were first multiplied by 1 - learning_rate * weight_decay, as in Keras and PyTorch."""

    name: ClassVar[str] = "adamw"
    summary: ClassVar[str] = "Adam with decoupled weight decay (Loshchilov and Hutter 2019)"

    weight_decay: NonNegative = 0.004

    def move(self, weights, state, params, gradients, step, layout):
        rate, decay = hyperparameters(weights, "learning_rate", "weight_decay")
        return super().move(weights, state, params * (1 - rate * decay), gradients, step, layout)
