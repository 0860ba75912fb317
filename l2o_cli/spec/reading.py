"""Specs are read: what they name exists, takes the options that it is given, and fits in memory."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pydantic
from l2o_problems.base import Problem

from l2o_cli.errors import BadInput
from l2o_cli.optimizers import OPTIMIZERS
from l2o_cli.spec.comparison import ComparisonSpec, EvaluationSpec
from l2o_cli.spec.faults import first_problem
from l2o_cli.spec.meta_training import MetaTraining
from l2o_cli.spec.problems import ProblemSpec
from l2o_cli.spec.resources import Factor, Runs, Trained, check_meta_training, check_runs, state_size
from l2o_cli.spec.text import read_yaml, seed_in

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
