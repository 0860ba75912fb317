"""Gradient descent with momentum (Polyak 1964), optionally Nesterov's (Sutskever et al. 2013)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from l2o_cli.optimizers.hand_designed import HandDesigned, hyperparameters
from l2o_cli.optimizers.options import Decay, NonNegative


@dataclass(frozen=True)
class Momentum(HandDesigned):
    """The velocity is a decaying sum of past steps of gradient descent; params move by it.

    With `nesterov` they move by what the velocity will be after one more decay and the same gradient. As in Keras, the
    gradient is taken at the params either way, in the variables that Sutskever et al. call the look-ahead ones.
    """

    name: ClassVar[str] = "momentum"
    summary: ClassVar[str] = "gradient descent with (Nesterov) momentum"
    accumulators: ClassVar[tuple[str, ...]] = ("velocity",)

    learning_rate: NonNegative = 0.01
    momentum: Decay = 0.9
    nesterov: bool = False

    def move(self, weights, state, params, gradients, step, layout):
        rate, momentum = hyperparameters(weights, "learning_rate", "momentum")
        descent = rate * gradients
        velocity = momentum * state["velocity"] - descent
        move = momentum * velocity[0] - descent if self.nesterov else velocity[0]
        return params + move, {"velocity": velocity}
