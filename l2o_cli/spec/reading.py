"""Specs are read: what they name exists, takes the options that it is given, and fits in memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pydantic

from l2o_cli.errors import BadInput, naming
from l2o_cli.optimizers import OPTIMIZERS
from l2o_cli.spec.comparison import ComparisonSpec, EvaluationSpec
from l2o_cli.spec.faults import first_problem
from l2o_cli.spec.meta_training import MetaTraining
from l2o_cli.spec.resources import Factor, Runs, Trained, check_meta_training, check_runs, state_size
from l2o_cli.spec.text import read_yaml, seed_in

Spec = TypeVar("Spec", EvaluationSpec, ComparisonSpec, MetaTraining)
Request = TypeVar("Request", EvaluationSpec, ComparisonSpec)


def read_request(model: type[Request], path: Path | None, given: Mapping[str, Any]) -> Request:
    """The spec in a YAML file, its fields replaced by those that options give; without a file, of these alone.

    Raises:
        BadInput: the message names the field or option that is wrong, and the file if there is one.
    """
    content = {} if path is None else read_yaml(path)

    def check(spec: Request) -> None:
        """Each problem takes the options it is given, and a run on it fits in memory with the losses of all."""
        number, factors = _runs_each(spec)
        runs = []
        for index, family in enumerate(spec.problems):
            place, end = (f"--problem {family.title!r}", ": ") if "problems" in given else (f"problems.{index}", ".")
            with naming(place):
                runs.append(Runs(family.make(), place + end, 1, spec.steps, number, factors))
        check_runs(runs)

    return _read(model, path, {**content, **given}, check)


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
    return _read(MetaTraining, path, read_yaml(path, overrides), _check_meta_training)


def _read(model: type[Spec], path: Path | None, content: Mapping[str, Any], check: Callable[[Spec], None]) -> Spec:
    """The spec of that content, which is checked."""
    try:
        spec = model.model_validate(content, context={"folder": path.parent if path else Path(), "seed": seed_in(content)})
        check(spec)
    except (pydantic.ValidationError, BadInput) as error:
        fault = first_problem(error) if isinstance(error, pydantic.ValidationError) else str(error)
        # What an option says is not in the file.
        raise BadInput(f"{path}: {fault}" if path and not fault.startswith("--") else fault) from None
    return spec


def _check_meta_training(spec: MetaTraining) -> None:
    """Whatever the spec names exists, takes the options it is given, and fits in memory."""
    optimizer, imitation = spec.optimizer.make(), spec.objective.imitation
    with naming("objective.imitation"):
        teacher = imitation.make() if imitation else None
    if not optimizer.learned:
        learned = ", ".join(sorted(name for name, cls in OPTIMIZERS.items() if cls.learned))
        raise BadInput(f"optimizer.name: {spec.optimizer.name!r} has nothing to meta-train; learned optimizers: {learned}")
    weights = optimizer.init_weights(0)
    spec.meta_optimizer.check_weights(weights)
    families = [*_trained(spec), *_validated(spec)]
    state = state_size(optimizer) + (state_size(teacher) if teacher else 0.0)
    pairs = 2 * spec.estimator.pairs if spec.estimator.name != "truncated_backpropagation" else 1
    at_once = min(spec.families_per_step, len(spec.problems), os.cpu_count() or 1)
    count = sum(int(np.size(value)) for value in weights.values())
    check_meta_training(families, state, count, pairs, at_once, [Factor("estimator.pairs", pairs, 2)])


def _trained(spec: MetaTraining) -> Iterator[Trained]:
    """The families of meta-training, with the lengths of what is unrolled and the fields that say them."""
    name = "horizon" if spec.estimator.name == "full_es" else "truncation"
    differentiated = spec.estimator.name in ("truncated_backpropagation", "reparameterization", "combined")
    for index, entry in enumerate(spec.problems):
        begin, own = f"problems.{index}.", getattr(entry, name)
        instances = Factor(f"{begin if entry.instances else ''}instances", entry.instances or spec.instances, 16)
        longest = (own or getattr(spec, name)).longest(spec.meta_steps)
        length = Factor(f"{begin if own else ''}{name}.maximum", longest, 150 if differentiated else 2000)
        with naming(begin[:-1]):
            problem = entry.make()
        yield Trained(problem, begin, instances, length, differentiated)


def _validated(spec: MetaTraining) -> Iterator[Trained]:
    validation = spec.validation
    instances = Factor("validation.instances", validation.instances, 16)
    steps = Factor("validation.steps", validation.steps, 2000)
    for index, entry in enumerate(validation.problems):
        with naming(f"validation.problems.{index}"):
            problem = entry.make()
        yield Trained(problem, f"validation.problems.{index}.", instances, steps, differentiated=False)
