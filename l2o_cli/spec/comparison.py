"""The specs of an evaluation and of a comparison: what their options say, in YAML."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import pydantic
from pydantic import Field, PositiveInt

from l2o_cli.errors import BadInput
from l2o_cli.spec.model import Model
from l2o_cli.spec.names import first_problem
from l2o_cli.spec.problems import Families, ProblemSpec, parse_problems
from l2o_cli.spec.resources import Factor, Runs, check_runs
from l2o_cli.spec.sweeps import SweepSpec
from l2o_cli.spec.text import read_yaml, seed_in

MOST_RATES = 101  # half-decades that float32 has
LAST_SEED = 2**60
DEFAULT_PROBLEMS = ("digits_mlp", "mnist_mlp", "mnist_conv")


class EvaluationSpec(Model):
    """What `l2o evaluate` runs; it writes the spec back, resolved."""

    problems: Families = Field(min_length=1, description="problems and ensembles, as in the spec of a meta-training run")
    optimizers: tuple[str, ...] = Field(("hrnn",), min_length=1, description="what runs as it is, as for --optimizer")
    settings: dict[str, float] = Field({}, description="hyperparameters of the hand-designed optimizers, as for --set")
    steps: PositiveInt = Field(1000, description="steps of a run")
    seeds: PositiveInt = Field(3, description="runs per problem and optimizer")
    seed: Annotated[int, Field(ge=0, le=LAST_SEED)] = Field(0, description="the first of the seeds")
    every: PositiveInt | None = Field(None, description="steps per window, one record each; default: a hundredth of the steps")
    xla: bool = Field(True, description="compile with XLA")


class ComparisonSpec(Model):
    """What `l2o compare` runs; it writes the spec back, resolved."""

    problems: Families = Field(
        DEFAULT_PROBLEMS, validate_default=True, description="problems and ensembles; may be empty if there are sweeps"
    )
    optimizers: tuple[str, ...] = Field(("hrnn",), description="what is not tuned, as for --optimizer")
    baselines: tuple[str, ...] = Field(("adam", "rmsprop"), description="what is tuned, each with its tier as for --baselines")
    tuning: tuple[str, ...] = Field(("sweep",), min_length=1, description="the tier of the baselines that name none, or several")
    trials: Annotated[int, Field(ge=1, le=MOST_RATES)] = Field(
        15, description="learning rates of a sweep, half a decade apart, before extensions"
    )
    tuning_seeds: PositiveInt = Field(2, description="seeds on which hyperparameters are chosen, apart from those reported")
    select: Literal["final_train_loss", "mean_log_train_loss", "final_validation_loss"] = Field(
        "final_train_loss", description="the score by whose median over the tuning seeds hyperparameters are chosen"
    )
    steps: PositiveInt = Field(500, description="steps of a run")
    seeds: PositiveInt = Field(5, description="runs that are reported, of each optimizer on each problem")
    seed: Annotated[int, Field(ge=0, le=LAST_SEED)] = Field(0, description="the first of the reporting seeds")
    every: PositiveInt | None = Field(None, description="steps per window, one record each; default: a hundredth of the steps")
    xla: bool = Field(True, description="compile with XLA")
    sweeps: tuple[SweepSpec, ...] = Field((), description="one quantity at several values, everything else as above")

    @pydantic.model_validator(mode="after")
    def _something_to_run(self) -> ComparisonSpec:
        if not self.problems and not self.sweeps:
            raise ValueError("problems: empty, and there are no sweeps either")
        if not self.optimizers and not self.baselines:
            raise ValueError("optimizers: empty, and there are no baselines either")
        return self


Spec = TypeVar("Spec", EvaluationSpec, ComparisonSpec)


def read_request(model: type[Spec], path: Path | None, given: Mapping[str, Any]) -> Spec:
    """The spec in a YAML file, its fields replaced by those that are given besides; without a file, of these alone.

    Raises:
        BadInput: the message names the field that is wrong, and the file if there is one.
    """
    content = {} if path is None else read_yaml(path)
    content.update(given)
    context = {"folder": path.parent if path else Path(), "seed": seed_in(content)}
    try:
        spec = model.model_validate(content, context=context)
        _check_problems(spec)
    except pydantic.ValidationError as error:
        raise BadInput(f"{path}: {first_problem(error)}" if path else first_problem(error)) from None
    except BadInput as error:
        raise BadInput(f"{path}: {error}" if path else str(error)) from None
    return spec


def _check_problems(spec: EvaluationSpec | ComparisonSpec) -> None:
    """BadInput unless each problem takes the options it is given, and a run on it fits in memory with the losses of all."""
    number, factors = _runs_each(spec)
    runs = []
    for index, family in enumerate(spec.problems):
        try:
            runs.append(Runs(family.make(), f"problems.{index}", 1, spec.steps, number, factors))
        except BadInput as error:
            raise BadInput(f"problems.{index}: {error}") from None
    check_runs(runs)


def _runs_each(spec: EvaluationSpec | ComparisonSpec) -> tuple[int, list[Factor]]:
    """How many runs are made on a problem, and the fields that say so."""
    factors = [Factor("seeds", spec.seeds, 5)]
    reported = spec.seeds * len(spec.optimizers)
    if isinstance(spec, EvaluationSpec):
        return reported, factors
    factors += [Factor("tuning_seeds", spec.tuning_seeds, 2), Factor("trials", spec.trials, 15)]
    return reported + len(spec.baselines) * (spec.seeds + spec.tuning_seeds * spec.trials), factors


def named_problems(texts: list[str]) -> list[ProblemSpec]:
    """The families that are named on a command line; BadInput if one is wrong or named twice."""
    families = [family for text in texts for family in parse_problems(text)]
    titles = [family.title for family in families]
    for title in titles:
        if titles.count(title) > 1:
            raise BadInput(f"problem {title!r} is given twice")
    if not families:
        raise BadInput("no problem is given")
    return families
