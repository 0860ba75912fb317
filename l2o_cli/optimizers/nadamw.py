"""NAdamW: Adam with Nesterov's momentum (Dozat 2016) and decoupled weight decay (Loshchilov and Hutter 2019)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from keras import ops

from l2o_cli.optimizers.hand_designed import HandDesigned, hyperparameters, number, root
from l2o_cli.optimizers.options import Decay, NonNegative, Share


@dataclass(frozen=True)
class NAdamW(HandDesigned):
    """Dozat's rule without his schedule of the momentum. Update t = 1, 2, ... of params x with the gradient g is

        m <- beta_1 m + (1 - beta_1) g
        v <- beta_2 v + (1 - beta_2) g^2
        a = m / (1 - beta_1^t)
        b = beta_1 m / (1 - beta_1^(t+1)) + (1 - beta_1) g / (1 - beta_1^t)
        x <- (1 - r weight_decay) x - r (a + nesterov (b - a)) sqrt(1 - beta_2^t) / (sqrt(v) + epsilon)

    with the learning rate r. It is `adamw` where `nesterov` is 0 and Nesterov's where it is 1. That is a number so that settings
    of both kinds can run together. As in `adam`, epsilon is added to the biased sqrt(v).
    """

    name: ClassVar[str] = "nadamw"
    summary: ClassVar[str] = "Adam with Nesterov's momentum (Dozat 2016) and decoupled weight decay"
    accumulators: ClassVar[tuple[str, ...]] = ("mean", "square")

    learning_rate: NonNegative = 0.001
    beta_1: Decay = 0.9
    beta_2: Decay = 0.999
    epsilon: NonNegative = 1e-7
    weight_decay: NonNegative = 0.004
    nesterov: Share = 1.0

    def move(self, weights, state, params, gradients, step, layout):
        rate, beta_1, beta_2, epsilon = hyperparameters(weights, "learning_rate", "beta_1", "beta_2", "epsilon")
        decay, nesterov = hyperparameters(weights, "weight_decay", "nesterov")
        mean = state["mean"] + (gradients - state["mean"]) * (1 - beta_1)
        square = state["square"] + (ops.square(gradients) - state["square"]) * (1 - beta_2)
        count = number(step)
        # a + nesterov (b - a) as a sum of m and g, with factors of one number for an instance.
        unbiased = 1 - beta_1**count
        of_mean = (1 - nesterov) / unbiased + nesterov * beta_1 / (1 - beta_1 ** (count + 1))
        of_gradient = nesterov * (1 - beta_1) / unbiased
        rate_now = rate * ops.sqrt(1 - beta_2**count)
        direction = (of_mean * mean[0] + of_gradient * gradients) / (root(square[0]) + epsilon)
        return params * (1 - rate * decay) - rate_now * direction, {"mean": mean, "square": square}
