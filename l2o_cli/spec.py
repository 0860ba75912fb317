"""Experiment specs: YAML <-> typed, documented, closed models."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
import yaml
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from l2o_cli.errors import BadInput
from l2o_cli.optimizers import OPTIMIZERS
from l2o_cli.optimizers.base import Optimizer
from problems.base import Problem
from problems.registry import PROBLEMS, TRANSFORMS


def unknown(kind: str, name: str, known: Iterable[str]) -> BadInput:
    """The error for a name that is not there, with the nearest one that is."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(known)}"
    return BadInput(f"unknown {kind} {name!r}; {hint}")


def first_problem(error: pydantic.ValidationError, section: str = "") -> str:
    """The first complaint of a validation, as `section.field.path: what is wrong (got value)`."""
    complaint = error.errors()[0]
    path = ".".join([*([section] if section else []), *(str(part) for part in complaint["loc"])])
    message = complaint["msg"]
    if complaint["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        message = "unknown field"
    elif complaint["type"] == "value_error":  # our own checks: their message names the field
        message = str(complaint["ctx"]["error"])
    elif complaint["type"] != "missing":
        message += f" (got {complaint['input']!r})"
    return f"{path}: {message}" if path else message


def _build(kind: str, classes: Mapping[str, type], name: str, options: Mapping[str, Any], **fixed: Any) -> Any:
    if name not in classes:
        raise unknown(kind, name, classes)
    try:
        return pydantic.TypeAdapter(classes[name]).validate_python({**options, **fixed})
    except pydantic.ValidationError as error:
        raise BadInput(f"{kind} {name!r}: {first_problem(error, 'options')}") from None


def make_optimizer(name: str, options: Mapping[str, Any] | None = None) -> Optimizer:
    """The optimizer `name` with its options; BadInput when either is wrong."""
    return _build("optimizer", OPTIMIZERS, name, options or {})


def make_problem(name: str, options: Mapping[str, Any] | None = None, transforms: Iterable[Any] = ()) -> Problem:
    """The problem `name` with its options, inside each transformation in turn; BadInput when any of them is wrong.

    `transforms` are mappings with `name` and `options`; the first is the innermost.
    """
    problem = _build("problem", PROBLEMS, name, options or {})
    for transform in transforms:
        if transform["name"] not in TRANSFORMS:
            raise unknown("transformation", transform["name"], TRANSFORMS)
        try:
            problem = TRANSFORMS[transform["name"]](problem, **transform.get("options", {}))
        except (TypeError, ValueError) as error:
            reason = str(error).split("() got an ")[-1]
            raise BadInput(f"transformation {transform['name']!r}: {reason}") from None
    return problem


Fraction = Annotated[float, Field(ge=0, lt=1)]


class Model(pydantic.BaseModel):
    """A section of a spec: unknown fields are errors, values do not change once read."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


class OptimizerSpec(Model):
    """Which optimizer is meta-trained."""

    name: str = Field(description="a learned optimizer; see `l2o optimizers`")
    options: dict[str, Any] = Field({}, description="its switches and sizes, the fields of its class")

    def make(self) -> Optimizer:
        return make_optimizer(self.name, self.options)


class TransformSpec(Model):
    """A transformation around a problem."""

    name: str
    options: dict[str, Any] = {}


class ProblemSpec(Model):
    """One problem family of an ensemble."""

    name: str = Field(description="a problem; see `l2o problems`")
    options: dict[str, Any] = Field({}, description="its sizes and settings, the fields of its class")
    transforms: tuple[TransformSpec, ...] = Field((), description="transformations around it, the innermost first")
    weight: PositiveFloat = Field(1.0, description="how often it is drawn, relative to the others")
    label: str | None = Field(None, description="its name in the results; default: made from name and options")

    def make(self) -> Problem:
        return make_problem(self.name, self.options, [transform.model_dump() for transform in self.transforms])

    @property
    def title(self) -> str:
        """The label, or the name with options and transformations: `quadratic(dimension=20)+rescale`."""
        if self.label:
            return self.label
        options = ",".join(f"{key}={value}" for key, value in self.options.items())
        wrapped = "".join(f"+{transform.name}" for transform in self.transforms)
        return self.name + (f"({options})" if options else "") + wrapped


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

    problems: tuple[ProblemSpec, ...] = Field((), description="none: the last averaged weights are kept")
    every: PositiveInt = Field(100, description="meta-steps between validations")
    steps: PositiveInt = Field(500, description="inner steps of each run")
    instances: PositiveInt = Field(4, description="instances per problem, the same at every validation")


class MetaTraining(Model):
    """A meta-training run, from YAML; `l2o meta-train` reads it and writes it back, resolved."""

    seed: NonNegativeInt = 0
    meta_steps: PositiveInt = Field(1000, description="updates of the weights")
    optimizer: OptimizerSpec
    problems: tuple[ProblemSpec, ...] = Field(min_length=1, description="the ensemble")
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
    try:
        content = yaml.load(path.read_text(), Loader=_Loader)
    except FileNotFoundError:
        raise BadInput(f"{path}: no such file") from None
    except UnicodeDecodeError:
        raise BadInput(f"{path}: not a text file") from None
    except yaml.YAMLError as error:
        place, fault = yaml_fault(error)
        raise BadInput(f"{path}{place}: not YAML: {fault}") from None
    if not isinstance(content, dict):
        raise BadInput(f"{path}: expected fields at the top level, found {type(content).__name__}")
    for override in overrides:
        _override(content, override)
    try:
        spec = MetaTraining.model_validate(content)
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


def yaml_fault(error: yaml.YAMLError) -> tuple[str, str]:
    """Where a text is not YAML (", line N", or nothing if that is not known), and why."""
    mark = getattr(error, "problem_mark", None)
    return f", line {mark.line + 1}" if mark else "", str(getattr(error, "problem", error))


class _Loader(yaml.SafeLoader):
    """YAML in which 1e-3 is a number, as everyone means it; PyYAML reads it as text."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d[\d_]*\.?[\d_]*|\.\d[\d_]*)[eE][-+]?\d+$"),
    list("-+0123456789."),
)


def _override(content: dict[str, Any], override: str) -> None:
    """Set `a.b.0.c=value` in nested mappings and lists; the value is YAML."""
    path, separator, text = override.partition("=")
    if not separator or not path:
        raise BadInput(f"--set {override}: expected a.b=value")
    try:
        value = yaml.load(text, Loader=_Loader)
    except yaml.YAMLError:
        raise BadInput(f"--set {override}: the value is not YAML") from None
    node: Any = content
    keys = path.split(".")
    try:
        for key in keys[:-1]:
            node = node[int(key)] if isinstance(node, list) else node.setdefault(key, {})
        if isinstance(node, list):
            node[int(keys[-1])] = value
        else:
            node[keys[-1]] = value
    except (ValueError, IndexError, TypeError, AttributeError):
        raise BadInput(f"--set {override}: there is no field {path!r}") from None


def to_yaml(spec: pydantic.BaseModel) -> str:
    """The spec as YAML, every field written out."""
    return yaml.safe_dump(spec.model_dump(mode="json"), sort_keys=False, width=120)
