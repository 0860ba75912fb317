"""Hand-designed update rules whose hyperparameters are meta-trained: the smallest learned optimizers there are.

Shape letters: I instances, K knots.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
from keras import ops

from l2o_cli.optimizers.base import Optimizer, Weights, per_instance
from l2o_cli.optimizers.elementwise import Adam, Sgd
from l2o_cli.optimizers.features import GRADIENT_LIMIT
from l2o_cli.optimizers.hand_designed import HandDesigned, number, root
from l2o_cli.optimizers.options import Between, Count, Positive, Range
from l2o_cli.optimizers.packing import Array, constant

LOGIT_LIMIT = 16.0  # of a decay: beyond it 1 - beta is less than float32 can tell from 0 beside a running mean
RULES: dict[str, HandDesigned] = {"adam": Adam(), "sgd": Sgd()}


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
        distance = ops.abs(place[None, :, None] - constant(np.arange(self.knots))[:, None, None])
        shares = ops.relu(1.0 - distance)
        return ops.exp(ops.sum(shares * per_instance(weights["log_rates"]), axis=0)[:, 0])
