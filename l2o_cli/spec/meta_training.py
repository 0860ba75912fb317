"""The spec of a meta-training run."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from l2o_cli.errors import BadInput
from l2o_cli.optimizers import OPTIMIZERS
from l2o_cli.optimizers.base import Optimizer
from l2o_cli.spec.model import Model
from l2o_cli.spec.names import first_problem, make_optimizer
from l2o_cli.spec.problems import Families
from l2o_cli.spec.text import read_yaml

Fraction = Annotated[float, Field(ge=0, lt=1)]


class OptimizerSpec(Model):
    """Which optimizer is meta-trained."""

    name: str = Field(description="a learned optimizer; see `l2o optimizers`")
    options: dict[str, Any] = Field({}, description="its switches and sizes, the fields of its class")

    def make(self) -> Optimizer:
        return make_optimizer(self.name, self.options)


class Lengths(Model):
    """A distribution of lengths, in inner steps."""

    distribution: Literal["constant", "exponential", "log_uniform"] = "exponential"
    scale: PositiveFloat = Field(20.0, description="mean of the exponential part, in steps")
    minimum: PositiveInt = Field(10, description="the least length, in steps")
    maximum: PositiveInt = Field(50, description="the greatest length, in steps; the length where it is constant")

    @pydantic.model_validator(mode="after")
    def _ordered(self) -> Lengths:
        if self.minimum > self.maximum and self.distribution != "constant":
            raise ValueError(f"minimum {self.minimum} is greater than maximum {self.maximum}")
        return self


class Objective(Model):
    """What a truncation is judged by: the mean over its steps of log((loss + epsilon) / (initial loss + epsilon))."""

    log: bool = Field(True, description="off: the mean of the ratio itself")
    epsilon: PositiveFloat = Field(1e-6, description="added to both losses, in units of the loss")


class Estimator(Model):
    """How the meta-gradient is estimated."""

    name: Literal["truncated_backpropagation"] = "truncated_backpropagation"
    second_derivatives: bool = Field(True, description="let meta-gradients flow through the inner gradients")
    divergence: PositiveFloat | None = Field(
        1e4, description="an instance whose loss exceeds this multiple of its initial loss is reset; null: only non-finite"
    )


class Schedule(Model):
    """The meta-learning rate over the meta-steps."""

    kind: Literal["constant", "cosine"] = "constant"
    warmup: NonNegativeInt = Field(0, description="meta-steps of linear increase from 0")
    final: Annotated[float, Field(ge=0, le=1)] = Field(0.1, description="where cosine ends, as a fraction of the rate")


class MetaOptimizer(Model):
    """How the weights follow the meta-gradient."""

    name: Literal["adam", "adamw", "rmsprop"] = "adam"
    learning_rate: PositiveFloat = 1e-3
    beta_1: Fraction = Field(0.9, description="adam, adamw: decay of the mean gradient")
    beta_2: Fraction = Field(0.999, description="adam, adamw: decay of the mean square")
    decay: Fraction = Field(0.9, description="rmsprop: decay of the mean square")
    epsilon: PositiveFloat = 1e-8
    weight_decay: Annotated[float, Field(ge=0)] = Field(0.0, description="adamw: decoupled decay per meta-step and rate")
    clip_value: PositiveFloat | None = Field(None, description="bound on each entry of a family's meta-gradient")
    clip_family_norm: PositiveFloat | None = Field(None, description="bound on the norm of each family's meta-gradient")
    discard_norm: PositiveFloat | None = Field(
        None, description="a family's meta-gradient with a greater norm is left out: the truncation was chaotic"
    )
    clip_norm: PositiveFloat | None = Field(None, description="bound on the norm of the mean meta-gradient")
    normalize_families: bool = Field(
        False, description="divide each family's meta-gradient by its norm, so that none outweighs the others"
    )
    schedule: Schedule = Schedule()


class Validation(Model):
    """Meta-validation: the averaged weights are run on problems of their own, and the best are kept."""

    problems: Families = Field((), description="none: the last averaged weights are kept")
    every: PositiveInt = Field(100, description="meta-steps between validations")
    steps: PositiveInt = Field(500, description="inner steps of each run")
    instances: PositiveInt = Field(4, description="instances per problem, the same at every validation")


class MetaTraining(Model):
    """A meta-training run, from YAML; `l2o meta-train` reads it and writes it back, resolved."""

    seed: NonNegativeInt = 0
    meta_steps: PositiveInt = Field(1000, description="updates of the weights")
    optimizer: OptimizerSpec
    problems: Families = Field(min_length=1, description="the ensemble: problems, draws from distributions, named ensembles")
    families_per_step: PositiveInt = Field(2, description="problem families drawn for each meta-step")
    instances: PositiveInt = Field(16, description="instances of each family that run together")
    truncation: Lengths = Lengths()
    horizon: Lengths = Lengths(distribution="exponential", scale=200, minimum=50, maximum=2000)
    objective: Objective = Objective()
    estimator: Estimator = Estimator()
    meta_optimizer: MetaOptimizer = MetaOptimizer()
    ema: Fraction = Field(0.99, description="decay of the average of the weights over the meta-steps; 0: none")
    validation: Validation = Validation()
    checkpoint_every: PositiveInt = Field(50, description="meta-steps between checkpoints")
    record: dict[str, Any] | None = Field(None, description="versions and data sources, written by l2o; not read")


def read_meta_training(path: Path, overrides: Iterable[str] = ()) -> MetaTraining:
    """The spec in a YAML file, with `a.b=value` overrides; BadInput names the file and the field that is wrong."""
    content = read_yaml(path, overrides)
    seed = content.get("seed", 0)
    context = {"folder": path.parent, "seed": seed if isinstance(seed, int) and seed >= 0 else 0}
    try:
        spec = MetaTraining.model_validate(content, context=context)
        _check_names(spec)
    except pydantic.ValidationError as error:
        raise BadInput(f"{path}: {first_problem(error)}") from None
    except BadInput as error:
        raise BadInput(f"{path}: {error}") from None
    return spec


def _check_names(spec: MetaTraining) -> None:
    """Whatever the spec names exists and takes the options it is given."""
    optimizer = spec.optimizer.make()
    if not optimizer.learned:
        learned = ", ".join(sorted(name for name, cls in OPTIMIZERS.items() if cls.learned))
        raise BadInput(f"optimizer.name: {optimizer.name!r} has nothing to meta-train; learned optimizers: {learned}")
    for section, problems in (("problems", spec.problems), ("validation.problems", spec.validation.problems)):
        for index, problem in enumerate(problems):
            try:
                problem.make()
            except BadInput as error:
                raise BadInput(f"{section}.{index}: {error}") from None
