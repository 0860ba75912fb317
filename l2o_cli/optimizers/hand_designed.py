"""What the hand-designed optimizers share: their weights are their own numeric options, their state starts at zero."""

from __future__ import annotations

import abc
from typing import ClassVar

import numpy as np
from keras import ops

from l2o_cli.optimizers.base import Optimizer, State, Weights, per_instance
from l2o_cli.optimizers.features import GRADIENT_LIMIT
from l2o_cli.optimizers.options import float_options
from l2o_cli.optimizers.packing import Array, Layout

TINY = 1e-30  # least argument of a root: at 0, where dead units are, its derivative is infinite and no meta-gradient is left


class HandDesigned(Optimizer):
    """An update rule whose every option of type float is a hyperparameter in `weights`, scalar or one value per instance, [I].

    Options of other types choose the rule and stay in the object.
    """

    accumulators: ClassVar[tuple[str, ...]] = ()  # names of the state's leaves, each [1, I, P]
    gradient_limit: ClassVar[float] = GRADIENT_LIMIT  # larger gradients count as this large: their squares must be finite

    def init_weights(self, seed):
        return {name: np.float32(getattr(self, name)) for name in float_options(type(self))}

    def init_state(self, weights, layout, instances, seed):
        return {name: np.zeros((1, instances, layout.parameters), np.float32) for name in self.accumulators}

    def update(self, weights, state, params, gradients, loss, step, layout):
        gradients = ops.clip(gradients, -self.gradient_limit, self.gradient_limit)
        return self.move(weights, state, params, gradients, step, layout)

    @abc.abstractmethod
    def move(
        self, weights: Weights, state: State, params: Array, gradients: Array, step: Array, layout: Layout
    ) -> tuple[Array, State]:
        """`update` with gradients [I, P] whose squares are finite, and without the loss, which these rules do not need."""


def hyperparameters(weights: dict[str, Array], *names: str) -> list[Array]:
    """The named hyperparameters, each shaped to broadcast against [I, P]."""
    return [per_instance(weights[name]) for name in names]


def number(step: Array) -> Array:
    """The number of the update that is being made, from 1 on: [I] -> [I, 1]."""
    return ops.cast(step, "float32")[:, None] + 1


def root(values: Array) -> Array:
    """The square root, of at least 1e-30; its derivative below that is 0."""
    return ops.sqrt(ops.maximum(values, TINY))
