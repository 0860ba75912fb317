"""From names and options to optimizers and problems."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import sys
from collections.abc import Iterable, Mapping
from typing import Any

import pydantic
from l2o_problems.base import Problem
from l2o_problems.contract import Broken, check
from l2o_problems.file_names import is_file_name
from l2o_problems.from_file import place, problem_in_file, said
from l2o_problems.registry import PROBLEMS
from l2o_problems.transforms import TRANSFORMS, SumOfProblems

from l2o_cli.errors import BadInput, naming, shown
from l2o_cli.optimizers import OPTIMIZERS
from l2o_cli.optimizers.base import Optimizer
from l2o_cli.optimizers.transforms import TRANSFORMS as OPTIMIZER_TRANSFORMS
from l2o_cli.spec.faults import first_problem, unknown
from l2o_cli.spec.strict import Misplaced, check_kinds


def _build(kind: str, classes: Mapping[str, Any], name: str, options: Mapping[str, Any], **inner: Any) -> Any:
    """The class of that name, made with options, which its annotations validate if it is a dataclass."""
    if name not in classes:
        raise unknown(kind, name, classes)
    try:
        return _called(classes[name], {**inner, **options})
    except _WRONG_OPTIONS as error:
        raise BadInput(f"{kind} {name!r}: {_first_wrong(error)}") from None
    except (TypeError, ValueError) as error:
        reason = str(error).split("() got an ")[-1]
        raise BadInput(f"{kind} {name!r}: {reason}") from None


_WRONG_OPTIONS = (Misplaced, pydantic.ValidationError)


def _first_wrong(error: Misplaced | pydantic.ValidationError) -> str:
    return f"options.{error.place}: {error}" if isinstance(error, Misplaced) else first_problem(error, "options")


def _called(factory: Any, options: Mapping[str, Any]) -> Any:
    if isinstance(factory, functools.partial):
        factory, options = factory.func, {**factory.keywords, **options}
    if isinstance(factory, type) and dataclasses.is_dataclass(factory):
        check_kinds(factory, options)
        return _validator(factory).validate_python(dict(options))
    return factory(**options)


_validator = functools.cache(pydantic.TypeAdapter)


def make_optimizer(name: str, options: Mapping[str, Any] | None = None, transforms: Iterable[Any] = ()) -> Optimizer:
    """The optimizer `name` with its options, inside each transformation in turn; BadInput when any of them is wrong.

    Args:
        transforms: mappings with `name` and `options`; the first is the innermost.
    """
    return transformed(_build("optimizer", OPTIMIZERS, name, options or {}), transforms)


def transformed(optimizer: Optimizer, transforms: Iterable[Any]) -> Optimizer:
    """The optimizer inside each transformation in turn, as for `make_optimizer`."""
    for one in transforms:
        optimizer = _build("transformation", OPTIMIZER_TRANSFORMS, one["name"], one.get("options", {}), inner=optimizer)
    return optimizer


def make_problem(name: str, options: Mapping[str, Any] | None = None, transforms: Iterable[Any] = ()) -> Problem:
    """The problem `name` with its options, inside each transformation in turn; BadInput when any of them is wrong.

    Args:
        name: of a problem, or `FILE.py:NAME` of one in a file.
        options: those of `sum` have problems, each a mapping with the arguments of this function.
        transforms: mappings with `name` and `options`; the first is the innermost.
    """
    options = dict(options or {})
    if PROBLEMS.get(name) is SumOfProblems and "problems" in options:
        options["problems"] = tuple(_part(index, entry) for index, entry in enumerate(options["problems"]))
    problem = _own_problem(name, options) if is_file_name(name) else _build("problem", PROBLEMS, name, options)
    for one in transforms:
        problem = _build("transformation", TRANSFORMS, one["name"], one.get("options", {}), inner=problem)
    return problem


def _own_problem(name: str, options: Mapping[str, Any]) -> Problem:
    """The problem `FILE.py:NAME`, which has been tried; BadInput for whatever is wrong with it or its file."""
    found = False
    try:
        with contextlib.redirect_stdout(sys.stderr):  # what it says is no result
            factory = problem_in_file(name)
            found = True
            problem = _called(factory, options)
            check(problem)
        return problem
    except _WRONG_OPTIONS as error:
        fault, cause = _first_wrong(error), None
    except Broken as error:
        fault, cause = str(error), error.__cause__
    except (Exception, SystemExit) as error:
        where = place(error, name)
        if not where and isinstance(error, (OSError, TypeError, ValueError)):  # there is no such file, name or argument
            fault, cause = str(error).split("() got an ")[-1], None
        else:
            fault, cause = "it cannot be made" if found else "the file cannot be run", error
    if cause is not None:
        fault = ": ".join(filter(None, (fault, place(cause, name), said(cause))))
    raise BadInput(f"problem {name!r}: {fault}") from cause


def _part(index: int, entry: Any) -> Problem:
    if isinstance(entry, Problem):
        return entry
    field = f"problem 'sum': options.problems.{index}"
    if not isinstance(entry, Mapping) or "name" not in entry or not {"name", "options", "transforms"} >= entry.keys():
        raise BadInput(f"{field}: expected name, options and transforms, found {shown(entry)}")
    with naming(field):
        return make_problem(**entry)
