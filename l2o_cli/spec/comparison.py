"""The specs of an evaluation and of a comparison: what their options say, in YAML."""

from __future__ import annotations

from typing import Annotated, Literal

import pydantic
from pydantic import Field, PositiveInt

from l2o_cli.errors import BadInput
from l2o_cli.spec.model import Model
from l2o_cli.spec.problems import Families, ProblemSpec, parse_problems
from l2o_cli.spec.sweeps import SweepSpec

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
