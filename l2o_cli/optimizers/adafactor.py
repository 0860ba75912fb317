"""Adafactor (Shazeer and Stern 2018).

Shape letters: I instances, P parameters of one instance, T tensors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from keras import ops

from l2o_cli.optimizers.factored import ByPart, divided_by_row_mean, means, part_layouts, spread_parts
from l2o_cli.optimizers.hand_designed import HandDesigned, hyperparameters, number, root
from l2o_cli.optimizers.options import NonNegative, Positive, Range
from l2o_cli.optimizers.packing import Array, Layout, spread, tensor_mean


@dataclass(frozen=True)
class Adafactor(HandDesigned):
    """Steps divided by the root of running mean squares, which of a matrix are kept as means of its rows and of its columns.

    v = rows columns / mean(rows) in the two longest axes of tensors that have two, else the running mean itself; its decay at
    update t is 1 - t^beta_2_decay, and epsilon_1 is added to every square. u = gradient / sqrt(v) is divided by
    max(1, RMS(u) / clip_threshold) and multiplied by max(epsilon_2, RMS(tensor)) and the rate: learning_rate, with
    `relative_step` at most 1 / sqrt(t). Keras has this limit whether `relative_step` is set or not, and takes the last two axes.

    The state: what `factored` calls "rows", "columns" and "plain".
    """

    name: ClassVar[str] = "adafactor"
    summary: ClassVar[str] = "Adam with means of rows and columns for a memory (Shazeer and Stern 2018)"
    gradient_limit: ClassVar[float] = 1e12  # the squares are added up

    learning_rate: NonNegative = 0.001
    beta_2_decay: Annotated[float, Range(most=0)] = -0.8
    epsilon_1: NonNegative = 1e-30
    epsilon_2: NonNegative = 1e-3
    clip_threshold: Positive = 1.0
    relative_step: bool = True

    def init_state(self, weights, layout, instances, seed):
        return {part: np.zeros((1, instances, own.parameters), np.float32) for part, own in part_layouts(layout).items()}

    def move(self, weights, state, params, gradients, step, layout):
        rate, exponent, threshold = hyperparameters(weights, "learning_rate", "beta_2_decay", "clip_threshold")
        epsilon_1, epsilon_2 = hyperparameters(weights, "epsilon_1", "epsilon_2")
        count = number(step)
        if self.relative_step:
            rate = ops.minimum(rate, ops.rsqrt(count))
        seen = means((ops.square(gradients) + epsilon_1)[None], layout)
        new = {part: state[part] + (seen[part] - state[part]) * count**exponent for part in seen}
        direction = gradients / root(_moments(new, layout))
        excess = ops.maximum(_rms(direction, layout) / threshold, 1.0)
        size = ops.maximum(_rms(params, layout), epsilon_2)
        return params - spread(rate * size / excess, layout) * direction, new


def _moments(parts: ByPart, layout: Layout) -> Array:
    """The mean squares that the state stands for, [I, P]."""
    if "rows" in parts:
        parts = {**parts, "rows": divided_by_row_mean(parts["rows"], layout, 0.0)}
    return spread_parts(parts, ops.multiply, layout)[0]


def _rms(values: Array, layout: Layout) -> Array:
    """The root mean square of each tensor: [I, P] -> [I, T]."""
    return root(tensor_mean(ops.square(values), layout))
