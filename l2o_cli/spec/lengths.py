"""How long inner runs and their truncations are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Any, Literal

import pydantic
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from l2o_cli.spec.model import Fraction, Model
from l2o_cli.spec.strict import Misplaced

REST = 0.01  # share of exponential lengths that is left out of their span

# Counted in 32 bits.
Steps = Annotated[int, Field(ge=1, le=1_000_000_000)]


class LengthStage(Model):
    """The greatest length from a meta-step on."""

    meta_step: NonNegativeInt = Field(description="at which it begins to hold", examples=[0])
    maximum: PositiveInt = Field(description="the greatest length from then on, in steps", examples=[200])


class Growth(Model):
    """How the greatest length grows over the meta-steps."""

    kind: Literal["linear", "stages"] = Field(
        description="how it grows: linear: from `start` to the maximum of the distribution; stages: as `stages` says"
    )
    start: PositiveInt = Field(10, description="linear: the greatest length at the first meta-step, in steps")
    over: PositiveInt = Field(20_000, description="linear: meta-steps until it is the maximum of the distribution")
    stages: tuple[LengthStage, ...] = Field((), description="stages: each holds until the next; the first is from meta-step 0")
    jitter: Fraction = Field(0.0, description="each length is multiplied by a draw from U(1 - jitter, 1 + jitter)")

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> Growth:
        if (self.kind == "stages") != bool(self.stages):
            raise Misplaced("stages", "missing" if self.kind == "stages" else "only for kind stages, not for linear")
        check_begins(self.stages)
        return self


class Lengths(Model):
    """A distribution of lengths, in inner steps."""

    distribution: Literal["constant", "exponential", "log_uniform", "uniform"] = Field(
        "exponential",
        description="how they are spread: constant: all are `maximum`; exponential: `minimum` and a draw of mean `scale` more,"
        " `maximum` at most; log_uniform: from `minimum` to `maximum`, their logarithms being uniform; uniform: from"
        " `minimum` to `maximum`",
    )
    scale: PositiveFloat = Field(20.0, description="mean of the exponential part, in steps; it grows with the greatest length")
    minimum: PositiveInt = Field(10, description="the least length, in steps")
    maximum: Steps = Field(50, description="the greatest length, in steps; the length where it is constant")
    growth: Growth | None = Field(
        None, description="how the greatest length grows over the meta-steps; null: it is always `maximum`"
    )

    @pydantic.model_validator(mode="after")
    def _ordered(self) -> Lengths:
        if self.minimum > self.maximum and self.distribution != "constant":
            raise ValueError(f"minimum {self.minimum} is greater than maximum {self.maximum}")
        if self.growth is not None and self.growth.kind == "linear" and self.growth.start > self.maximum:
            raise Misplaced("growth.start", f"{self.growth.start} is greater than maximum {self.maximum}")
        for index, stage in enumerate(self.growth.stages if self.growth else ()):
            if stage.maximum > self.maximum:
                raise Misplaced(f"growth.stages.{index}.maximum", f"{stage.maximum} is greater than maximum {self.maximum}")
        return self

    def longest(self, meta_steps: int) -> int:
        """The greatest length within so many meta-steps, in steps."""
        growth = self.growth
        if growth is None:
            return self.maximum
        reached = growth.start + (self.maximum - growth.start) * min(1.0, meta_steps / growth.over)
        if growth.kind == "stages":
            reached = max(stage.maximum for stage in growth.stages if stage.meta_step < meta_steps)
        return min(self.maximum, math.ceil(reached * (1 + growth.jitter)))

    @property
    def span(self) -> tuple[int, int]:
        """The least and the greatest length, of exponential ones without the longest 1 %; those at the end of any growth."""
        if self.distribution == "constant":
            return self.maximum, self.maximum
        if self.distribution != "exponential":
            return self.minimum, self.maximum
        longest = self.minimum - self.scale * math.log(REST)
        return self.minimum, min(self.maximum, round(longest) if math.isfinite(longest) else self.maximum)


def check_begins(stages: Sequence[Any]) -> None:
    """ValueError unless the first meta-steps of stages, where there are any, are 0 and each after the one before."""
    meta_steps = [stage.meta_step for stage in stages]
    if any(meta_steps[:1]):
        raise Misplaced("stages.0.meta_step", f"the first stage begins at 0, not {meta_steps[0]}")
    for index, (before, after) in enumerate(pairwise(meta_steps), 1):
        if after <= before:
            raise Misplaced(f"stages.{index}.meta_step", f"{after} is not after {before}, where the stage before it begins")
