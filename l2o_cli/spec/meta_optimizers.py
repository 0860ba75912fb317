"""How the weights follow the meta-gradient."""

from __future__ import annotations

from collections.abc import Collection
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from l2o_cli.errors import BadInput, shown
from l2o_cli.spec.faults import listed, unknown
from l2o_cli.spec.lengths import check_begins
from l2o_cli.spec.model import Fraction, Model
from l2o_cli.spec.strict import Misplaced
from l2o_cli.spec.text import matches

LEARNED = "learned"
OWN = ("adam", "adamw", "rmsprop", LEARNED)  # beside those of Keras, such as keras.Lion


class Schedule(Model):
    """The meta-learning rate over the meta-steps."""

    kind: Literal["constant", "cosine", "linear", "exponential", "piecewise"] = Field(
        "constant",
        description="what the rate does after the warm-up: constant: it stays; cosine, linear, exponential: it falls to `final`"
        " of itself at the last meta-step; piecewise: it is multiplied by `factors` in turn",
    )
    warmup: NonNegativeInt = Field(0, description="meta-steps of linear increase from 0")
    final: Annotated[float, Field(ge=0, le=1)] = Field(
        0.1, description="cosine, linear, exponential: where it ends, as a fraction of the rate"
    )
    boundaries: tuple[PositiveInt, ...] = Field((), description="piecewise: meta-steps from which the next factor holds")
    factors: tuple[PositiveFloat, ...] = Field((), description="piecewise: of the rate, one more than there are boundaries")

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> Schedule:
        if self.kind != "piecewise" and (self.boundaries or self.factors):
            raise Misplaced("boundaries" if self.boundaries else "factors", f"only for piecewise, not for {self.kind}")
        if self.kind == "piecewise" and len(self.factors) != len(self.boundaries) + 1:
            raise Misplaced("factors", f"{len(self.boundaries)} boundaries need one more factor, not {len(self.factors)}")
        if any(after <= before for before, after in pairwise(self.boundaries)):
            raise Misplaced("boundaries", f"not in ascending order: {list(self.boundaries)}")
        if self.kind == "exponential" and self.final == 0:
            raise Misplaced("final", "exponential decay never ends at 0")
        return self


class Stage(Model):
    """A part of meta-training in which only some of the weights move; it ends where the next begins."""

    meta_step: NonNegativeInt = Field(0, description="at which it begins; the first begins at 0")
    trainable: tuple[str, ...] = Field(("*",), description="patterns of the names of the weights that move, such as readout*")
    frozen: tuple[str, ...] = Field((), description="patterns of those among them that do not")
    learning_rate_factor: PositiveFloat = Field(1.0, description="multiplies the scheduled rate")

    def moves(self, weight: str) -> bool:
        return matches(weight, self.trainable) and not matches(weight, self.frozen)


class MetaOptimizer(Model):
    """How the weights follow the meta-gradient."""

    name: str = Field(
        "adam", examples=list(OWN), description="adam, adamw, rmsprop, any optimizer of Keras as keras.Lion, or learned"
    )
    learning_rate: PositiveFloat = Field(1e-3, description="learned: multiplies its own steps; default there: 1.0")
    beta_1: Fraction = Field(0.9, description="adam, adamw: decay of the mean gradient")
    beta_2: Fraction = Field(0.999, description="adam, adamw: decay of the mean square")
    decay: Fraction = Field(0.9, description="rmsprop: decay of the mean square")
    epsilon: PositiveFloat = Field(1e-8, description="adam, adamw, rmsprop: added to the root of the mean square")
    weight_decay: Annotated[float, Field(ge=0)] = Field(0.0, description="adamw, learned: decoupled decay per meta-step and rate")
    options: dict[str, Any] = Field({}, description="keras.*: settings of the class, as in Keras, but for the learning rate")
    checkpoint: str | None = Field(
        None, description="learned: the optimizer's name or path; a path with a slash is relative to the spec"
    )
    clip_value: PositiveFloat | None = Field(None, description="bound on each entry of a family's meta-gradient")
    clip_family_norm: PositiveFloat | None = Field(None, description="bound on the norm of each family's meta-gradient")
    discard_norm: PositiveFloat | None = Field(
        None, description="a family's meta-gradient with a greater norm is left out: the truncation was chaotic"
    )
    clip_norm: PositiveFloat | None = Field(None, description="bound on the norm of the mean meta-gradient")
    clip_running_rms: PositiveFloat | None = Field(
        None, description="bound on it as a multiple of its running RMS, over about the last 100 meta-steps"
    )
    normalize_families: bool = Field(
        False, description="divide each family's meta-gradient by its norm, so that none outweighs the others"
    )
    schedule: Schedule = Field(Schedule(), description="the meta-learning rate over the meta-steps")
    stages: tuple[Stage, ...] = Field((), description="which weights move from which meta-step on; none: all, always")

    @pydantic.model_validator(mode="before")
    @classmethod
    def _own_rate(cls, content: Any) -> Any:
        learned = isinstance(content, dict) and content.get("name") == LEARNED
        return {"learning_rate": 1.0, **content} if learned else content

    @pydantic.field_validator("checkpoint")
    @classmethod
    def _located(cls, checkpoint: str | None, info: pydantic.ValidationInfo) -> str | None:
        folder = (info.context or {}).get("folder")
        if checkpoint is None or folder is None or "/" not in checkpoint:
            return checkpoint
        return str((folder / Path(checkpoint).expanduser()).resolve())

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> MetaOptimizer:
        if self.name not in OWN:
            from l2o_cli.spec.keras_optimizers import KERAS, make

            if self.name not in KERAS:
                raise Misplaced("name", str(unknown("meta-optimizer", self.name, (*OWN, *KERAS))))
        if (self.checkpoint is None) == (self.name == LEARNED):
            fault = "missing" if self.name == LEARNED else f"only for learned, not for {self.name}"
            raise Misplaced("checkpoint", f"{fault}; the name or path of a learned optimizer")
        if self.name not in OWN:
            make(self)
        elif self.options:
            raise Misplaced("options", f"only for the optimizers of Keras, such as keras.Lion, not for {self.name}")
        check_begins(self.stages)
        return self

    def check_weights(self, weights: Collection[str]) -> None:
        """BadInput if a stage names a weight that is not among these, or moves none of them."""
        for index, stage in enumerate(self.stages):
            for field, patterns in (("trainable", stage.trainable), ("frozen", stage.frozen)):
                for pattern in patterns:
                    if not any(matches(weight, [pattern]) for weight in weights):
                        fault = f"no weight is {shown(pattern)}; {listed(weights, pattern)}"
                        raise BadInput(f"meta_optimizer.stages.{index}.{field}: {fault}")
            if not any(stage.moves(weight) for weight in weights):
                raise BadInput(f"meta_optimizer.stages.{index}: no weight moves")
