"""The spec of a meta-training run."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pydantic
from l2o_problems.base import Problem
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt

from l2o_cli.errors import BadInput
from l2o_cli.optimizers import OPTIMIZERS
from l2o_cli.spec.estimators import Estimator
from l2o_cli.spec.lengths import Lengths
from l2o_cli.spec.meta_optimizers import MetaOptimizer
from l2o_cli.spec.model import Fraction, Model
from l2o_cli.spec.names import first_problem
from l2o_cli.spec.objectives import Objective
from l2o_cli.spec.optimizers import OptimizerSpec
from l2o_cli.spec.problems import Families, ProblemSpec
from l2o_cli.spec.resources import Factor, Trained, check_meta_training, state_size
from l2o_cli.spec.text import read_yaml, seed_in


class Rollback(Model):
    """When meta-training goes back to its best weights."""

    margin: NonNegativeFloat = Field(0.5, description="a validation is bad if its score exceeds the best by more than this")
    patience: PositiveInt = Field(3, description="bad validations in a row after which the run goes back")


class Validation(Model):
    """Meta-validation: the averaged weights are run on problems of their own, and the best are kept."""

    problems: Families = Field((), description="none: the last averaged weights are kept")
    every: PositiveInt = Field(100, description="meta-steps between validations")
    steps: PositiveInt = Field(500, description="inner steps of each run")
    instances: PositiveInt = Field(4, description="instances per problem, the same at every validation")
    start: bool = Field(False, description="validate before the first meta-step too: the weights as they were drawn")
    objective: Objective | None = Field(None, description="what the runs are judged by; null: the objective of meta-training")
    rollback: Rollback | None = Field(
        None, description="go back to the best weights, with new instances, when validation stays bad; null: never"
    )

    @pydantic.model_validator(mode="after")
    def _judged(self) -> Validation:
        if self.start and not self.problems:
            raise ValueError("start needs problems to validate on")
        if self.rollback and not self.problems:
            raise ValueError("rollback needs problems to validate on")
        return self


class MetaTraining(Model):
    """A meta-training run, from YAML; `l2o meta-train` reads it and writes it back, resolved."""

    seed: NonNegativeInt = 0
    meta_steps: PositiveInt = Field(1000, description="updates of the weights")
    optimizer: OptimizerSpec
    begin_from: str | None = Field(
        None, description="a checkpoint, or the folder of a run, whose weights it begins with; null: drawn with the seed"
    )
    problems: Families = Field(min_length=1, description="the ensemble: problems, draws from distributions, named ensembles")
    families_per_step: PositiveInt = Field(2, description="problem families drawn for each meta-step")
    instances: PositiveInt = Field(16, description="instances of each family that run together")
    truncation: Lengths = Lengths()
    horizon: Lengths = Lengths(distribution="exponential", scale=200, minimum=50, maximum=2000)
    horizon_told: Annotated[float, Field(ge=0, le=1)] = Field(
        1.0, description="share of the instances whose optimizer is told their horizon, where it goes by the length of the run"
    )
    phase: Literal["random", "aligned"] = Field(
        "random", description="whether the first instances end after a random part of their horizon, or all of it"
    )
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
    context = {"folder": path.parent, "seed": seed_in(content)}
    try:
        spec = MetaTraining.model_validate(content, context=context)
        _check(spec)
    except pydantic.ValidationError as error:
        raise BadInput(f"{path}: {first_problem(error)}") from None
    except BadInput as error:
        raise BadInput(f"{path}: {error}") from None
    return spec


def _check(spec: MetaTraining) -> None:
    """Whatever the spec names exists, takes the options it is given, and fits in memory."""
    optimizer = spec.optimizer.make()
    if spec.objective.imitation is not None:
        try:
            spec.objective.imitation.make()
        except BadInput as error:
            raise BadInput(f"objective.imitation: {error}") from None
    if not optimizer.learned:
        learned = ", ".join(sorted(name for name, cls in OPTIMIZERS.items() if cls.learned))
        raise BadInput(f"optimizer.name: {spec.optimizer.name!r} has nothing to meta-train; learned optimizers: {learned}")
    weights = optimizer.init_weights(0)
    spec.meta_optimizer.check_weights(weights)
    families = [*_trained(spec), *_validated(spec)]
    state = state_size(optimizer) + (state_size(spec.objective.imitation.make()) if spec.objective.imitation else 0.0)
    pairs = 2 * spec.estimator.pairs if spec.estimator.name != "truncated_backpropagation" else 1
    at_once = min(spec.families_per_step, len(spec.problems), os.cpu_count() or 1)
    count = sum(int(np.size(value)) for value in weights.values())
    check_meta_training(families, state, count, pairs, at_once, [Factor("estimator.pairs", pairs, 2)])


def _trained(spec: MetaTraining) -> Iterator[Trained]:
    """The families of meta-training, with the lengths of what is unrolled and the fields that say them."""
    whole = spec.estimator.name == "full_es"
    name = "horizon" if whole else "truncation"
    differentiated = spec.estimator.name in ("truncated_backpropagation", "reparameterization", "combined")
    for index, entry in enumerate(spec.problems):
        place, own = f"problems.{index}", getattr(entry, name)
        longest = (own or getattr(spec, name)).longest(spec.meta_steps)
        yield Trained(
            _made(entry, place),
            place,
            entry.instances or spec.instances,
            f"{place}.instances" if entry.instances else "instances",
            longest if differentiated else 0,
            f"{place}.{name}.maximum" if own else f"{name}.maximum",
            longest,
        )


def _validated(spec: MetaTraining) -> Iterator[Trained]:
    validation = spec.validation
    for index, entry in enumerate(validation.problems):
        place = f"validation.problems.{index}"
        problem, fields = _made(entry, place), ("validation.instances", "validation.steps")
        yield Trained(problem, place, validation.instances, fields[0], 0, fields[1], validation.steps)


def _made(entry: ProblemSpec, place: str) -> Problem:
    try:
        return entry.make()
    except BadInput as error:
        raise BadInput(f"{place}: {error}") from None
