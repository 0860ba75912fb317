"""The specs of an evaluation and of a comparison: what their options say, in YAML."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import pydantic
from pydantic import Field, PositiveInt

from l2o_cli.errors import BadInput
from l2o_cli.spec.model import Model
from l2o_cli.spec.problems import Families, ProblemSpec, parse_problems
from l2o_cli.spec.sweeps import SweepSpec
from l2o_cli.spec.text import split_outside

MOST_RATES = 101  # half-decades that float32 has
LAST_SEED = 2**60
DEFAULT_PROBLEMS = ("digits_mlp", "mnist_mlp", "mnist_conv")


# Fields of both.
Problems = Annotated[Families, Field(description="problems and ensembles; see `l2o problems`")]
Optimizers = Annotated[
    tuple[str, ...],
    Field(
        description="what runs as it is: a published checkpoint or hand-designed optimizer by name, the folder of a run or an"
        " export, or lbfgs"
    ),
]
Steps = Annotated[PositiveInt, Field(description="steps of a run")]
Seeds = Annotated[PositiveInt, Field(description="runs of each optimizer on each problem that are reported")]
Seed = Annotated[int, Field(ge=0, le=LAST_SEED, description="the first of the seeds that are reported; the others follow it")]
Every = Annotated[PositiveInt | None, Field(description="steps per window, one record each; null: a hundredth of the steps")]
Xla = Annotated[bool, Field(description="compile with XLA, or run an ordinary TensorFlow graph")]


class EvaluationSpec(Model):
    """What `l2o evaluate` runs; it writes the spec back, resolved."""

    problems: Problems = Field(min_length=1, examples=[["digits_mlp"]])
    optimizers: Optimizers = Field(("tensor_rnn",), min_length=1)
    settings: dict[str, float] = Field(
        {}, description="hyperparameters of the hand-designed optimizers by their names, such as learning_rate"
    )
    steps: Steps = 1000
    seeds: Seeds = 3
    seed: Seed = 0
    every: Every = None
    xla: Xla = True


class ComparisonSpec(Model):
    """What `l2o compare` runs; it writes the spec back, resolved."""

    problems: Problems = Field(DEFAULT_PROBLEMS, validate_default=True)
    optimizers: Optimizers = ("tensor_rnn",)
    baselines: tuple[str, ...] = Field(
        ("adam", "rmsprop"),
        description="what is tuned: hand-designed optimizers, each with its tier of tuning after a colon if it has"
        " one of its own",
    )
    tuning: tuple[str, ...] = Field(
        ("sweep",), min_length=1, description="the tier of the baselines that name none; several make as many baselines of each"
    )
    trials: Annotated[int, Field(ge=1, le=MOST_RATES)] = Field(
        15,
        description="learning rates of a sweep, half a decade apart: 15 span 1e-6 to 1e1, fewer lie around the optimizer's"
        " default",
    )
    tuning_seeds: PositiveInt = Field(2, description="other seeds, on which hyperparameters are chosen")
    select: Literal["final_train_loss", "mean_log_train_loss", "final_validation_loss"] = Field(
        "final_train_loss",
        description="the score by whose median over the tuning seeds hyperparameters are chosen, and by which the verdict"
        " is given",
    )
    steps: Steps = 500
    seeds: Seeds = 5
    seed: Seed = 0
    every: Every = None
    xla: Xla = True
    sweeps: tuple[SweepSpec, ...] = Field(
        (), description="each varies one quantity, everything else being as above; with them `problems` may be empty"
    )

    @pydantic.model_validator(mode="after")
    def _something_to_run(self) -> ComparisonSpec:
        if not self.problems and not self.sweeps:
            raise ValueError("problems: empty, and there are no sweeps either")
        if not self.optimizers and not self.baselines:
            raise ValueError("optimizers: empty, and there are no baselines either")
        return self


def from_texts(given: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that the texts of a command line mean; BadInput if a problem is wrong or named twice, or a setting is wrong."""
    fields = dict(given)
    for name in ("problems", "baselines", "tuning"):
        if name in fields:
            # Commas within brackets belong to a name.
            fields[name] = [text for value in fields[name] for text in split_outside(value, ",")]
    if "problems" in fields:
        fields["problems"] = _named_problems(fields["problems"])
    if "settings" in fields:
        fields["settings"] = dict(map(_setting, fields["settings"]))
    return fields


def _named_problems(texts: list[str]) -> list[ProblemSpec]:
    families = [family for text in texts for family in parse_problems(text)]
    titles = [family.title for family in families]
    for title in titles:
        if titles.count(title) > 1:
            raise BadInput(f"problem {title!r} is given twice")
    if not families:
        raise BadInput("no problem is given")
    return families


def _setting(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not name or not math.isfinite(number):
        raise BadInput(f"--set {text!r}: expected NAME=NUMBER, such as learning_rate=0.01")
    return name, number
