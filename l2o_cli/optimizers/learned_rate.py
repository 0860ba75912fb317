"""Gradient descent whose learning rate is meta-trained: the smallest learned optimizer there is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from keras import ops

from l2o_cli.optimizers.base import Optimizer
from l2o_cli.optimizers.options import Positive
from l2o_cli.optimizers.sgd import Sgd


@dataclass(frozen=True)
class LearnedRate(Optimizer):
    """params - exp(log_rate) gradients, where the scalar log_rate is the one weight.

    As the weight is a logarithm, the meta-learning rate is about the share by which the rate changes in a meta-step: 0.01 to
    0.1 is right, which is far too much for a network.

    Attributes:
        initial_rate: the learning rate before meta-training.
    """

    name: ClassVar[str] = "learned_rate"
    summary: ClassVar[str] = "gradient descent with a meta-trained learning rate"
    learned: ClassVar[bool] = True

    initial_rate: Positive = 0.001

    def init_weights(self, seed):
        return {"log_rate": np.float32(np.log(self.initial_rate))}

    def init_state(self, weights, layout, instances, seed):
        return {}

    def update(self, weights, state, params, gradients, loss, step, layout):
        rate = ops.exp(weights["log_rate"])
        return Sgd().update({"learning_rate": rate}, state, params, gradients, loss, step, layout)
