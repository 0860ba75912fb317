"""Schedules: how long the steps of an optimizer are in the course of a run.

Shape letter: I instances.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from keras import ops

from l2o_cli.optimizers.horizon import HORIZON, shaped, unknown
from l2o_cli.optimizers.options import Count, NonNegative
from l2o_cli.optimizers.packing import Array
from l2o_cli.optimizers.transforms.base import ScaledSteps


@dataclass(frozen=True)
class Schedule(ScaledSteps):
    """Each step is multiplied by a factor: from 0 up to 1 over the warm-up, 1 over the constant part, then down to `final`.

    During a warm-up of W steps, step t = 0, 1, ... has the factor t / W, as in Keras. Of the part in which it goes down, each
    step has the share p made before it, from 0 to 1:

        cosine:       final + (1 - final) (1 + cos(pi p)) / 2
        linear:       1 + (final - 1) p
        exponential:  final^p
        step:         final^(k / drops), k = 0..drops: equal drops, after which it stays for equal times
        constant:     1

    Attributes:
        kind: how the factor goes down.
        warmup: steps from 0 to 1; below 1: their share of all steps.
        constant: steps at 1 after the warm-up; below 1: their share of all steps.
        final: the factor at the end.
        drops: step: how many drops there are.
        steps: all steps, warm-up included, after which the factor stays; None: those of the run, which each instance is told
            (`with_horizons`); the factor of one that is not is 1.
        optional: go on with the factor 1 where the length of the run is not known; off: refuse to run.
    """

    name: ClassVar[str] = "schedule"
    summary: ClassVar[str] = "warm-up of the steps' length, then a cosine, linear, exponential or stepwise decay"
    constants: ClassVar[tuple[str, ...]] = ("drops", "steps")

    kind: Literal["cosine", "linear", "exponential", "step", "constant"] = "cosine"
    warmup: NonNegative = 0.0
    constant: NonNegative = 0.0
    final: NonNegative = 0.0
    drops: Count = 1
    steps: Count | None = None
    optional: bool = False

    def __post_init__(self):
        super().__post_init__()
        if self.kind in ("exponential", "step") and not self.final:
            raise ValueError(f"final must be more than 0 if kind is {self.kind}")
        if self.warmup < 1 and self.constant < 1 and self.warmup + self.constant > 1:
            both = self.warmup + self.constant
            raise ValueError(f"warmup and constant are {both:g} of the run together, more than all of it")

    @property
    def lacks_steps(self):
        return (self._goes_by_share and self.steps is None and not self.optional) or self.inner.lacks_steps

    @property
    def _goes_by_share(self) -> bool:
        """Whether the factor depends on the share of the run that is over."""
        return self.kind != "constant" or 0 < self.warmup < 1

    def over(self, steps):
        return dataclasses.replace(super().over(steps), steps=self.steps or steps)

    def with_horizons(self, state, horizons):
        state = super().with_horizons(state, horizons)
        return {**state, f"{self.name}/{HORIZON}": shaped(horizons)} if self.steps is None else state

    def init_own_state(self, layout, instances):
        own = super().init_own_state(layout, instances)
        return {**own, HORIZON: unknown(instances)} if self.steps is None else own

    def factor(self, weights, state, step):
        total = state[HORIZON][0] if self.steps is None else float(self.steps)
        count = ops.cast(step, "float32")[:, None]
        warmup, constant = (_in_steps(self.option(weights, name), total) for name in ("warmup", "constant"))
        final = self.option(weights, "final")
        progress = (count - warmup - constant) / ops.maximum(total - warmup - constant, 1.0)
        decayed = self._decayed(final, ops.clip(progress, 0.0, 1.0))
        factor = ops.where(count < warmup, count / ops.maximum(warmup, 1.0), decayed)
        return ops.where(total > 0, factor, 1.0) if self._goes_by_share and self.steps is None else factor

    def _decayed(self, final: Array, progress: Array) -> Array:
        """The factor when the share `progress` [I, 1] of the last part is over."""
        if self.kind == "cosine":
            return final + (1 - final) * 0.5 * (1 + ops.cos(math.pi * progress))
        if self.kind == "linear":
            return 1 + (final - 1) * progress
        if self.kind == "constant":
            return ops.ones_like(progress)
        if self.kind == "step":
            progress = ops.minimum(ops.floor(progress * (self.drops + 1)), float(self.drops)) / self.drops
        return ops.exp(progress * ops.log(ops.maximum(final, 1e-30)))


def _in_steps(length: Array, total: Array | float) -> Array:
    """A length in steps: a share of `total` below 1, itself from there on."""
    return ops.where(length < 1, length * total, length)
