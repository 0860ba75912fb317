"""Gradient descent with Nesterov's momentum (Nesterov 1983; Sutskever et al. 2013)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from l2o_cli.optimizers.hand_designed import HandDesigned
from l2o_cli.optimizers.momentum import Momentum
from l2o_cli.optimizers.options import Decay, NonNegative


@dataclass(frozen=True)
class Nesterov(HandDesigned):
    """`momentum` with its option `nesterov`, as an optimizer of its own name."""

    name: ClassVar[str] = "nesterov"
    summary: ClassVar[str] = "gradient descent with Nesterov's momentum"
    accumulators: ClassVar[tuple[str, ...]] = Momentum.accumulators

    learning_rate: NonNegative = 0.01
    momentum: Decay = 0.9

    def move(self, weights, state, params, gradients, step, layout):
        return Momentum(nesterov=True).move(weights, state, params, gradients, step, layout)
