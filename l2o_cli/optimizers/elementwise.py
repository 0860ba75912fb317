"""Hand-designed update rules that treat every parameter alike, whichever tensor it is in.

Momentum: Polyak 1964, Nesterov 1983, Sutskever et al. 2013. Adagrad: Duchi et al. 2011. RMSprop: Tieleman and Hinton 2012,
lecture 6.5. Adam: Kingma and Ba 2015; Nesterov's momentum in it: Dozat 2016, decoupled weight decay: Loshchilov and Hutter 2019.
Lion: Chen et al. 2023, "Symbolic Discovery of Optimization Algorithms".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from keras import ops

from l2o_cli.optimizers.base import State
from l2o_cli.optimizers.hand_designed import HandDesigned, hyperparameters, number, root
from l2o_cli.optimizers.options import Decay, NonNegative, Share
from l2o_cli.optimizers.packing import Array

LARGEST_SUM = 1e37  # sums of squares stay here, for they would be Inf after some hundred gradients of the greatest size


@dataclass(frozen=True)
class Sgd(HandDesigned):
    """The step is learning_rate times the gradient."""

    name: ClassVar[str] = "sgd"
    summary: ClassVar[str] = "stochastic gradient descent"

    learning_rate: NonNegative = 0.01

    def move(self, weights, state, params, gradients, step, layout):
        (rate,) = hyperparameters(weights, "learning_rate")
        return params - rate * gradients, state


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


@dataclass(frozen=True)
class Adagrad(HandDesigned):
    """The step is learning_rate * gradient / sqrt(initial_accumulator_value + sum of all squared gradients + epsilon)."""

    name: ClassVar[str] = "adagrad"
    summary: ClassVar[str] = "Adagrad (Duchi et al. 2011)"
    accumulators: ClassVar[tuple[str, ...]] = ("sum",)

    learning_rate: NonNegative = 0.001
    initial_accumulator_value: NonNegative = 0.1
    epsilon: NonNegative = 1e-7

    def move(self, weights, state, params, gradients, step, layout):
        rate, initial, epsilon = hyperparameters(weights, "learning_rate", "initial_accumulator_value", "epsilon")
        total = ops.minimum(state["sum"] + ops.square(gradients), LARGEST_SUM)
        return params - rate * gradients / ops.sqrt(total[0] + (initial + epsilon)), {"sum": total}


@dataclass(frozen=True)
class RmsProp(HandDesigned):
    """v is a running mean of the squared gradient; the step is learning_rate * gradient / sqrt(v + epsilon)."""

    name: ClassVar[str] = "rmsprop"
    summary: ClassVar[str] = "RMSprop (Tieleman and Hinton 2012)"
    accumulators: ClassVar[tuple[str, ...]] = ("square",)

    learning_rate: NonNegative = 0.001
    rho: Decay = 0.9
    epsilon: NonNegative = 1e-7

    def move(self, weights, state, params, gradients, step, layout):
        rate, rho, epsilon = hyperparameters(weights, "learning_rate", "rho", "epsilon")
        square = rho * state["square"] + (1 - rho) * ops.square(gradients)
        return params - rate * gradients / ops.sqrt(square[0] + epsilon), {"square": square}


@dataclass(frozen=True)
class Adam(HandDesigned):
    """m and v are running means of the gradient and its square, both unbiased; the step is learning_rate m / (sqrt(v) + epsilon).

    As in Keras, epsilon is added to the biased sqrt(v) ("epsilon hat" in section 2 of the paper).
    """

    name: ClassVar[str] = "adam"
    summary: ClassVar[str] = "Adam (Kingma and Ba 2015)"
    accumulators: ClassVar[tuple[str, ...]] = ("mean", "square")

    learning_rate: NonNegative = 0.001
    beta_1: Decay = 0.9
    beta_2: Decay = 0.999
    epsilon: NonNegative = 1e-7

    def move(self, weights, state, params, gradients, step, layout):
        rate, beta_1, beta_2, epsilon = hyperparameters(weights, "learning_rate", "beta_1", "beta_2", "epsilon")
        new = self._averages(state, gradients, beta_1, beta_2)
        count = number(step)
        rate = rate * ops.sqrt(1 - beta_2**count) / (1 - beta_1**count)
        return params - rate * new["mean"][0] / (root(new["square"][0]) + epsilon), new

    def _averages(self, state: State, gradients: Array, beta_1: Array, beta_2: Array) -> State:
        mean = state["mean"] + (gradients - state["mean"]) * (1 - beta_1)
        square = state["square"] + (ops.square(gradients) - state["square"]) * (1 - beta_2)
        return {"mean": mean, "square": square}


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam's step from params that were first multiplied by 1 - learning_rate * weight_decay, as in Keras and PyTorch."""

    name: ClassVar[str] = "adamw"
    summary: ClassVar[str] = "Adam with decoupled weight decay (Loshchilov and Hutter 2019)"

    weight_decay: NonNegative = 0.004

    def move(self, weights, state, params, gradients, step, layout):
        rate, decay = hyperparameters(weights, "learning_rate", "weight_decay")
        return super().move(weights, state, params * (1 - rate * decay), gradients, step, layout)


@dataclass(frozen=True)
class NAdamW(AdamW):
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

    nesterov: Share = 1.0

    def move(self, weights, state, params, gradients, step, layout):
        rate, beta_1, beta_2, epsilon = hyperparameters(weights, "learning_rate", "beta_1", "beta_2", "epsilon")
        decay, nesterov = hyperparameters(weights, "weight_decay", "nesterov")
        new = self._averages(state, gradients, beta_1, beta_2)
        count = number(step)
        # a + nesterov (b - a) as a sum of m and g, with factors of one number for an instance.
        unbiased = 1 - beta_1**count
        of_mean = (1 - nesterov) / unbiased + nesterov * beta_1 / (1 - beta_1 ** (count + 1))
        of_gradient = nesterov * (1 - beta_1) / unbiased
        rate_now = rate * ops.sqrt(1 - beta_2**count)
        direction = (of_mean * new["mean"][0] + of_gradient * gradients) / (root(new["square"][0]) + epsilon)
        return params * (1 - rate * decay) - rate_now * direction, new


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
