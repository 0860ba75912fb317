"""Adam or gradient descent whose schedule of the learning rate is meta-trained.

Shape letters: I instances, K knots.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
from keras import ops

from l2o_cli.optimizers.adam import Adam
from l2o_cli.optimizers.base import Optimizer, Weights, per_instance
from l2o_cli.optimizers.hand_designed import HandDesigned
from l2o_cli.optimizers.options import Count, Positive, Range
from l2o_cli.optimizers.packing import Array
from l2o_cli.optimizers.sgd import Sgd

RULES: dict[str, HandDesigned] = {"adam": Adam(), "sgd": Sgd()}


@dataclass(frozen=True)
class LearnedSchedule(Optimizer):
    """The log learning rate is piecewise linear in log(1 + t), where t is the number of the step from 0.

    The weights are its values at K knots, [K, 1, 1], equally spaced from t = 0 to `last_step`, after which it stays as it is.
    A knot learns only from steps near it, so horizons should reach as far as the schedule is to be learned. As the weights are
    logarithms, meta-learning rates of 0.01 to 0.1 are right, which is far too much for a network.

    Attributes:
        rule: what the rate multiplies, with Keras's values of all other hyperparameters.
        knots: K.
        last_step: where the last knot is, in steps.
        initial_rate: the learning rate of all steps before meta-training.
    """

    name: ClassVar[str] = "learned_schedule"
    summary: ClassVar[str] = "Adam or gradient descent with a meta-trained schedule of the learning rate"
    learned: ClassVar[bool] = True

    rule: Literal["adam", "sgd"] = "adam"
    knots: Annotated[int, Range(2, 10_000)] = 8
    last_step: Count = 10_000
    initial_rate: Positive = 0.001

    def __post_init__(self):
        super().__post_init__()
        if self.rule not in RULES:
            raise ValueError(f"rule must be one of {', '.join(RULES)}, not {self.rule!r}")

    def init_weights(self, seed):
        return {"log_rates": np.full((self.knots, 1, 1), np.log(self.initial_rate), np.float32)}

    def init_state(self, weights, layout, instances, seed):
        return RULES[self.rule].init_state({}, layout, instances, seed)

    def update(self, weights, state, params, gradients, loss, step, layout):
        rule = RULES[self.rule]
        fixed = {**rule.init_weights(0), "learning_rate": self.rate(weights, step)}
        return rule.update(fixed, state, params, gradients, loss, step, layout)

    def rate(self, weights: Weights, step: Array) -> Array:
        """The learning rates of the steps number `step` [I], from 0 on: [I]."""
        place = ops.log1p(ops.cast(step, "float32")) * ((self.knots - 1) / np.log1p(self.last_step))
        place = ops.minimum(place, self.knots - 1.0)
        # Each knot's share is a hat function: 1 at the knot, 0 from the next one on.
        distance = ops.abs(place[None, :, None] - np.arange(self.knots, dtype=np.float32)[:, None, None])
        shares = ops.relu(1.0 - distance)
        return ops.exp(ops.sum(shares * per_instance(weights["log_rates"]), axis=0)[:, 0])
