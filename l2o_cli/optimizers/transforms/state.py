"""Transformations of what an optimizer keeps from step to step.

Shape letters: I instances, P parameters of one instance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from keras import ops

from l2o_cli.optimizers.base import State
from l2o_cli.optimizers.options import Share
from l2o_cli.optimizers.packing import Layout
from l2o_cli.optimizers.transforms.base import Transform


@dataclass(frozen=True)
class LowPrecision(Transform):
    """Between two steps the state is kept in bfloat16, half the memory; the update itself computes in float32.

    Values are rounded to the nearest of bfloat16: their range is that of float32, but they have 8 significant bits, so a
    running mean that changes by less than 1/256 of itself in a step stands still. What must not is named in `keep`. Derivatives
    with respect to the state are bfloat16 too.

    Attributes:
        keep: names of leaves of the state that stay float32.
    """

    name: ClassVar[str] = "low_precision"
    summary: ClassVar[str] = "the state is kept in bfloat16, half the memory"

    keep: tuple[str, ...] = ()

    def __post_init__(self):
        super().__post_init__()
        if self.keep:
            leaves = self.inner.init_state(self.inner.init_weights(0), Layout.of({"x": (1,)}), 1, 0)
            for name in self.keep:
                if name not in leaves:
                    raise ValueError(f"keep: {name!r} is no part of the state; there are: {', '.join(leaves)}")

    def inner_state(self, state):
        return {name: ops.cast(leaf, "float32") for name, leaf in super().inner_state(state).items()}

    def joined(self, inner: State, own: State) -> State:
        rounded = {name: leaf if name in self.keep else ops.cast(leaf, "bfloat16") for name, leaf in inner.items()}
        return super().joined(rounded, own)


@dataclass(frozen=True)
class Averaging(Transform):
    """The params are the running mean of where the inner optimizer goes (Polyak and Juditsky 1992), as with Keras's `use_ema`.

    mean <- decay * mean + (1 - decay) * params after each step, from the params after the first one on. Gradients are taken at
    the inner optimizer's own params, and so is the training loss; the state keeps how far away they are.
    """

    name: ClassVar[str] = "averaging"
    summary: ClassVar[str] = "the params are a running mean of where the inner optimizer goes"
    evaluates_elsewhere = True

    decay: Share = 0.99

    def init_own_state(self, layout, instances):
        return {"offset": np.zeros((1, instances, layout.parameters), np.float32)}

    def evaluation_point(self, weights, state, params, layout):
        return super().evaluation_point(weights, state, params + self.own_state(state)["offset"][0], layout)

    def update(self, weights, state, params, gradients, loss, step, layout):
        there = params + self.own_state(state)["offset"][0]
        there, state = super().update(weights, state, there, gradients, loss, step, layout)
        decay = ops.where(step[:, None] > 0, self.option(weights, "decay"), 0.0)
        mean = there + decay * (params - there)
        return mean, self.joined(self.inner_state(state), {"offset": (there - mean)[None]})
