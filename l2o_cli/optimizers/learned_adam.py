"""Adam (Kingma and Ba 2015) whose hyperparameters are meta-trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from keras import ops

from l2o_cli.optimizers.base import Optimizer, per_instance
from l2o_cli.optimizers.features import GRADIENT_LIMIT
from l2o_cli.optimizers.hand_designed import number, root
from l2o_cli.optimizers.options import Between, Positive
from l2o_cli.optimizers.packing import Array

LOGIT_LIMIT = 16.0  # of a decay: beyond it 1 - beta is less than float32 can tell from 0 beside a running mean


@dataclass(frozen=True)
class LearnedAdam(Optimizer):
    """Adam with four scalar weights: the logarithms of learning rate and epsilon, the logits of beta_1 and beta_2.

    At the start it is Adam with the initial values. Epsilon is added to the biased root, as Keras does. Because the weights are
    logarithms and logits, meta-learning rates of 0.01 to 0.1 are right, which is far too much for a network.

    Attributes:
        initial_rate, initial_beta_1, initial_beta_2, initial_epsilon: the hyperparameters before meta-training.
    """

    name: ClassVar[str] = "learned_adam"
    summary: ClassVar[str] = "Adam with meta-trained learning rate, decays and epsilon"
    learned: ClassVar[bool] = True

    initial_rate: Positive = 0.001
    initial_beta_1: Between = 0.9
    initial_beta_2: Between = 0.999
    initial_epsilon: Positive = 1e-7

    def init_weights(self, seed):
        return {
            "log_rate": np.float32(np.log(self.initial_rate)),
            "logit_beta_1": np.float32(_logit(self.initial_beta_1)),
            "logit_beta_2": np.float32(_logit(self.initial_beta_2)),
            "log_epsilon": np.float32(np.log(self.initial_epsilon)),
        }

    def init_state(self, weights, layout, instances, seed):
        return {name: np.zeros((1, instances, layout.parameters), np.float32) for name in ("mean", "square")}

    def update(self, weights, state, params, gradients, loss, step, layout):
        gradients = ops.clip(gradients, -GRADIENT_LIMIT, GRADIENT_LIMIT)
        mean, mean_weight = _averaged(state["mean"], gradients, weights["logit_beta_1"], step)
        square, square_weight = _averaged(state["square"], ops.square(gradients), weights["logit_beta_2"], step)
        rate, epsilon = (ops.exp(per_instance(weights[name])) for name in ("log_rate", "log_epsilon"))
        rate = rate * ops.sqrt(square_weight) / mean_weight
        return params - rate * mean[0] / (root(square[0]) + epsilon), {"mean": mean, "square": square}


def _averaged(old: Array, new: Array, logit: Array, step: Array) -> tuple[Array, Array]:
    """A running mean that began at 0, and the sum of the weights of all that went into it, 1 - beta^(step + 1), [I, 1].

    1 - beta is sigmoid(-logit): as a difference it would lose its digits where beta is close to 1.
    """
    logit = ops.clip(per_instance(logit), -LOGIT_LIMIT, LOGIT_LIMIT)
    mean = old + (new - old) * ops.sigmoid(-logit)
    return mean, -ops.expm1(number(step) * ops.log_sigmoid(logit))


def _logit(probability: float) -> float:
    return float(np.log(probability / (1 - probability)))
