"""Sweeps in the spec of a comparison: one quantity at several values, everything else as in the comparison."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
from l2o_problems.file_names import is_file_name, located
from pydantic import BeforeValidator, Field, PositiveInt

from l2o_cli.errors import BadInput, shown
from l2o_cli.spec.model import Model, TransformSpec
from l2o_cli.spec.problems import ProblemSpec, parse_problems
from l2o_cli.spec.strict import Misplaced
from l2o_cli.spec.text import part_text
from l2o_cli.yaml12 import flow

Over = Literal[
    "learning_rate",
    "width",
    "depth",
    "batch_size",
    "input_scale",
    "option",
    "horizon",
    "step_time",
    "training_problems",
]

# {over: the values where none are given}
VALUES: dict[str, tuple[Any, ...]] = {
    "learning_rate": (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0),
    "width": (8, 32, 128),
    "depth": (1, 2, 4),
    "batch_size": (8, 32, 128),
    "input_scale": (0.01, 0.1, 1.0, 10.0, 100.0),
    "horizon": (1, 2, 10),
    "step_time": (1, 8, 64, 256),
}
WHOLE = ("width", "depth", "batch_size", "step_time")
ANY = ("option", "training_problems")  # values of any kind, and none of their own


_DEFAULTS = "; ".join(f"{over} {flow(list(values))}" for over, values in VALUES.items())


def _one_problem(entry: Any, info: pydantic.ValidationInfo) -> Any:
    """The family of a text as on the command line; a relative file is relative to the folder of the spec."""
    folder = (info.context or {}).get("folder", Path())
    if isinstance(entry, str):
        try:
            families = parse_problems(entry, folder)
        except BadInput as error:
            raise ValueError(str(error)) from None
        if len(families) > 1:
            raise ValueError(f"{shown(entry)} is an ensemble; a sweep is on one problem")
        return families[0]
    if isinstance(entry, dict) and is_file_name(str(entry.get("name"))):
        return {"label": entry["name"], **entry, "name": located(entry["name"], folder)}
    return entry


class SweepSpec(Model):
    """A sweep: everything runs at each of several values of one quantity, tuned and scored as in the comparison."""

    over: Over = Field(
        description="what is varied: learning_rate: the initial one, untuned; width, depth, batch_size: options of the problem; "
        "input_scale: the inputs are multiplied by it; option: any option of the problem; horizon: multiples of the steps; "
        "step_time: the batch size, and what is measured are milliseconds of a step; training_problems: the checkpoints named, "
        "by the number of problems that each was meta-trained on"
    )
    problem: Annotated[ProblemSpec, BeforeValidator(_one_problem)] = Field(
        description="the problem that it is on", examples=["digits_mlp"]
    )
    values: tuple[Any, ...] = Field((), description=f"what it is set to in turn. Where none are given: {_DEFAULTS}")
    option: str | None = Field(None, description="only for option: the name of the problem's option")
    checkpoints: tuple[str, ...] = Field((), description="only for training_problems: names of checkpoints or folders of runs")
    name: str | None = Field(
        None, pattern=r"^[A-Za-z0-9_.,=+-]+$", description="its name in the results; null: made from over and problem"
    )
    optimizers: tuple[str, ...] | None = Field(None, description="optimizers that run as they are; null: those of the comparison")
    baselines: tuple[str, ...] | None = Field(
        None, description="hand-designed optimizers, OPTIMIZER or OPTIMIZER:TIER; null: those of the comparison"
    )
    steps: PositiveInt | None = Field(None, description="steps of a run; null: those of the comparison")
    seeds: PositiveInt | None = Field(None, description="runs that are reported; null: as many as in the comparison")

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> SweepSpec:
        for field, kind in (("option", "option"), ("checkpoints", "training_problems")):
            if bool(getattr(self, field)) != (self.over == kind):
                raise Misplaced(field, f"only for over: {kind}" if self.over != kind else "missing")
        if self.over == "training_problems":
            if self.values:
                raise Misplaced("values", "the number of training problems is read from the cards of the checkpoints")
        elif self.over == "option" and not self.values:
            raise Misplaced("values", "missing")
        for index, value in enumerate(self.values):
            self._check(index, value)
        return self

    def _check(self, index: int, value: Any) -> None:
        number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value > 0
        if self.over in WHOLE and not (number and isinstance(value, int)):
            raise Misplaced(f"values.{index}", f"expected a whole number above 0, found {shown(value)}")
        if self.over not in ANY and not number:
            raise Misplaced(f"values.{index}", f"expected a number above 0, found {shown(value)}")
        if value in self.values[:index]:
            raise Misplaced(f"values.{index}", f"{shown(value)} is there twice")

    @property
    def points(self) -> tuple[Any, ...]:
        """The values, or where none are given the defaults; none for training_problems."""
        return self.values or VALUES.get(self.over, ())

    @property
    def title(self) -> str:
        """Its name in the results and their file names."""
        of, problem = self.option or self.over, self.problem.name.rpartition("/")[2]
        return self.name or re.sub(r"[^A-Za-z0-9_.,=+-]+", "-", f"{of}-{problem}")

    def problem_with(self, options: dict[str, Any]) -> ProblemSpec:
        """The problem with these options replaced, under a title of its own."""
        changed = {**self.problem.options, **options}
        return self._titled(f"with {part_text('', options).strip('()')}", options=changed)

    def problem_within(self, transform: TransformSpec) -> ProblemSpec:
        """The problem inside a transformation, under a title of its own."""
        text = part_text(transform.name, transform.options)
        return self._titled(f"within {text}", transforms=(*self.problem.transforms, transform))

    def _titled(self, change: str, **update: Any) -> ProblemSpec:
        # Results name a file as it was written.
        label = f"{self.problem.title} {change}" if is_file_name(self.problem.name) else None
        return self.problem.model_copy(update={**update, "label": label})
