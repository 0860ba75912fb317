"""Transformations of the steps that an optimizer makes.

Shape letters: I instances, P parameters of one instance.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from keras import ops

from l2o_cli.optimizers import blockwise
from l2o_cli.optimizers.base import per_instance
from l2o_cli.optimizers.blockwise import Arrays
from l2o_cli.optimizers.horizon import HORIZON, shaped, unknown
from l2o_cli.optimizers.options import Count, NonNegative
from l2o_cli.optimizers.packing import Array, constant
from l2o_cli.optimizers.transforms.base import ScaledSteps, Transform


@dataclass(frozen=True)
class WeightDecay(Transform):
    """Decoupled weight decay (Loshchilov and Hutter 2019): each step also takes away a share of the params.

    The share is rate * learning_rate around a hand-designed optimizer that has a learning_rate, as in Keras and in AdamW, and
    rate around any other. A schedule multiplies it too if it is listed after the weight decay, and does not if before.

    With `per_run` it is that over the number of steps of the run: whatever the length, the params forget the same part of where
    they were at its beginning, e^-rate around a learned optimizer. Where the length is not known nothing is taken away.

    Attributes:
        rate: the share of the params, see above.
        exclude_vectors: leave alone the tensors with fewer than two axes: biases and scales.
        per_run: the rate is that of a whole run, not of a step.
        steps: per_run: of the run; None: each instance is told (`with_horizons`).
    """

    name: ClassVar[str] = "weight_decay"
    summary: ClassVar[str] = "decoupled weight decay: each step also takes away a share of the params"
    constants: ClassVar[tuple[str, ...]] = ("steps",)

    rate: NonNegative = 0.01
    exclude_vectors: bool = False
    per_run: bool = False
    steps: Count | None = None

    def over(self, steps):
        return dataclasses.replace(super().over(steps), steps=self.steps or steps) if self.per_run else super().over(steps)

    def with_horizons(self, state, horizons):
        state = super().with_horizons(state, horizons)
        return {**state, f"{self.name}/{HORIZON}": shaped(horizons)} if self._told_length else state

    def init_own_state(self, layout, instances):
        return {HORIZON: unknown(instances)} if self._told_length else {}

    @property
    def _told_length(self) -> bool:
        return self.per_run and self.steps is None

    def update(self, weights, state, params, gradients, loss, step, layout):
        new_params, new_state = super().update(weights, state, params, gradients, loss, step, layout)
        share = self.option(weights, "rate")
        if not self.learned and "learning_rate" in weights:
            share = share * per_instance(weights["learning_rate"])
        if self._told_length:
            steps = self.own_state(state)[HORIZON][0]
            share = ops.where(steps > 0, share / ops.maximum(steps, 1.0), 0.0)
        elif self.per_run:
            share = share / float(self.steps or 1)
        # 1 of a tensor with two axes or more, 0 of the others.
        of_tensors = {"decaying": constant([[[len(shape) > 1 for shape in layout.shapes]]])} if self.exclude_vectors else {}

        def formulas(spread: Callable[[Array], Array], given: Arrays) -> blockwise.Result:
            decaying = given["params"] * spread(given["decaying"]) if of_tensors else given["params"]
            return {"new": given["new"] - share * decaying}, {}

        given = {"params": params[None], "new": new_params[None]}
        written, _ = blockwise.compute(formulas, given, of_tensors, layout, in_place=True)
        return written["new"][0], new_state


@dataclass(frozen=True)
class Decay(ScaledSteps):
    """The t-th step, t = 0, 1, ..., is multiplied by max(1 - linear t, 0) exp(-exponential t).

    The decay of the learning rate in Adam6p and Adam8p (Metz et al. 2020, "Using a thousand optimization tasks to learn
    hyperparameter search strategies"), whose search spaces are 1e-7 to 1e-4 and 1e-6 to 1e-3.
    """

    name: ClassVar[str] = "decay"
    summary: ClassVar[str] = "steps that get shorter, linearly and exponentially in their number (Adam6p, Adam8p)"

    linear: NonNegative = 0.0
    exponential: NonNegative = 0.0

    def factor(self, weights, state, step):
        count = ops.cast(step, "float32")[:, None]
        linear, exponential = self.option(weights, "linear"), self.option(weights, "exponential")
        return ops.maximum(1 - linear * count, 0.0) * ops.exp(-exponential * count)
